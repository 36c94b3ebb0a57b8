//! The queue itself: sessions, what they hold, and the one step over them.
//!
//! A step is checked first and then carried out whole: results, units given back, marks, the end of the session, a few sessions that fell silent, and last what
//! the session gets. Per step the work is in proportion to what the step carries, never to the number of units.

use std::collections::BTreeMap;

use super::call::{
    Cause, End, Epoch, Fact, Lease, Partial, Policy, QueueError, QueueUnit, Remaining, Reply, State, Step, StepError, Suspect, UnitResult,
};
use super::ledger::Ledger;
use super::pending::Turn;
use super::session::{Held, Session};
use crate::model::{Fence, SessionId, SuiteId, UnitId};

/// Silent sessions that one step ends at most, so that no single step is slow; the next step ends more.
const RECLAIMS_PER_STEP: usize = 4;

/// The units of a run and their leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    epoch: Epoch,
    policy: Policy,
    ledger: Ledger,
    sessions: BTreeMap<SessionId, Session>,
    last_fence: u64,
    cancelled: bool,
    now_ms: u64,
}

impl Queue {
    /// A queue with these units, in the order of their turns. Refuses slices without a fallback, which nothing could replace, and a fallback without slices.
    pub fn new(epoch: Epoch, units: Vec<QueueUnit>, policy: Policy) -> Result<Self, QueueError> {
        let ledger = Ledger::new(units, policy.max_losses)?;
        Ok(Self { epoch, policy, ledger, sessions: BTreeMap::new(), last_fence: 0, cancelled: false, now_ms: 0 })
    }

    /// Takes what a session tells and gives it what it asks for. A step that is refused changes nothing.
    pub fn step(&mut self, now_ms: u64, call: &Step) -> Result<Reply, StepError> {
        if let Some(reply) = self.check(call)? {
            return Ok(reply);
        }
        let mut facts = Vec::new();
        self.pass_time(now_ms);
        self.renew(call);
        for result in &call.results {
            self.settle(call.session, result, &mut facts);
        }
        for &(unit, fence) in &call.release {
            self.give_back(call.session, unit, fence);
        }
        if let Some(session) = self.sessions.get_mut(&call.session) {
            call.started.iter().for_each(|&mark| session.mark(mark));
        }
        if call.close {
            self.end(call.session, Silence::Closed, &mut facts);
        }
        self.end_silent(RECLAIMS_PER_STEP, &mut facts);
        let leases = self.lease(call.session, call.suite, call.want);
        let reply = Reply { leases, facts, state: self.state(), remaining: self.remaining() };
        if let Some(session) = self.sessions.get_mut(&call.session) {
            session.last_reply = reply.clone();
        }
        Ok(reply)
    }

    /// Adds a unit in which tests of another one are tried again, after this session failed at them. It is one like all others from then on.
    pub fn retry(&mut self, of: UnitId, failed_in: SessionId) -> UnitId {
        self.ledger.retry(of, failed_in.shard)
    }

    /// Ends every session that has been silent for too long.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.pass_time(now_ms);
        self.end_silent(usize::MAX, &mut facts);
        facts
    }

    /// Gives nothing out any more.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Whether there will be more.
    pub fn state(&self) -> State {
        match self.remaining() {
            Remaining { pending: 0, leased: 0 } => State::Closed,
            _ if self.cancelled => State::Cancelled,
            _ => State::Open,
        }
    }

    /// What is not final yet.
    pub fn remaining(&self) -> Remaining {
        self.ledger.remaining()
    }

    /// How many units of a suite wait, and what is predicted of them in milliseconds.
    pub fn waiting(&self, suite: SuiteId) -> (u32, u64) {
        self.ledger.pending(suite).map_or((0, 0), |pending| (pending.len(), pending.predicted_ms()))
    }

    /// Whether this unit is final, or out of the run for good. A dormant fallback is, until it is woken.
    pub fn is_final(&self, unit: UnitId) -> bool {
        self.ledger.is_final(unit)
    }

    /// When the next silent session is due to end.
    pub fn next_expiry(&self) -> Option<u64> {
        self.sessions.values().filter(|session| !session.over).map(|session| session.expires_ms).min()
    }

    /// Refuses what cannot be carried out; finds the reply of a repeated step.
    fn check(&self, call: &Step) -> Result<Option<Reply>, StepError> {
        if call.epoch != self.epoch {
            return Err(StepError::EpochLost);
        }
        let session = self.sessions.get(&call.session);
        let last = session.map_or(0, |session| session.last_seq);
        if call.seq == last
            && let Some(session) = session
        {
            return Ok(Some(session.last_reply.clone()));
        }
        if session.is_some_and(|session| session.over) {
            return Err(StepError::SessionOver(call.session));
        }
        if call.seq != last + 1 {
            return Err(StepError::OutOfOrder { session: call.session, expected: last + 1, got: call.seq });
        }
        let units = call.results.iter().map(|result| result.unit).chain(call.release.iter().map(|&(unit, _)| unit));
        match units.chain(call.started.iter().map(|mark| mark.unit)).find(|&unit| !self.ledger.has(unit)) {
            Some(unit) => Err(StepError::UnknownUnit(unit)),
            None => Ok(None),
        }
    }

    /// Time only goes forward. If nobody at all was heard for half a lease, it was us who were away (stopped, suspended): sessions get that time back, once each.
    fn pass_time(&mut self, now_ms: u64) {
        let away = now_ms.saturating_sub(self.now_ms) > self.policy.lease_ms / 2;
        self.now_ms = self.now_ms.max(now_ms);
        if !away {
            return;
        }
        let expires_ms = self.now_ms.saturating_add(self.policy.lease_ms);
        for session in self.sessions.values_mut().filter(|session| !session.over && !session.extended) {
            (session.expires_ms, session.extended) = (expires_ms, true);
        }
    }

    fn renew(&mut self, call: &Step) {
        let expires_ms = self.now_ms.saturating_add(self.policy.lease_ms);
        let session = self.sessions.entry(call.session).or_default();
        (session.last_seq, session.suite) = (call.seq, call.suite);
        (session.expires_ms, session.extended) = (expires_ms, false);
    }

    fn settle(&mut self, session: SessionId, result: &UnitResult, facts: &mut Vec<Fact>) {
        let &UnitResult { unit, fence, end } = result;
        if !self.take_from(session, unit, fence) {
            facts.push(Fact::Overtaken { unit, fence });
            return;
        }
        match end {
            End::Complete(listing) => self.ledger.complete(unit, fence, listing, facts),
            End::Partial(partial) => self.ledger.lose(unit, fence, &partial, facts),
        }
    }

    fn give_back(&mut self, session: SessionId, unit: UnitId, fence: Fence) {
        if self.take_from(session, unit, fence) {
            self.ledger.put_back(unit);
        }
    }

    /// Ends the session's hold of a unit. True if the unit was its own to the last.
    fn take_from(&mut self, session: SessionId, unit: UnitId, fence: Fence) -> bool {
        let held = self.sessions.get_mut(&session).is_some_and(|session| session.let_go(unit, fence));
        held && self.ledger.is_leased(unit, fence)
    }

    fn end_silent(&mut self, most: usize, facts: &mut Vec<Fact>) {
        let due = |session: &Session| !session.over && session.expires_ms <= self.now_ms;
        let silent: Vec<_> = self.sessions.iter().filter(|(_, session)| due(session)).map(|(&id, _)| id).take(most).collect();
        for session in silent {
            facts.push(Fact::SessionExpired { session });
            self.end(session, Silence::Expired, facts);
        }
    }

    /// A session is over. What it held goes back: a marked unit as lost, the others as never begun. If nobody can know what a lost session had begun, all it
    /// held goes alone from now on, and a unit that was alone already is what it had begun.
    fn end(&mut self, id: SessionId, silence: Silence, facts: &mut Vec<Fact>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.over = true;
        let (held, mark) = (std::mem::take(&mut session.held), session.mark.take());
        for (unit, Held { fence, alone, .. }) in held {
            if !self.ledger.is_leased(unit, fence) {
                continue;
            }
            let blind = silence == Silence::Expired && mark.is_none();
            match mark.filter(|mark| mark.unit == unit) {
                Some(mark) => self.ledger.lose(unit, fence, &Partial::outside(Some(mark.at)), facts),
                None if blind && alone => self.ledger.lose(unit, fence, &Partial::outside(None), facts),
                None if blind => self.ledger.put_back_alone(unit),
                None => self.ledger.put_back(unit),
            }
        }
    }

    fn lease(&mut self, id: SessionId, suite: SuiteId, want: u32) -> Vec<Lease> {
        let mut leases = Vec::new();
        let Some(session) = self.sessions.get(&id).filter(|session| !session.over && !session.holds_alone()) else { return leases };
        if self.cancelled {
            return leases;
        }
        let mut free = session.held.is_empty();
        let mut held_ms = session.held_ms();
        let room = self.room(suite);
        if room.commands && !free {
            return leases;
        }
        let another_waits = self.another_waits(id, suite);
        for _ in 0..want {
            let Some((turn, unit)) = self.ledger.first_for(id.shard, suite, another_waits) else { break };
            held_ms = held_ms.and_then(|held| Some(held.saturating_add(self.ledger.predicted_ms(unit)?)));
            let fits = turn != Turn::Alone && room.takes(leases.len(), held_ms);
            if !(free || fits) {
                break;
            }
            leases.push(self.give(id, unit));
            if turn == Turn::Alone {
                break;
            }
            free = false;
        }
        leases
    }

    /// How much one session may take: half of a fair share of what is left of its suite.
    fn room(&self, suite: SuiteId) -> Room {
        let Policy { batch_ms, shards, .. } = self.policy;
        let (units, predicted_ms) = self.waiting(suite);
        let halves = 2 * shards.max(1);
        let fair_ms = predicted_ms / u64::from(halves);
        let together = self.policy.together(suite);
        let commands = together > 1;
        if !commands {
            // What nobody knows travels one by one, so that no shard waits behind it. With a single shard nobody else could take it.
            let unknown = if shards == 1 { MOST_UNKNOWN } else { 0 };
            return Room { commands, budget_ms: fair_ms.min(batch_ms), most: u32::MAX, unknown };
        }
        let unknown = (units / halves).clamp(2, MOST_UNKNOWN);
        Room { commands, budget_ms: fair_ms.clamp(START_MS, COMMAND_MS), most: together, unknown }
    }

    /// Whether a session of the suite in another shard has nothing before it: what this one had better not take is not left lying then.
    fn another_waits(&self, id: SessionId, suite: SuiteId) -> bool {
        let waits = |session: &Session| session.suite == suite && !session.over && session.held.is_empty();
        self.sessions.iter().any(|(other, session)| other.shard != id.shard && waits(session))
    }

    fn give(&mut self, id: SessionId, unit: UnitId) -> Lease {
        self.last_fence += 1;
        let lease = self.ledger.give(unit, Fence(self.last_fence));
        let held = Held { fence: lease.fence, predicted_ms: self.ledger.predicted_ms(unit), alone: lease.suspect };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.held.insert(unit, held);
        }
        lease
    }
}

/// Upper bound of the predicted time of one command, whose results come at its end.
const COMMAND_MS: u64 = 60_000;
/// Lower bound: less is not worth a start.
const START_MS: u64 = 1_000;
/// Upper bound of the units in one batch if any is unknown: where the batch is one command, the deadline of a test is that of all of it.
const MOST_UNKNOWN: u32 = 16;

/// How much one session may take at a time.
struct Room {
    /// Each batch is a command of its own.
    commands: bool,
    budget_ms: u64,
    most: u32,
    unknown: u32,
}

impl Room {
    /// Whether one more fits to so many units; `held_ms` is the time with it, unless something is unknown.
    fn takes(&self, units: usize, held_ms: Option<u64>) -> bool {
        let below = |most: u32| units < usize::try_from(most).unwrap_or(usize::MAX);
        below(self.most) && held_ms.map_or_else(|| below(self.unknown), |held| held <= self.budget_ms)
    }
}

/// Why a session says no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It said so, and what it did not mark it did not begin.
    Closed,
    /// Nobody knows.
    Expired,
}

impl Partial {
    /// All that is known of a unit whose whole host was lost.
    fn outside(suspect: Option<Suspect>) -> Self {
        Self { listing: None, final_below: 0, suspect, rest: true, cause: Cause::Outside }
    }
}
