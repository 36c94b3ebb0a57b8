//! When the way forward ends, and what happens then: the thresholds A1 to A8 and the rules R1 to R9 of the design, each by its name.

use super::{Way, hold};
use crate::deployment::legs::{Room, split};
use crate::deployment::words::{Cause, Deadline, Decision, Hold, Next, Outcome, Rule, Turn};
use crate::deployment::world::{Admin, Rotation, Sickness};
use crate::model::environment::{MigrationClass, SlotName};

impl Way<'_> {
    /// Whether the leg ends here.
    pub(super) fn ends(&self) -> Option<Next> {
        let cause = if self.back() { self.asked().or_else(|| self.too_late()) } else { self.cause() }?;
        Some(self.turn_back(cause))
    }

    /// A1 to A8, but for A5, which is looked at while a half is watched, and the half's A6, which goes with the half.
    fn cause(&self) -> Option<Cause> {
        let revoked = self.world.gate.target_revoked.then_some(Cause::Revoked); // A7
        self.asked().or(revoked).or_else(|| self.failures()).or_else(|| self.below_floor()).or_else(|| self.too_late())
    }

    /// A8.
    fn asked(&self) -> Option<Cause> {
        self.past.abort.map(|by| Cause::Asked(by.to_owned()))
    }

    /// A2 until those that go first have settled in; A1 over all. Slots that cannot be reached are among them (A4).
    fn failures(&self) -> Option<Cause> {
        let first = self.past.quarantined.iter().find(|(slot, _)| self.leg.first.contains(slot));
        if let Some((slot, sickness)) = first.filter(|_| !self.past.soaked.contains_key(&1)) {
            return Some(Cause::FirstHalf { slot: (*slot).clone(), sickness: (*sickness).clone() });
        }
        let failed = u32::try_from(self.past.quarantined.len()).unwrap_or(u32::MAX);
        let allowed = self.environment().max_failed;
        (failed > allowed).then_some(Cause::TooManyFailed { failed, allowed })
    }

    /// A3.
    fn below_floor(&self) -> Option<Cause> {
        let (serving, floor) = (self.world.capacity(), self.plan.course.floor);
        (serving < floor).then_some(Cause::BelowFloor { serving, floor })
    }

    /// A6.
    fn too_late(&self) -> Option<Cause> {
        let deadlines = self.environment().deadlines;
        let total = self.now >= self.since.saturating_add(deadlines.total_ms);
        let mix = self.mixes_since().is_some_and(|since| self.now >= since.saturating_add(deadlines.mix_ms));
        total.then_some(Deadline::Total).or(mix.then_some(Deadline::Mix)).map(Cause::Overdue)
    }

    /// I5: since when requests meet both releases by design, if they still do. The way back is as fast as it can be anyway.
    fn mixes_since(&self) -> Option<u64> {
        let since = self.past.first_swap().filter(|_| !self.back() && self.leg.batch.is_some())?;
        self.leg.second.iter().any(|slot| self.is_capacity(slot)).then_some(since)
    }

    /// Goes back, once, or holds. R9 needs no words of its own: the leg back is over all slots, also those that were merely drained.
    pub(super) fn turn_back(&self, cause: Cause) -> Next {
        let course = &self.plan.course;
        // R6: one rollback per deploy, and everything is left where it is.
        if self.back() {
            return hold(Hold::RollbackEnded(cause));
        }
        // R4: what the old release would find is not what it knows.
        if course.migration == Some(MigrationClass::Breaking) && self.past.migration_started.is_some() {
            return hold(Hold::Breaking(cause));
        }
        let rule = self.rule();
        let goal = match rule {
            Rule::R1 | Rule::R2 => course.current.as_ref().or(course.stable.as_ref()),
            Rule::R3 => course.stable.as_ref(),
        };
        let Some(goal) = goal.filter(|goal| **goal != course.target) else { return hold(Hold::NoWayBack(cause)) };
        // R8: an approval that is merely old does for going back; one that was revoked does not.
        if self.world.gate.back_revoked {
            return hold(Hold::BackRevoked(cause));
        }
        // R5: who is near the goal, or does not serve anyway, goes first; who serves well is touched last, whatever runs there.
        let leg = split(self.environment(), self.world, goal);
        let room = Room::of(&leg, self.world);
        // A batch is as small as it has to be.
        if leg.batch.is_none() && room.stays < room.now && room.stays < course.floor {
            return hold(Hold::RollbackBelowFloor);
        }
        Next::Record(Decision::TurnedBack { cause, rule, leg })
    }

    /// Which way back there is, by what is observed. R1: nobody was let in to the new release. R2: of the old one everything still runs. R3: it does not.
    fn rule(&self) -> Rule {
        let (course, leg) = (&self.plan.course, self.leg);
        let serves_new = |slot: &SlotName| {
            let sent = matches!(self.world.rotation(slot), Rotation::Serving | Rotation::Partly);
            sent && self.world.runs(slot, &course.target)
        };
        let warm = |slot: &SlotName| course.current.as_ref().is_some_and(|current| self.world.runs(slot, current));
        if !self.past.swapped() || !leg.first.iter().chain(&leg.second).any(serves_new) && leg.second.iter().all(warm) {
            Rule::R1
        } else if !leg.second.is_empty() && leg.second.iter().all(warm) {
            Rule::R2
        } else {
            Rule::R3
        }
    }

    /// I15: going back never takes more out than stays above the floor, or than goes in.
    pub(super) fn leaves_too_few(&self, turns: &[Turn]) -> Option<Next> {
        if !self.back() {
            return None;
        }
        let count = |to: Admin| turns.iter().filter(|turn| turn.to == to).count();
        let serving = |slots: &[SlotName]| self.world.serving(slots);
        let now = serving(&self.leg.first).saturating_add(serving(&self.leg.second));
        let out = turns.iter().filter(|turn| turn.to == Admin::Drain && self.world.rotation(&turn.slot) == Rotation::Serving).count();
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let after = now.saturating_add(small(count(Admin::Ready))).saturating_sub(small(out));
        (after < self.plan.course.floor.max(1).min(now)).then(|| hold(Hold::RollbackFailed(self.out(|_| true))))
    }

    /// How it ended, when nothing is left to do.
    pub(super) fn outcome(&self) -> Outcome {
        let Some(back) = &self.past.back else {
            let out = self.out(|_| true);
            return if out.is_empty() { Outcome::Done } else { Outcome::Degraded(out) };
        };
        // R6: a slot that is sick with what it ran before is a rollback that failed; one that cannot be reached is not, as long as there are enough others.
        let sick = self.out(|sickness| *sickness != Sickness::Unreachable);
        let out = self.out(|_| true);
        let few = self.world.capacity() < self.plan.course.floor;
        if !sick.is_empty() || few && !out.is_empty() {
            return Outcome::Held(Hold::RollbackFailed(out));
        }
        // R7: it is never a success.
        match back.cause {
            Cause::Migration(status) => Outcome::MigrationFailed { status: *status, out },
            cause => Outcome::RolledBack { cause: cause.clone(), out },
        }
    }

    /// Slots that failed like this.
    fn out(&self, like: impl Fn(&Sickness) -> bool) -> Vec<SlotName> {
        self.past.quarantined.iter().filter(|(_, sickness)| like(sickness)).map(|(slot, _)| (*slot).clone()).collect()
    }
}
