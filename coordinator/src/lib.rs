//! splitci's coordinator: an image is built once, its suite split over N shards, and the results proven into one verdict.
//!
//! A library that never prints and never reads environment or home: what it needs comes in as values, what it says goes out as events.

pub mod balancer;
pub mod candidate;
pub mod config;
pub mod content;
pub mod delivery;
pub mod deployment;
pub mod docker;
pub mod engine;
pub mod fleet;
pub mod framework;
pub mod gate;
pub mod history;
pub mod hooks;
pub mod image;
pub mod model;
pub mod mounts;
pub mod pipeline;
pub mod plan;
pub mod program;
pub mod promotion;
pub mod proof;
pub mod queue;
pub mod registry;
pub mod report;
pub mod reuse;
pub mod rollout;
pub mod run;
pub mod tally;
pub mod trust;
pub mod tunnel;
pub mod vault;
