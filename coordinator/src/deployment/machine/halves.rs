//! Both halves of a leg: images brought, slots brought near the goal, the swap, what is let in after it, and what is tidied up.

use super::slot::Condition;
use super::{Way, hold};
use crate::deployment::words::{Cause, Deadline, Decision, Effect, Hold, Next, Rule, Turn, Waiting};
use crate::deployment::world::{Admin, ContainerState, Rotation, Sickness};
use crate::model::environment::SlotName;

impl Way<'_> {
    /// A slot that failed stays out (I7), also of a balancer that has forgotten it. One that merely cannot be reached goes on as long as only one release serves, and as long
    /// as too few would serve without it (I1): the swap takes it out then, as others go in.
    pub(super) fn keep_out(&self) -> Option<Next> {
        let one_release = !self.past.swapped() && self.past.back.as_ref().is_none_or(|back| back.rule == Rule::R1);
        let (mut out, mut all) = (Vec::new(), self.past.quarantined.iter().collect::<Vec<_>>());
        // What goes out in any case is not there to be counted upon.
        all.sort_by_key(|(_, sickness)| ***sickness == Sickness::Unreachable);
        for (slot, sickness) in all {
            let rotation = self.world.rotation(slot);
            let goes_on = **sickness == Sickness::Unreachable && self.world.counts(slot);
            let alike = one_release && rotation == Rotation::Serving && !self.past.renewed.contains(slot);
            // What one balancer has out already costs nothing there.
            out.push(*slot);
            let needed = || self.world.capacity_without(&out) < self.plan.course.floor;
            if rotation == Rotation::Out || goes_on && (alike || needed()) {
                out.pop();
            }
        }
        let turns: Vec<_> = out.into_iter().map(|slot| Turn { slot: slot.clone(), to: Admin::Maint }).collect();
        if turns.is_empty() { None } else { self.act(vec![Effect::Balance(turns)]) }
    }

    /// Images are at all engines before the first requests go elsewhere: failing until then costs nothing.
    pub(super) fn prefetch(&self) -> Option<Next> {
        let mut effects = Vec::new();
        for slot in self.leg.renewed().filter(|slot| !self.past.quarantined.contains_key(slot)) {
            match self.world.slot(slot) {
                None if !self.past.touched() && !self.serves_unseen(slot) => match self.lost(slot) {
                    Condition::Failed(sickness) => return Some(quarantine(slot, sickness)),
                    Condition::Waits(until_ms, why) => return Some(Next::Wait { until_ms, why }),
                    _ => {}
                },
                Some(view) if !view.images.contains(&self.leg.goal.image) => {
                    let effect = Effect::Prefetch { slot: slot.clone(), release: self.leg.goal.clone() };
                    if let Condition::Failed(sickness) = self.condition(slot, self.since) {
                        return Some(quarantine(slot, sickness));
                    }
                    if self.in_vain(&effect) {
                        return Some(quarantine(slot, Sickness::Unreachable));
                    }
                    effects.push(effect);
                }
                _ => {}
            }
        }
        self.act(effects)
    }

    /// The first half, up to where it could be let in; and from then on, that it stays well. On the way back in batches nothing is kept waiting: what served before is known.
    pub(super) fn first_half(&self) -> Option<Next> {
        let next = self.bring(&self.leg.first, self.since, self.back() && self.leg.batch.is_some())?;
        Some(if self.past.swapped() { next } else { self.in_time(self.since, next) })
    }

    /// The second half, all of it or a batch after the other: what is well is let in at once. Each batch has its own time, from when the one before it was let in.
    pub(super) fn second_half(&self) -> Option<Next> {
        if self.leg.warm {
            return self.put_by();
        }
        let mut since = self.past.soaked.get(&1).copied().unwrap_or(self.since);
        for batch in self.leg.batches() {
            let let_in = |slot: &SlotName| self.past.first_turn(slot, Admin::Ready);
            if let Some(next) = self.bring(batch, since, true) {
                let over = batch.iter().all(|slot| let_in(slot).is_some() || self.past.quarantined.contains_key(slot));
                return Some(if over && self.leg.batch.is_some() { next } else { self.in_time(since, next) });
            }
            since = batch.iter().filter_map(let_in).fold(since, u64::max);
        }
        None
    }

    /// The side that went out runs on; once nobody waits for it, balancers leave it alone.
    fn put_by(&self) -> Option<Next> {
        let (mut turns, mut waits) = (Vec::new(), None);
        for slot in self.leg.second.iter().filter(|slot| self.world.rotation(slot) != Rotation::Out) {
            let began = self.past.last_turn(slot, Admin::Drain).unwrap_or(self.since);
            let until_ms = began.saturating_add(self.environment().drain_ms);
            if self.world.in_flight(slot) > 0 && self.now < until_ms {
                waits.get_or_insert(Next::Wait { until_ms, why: Waiting::Requests(slot.clone()) });
            } else {
                turns.push(Turn { slot: slot.clone(), to: Admin::Maint });
            }
        }
        if turns.is_empty() { waits } else { self.act(vec![Effect::Balance(turns)]) }
    }

    /// Both halves in one line per balancer, or the first alone where two releases may meet. Done again if it is not so, or not so any more.
    pub(super) fn swap(&self) -> Option<Next> {
        let is = |slot: &&SlotName, goal: bool| self.world.runs(slot, &self.leg.goal) == goal;
        let well = |slot: &&SlotName| !self.past.quarantined.contains_key(slot) && is(slot, true);
        let rotation = |slot: &SlotName| self.world.rotation(slot);
        let into = self.leg.first.iter().filter(well).filter(|slot| rotation(slot) != Rotation::Serving);
        let unreached = self.leg.first.iter().filter(|slot| self.past.quarantined.contains_key(slot));
        let all_others = unreached.chain(&self.leg.second).filter(|_| self.leg.batch.is_none());
        // A side goes out whatever it runs.
        let old = all_others.filter(|slot| self.leg.warm && self.leg.second.contains(slot) || is(slot, false) && !self.serves_unseen(slot));
        let out = old.filter(|slot| matches!(rotation(slot), Rotation::Serving | Rotation::Partly));
        let turn = |slot: &SlotName, to| Turn { slot: slot.clone(), to };
        let turns: Vec<_> = into.map(|slot| turn(slot, Admin::Ready)).chain(out.map(|slot| turn(slot, Admin::Drain))).collect();
        if turns.is_empty() {
            return None;
        }
        self.leaves_too_few(&turns).or_else(|| self.act(vec![Effect::Swap(turns)]))
    }

    /// What earlier deploys kept is not needed any more. What this one set aside is, until the next.
    pub(super) fn tidy(&self) -> Option<Next> {
        if self.back() {
            return None;
        }
        let mut effects = Vec::new();
        for slot in self.slots() {
            let containers = self.world.slot(slot).map(|view| view.containers.as_slice()).unwrap_or_default();
            let older = containers.iter().filter(|container| container.aside.as_ref().is_some_and(|by| *by != self.plan.deploy));
            let still = older.filter(|container| container.state != ContainerState::Running);
            effects.extend(still.map(|container| Effect::Remove { slot: slot.clone(), container: container.id.clone() }));
        }
        // Once is enough: it is no reason to hold anything up.
        effects.retain(|effect| self.past.last_end(effect).is_none());
        self.act(effects)
    }

    /// All slots that have not failed.
    fn slots(&self) -> impl Iterator<Item = &SlotName> {
        self.leg.first.iter().chain(&self.leg.second).chain(&self.leg.workers).filter(|slot| !self.past.quarantined.contains_key(slot))
    }

    /// One step further with each of these slots; nothing if all are where they are to be.
    pub(super) fn bring(&self, slots: &[SlotName], since: u64, let_in: bool) -> Option<Next> {
        let (mut turns, mut effects) = (Vec::new(), Vec::new());
        let mut waits: Option<(u64, Waiting)> = None;
        let mut spare = self.spare();
        let mut kept = None;
        for slot in slots.iter().filter(|slot| !self.past.quarantined.contains_key(slot)) {
            let mut turn = |to| turns.push(Turn { slot: slot.clone(), to });
            match self.condition(slot, since) {
                Condition::Failed(sickness) => return Some(quarantine(slot, sickness)),
                Condition::Parked if let_in => turn(Admin::Ready),
                Condition::Serving | Condition::Parked => {}
                Condition::Turn(Admin::Drain) if spare == 0 && self.is_capacity(slot) => kept = Some(slot),
                Condition::Turn(Admin::Drain) if self.is_capacity(slot) => {
                    spare -= 1;
                    turn(Admin::Drain);
                }
                Condition::Turn(to) => turn(to),
                Condition::Due(effect) if self.in_vain(&effect) => return Some(quarantine(slot, Sickness::Unreachable)),
                Condition::Due(effect) => effects.push(effect),
                Condition::Waits(until, why) => {
                    if waits.as_ref().is_none_or(|(other, _)| until < *other) {
                        waits = Some((until, why));
                    }
                }
            }
        }
        // I15: what would leave too few waits for what is on its way, and is held if nothing goes well for too long.
        if let (true, Some(turn)) = (self.leaves_too_few(&turns).is_some(), turns.first()) {
            if self.now >= self.stalled_at() {
                return Some(hold(Hold::RollbackBelowFloor));
            }
            waits.get_or_insert((self.stalled_at(), Waiting::Health(turn.slot.clone())));
        } else if !turns.is_empty() {
            effects.push(Effect::Balance(turns));
        }
        let blocked = || kept.map(|slot| self.no_room(slot));
        self.act(effects).or_else(|| waits.map(|(until_ms, why)| Next::Wait { until_ms, why })).or_else(blocked)
    }

    /// I1: of slots that serve so many can be taken out one batch after the other. Halves are counted before they begin.
    fn spare(&self) -> u32 {
        self.leg.batch.map_or(u32::MAX, |_| self.world.capacity().saturating_sub(self.plan.course.floor))
    }

    /// Whether requests go to what is to be replaced there.
    pub(super) fn is_capacity(&self, slot: &SlotName) -> bool {
        self.world.counts(slot) && !self.world.runs(slot, &self.leg.goal)
    }

    /// The next one cannot be taken out without too few serving: others are given time to come back.
    fn no_room(&self, slot: &SlotName) -> Next {
        if self.now < self.stalled_at() {
            return Next::Wait { until_ms: self.stalled_at(), why: Waiting::Health(slot.clone()) };
        }
        let (serving, floor) = (self.world.capacity().saturating_sub(1), self.plan.course.floor);
        if self.back() { hold(Hold::RollbackBelowFloor) } else { self.turn_back(Cause::NoRoom { serving, floor }) }
    }

    /// A4: it was tried, is still to be done, and nothing has gone well for too long. An engine that answers only when it is looked at is no better than one that does not.
    fn in_vain(&self, effect: &Effect) -> bool {
        self.now >= self.stalled_at() && self.past.last_end(effect).is_some()
    }

    /// A6: a half has its time.
    pub(super) fn in_time(&self, since: u64, next: Next) -> Next {
        let over = self.now >= since.saturating_add(self.environment().deadlines.batch_ms);
        if over { self.turn_back(Cause::Overdue(Deadline::Half)) } else { next }
    }
}

fn quarantine(slot: &SlotName, sickness: Sickness) -> Next {
    Next::Record(Decision::Quarantined { slot: slot.clone(), sickness })
}
