//! Deployments in a simulated fleet: each rule and invariant of the design by its name, and schedules by chance. `soak deployments` runs as many as one likes.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

#[path = "deployments/ends.rs"]
mod ends;
#[path = "deployments/ground.rs"]
mod ground;
#[path = "deployments/schedules.rs"]
mod schedules;
#[path = "deployments/strategies.rs"]
mod strategies;
