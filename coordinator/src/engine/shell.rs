//! A shell for a person where a shard would run: on the caller's own terminal, or on one in a container.
//!
//! What a terminal is, raw mode and keys are the caller's business; here are only the two ends of the line, and the end of it all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use splitci_worker::protocol::frame::encode;
use splitci_worker::protocol::message::ToWorker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::docker::exec::OpenTerminal;
use crate::docker::{Docker, DockerError};

/// A worker without a word from us ends after a minute.
const BEAT: Duration = Duration::from_secs(5);
/// How long an engine may take to tell how a process ended whose output has ended, in tenths of a second.
const TENTHS: u32 = 20;

/// What a shell is given on top of what a shard has anyway.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    /// Comes before the shell, as it comes before the test command.
    pub entrypoint: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Working directory, if not the shard's.
    pub cwd: Option<String>,
}

/// An open shell.
pub enum Shell {
    /// To be started on the caller's terminal.
    Here(Here),
    /// Started, with its terminal in a container.
    There(There),
}

/// A shell that the caller starts on its own terminal. A hang-up ends it and everything that it started.
#[derive(Debug)]
pub struct Here {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it starts.
    pub directory: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
}

/// A shell in a container of its own, which lives as long as this does.
pub struct There {
    /// What is typed.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What is shown.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// For what is asked about it while its streams are in use.
    pub control: Control,
    line: JoinSet<()>,
}

/// Asks and tells about a shell in a container.
#[derive(Debug, Clone)]
pub struct Control {
    docker: Arc<Docker>,
    container: String,
    terminal: String,
}

impl There {
    /// `shard` is the running container with the worker, which ends when nobody holds its line any more.
    pub(super) fn new(docker: Arc<Docker>, shard: super::Shard, terminal: OpenTerminal) -> Self {
        let mut line = JoinSet::new();
        line.spawn(hold(shard.input, shard.output));
        let control = Control { docker, container: shard.handle.name, terminal: terminal.id };
        Self { input: terminal.input, output: terminal.output, control, line }
    }

    /// Ends it, and sees its container gone.
    pub async fn end(mut self) -> Result<(), DockerError> {
        self.line.shutdown().await;
        self.control.docker.remove_container(&self.control.container).await.map(drop)
    }
}

impl Control {
    /// Tells the terminal its size: columns and rows.
    pub async fn resize(&self, size: (u16, u16)) -> Result<(), DockerError> {
        self.docker.resize_terminal(&self.terminal, size).await
    }

    /// How the shell ended; nothing if nobody knows, for instance because its container was killed.
    pub async fn status(&self) -> Option<i32> {
        for _ in 0..TENTHS {
            match self.docker.terminal_status(&self.terminal).await {
                Ok(None) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        None
    }
}

/// Keeps a worker alive that has nothing to do. What it says is nothing that anybody waits for; its end is the end of the terminal.
async fn hold(mut input: Box<dyn AsyncWrite + Send + Unpin>, mut output: Box<dyn AsyncRead + Send + Unpin>) {
    let mut beat = Vec::new();
    encode(&ToWorker::Beat, &[], &mut beat);
    let mut heard = [0; 4096];
    let mut clock = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            read = output.read(&mut heard) => if !matches!(read, Ok(1..)) { return },
            _ = clock.tick() => {
                let told = async {
                    input.write_all(&beat).await?;
                    input.flush().await
                };
                if told.await.is_err() {
                    return;
                }
            }
        }
    }
}
