//! Files that are not run since they were proven before, and those that are run all the same to see whether that still holds.
//!
//! A file is reused on evidence or not at all: the run was asked to (never a reproduction, never local processes), the file is listed, the evidence names
//! an earlier run, a key and a time, and its tests all passed or skipped themselves, one at least the former. What is wrong with it is a [`Fault`], which
//! leaves nothing green. A canary is a file of the plan whose results are compared with what was kept of it: they count as those of any other file, and a
//! difference is told, whatever they are.

use std::collections::{BTreeMap, BTreeSet};

use super::unit::{Role, UnitProof};
use super::{Fault, Proof, index};
use crate::model::event::{Proven, RunStarted};
use crate::model::settings::EngineKind;
use crate::model::{Outcome, RunId, SuiteId, UnitId};

/// What is known of files by earlier runs.
#[derive(Debug, Default)]
pub(super) struct Reuses {
    allowed: bool,
    run: RunId,
    /// The files of each suite.
    listed: BTreeMap<SuiteId, BTreeSet<String>>,
    reused: BTreeMap<String, Proven>,
    canaries: BTreeMap<String, Proven>,
}

impl Reuses {
    /// A suite is known.
    pub(super) fn listed(&mut self, suite: SuiteId, files: &[String]) {
        if self.allowed {
            self.listed.insert(suite, files.iter().cloned().collect());
        }
    }

    /// Whether what this run showed may count in this one.
    pub(super) fn may_rest_on(&self, of: &RunId) -> bool {
        self.allowed && !of.0.is_empty() && *of != self.run
    }

    /// Whether a file is reused.
    pub(super) fn has(&self, file: &str) -> bool {
        self.reused.contains_key(file)
    }
}

/// What a canary shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// Its tests did what they were proven to do.
    Agrees,
    /// They did not, or there were others.
    Differs,
    /// It did not come to its end.
    Unknown,
}

/// What a file did in this run, for those who remember it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRun<'a> {
    /// A test of it failed or crashed, whatever a later attempt made of it.
    pub bad: bool,
    /// Its tests with their first results and microseconds in the order of the file, if all of it came to its end.
    pub tests: Option<Vec<(&'a str, Outcome, u64)>>,
    /// Nothing of it was tried again, lost or superseded on the way, and the sessions that ran it closed in order.
    pub straight: bool,
}

impl Proof {
    pub(super) fn reuse_allowed(&mut self, started: &RunStarted) {
        self.reuses.allowed = started.settings.reuse && started.settings.engine == EngineKind::Docker && !self.partial;
        self.reuses.run = started.run.clone();
    }

    pub(super) fn file_reused(&mut self, proven: &Proven) -> Result<(), Fault> {
        self.check_evidence(proven)?;
        self.reuses.reused.insert(proven.file.clone(), proven.clone());
        Ok(())
    }

    pub(super) fn canary_planned(&mut self, proven: &Proven) -> Result<(), Fault> {
        self.check_evidence(proven)?;
        self.reuses.canaries.insert(proven.file.clone(), proven.clone());
        Ok(())
    }

    fn check_evidence(&self, proven: &Proven) -> Result<(), Fault> {
        let reuses = &self.reuses;
        let listed = reuses.listed.get(&proven.suite).is_some_and(|files| files.contains(&proven.file));
        let passed = proven.tests.iter().any(|test| test.outcome == Outcome::Passed);
        let sound = proven.tests.iter().all(|test| matches!(test.outcome, Outcome::Passed | Outcome::Skipped));
        let why = match () {
            () if !reuses.allowed => "nothing may be in this run",
            () if self.planned => "that was told after the plan was made",
            () if !listed => "is not listed",
            () if reuses.has(&proven.file) || reuses.canaries.contains_key(&proven.file) => "that was told twice",
            () if !reuses.may_rest_on(&proven.of) || proven.key.is_empty() || proven.at.is_empty() => "its evidence does not say by what",
            () if !passed || !sound => "its evidence does not show that it passed",
            () => return Ok(()),
        };
        Err(Fault::BadReuse { file: proven.file.clone(), why })
    }

    /// Whether the plan is made of what is not reused, canaries among it.
    pub(super) fn check_reuses(&self) -> Result<(), Fault> {
        let both = self.reuses.reused.keys().find(|file| self.files.contains_key(*file)).map(|file| (file, "is in the plan"));
        let neither = self.reuses.canaries.keys().find(|file| !self.files.contains_key(*file)).map(|file| (file, "is in no plan"));
        both.or(neither).map_or(Ok(()), |(file, why)| Err(Fault::BadReuse { file: file.clone(), why }))
    }

    /// Files that are reused, in the order of their suites.
    pub fn reused(&self) -> impl Iterator<Item = &Proven> {
        self.suite().filter_map(|file| self.reuses.reused.get(file))
    }

    /// Files that could have been reused and were run, in the order of their suites, and what they show.
    pub fn canaries(&self) -> impl Iterator<Item = (&Proven, Canary)> {
        self.suite().filter_map(|file| self.reuses.canaries.get(file)).map(|proven| (proven, self.compared(proven)))
    }

    fn compared(&self, proven: &Proven) -> Canary {
        let Some(now) = self.file_run(&proven.file) else { return Canary::Unknown };
        match now.tests {
            _ if now.bad => Canary::Differs,
            None => Canary::Unknown,
            Some(tests) => {
                // In which order a file has them may be up to chance, which is no difference.
                let mut now: Vec<_> = tests.iter().map(|(id, outcome, _)| (*id, *outcome)).collect();
                let mut before: Vec<_> = proven.tests.iter().map(|test| (&*test.id, test.outcome)).collect();
                now.sort_unstable();
                before.sort_unstable();
                if now == before { Canary::Agrees } else { Canary::Differs }
            }
        }
    }

    /// What a file of the plan did; nothing if it is in none.
    pub fn file_run(&self, file: &str) -> Option<FileRun<'_>> {
        let units: Vec<_> = self.files.get(file)?.iter().filter_map(|id| Some((*id, self.units.get(index(*id))?))).collect();
        let counted: Vec<_> = units.iter().filter(|(_, unit)| self.counts_in(unit)).copied().collect();
        let first = |(_, unit): &(_, &UnitProof)| unit.bad_ordinals().next().is_some();
        let tried_again = counted.iter().any(|(id, _)| self.was_tried_again(*id));
        let tests = first_results(&counted);
        let sessions = counted.iter().flat_map(|(_, unit)| unit.standing()).map(|(_, result)| result.session);
        let straight = tests.is_some()
            && !tried_again
            && !units.iter().any(|(_, unit)| unit.is_superseded())
            && counted.iter().all(|(_, unit)| unit.went_straight())
            && sessions.into_iter().all(|session| self.sessions.is_clean(session));
        Some(FileRun { bad: counted.iter().any(first), tests, straight })
    }
}

/// First results of all tests of a file, in its order; nothing if one of them has none.
fn first_results<'a>(counted: &[(UnitId, &'a UnitProof)]) -> Option<Vec<(&'a str, Outcome, u64)>> {
    let mut tests = BTreeMap::new();
    if counted.is_empty() || counted.iter().any(|(_, unit)| !unit.is_final() || matches!(unit.role, Role::Retry(_))) {
        return None;
    }
    for (ordinal, unit) in counted.iter().flat_map(|(_, unit)| unit.required().map(move |ordinal| (ordinal, *unit))) {
        let result = unit.result(ordinal)?;
        tests.insert(ordinal, (unit.id_of(ordinal)?, result.outcome, result.micros));
    }
    Some(tests.into_values().collect())
}
