//! What a run teaches about durations: tests by their own clock, the loading of files by the times between events.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::event::{EventKind, RunEvent, Superseded};
use crate::model::settings::SuiteSettings;
use crate::model::{Fence, SessionId, SuiteId, UnitId};
use crate::plan::FileRun;
use crate::proof::{Proof, TestState};

/// Id and microseconds of each test, by its place in the file: slices come in any order.
type Tests = BTreeMap<u32, (String, u64)>;

/// How long units took to load, from the last thing that their session did before. A tool that starts anew for each few units has no loading of
/// its own for each: its start-up and all that its tests took come before the first of them.
#[derive(Debug, Default)]
pub(super) struct Loads {
    leases: BTreeMap<Fence, SessionId>,
    busy_until: BTreeMap<SessionId, u64>,
    load_ms: BTreeMap<UnitId, u64>,
    /// Suites of such tools.
    anew: BTreeSet<SuiteId>,
    suites: BTreeMap<UnitId, SuiteId>,
    files: BTreeMap<UnitId, String>,
    unstable: BTreeSet<String>,
}

impl Loads {
    pub(super) fn hear(&mut self, event: &RunEvent) {
        match &event.kind {
            EventKind::RunStarted(started) => {
                let anew = |suite: &SuiteSettings| suite.recipe.as_ref().is_some_and(|recipe| recipe.batch > 1);
                self.anew = started.settings.suites().filter(|(_, suite)| anew(suite)).map(|(id, _)| id).collect();
            }
            EventKind::UnitLeased { fence, session, .. } => {
                self.leases.insert(*fence, *session);
                self.busy_until.entry(*session).or_insert(event.at_ms);
            }
            EventKind::UnitDeclared { unit, fence, .. } if !self.suites.get(unit).is_some_and(|suite| self.anew.contains(suite)) => {
                if let Some(since) = self.leases.get(fence).and_then(|session| self.busy_until.get(session)) {
                    self.load_ms.insert(*unit, event.at_ms.saturating_sub(*since));
                }
            }
            EventKind::TestFinished(finished) => {
                if let Some(session) = self.leases.get(&finished.fence) {
                    self.busy_until.insert(*session, event.at_ms);
                }
            }
            EventKind::PlanMade { manifest, .. } => {
                self.files = manifest.iter().map(|(id, unit)| (id, unit.file.clone())).collect();
                self.suites = manifest.iter().map(|(id, unit)| (id, unit.suite)).collect();
            }
            // The slices' results are void and stand in no proof: it is their file that must be remembered.
            EventKind::UnitSuperseded { unit, reason: Superseded::IdsChanged } => self.unstable.extend(self.files.get(unit).cloned()),
            _ => {}
        }
    }

    /// What to remember of each file of a finished run; `whole` says of a file whether all its tests were to run.
    pub(super) fn lessons(&self, proof: &Proof, whole: impl Fn(&str) -> bool) -> Vec<FileRun> {
        let mut files: BTreeMap<String, (FileRun, Tests)> = BTreeMap::new();
        for test in proof.tests() {
            let (run, tests) = files.entry(test.unit_file.to_owned()).or_insert_with(|| {
                let file = test.unit_file.to_owned();
                (FileRun { whole: whole(&file), file, ..FileRun::default() }, BTreeMap::new())
            });
            let load_us = self.load_ms.get(&test.test.unit).copied().unwrap_or(0).saturating_mul(1_000);
            run.load_us = run.load_us.max(load_us);
            run.unstable |= self.unstable.contains(test.unit_file);
            match test.state {
                TestState::Final(result) => {
                    tests.insert(test.test.ordinal, (test.id.to_owned(), result.micros));
                }
                TestState::Crashed(_) | TestState::Missing => run.whole = false,
            }
        }
        files.into_values().map(|(run, tests)| FileRun { tests: tests.into_values().collect(), ..run }).collect()
    }
}
