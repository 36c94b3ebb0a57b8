//! Facts about a run, past tense: the record is a list of them, and every report and the verdict are folds over it.
//!
//! No colours, no counters that a fold can compute, no "show this". A new kind is a compile error in every fold: match without a wildcard.
//!
//! Which results count: a test's outcome under `(unit, fence)` is *accepted* by `UnitFinished` or, below `final_below`, by `UnitInterrupted` of the
//! same fence, and taken back by `UnitSuperseded`. Everything else was overtaken and is information only. A test that is tried again (`RetryPlanned`) has
//! an accepted bad outcome in one unit and, perhaps, a better one in the next.

use serde::{Deserialize, Serialize};

use super::settings::RunSettings;
use super::verdict::Verdict;
use super::{
    Exit, Fence, ImageIdentity, Manifest, Outcome, Provenance, RunId, SessionId, ShardId, Slot, Stopped, SuiteId, TestKey, UnitId,
};

/// One fact, with its place and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Gap-free from 0 within a run, assigned in one place.
    pub seq: u64,
    /// Milliseconds since the run's start, by a clock that only goes forward.
    pub at_ms: u64,
    /// What happened.
    #[serde(rename = "event")]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Always the first.
    RunStarted(Box<RunStarted>),
    /// The image is there.
    ImageReady {
        /// Which.
        identity: ImageIdentity,
        /// Name given to it, e.g. `splitci/app:3f2a…`.
        reference: String,
        /// How it came.
        how: ImageSource,
        /// Its key, when it was built from the project.
        key: Option<String>,
        /// How long the build took, or the search for it, in milliseconds.
        #[serde(default, skip_serializing_if = "is_nothing")]
        took_ms: u64,
        /// How long the build took that was not needed, in milliseconds; 0 if nobody knows.
        #[serde(default, skip_serializing_if = "is_nothing")]
        saved_ms: u64,
        /// How many steps the build had, if there was one that told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<BuiltSteps>,
    },
    /// A shard's container or process was started.
    ShardStarted {
        /// Which.
        shard: ShardId,
        /// How often before: 0 at first.
        restarts: u32,
        /// Container id or process id, for people.
        name: String,
    },
    /// A shard's worker said hello.
    ShardReady {
        /// Which.
        shard: ShardId,
    },
    /// A shard could not start, or its stream ended before it was told to.
    ShardLost {
        /// Which.
        shard: ShardId,
        /// What is known about it.
        cause: ShardLoss,
        /// Who has to act.
        detail: String,
    },
    /// A framework is up and listed its files.
    SessionReady {
        /// Which.
        session: SessionId,
        /// What it can run.
        #[serde(default, skip_serializing_if = "SuiteId::is_first")]
        suite: SuiteId,
        /// Framework.
        framework: String,
        /// Its version.
        version: String,
        /// Its seed.
        seed: u64,
        /// From the process's start, in milliseconds.
        boot_ms: u64,
        /// Hash of the list (hex), for comparison with the first one.
        list_hash: String,
    },
    /// A suite is known: the list of its first session.
    SuiteListed {
        /// Which.
        #[serde(default, skip_serializing_if = "SuiteId::is_first")]
        suite: SuiteId,
        /// Its files, in the framework's order.
        files: Vec<String>,
        /// Hash of the list (hex).
        list_hash: String,
        /// The earlier run whose list it is, of the same image, command and environment, where nothing is to be run and so no session lists it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<RunId>,
    },
    /// A file is not run: what it was proven to do before stands. Told between the lists and the manifest, which does not have it.
    FileReused(Box<Proven>),
    /// A file could have been reused and is in the manifest all the same, to see whether it still does what it was proven to do.
    CanaryPlanned(Box<Proven>),
    /// The manifest is frozen: nothing was dispatched before.
    PlanMade {
        /// The units.
        manifest: Manifest,
        /// blake3 of the manifest (hex).
        hash: String,
    },
    /// A unit was given to a session.
    UnitLeased {
        /// Which.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
        /// To whom.
        session: SessionId,
        /// Tests with a lower ordinal are final already.
        from: u32,
        /// Alone, because a test of it was lost before.
        suspect: bool,
    },
    /// A unit was loaded.
    UnitDeclared {
        /// Which.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
        /// All ids of its file.
        ids: Vec<String>,
        /// Ordinals that run; absent for all.
        selected: Option<Vec<u32>>,
    },
    /// A test ended.
    TestFinished(Box<TestFinished>),
    /// A unit is through: results under this fence count.
    UnitFinished {
        /// Which.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
    },
    /// A session was lost with this unit begun: results below `final_below` count, the rest of it will be run again.
    UnitInterrupted {
        /// Which.
        unit: UnitId,
        /// Under which fence.
        fence: Fence,
        /// Ordinals below this are final.
        final_below: u32,
        /// The test that ran when the session was lost.
        suspect: Option<u32>,
    },
    /// All results of this unit are void; it runs again from the start, or its fallback does.
    UnitSuperseded {
        /// Which.
        unit: UnitId,
        /// Why.
        reason: Superseded,
    },
    /// Tests of a unit that is through failed, and run again in a unit of their own. What ends there stands for them.
    RetryPlanned(Box<RetryPlanned>),
    /// A test (or the loading of a unit) took its session with it as often as is allowed: final, and red.
    TestCrashed {
        /// Which; the ordinal is `u32::MAX` when it was the loading of the unit.
        test: TestKey,
        /// Its id if the unit had been declared, else the file.
        id: String,
        /// The session that it took last.
        session: SessionId,
        /// How.
        how: Crash,
    },
    /// A framework's process is gone.
    SessionEnded(Box<SessionEnded>),
    /// Output that belongs to no test, lossy UTF-8.
    Output {
        /// Whose.
        session: SessionId,
        /// What ran when it arrived.
        at: Slot,
        /// The text.
        text: String,
    },
    /// Something the user should know, e.g. that a coverage threshold is not checked.
    Notice {
        /// Where, if in one session.
        session: Option<SessionId>,
        /// One sentence.
        text: String,
    },
    /// The run is stopping before its end.
    RunCancelled {
        /// Why.
        reason: Cancelled,
    },
    /// Always the last. A record without it is the record of a run that was killed.
    RunFinished {
        /// The answer.
        verdict: Verdict,
        /// The exit status.
        exit: u8,
    },
}

/// The run's beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Its name.
    pub run: RunId,
    /// Version of splitci.
    pub splitci: String,
    /// The project's directory.
    pub project: String,
    /// Wall clock at the start, RFC 3339 in UTC.
    pub started: String,
    /// What was asked for.
    pub settings: RunSettings,
    /// The run that this one reproduces, or whose failures it runs.
    pub of: Option<RunId>,
    /// The session of that run which this one reproduces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<SessionId>,
    /// What it was of; nothing if its tests were local processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// A file whose tests all passed or skipped themselves, at the first attempt, in an earlier run of the same image content, command, environment and limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Of which suite.
    #[serde(default, skip_serializing_if = "SuiteId::is_first")]
    pub suite: SuiteId,
    /// Which, as the run names it.
    pub file: String,
    /// The run that ran it.
    pub of: RunId,
    /// What was the same then as now: a hash (hex).
    pub key: String,
    /// Wall clock at that run's start, RFC 3339 in UTC.
    pub at: String,
    /// That run's record was there when this was told. Records go sooner than what they prove.
    pub record: bool,
    /// Its tests, in the order of the file.
    pub tests: Vec<ProvenTest>,
}

/// The list of a suite, as an earlier run of the same image, command and environment made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// Which run.
    pub of: RunId,
    /// The files, in the framework's order.
    pub files: Vec<String>,
    /// Hash of the list (hex).
    pub list_hash: String,
}

/// How a test ended in an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenTest {
    /// Its id, as the run names it.
    pub id: String,
    /// Passed or skipped.
    pub outcome: Outcome,
    /// Microseconds.
    pub micros: u64,
}

/// Another attempt at some tests of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPlanned {
    /// The new unit: the next number after all that there are.
    pub unit: UnitId,
    /// The unit of the manifest whose tests they are.
    pub of: UnitId,
    /// Which time they are tried again: 1 at first.
    pub attempt: u32,
    /// Their ordinals in the file, ascending.
    pub ordinals: Vec<u32>,
    /// Their ids, each once.
    pub ids: Vec<String>,
}

/// Steps of a build that did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltSteps {
    /// Those that were taken from a cache, the engine's own or another machine's.
    pub cached: u32,
    /// All of them.
    pub all: u32,
}

/// How an image came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Built in this run.
    Built,
    /// Found: already built for the same inputs.
    Found,
    /// Named by the user.
    Given,
}

/// A finished test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestFinished {
    /// Which.
    pub test: TestKey,
    /// Under which lease.
    pub fence: Fence,
    /// How.
    pub outcome: Outcome,
    /// Microseconds, set-up and tear-down included.
    pub micros: u64,
    /// File of the failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Line there; 0 when unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub line: u32,
    /// One line of reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What it printed, capped, lossy UTF-8; kept for tests that did not pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Its trace, capped, lossy UTF-8.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_nothing(n: &u64) -> bool {
    *n == 0
}

/// A framework process's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// Which.
    pub session: SessionId,
    /// Exit or signal.
    pub how: Exit,
    /// Why the worker ended it, if it did.
    pub stopped: Option<Stopped>,
    /// Whether it is an error, and of what kind.
    pub close: Close,
    /// What ran at the end.
    pub at: Slot,
    /// Out of memory.
    pub oom: bool,
    /// Peak resident memory in bytes.
    pub peak_rss: u64,
    /// Processes that outlived it and were killed.
    pub strays: u32,
    /// Errors outside of any test.
    pub errors: String,
    /// Tests it reported.
    pub tests: u64,
}

/// Whether a session closed as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Close {
    /// Bye, matching counts, a status that its tests explain.
    Clean,
    /// It was lost or stopped with work begun or waiting; that work goes back to the queue.
    Lost,
    /// The code under test ended it wrongly: a status of its own, errors outside of tests, a count that does not match. Red.
    Dirty,
    /// No driver said hello.
    NoHello,
}

/// Why a shard was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardLoss {
    /// The engine could not start it.
    NotStarted,
    /// Killed from outside.
    Killed,
    /// The engine says that memory ran out.
    OutOfMemory,
    /// The stream ended or fell silent, and nothing more is known.
    Gone,
    /// The stream carried something that is not the protocol.
    Garbled,
}

/// Why results of a unit are void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Superseded {
    /// The ids of its file differ between two loads.
    IdsChanged,
}

/// What killed a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// The process exited with this status in the middle of the test.
    Exited(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// Memory ran out.
    OutOfMemory,
    /// It took longer than its limit.
    TimedOut,
    /// Its shard was lost.
    ShardLost,
    /// It broke the driver's protocol.
    DriverLost,
}

/// Why a run stopped early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancelled {
    /// By the user.
    Interrupted,
    /// `--fail-fast`.
    FailFast,
    /// The run's deadline.
    Deadline,
    /// No shard can be started any more.
    NoShards,
}
