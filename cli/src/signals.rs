//! Signals, as people use them: Ctrl-C stops in order, a second one at once; SIGTERM is the same with its own exit status; after Ctrl-Z and `fg`
//! the run is told how long it slept.
//!
//! SIGTSTP is left to the system, which stops the process as everybody expects. SIGHUP, a terminal that went away, is as SIGTERM, unless who started us
//! has it ignored: that is how `nohup` works.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::ui::exit::Exit;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Stop in order, and end with this status.
    Stop(Exit),
    /// Stop at once.
    StopNow(Exit),
    /// The process was continued.
    Continued,
}

/// The signals that are listened to.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
    continued: Signal,
    asked_before: bool,
}

impl Signals {
    /// Starts to listen. Needs a runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if ignores_hang_up() { None } else { Some(signal(SignalKind::hangup())?) },
            continued: signal(SignalKind::from_raw(CONTINUE))?,
            asked_before: false,
        })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Asked {
        let exit = tokio::select! {
            _ = self.interrupt.recv() => Exit::INTERRUPTED,
            _ = self.terminate.recv() => Exit::TERMINATED,
            Some(()) = heard(&mut self.hang_up) => Exit::HUNG_UP,
            _ = self.continued.recv() => return Asked::Continued,
        };
        if std::mem::replace(&mut self.asked_before, true) { Asked::StopNow(exit) } else { Asked::Stop(exit) }
    }
}

/// The next signal, if it is listened to at all.
async fn heard(signal: &mut Option<Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}

/// Whether SIGHUP, the first of all signals, was ignored before we came. Listening would undo that.
fn ignores_hang_up() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// SIGCONT on Linux and macOS differ.
const CONTINUE: i32 = if cfg!(target_os = "linux") { 18 } else { 19 };

/// How long a worker lives without hearing from us.
const WORKER_PATIENCE: Duration = Duration::from_mins(1);

/// What to say after having been stopped, if it mattered.
pub(crate) fn after_sleep(asleep: Duration) -> Option<String> {
    let slept = format!("splitci was stopped for {} s", asleep.as_secs());
    if asleep >= WORKER_PATIENCE {
        Some(format!("{slept}; shards end by themselves after {} s, so they are started again", WORKER_PATIENCE.as_secs()))
    } else {
        (asleep >= Duration::from_secs(2)).then_some(slept)
    }
}
