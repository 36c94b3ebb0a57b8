//! `expected.toml` of a fixture: what its run must come to, in words that no framework owns.
//!
//! ```toml
//! run = "--shards 1"            # options of the run; default none
//! exit = 1                      # its exit status
//! passed = 3                    # how many tests passed
//! says = ["signal 11"]          # what the summary must name
//! sessions_lost = 2             # how many sessions at most did not close cleanly; default 0
//! within_s = 60                 # how long it may take; default 60
//! [tests]                       # every test that did not pass, and how it ended
//! "tests/test_a.py::test_b" = "crashed: signal 11"
//! [told]                        # what the record must hold of a test's message, output or trace
//! "tests/test_a.py::test_b" = "AssertionError"
//! ```
//!
//! Whatever it says, a run leaves no process behind, its last event agrees with its exit status, and the record gives the same reports as the live run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::{Done, Facts, Sandbox};

/// What a fixture's run must come to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Options of the run.
    #[serde(default)]
    pub run: String,
    /// Its exit status.
    pub exit: i32,
    /// How many tests passed.
    #[serde(default)]
    pub passed: usize,
    /// What the summary must name.
    #[serde(default)]
    pub says: Vec<String>,
    /// How many sessions at most did not close cleanly.
    #[serde(default)]
    pub sessions_lost: usize,
    /// How long it may take.
    #[serde(default = "a_minute")]
    pub within_s: u64,
    /// Every test that did not pass, and how it ended.
    #[serde(default)]
    pub tests: BTreeMap<String, String>,
    /// What the record must hold of a test.
    #[serde(default)]
    pub told: BTreeMap<String, String>,
}

fn a_minute() -> u64 {
    60
}

impl Expected {
    /// Of a directory below `fixtures/`.
    pub fn of(fixture: &str) -> Self {
        let path = crate::root().join("fixtures").join(fixture).join("expected.toml");
        let text = fs_err::read_to_string(path).expect("a fixture says what is expected");
        toml::from_str(&text).unwrap_or_else(|error| panic!("{fixture}/expected.toml: {error}"))
    }
}

/// Runs a fixture on an engine and fails unless it comes to what its `expected.toml` says. Returns the facts for more questions.
pub fn check(fixture: &str, engine: &str) -> (Sandbox, Facts) {
    let sandbox = Sandbox::of(fixture);
    let sandbox = if engine == "docker" { sandbox.dockerfile() } else { sandbox };
    let facts = check_in(&sandbox, &Expected::of(fixture), engine);
    (sandbox, facts)
}

/// The same for a project that is there already.
pub fn check_in(sandbox: &Sandbox, expected: &Expected, engine: &str) -> Facts {
    let before = sandbox.listing();
    let line = format!("run --engine {engine} --json {}", expected.run);
    let patience = Duration::from_secs(expected.within_s) + if engine == "docker" { Duration::from_mins(4) } else { Duration::ZERO };
    let done = sandbox.splitci(&line).patience(patience).run();
    let facts = judge(expected, &done);
    let summary = sandbox.splitci(&format!("report {} --format summary", facts.run)).run();
    for words in &expected.says {
        assert!(summary.stdout.contains(words), "expected {words:?} in the summary of {done}\nwhich is {summary}");
    }
    sandbox.expect_no_processes();
    sandbox.expect_no_private_directories();
    if engine == "docker" {
        crate::engine::expect_no_containers(&facts.run);
    } else if !facts.outcomes.keys().any(|id| id.contains("deletes")) {
        sandbox.expect_project_untouched(&before);
    }
    facts
}

fn judge(expected: &Expected, done: &Done) -> Facts {
    assert!(done.code == Some(expected.exit), "expected exit {} of {done}", expected.exit);
    let facts = done.facts();
    assert_eq!(facts.exit.map(i32::from), Some(expected.exit), "the last event's exit status, of {done}");
    let tests: Vec<_> = expected.tests.iter().map(|(id, outcome)| format!("{id}: {outcome}")).collect();
    assert_eq!(facts.exceptions(), tests, "tests that did not pass, of {done}");
    assert_eq!(facts.count("passed"), expected.passed, "tests that passed, of {done}");
    let lost = facts.unclean_sessions();
    assert!(lost <= expected.sessions_lost, "{lost} sessions did not close cleanly, of {done}");
    for (id, words) in &expected.told {
        let held = facts.told.iter().any(|(told, text)| told == id && text.contains(words));
        assert!(held, "expected {words:?} of {id} in {done}");
    }
    facts
}
