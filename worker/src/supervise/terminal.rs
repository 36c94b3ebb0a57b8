//! A terminal for the framework, where somebody wants to talk to it: a debugger asks and is answered there.
//!
//! The other side of the pair becomes the child's standard streams and, taken by itself before it executes (`process`), its controlling terminal, so that Ctrl-C is
//! a signal there as anywhere. Nothing is interpreted here: bytes go to and fro.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::protocol::message::TerminalSize;

/// Gives the command a new terminal, and us the other side of it.
pub(super) fn attach(command: &mut Command, size: TerminalSize) -> Result<OwnedFd, Errno> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    resize(&ours, size)?;
    let theirs = rustix::fs::open(ptsname(&ours, Vec::new())?, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    command.stdin(theirs.try_clone().map_err(|_| Errno::MFILE)?).stdout(theirs.try_clone().map_err(|_| Errno::MFILE)?).stderr(theirs);
    Ok(ours)
}

/// Tells whoever runs on the terminal that it has another size.
pub(super) fn resize(terminal: impl AsFd, size: TerminalSize) -> Result<(), Errno> {
    tcsetwinsize(terminal, Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 })
}
