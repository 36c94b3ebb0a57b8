//! `CTest`: a unit is a test of its list, which a regular expression names; JUnit's XML, in which a test is called as in the list.
//!
//! A fixture pulls its set-up tests into the command: they are tests that nobody asked for, and red, so a project with fixtures says how it is to be run.
//! The list is that of the build directory: the nearest place with a `CTestTestfile.cmake`, by convention `build`.

use super::words;
use crate::framework::ProjectFacts;
use crate::framework::generic::{GENERIC, Preset};
use crate::model::{Listing, Naming, Results};

/// See the module.
pub const CTEST: Preset = Preset {
    name: "ctest",
    looked_for: "`enable_testing` in `CMakeLists.txt` (ctest)",
    texts: &["CMakeLists.txt"],
    evidence,
    command: |_| words("ctest --test-dir build --no-tests=error --output-on-failure --output-junit {report} -R {regex}"),
    units: || Listing::Ctest(words("ctest --test-dir build --show-only=json-v1")),
    results: Results::Junit,
    naming: Naming::Test,
    batch: 16,
    picking: &["-L", "-LE", "-E", "--label-regex"],
    ..GENERIC
};

fn evidence(facts: &ProjectFacts) -> Option<String> {
    let text = facts.texts.get("CMakeLists.txt")?;
    let tests = text
        .lines()
        .map(str::trim)
        .any(|line| line.starts_with("enable_testing") || line.to_ascii_lowercase().starts_with("include(ctest)"));
    tests.then(|| "`enable_testing` in `CMakeLists.txt`".to_owned())
}
