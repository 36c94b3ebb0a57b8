//! Cargo: a unit is a target with tests, or a package's doctests; what Rust's test harness prints is read. One target goes into a command, since the
//! harness does not say of which it is.
//!
//! The image should have built them (`cargo test --no-run`): shards that build side by side wait for each other.

use super::words;
use crate::framework::generic::{GENERIC, Preset};
use crate::model::{Listing, Naming, Results};

/// See the module.
pub const CARGO: Preset = Preset {
    name: "cargo",
    looked_for: "`Cargo.toml` (cargo)",
    evidence: |facts| facts.has("Cargo.toml").then(|| "`Cargo.toml`".to_owned()),
    command: |_| words("cargo test {target}"),
    units: || Listing::Cargo(words("cargo metadata --no-deps --format-version 1")),
    results: Results::Libtest,
    naming: Naming::Alone,
    ..GENERIC
};
