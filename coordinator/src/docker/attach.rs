//! The byte streams of a container's main process, taken apart: standard output for a reader, the end of standard error for people.
//!
//! The connection lives as long as either half: dropping both closes the container's standard input.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bollard::container::LogOutput;
use bollard::errors::Error;
use bytes::{Buf, Bytes};
use futures_util::Stream;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of standard error kept.
const TAIL: usize = 8 << 10;

/// The end of what a container wrote to its standard error.
#[derive(Debug, Clone, Default)]
pub struct StderrTail(Arc<Mutex<VecDeque<u8>>>);

impl StderrTail {
    /// The text so far.
    pub fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(TAIL);
        kept.drain(..surplus);
    }
}

/// Standard output of an attached container. Standard error is set aside while it is read.
pub(super) struct Stdout {
    stream: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    rest: Bytes,
    stderr: StderrTail,
}

impl Stdout {
    pub(super) fn new(stream: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>, stderr: StderrTail) -> Self {
        Self { stream, rest: Bytes::new(), stderr }
    }
}

impl AsyncRead for Stdout {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.stream.as_mut().poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
                Some(Ok(LogOutput::StdErr { message })) => self.stderr.push(&message),
                Some(Ok(other)) => self.rest = other.into_bytes(),
            }
        }
        let length = buffer.remaining().min(self.rest.len());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn standard_error_is_set_aside() {
        let pieces = [
            LogOutput::StdOut { message: Bytes::from_static(b"he") },
            LogOutput::StdErr { message: Bytes::from(vec![b'x'; TAIL]) },
            LogOutput::StdErr { message: Bytes::from_static(b"oops\n") },
            LogOutput::StdOut { message: Bytes::from_static(b"llo") },
        ];
        let stderr = StderrTail::default();
        let mut stdout = Stdout::new(Box::pin(stream::iter(pieces.map(Ok))), stderr.clone());
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.expect("readable");
        assert_eq!(text, "hello");
        assert!(stderr.text().ends_with("xoops") && stderr.text().len() < TAIL);
    }
}
