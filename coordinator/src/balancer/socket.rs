//! One connection for one line of commands. The balancer answers and hangs up; it gets a deadline to be there, and one to be done.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{BalancerError, Endpoint};
use crate::tunnel::Tunnel;

/// What is read of an answer: some thousands of servers.
const MOST_ANSWER: usize = 8 << 20;
/// The balancer reads a line into one buffer, of 16 KiB by default, and keeps some of it for itself.
const MOST_LINE: usize = 14 << 10;
/// What an error shows of a line.
const SHOWN: usize = 120;

/// How long somebody is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), answer: Duration::from_secs(5) }
    }
}

/// Where a balancer is, and the way to there if it is another machine.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) endpoint: Endpoint,
    pub(super) tunnel: Option<Arc<Tunnel>>,
}

/// Everything that is said to this line of commands.
pub(super) async fn ask(line: &Line, deadlines: Deadlines, commands: &[String]) -> Result<String, BalancerError> {
    let text = commands.join("; ");
    if text.len() > MOST_LINE {
        return Err(BalancerError::TooLong { bytes: text.len(), most: MOST_LINE });
    }
    // Another machine has its own time to be reached in.
    let local = match &line.tunnel {
        Some(tunnel) => Endpoint::Unix(tunnel.open().await?),
        None => line.endpoint.clone(),
    };
    let question = Question { endpoint: &line.endpoint, line: text };
    let mut stream = timeout(deadlines.connect, connect(&local)).await.map_err(|_| question.silent(deadlines.connect))??;
    let talk = question.talk(&mut stream);
    let answer = timeout(deadlines.answer, talk).await.map_err(|_| question.silent(deadlines.answer))?;
    match (&line.tunnel, answer) {
        // What is wrong at the other end is not said here, but there.
        (Some(tunnel), Err(BalancerError::Broken { .. })) => Err(tunnel.broken().into()),
        (Some(tunnel), Ok(nothing)) if nothing.is_empty() => Err(tunnel.broken().into()),
        (_, answer) => answer,
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(endpoint: &Endpoint) -> Result<Box<dyn Stream>, BalancerError> {
    let connected: std::io::Result<Box<dyn Stream>> = match endpoint {
        Endpoint::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
        Endpoint::Tcp(address) => TcpStream::connect(address).await.map(|stream| Box::new(stream) as _),
        Endpoint::Ssh(remote) => return Err(BalancerError::NoSsh { remote: remote.to_string() }),
    };
    connected.map_err(|source| {
        let endpoint = endpoint.to_string();
        match source.kind() {
            ErrorKind::NotFound => BalancerError::NoSocket { endpoint, source },
            ErrorKind::PermissionDenied => BalancerError::Forbidden { endpoint, source },
            _ => BalancerError::Unreachable { endpoint, source },
        }
    })
}

struct Question<'a> {
    endpoint: &'a Endpoint,
    line: String,
}

impl Question<'_> {
    async fn talk(&self, stream: &mut Box<dyn Stream>) -> Result<String, BalancerError> {
        let broken = |source| BalancerError::Broken { endpoint: self.endpoint.to_string(), command: self.shown(), source };
        stream.write_all(format!("{}\n", self.line).as_bytes()).await.map_err(broken)?;
        // Our half stays open: some versions take its end for a reason to stop.
        let mut answer = Vec::new();
        let mut bounded = stream.take(MOST_ANSWER as u64 + 1);
        bounded.read_to_end(&mut answer).await.map_err(broken)?;
        if answer.len() > MOST_ANSWER {
            return Err(BalancerError::TooMuch { endpoint: self.endpoint.to_string(), command: self.shown(), most: MOST_ANSWER });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn silent(&self, waited: Duration) -> BalancerError {
        BalancerError::Silent { endpoint: self.endpoint.to_string(), command: self.shown(), waited }
    }

    fn shown(&self) -> String {
        self.line.chars().take(SHOWN).collect()
    }
}
