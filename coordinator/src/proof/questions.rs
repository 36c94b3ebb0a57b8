//! What others ask a proof: counts, what is bad, what is missing, and every test with its state.
//!
//! Answers borrow from the proof and come in the manifest's order, so that the same record always gives the same list.

use std::collections::BTreeMap;

use super::unit::{Attempt, Crashed, LOADING, Role, TestResult, UnitProof};
use super::{Counts, Fault, Proof, index};
use crate::model::event::{Crash, SessionEnded};
use crate::model::{Fence, Outcome, SessionId, ShardId, SuiteId, TestKey, UnitId};

/// Something without which nothing is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing<'a> {
    /// No plan was made.
    Plan,
    /// No session ever said hello, and there is something that only one could show.
    Hello,
    /// A unit that did not get to its end, and none of whose tests is known.
    Unit {
        /// Which.
        unit: UnitId,
        /// Its file.
        file: &'a str,
    },
    /// A test without a final outcome.
    Test {
        /// Which.
        test: TestKey,
        /// Its id.
        id: &'a str,
        /// Its shard was lost under it as often as is allowed.
        lost: bool,
    },
    /// All tests of it that are known are final, but it was not said to be through.
    UnitEnd {
        /// Which.
        unit: UnitId,
        /// Its file.
        file: &'a str,
    },
    /// The slices of a file do not cover it exactly, or only some of them were superseded.
    Slices {
        /// The file.
        file: &'a str,
    },
    /// A session that has not ended.
    SessionEnd(SessionId),
}

/// A test that makes the verdict red.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// Which; its ordinal is [`LOADING`] when the loading of the unit crashed.
    pub test: TestKey,
    /// Its id.
    pub id: &'a str,
    /// The file of its unit.
    pub unit_file: &'a str,
    /// Who ran it.
    pub session: SessionId,
    /// Under which lease; absent for a crash.
    pub fence: Option<Fence>,
    /// How.
    pub how: Failing,
    /// It passed when it was tried again, and that is not enough (`--flaky fail`).
    pub flaky: bool,
    /// File and line of the failure, where known; line 0 if only the file is.
    pub place: Option<(&'a str, u32)>,
}

/// How a test fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    /// By its outcome.
    Outcome(Outcome),
    /// By taking its session with it.
    Crash(Crash),
}

/// A test of a run.
#[derive(Debug, Clone, Copy)]
pub struct TestView<'a> {
    /// Which; its ordinal is [`LOADING`] when the loading of the unit crashed.
    pub test: TestKey,
    /// Its id.
    pub id: &'a str,
    /// The file of its unit.
    pub unit_file: &'a str,
    /// What became of it.
    pub state: TestState<'a>,
    /// It failed, and passed when it was tried again.
    pub flaky: bool,
    /// Starts of it that do not count, in order.
    pub attempts: &'a [Attempt],
}

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestState<'a> {
    /// It has a final result, or one that is bad already.
    Final(&'a TestResult),
    /// It crashed for good, or its shard was lost as often as is allowed.
    Crashed(&'a Crashed),
    /// It has no final result.
    Missing,
}

impl Proof {
    /// How many tests ended how. Walks over all tests.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for view in self.tests() {
            add(&mut counts, &view);
        }
        counts.reused = self.reused().map(|file| file.tests.len()).sum();
        counts
    }

    /// The same for each shard that has a test to its name.
    pub fn counts_by_shard(&self) -> BTreeMap<ShardId, Counts> {
        let mut all = BTreeMap::<_, Counts>::new();
        for view in self.tests() {
            let session = match view.state {
                TestState::Final(result) => result.session,
                TestState::Crashed(crashed) => crashed.session,
                TestState::Missing => continue,
            };
            add(all.entry(session.shard).or_default(), &view);
        }
        all
    }

    /// Every test that is known, in the manifest's order. Crashes of a unit's loading come as a test named after the file.
    pub fn tests(&self) -> impl Iterator<Item = TestView<'_>> {
        let units = self.counted_units().filter(|(_, unit)| !matches!(unit.role, Role::Retry(_)));
        units.flat_map(|(id, unit)| unit.views(id)).map(|view| {
            let (state, flaky) = self.state_of(view.test.unit, view.test.ordinal);
            TestView { state, flaky, ..view }
        })
    }

    /// What makes the run red among its tests, in the manifest's order.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        self.bad.iter().filter_map(|test| self.failure(*test))
    }

    /// Sessions that code under test ended wrongly.
    pub fn session_errors(&self) -> &[SessionEnded] {
        self.sessions.dirty()
    }

    /// Sessions whose driver never said hello.
    pub fn silent_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.silent()
    }

    /// Everything that keeps the run from being proven, apart from contradictions.
    pub fn missing(&self) -> impl Iterator<Item = Missing<'_>> {
        let plan = (!self.planned).then_some(Missing::Plan);
        let hello = (!self.sessions.said_hello() && !self.needs_no_session()).then_some(Missing::Hello);
        let units = self.counted_units().flat_map(|(id, unit)| unit.missing(id));
        let slices = self.files.iter().filter(|(file, _)| !self.slices_agree(file)).map(|(file, _)| Missing::Slices { file });
        let sessions = self.sessions.open().map(Missing::SessionEnd);
        plan.into_iter().chain(hello).chain(units).chain(slices).chain(sessions)
    }

    /// Contradictions in the record, the first hundred.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Contradictions beyond those.
    pub fn more_faults(&self) -> usize {
        self.more_faults
    }

    /// The same for each suite.
    pub fn counts_by_suite(&self) -> BTreeMap<SuiteId, Counts> {
        let mut all: BTreeMap<_, _> = (0..self.suites).map(|suite| (SuiteId(suite), Counts::default())).collect();
        for view in self.tests() {
            add(all.entry(self.unit_suite(view.test.unit)).or_default(), &view);
        }
        for file in self.reused() {
            all.entry(file.suite).or_default().reused += file.tests.len();
        }
        all
    }

    /// Whether there is a suite of which no test ran, nor was proven before. A suite that is empty by mistake must not hide behind the others.
    pub(super) fn has_empty_suite(&self) -> bool {
        let all = self.counts_by_suite();
        all.is_empty() || all.values().any(|counts| counts.shown() == 0)
    }

    /// The suite of a unit.
    pub fn unit_suite(&self, unit: UnitId) -> SuiteId {
        self.units.get(index(unit)).map(|unit| unit.suite).unwrap_or_default()
    }

    /// How many units have to become final, and how many are.
    pub fn units_done(&self) -> (usize, usize) {
        let total = self.counted_units().count();
        (self.counted_units().filter(|(_, unit)| unit.is_final()).count(), total)
    }

    /// The id of a test, if its unit has declared it.
    pub fn test_id(&self, test: TestKey) -> Option<&str> {
        self.units.get(index(test.unit))?.id_of(test.ordinal)
    }

    /// The file of a unit.
    pub fn unit_file(&self, unit: UnitId) -> Option<&str> {
        Some(&self.units.get(index(unit))?.file)
    }

    fn counted_units(&self) -> impl Iterator<Item = (UnitId, &UnitProof)> {
        (0..).map(UnitId).zip(&self.units).filter(|(_, unit)| self.counts_in(unit))
    }

    fn failure(&self, test: TestKey) -> Option<Failure<'_>> {
        let unit = self.units.get(index(test.unit))?;
        let unit_file = &unit.file;
        let (state, flaky) = self.state_of(test.unit, test.ordinal);
        let result = match state {
            TestState::Crashed(crashed) => {
                let (session, how) = (crashed.session, Failing::Crash(crashed.how));
                return Some(Failure { test, id: &crashed.id, unit_file, session, fence: None, how, flaky, place: None });
            }
            TestState::Final(result) => result,
            TestState::Missing => return None,
        };
        let place = self.places.get(&(result.fence, test.ordinal)).filter(|place| !place.file.is_empty());
        Some(Failure {
            test,
            id: unit.id_of(test.ordinal)?,
            unit_file,
            session: result.session,
            fence: Some(result.fence),
            how: Failing::Outcome(result.outcome),
            flaky,
            place: place.map(|place| (&*place.file, place.line)),
        })
    }

    /// Whether the slices of a file, if it is sliced, give each of its tests exactly once; or were all superseded for the fallback.
    fn slices_agree(&self, file: &str) -> bool {
        let slices: Vec<_> = self.relatives(file).filter(|unit| unit.role == Role::Slice).collect();
        let Some(first) = slices.first() else { return true };
        let fallback = self.relatives(file).find(|unit| unit.role == Role::Fallback);
        if slices.iter().any(|slice| slice.is_superseded()) {
            return slices.iter().all(|slice| slice.is_superseded()) && fallback.is_some();
        }
        if fallback.is_some_and(UnitProof::was_leased) {
            return false;
        }
        let Some(declared) = first.declared() else { return true };
        if slices.iter().any(|slice| slice.declared().is_some_and(|other| other.ids != declared.ids)) {
            return false;
        }
        // Before all slices are declared some tests are nobody's yet; that the units are not final is said elsewhere.
        let all_declared = slices.iter().all(|slice| slice.declared().is_some());
        let mut times = vec![0_u32; declared.ids.len()];
        for (slice, ordinal) in slices.iter().flat_map(|slice| slice.required().map(move |ordinal| (slice, ordinal))) {
            // What stands for a failed loading is in every slice, and is red in each.
            let once = slice.known_result(ordinal).is_none_or(|result| !result.outcome.is_bad());
            if let Some(n) = usize::try_from(ordinal).ok().and_then(|at| times.get_mut(at)) {
                *n = if once { *n + 1 } else { 1 };
            }
        }
        times.iter().all(|n| *n == 1 || (*n == 0 && !all_declared))
    }
}

fn add(counts: &mut Counts, view: &TestView<'_>) {
    counts.flaky += usize::from(view.flaky);
    match view.state {
        TestState::Final(result) => counts.add(result.outcome),
        TestState::Crashed(crashed) if crashed.is_bad() => counts.crashed += 1,
        TestState::Crashed(_) => counts.lost += 1,
        TestState::Missing => counts.missing += 1,
    }
}

impl UnitProof {
    pub(super) fn id_of(&self, ordinal: u32) -> Option<&str> {
        let ids = &self.declared()?.ids;
        ids.get(usize::try_from(ordinal).ok()?).map(String::as_str)
    }

    fn views(&self, unit: UnitId) -> impl Iterator<Item = TestView<'_>> {
        // Crashes of tests that were never declared, and of the loading itself, have no ordinal among the required ones.
        let undeclared = self.crashes.iter().filter(|(ordinal, _)| self.id_of(**ordinal).is_none());
        let crashed = undeclared.map(|(ordinal, crash)| (*ordinal, &*crash.id, TestState::Crashed(crash)));
        let declared = self.required().filter_map(|ordinal| Some((ordinal, self.id_of(ordinal)?, self.state(ordinal))));
        declared.chain(crashed).map(move |(ordinal, id, state)| TestView {
            test: TestKey { unit, ordinal },
            id,
            unit_file: &self.file,
            state,
            flaky: false,
            attempts: self.attempts.get(&ordinal).map(Vec::as_slice).unwrap_or_default(),
        })
    }

    pub(super) fn state(&self, ordinal: u32) -> TestState<'_> {
        match (self.crashes.get(&ordinal), self.known_result(ordinal)) {
            (Some(crashed), _) => TestState::Crashed(crashed),
            (None, Some(result)) => TestState::Final(result),
            (None, None) => TestState::Missing,
        }
    }

    /// The accepted result of a test, or a bad one that nothing has overtaken: it is red already.
    fn known_result(&self, ordinal: u32) -> Option<&TestResult> {
        self.result(ordinal).or_else(|| self.standing_result(ordinal).filter(|result| result.outcome.is_bad()))
    }

    fn missing(&self, unit: UnitId) -> impl Iterator<Item = Missing<'_>> {
        let unknown = || self.unproven().filter(|ordinal| self.known_result(*ordinal).is_none());
        let ended = self.is_final() || unknown().next().is_some();
        let tests = unknown().filter_map(move |ordinal| {
            let lost = self.crashes.contains_key(&ordinal);
            Some(Missing::Test { test: TestKey { unit, ordinal }, id: self.id_of(ordinal)?, lost })
        });
        let file = &*self.file;
        let unheard = self.declared().is_none() || self.crashes.contains_key(&LOADING);
        let whole = if unheard { Missing::Unit { unit, file } } else { Missing::UnitEnd { unit, file } };
        tests.chain((!ended).then_some(whole))
    }
}
