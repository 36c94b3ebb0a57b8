//! Whether a test that failed is tried again. The queue runs what it is given, the proof says what came of it; here is the policy.
//!
//! A test is tried again up to `retries` times, in a unit of its own, which the queue rather gives to another shard. What crashed has its own rule (the
//! queue's), and a file that cannot be loaded is no test. A run tries at most one test in fifty again, yet always ten: where more fail, it is not chance. Who is
//! over that share waits, since it grows while the suite becomes known, and is final with the run.

use std::collections::{BTreeMap, VecDeque};

use super::{Run, Stage};
use crate::model::event::{EventKind, RetryPlanned};
use crate::model::settings::Flaky;
use crate::model::{Select, SessionId, TestKey, Unit, UnitId, UnitKind};
use crate::proof::is_of_a_test;
use crate::queue;

/// One test in so many may be tried again.
const ONE_IN: usize = 50;
/// So many may be, however few tests there are.
const ALWAYS: usize = 10;

/// What is tried again, and how often.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// How often each was tried again, by file and id: a file that runs anew (slices that disagree) does not begin to count anew.
    tried: BTreeMap<(String, String), u32>,
    /// Tests of each unit, as far as they are known.
    known: BTreeMap<UnitId, usize>,
    waiting: VecDeque<Waiting>,
}

/// Tests of one unit that failed.
#[derive(Debug)]
struct Waiting {
    root: UnitId,
    file: String,
    attempt: u32,
    session: SessionId,
    tests: Vec<(u32, String)>,
}

impl Retries {
    /// How many tests the run may try again, by what is known of the suite.
    fn budget(&self) -> usize {
        (self.known.values().sum::<usize>() / ONE_IN).max(ALWAYS)
    }

    /// Whether a test may be tried once more.
    fn allows(&self, most: u32, file: &str, id: &str) -> bool {
        match self.tried.get(&(file.to_owned(), id.to_owned())) {
            Some(tried) => *tried < most,
            None => most > 0 && self.tried.len() < self.budget(),
        }
    }

    /// Of what just failed and of what waits, that which is tried again now.
    fn due(&mut self, most: u32, failed: impl Iterator<Item = Waiting>) -> Vec<Waiting> {
        let mut due: Vec<_> = failed.filter_map(|failed| self.choose(most, failed)).collect();
        for _ in 0..self.waiting.len() {
            // What waits was never tried, so without room there is none for any of it.
            if self.tried.len() >= self.budget() {
                break;
            }
            due.extend(self.waiting.pop_front().and_then(|waiting| self.choose(most, waiting)));
        }
        due
    }

    /// What of these is tried again now. The others wait, unless they were tried often enough.
    fn choose(&mut self, most: u32, failed: Waiting) -> Option<Waiting> {
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for (ordinal, id) in failed.tests {
            let name = (failed.file.clone(), id.clone());
            if self.allows(most, &failed.file, &id) {
                *self.tried.entry(name).or_default() += 1;
                now.push((ordinal, id));
            } else if !self.tried.contains_key(&name) {
                later.push((ordinal, id));
            }
        }
        if !later.is_empty() {
            self.waiting.push_back(Waiting { tests: later, file: failed.file.clone(), ..failed });
        }
        (!now.is_empty()).then_some(Waiting { tests: now, ..failed })
    }
}

impl Run {
    /// A unit was loaded: the suite is better known.
    pub(super) fn suite_grows(&mut self, event: &EventKind) {
        if let EventKind::UnitDeclared { unit, ids, selected, .. } = event
            && self.proof.is_planned(*unit)
        {
            let tests = selected.as_ref().map_or(ids.len(), Vec::len);
            let known = self.retries.known.entry(*unit).or_default();
            *known = (*known).max(tests);
        }
    }

    /// Units are through: what failed in them is tried again, if it may be.
    pub(super) fn try_again(&mut self, facts: &[queue::Fact]) {
        let most = self.brief.settings.retries;
        if most == 0 || self.cancelled.is_some() {
            return;
        }
        let through = facts.iter().filter_map(|fact| match *fact {
            queue::Fact::Finished { unit, .. } | queue::Fact::GivenUp { unit } => Some(unit),
            _ => None,
        });
        let through: Vec<_> = through.collect();
        for unit in &through {
            if self.proof.found_others(*unit) {
                let file = self.proof.unit_file(*unit).unwrap_or_default();
                let text = format!("{file} lists other tests when it is loaded once more: trying again made nothing good there");
                self.tell(EventKind::Notice { session: None, text });
            }
        }
        let failed: Vec<_> = through.into_iter().filter_map(|unit| self.failed_in(unit)).collect();
        for due in self.retries.due(most, failed.into_iter()) {
            self.plan_retry(due);
        }
    }

    fn failed_in(&self, unit: UnitId) -> Option<Waiting> {
        let failed = self.proof.failed_in(unit)?;
        let session = failed.tests.first()?.2.session;
        let tests = failed.tests.iter().map(|(ordinal, id, _)| (*ordinal, (*id).to_owned())).collect();
        let file = self.proof.unit_file(failed.root)?.to_owned();
        Some(Waiting { root: failed.root, file, attempt: failed.attempts + 1, session, tests })
    }

    fn plan_retry(&mut self, due: Waiting) {
        let Stage::Running(open) = &mut self.stage else { return };
        let unit = open.queue.retry(due.root, due.session);
        let suite = self.proof.unit_suite(due.root);
        let ordinals = due.tests.iter().map(|(ordinal, _)| *ordinal).collect();
        // An id that occurs twice means both: each is named once.
        let mut ids: Vec<String> = due.tests.into_iter().map(|(_, id)| id).collect();
        let mut seen = std::collections::BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        let kind = UnitKind::Part { select: Select::Only(ids.clone()), from: 0, until: None };
        open.manifest.units.push(Unit::new(suite, due.file, kind));
        let planned = RetryPlanned { unit, of: due.root, attempt: due.attempt, ordinals, ids };
        self.tell(EventKind::RetryPlanned(Box::new(planned)));
    }

    /// Whether a failure is final: what may still be made good is no reason to stop.
    pub(super) fn is_lost(&self) -> bool {
        let settings = &self.brief.settings;
        if settings.retries == 0 || settings.flaky == Flaky::Fail || !self.proof.session_errors().is_empty() {
            return self.proof.is_bad();
        }
        self.proof.bad_tests().any(|test| !self.may_be_made_good(test))
    }

    fn may_be_made_good(&self, test: TestKey) -> bool {
        let (most, unit) = (self.brief.settings.retries, test.unit);
        let (Some(file), Some(id)) = (self.proof.unit_file(unit), self.proof.test_id(test)) else { return false };
        let is_test = self.proof.bad_outcome(test).is_some_and(|outcome| is_of_a_test(file, id, outcome));
        is_test && (self.proof.is_tried_again(test) || self.retries.allows(most, file, id))
    }

    /// What failed and was not tried again, for too much did.
    pub(super) fn tell_what_was_too_much(&mut self) {
        let left: usize = self.retries.waiting.iter().map(|waiting| waiting.tests.len()).sum();
        if left > 0 && self.cancelled.is_none() {
            let tried = self.retries.tried.len();
            let tests = if left == 1 { "test that failed was" } else { "tests that failed were" };
            let text =
                format!("{left} {tests} not tried again: a run tries at most 2 % of its tests again, or {ALWAYS}; this one did {tried}");
            self.tell(EventKind::Notice { session: None, text });
        }
    }
}
