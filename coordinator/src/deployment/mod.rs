//! From one release to the next, without a request lost: the brain of a deployment.
//!
//! | there | is |
//! |---|---|
//! | [`world`] | what can be observed: containers, servers, the migration, the lock |
//! | [`plan`] | what is going to happen, or why not |
//! | `legs` | which slots first and which then, and how many serve meanwhile |
//! | [`journal`] | what was intended, done and decided; the only memory |
//! | [`machine`] | what is to happen next |
//! | [`words`] | effects, decisions, causes, rules and ends |
//!
//! Comes in: an environment, the journal, what is observed, the time. Goes out: effects, each of which the shell journals before it carries it out and after. Whether something
//! is so is always observed, never remembered, so that a process that dies at any row is followed by one that goes on from what there is.
//!
//! Not here: engines, balancers, files, clocks; who may deploy what (a gate says so, and its answer comes in); configuration.

pub mod journal;
mod legs;
pub mod machine;
mod past;
pub mod plan;
pub mod words;
pub mod world;

#[cfg(test)]
mod tests;

pub use journal::{Agreed, Entry, Evidence, Journal, JournalError, Phase, Row, RowFault, Step};
pub use machine::Machine;
pub use plan::{Lack, Plan, PlannedStep, Refusal, Request, StepKind};
pub use words::{Cause, Course, Deadline, Decision, Effect, Hold, Leg, Next, Outcome, Rule, Turn, Waiting};
pub use world::{
    Admin, Balancer, CheckResult, Container, ContainerId, ContainerState, Gate, Lock, MigrationView, Probe, Rotation, Server, Sickness,
    SlotView, Traffic, World,
};
