//! The loop around the machine: waits in one poll(2) for everything, says what happened, carries out what it answers.
//!
//! Each round reads every ready source once, in an order that keeps causes before effects: slot and driver before the process's end, everything
//! still in the pipes before the news of that end. While the agent does not read, driver and pipes are not read either: the framework waits,
//! nothing is lost, and memory stays bounded. A test costs no system call here: results come many to a read and leave many to a write.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::DumpableBehavior;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::environment::{Environment, compose};
use super::live::{Live, end_descendants};
use super::machine::{Effect, Input, Leave, Machine};
use super::memory::MemoryGroup;
use super::place::{PlaceError, RunDirectory};
use super::poll::{Source, Watched, wait_for};
use super::process::{self, Reap, Reaped};
use super::stream::{Outbox, Read, ReaderGone, Rest, read};
use crate::protocol::frame::{Decoder, encode};
use crate::protocol::message::{Start, ToWorker};

/// How often the slot is read while a session lives.
const SLOT_MS: u64 = 50;
/// One read.
const BUFFER: usize = 64 << 10;
/// Reads of one source at a process's end: more than a pipe or socket holds, so that only somebody who goes on writing is cut off.
const LAST_READS: usize = 64;
/// For the last frames to be read when the worker ends.
const FAREWELL: Duration = Duration::from_millis(500);
const SILENCE_MS: u64 = 60_000;

/// What comes from outside.
#[derive(Debug)]
pub struct Settings {
    /// The worker's environment.
    pub env: BTreeMap<OsString, OsString>,
}

/// The worker cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refuses something it never refuses.
    #[error("cannot set up the worker's process")]
    System(#[from] std::io::Error),
    /// No place for files.
    #[error("cannot use the run directory")]
    Place(#[from] PlaceError),
}

/// Runs until the end; gives the exit status, and the reason where it is not an ordinary one.
pub fn run(settings: Settings) -> Result<(u8, Option<String>), StartError> {
    protect()?;
    let mut shell = Shell::new(settings.env)?;
    shell.perform(Machine::hello(std::process::id(), shell.memory.limit()));
    let leave = loop {
        if let Some(leave) = shell.leave {
            break leave;
        }
        shell.round();
    };
    shell.farewell(leave);
    Ok(match leave {
        Leave::Told | Leave::AgentGone => (0, None),
        Leave::Babble => (2, Some(leave.to_string())),
        Leave::Silence => (3, Some(leave.to_string())),
        Leave::Terminated => (143, Some(leave.to_string())),
    })
}

/// Before anything is spawned: nobody else may look into this process or write to its streams, and orphans come here.
fn protect() -> Result<(), StartError> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(std::io::Error::from)?;
    rustix::io::ioctl_fionbio(rustix::stdio::stdin(), true).map_err(std::io::Error::from)?;
    rustix::io::ioctl_fionbio(rustix::stdio::stdout(), true).map_err(std::io::Error::from)?;
    Ok(())
}

struct Shell {
    machine: Machine,
    began: Instant,
    env: Environment,
    runs: RunDirectory,
    memory: MemoryGroup,
    decoder: Decoder,
    outbox: Outbox,
    signals: UnixStream,
    terminate: Arc<AtomicBool>,
    live: Option<Live>,
    slot_due: u64,
    rest: Rest,
    blocked: bool,
    buffer: Vec<u8>,
    leave: Option<Leave>,
}

impl Shell {
    fn new(env: Environment) -> Result<Self, StartError> {
        let (signals, wake) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let terminate = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            // The flag first: it has to stand when the byte in the pipe wakes the loop.
            signal_hook::flag::register(signal, Arc::clone(&terminate))?;
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, wake)?;
        let silence = env.get("SPLITCI_SILENCE_MS".as_ref() as &std::ffi::OsStr).and_then(|text| text.to_str()?.parse().ok());
        Ok(Self {
            machine: Machine::new(0, silence.unwrap_or(SILENCE_MS)),
            began: Instant::now(),
            runs: RunDirectory::open(env.get("SPLITCI_RUN_DIR".as_ref() as &std::ffi::OsStr).map(Into::into))?,
            env,
            memory: MemoryGroup::of_self(),
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            signals,
            terminate,
            live: None,
            slot_due: 0,
            rest: Rest::default(),
            blocked: false,
            buffer: vec![0; BUFFER],
            leave: None,
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn feed(&mut self, input: Input<'_>) {
        let effects = self.machine.handle(self.now(), input);
        for effect in effects {
            self.perform(effect);
        }
    }

    fn round(&mut self) {
        self.blocked = self.outbox.is_full();
        let ready = self.wait();
        let is = |source| ready.contains(&source);
        if self.live.is_some() {
            self.look(&ready);
        }
        if is(Source::Signals) {
            self.hear_signals();
        }
        if is(Source::Agent) {
            self.hear_agent();
        }
        // With nothing to write, poll tells of nothing but its end.
        if is(Source::AgentReads) && self.outbox.is_empty() {
            self.feed(Input::AgentGone);
        }
        self.feed(Input::Tick);
        if self.outbox.flush(rustix::stdio::stdout()) == Err(ReaderGone) {
            self.feed(Input::AgentGone);
        }
    }

    /// Waits for news or the next deadline.
    fn wait(&self) -> Vec<Source> {
        let now = self.now();
        let mut due = self.machine.next_deadline();
        let mut fds: Vec<Watched<'_>> = vec![
            (Source::Signals, self.signals.as_fd(), PollFlags::IN),
            (Source::Agent, rustix::stdio::stdin(), PollFlags::IN),
            // Without a flag poll still tells that the reader is gone.
            (Source::AgentReads, rustix::stdio::stdout(), if self.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT }),
        ];
        if let Some(live) = &self.live {
            due = due.min(self.slot_due);
            live.call_sources(&mut fds);
            if !self.blocked && self.rest.due() > now {
                due = due.min(self.rest.due());
                live.driver_source(&mut fds);
            } else if !self.blocked {
                live.driver_source(&mut fds);
                live.pipe_sources(&mut fds);
            }
        }
        wait_for(&fds, due.saturating_sub(now))
    }

    /// What the session's descriptors have for us.
    fn look(&mut self, ready: &[Source]) {
        self.read_slot();
        if self.blocked {
            self.feed(Input::Resumed);
        }
        if ready.contains(&Source::Caller)
            && let Some((pid, descendant)) = self.live.as_mut().and_then(Live::take_call)
        {
            self.feed(Input::Dialled { pid, descendant });
        }
        if ready.contains(&Source::DriverReads) {
            self.flush_driver();
        }
        if ready.contains(&Source::Typed) {
            self.with_live(Live::flush_typed);
        }
        if ready.contains(&Source::Driver) {
            self.read_driver();
        }
        let mut most = None;
        for (source, stderr) in [(Source::Stdout, false), (Source::Stderr, true)] {
            if ready.contains(&source)
                && let Read::Some(n) = self.read_pipe(stderr)
            {
                most = most.max(Some(n));
            }
        }
        if let Some(most) = most {
            self.rest.after(self.now(), most, most == BUFFER);
        }
    }

    fn read_slot(&mut self) {
        self.slot_due = self.now() + SLOT_MS;
        if let Some((at, changes)) = self.live.as_ref().and_then(|live| live.place.read_slot()) {
            self.feed(Input::Slot(at, changes));
        }
    }

    fn read_driver(&mut self) -> Read {
        self.with_buffer(|shell, buffer| {
            let got = shell.live.as_mut().map_or(Read::Nothing, |live| live.read_driver(buffer));
            match got {
                Read::Some(n) => shell.feed(Input::Driver(&buffer[..n])),
                Read::End => {
                    shell.hang_up();
                    shell.feed(Input::DriverClosed);
                }
                Read::Nothing => {}
            }
            got
        })
    }

    fn read_pipe(&mut self, stderr: bool) -> Read {
        self.with_buffer(|shell, buffer| {
            let got = shell.live.as_mut().map_or(Read::Nothing, |live| live.read_pipe(stderr, buffer));
            if let Read::Some(n) = got {
                shell.feed(Input::Output { stderr, bytes: &buffer[..n] });
            }
            got
        })
    }

    /// Lends the buffer out, so that what was read can be handed to a method of `self`.
    fn with_buffer(&mut self, use_it: impl FnOnce(&mut Self, &mut [u8]) -> Read) -> Read {
        let mut buffer = std::mem::take(&mut self.buffer);
        let got = use_it(self, &mut buffer);
        self.buffer = buffer;
        got
    }

    fn hear_signals(&mut self) {
        let mut bytes = [0; 64];
        while let Read::Some(_) = read(&self.signals, &mut bytes) {}
        if self.terminate.swap(false, Ordering::SeqCst) {
            self.feed(Input::Terminate);
        }
        while let Reap::One(reaped) = process::reap() {
            self.reaped(reaped);
        }
    }

    fn reaped(&mut self, reaped: Reaped) {
        if !self.live.as_mut().is_some_and(|live| live.is_leader(&reaped)) {
            return;
        }
        for _ in 0..LAST_READS {
            if !matches!(self.read_driver(), Read::Some(_)) {
                break;
            }
        }
        self.read_slot();
        self.drain_pipes();
        self.feed(Input::Exited { how: reaped.how, peak_rss: reaped.peak_rss });
    }

    fn drain_pipes(&mut self) {
        for stderr in [false, true] {
            for _ in 0..LAST_READS {
                if !matches!(self.read_pipe(stderr), Read::Some(_)) {
                    break;
                }
            }
        }
    }

    fn hear_agent(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        match read(rustix::stdio::stdin(), &mut buffer) {
            Read::Some(n) => {
                self.decoder.push(&buffer[..n]);
                self.hear_frames();
            }
            Read::End => self.feed(Input::AgentGone),
            Read::Nothing => {}
        }
        self.buffer = buffer;
    }

    fn hear_frames(&mut self) {
        while self.leave.is_none() {
            match self.decoder.next::<ToWorker>() {
                Ok(Some(frame)) => self.feed(Input::Frame(Box::new(frame))),
                Ok(None) => break,
                Err(error) => self.feed(Input::AgentBabbles(super::chain(&error))),
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(message, blob) => encode(&message, &blob, self.outbox.tail()),
            Effect::Start(start, blob) => match self.start(&start, &blob) {
                Ok(live) => {
                    self.live = Some(live);
                    self.feed(Input::Started);
                }
                Err(text) => self.feed(Input::NotStarted(text)),
            },
            Effect::Accept => self.with_live(Live::accept),
            Effect::Refuse => self.with_live(Live::refuse),
            Effect::Write(bytes) => {
                if let Some(driver) = self.live.as_mut().and_then(|live| live.driver.as_mut()) {
                    driver.outbox.tail().extend_from_slice(&bytes);
                }
                self.flush_driver();
            }
            Effect::Type(keys) => self.with_live(|live| live.type_in(&keys)),
            Effect::Resize(size) => self.with_live(|live| live.resize(size)),
            Effect::HangUp => self.hang_up(),
            Effect::Signal(target, number) => self.with_live(|live| live.signal(target, number)),
            Effect::KillAll => self.with_live(Live::kill_all),
            Effect::Sweep => self.sweep(),
            Effect::Clean => self.live = None,
            Effect::Exit(leave) => self.leave = self.leave.or(Some(leave)),
        }
    }

    fn start(&self, start: &Start, blob: &[u8]) -> Result<Live, String> {
        let oom_before = self.memory.kills();
        let place = self.runs.session(start.session, &start.files, blob).map_err(|error| super::chain(&error))?;
        let env = compose(&self.env, start, place.path());
        let process = process::spawn(start, &env).map_err(|error| super::chain(&error))?;
        Ok(Live::new(place, process, oom_before))
    }

    fn sweep(&mut self) {
        let Some(live) = self.live.as_mut() else { return };
        let strays = live.sweep();
        let oom = self.memory.kills() > live.oom_before;
        // Nobody holds the pipes any more, so this is the rest.
        self.drain_pipes();
        self.feed(Input::Swept { strays, oom });
    }

    fn with_live(&mut self, act: impl FnOnce(&mut Live)) {
        if let Some(live) = &mut self.live {
            act(live);
        }
    }

    fn hang_up(&mut self) {
        self.with_live(|live| live.driver = None);
    }

    fn flush_driver(&mut self) {
        self.with_live(Live::flush_driver);
    }

    /// Kills what lives, says what is left to say, removes the files.
    fn farewell(&mut self, leave: Leave) {
        self.with_live(Live::kill_all);
        end_descendants();
        self.live = None;
        self.runs.remove();
        let until = Instant::now() + FAREWELL;
        while leave != Leave::AgentGone && !self.outbox.is_empty() && Instant::now() < until {
            if self.outbox.flush(rustix::stdio::stdout()).is_err() {
                break;
            }
            wait_for(&[(Source::AgentReads, rustix::stdio::stdout(), PollFlags::OUT)], 20);
        }
    }
}
