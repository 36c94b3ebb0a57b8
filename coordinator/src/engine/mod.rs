//! Where shards run. An engine starts a worker somewhere and hands over the byte stream to it; what is said on the stream is not its business.
//!
//! Contract, for every implementer:
//! - `start` returns once the worker's process is started; the worker's hello may still be on its way. Nothing is left behind when it fails or is dropped.
//! - The end of the stream's input is the worker's order to die: dropping the `Shard` ends the shard, whatever else happens.
//! - `end` is idempotent, kills what still lives, waits until it is gone, and says what is known of how it ended.

pub mod docker;
pub mod process;
mod shell;
mod workers;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::ShardId;
pub use shell::{Control, Here, Inside, Shell, There};
pub use workers::WorkerBinaries;

/// Starts shards.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Starts one shard.
    async fn start(&self, spec: &ShardSpec) -> Result<Shard, EngineError>;

    /// Ends a shard that `start` gave, and says how it went.
    async fn end(&self, handle: &ShardHandle) -> ShardEnd;

    /// Opens a shell for a person where this shard would run. Nothing is left behind when it fails or is dropped.
    async fn shell(&self, spec: &ShardSpec, inside: &Inside) -> Result<Shell, EngineError>;

    /// Removes what earlier runs of dead coordinators left: containers, processes.
    async fn sweep(&self) -> Result<Swept, EngineError>;

    /// Waits until nothing is left of starts that nobody waited for to the end: to be called when a run is over, and the process may end next.
    async fn close(&self);
}

/// What a sweep came to, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// What is gone.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub stuck: Vec<String>,
}

/// What a shard is.
#[derive(Debug, Clone)]
pub struct ShardSpec {
    /// The run, for names and labels.
    pub run: String,
    /// Its number.
    pub shard: ShardId,
    /// How often it was started before.
    pub restarts: u32,
}

/// A started shard.
pub struct Shard {
    /// Frames to the worker.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Frames from the worker.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// For `end`.
    pub handle: ShardHandle,
}

/// Names a started shard to its engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShardHandle {
    /// Container id, or process id.
    pub name: String,
    /// Which shard.
    pub shard: ShardId,
}

/// What an engine knows of a shard's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardEnd {
    /// Exit status of the worker (128 + signal when killed), if known.
    pub status: Option<i32>,
    /// The engine saw memory run out.
    pub oom: bool,
    /// What the worker's standard error or the engine said, for people.
    pub detail: String,
}

/// An engine cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt}")]
pub struct EngineError {
    /// What was attempted, e.g. "start shard 3".
    pub attempt: String,
    /// Why.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What was asked for is refused, and would be again: the invoker's to mend.
    pub refused: bool,
}
