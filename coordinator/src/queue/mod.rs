//! Who runs what: the units of a run and their leases, as one pure machine with one operation.
//!
//! In comes a [`Step`] of a session (results, marks, units given back, how many more it wants) and the time; out goes a [`Reply`] with leases and
//! with the facts that the step decided. No clock, no I/O, no chance: the same steps at the same times give the same replies, so that a queue in a
//! store can be compared with this one step by step. It does not know files, tests' names, processes or deadlines, and it starts nothing.
//!
//! What holds, whatever is lost, doubled, delayed or reordered on the way here:
//! - A unit ends exactly once, by [`Fact::Finished`] or [`Fact::GivenUp`]; a slice may after that (or instead) be [`Fact::Superseded`] by its fallback, for good.
//! - A unit is given only to a session of its suite.
//! - Only the holder of a unit's current fence changes it. Everybody else is told [`Fact::Overtaken`].
//! - The last step of a session may be repeated: it gets the same reply and changes nothing.
//! - A unit ends after finitely many lost sessions. Each loss either makes at least one more test final, or counts: `max_losses` of one suspect, or
//!   twice that of whatever suspects without progress in between, make the suspect final as crashed. So no unit loses more than `2 × max_losses` sessions
//!   a test, and a unit whose ids change between loads is restarted once and then loses at most `max_losses` more.
//! - A unit that is added for another attempt ([`Queue::retry`]) keeps all of these. Whether there shall be one is decided elsewhere.
//! - A test that always takes its session with it is named after `max_losses` sessions, and the tests around it run.
//!
//! Next: [`call`] has the words, `machine` the rules of sessions, `ledger` those of units, `progress` those within one unit.

pub mod call;
mod ledger;
mod machine;
mod pending;
mod progress;
mod session;

pub use call::{
    Cause, End, Epoch, Fact, Lease, Listing, Partial, Policy, QueueError, QueueUnit, Remaining, Reply, Role, Started, State, Step,
    StepError, Suspect, UnitResult,
};
pub use machine::Queue;

#[cfg(test)]
mod contract;
