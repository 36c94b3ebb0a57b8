//! The worker's brain: `handle(now, input)` gives the effects to carry out, `next_deadline()` says when to call again without news.
//!
//! In: frames of the agent, what the session's process and driver did, the clock in milliseconds. Out: frames, signals, orders to the shell.
//! It reads no clock and touches no process, so every order of events can be tried in a test. One session lives at a time (`session`); this
//! file holds what outlives it: the agent's silence, orders to end. Invariant: a session that was started is always followed by its `Ended`,
//! unless the whole worker ends.

#[cfg(test)]
mod tests;

use super::session::Session;
use crate::protocol::VERSION;
use crate::protocol::frame::Frame;
use crate::protocol::message::{Ended, Exit, FromWorker, SessionNumber, Slot, Start, Stopped, TerminalSize, ToWorker};

/// Something happened.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// The agent said something.
    Frame(Box<Frame<ToWorker>>),
    /// The order `Effect::Start` was carried out.
    Started,
    /// The order `Effect::Start` failed, for this reason.
    NotStarted(String),
    /// Somebody dialled the driver's socket: answered with `Accept` or `Refuse`.
    Dialled {
        /// Its process.
        pid: i32,
        /// Whether that descends from this worker.
        descendant: bool,
    },
    /// The accepted connection brought bytes.
    Driver(&'a [u8]),
    /// The accepted connection ended.
    DriverClosed,
    /// The process printed.
    Output {
        /// To standard error.
        stderr: bool,
        /// What.
        bytes: &'a [u8],
    },
    /// The slot was read.
    Slot(Slot, u64),
    /// The framework's process ended; everything it had sent and printed before has been given in.
    Exited {
        /// How.
        how: Exit,
        /// Its peak memory.
        peak_rss: u64,
    },
    /// The order `Effect::Sweep` was carried out.
    Swept {
        /// Processes that had outlived the framework.
        strays: u32,
        /// The kernel killed for want of memory since the session's start.
        oom: bool,
    },
    /// The agent did not read for a while, so neither did we: that time is not the test's fault.
    Resumed,
    /// Somebody wants this worker to end: TERM or INT.
    Terminate,
    /// The agent's stream ended.
    AgentGone,
    /// The agent's stream carries something else.
    AgentBabbles(String),
    /// Time passed.
    Tick,
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Tell the agent.
    Send(FromWorker, Vec<u8>),
    /// Start a framework, with these bytes for its files; answer `Started` or `NotStarted`.
    Start(Box<Start>, Vec<u8>),
    /// Keep the connection just dialled.
    Accept,
    /// Close the connection just dialled.
    Refuse,
    /// Write to the driver.
    Write(Vec<u8>),
    /// Type this on the framework's terminal.
    Type(Vec<u8>),
    /// The framework's terminal has another size.
    Resize(TerminalSize),
    /// Close the driver's connection.
    HangUp,
    /// Signal a part of the session.
    Signal(Target, i32),
    /// KILL the group and every descendant.
    KillAll,
    /// The framework is gone: kill what it left, read what is still in the pipes, answer `Swept`.
    Sweep,
    /// The session is over: remove its files.
    Clean,
    /// Kill everything, say what can still be said, and leave.
    Exit(Leave),
}

impl Effect {
    /// A message without a blob.
    pub(super) fn send(message: FromWorker) -> Self {
        Self::Send(message, Vec::new())
    }
}

/// Whom to signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The process that dialled as the driver, or the one that was started.
    Framework,
    /// The process group.
    Group,
}

/// Why the worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Leave {
    /// The agent said so.
    #[error("told to")]
    Told,
    /// The agent's stream ended.
    #[error("the agent's stream ended")]
    AgentGone,
    /// The agent is silent.
    #[error("no frame came from the agent for too long")]
    Silence,
    /// The agent's stream carries something else.
    #[error("the agent's stream does not carry the worker protocol")]
    Babble,
    /// A signal.
    #[error("terminated by a signal")]
    Terminated,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    session: Option<Session>,
    heard: u64,
    silence_ms: u64,
    terminating: bool,
}

impl Machine {
    pub(super) fn new(now: u64, silence_ms: u64) -> Self {
        Self { session: None, heard: now, silence_ms, terminating: false }
    }

    /// The first message.
    pub(super) fn hello(pid: u32, memory_limit: Option<u64>) -> Effect {
        Effect::send(FromWorker::Hello { version: VERSION, pid, memory_limit })
    }

    /// When something is due though nothing happens.
    pub(super) fn next_deadline(&self) -> u64 {
        let silence = self.heard.saturating_add(self.silence_ms);
        self.session.as_ref().and_then(Session::next_deadline).map_or(silence, |due| due.min(silence))
    }

    /// Takes in what happened, says what to do.
    pub(super) fn handle(&mut self, now: u64, input: Input<'_>) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Frame(frame) => self.frame(now, *frame, &mut out),
            Input::Terminate => self.terminate(now, &mut out),
            Input::AgentGone => out.push(Effect::Exit(Leave::AgentGone)),
            Input::AgentBabbles(text) => {
                out.push(fault(None, text));
                out.push(Effect::Exit(Leave::Babble));
            }
            Input::NotStarted(text) => self.not_started(text, &mut out),
            Input::Swept { strays, oom } => self.swept(strays, oom, &mut out),
            other => {
                if let Some(session) = &mut self.session {
                    session.handle(now, &other, &mut out);
                }
            }
        }
        self.check_deadlines(now, &mut out);
        out
    }

    fn frame(&mut self, now: u64, frame: Frame<ToWorker>, out: &mut Vec<Effect>) {
        self.heard = now;
        match frame.message {
            ToWorker::Start(start) => self.start(now, start, frame.blob, out),
            ToWorker::Run { session, units } => {
                if let Some(session) = self.named(session) {
                    session.run(now, units, out);
                }
            }
            ToWorker::Finish { session } => {
                if let Some(session) = self.named(session) {
                    session.finish(now, out);
                }
            }
            ToWorker::Abort { session } => {
                if let Some(session) = self.named(session) {
                    session.stop(now, Stopped::Aborted, out);
                }
            }
            ToWorker::Keys { session } => {
                if self.named(session).is_some() {
                    out.push(Effect::Type(frame.blob));
                }
            }
            ToWorker::Resize { session, size } => {
                if self.named(session).is_some() {
                    out.push(Effect::Resize(size));
                }
            }
            ToWorker::Beat => {
                let at = self.session.as_ref().map_or(Slot::Idle, Session::at);
                out.push(Effect::send(FromWorker::Beat { at }));
            }
            ToWorker::Exit => out.push(Effect::Exit(Leave::Told)),
        }
    }

    fn named(&mut self, number: SessionNumber) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.number() == number)
    }

    fn start(&mut self, now: u64, start: Start, blob: Vec<u8>, out: &mut Vec<Effect>) {
        if let Some(living) = &self.session {
            let text = format!("cannot start session {}: session {} still lives", start.session, living.number());
            out.push(fault(Some(start.session), text));
            return;
        }
        self.session = Some(Session::new(now, &start));
        out.push(Effect::Start(Box::new(start), blob));
    }

    fn not_started(&mut self, text: String, out: &mut Vec<Effect>) {
        if let Some(session) = self.session.take() {
            out.push(fault(Some(session.number()), text));
            out.push(Effect::send(FromWorker::Ended(Ended { how: Exit::NotStarted, ..session.ended(0, false, 0) })));
            self.leave_if_terminating(out);
        }
    }

    fn swept(&mut self, strays: u32, oom: bool, out: &mut Vec<Effect>) {
        if let Some(mut session) = self.session.take() {
            let dropped = session.release_output(out);
            out.push(Effect::send(FromWorker::Ended(session.ended(strays, oom, dropped))));
            out.push(Effect::Clean);
            self.leave_if_terminating(out);
        }
    }

    fn terminate(&mut self, now: u64, out: &mut Vec<Effect>) {
        match &mut self.session {
            // The second signal does not wait for anybody.
            Some(session) if !self.terminating => {
                self.terminating = true;
                session.stop(now, Stopped::Aborted, out);
            }
            _ => out.push(Effect::Exit(Leave::Terminated)),
        }
    }

    fn leave_if_terminating(&self, out: &mut Vec<Effect>) {
        if self.terminating {
            out.push(Effect::Exit(Leave::Terminated));
        }
    }

    fn check_deadlines(&mut self, now: u64, out: &mut Vec<Effect>) {
        if let Some(session) = &mut self.session {
            session.check_deadlines(now, out);
        }
        if now >= self.heard.saturating_add(self.silence_ms) {
            // Once is enough, should the shell come back before it is gone.
            self.heard = now;
            out.push(Effect::Exit(Leave::Silence));
        }
    }
}

/// The worker could not do what it was told.
pub(super) fn fault(session: Option<SessionNumber>, text: String) -> Effect {
    Effect::send(FromWorker::Fault { session, text })
}
