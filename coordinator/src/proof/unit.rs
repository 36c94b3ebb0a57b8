//! One unit's part of the proof: which of its declared tests have a final result that counts.
//!
//! A result is first live, under the unit's newest lease; the end of the unit accepts it, a loss accepts those below a bound, a newer lease
//! or a superseding throws it away. What is accepted stays until the unit is superseded. Nothing here knows of other units.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Fault;
use crate::model::event::{Crash, TestFinished};
use crate::model::unit::UnitKind;
use crate::model::{Fence, Outcome, SessionId, SuiteId, TestKey, Unit, UnitId};

/// Ordinal in a crash that happened while the unit was loaded.
pub const LOADING: u32 = u32::MAX;

/// A test's result under one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Microseconds.
    pub micros: u64,
    /// Who ran it.
    pub session: SessionId,
    /// Under which lease.
    pub fence: Fence,
}

/// A test, or the loading of a unit, that took its session with it for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crashed {
    /// Its id, or the file.
    pub id: String,
    /// The session that it took last.
    pub session: SessionId,
    /// How.
    pub how: Crash,
}

impl Crashed {
    /// Whether the test is to blame. A shard that was lost from outside proves nothing about the test.
    pub fn is_bad(&self) -> bool {
        self.how != Crash::ShardLost
    }
}

/// A start of a test that does not count: it was lost, or overtaken by a newer lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Who ran it.
    pub session: SessionId,
    /// How it ended; absent when its session was lost.
    pub outcome: Option<Outcome>,
}

/// What a unit is to its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Whole,
    Slice,
    Fallback,
    /// Another attempt at tests of this unit.
    Retry(UnitId),
}

/// A unit's part of the proof.
#[derive(Debug)]
pub(super) struct UnitProof {
    pub(super) suite: SuiteId,
    pub(super) file: String,
    pub(super) role: Role,
    id: UnitId,
    /// A part begins with this test.
    from: u32,
    stage: Stage,
    newest: Option<Fence>,
    /// How often it was given to a session.
    leases: u32,
    /// The lease that was ended last by the unit's end or by a loss.
    ended: Option<Fence>,
    declared: Option<Declared>,
    /// The tests changed after some of them had become final: nothing is final until the unit is superseded.
    conflicting: bool,
    accepted: Vec<Option<TestResult>>,
    pub(super) crashes: BTreeMap<u32, Crashed>,
    pub(super) attempts: BTreeMap<u32, Vec<Attempt>>,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Leased(Lease),
    Finished,
    Superseded,
}

/// A unit in a session's hands.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) fence: Fence,
    pub(super) session: SessionId,
    pub(super) from: u32,
    declared: Option<Declared>,
    live: BTreeMap<u32, TestResult>,
}

impl Lease {
    pub(super) fn new(fence: Fence, session: SessionId, from: u32) -> Self {
        Self { fence, session, from, declared: None, live: BTreeMap::new() }
    }
}

/// What a unit said it has.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) ids: Arc<[String]>,
    pub(super) selected: Option<Arc<[u32]>>,
}

impl Declared {
    fn len(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(LOADING)
    }

    fn has(&self, ordinal: u32) -> bool {
        match &self.selected {
            None => ordinal < self.len(),
            Some(selected) => selected.binary_search(&ordinal).is_ok(),
        }
    }

    fn is_sound(&self) -> bool {
        let Some(selected) = &self.selected else { return true };
        selected.is_sorted_by(|a, b| a < b) && selected.last().is_none_or(|last| *last < self.len())
    }

    fn ordinals(&self) -> impl Iterator<Item = u32> + '_ {
        let all = if self.selected.is_none() { 0..self.len() } else { 0..0 };
        all.chain(self.selected.as_deref().unwrap_or_default().iter().copied())
    }

    /// Whether another load promises the same tests, or some of them: a lease may run up to a crashed test and the next one go on behind it.
    fn covers(&self, other: &Self) -> bool {
        self.ids == other.ids && other.ordinals().all(|ordinal| self.has(ordinal))
    }
}

impl UnitProof {
    pub(super) fn new(id: UnitId, unit: &Unit) -> Self {
        let (role, from) = match &unit.kind {
            UnitKind::File => (Role::Whole, 0),
            UnitKind::Slice { .. } => (Role::Slice, 0),
            UnitKind::Fallback => (Role::Fallback, 0),
            UnitKind::Part { from, .. } => (Role::Whole, *from),
        };
        Self::with(id, (unit.suite, unit.file.clone()), role, from)
    }

    /// Another attempt at tests of a unit.
    pub(super) fn another(id: UnitId, root: &Self) -> Self {
        Self::with(id, (root.suite, root.file.clone()), Role::Retry(root.id), 0)
    }

    fn with(id: UnitId, (suite, file): (SuiteId, String), role: Role, from: u32) -> Self {
        Self {
            suite,
            file,
            role,
            id,
            from,
            stage: Stage::Waiting,
            newest: None,
            leases: 0,
            ended: None,
            declared: None,
            conflicting: false,
            accepted: Vec::new(),
            crashes: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }

    pub(super) fn lease(&mut self, lease: Lease) -> Result<(), Fault> {
        if self.newest.is_some_and(|newest| lease.fence <= newest) {
            return Err(Fault::StaleLease { unit: self.id, fence: lease.fence });
        }
        if matches!(self.stage, Stage::Finished | Stage::Superseded) {
            return Err(Fault::LeasedWhenFinal(self.id));
        }
        self.newest = Some(lease.fence);
        self.leases = self.leases.saturating_add(1);
        if let Stage::Leased(old) = std::mem::replace(&mut self.stage, Stage::Leased(lease)) {
            self.overtake(old.live);
        }
        Ok(())
    }

    /// Takes note of the declared tests. Which of them run is what the driver says, whatever the bounds of the lease. A change of what is final
    /// already is no fault yet: the unit may still be superseded.
    pub(super) fn declare(&mut self, fence: Fence, declared: Declared) -> Result<(), Fault> {
        let (id, first) = (self.id, self.from);
        let has_final = self.has_final();
        let Some(lease) = self.current(fence)? else { return Ok(()) };
        if lease.declared.is_some() {
            return Err(Fault::DeclaredTwice { unit: id, fence });
        }
        if !declared.is_sound() {
            return Err(Fault::BadSelection(id));
        }
        let continues = has_final || lease.from > first;
        lease.declared = Some(declared.clone());
        match &self.declared {
            Some(before) if continues => self.conflicting |= !before.covers(&declared),
            _ => {
                // A part that begins behind the file's last test has nothing to show for it.
                self.conflicting = first > 0 && declared.len() <= first && declared.ordinals().next().is_none();
                self.accepted = vec![None; declared.ids.len()];
                self.declared = Some(declared);
            }
        }
        Ok(())
    }

    /// Takes note of a result; says whether it is live.
    pub(super) fn report(&mut self, finished: &TestFinished) -> Result<bool, Fault> {
        let (id, conflicting) = (self.id, self.conflicting);
        let test = finished.test;
        let known = self.crashes.contains_key(&test.ordinal) || self.result(test.ordinal).is_some();
        let Some(lease) = self.current(finished.fence)? else { return Ok(false) };
        let Some(declared) = &lease.declared else {
            return Err(Fault::NotDeclared { unit: id, fence: finished.fence });
        };
        if conflicting {
            // Its place means another test than before; the unit cannot become final with it.
            return Ok(false);
        }
        if !declared.has(test.ordinal) {
            return Err(Fault::UnexpectedTest { test });
        }
        if known || lease.live.contains_key(&test.ordinal) {
            return Err(Fault::TestTwice { test });
        }
        let result = TestResult { outcome: finished.outcome, micros: finished.micros, session: lease.session, fence: finished.fence };
        lease.live.insert(test.ordinal, result);
        Ok(true)
    }

    pub(super) fn finish(&mut self, fence: Fence) -> Result<(), Fault> {
        let Some(lease) = self.take(fence)? else { return Ok(()) };
        self.stage = Stage::Finished;
        if lease.declared.is_none() {
            self.declared = None;
            return Err(Fault::NotDeclared { unit: self.id, fence });
        }
        self.accept(lease.live);
        match self.unproven().filter(|n| !self.crashes.contains_key(n)).count() {
            0 => Ok(()),
            _ if self.conflicting => Ok(()),
            tests => Err(Fault::Unreported { unit: self.id, tests }),
        }
    }

    pub(super) fn interrupt(&mut self, fence: Fence, final_below: u32, suspect: Option<u32>) -> Result<(), Fault> {
        let Some(mut lease) = self.take(fence)? else { return Ok(()) };
        let rest = lease.live.split_off(&final_below);
        self.accept(lease.live);
        self.overtake(rest);
        if let Some(ordinal) = suspect {
            self.attempts.entry(ordinal).or_default().push(Attempt { session: lease.session, outcome: None });
        }
        Ok(())
    }

    pub(super) fn supersede(&mut self) -> Result<(), Fault> {
        let nothing = if self.role == Role::Slice { self.is_superseded() } else { self.declared.is_none() };
        if nothing {
            return Err(Fault::NothingToSupersede(self.id));
        }
        self.stage = if self.role == Role::Slice { Stage::Superseded } else { Stage::Waiting };
        self.declared = None;
        self.conflicting = false;
        self.accepted.clear();
        self.crashes.clear();
        self.attempts.clear();
        self.ended = None;
        Ok(())
    }

    /// A crash always counts, whatever was reported before: it is the worse news.
    pub(super) fn crash(&mut self, ordinal: u32, crashed: Crashed) -> Result<(), Fault> {
        if matches!(self.stage, Stage::Superseded) {
            return Ok(());
        }
        let before = self.accepted_slot(ordinal).and_then(Option::take);
        let again = self.crashes.insert(ordinal, crashed);
        if before.is_some() || again.is_some() {
            return Err(Fault::TestTwice { test: TestKey { unit: self.id, ordinal } });
        }
        Ok(())
    }

    /// Whether it was ever given to anybody.
    pub(super) fn was_leased(&self) -> bool {
        self.newest.is_some()
    }

    /// Whether it came to its end in the first session that had it.
    pub(super) fn went_straight(&self) -> bool {
        self.leases == 1 && self.crashes.is_empty() && self.is_final()
    }

    pub(super) fn is_superseded(&self) -> bool {
        matches!(self.stage, Stage::Superseded)
    }

    /// Whether every test of it is final.
    pub(super) fn is_final(&self) -> bool {
        let loading = self.crashes.get(&LOADING);
        match self.stage {
            Stage::Leased(_) | Stage::Superseded => false,
            _ if self.conflicting => false,
            _ if loading.is_some_and(|crash| !crash.is_bad()) => false,
            _ if self.declared.is_none() => loading.is_some(),
            Stage::Finished => self.unproven().next().is_none(),
            // The last test of it crashed: nothing is left to lease.
            Stage::Waiting => !self.crashes.is_empty() && self.unproven().next().is_none(),
        }
    }

    pub(super) fn declared(&self) -> Option<&Declared> {
        self.declared.as_ref()
    }

    /// Ordinals that have to become final, in order.
    pub(super) fn required(&self) -> impl Iterator<Item = u32> + '_ {
        self.declared.iter().flat_map(Declared::ordinals)
    }

    /// Those that are not final.
    pub(super) fn unproven(&self) -> impl Iterator<Item = u32> + '_ {
        self.required().filter(|n| self.result(*n).is_none() && !self.crashes.get(n).is_some_and(Crashed::is_bad))
    }

    /// The accepted result of a test.
    pub(super) fn result(&self, ordinal: u32) -> Option<&TestResult> {
        self.accepted.get(usize::try_from(ordinal).ok()?)?.as_ref()
    }

    /// A test's result if nothing has overtaken it, accepted or not.
    pub(super) fn standing_result(&self, ordinal: u32) -> Option<&TestResult> {
        let live = match &self.stage {
            Stage::Leased(lease) => lease.live.get(&ordinal),
            Stage::Waiting | Stage::Finished | Stage::Superseded => None,
        };
        self.result(ordinal).or(live)
    }

    /// Results that nothing has overtaken, accepted or not.
    pub(super) fn standing(&self) -> impl Iterator<Item = (u32, &TestResult)> {
        let live = match &self.stage {
            Stage::Leased(lease) => Some(&lease.live),
            Stage::Waiting | Stage::Finished | Stage::Superseded => None,
        };
        let accepted = (0..).zip(&self.accepted).filter_map(|(n, result)| Some((n, result.as_ref()?)));
        accepted.chain(live.into_iter().flatten().map(|(n, result)| (*n, result)))
    }

    /// Those with a bad result that nothing has overtaken, and those that crashed.
    pub(super) fn bad_ordinals(&self) -> impl Iterator<Item = u32> {
        let crashed = self.crashes.iter().filter(|(_, crash)| crash.is_bad()).map(|(ordinal, _)| *ordinal);
        crashed.chain(self.standing().filter(|(_, result)| result.outcome.is_bad()).map(|(ordinal, _)| ordinal))
    }

    fn has_final(&self) -> bool {
        self.accepted.iter().any(Option::is_some) || self.crashes.keys().any(|n| *n != LOADING)
    }

    fn accepted_slot(&mut self, ordinal: u32) -> Option<&mut Option<TestResult>> {
        self.accepted.get_mut(usize::try_from(ordinal).ok()?)
    }

    fn accept(&mut self, live: BTreeMap<u32, TestResult>) {
        for (ordinal, result) in live {
            if self.conflicting || self.crashes.contains_key(&ordinal) {
                continue;
            }
            if let Some(slot) = self.accepted_slot(ordinal) {
                slot.get_or_insert(result);
            }
        }
    }

    fn overtake(&mut self, live: BTreeMap<u32, TestResult>) {
        for (ordinal, result) in live {
            let attempt = Attempt { session: result.session, outcome: Some(result.outcome) };
            self.attempts.entry(ordinal).or_default().push(attempt);
        }
    }

    /// The lease with this fence if it is the current one; nothing if it was overtaken.
    fn current(&mut self, fence: Fence) -> Result<Option<&mut Lease>, Fault> {
        let unit = self.id;
        let after_end = matches!(self.stage, Stage::Finished);
        match &mut self.stage {
            Stage::Leased(lease) if self.newest == Some(fence) => Ok(Some(lease)),
            _ if self.newest.is_none_or(|newest| newest < fence) => Err(Fault::UnknownLease { unit, fence }),
            _ if after_end && self.newest == Some(fence) => Err(Fault::AfterUnitEnd { unit, fence }),
            _ => Ok(None),
        }
    }

    /// Ends the lease with this fence. It can be ended once.
    fn take(&mut self, fence: Fence) -> Result<Option<Lease>, Fault> {
        if self.ended == Some(fence) {
            return Err(Fault::AfterUnitEnd { unit: self.id, fence });
        }
        if self.current(fence)?.is_none() {
            return Ok(None);
        }
        self.ended = Some(fence);
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Leased(lease) => Ok(Some(lease)),
            Stage::Waiting | Stage::Finished | Stage::Superseded => Ok(None),
        }
    }
}
