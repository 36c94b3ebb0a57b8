//! Everything that a run needs to know before it begins, as one value.

use splitci_worker::protocol::message::{InjectedFile, Limits, Start};

use crate::model::event::EventKind;
use crate::model::settings::RunSettings;
use crate::model::{Launch, Manifest, RunId, SessionId};
use crate::queue;

/// Says how to start a session.
pub type Launcher = Box<dyn Fn(SessionId) -> Launch + Send>;
/// Makes a manifest from the files that a framework listed.
pub type Planner = Box<dyn Fn(&[String]) -> Manifest + Send>;

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
    /// The exit status with which the framework refuses its arguments, if it has one of its own for that.
    pub usage_status: Option<i32>,
    /// Stop when the manifest is made.
    pub list_only: bool,
    /// What happened before: the run's start, the image.
    pub preamble: Vec<EventKind>,
}

/// Output kept of one test, in bytes.
const TEST_OUTPUT: u64 = 256 << 10;
/// Output kept of one session, in bytes.
const SESSION_OUTPUT: u64 = 8 << 20;

impl Brief {
    /// The order to start a framework process as this session, and the blob with its files.
    pub(super) fn start(&self, session: SessionId) -> (Start, Vec<u8>) {
        let launch = (self.launch)(session);
        let timeouts = self.settings.timeouts;
        let limits = Limits {
            boot_ms: timeouts.boot_ms,
            test_ms: timeouts.test_ms,
            finish_ms: timeouts.test_ms,
            grace_ms: timeouts.grace_ms,
            test_output: TEST_OUTPUT,
            session_output: SESSION_OUTPUT,
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
        };
        (start, blob)
    }

    pub(super) fn policy(&self) -> queue::Policy {
        queue::Policy::for_shards(self.settings.shards)
    }
}
