//! The presets, a file each: how a tool is recognised, called and read. The reason for each choice stands there.

mod bats;

pub use bats::BATS;

use crate::model::Listing;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn files(patterns: &[&str]) -> Listing {
    Listing::Files(patterns.iter().map(ToString::to_string).collect())
}
