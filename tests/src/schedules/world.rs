//! One schedule: a queue, its sessions, the way between them, and the weather there.

use std::collections::BTreeMap;

use splitci_coordinator::model::{Fence, SessionId, ShardId, SuiteId, UnitId};
use splitci_coordinator::queue::{Cause, End, Epoch, Fact, Listing, Policy, Reply, State, Step, StepError, UnitResult};

use super::dice::Dice;
use super::judge::Judge;
use super::session::{Session, place};
use super::suite::Suite;
use super::{Stats, Subject};

/// How often things go wrong, in a thousand; none of it in many schedules, so that what is left is seen clearly.
#[derive(Debug, Clone, Copy)]
struct Weather {
    lost_step: u32,
    lost_reply: u32,
    doubled: u32,
    delayed: u32,
    killed: u32,
    vanished: u32,
    frozen: u32,
    jump: u32,
    liar: u32,
    cancel: u32,
    again: u32,
}

const CALM: Weather = Weather {
    lost_step: 0,
    lost_reply: 0,
    doubled: 0,
    delayed: 0,
    killed: 0,
    vanished: 0,
    frozen: 0,
    jump: 0,
    liar: 0,
    cancel: 0,
    again: 0,
};
/// By then a calm schedule is over, or it never will be.
const PATIENCE: u32 = 100_000;
/// Shard number of the one who sends results for leases that it never had.
const LIAR: u32 = 999;

pub(super) struct World<S> {
    queue: S,
    suite: Suite,
    judge: Judge,
    dice: Dice,
    epoch: Epoch,
    weather: Weather,
    now_ms: u64,
    sessions: Vec<Session>,
    /// Sessions begun by shard.
    begun: Vec<u32>,
    /// Steps that were sent once, to come again.
    sent: Vec<Step>,
    given: Vec<(UnitId, Fence)>,
    /// The last step of each session that was carried out.
    carried_out: BTreeMap<SessionId, u64>,
    lies: u64,
    cancelled: bool,
    stats: Stats,
}

impl<S: Subject> World<S> {
    pub(super) fn imagine(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let suite = Suite::imagine(&mut dice);
        let max_losses = dice.of(&[2, 2, 2, 1, 3]).unwrap_or(2);
        let shards = 1 + dice.below(5);
        let policy = Policy { max_losses, ..Policy::for_shards(shards) };
        let epoch = Epoch(u128::from(seed) + 1);
        let mut rate = |list: &[u32]| dice.of(list).unwrap_or(0);
        let weather = Weather {
            lost_step: rate(&[0, 50, 200]),
            lost_reply: rate(&[0, 50, 200]),
            doubled: rate(&[0, 100, 300]),
            delayed: rate(&[0, 50, 200]),
            killed: rate(&[0, 0, 20, 60]),
            vanished: rate(&[0, 0, 10, 40]),
            frozen: rate(&[0, 0, 10, 40]),
            jump: rate(&[0, 0, 5, 30]),
            liar: rate(&[0, 30]),
            cancel: rate(&[0, 0, 0, 0, 0, 0, 0, 3]),
            again: rate(&[0, 100, 400]),
        };
        let units = suite.queue_units(&mut dice);
        let mut world = Self {
            queue: S::filled(epoch, units, policy),
            judge: Judge::new(&suite, max_losses),
            suite,
            dice,
            epoch,
            weather,
            now_ms: 1_700_000_000_000,
            sessions: Vec::new(),
            begun: Vec::new(),
            sent: Vec::new(),
            given: Vec::new(),
            carried_out: BTreeMap::new(),
            lies: 0,
            cancelled: false,
            stats: Stats { schedules: 1, ..Stats::default() },
        };
        for shard in 0..shards {
            world.begun.push(0);
            world.begin(shard);
        }
        world
    }

    fn begin(&mut self, shard: u32) {
        let Some(number) = self.begun.get_mut(usize::try_from(shard).unwrap_or(usize::MAX)) else { return };
        *number += 1;
        // Shards go from suite to suite.
        let suite = SuiteId((shard + *number) % self.suite.suites);
        self.sessions.push(Session::new(SessionId { shard: ShardId(shard), number: *number }, suite));
    }

    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(super) fn objection(self) -> Option<String> {
        self.judge.objection
    }

    pub(super) fn live(&mut self) {
        let wild = 60 + self.dice.below(400);
        for _ in 0..wild {
            self.happen();
        }
        self.weather = CALM;
        for session in &mut self.sessions {
            session.frozen_until = 0;
        }
        let mut patience = PATIENCE;
        while self.queue.state() == State::Open && patience > 0 && self.judge.objection.is_none() {
            self.happen();
            patience -= 1;
        }
        if self.judge.objection.is_some() || self.cancelled {
            return;
        }
        if patience == 0 {
            self.judge.objection = Some("no end in sight".to_owned());
            return;
        }
        self.judge.close(&self.suite);
    }

    /// One thing happens.
    fn happen(&mut self) {
        let weather = self.weather;
        self.now_ms += u64::from(self.dice.below(400));
        if self.dice.chance(weather.jump) {
            self.now_ms += u64::from(self.dice.below(60_000));
        }
        if self.dice.chance(weather.cancel) {
            self.queue.cancel();
            self.stats.cancelled += u64::from(!self.cancelled);
            self.cancelled = true;
        }
        if self.dice.chance(50) || self.queue.next_expiry().is_some_and(|due| due <= self.now_ms) && self.dice.chance(500) {
            let facts = self.queue.expire(self.now_ms);
            self.judge.decided(&self.suite, None, &facts);
            self.stats.count(&facts);
        }
        if self.dice.chance(weather.delayed) {
            self.come_again();
        }
        if self.dice.chance(weather.liar) {
            self.lie();
        }
        self.act();
    }

    /// Some session does something, or something is done to it.
    fn act(&mut self) {
        let weather = self.weather;
        let number = u32::try_from(self.sessions.len()).unwrap_or(0);
        let chosen = usize::try_from(self.dice.below(number)).unwrap_or(0);
        let Some(session) = self.sessions.get_mut(chosen) else { return };
        if session.frozen_until > self.now_ms {
            return;
        }
        if self.dice.chance(weather.vanished) {
            return self.replace(chosen);
        }
        if self.dice.chance(weather.frozen) {
            session.frozen_until = self.now_ms + u64::from(self.dice.below(50_000));
            return;
        }
        if self.dice.chance(weather.killed) && session.is_busy() {
            session.die(&self.suite, &mut self.judge, Cause::Outside);
        }
        if session.is_busy() && self.dice.chance(700) {
            session.run(&mut self.suite, &mut self.judge, &mut self.dice);
            if session.over {
                self.replace(chosen);
            }
            return;
        }
        self.talk(chosen);
    }

    fn talk(&mut self, chosen: usize) {
        let weather = self.weather;
        let Some(session) = self.sessions.get_mut(chosen) else { return };
        let step = session.speak(self.epoch, self.suite.suites > 1, &mut self.dice);
        if self.dice.chance(weather.lost_step) {
            self.sent.push(step);
            return;
        }
        let answer = self.deliver(&step);
        if self.dice.chance(weather.doubled) {
            let again = self.deliver(&step);
            let same = again == answer || answer.is_err();
            self.demand(same, || format!("{step:?} was answered {answer:?}, then {again:?}"));
        }
        self.sent.push(step);
        if self.dice.chance(weather.lost_reply) {
            return;
        }
        let Some(session) = self.sessions.get_mut(chosen) else { return };
        match answer {
            Ok(reply) => session.hear(&reply),
            Err(StepError::SessionOver(_)) => session.over = true,
            Err(error) => self.demand(false, || format!("an honest step was refused: {error}")),
        }
        if self.sessions.get(chosen).is_some_and(|session| session.over) {
            self.replace(chosen);
        }
    }

    /// A session is gone; its shard begins another one.
    fn replace(&mut self, chosen: usize) {
        let session = self.sessions.swap_remove(chosen);
        self.sent.extend(session.waiting);
        self.begin(session.id.shard.0);
    }

    /// A step reaches the queue. Only what is carried out may change anything.
    fn deliver(&mut self, step: &Step) -> Result<Reply, StepError> {
        self.stats.steps += 1;
        let before = self.dice.chance(30).then(|| self.queue.image());
        let known = step.epoch == self.epoch && self.carried_out.get(&step.session) == Some(&step.seq);
        let answer = self.queue.step(self.now_ms, step);
        match &answer {
            Ok(reply) if !known => {
                self.carried_out.insert(step.session, step.seq);
                self.judge.replied(&self.suite, step, reply);
                self.demand(!self.cancelled || reply.leases.is_empty(), || "leases after the cancellation".to_owned());
                self.stats.count(&reply.facts);
                self.stats.leases += reply.leases.len() as u64;
                let own = reply.leases.iter().all(|lease| self.suite.suite_of(place(lease.unit)) == step.suite);
                self.demand(own, || format!("{step:?} was given units of another suite: {reply:?}"));
                self.given.extend(reply.leases.iter().map(|lease| (lease.unit, lease.fence)));
                self.try_again(step.session, &reply.facts);
            }
            Ok(_) => self.stats.repeated += 1,
            Err(_) => self.stats.refused += 1,
        }
        if let Some(before) = before.filter(|_| known || answer.is_err()) {
            let same = self.queue.image() == before;
            self.demand(same, || format!("{step:?} changed something, though it was answered {answer:?}"));
        }
        answer
    }

    /// Something failed in units that are through.
    fn try_again(&mut self, session: SessionId, facts: &[Fact]) {
        for fact in facts {
            let Fact::Finished { unit, .. } = *fact else { continue };
            if self.dice.chance(self.weather.again) {
                let added = self.queue.retry(unit, session);
                self.suite.try_again(place(unit), &mut self.dice);
                self.judge.added(added);
                self.stats.retried += 1;
            }
        }
    }

    /// A step of long ago comes once more; or one of another life of the queue.
    fn come_again(&mut self) {
        let place = usize::try_from(self.dice.below(u32::try_from(self.sent.len()).unwrap_or(0))).unwrap_or(0);
        let Some(mut step) = self.sent.get(place).cloned() else { return };
        if self.dice.chance(100) {
            step.epoch = Epoch(0);
        }
        let answer = self.deliver(&step);
        let lost = answer == Err(StepError::EpochLost);
        self.demand(lost == (step.epoch == Epoch(0)), || format!("{step:?} was answered {answer:?}"));
    }

    /// Somebody hands in results for leases of others, old ones, and such as never were.
    fn lie(&mut self) {
        self.lies += 1;
        let mut step = Step::new(self.epoch, SessionId { shard: ShardId(LIAR), number: 1 }, self.lies);
        let invented = (UnitId(0), Fence(u64::from(self.dice.below(50))));
        let (unit, fence) = self.dice.of(&self.given).filter(|_| self.dice.chance(800)).unwrap_or(invented);
        let listing = Listing { hash: [9; 16], count: self.dice.below(5) };
        step.results.push(UnitResult { unit, fence, end: End::Complete(listing) });
        step.release.push((unit, fence));
        match self.deliver(&step) {
            Ok(reply) => {
                let told = reply.facts.contains(&Fact::Overtaken { unit, fence });
                self.demand(told, || format!("a lie was believed: {reply:?}"));
            }
            // It fell silent for too long.
            Err(_) => self.weather.liar = 0,
        }
    }

    fn demand(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.judge.objection.get_or_insert_with(text);
        }
    }
}
