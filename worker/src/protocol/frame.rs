//! Frames of the agent ⇄ worker stream: `u32 length, u8 kind, u32 body length, body (JSON), blob`, little endian.
//!
//! `length` counts everything after itself. There is one kind today; a reader skips frames of a kind that it does not know.
//! The decoder is a buffer and no I/O, so that the worker's poll loop and the coordinator's tasks share it.

use serde::{Serialize, de::DeserializeOwned};

/// A control message, perhaps with a blob.
pub const KIND_MESSAGE: u8 = 1;

/// Longest frame that is accepted, in bytes: larger ones are taken for garbage on the stream.
pub const MAX_FRAME: usize = 64 << 20;

const HEAD: usize = 9;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is impossible: the stream carries something else.
    #[error("a frame claims {0} bytes; the stream does not carry the worker protocol")]
    Length(u64),
    /// The body is not the expected message.
    #[error("a frame's control body cannot be read")]
    Body(#[from] serde_json::Error),
}

/// A message and its blob.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<M> {
    /// The control body.
    pub message: M,
    /// The bytes behind it.
    pub blob: Vec<u8>,
}

/// Appends a message with its blob to `out`.
///
/// # Panics
/// Never in practice: the messages of this crate always serialise, and a blob is far below 4 GiB.
pub fn encode<M: Serialize>(message: &M, blob: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
    serde_json::to_writer(&mut *out, message).expect("protocol messages serialise");
    let body = out.len() - start - HEAD;
    out.extend_from_slice(blob);
    let length = out.len() - start - 4;
    out[start..start + 4].copy_from_slice(&le(length));
    out[start + 4] = KIND_MESSAGE;
    out[start + 5..start + HEAD].copy_from_slice(&le(body));
}

fn le(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()
}

/// Cuts frames out of a byte stream.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes in bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > (1 << 20) {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    #[expect(clippy::should_implement_trait, reason = "it is generic in what it gives and can fail, which no iterator can be")]
    pub fn next<M: DeserializeOwned>(&mut self) -> Result<Option<Frame<M>>, FrameError> {
        loop {
            let rest = &self.buffer[self.start..];
            let Some(length) = read_u32(rest, 0) else { return Ok(None) };
            if !(HEAD - 4..=MAX_FRAME).contains(&length) {
                return Err(FrameError::Length(length as u64));
            }
            if rest.len() < 4 + length {
                return Ok(None);
            }
            let body_len = read_u32(rest, 5).unwrap_or(usize::MAX);
            let frame = &rest[HEAD..4 + length];
            let kind = rest[4];
            self.start += 4 + length;
            if kind != KIND_MESSAGE {
                continue;
            }
            if body_len > frame.len() {
                return Err(FrameError::Length(body_len as u64));
            }
            let (body, blob) = frame.split_at(body_len);
            return Ok(Some(Frame { message: serde_json::from_slice(body)?, blob: blob.to_vec() }));
        }
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let mut bytes = Vec::new();
        for n in 0..5_u32 {
            encode(&n, &vec![7; n as usize * 3], &mut bytes);
        }
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next::<u32>().expect("a good stream") {
                    assert_eq!(frame.blob.len(), frame.message as usize * 3);
                    seen.push(frame.message);
                }
            }
            assert_eq!(seen, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn an_unknown_kind_is_skipped() {
        let mut bytes = vec![6, 0, 0, 0, 99, 0, 0, 0, 0, 1];
        encode(&5_u32, b"x", &mut bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next::<u32>().expect("skips").expect("a frame").message, 5);
    }

    #[test]
    fn text_on_the_stream_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(b"Traceback (most recent call last):");
        assert!(decoder.next::<u32>().is_err());
    }
}
