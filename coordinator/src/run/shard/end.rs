//! How a shard's session, or the shard itself, comes to its end: what it held goes back to the queue, and what happened is told.

use splitci_worker::protocol::message::Ended;

use super::{Asked, Boot, Ending, Shard, Stage, Want};
use crate::engine::ShardEnd;
use crate::model::event::{Close, Crash, EventKind, SessionEnded, ShardLoss};
use crate::model::{Exit, Slot, Stopped, UnitId};
use crate::queue;
use crate::run::held::{Held, Interrupted};
use crate::run::lost::{Loss, classify};
use crate::run::words::Obstacle;

/// How a driver begins the errors of a session whose framework does not take its arguments.
const USAGE: &str = "usage: ";
/// Kept of what a framework prints while it starts, in bytes.
const BOOT_OUTPUT: usize = 4 << 10;

impl Shard {
    /// The framework's process is gone.
    pub(super) fn ended(&mut self, ended: &Ended, epoch: Option<queue::Epoch>) -> Vec<Want> {
        let finishing = self.stage == Stage::Finishing;
        let booting = self.stage == Stage::Booting;
        let by_itself = matches!(ended.how, Exit::Code(_)) && ended.stopped.is_none();
        let refused = booting && (by_itself || ended.stopped == Some(Stopped::BootTimeout));
        let usage = if booting { self.boot.usage(ended, self.bye.as_ref().map_or("", |bye| &bye.errors)) } else { None };
        let bye = self.bye.take();
        let mut faults = std::mem::take(&mut self.faults);
        if !ended.hello {
            faults.push(self.boot.account(ended));
        }
        let errors = bye.iter().map(|bye| bye.errors.clone()).chain(faults).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
        let loss = Loss {
            ended,
            bye: bye.as_ref().map(|bye| (bye.count, bye.status)),
            errors: &errors,
            reported: self.reported,
            bad: self.bad,
            finishing,
            holding: !self.held.is_empty(),
        };
        let (close, crash, cause) = classify(&loss);
        self.loss = Some(crash);
        let mut wants = vec![Want::Tell(EventKind::SessionEnded(Box::new(SessionEnded {
            session: self.session(),
            how: ended.how,
            stopped: ended.stopped,
            close,
            at: ended.at,
            oom: ended.oom,
            peak_rss: ended.peak_rss,
            strays: ended.strays,
            errors,
            tests: self.reported,
        })))];
        let interrupted = |held: &Held| at_unit(ended.at, held);
        wants.extend(self.hand_back(epoch, cause, interrupted));
        self.stage = Stage::Idle;
        let absent = if ended.how == Exit::NotStarted { self.fault_at_start.take() } else { None };
        let obstacle = absent.map(Obstacle::Absent).or(usage.map(Obstacle::Usage));
        let ending = match close {
            Close::Clean | Close::Dirty if finishing => Ending::Finished,
            _ => Ending::SessionLost { refused, obstacle },
        };
        wants.push(Want::Over(ending));
        wants
    }

    /// The byte stream ended.
    pub(in crate::run) fn gone(&mut self, end: &ShardEnd, garbled: Option<String>, epoch: Option<queue::Epoch>) -> Vec<Want> {
        let cause = match (end.oom, &garbled, end.status) {
            (true, ..) => ShardLoss::OutOfMemory,
            (_, Some(_), _) => ShardLoss::Garbled,
            (_, _, Some(status)) if status > 128 => ShardLoss::Killed,
            _ if self.stage == Stage::Starting => ShardLoss::NotStarted,
            _ => ShardLoss::Gone,
        };
        let detail = garbled.into_iter().chain(std::mem::take(&mut self.faults)).chain([end.detail.clone()]);
        let detail = detail.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        self.loss = Some(if end.oom { Crash::OutOfMemory } else { Crash::ShardLost });
        let mut wants = vec![Want::Tell(EventKind::ShardLost { shard: self.id, cause, detail })];
        let blame = if end.oom { queue::Cause::Test } else { queue::Cause::Outside };
        let at = self.at;
        wants.extend(self.hand_back(epoch, blame, |held| match at_unit(at, held) {
            Interrupted::NotBegun if !held.is_declared() => Interrupted::NotBegun,
            // The slot is lost with the shard, and what was last heard of it is old.
            _ => Interrupted::Unknown,
        }));
        self.stage = Stage::Gone;
        wants.push(Want::Over(Ending::ShardLost));
        wants
    }

    /// Gives everything that the session held back to the queue, and closes the session there.
    fn hand_back(&mut self, epoch: Option<queue::Epoch>, cause: queue::Cause, at: impl Fn(&Held) -> Interrupted) -> Vec<Want> {
        let Some(epoch) = epoch else { return Vec::new() };
        if self.seq == 0 {
            return Vec::new();
        }
        let partial: Vec<_> = self.held.iter().filter_map(|held| held.interrupt(at(held), cause)).collect();
        let begun: Vec<UnitId> = partial.iter().map(|result| result.unit).collect();
        let release = self.held.iter().filter(|held| !begun.contains(&held.unit)).map(|held| (held.unit, held.fence)).collect();
        self.results.extend(partial);
        let Want::Step(step) = self.step(epoch, Asked::Closing) else { return Vec::new() };
        vec![Want::Step(queue::Step { release, started: Vec::new(), ..step })]
    }
}

impl Boot {
    pub(super) fn hear(&mut self, text: &str) {
        self.said.push_str(text);
        let cut = self.said.floor_char_boundary(self.said.len().saturating_sub(BOOT_OUTPUT));
        self.said.drain(..cut);
    }

    /// What the framework said of its arguments, if it refused them.
    fn usage(&self, ended: &Ended, errors: &str) -> Option<String> {
        if let Some(said) = errors.strip_prefix(USAGE) {
            return Some(said.to_owned());
        }
        let by_status = !ended.hello && ended.stopped.is_none() && self.usage_status.is_some_and(|status| ended.how == Exit::Code(status));
        by_status.then(|| self.said.trim().to_owned())
    }

    /// What is known of a start that came to nothing.
    fn account(&self, ended: &Ended) -> String {
        let mut lines = vec![format!("the framework's driver never said hello; the session was started as `{}`", self.command)];
        if ended.stopped == Some(Stopped::BootTimeout) {
            lines.push("if the image's entrypoint does not come to its command, set `entrypoint = []` in `[shard]`".to_owned());
        }
        if !self.said.trim().is_empty() {
            lines.push(format!("it printed last:\n{}", self.said.trim_end()));
        }
        lines.join("\n")
    }
}

fn at_unit(at: Slot, held: &Held) -> Interrupted {
    match at {
        Slot::Loading { unit } if unit == held.unit.0 => Interrupted::Loading,
        Slot::Test { unit, ordinal } if unit == held.unit.0 => Interrupted::Running(ordinal),
        _ if held.is_declared() => Interrupted::Loading,
        _ => Interrupted::NotBegun,
    }
}
