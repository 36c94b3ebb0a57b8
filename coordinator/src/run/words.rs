//! The words between a run's brain and its shell: what happens to a run, and what a run wants done.

use splitci_worker::protocol::message::{FromWorker, TerminalSize, ToWorker};

use crate::engine::{ShardEnd, ShardSpec};
use crate::model::event::Cancelled;
use crate::model::verdict::Verdict;
use crate::model::{ShardId, Telling};

/// Why no session could come up, where the invoker can do something about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The framework's program is not there: what was tried.
    Absent(String),
    /// The framework does not take its arguments: what it said.
    Usage(String),
    /// The engine refuses what shards are to be: what it said.
    Refused(String),
}

/// What happens to a run.
#[derive(Debug)]
pub enum Input {
    /// Begin.
    Begin,
    /// The engine started a shard.
    ShardStarted {
        /// Which.
        shard: ShardId,
        /// Container or process.
        name: String,
    },
    /// The engine could not start it.
    ShardNotStarted {
        /// Which.
        shard: ShardId,
        /// Why.
        detail: String,
        /// It refuses what was asked for, and would do so again.
        refused: bool,
    },
    /// A worker said something.
    Frame {
        /// Which shard's.
        shard: ShardId,
        /// Control body.
        message: FromWorker,
        /// Bytes behind it.
        blob: Vec<u8>,
    },
    /// A shard's stream has ended, and the engine has said how. Exactly once for each `StartShard` that succeeded.
    ShardGone {
        /// Which.
        shard: ShardId,
        /// How.
        end: ShardEnd,
        /// What was wrong with the stream, if it was not the protocol.
        garbled: Option<String>,
    },
    /// The invoker typed, for the framework that has the terminal.
    Typed(Vec<u8>),
    /// The invoker's terminal has another size.
    Resized(TerminalSize),
    /// Stop early.
    Cancel(Cancelled),
    /// Stop at once: do not wait for anything to clean up.
    CancelNow,
    /// Time has passed.
    Tick,
}

/// What a run wants done.
#[derive(Debug)]
pub enum Effect {
    /// Start a shard.
    StartShard(ShardSpec),
    /// Send to a shard's worker.
    Send {
        /// Which shard.
        shard: ShardId,
        /// Control body.
        message: ToWorker,
        /// Bytes behind it.
        blob: Vec<u8>,
    },
    /// Close the stream to a shard and see it gone.
    EndShard(ShardId),
    /// A fact or news for those who listen.
    Tell(Telling),
    /// The run is over; nothing more will come.
    Finished(Verdict),
}
