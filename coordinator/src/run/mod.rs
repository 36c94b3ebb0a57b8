//! A run: shards are started, fed from the queue, supervised, and everything that happens is told as events.
//!
//! `machine` is the run's brain and `shard` that of one shard; both are pure. `supervisor` is the thin shell around them that owns streams and tasks.
//! Not here: what a test's outcome means for the verdict (`proof`), who gets which unit (`queue`), in which order (`plan`), where shards live (`engine`).

mod brief;
mod facts;
mod held;
mod lost;
mod machine;
mod seat;
mod shard;
mod supervisor;
mod words;

#[cfg(test)]
mod simulation;

pub use brief::{Brief, Launcher, Plan, Planner, SuiteBrief};
pub use machine::Run;
pub use supervisor::{Control, Outcome, supervise};
pub use words::{Effect, Input, Obstacle};
