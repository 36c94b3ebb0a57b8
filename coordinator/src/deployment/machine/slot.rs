//! One slot on its way to a release. Each step is known by what it leaves behind, so there is nothing to remember but since when.
//!
//! Out: drain, until no request is in flight or its time is over; maintenance; stop, and set aside. In: create, start; our own questions answered well for long enough;
//! then drain, so that the balancer checks without sending requests (out of maintenance straight to ready it would send some on trust); full checks; and ready.

use super::Way;
use crate::deployment::words::{Effect, Rule, Waiting};
use crate::deployment::world::{Admin, Container, ContainerState, Rotation, Sickness, SlotView};
use crate::model::environment::SlotName;

/// What balancers need for checks of their own after a process took over, in milliseconds; ours are counted besides.
const CHECKS_MS: u64 = 10_000;

/// How a slot is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// It serves the goal.
    Serving,
    /// The goal runs there, is well by all accounts, and is not let in yet.
    Parked,
    /// This is to be done at its engine.
    Due(Effect),
    /// This the balancers are to be told.
    Turn(Admin),
    /// For something, until then.
    Waits(u64, Waiting),
    /// It failed.
    Failed(Sickness),
}

impl Way<'_> {
    /// How a slot is on its way, which it began then.
    pub(super) fn condition(&self, slot: &SlotName, since: u64) -> Condition {
        let Some(view) = self.world.slot(slot) else {
            return match self.serves_unseen(slot) {
                true => Condition::Serving,
                false if self.goes_in_too_soon(slot) => Condition::Turn(Admin::Drain),
                false => self.lost(slot),
            };
        };
        if let Some(said) = self.past.refused(slot) {
            return Condition::Failed(Sickness::Refused(said.to_owned()));
        }
        let goal = &self.leg.goal;
        let ours = |container: &&Container| container.deploy == self.plan.deploy;
        if !self.back() && view.containers.iter().filter(ours).any(|container| container.release != *goal) {
            return Condition::Failed(Sickness::WrongImage);
        }
        if let Some(other) = self.world.running(slot).find(|container| container.release != *goal) {
            return self.going_out(slot, other, since);
        }
        match self.candidate(view) {
            Some(container) if container.state == ContainerState::Running => self.coming_in(slot, view, container, since),
            container => self.down(slot, view, container),
        }
    }

    /// Whether a slot whose engine does not answer serves all the same, and can only serve the goal: it was let in on this leg, or the goal is what served before and nothing was
    /// ever started there.
    /// It is not taken out for want of an engine that nothing is asked of (R5).
    pub(super) fn serves_unseen(&self, slot: &SlotName) -> bool {
        if self.is_worker(slot) {
            return self.works_unseen(slot);
        }
        // Batches leave the others in, so that they serve what they did however far it came.
        let as_before = self.leg.batch.is_some() && self.plan.course.current.as_ref() == Some(&self.leg.goal);
        let back = self.past.back.as_ref().is_some_and(|back| back.rule == Rule::R1 || as_before);
        let kept = back && !self.past.renewed.contains(slot);
        let only_goal = self.let_in(slot) || kept;
        self.world.slot(slot).is_none() && only_goal && self.world.rotation(slot) == Rotation::Serving
    }

    /// Whether a balancer that was loaded anew sends requests where none are to go yet, and no engine says what runs there: what was started on this leg, or what the idle side ran.
    fn goes_in_too_soon(&self, slot: &SlotName) -> bool {
        let sent = matches!(self.world.rotation(slot), Rotation::Serving | Rotation::Partly);
        let idle = self.leg.warm && self.leg.first.contains(slot);
        sent && !self.back() && !self.let_in(slot) && (idle || self.past.first_start(slot).is_some())
    }

    /// A4: an engine that does not answer is waited for, and then its slot has failed.
    pub(super) fn lost(&self, slot: &SlotName) -> Condition {
        if self.now >= self.stalled_at() {
            return Condition::Failed(Sickness::Unreachable);
        }
        Condition::Waits(self.stalled_at(), Waiting::Engine(slot.clone()))
    }

    fn going_out(&self, slot: &SlotName, container: &Container, since: u64) -> Condition {
        if self.is_worker(slot) {
            return self.lays_down(slot, container);
        }
        let rotation = self.world.rotation(slot);
        if matches!(rotation, Rotation::Serving | Rotation::Partly) {
            return Condition::Turn(Admin::Drain);
        }
        // From when the balancers were told last, and answered if they did: an order that was lost, or forgotten, has sent nobody elsewhere.
        let began = self.past.last_turn(slot, Admin::Drain).or_else(|| self.past.last_turn(slot, Admin::Maint));
        let until = began.unwrap_or(since).saturating_add(self.environment().drain_ms);
        if self.world.in_flight(slot) > 0 && self.now < until {
            return Condition::Waits(until, Waiting::Requests(slot.clone()));
        }
        if rotation != Rotation::Out {
            return Condition::Turn(Admin::Maint);
        }
        Condition::Due(Effect::Stop { slot: slot.clone(), container: container.id.clone() })
    }

    /// The container that is to serve the goal: on the way forward what runs, or what this deploy made; on the way back also what stood there before.
    fn candidate<'b>(&self, view: &'b SlotView) -> Option<&'b Container> {
        let fits = |container: &&Container| {
            let running = container.state == ContainerState::Running;
            let known = self.back() || running || container.deploy == self.plan.deploy;
            container.release == self.leg.goal && (running || container.aside.is_none()) && known
        };
        let order = |container: &&Container| match container.state {
            ContainerState::Running => 0,
            ContainerState::Created => 1,
            ContainerState::Exited(_) => 2,
        };
        view.containers.iter().filter(fits).min_by_key(order)
    }

    /// Nothing runs there: what was there is put out of the way, what is to be there is started. What ended after it was started or let in has failed.
    fn down(&self, slot: &SlotName, view: &SlotView, candidate: Option<&Container>) -> Condition {
        let exited = candidate.and_then(|container| match container.state {
            ContainerState::Exited(status) => Some(status),
            ContainerState::Created | ContainerState::Running => None,
        });
        let let_in = self.let_in(slot);
        match exited {
            Some(status) if let_in || self.past.started(slot) => return Condition::Failed(Sickness::Exited(status)),
            None if let_in => return Condition::Failed(Sickness::Gone),
            _ => {}
        }
        if self.world.rotation(slot) != Rotation::Out {
            return Condition::Turn(Admin::Maint);
        }
        let mut others = view.containers.iter().filter(|other| other.aside.is_none());
        if let Some(other) = others.find(|other| candidate.is_none_or(|candidate| candidate.id != other.id)) {
            return Condition::Due(Effect::SetAside { slot: slot.clone(), container: other.id.clone() });
        }
        Condition::Due(match (candidate, self.kept(view)) {
            (Some(container), _) => Effect::Start { slot: slot.clone(), container: container.id.clone() },
            (None, Some(kept)) => Effect::TakeBack { slot: slot.clone(), container: kept.id.clone() },
            (None, None) => Effect::Create { slot: slot.clone(), release: self.leg.goal.clone() },
        })
    }

    /// On the way back: what was kept of the goal, first of all what this deploy itself set aside.
    fn kept<'b>(&self, view: &'b SlotView) -> Option<&'b Container> {
        let fits = |container: &&Container| self.back() && container.release == self.leg.goal && container.aside.is_some();
        view.containers.iter().filter(fits).max_by_key(|kept| (kept.aside.as_ref() == Some(&self.plan.deploy), kept.fence))
    }

    fn coming_in(&self, slot: &SlotName, view: &SlotView, container: &Container, since: u64) -> Condition {
        let (let_in, started) = (self.let_in(slot), self.past.first_start(slot).is_some());
        if started && container.restarts > 0 {
            return Condition::Failed(Sickness::Flapping);
        }
        if self.is_worker(slot) {
            return self.takes_up((slot, view), container, since);
        }
        let down = self.world.servers(slot).any(|server| server.admin == Admin::Ready && !server.is_up());
        let refuses = view.probe.failures >= self.environment().health.successes;
        match self.world.rotation(slot) {
            Rotation::Serving | Rotation::Partly if let_in && (down || refuses) => Condition::Failed(self.sickness(slot, view)),
            // A balancer that was loaded anew has forgotten that it is not to send requests here yet.
            Rotation::Serving | Rotation::Partly if started && !let_in && !self.is_needed() => Condition::Turn(Admin::Drain),
            Rotation::Serving => Condition::Serving,
            Rotation::Partly if down => Condition::Turn(Admin::Maint),
            Rotation::Out if self.proven(view) => Condition::Turn(Admin::Drain),
            Rotation::Checked if self.proven(view) => Condition::Parked,
            Rotation::Partly if self.world.servers(slot).any(|server| server.admin == Admin::Maint) => Condition::Turn(Admin::Drain),
            Rotation::Partly if self.proven(view) && self.full(slot) => Condition::Parked,
            _ => self.not_yet(slot, view, since),
        }
    }

    /// Whether slots that are sent requests too soon are better left so: on the way back they run what served before, and without them too few would serve (I1).
    fn is_needed(&self) -> bool {
        let slots = self.leg.first.iter().chain(&self.leg.second);
        let too_soon = slots.filter(|slot| self.world.counts(slot) && !self.let_in(slot) && self.past.first_start(slot).is_some());
        let left = self.world.capacity().saturating_sub(u32::try_from(too_soon.count()).unwrap_or(u32::MAX));
        self.back() && left < self.plan.course.floor
    }

    /// Not well yet: until its time is over. A process that took over gives it the time to prove itself, for it asks from the beginning.
    pub(super) fn not_yet(&self, slot: &SlotName, view: &SlotView, since: u64) -> Condition {
        let health = &self.environment().health;
        let began = self.past.first_start(slot).unwrap_or(since);
        let questions = health.interval_ms.saturating_mul(u64::from(health.successes));
        let proving = questions.saturating_add(health.min_healthy_ms).saturating_add(CHECKS_MS);
        let again = self.past.resumed.map_or(0, |resumed| resumed.saturating_add(proving));
        let until = began.saturating_add(health.boot_ms).max(again);
        if self.now >= until {
            return Condition::Failed(self.sickness(slot, view));
        }
        let why = if self.proven(view) { Waiting::Checks(slot.clone()) } else { Waiting::Health(slot.clone()) };
        Condition::Waits(until, why)
    }

    /// Whether our own questions were answered well often and long enough.
    pub(super) fn proven(&self, view: &SlotView) -> bool {
        let health = &self.environment().health;
        let long = view.probe.since_ms.is_some_and(|since| self.now.saturating_sub(since) >= health.min_healthy_ms);
        view.probe.successes >= health.successes && long
    }

    /// Whether every balancer that does not send requests yet finds nothing wrong.
    fn full(&self, slot: &SlotName) -> bool {
        self.world.servers(slot).all(|server| server.admin == Admin::Ready || server.is_full())
    }

    /// Whether this deploy told the balancers on this leg to send requests there.
    fn let_in(&self, slot: &SlotName) -> bool {
        self.past.first_turn(slot, Admin::Ready).is_some()
    }

    /// What is wrong with a container that runs.
    fn sickness(&self, slot: &SlotName, view: &SlotView) -> Sickness {
        let worker = self.is_worker(slot);
        match &view.probe.last_failure {
            _ if !worker && view.probe.successes >= self.environment().health.successes => Sickness::BalancerDisagrees,
            Some(failure) => failure.clone(),
            None if worker => Sickness::Unsettled,
            None => Sickness::NeverListened,
        }
    }
}
