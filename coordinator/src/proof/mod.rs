//! The proof: a fold over a run's events that ends in its verdict. A green is shown here or nowhere.
//!
//! In come events, in order; out go the verdict and answers to what others ask: counts, what is missing, what is bad. It does no I/O, knows no
//! clock, and never panics, whatever the events are.
//!
//! Passed means: the record is without contradiction ([`Fault`]), the manifest is frozen, every unit is final, every declared test has exactly
//! one accepted result and none is bad, the slices of a file cover it exactly, every session that said hello has ended and none wrongly, and of each
//! suite at least one test ran or was proven before (`reused`: each listed file is in the plan or reused, never both). Everything else is some other verdict, by the precedence: bad, then stopped, then not proven, then empty.
//!
//! A result counts as bad from the moment it is reported, under a lease that nothing has overtaken: `--fail-fast` wants to know at once, and a
//! failure that was shown is not forgotten when the run is stopped. It counts as good only once it is accepted. `retry` says when a later attempt
//! makes a failure good.

mod counts;
mod fault;
mod lists;
mod questions;
mod retry;
mod reused;
mod sessions;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use counts::Counts;
pub use fault::Fault;
pub use questions::{Failing, Failure, Missing, TestState, TestView};
pub use retry::{Failed, is_of_a_test};
pub use reused::{Canary, FileRun};
pub use unit::{Attempt, Crashed, LOADING, TestResult};

use crate::model::event::{Cancelled, EventKind, RunEvent, RunStarted, TestFinished};
use crate::model::verdict::Verdict;
use crate::model::{Fence, Manifest, SuiteId, TestKey, UnitId};
use lists::Lists;
use retry::Retries;
use reused::Reuses;
use sessions::Sessions;
use unit::{Declared, Lease, Role, UnitProof};

/// Contradictions kept by name; more of them are only counted, for a damaged record may have any number.
const MAX_FAULTS: usize = 100;

/// What the events so far prove.
#[derive(Debug, Default)]
pub struct Proof {
    next_seq: u64,
    started: bool,
    /// Only a part of the suite is to run: a reproduction, or the failures of another run.
    partial: bool,
    /// How many suites the run has.
    suites: u32,
    lists: Lists,
    planned: bool,
    units: Vec<UnitProof>,
    /// Units of each file, in the manifest's order.
    files: BTreeMap<String, Vec<UnitId>>,
    sessions: Sessions,
    bad: BTreeSet<TestKey>,
    places: BTreeMap<(Fence, u32), Place>,
    retries: Retries,
    reuses: Reuses,
    cancelled: Option<Cancelled>,
    finished: Option<Verdict>,
    faults: Vec<Fault>,
    more_faults: usize,
}

/// Where a test failed.
#[derive(Debug)]
struct Place {
    file: String,
    line: u32,
}

impl Proof {
    /// Takes the next event in.
    pub fn apply(&mut self, event: &RunEvent) {
        self.check_place(event);
        if let Err(fault) = self.fold(&event.kind) {
            self.fault(fault);
        }
    }

    /// The verdict if the run ended now. The run itself asks this before it says that it is finished.
    pub fn verdict(&self) -> Verdict {
        let complete = self.is_complete();
        if self.is_bad() {
            return Verdict::Failed { complete: complete && self.cancelled.is_none() };
        }
        match self.cancelled {
            Some(Cancelled::Interrupted) => Verdict::Interrupted,
            Some(Cancelled::FailFast | Cancelled::Deadline | Cancelled::NoShards) => Verdict::None,
            None if !complete => Verdict::None,
            None if self.has_empty_suite() => Verdict::Empty,
            None => Verdict::Passed,
        }
    }

    /// The verdict of a record: what the run said when it ended, if the events show the same. A run that never said that it ended, or that
    /// said something else than its events, has no verdict, or a bad one.
    pub fn conclusion(&self) -> Verdict {
        let shown = self.verdict();
        match (self.finished, shown) {
            (Some(said), shown) if said == shown => shown,
            (_, Verdict::Failed { .. }) => Verdict::Failed { complete: false },
            (None, _) if self.cancelled == Some(Cancelled::Interrupted) => Verdict::Interrupted,
            _ => Verdict::None,
        }
    }

    /// Whether the run is red already, whatever comes. With `--fail-fast` it is to be stopped.
    pub fn is_bad(&self) -> bool {
        !self.bad.is_empty() || !self.sessions.dirty().is_empty()
    }

    /// Whether the record says how the run ended.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Why the run was stopped, if it was.
    pub fn cancelled(&self) -> Option<Cancelled> {
        self.cancelled
    }

    fn is_complete(&self) -> bool {
        self.faults.is_empty() && self.missing().next().is_none()
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        } else {
            self.more_faults += 1;
        }
    }

    fn check_place(&mut self, event: &RunEvent) {
        if event.seq != self.next_seq {
            self.fault(Fault::Sequence { expected: self.next_seq, found: event.seq });
        }
        self.next_seq = event.seq.saturating_add(1);
        if self.finished.is_some() {
            self.fault(Fault::AfterEnd);
        }
        if !self.started && !matches!(event.kind, EventKind::RunStarted(_)) {
            self.started = true;
            self.fault(Fault::NotStarted);
        }
    }

    fn fold(&mut self, kind: &EventKind) -> Result<(), Fault> {
        match kind {
            EventKind::RunStarted(started) => self.run_started(started),
            EventKind::SuiteListed { suite, files, list_hash, of } => self.suite_listed(*suite, (files, list_hash), of.as_ref()),
            EventKind::FileReused(proven) => self.file_reused(proven),
            EventKind::CanaryPlanned(proven) => self.canary_planned(proven),
            EventKind::PlanMade { manifest, hash } => self.plan_made(manifest, hash),
            EventKind::SessionReady { session, suite, list_hash, .. } => {
                self.lists.heard(*suite, list_hash);
                self.sessions.ready(*session, *suite)
            }
            EventKind::SessionEnded(ended) => self.sessions.ended(ended),
            EventKind::ShardLost { shard, .. } => {
                self.sessions.shard_lost(*shard);
                Ok(())
            }
            EventKind::RunCancelled { reason } => {
                self.cancelled.get_or_insert(*reason);
                Ok(())
            }
            EventKind::RunFinished { verdict, .. } => {
                self.finished.get_or_insert(*verdict);
                Ok(())
            }
            EventKind::UnitLeased { unit, fence, session, from, .. } => self.unit_leased(*unit, Lease::new(*fence, *session, *from)),
            EventKind::UnitDeclared { unit, fence, ids, selected } => self.unit_declared(*unit, *fence, ids, selected.as_deref()),
            EventKind::TestFinished(finished) => self.test_finished(finished),
            EventKind::UnitFinished { unit, fence } => self.unit_finished(*unit, *fence),
            EventKind::RetryPlanned(planned) => self.retry_planned(planned),
            EventKind::UnitInterrupted { unit, fence, final_below, suspect } => {
                self.change(*unit, |proof| proof.interrupt(*fence, *final_below, *suspect))
            }
            EventKind::UnitSuperseded { unit, .. } => self.change(*unit, UnitProof::supersede),
            EventKind::TestCrashed { test, id, session, how } => {
                let crashed = Crashed { id: id.clone(), session: *session, how: *how };
                self.change(test.unit, |proof| proof.crash(test.ordinal, crashed))
            }
            EventKind::ImageReady { .. }
            | EventKind::ShardStarted { .. }
            | EventKind::ShardReady { .. }
            | EventKind::Output { .. }
            | EventKind::Notice { .. } => Ok(()),
        }
    }

    fn run_started(&mut self, started: &RunStarted) -> Result<(), Fault> {
        self.partial = started.of.is_some();
        self.suites = u32::try_from(started.settings.suites.len()).unwrap_or(u32::MAX);
        self.retries_allowed(started);
        self.reuse_allowed(started);
        if std::mem::replace(&mut self.started, true) { Err(Fault::StartedTwice) } else { Ok(()) }
    }

    fn plan_made(&mut self, manifest: &Manifest, hash: &str) -> Result<(), Fault> {
        if std::mem::replace(&mut self.planned, true) {
            return Err(Fault::PlannedTwice);
        }
        for (id, unit) in manifest.iter() {
            self.units.push(UnitProof::new(id, unit));
            self.files.entry(unit.file.clone()).or_default().push(id);
        }
        let unlisted = (0..self.suites).map(SuiteId).find(|suite| !self.lists.has(*suite));
        let recalled = self.lists.recalled();
        self.check_reuses()?;
        let unplanned = self.suite().find(|file| !self.files.contains_key(*file) && !self.reuses.has(file)).cloned();
        match unplanned {
            _ if unlisted.is_some() => Err(Fault::Unlisted(unlisted.unwrap_or_default())),
            _ if recalled.is_some() && !self.needs_no_session() => Err(Fault::NotListedHere(recalled.unwrap_or_default())),
            Some(file) if !self.partial => Err(Fault::Unplanned { file }),
            _ if manifest.hash() != hash => Err(Fault::OtherPlan),
            _ => Ok(()),
        }
    }

    fn unit_leased(&mut self, unit: UnitId, lease: Lease) -> Result<(), Fault> {
        let session = lease.session;
        let suite = self.sessions.leased(lease.fence, session);
        self.change(unit, |proof| proof.lease(lease))?;
        match suite {
            None => Err(Fault::LeasedToNobody { unit, session }),
            Some(suite) if suite != self.unit(unit)?.suite => Err(Fault::LeasedToAnother { unit, session }),
            Some(_) => Ok(()),
        }
    }

    fn unit_declared(&mut self, unit: UnitId, fence: Fence, ids: &[String], selected: Option<&[u32]>) -> Result<(), Fault> {
        let file = self.unit(unit)?.file.clone();
        // The slices of a file declare the same ids, a unit that is leased again too: they are kept once.
        let relatives = self.files.get(&file).into_iter().flatten().filter_map(|id| self.units.get(index(*id)));
        let known = relatives.filter_map(UnitProof::declared).map(|declared| &declared.ids).find(|known| known[..] == *ids);
        let ids = known.map_or_else(|| Arc::from(ids), Arc::clone);
        self.unit(unit)?.declare(fence, Declared { ids, selected: selected.map(Arc::from) })
    }

    fn test_finished(&mut self, finished: &TestFinished) -> Result<(), Fault> {
        let test = finished.test;
        self.sessions.reported(finished.fence);
        let live = self.unit(test.unit)?.report(finished)?;
        if live && finished.outcome.is_bad() {
            let place = Place { file: finished.file.clone(), line: finished.line };
            self.places.insert((finished.fence, test.ordinal), place);
            if self.root_of(test.unit) == test.unit {
                self.bad.insert(test);
            } else {
                self.look_again(test.unit);
            }
        }
        Ok(())
    }

    fn unit_finished(&mut self, unit: UnitId, fence: Fence) -> Result<(), Fault> {
        if self.root_of(unit) == unit { self.unit(unit)?.finish(fence) } else { self.change(unit, |proof| proof.finish(fence)) }
    }

    /// Changes a unit in a way that may overtake results of it.
    fn change(&mut self, unit: UnitId, how: impl FnOnce(&mut UnitProof) -> Result<(), Fault>) -> Result<(), Fault> {
        let changed = how(self.unit(unit)?);
        self.look_again(unit);
        changed
    }

    /// Sees anew which tests of a unit are bad, all their attempts considered.
    fn look_again(&mut self, unit: UnitId) {
        let root = self.root_of(unit);
        let Some(proof) = self.units.get(index(root)) else { return };
        let again = self.bad_again(root);
        let bad: Vec<_> = proof.bad_ordinals().chain(again).filter(|ordinal| is_bad(self.state_of(root, *ordinal).0)).collect();
        let all = TestKey { unit: root, ordinal: 0 }..=TestKey { unit: root, ordinal: LOADING };
        let gone: Vec<_> = self.bad.range(all).copied().collect();
        for test in gone {
            self.bad.remove(&test);
        }
        self.bad.extend(bad.into_iter().map(|ordinal| TestKey { unit: root, ordinal }));
    }

    fn unit(&mut self, unit: UnitId) -> Result<&mut UnitProof, Fault> {
        self.units.get_mut(index(unit)).ok_or(Fault::UnknownUnit(unit))
    }

    /// Whether a unit's results are among those of the run: not those of a superseded slice, nor of a fallback that was not called for.
    fn counts_in(&self, unit: &UnitProof) -> bool {
        match unit.role {
            Role::Whole => true,
            Role::Slice => !unit.is_superseded(),
            Role::Fallback => unit.was_leased() || self.relatives(&unit.file).any(UnitProof::is_superseded),
            // An attempt at what is void proves nothing and need not.
            Role::Retry(root) => self.units.get(index(root)).is_some_and(|root| self.counts_in(root)),
        }
    }

    fn relatives(&self, file: &str) -> impl Iterator<Item = &UnitProof> {
        self.files.get(file).into_iter().flatten().filter_map(|id| self.units.get(index(*id)))
    }
}

fn is_bad(state: TestState<'_>) -> bool {
    match state {
        TestState::Final(result) => result.outcome.is_bad(),
        TestState::Crashed(crashed) => crashed.is_bad(),
        TestState::Missing => false,
    }
}

fn index(unit: UnitId) -> usize {
    usize::try_from(unit.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reuse;
#[cfg(test)]
mod suites;
#[cfg(test)]
mod tests;
