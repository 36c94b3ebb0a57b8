//! How many tests ended how: of a run, or of one shard.

use serde::{Deserialize, Serialize};

use crate::model::Outcome;

/// Tests by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Their own assertion or body failed.
    pub failed: usize,
    /// Their set-up, tear-down or loading failed.
    pub errored: usize,
    /// Took their session with them for good.
    pub crashed: usize,
    /// Not run, and said so.
    pub skipped: usize,
    /// Failed, as expected.
    pub expected_failures: usize,
    /// Passed though a failure was expected.
    pub unexpected_passes: usize,
    /// Lost with their shard, as often as is allowed: nothing is known about them.
    pub lost: usize,
    /// Declared and not final for another reason.
    pub missing: usize,
    /// Failed, and passed when they were tried again. They are among those that passed, or that failed, as was asked for.
    #[serde(default)]
    pub flaky: usize,
    /// Not run: what they were proven to do in an earlier run stands. They are counted nowhere else.
    #[serde(default)]
    pub reused: usize,
}

impl Counts {
    /// All tests that were declared or reused.
    pub fn total(&self) -> usize {
        self.executed() + self.reused
    }

    /// Those that were declared in this run.
    pub fn executed(&self) -> usize {
        self.ran() + self.skipped + self.lost + self.missing
    }

    /// Tests of which something is shown: they ran, or were proven before.
    pub fn shown(&self) -> usize {
        self.ran() + self.reused
    }

    /// Tests with a final outcome other than "skipped".
    pub fn ran(&self) -> usize {
        self.passed + self.expected_failures + self.unexpected_passes + self.bad()
    }

    /// Tests that make the verdict red.
    pub fn bad(&self) -> usize {
        self.failed + self.errored + self.crashed
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        let field = match outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Failed => &mut self.failed,
            Outcome::Errored => &mut self.errored,
            Outcome::Skipped => &mut self.skipped,
            Outcome::ExpectedFailure => &mut self.expected_failures,
            Outcome::UnexpectedPass => &mut self.unexpected_passes,
        };
        *field += 1;
    }
}
