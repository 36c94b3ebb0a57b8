//! Tests that are tried again: which attempt stands for a test.
//!
//! An attempt is a unit of its own, about some tests of a unit of the manifest, its *root*. It can only make a failure good: of a test that failed and
//! was to be tried again, the last attempt that came to its end stands, if it passed or failed anew under the same list of ids. An attempt that was
//! lost, that skipped the test, or that found other tests in the file changes nothing: the failure before it stands. An attempt that crashed is a crash.

use std::collections::{BTreeMap, BTreeSet};

use super::questions::TestState;
use super::unit::{Role, TestResult, UnitProof};
use super::{Fault, Proof, index};
use crate::model::event::{RetryPlanned, RunStarted};
use crate::model::settings::Flaky;
use crate::model::{Outcome, TestKey, UnitId};

/// Attempts beyond the first.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// How many a test may have.
    most: u32,
    flaky: Flaky,
    /// What each is about.
    plans: BTreeMap<UnitId, Plan>,
    /// Those of a unit, in order.
    of: BTreeMap<UnitId, Vec<UnitId>>,
}

#[derive(Debug)]
struct Plan {
    attempt: u32,
    ordinals: BTreeSet<u32>,
}

/// Tests that failed in a unit that is through, for those who decide whether they are tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed<'a> {
    /// The unit of the manifest whose tests they are.
    pub root: UnitId,
    /// How often they have been tried again.
    pub attempts: u32,
    /// Ordinal, id, and result of each.
    pub tests: Vec<(u32, &'a str, TestResult)>,
}

impl Proof {
    pub(super) fn retries_allowed(&mut self, started: &RunStarted) {
        self.retries.most = started.settings.retries;
        self.retries.flaky = started.settings.flaky;
    }

    pub(super) fn retry_planned(&mut self, planned: &RetryPlanned) -> Result<(), Fault> {
        if !self.is_sound(planned) {
            return Err(Fault::BadRetry(planned.unit));
        }
        let Some(root) = self.units.get(index(planned.of)) else { return Err(Fault::BadRetry(planned.unit)) };
        let unit = UnitProof::another(planned.unit, root);
        self.units.push(unit);
        let plan = Plan { attempt: planned.attempt, ordinals: planned.ordinals.iter().copied().collect() };
        self.retries.plans.insert(planned.unit, plan);
        self.retries.of.entry(planned.of).or_default().push(planned.unit);
        Ok(())
    }

    /// Whether these tests may be tried again, now, and for this time.
    fn is_sound(&self, planned: &RetryPlanned) -> bool {
        let Some(root) = self.units.get(index(planned.of)).filter(|root| !matches!(root.role, Role::Retry(_))) else { return false };
        let ordered = !planned.ordinals.is_empty() && planned.ordinals.is_sorted_by(|a, b| a < b);
        let counted = (1..=self.retries.most).contains(&planned.attempt) && index(planned.unit) == self.units.len();
        let asks_for = |ordinal: u32| root.id_of(ordinal).is_some_and(|id| planned.ids.iter().any(|wanted| wanted == id));
        let due = |ordinal: u32| {
            let before = self.retries.of.get(&planned.of).into_iter().flatten();
            let mut before = before.filter_map(|id| Some((self.retries.plans.get(id)?, self.units.get(index(*id))?)));
            let before = before.rfind(|(plan, _)| plan.ordinals.contains(&ordinal));
            let (attempts, last) = before.map_or((0, root), |(plan, unit)| (plan.attempt, unit));
            let same = last.declared().map(|declared| &declared.ids) == root.declared().map(|declared| &declared.ids);
            attempts + 1 == planned.attempt && same && last.result(ordinal).is_some_and(|result| result.outcome.is_bad())
        };
        ordered && counted && planned.ordinals.iter().all(|ordinal| asks_for(*ordinal) && due(*ordinal))
    }

    /// The attempts of a unit that found the same tests in its file.
    fn attempts_at(&self, root: UnitId, ordinal: u32) -> impl Iterator<Item = (UnitId, &Plan, &UnitProof)> {
        let declared = self.units.get(index(root)).and_then(UnitProof::declared);
        let all = self.retries.of.get(&root).into_iter().flatten();
        let known = all.filter_map(|id| Some((*id, self.retries.plans.get(id)?, self.units.get(index(*id))?)));
        known.filter(move |(_, plan, unit)| match (declared, unit.declared()) {
            (Some(first), Some(again)) => first.ids == again.ids,
            // One that has not been loaded yet is known by what it is to run.
            (_, None) => plan.ordinals.contains(&ordinal),
            (None, Some(_)) => false,
        })
    }

    /// The unit whose tests a unit is about.
    pub(super) fn root_of(&self, unit: UnitId) -> UnitId {
        match self.units.get(index(unit)).map(|unit| unit.role) {
            Some(Role::Retry(root)) => root,
            _ => unit,
        }
    }

    /// Whether tests of a unit were tried again.
    pub(super) fn was_tried_again(&self, root: UnitId) -> bool {
        self.retries.of.contains_key(&root)
    }

    /// What became of a test over all its attempts, and whether it is flaky.
    pub(super) fn state_of(&self, root: UnitId, ordinal: u32) -> (TestState<'_>, bool) {
        let Some(unit) = self.units.get(index(root)) else { return (TestState::Missing, false) };
        let mut standing = unit.state(ordinal);
        if !self.retries.of.contains_key(&root) {
            return (standing, false);
        }
        let mut flaky = false;
        for (_, plan, again) in self.attempts_at(root, ordinal) {
            let before = standing;
            standing = match again.state(ordinal) {
                TestState::Crashed(crash) if crash.is_bad() => TestState::Crashed(crash),
                TestState::Final(result) if result.outcome.is_bad() => TestState::Final(result),
                TestState::Final(result) if plan.ordinals.contains(&ordinal) && has_passed(result.outcome) => {
                    flaky = true;
                    if self.retries.flaky == Flaky::Fail { before } else { TestState::Final(result) }
                }
                TestState::Crashed(_) | TestState::Final(_) | TestState::Missing => before,
            };
        }
        (standing, flaky)
    }

    /// Every result of a test that came to its end, first to last.
    pub fn tries(&self, test: TestKey) -> Vec<&TestResult> {
        let Some(root) = self.units.get(index(test.unit)) else { return Vec::new() };
        let again = self.attempts_at(test.unit, test.ordinal).filter_map(|(_, _, unit)| unit.result(test.ordinal));
        root.result(test.ordinal).into_iter().chain(again).collect()
    }

    /// Ordinals of a unit that some attempt says something bad about.
    pub(super) fn bad_again(&self, root: UnitId) -> BTreeSet<u32> {
        let declared = |unit: UnitId| self.units.get(index(unit)).and_then(UnitProof::declared).map(|declared| &declared.ids);
        let all = self.retries.of.get(&root).into_iter().flatten();
        let same = all.filter(|id| declared(**id).is_some() && declared(**id) == declared(root));
        let units = same.filter_map(|id| self.units.get(index(*id)));
        units.flat_map(UnitProof::bad_ordinals).filter(|ordinal| *ordinal != super::LOADING).collect()
    }

    /// What failed in a unit that is through, by its outcome. What cannot be loaded is not among it: it is no test.
    pub fn failed_in(&self, unit: UnitId) -> Option<Failed<'_>> {
        let root = self.root_of(unit);
        let (first, again) = (self.units.get(index(root))?, self.units.get(index(unit))?);
        let (attempts, same) = match self.retries.plans.get(&unit) {
            Some(plan) => (plan.attempt, again.declared()?.ids == first.declared()?.ids),
            None => (0, true),
        };
        let bad = again.standing().filter(|(_, result)| same && result.outcome.is_bad());
        let loaded = bad.filter(|(ordinal, _)| !again.crashes.contains_key(ordinal));
        let named = loaded.filter_map(|(ordinal, result)| Some((ordinal, again.id_of(ordinal)?, *result)));
        let tests: Vec<_> =
            named.filter(|(ordinal, id, result)| is_of_a_test(&again.file, id, result.outcome) && self.was_due(unit, *ordinal)).collect();
        (!tests.is_empty()).then_some(Failed { root, attempts, tests })
    }

    /// Whether a unit is an attempt that found other tests in its file than there were at first.
    pub fn found_others(&self, unit: UnitId) -> bool {
        let ids = |unit: UnitId| self.units.get(index(unit)).and_then(UnitProof::declared).map(|declared| &declared.ids);
        !self.is_planned(unit) && ids(unit).is_some_and(|found| Some(found) != ids(self.root_of(unit)))
    }

    /// A unit may run more than it was to: what does not count as an attempt is no reason for the next one.
    fn was_due(&self, unit: UnitId, ordinal: u32) -> bool {
        self.retries.plans.get(&unit).is_none_or(|plan| plan.ordinals.contains(&ordinal))
    }

    /// Whether a unit is one of the manifest, and no further attempt.
    pub fn is_planned(&self, unit: UnitId) -> bool {
        self.units.get(index(unit)).is_some_and(|unit| !matches!(unit.role, Role::Retry(_)))
    }

    /// How a test fails, if by its outcome.
    pub fn bad_outcome(&self, test: TestKey) -> Option<Outcome> {
        match self.state_of(test.unit, test.ordinal).0 {
            TestState::Final(result) => Some(result.outcome).filter(|outcome| outcome.is_bad()),
            TestState::Crashed(_) | TestState::Missing => None,
        }
    }

    /// Whether another attempt at a test is planned that has not come to its end.
    pub fn is_tried_again(&self, test: TestKey) -> bool {
        let again = self.attempts_at(test.unit, test.ordinal).filter(|(_, plan, _)| plan.ordinals.contains(&test.ordinal));
        again.last().is_some_and(|(_, _, unit)| matches!(unit.state(test.ordinal), TestState::Missing) && !unit.is_final())
    }

    /// Tests that make the run red.
    pub fn bad_tests(&self) -> impl Iterator<Item = TestKey> {
        self.bad.iter().copied()
    }
}

/// Whether a bad outcome is that of a test. A file that cannot be loaded is told as one test of its name that errored; where a whole file is one test, that has
/// the file's name too, and fails.
pub fn is_of_a_test(file: &str, id: &str, outcome: Outcome) -> bool {
    id != file || outcome == Outcome::Failed
}

/// A test that skips itself the second time has not made its failure good.
fn has_passed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Passed | Outcome::ExpectedFailure | Outcome::UnexpectedPass)
}

#[cfg(test)]
mod tests;
