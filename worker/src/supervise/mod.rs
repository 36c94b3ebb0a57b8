//! The program inside a shard: runs one framework process at a time, enforces its deadlines, collects what it says and prints, and leaves nothing behind.
//!
//! `machine` (with `session`, `dialogue`, `watch`, `output`) decides and is pure; `shell` waits in one poll(2), turns what happened into inputs
//! and carries effects out with `process`, `place`, `stream`, `memory`. One thread, no async: a process whose parent's *thread* dies gets
//! its death signal, so the thread that spawns must be the one that lives.
//!
//! # Life
//! It ends when its input stream ends, after 60 s without a frame, when told, or at a signal; everything below it is killed first.
//! As PID 1, or as a child subreaper elsewhere, it adopts and reaps whatever the framework leaves.
//!
//! # Environment it reads
//! - `SPLITCI_RUN_DIR`: directory for the sessions' files; kept short, since a socket's path has at most 107 bytes. Without it: `/.splitci-run`
//!   if that exists, else a directory of its own under the temporary one.
//! - `SPLITCI_SILENCE_MS`: instead of the 60 s; for tests.
//!
//! Neither is handed on to the framework.

mod attend;
mod dialogue;
mod environment;
mod live;
mod machine;
mod memory;
mod output;
mod place;
mod poll;
mod process;
mod procfs;
mod session;
mod shell;
mod stream;
mod terminal;
mod watch;

pub use attend::attend;
pub use shell::{Settings, StartError, run};

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
