//! Workers: slots whose containers take jobs by themselves. No balancer sends them anything, so there is nothing to drain: whoever is asked to stop finishes the job in hand.
//!
//! They follow once those that go first have settled in, half of them at a time. What is known of a worker is what its engine says: that it runs, was not started again by itself, and
//! is not found unwell by the health check of its image, for as long as a slot of the web has to be well.

use super::Way;
use super::slot::Condition;
use crate::deployment::words::{Effect, Next, Waiting};
use crate::deployment::world::{Container, SlotView};
use crate::model::environment::SlotName;

/// What an engine needs beyond the grace of a container until it has killed it, in milliseconds.
const KILLED_MS: u64 = 10_000;

impl Way<'_> {
    /// All of them, one half after the other. Each half has the time of a batch, and that of the longest job.
    pub(super) fn workers(&self) -> Option<Next> {
        let mut since = self.past.soaked.get(&1).copied().unwrap_or(self.since);
        for crew in self.leg.crews() {
            if let Some(next) = self.bring(crew, since, false) {
                let over = crew.iter().all(|slot| self.world.runs(slot, &self.leg.goal) || self.past.quarantined.contains_key(slot));
                return Some(if over { next } else { self.in_time(since.saturating_add(self.work_ms()), next) });
            }
            since = crew.iter().filter_map(|slot| self.past.first_start(slot)).fold(since, u64::max);
        }
        None
    }

    /// No balancer knows of it.
    pub(super) fn is_worker(&self, slot: &SlotName) -> bool {
        self.leg.workers.contains(slot)
    }

    /// The longest time that a job may take.
    fn work_ms(&self) -> u64 {
        self.environment().workers.as_ref().map_or(self.environment().grace_ms, |workers| workers.grace_ms)
    }

    /// It is asked to stop once: some take a second time for a reason to drop what they have in hand. One whose engine did not say that it was told is told again.
    pub(super) fn lays_down(&self, slot: &SlotName, container: &Container) -> Condition {
        let stop = Effect::Stop { slot: slot.clone(), container: container.id.clone() };
        let told = self.past.leaving.get(&container.id).copied().flatten();
        match told.map(|told| told.saturating_add(self.work_ms()).saturating_add(KILLED_MS)) {
            Some(until) if self.now < until => Condition::Waits(until, Waiting::Jobs(slot.clone())),
            _ => Condition::Due(stop),
        }
    }

    /// It is at work once it is well: what comes after is what it does by itself.
    pub(super) fn takes_up(&self, (slot, view): (&SlotName, &SlotView), container: &Container, since: u64) -> Condition {
        // On the way back it may be what was asked to stop on the way there: it is started again once it has.
        if self.past.leaving.contains_key(&container.id) {
            return self.lays_down(slot, container);
        }
        let known = self.past.first_start(slot).is_none();
        if known || self.proven(view) { Condition::Serving } else { self.not_yet(slot, view, since) }
    }

    /// Whether one whose engine does not answer runs the goal all the same: what it ran before, and nothing was ever started there.
    pub(super) fn works_unseen(&self, slot: &SlotName) -> bool {
        let as_before = self.plan.course.current.as_ref() == Some(&self.leg.goal);
        self.back() && as_before && !self.past.renewed.contains(slot) && self.world.slot(slot).is_none()
    }
}
