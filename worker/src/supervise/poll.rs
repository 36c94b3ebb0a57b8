//! One poll(2) over everything that can wake the worker. Level-triggered and stateless: what is not read now is told of again.

use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Whoever can wake the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Signals that arrived.
    Signals,
    /// The agent's frames.
    Agent,
    /// Room for ours.
    AgentReads,
    /// Somebody who dials the driver's socket.
    Caller,
    /// The driver's messages.
    Driver,
    /// Room for ours.
    DriverReads,
    /// The framework's standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// Room for what was typed.
    Typed,
}

/// A source, its descriptor, and what to wait for.
pub(super) type Watched<'a> = (Source, BorrowedFd<'a>, PollFlags);

/// Waits for at most so many milliseconds; gives the sources that have something, or that failed.
pub(super) fn wait_for(fds: &[Watched<'_>], ms: u64) -> Vec<Source> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::from(u32::try_from(ms % 1000).unwrap_or(0)) * 1_000_000,
    };
    match poll(&mut polled, Some(&timeout)) {
        Ok(0) | Err(Errno::INTR) => Vec::new(),
        _ => fds.iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty()).map(|((source, ..), _)| *source).collect(),
    }
}
