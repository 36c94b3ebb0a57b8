//! Everything that a run needs to know before it begins, as one value.

use splitci_worker::protocol::message::{InjectedFile, Limits, Start, TerminalSize};

use crate::model::event::{EventKind, Proven, Recalled};
use crate::model::settings::{RunSettings, SuiteSettings};
use crate::model::{Launch, Manifest, RunId, SessionId, SuiteId};
use crate::queue;

/// Says how to start a session of a suite.
pub type Launcher = Box<dyn Fn(SessionId, SuiteId) -> Launch + Send>;
/// Makes a plan from the files of each suite, as their frameworks listed them.
pub type Planner = Box<dyn Fn(&[Vec<String>]) -> Plan + Send>;

/// What is to be run of what was listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The units.
    pub manifest: Manifest,
    /// Files that are not among them since they were proven before.
    pub reused: Vec<Proven>,
    /// Files among them that were proven before too.
    pub canaries: Vec<Proven>,
}

impl From<Manifest> for Plan {
    fn from(manifest: Manifest) -> Self {
        Self { manifest, reused: Vec::new(), canaries: Vec::new() }
    }
}

/// A run, before it begins.
pub struct Brief {
    /// Its name.
    pub run: RunId,
    /// The queue's epoch: random, so that no message of another run is taken for one of this.
    pub epoch: queue::Epoch,
    /// What was asked for.
    pub settings: RunSettings,
    /// The framework's command in each session.
    pub launch: Launcher,
    /// Makes the manifest from the listed files: planned by what earlier runs took, or given (a reproduction).
    pub plan: Planner,
    /// What is known of each suite's framework and past.
    pub suites: Vec<SuiteBrief>,
    /// What earlier runs listed, suite by suite, of the same image, command and environment; empty where it is not known of all of them.
    pub recalled: Vec<Recalled>,
    /// How many framework processes start at a time, where they share this many processors; unlimited where nobody knows.
    pub boots_at_a_time: Option<u32>,
    /// Stop when the manifest is made.
    pub list_only: bool,
    /// The invoker's terminal, where the framework is to have it.
    pub terminal: Option<TerminalSize>,
    /// What happened before: the run's start, the image.
    pub preamble: Vec<EventKind>,
}

/// What is known of a suite before it is listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SuiteBrief {
    /// The exit status with which the framework refuses its arguments, if it has one of its own for that.
    pub usage_status: Option<i32>,
    /// How long it took in earlier runs, in milliseconds; 0 when nothing is known.
    pub expected_ms: u64,
}

/// The order to start a framework process, and what its shard has to know of it.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) suite: SuiteId,
    pub(super) settings: SuiteSettings,
    pub(super) start: Start,
    /// The files of the order.
    pub(super) blob: Vec<u8>,
    pub(super) usage_status: Option<i32>,
}

/// Output kept of one test, in bytes.
const TEST_OUTPUT: u64 = 256 << 10;
/// Output kept of one session, in bytes.
const SESSION_OUTPUT: u64 = 8 << 20;

impl Brief {
    /// How a framework process is started as this session.
    pub(super) fn open(&self, session: SessionId, suite: SuiteId) -> Opening {
        let launch = (self.launch)(session, suite);
        let timeouts = self.settings.timeouts;
        let limits = Limits {
            boot_ms: timeouts.boot_ms,
            test_ms: timeouts.test_ms,
            finish_ms: timeouts.test_ms,
            grace_ms: timeouts.grace_ms,
            test_output: TEST_OUTPUT,
            // What a person reads as it comes is not cut.
            session_output: if self.terminal.is_some() { u64::MAX } else { SESSION_OUTPUT },
        };
        let files = launch.files.iter().map(|(path, bytes)| InjectedFile { path: path.clone(), len: bytes.len() as u64 }).collect();
        let blob = launch.files.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let start = Start {
            session: session.number,
            argv: launch.argv,
            cwd: launch.cwd,
            env: launch.env,
            env_prepend: launch.env_prepend,
            env_remove: launch.env_remove,
            files,
            dump_signal: launch.dump_signal,
            limits,
            terminal: self.terminal,
        };
        let settings = self.settings.suite(suite).cloned().unwrap_or_default();
        Opening { suite, settings, start, blob, usage_status: self.suite(suite).usage_status }
    }

    /// What is known of a suite.
    pub(super) fn suite(&self, suite: SuiteId) -> SuiteBrief {
        usize::try_from(suite.0).ok().and_then(|suite| self.suites.get(suite)).copied().unwrap_or_default()
    }

    pub(super) fn policy(&self) -> queue::Policy {
        let batch = |suite: &SuiteSettings| suite.recipe.as_ref().map_or(1, |recipe| recipe.batch);
        let together = self.settings.suites.iter().map(batch).collect();
        queue::Policy { together, ..queue::Policy::for_shards(self.settings.shards) }
    }
}
