//! What agent and worker say to each other: one enum a direction.
//!
//! A message is the JSON control body of a frame; bulk bytes (outputs, files) travel behind it as the frame's blob, and the body says which
//! part of the blob is whose by lengths, in order. The worker never asks; it is told what to start and what to run, and tells what happened.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::Version;

/// One framework process, from its start to its end; counts from 1 within a shard.
pub type SessionNumber = u32;

/// From the agent to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Start a framework process. Only one session lives at a time.
    Start(Start),
    /// Run these units, in this order, after those already given.
    Run {
        /// Who shall run them; ignored if that session is over.
        session: SessionNumber,
        /// What to run.
        units: Vec<RunUnit>,
    },
    /// Nothing more will come: end the framework's session in order and say bye.
    Finish {
        /// Which session.
        session: SessionNumber,
    },
    /// End the framework's process now: TERM, grace, KILL.
    Abort {
        /// Which session.
        session: SessionNumber,
    },
    /// Somebody typed: the frame's blob is for the framework's terminal.
    Keys {
        /// Whose terminal; ignored if that session is over, or has none.
        session: SessionNumber,
    },
    /// The terminal has another size.
    Resize {
        /// Whose.
        session: SessionNumber,
        /// How large it is now.
        size: TerminalSize,
    },
    /// The agent is alive. Sent every 5 s and answered; the worker exits after 60 s without any frame.
    Beat,
    /// End everything and exit.
    Exit,
}

/// How to start a framework process. The frame's blob holds the contents of `files`, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The number the agent gives it.
    pub session: SessionNumber,
    /// The whole command, entrypoint included. `argv[0]` is looked up in the child's `PATH`. The word `{worker}` stands for the worker's own program.
    pub argv: Vec<String>,
    /// Working directory; the worker's own when absent.
    pub cwd: Option<String>,
    /// Variables set in the child, over the worker's own environment. A value may contain `{run}`: the session's private directory.
    pub env: Vec<(String, String)>,
    /// Variables put in front of what the child would inherit, joined by the separator: name, value, separator. The old value, if any,
    /// is handed on as `SPLITCI_SAVED_<name>` so that the driver can restore it.
    pub env_prepend: Vec<(String, String, String)>,
    /// Variables removed from the child.
    pub env_remove: Vec<String>,
    /// Files written into the session's private directory before the start (the driver).
    pub files: Vec<InjectedFile>,
    /// Signal number that makes the framework print its stacks, where it has one.
    pub dump_signal: Option<i32>,
    /// Deadlines and caps.
    pub limits: Limits,
    /// A terminal of this size instead of no input and two pipes: what is shown there comes as output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A file for the session's private directory; its bytes are in the blob.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InjectedFile {
    /// Relative path, no `..`.
    pub path: String,
    /// Length of its content in the blob.
    pub len: u64,
}

/// Deadlines in milliseconds, caps in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From start to the driver's list of units. Default 5 min.
    pub boot_ms: u64,
    /// One test, or the loading of one unit. Default 10 min.
    pub test_ms: u64,
    /// From the order to finish to the process's end. Default: as a test.
    pub finish_ms: u64,
    /// From TERM to KILL. Default 5 s.
    pub grace_ms: u64,
    /// Output kept of one test, half its head and half its tail. Default 256 KiB.
    pub test_output: u64,
    /// Output kept of one session outside of what the framework captures. Default 8 MiB.
    pub session_output: u64,
}

/// One unit to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunUnit {
    /// Its number in the manifest.
    pub unit: u32,
    /// Fence of its lease; every message about this run of the unit carries it.
    pub fence: u64,
    /// The name the driver listed: a file.
    pub name: String,
    /// Which of the file's tests.
    pub select: Select,
    /// Only tests with an ordinal of at least this run.
    pub from: u32,
    /// Only tests with an ordinal below this run.
    pub until: Option<u32>,
    /// Report every test at once: the unit holds a suspect, and what is buffered when a process dies would have to run again.
    pub careful: bool,
}

/// Which tests of a file a unit has, by id. An id that occurs twice in the file means both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// Every test.
    All,
    /// Those named.
    Only(Vec<String>),
    /// All but those named: the rest of a sliced file.
    Except(Vec<String>),
}

/// From the worker to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The first message: the worker is there.
    Hello {
        /// The protocol it speaks.
        version: Version,
        /// Its process id, in its own namespace.
        pid: u32,
        /// Memory limit of its control group in bytes, where there is one.
        memory_limit: Option<u64>,
    },
    /// The framework's driver said hello and listed its units.
    Ready {
        /// Which session.
        session: SessionNumber,
        /// Framework's name, e.g. `pytest`.
        framework: String,
        /// Framework's version.
        version: String,
        /// The seed that the framework uses.
        seed: u64,
        /// Process id of the framework.
        pid: u32,
        /// Milliseconds from the process's start to this message.
        boot_ms: u64,
        /// The unit names, in the framework's order.
        units: Vec<String>,
    },
    /// A unit was loaded and has these tests.
    Declared {
        /// Which session.
        session: SessionNumber,
        /// Which unit.
        unit: u32,
        /// Under which lease.
        fence: u64,
        /// Ids of all tests of its file, in order.
        ids: Vec<String>,
        /// Ordinals that will run; absent when all will.
        selected: Option<Vec<u32>>,
    },
    /// Tests ended. The blob holds their outputs and details in order: output, details, output, details.
    Finished {
        /// Which session.
        session: SessionNumber,
        /// The tests, in the order in which they ended.
        tests: Vec<FinishedTest>,
    },
    /// A unit's tests have all been reported.
    UnitEnd {
        /// Which session.
        session: SessionNumber,
        /// Which unit.
        unit: u32,
        /// Under which lease.
        fence: u64,
        /// How many tests the driver says it ran in it.
        count: u32,
    },
    /// A test, or the loading of a unit, takes longer than a second: sent then, and every five seconds after. What starts is told by `Declared`.
    Running {
        /// Which session.
        session: SessionNumber,
        /// What runs.
        at: Slot,
        /// For how long already, in milliseconds.
        for_ms: u64,
    },
    /// The answer to a beat: the worker is alive.
    Beat {
        /// What its session is at; idle without one.
        at: Slot,
    },
    /// Output that the framework did not attribute to a test; the blob has it.
    Output {
        /// Which session.
        session: SessionNumber,
        /// From standard error rather than standard output.
        stderr: bool,
        /// What ran when it arrived.
        at: Slot,
    },
    /// The driver has something to tell the user, e.g. that a coverage threshold is not checked.
    Notice {
        /// Which session.
        session: SessionNumber,
        /// One sentence.
        text: String,
    },
    /// The driver closed the framework's session in order.
    Bye {
        /// Which session.
        session: SessionNumber,
        /// How many tests it reported.
        count: u64,
        /// The framework's own exit status.
        status: i32,
        /// What went wrong outside of any test; empty if nothing. A non-empty text is an error of the session.
        errors: String,
    },
    /// The framework's process and all its descendants are gone. Always the last message of a session.
    Ended(Ended),
    /// The worker could not do what it was told.
    Fault {
        /// Which session, if one.
        session: Option<SessionNumber>,
        /// What it tried, and the chain of causes.
        text: String,
    },
}

impl FromWorker {
    /// The session that it is about, if one.
    pub fn session(&self) -> Option<SessionNumber> {
        match self {
            Self::Hello { .. } | Self::Beat { .. } => None,
            Self::Fault { session, .. } => *session,
            Self::Ready { session, .. }
            | Self::Declared { session, .. }
            | Self::Finished { session, .. }
            | Self::UnitEnd { session, .. }
            | Self::Running { session, .. }
            | Self::Output { session, .. }
            | Self::Notice { session, .. }
            | Self::Bye { session, .. } => Some(*session),
            Self::Ended(ended) => Some(ended.session),
        }
    }
}

/// One finished test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedTest {
    /// Unit.
    pub unit: u32,
    /// Lease.
    pub fence: u64,
    /// Which test of the unit's file.
    pub ordinal: u32,
    /// How it ended.
    pub outcome: super::driver::Outcome,
    /// How long it took, set-up and tear-down included.
    pub micros: u64,
    /// File and line of a failure; empty and 0 when unknown.
    pub file: String,
    /// Counts from 1.
    pub line: u32,
    /// One line: the failure's or the skip's reason.
    pub message: String,
    /// Bytes of output in the blob.
    pub output: u32,
    /// Bytes of details (trace) in the blob, after its output.
    pub details: u32,
}

/// What a session is at, as its slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The framework starts, or waits for work.
    Idle,
    /// It loads a unit.
    Loading {
        /// Which.
        unit: u32,
    },
    /// It runs a test.
    Test {
        /// Of which unit.
        unit: u32,
        /// Which.
        ordinal: u32,
    },
    /// It closes its session.
    Closing,
}

/// How a framework process ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which session.
    pub session: SessionNumber,
    /// Exit or signal.
    pub how: Exit,
    /// Why the worker ended it, if it did.
    pub stopped: Option<Stopped>,
    /// Whether the driver said hello before.
    pub hello: bool,
    /// Whether the driver said bye before.
    pub bye: bool,
    /// What ran when it ended, from the slot.
    pub at: Slot,
    /// A process of the shard was killed for want of memory during this session.
    pub oom: bool,
    /// Peak resident memory of the framework process in bytes.
    pub peak_rss: u64,
    /// Processes that outlived the framework and were killed.
    pub strays: u32,
    /// Output dropped because of the session's cap, in bytes.
    pub dropped_output: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It could not be started.
    NotStarted,
}

/// Why the worker ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// No list of units before the boot deadline.
    BootTimeout,
    /// One test, or one unit's loading, took longer than its limit.
    TestTimeout,
    /// The session did not close in time.
    FinishTimeout,
    /// The agent said so.
    Aborted,
    /// The driver broke the protocol, or closed its connection while its process lived on.
    DriverLost,
}
