//! The presets, a file each: how a tool is recognised, called and read. The reason for each choice stands there.

mod bats;
mod cargo;
mod ctest;
mod exunit;
mod go;
mod jest;
mod junit;
mod mocha;
mod phpunit;

pub use bats::BATS;
pub use cargo::CARGO;
pub use ctest::CTEST;
pub use exunit::EXUNIT;
pub use go::GO;
pub use jest::JEST;
pub use junit::JUNIT;
pub use mocha::MOCHA;
pub use phpunit::PHPUNIT;

use crate::model::Listing;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn files(patterns: &[&str]) -> Listing {
    Listing::Files(patterns.iter().map(ToString::to_string).collect())
}
