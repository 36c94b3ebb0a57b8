//! The presets: for each tool how it is recognised, called and read. The reasons for each choice stand beside it.

use super::{GENERIC, Preset};
use crate::model::{Listing, Naming, Results};

/// Bats: TAP on standard output, whose plan comes first, so that a file that ends early is seen. TAP names no file, so that files run alone.
pub const BATS: Preset = Preset {
    name: "bats",
    looked_for: "`*.bats` (bats)",
    evidence: |facts| facts.first(is_bats),
    command: |_| words("bats --tap {units}"),
    units: || files(&["**/*.bats"]),
    results: Results::Tap,
    naming: Naming::Alone,
    picking: &["-f", "--filter", "--filter-tags", "--filter-status"],
    ..GENERIC
};

fn is_bats(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|end| end == "bats")
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn files(patterns: &[&str]) -> Listing {
    Listing::Files(patterns.iter().map(ToString::to_string).collect())
}
