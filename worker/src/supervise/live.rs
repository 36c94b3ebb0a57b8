//! What a living session holds of the system: its place, its process, the driver's connection. It reads and kills; it decides nothing.

use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Pid, getpid};

use super::machine::Target;
use super::place::Place;
use super::poll::{Source, Watched};
use super::process::{self, Process, Reap, Reaped};
use super::procfs;
use super::stream::{Outbox, Read, read};
use super::terminal;
use crate::protocol::message::TerminalSize;

const KILL: i32 = 9;
/// How long killed processes may take to vanish. One that hangs in the kernel must not hang the worker.
const VANISH: Duration = Duration::from_secs(5);

/// The driver's connection.
#[derive(Debug)]
pub(super) struct DriverLink {
    pub(super) stream: UnixStream,
    pub(super) outbox: Outbox,
    pid: i32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) place: Place,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) driver: Option<DriverLink>,
    /// The framework's terminal, if it has one, and what was typed there and not yet taken.
    terminal: Option<(OwnedFd, Outbox)>,
    /// Dialled, and not yet accepted or refused.
    dialled: Option<(UnixStream, i32)>,
    /// The started process, until it is reaped.
    leader: Option<Pid>,
    /// Killed on purpose: they did not outlive the framework by themselves.
    killed: HashSet<i32>,
    pub(super) oom_before: u64,
}

impl Live {
    pub(super) fn new(place: Place, process: Process, oom_before: u64) -> Self {
        let Process { pid, stdout, stderr, terminal } = process;
        let terminal = terminal.map(|terminal| (terminal, Outbox::default()));
        Self { place, stdout, stderr, driver: None, terminal, dialled: None, leader: Some(pid), killed: HashSet::new(), oom_before }
    }

    /// Takes one connection off the listener; gives its process and whether it descends from here.
    pub(super) fn take_call(&mut self) -> Option<(i32, bool)> {
        let (stream, _) = self.place.listener()?.accept().ok()?;
        let pid = rustix::net::sockopt::socket_peercred(&stream).map_or(0, |peer| peer.pid.as_raw_pid());
        let descendant = procfs::descends(pid, own_pid());
        self.dialled = Some((stream, pid));
        Some((pid, descendant))
    }

    /// Keeps the connection taken last.
    pub(super) fn accept(&mut self) {
        if let Some((stream, pid)) = self.dialled.take() {
            // A blocking connection would hang the worker on a driver that does not read; it is seen by poll instead.
            stream.set_nonblocking(true).ok();
            self.driver = Some(DriverLink { stream, outbox: Outbox::default(), pid });
        }
    }

    /// Closes the connection taken last.
    pub(super) fn refuse(&mut self) {
        self.dialled = None;
    }

    /// What to wait for at any time: callers, and room for what the driver is to read.
    pub(super) fn call_sources<'a>(&'a self, fds: &mut Vec<Watched<'a>>) {
        fds.extend(self.place.listener().map(|listener| (Source::Caller, listener.as_fd(), PollFlags::IN)));
        if let Some(driver) = self.driver.as_ref().filter(|driver| !driver.outbox.is_empty()) {
            fds.push((Source::DriverReads, driver.stream.as_fd(), PollFlags::OUT));
        }
        if let Some((terminal, _)) = self.terminal.as_ref().filter(|(_, typed)| !typed.is_empty()) {
            fds.push((Source::Typed, terminal.as_fd(), PollFlags::OUT));
        }
    }

    /// Somebody typed.
    pub(super) fn type_in(&mut self, keys: &[u8]) {
        if let Some((_, typed)) = &mut self.terminal {
            typed.tail().extend_from_slice(keys);
        }
        self.flush_typed();
    }

    /// Writes what was typed, as far as it is taken. A terminal that nobody has any more takes nothing.
    pub(super) fn flush_typed(&mut self) {
        if let Some((terminal, typed)) = &mut self.terminal
            && typed.flush(&*terminal).is_err()
        {
            *typed = Outbox::default();
        }
    }

    /// The terminal has another size.
    pub(super) fn resize(&self, size: TerminalSize) {
        if let Some((terminal, _)) = &self.terminal {
            // One that nobody has any more has no size either.
            terminal::resize(terminal, size).ok();
        }
    }

    /// The driver's words.
    pub(super) fn driver_source<'a>(&'a self, fds: &mut Vec<Watched<'a>>) {
        fds.extend(self.driver.as_ref().map(|driver| (Source::Driver, driver.stream.as_fd(), PollFlags::IN)));
    }

    /// What the process prints.
    pub(super) fn pipe_sources<'a>(&'a self, fds: &mut Vec<Watched<'a>>) {
        fds.extend(self.stdout.as_ref().map(|pipe| (Source::Stdout, pipe.as_fd(), PollFlags::IN)));
        fds.extend(self.stderr.as_ref().map(|pipe| (Source::Stderr, pipe.as_fd(), PollFlags::IN)));
    }

    /// Writes what waits for the driver. One that has gone is noticed when reading from it ends.
    pub(super) fn flush_driver(&mut self) {
        if let Some(driver) = &mut self.driver
            && driver.outbox.flush(&driver.stream).is_err()
        {
            driver.outbox = Outbox::default();
        }
    }

    /// Reads once from the driver.
    pub(super) fn read_driver(&mut self, buffer: &mut [u8]) -> Read {
        self.driver.as_ref().map_or(Read::Nothing, |driver| read(&driver.stream, buffer))
    }

    /// Reads once from a pipe; one that ended is closed.
    pub(super) fn read_pipe(&mut self, stderr: bool, buffer: &mut [u8]) -> Read {
        let pipe = if stderr { &mut self.stderr } else { &mut self.stdout };
        let Some(fd) = pipe.as_ref() else { return Read::Nothing };
        let got = read(fd, buffer);
        if got == Read::End {
            *pipe = None;
        }
        got
    }

    /// Whether this is the started process; it is forgotten then, since its number may be given away from now on.
    pub(super) fn is_leader(&mut self, reaped: &Reaped) -> bool {
        self.leader.take_if(|leader| *leader == reaped.pid).is_some()
    }

    /// Signals a part of the session.
    pub(super) fn signal(&self, target: Target, number: i32) {
        match (target, &self.driver, self.leader) {
            // The driver's process may be a grandchild, below an entrypoint that a stack dump's signal would only kill.
            (Target::Framework, Some(driver), _) if procfs::descends(driver.pid, own_pid()) => process::signal(driver.pid, number),
            (Target::Framework, _, Some(leader)) => process::signal(leader.as_raw_pid(), number),
            (Target::Group, _, Some(leader)) => process::signal_group(leader, number),
            _ => {}
        }
    }

    /// KILLs the group and whatever descends from here.
    pub(super) fn kill_all(&mut self) {
        let living = procfs::descendants(own_pid());
        self.signal(Target::Group, KILL);
        for pid in &living {
            process::signal(*pid, KILL);
        }
        self.killed.extend(living);
    }

    /// Kills what is left below here and waits until it is gone; gives the number of those that had not been killed before.
    pub(super) fn sweep(&mut self) -> u32 {
        let killed = std::mem::take(&mut self.killed);
        let strays = end_descendants();
        u32::try_from(strays.difference(&killed).count()).unwrap_or(u32::MAX)
    }
}

/// Kills every descendant, reaps, and looks again until none is left: what forks faster than it dies is caught by a later look.
pub(super) fn end_descendants() -> HashSet<i32> {
    let mut seen = HashSet::new();
    let until = Instant::now() + VANISH;
    let mut pause = Duration::from_micros(200);
    while !reaped_all() && Instant::now() < until {
        for pid in procfs::descendants(own_pid()) {
            process::signal(pid, KILL);
            seen.insert(pid);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    seen
}

fn reaped_all() -> bool {
    loop {
        match process::reap() {
            Reap::One(_) => {}
            Reap::Later => return false,
            Reap::NoChildren => return true,
        }
    }
}

fn own_pid() -> i32 {
    getpid().as_raw_pid()
}
