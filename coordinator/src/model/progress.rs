//! What a listener hears while a run goes on: facts, and news that is worth showing but not worth keeping.

use super::event::RunEvent;
use super::{SessionId, Slot};

/// Something for those who watch a run.
#[derive(Debug, Clone)]
pub enum Telling {
    /// A fact; it stands in the record.
    Event(RunEvent),
    /// News of the moment; it does not.
    Progress(Progress),
}

/// News of the moment.
#[derive(Debug, Clone)]
pub enum Progress {
    /// What is being done now, before the shards start: "looking for the image", "sending the context".
    Doing(String),
    /// A step of the image's build.
    BuildStep(BuildStep),
    /// A line or more that a step of the build printed.
    BuildLog {
        /// Identity of the step.
        step: String,
        /// Lossy UTF-8.
        text: String,
    },
    /// Bytes of the build context sent so far.
    ContextSent(u64),
    /// What the framework shows on the invoker's terminal, which it has.
    Screen(Vec<u8>),
    /// A session is at this for so long.
    Running {
        /// Which.
        session: SessionId,
        /// What runs.
        at: Slot,
        /// Since when, in milliseconds.
        for_ms: u64,
    },
}

/// A step of a build, as last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStep {
    /// Identity within the build.
    pub id: String,
    /// What the builder calls it, e.g. `[2/5] RUN apt-get update`.
    pub name: String,
    /// Where it is.
    pub state: BuildStepState,
}

/// Where a build step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildStepState {
    /// It runs.
    Started,
    /// It was taken from the builder's cache.
    Cached,
    /// It ended, after this many milliseconds.
    Done(u64),
    /// It failed, with this error.
    Failed(String),
}

/// Those who watch a run: the record's writer, the terminal, `--json`. Called in order from one task; must not block for long.
pub trait Listener: Send + Sync {
    /// Takes note.
    fn hear(&self, telling: &Telling);
}
