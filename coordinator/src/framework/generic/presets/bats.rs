//! Bats: TAP on standard output, whose plan comes first, so that a file that ends early is seen. TAP names no file, so files run alone.

use std::path::Path;

use super::{files, words};
use crate::framework::generic::{GENERIC, Preset};
use crate::model::{Naming, Results};

/// See the module.
pub const BATS: Preset = Preset {
    name: "bats",
    looked_for: "`*.bats` (bats)",
    evidence: |facts| facts.first(|path| Path::new(path).extension().is_some_and(|end| end == "bats")),
    command: |_| words("bats --tap {units}"),
    units: || files(&["**/*.bats"]),
    results: Results::Tap,
    naming: Naming::Alone,
    picking: &["-f", "--filter", "--filter-tags", "--filter-status"],
    ..GENERIC
};
