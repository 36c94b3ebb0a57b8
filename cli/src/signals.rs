//! Signals, as people use them: Ctrl-C stops in order, a second one at once; SIGTERM is the same with its own exit status; after Ctrl-Z and `fg`
//! the run is told how long it slept.
//!
//! SIGTSTP is left to the system, which stops the process as everybody expects. SIGHUP is left alone too, so that `nohup` works; without it the
//! process dies and its shards end with their streams.

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
    continued: Signal,
    asked_before: bool,
}

impl Signals {
    /// Starts to listen. Needs a runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            continued: signal(SignalKind::from_raw(CONTINUE))?,
            asked_before: false,
        })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Asked {
        let exit = tokio::select! {
            _ = self.interrupt.recv() => Exit::INTERRUPTED,
            _ = self.terminate.recv() => Exit::TERMINATED,
            _ = self.continued.recv() => return Asked::Continued,
        };
        if std::mem::replace(&mut self.asked_before, true) { Asked::StopNow(exit) } else { Asked::Stop(exit) }
    }
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
