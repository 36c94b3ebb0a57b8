//! One framework process from start to end, as a state machine: its deadlines and the ladder that ends it.
//!
//! The ladder: where a deadline passed and the framework can print its stacks, it is asked to and gets half a second; then TERM to the group;
//! after the grace KILL to the group and every descendant, again each second until the process is gone. The first reason to stop stays
//! the reason. What the driver says is `dialogue`'s, how long a test runs is `watch`'s, what is printed is `output`'s.

use super::dialogue::{Dialogue, Turn};
use super::machine::{Effect, Input, Target, fault};
use super::output::{Piece, SessionOutput};
use super::watch::Watch;
use crate::protocol::message::{Ended, Exit, FromWorker, Limits, RunUnit, SessionNumber, Slot, Start, Stopped};

const TERM: i32 = 15;
const CONT: i32 = 18;
/// For the framework to print its stacks.
const DUMP_MS: u64 = 500;
/// Between KILLs.
const AGAIN_MS: u64 = 1000;
/// Strangers at the socket that are told of; one that dials in a loop is not worth more.
const MAX_STRANGERS: u32 = 3;

#[derive(Debug)]
enum Life {
    Starting,
    Running,
    Stopping { step: Step, due: u64 },
    Gone { how: Exit, peak_rss: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Dump,
    Term,
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Awaited,
    Open,
    Closed {
        at: u64,
    },
    /// It broke the protocol: what it still sends is not read.
    Broken,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    number: SessionNumber,
    limits: Limits,
    dump_signal: Option<i32>,
    born: u64,
    life: Life,
    stopped: Option<Stopped>,
    link: Link,
    dialogue: Dialogue,
    watch: Watch,
    output: SessionOutput,
    closing_since: Option<u64>,
    strangers: u32,
}

impl Session {
    pub(super) fn new(now: u64, start: &Start) -> Self {
        Self {
            number: start.session,
            limits: start.limits,
            dump_signal: start.dump_signal,
            born: now,
            life: Life::Starting,
            stopped: None,
            link: Link::Awaited,
            dialogue: Dialogue::new(start.session, now, start.limits.test_output),
            watch: Watch::new(now),
            output: SessionOutput::new(start.limits.session_output),
            closing_since: None,
            strangers: 0,
        }
    }

    pub(super) fn number(&self) -> SessionNumber {
        self.number
    }

    pub(super) fn handle(&mut self, now: u64, input: &Input<'_>, out: &mut Vec<Effect>) {
        match *input {
            Input::Started => self.life = Life::Running,
            Input::Dialled { pid, descendant } => self.dialled(pid, descendant, out),
            Input::Driver(bytes) => self.hear(now, bytes, out),
            Input::DriverClosed => self.driver_closed(now),
            Input::Output { stderr, bytes } => {
                let piece = self.output.take(stderr, self.watch.at(), bytes);
                out.extend(piece.map(|piece| self.printed(piece)));
            }
            Input::Slot(at, changes) => self.watch.see(now, at, changes),
            Input::Resumed => self.watch.restart(now),
            Input::Exited { how, peak_rss } => {
                self.life = Life::Gone { how, peak_rss };
                out.push(Effect::Sweep);
            }
            _ => {}
        }
    }

    /// Further units. They are handed to the driver one at a time.
    pub(super) fn run(&mut self, now: u64, units: Vec<RunUnit>, out: &mut Vec<Effect>) {
        let turn = self.dialogue.queue(units, out);
        self.turned(now, turn);
    }

    /// Nothing more will come: the driver is told to stop once it has run what it was given.
    pub(super) fn finish(&mut self, now: u64, out: &mut Vec<Effect>) {
        self.dialogue.close(out);
        self.turned(now, None);
    }

    /// The process shall end.
    pub(super) fn stop(&mut self, now: u64, why: Stopped, out: &mut Vec<Effect>) {
        match self.life {
            Life::Starting | Life::Running => {}
            // Whoever aborts does not wait for the stacks, but TERM is sent once.
            Life::Stopping { step: Step::Dump, .. } => return self.terminate(now, out),
            Life::Stopping { .. } | Life::Gone { .. } => return,
        }
        self.stopped = Some(why);
        self.dialogue.hold();
        let timeout = matches!(why, Stopped::BootTimeout | Stopped::TestTimeout | Stopped::FinishTimeout);
        match self.dump_signal.filter(|_| timeout) {
            Some(signal) => {
                out.push(Effect::Signal(Target::Framework, signal));
                self.life = Life::Stopping { step: Step::Dump, due: now + DUMP_MS };
            }
            None => self.terminate(now, out),
        }
    }

    fn terminate(&mut self, now: u64, out: &mut Vec<Effect>) {
        out.push(Effect::Signal(Target::Group, TERM));
        // A stopped process cannot heed TERM before it goes on.
        out.push(Effect::Signal(Target::Group, CONT));
        self.life = Life::Stopping { step: Step::Term, due: now.saturating_add(self.limits.grace_ms) };
    }

    fn dialled(&mut self, pid: i32, descendant: bool, out: &mut Vec<Effect>) {
        if descendant && self.link == Link::Awaited {
            self.link = Link::Open;
            out.push(Effect::Accept);
            return;
        }
        out.push(Effect::Refuse);
        self.strangers += 1;
        if self.strangers <= MAX_STRANGERS {
            let whom = if descendant { "a second one" } else { "not a descendant of this worker" };
            let text = format!("process {pid} dialled the driver's socket and was refused: it is {whom}");
            out.push(Effect::send(FromWorker::Notice { session: self.number, text }));
        }
    }

    fn hear(&mut self, now: u64, bytes: &[u8], out: &mut Vec<Effect>) {
        if self.link != Link::Open {
            return;
        }
        let mut turns = Vec::new();
        let heard = self.dialogue.hear(now, bytes, out, &mut turns);
        for turn in turns {
            self.turned(now, Some(turn));
        }
        self.turned(now, None);
        if let Err(violation) = heard {
            self.link = Link::Broken;
            out.push(fault(Some(self.number), format!("cannot go on with the driver: {}", super::chain(&violation))));
            out.push(Effect::HangUp);
            self.stop(now, Stopped::DriverLost, out);
        }
    }

    fn turned(&mut self, now: u64, turn: Option<Turn>) {
        match turn {
            Some(Turn::Ready | Turn::Given) => self.watch.restart(now),
            Some(Turn::Started { unit, ordinal }) => self.watch.told(now, Slot::Test { unit, ordinal }),
            Some(Turn::Idle) => self.watch.told(now, Slot::Idle),
            Some(Turn::Parted) | None => {}
        }
        if self.dialogue.stopped() || self.dialogue.parted() {
            self.closing_since.get_or_insert(now);
        }
    }

    fn driver_closed(&mut self, now: u64) {
        if self.link == Link::Open {
            // Before hello it may have been anybody: a wrapper's probe does not cost the driver its place.
            self.link = if self.dialogue.greeted() { Link::Closed { at: now } } else { Link::Awaited };
            if self.link == Link::Awaited {
                self.dialogue.forget();
            }
        }
    }

    fn printed(&self, piece: Piece) -> Effect {
        Effect::Send(FromWorker::Output { session: self.number, stderr: piece.stderr, at: piece.at }, piece.bytes)
    }

    /// Hands on the output that was kept back; says how much was dropped.
    pub(super) fn release_output(&mut self, out: &mut Vec<Effect>) -> u64 {
        let (pieces, dropped) = self.output.finish();
        out.extend(pieces.into_iter().map(|piece| self.printed(piece)));
        dropped
    }

    /// The session's last words.
    pub(super) fn at(&self) -> Slot {
        self.watch.at()
    }

    pub(super) fn ended(&self, strays: u32, oom: bool, dropped_output: u64) -> Ended {
        let (how, peak_rss) = match self.life {
            Life::Gone { how, peak_rss } => (how, peak_rss),
            _ => (Exit::NotStarted, 0),
        };
        Ended {
            session: self.number,
            how,
            stopped: self.stopped,
            hello: self.dialogue.greeted(),
            bye: self.dialogue.parted(),
            at: self.watch.at(),
            oom,
            peak_rss,
            strays,
            dropped_output,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match self.life {
            Life::Running => [self.due().map(|(due, _)| due), self.report_due()].into_iter().flatten().min(),
            Life::Stopping { due, .. } => Some(due),
            Life::Starting | Life::Gone { .. } => None,
        }
    }

    /// The nearest deadline of a running process, and what it means to miss it.
    fn due(&self) -> Option<(u64, Stopped)> {
        let lost = match self.link {
            // After bye the connection may close as it likes; the deadline to finish goes on.
            Link::Closed { at } if !self.dialogue.parted() => Some((at.saturating_add(self.limits.grace_ms), Stopped::DriverLost)),
            _ => None,
        };
        let phase = if let Some(since) = self.closing_since {
            Some((since.saturating_add(self.limits.finish_ms), Stopped::FinishTimeout))
        } else if !self.dialogue.ready() {
            Some((self.born.saturating_add(self.limits.boot_ms), Stopped::BootTimeout))
        } else if self.dialogue.busy() {
            Some((self.watch.since().saturating_add(self.limits.test_ms), Stopped::TestTimeout))
        } else {
            None
        };
        [lost, phase].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    fn report_due(&self) -> Option<u64> {
        self.watch.report_due().filter(|_| self.dialogue.busy())
    }

    pub(super) fn check_deadlines(&mut self, now: u64, out: &mut Vec<Effect>) {
        match self.life {
            Life::Running => {
                if let Some((_, why)) = self.due().filter(|(due, _)| *due <= now) {
                    self.stop(now, why, out);
                } else if self.dialogue.busy()
                    && let Some(for_ms) = self.watch.report(now)
                {
                    out.push(Effect::send(FromWorker::Running { session: self.number, at: self.watch.at(), for_ms }));
                }
            }
            Life::Stopping { step: Step::Dump, due } if due <= now => self.terminate(now, out),
            Life::Stopping { step: Step::Term | Step::Kill, due } if due <= now => {
                out.push(Effect::KillAll);
                self.life = Life::Stopping { step: Step::Kill, due: now + AGAIN_MS };
            }
            _ => {}
        }
    }
}
