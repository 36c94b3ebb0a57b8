//! Random schedules for a queue: sessions that run, die, freeze and are cut off; steps lost, doubled, delayed and reordered; tests that kill.
//!
//! A schedule is made by one seed, on one thread, with a clock moved by hand. It has a wild part and then a calm one, in which nothing goes wrong any more but what
//! the tests do themselves: by its end every unit must be final. What is right is the [`judge`]'s business, who keeps a book of its own.
//! The queue is behind a trait, for any kind of queue can be driven so.

pub mod dice;
pub mod judge;
pub mod session;
pub mod suite;
mod world;

use splitci_coordinator::model::{SessionId, UnitId};
use splitci_coordinator::queue::{Epoch, Fact, Policy, Queue, QueueUnit, Reply, State, Step, StepError};

use world::World;

/// A queue that can be driven through a schedule.
pub trait Subject {
    /// A queue of these units.
    fn filled(epoch: Epoch, units: Vec<QueueUnit>, policy: Policy) -> Self;
    /// The operation.
    fn step(&mut self, now_ms: u64, call: &Step) -> Result<Reply, StepError>;
    /// Ends silent sessions.
    fn expire(&mut self, now_ms: u64) -> Vec<Fact>;
    /// Gives nothing out any more.
    fn cancel(&mut self);
    /// Adds another attempt at something of this unit, which failed in this session.
    fn retry(&mut self, of: UnitId, failed_in: SessionId) -> UnitId;
    /// Whether there is more.
    fn state(&self) -> State;
    /// When a silent session is due.
    fn next_expiry(&self) -> Option<u64>;
    /// All of its state, to be compared.
    fn image(&self) -> String;
}

impl Subject for Queue {
    fn filled(epoch: Epoch, units: Vec<QueueUnit>, policy: Policy) -> Self {
        Self::new(epoch, units, policy).expect("slices come with a fallback")
    }

    fn step(&mut self, now_ms: u64, call: &Step) -> Result<Reply, StepError> {
        Self::step(self, now_ms, call)
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Fact> {
        Self::expire(self, now_ms)
    }

    fn cancel(&mut self) {
        Self::cancel(self);
    }

    fn retry(&mut self, of: UnitId, failed_in: SessionId) -> UnitId {
        Self::retry(self, of, failed_in)
    }

    fn state(&self) -> State {
        Self::state(self)
    }

    fn next_expiry(&self) -> Option<u64> {
        Self::next_expiry(self)
    }

    fn image(&self) -> String {
        format!("{self:?}")
    }
}

/// What a number of schedules came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Schedules run.
    pub schedules: u64,
    /// Steps that reached the queue.
    pub steps: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Of these, answered from memory.
    pub repeated: u64,
    /// Units given out.
    pub leases: u64,
    /// Results that came too late.
    pub overtaken: u64,
    /// Sessions that fell silent.
    pub expired: u64,
    /// Units interrupted.
    pub interrupted: u64,
    /// Tests and loadings named.
    pub crashed: u64,
    /// Units given up.
    pub given_up: u64,
    /// Units whose ids changed.
    pub superseded: u64,
    /// Schedules that were cancelled.
    pub cancelled: u64,
    /// Units that were added for another attempt.
    pub retried: u64,
}

/// A schedule in which the queue did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The schedule.
    pub seed: u64,
    /// What was wrong.
    pub objection: String,
}

/// Runs so many schedules of the embedded queue, the first of this seed, the others of the next ones.
pub fn soak(schedules: u64, seed: u64) -> Result<Stats, Violation> {
    let mut stats = Stats::default();
    for seed in (0..schedules).map(|number| seed.wrapping_add(number)) {
        schedule::<Queue>(seed, &mut stats)?;
    }
    Ok(stats)
}

/// Runs one schedule.
pub fn schedule<S: Subject>(seed: u64, stats: &mut Stats) -> Result<(), Violation> {
    let mut world = World::<S>::imagine(seed);
    world.live();
    stats.add(world.stats());
    world.objection().map_or(Ok(()), |objection| Err(Violation { seed, objection }))
}

impl Stats {
    fn count(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Finished { .. } => {}
                Fact::Interrupted { .. } => self.interrupted += 1,
                Fact::Crashed { .. } => self.crashed += 1,
                Fact::GivenUp { .. } => self.given_up += 1,
                Fact::Superseded { .. } => self.superseded += 1,
                Fact::Overtaken { .. } => self.overtaken += 1,
                Fact::SessionExpired { .. } => self.expired += 1,
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.refused += other.refused;
        self.repeated += other.repeated;
        self.leases += other.leases;
        self.overtaken += other.overtaken;
        self.expired += other.expired;
        self.interrupted += other.interrupted;
        self.crashed += other.crashed;
        self.given_up += other.given_up;
        self.superseded += other.superseded;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
    }
}
