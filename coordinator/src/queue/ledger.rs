//! What every unit is at: waiting, held, final; and the slices that stand or fall together.
//!
//! It knows fences but no sessions and no time: who holds a unit was settled before it is asked. A unit leaves a stage and enters the next one in a single
//! place, so that the counts of those that wait and those that are held are right.

use std::collections::BTreeMap;

use super::call::{Fact, Lease, Listing, Partial, QueueError, QueueUnit, Remaining, Role};
use super::pending::{Pending, Turn};
use super::progress::{Next, Progress};
use crate::model::event::Superseded;
use crate::model::{Fence, ShardId, SuiteId, UnitId};

/// The units of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    units: Vec<Entry>,
    groups: BTreeMap<u32, Group>,
    pending: BTreeMap<SuiteId, Pending>,
    leased: u32,
    max_losses: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    unit: QueueUnit,
    stage: Stage,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A fallback that nobody needs. Counts as final.
    Dormant,
    Pending,
    Leased(Fence),
    Final,
    /// A slice whose fallback runs instead. Counts as final.
    Void,
}

/// The slices of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Group {
    slices: Vec<UnitId>,
    fallback: Option<UnitId>,
    listing: Option<Listing>,
}

impl Ledger {
    /// These units, in the order of their turns, none of them given out.
    pub(super) fn new(units: Vec<QueueUnit>, max_losses: u32) -> Result<Self, QueueError> {
        let (groups, pending) = (BTreeMap::new(), BTreeMap::new());
        let mut ledger = Self { units: Vec::with_capacity(units.len()), groups, pending, leased: 0, max_losses };
        for (id, unit) in (0..).map(UnitId).zip(units) {
            ledger.add(id, unit)?;
        }
        match ledger.groups.iter().find(|(_, group)| group.fallback.is_none() || group.slices.is_empty()) {
            Some((&group, _)) => Err(QueueError::Unpaired(group)),
            None => Ok(ledger),
        }
    }

    /// One more unit, which waits at once.
    pub(super) fn retry(&mut self, of: UnitId, rather_not: ShardId) -> UnitId {
        let id = UnitId(u32::try_from(self.units.len()).unwrap_or(u32::MAX));
        let suite = self.entry(of).map(|entry| entry.unit.suite).unwrap_or_default();
        let unit = QueueUnit { suite, predicted_ms: None, role: Role::Retry { rather_not } };
        self.pending.entry(suite).or_default().insert(Turn::Retry, id, unit.predicted_ms);
        self.units.push(Entry { unit, stage: Stage::Pending, progress: Progress::default() });
        id
    }

    fn add(&mut self, id: UnitId, unit: QueueUnit) -> Result<(), QueueError> {
        let stage = match unit.role {
            Role::Plain | Role::Retry { .. } => Stage::Pending,
            Role::Slice(group) => {
                self.groups.entry(group).or_default().slices.push(id);
                Stage::Pending
            }
            Role::Fallback(group) => {
                if self.groups.entry(group).or_default().fallback.replace(id).is_some() {
                    return Err(QueueError::Unpaired(group));
                }
                Stage::Dormant
            }
        };
        if stage == Stage::Pending {
            let turn = if matches!(unit.role, Role::Retry { .. }) { Turn::Retry } else { Turn::Ordinary };
            self.pending.entry(unit.suite).or_default().insert(turn, id, unit.predicted_ms);
        }
        self.units.push(Entry { unit, stage, progress: Progress::default() });
        Ok(())
    }

    pub(super) fn has(&self, unit: UnitId) -> bool {
        self.entry(unit).is_some()
    }

    pub(super) fn is_final(&self, unit: UnitId) -> bool {
        self.entry(unit).is_some_and(|entry| matches!(entry.stage, Stage::Final | Stage::Void | Stage::Dormant))
    }

    pub(super) fn is_leased(&self, unit: UnitId, fence: Fence) -> bool {
        self.entry(unit).is_some_and(|entry| entry.stage == Stage::Leased(fence))
    }

    pub(super) fn remaining(&self) -> Remaining {
        Remaining { pending: self.pending.values().map(Pending::len).sum(), leased: self.leased }
    }

    /// What waits of a suite.
    pub(super) fn pending(&self, suite: SuiteId) -> Option<&Pending> {
        self.pending.get(&suite)
    }

    /// Whose turn it is in this shard, among the units of a suite. What failed there is left to another one, if that waits for work or if there is anything else to do.
    pub(super) fn first_for(&self, shard: ShardId, suite: SuiteId, another_waits: bool) -> Option<(Turn, UnitId)> {
        let pending = self.pending.get(&suite)?;
        let failed_here = |unit: UnitId| self.entry(unit).is_some_and(|entry| entry.unit.role == Role::Retry { rather_not: shard });
        let first = pending.first_but(failed_here);
        first.or_else(|| pending.first_but(|_| false).filter(|_| !another_waits))
    }

    pub(super) fn predicted_ms(&self, unit: UnitId) -> Option<u64> {
        self.entry(unit)?.unit.predicted_ms
    }

    /// A waiting unit is held from now on, under this fence.
    pub(super) fn give(&mut self, unit: UnitId, fence: Fence) -> Lease {
        self.leave(unit, Stage::Leased(fence));
        self.leased += 1;
        let mut lease = Lease { unit, fence, from: 0, until: None, suspect: false };
        if let Some(Entry { progress, .. }) = self.entry(unit) {
            (lease.from, lease.until, lease.suspect) = (progress.from, progress.until(), progress.alone);
        }
        lease
    }

    /// A held unit was reported complete.
    pub(super) fn complete(&mut self, unit: UnitId, fence: Fence, listing: Listing, facts: &mut Vec<Fact>) {
        let whole = self.entry(unit).is_some_and(|entry| entry.progress.is_whole());
        match self.compare(unit, listing) {
            Load::Same => {}
            // One load from the first test to the last stands on its own.
            Load::Changed if whole => {}
            Load::Changed => return self.restart(unit, facts),
            Load::SlicesDiffer(group) => return self.wake_fallback(group, facts),
        }
        let Some(entry) = self.entry_mut(unit) else { return };
        let until = entry.progress.until();
        let next = entry.progress.complete();
        if let (Next::Again, Some(final_below)) = (next, until) {
            facts.push(Fact::Interrupted { unit, fence, final_below, suspect: None });
        }
        self.go_on(unit, fence, next, facts);
    }

    /// A held unit's session was lost.
    pub(super) fn lose(&mut self, unit: UnitId, fence: Fence, loss: &Partial, facts: &mut Vec<Fact>) {
        match loss.listing.map_or(Load::Same, |listing| self.compare(unit, listing)) {
            Load::Same => {}
            Load::Changed => self.void(unit, facts),
            Load::SlicesDiffer(group) => return self.wake_fallback(group, facts),
        }
        let max_losses = self.max_losses;
        let Some(entry) = self.entry_mut(unit) else { return };
        let after = entry.progress.lose(loss, max_losses);
        facts.push(Fact::Interrupted { unit, fence, final_below: after.final_below, suspect: after.suspect });
        if let Some(suspect) = after.crashed {
            facts.push(Fact::Crashed { unit, fence, suspect, cause: loss.cause });
        }
        self.go_on(unit, fence, after.next, facts);
    }

    fn go_on(&mut self, unit: UnitId, fence: Fence, next: Next, facts: &mut Vec<Fact>) {
        match next {
            Next::Again => return self.put_back(unit),
            Next::Through => facts.push(Fact::Finished { unit, fence }),
            Next::GivenUp => facts.push(Fact::GivenUp { unit }),
        }
        self.leave(unit, Stage::Final);
    }

    /// Whether a load of a unit listed what was listed before; the first one is remembered.
    fn compare(&mut self, unit: UnitId, listing: Listing) -> Load {
        let Some(entry) = self.entry_mut(unit) else { return Load::Same };
        if let Role::Slice(number) = entry.unit.role {
            let group = self.groups.entry(number).or_default();
            return if *group.listing.get_or_insert(listing) == listing { Load::Same } else { Load::SlicesDiffer(number) };
        }
        if entry.progress.agrees(listing) { Load::Same } else { Load::Changed }
    }

    fn void(&mut self, unit: UnitId, facts: &mut Vec<Fact>) {
        facts.push(Fact::Superseded { unit, reason: Superseded::IdsChanged });
        if let Some(entry) = self.entry_mut(unit) {
            entry.progress.restart();
        }
    }

    fn restart(&mut self, unit: UnitId, facts: &mut Vec<Fact>) {
        self.void(unit, facts);
        self.put_back(unit);
    }

    /// The slices of a file disagree about its ids: all of them are void, whatever they are at, and the whole file runs.
    fn wake_fallback(&mut self, number: u32, facts: &mut Vec<Fact>) {
        let Some(group) = self.groups.get(&number).cloned() else { return };
        for unit in group.slices {
            facts.push(Fact::Superseded { unit, reason: Superseded::IdsChanged });
            self.leave(unit, Stage::Void);
        }
        let Some(unit) = group.fallback else { return };
        if let Some(entry) = self.entry_mut(unit) {
            entry.stage = Stage::Pending;
            let (suite, predicted_ms) = (entry.unit.suite, entry.unit.predicted_ms);
            self.pending.entry(suite).or_default().insert(Turn::Fallback, unit, predicted_ms);
        }
    }

    /// A held unit waits again, to go alone: it may have taken its session with it.
    pub(super) fn put_back_alone(&mut self, unit: UnitId) {
        if let Some(entry) = self.entry_mut(unit) {
            entry.progress.alone = true;
        }
        self.put_back(unit);
    }

    /// A held unit waits again.
    pub(super) fn put_back(&mut self, unit: UnitId) {
        self.leave(unit, Stage::Pending);
        if let Some(entry) = self.entry(unit) {
            let (turn, suite, predicted_ms) = (entry.turn(), entry.unit.suite, entry.unit.predicted_ms);
            self.pending.entry(suite).or_default().insert(turn, unit, predicted_ms);
        }
    }

    /// A unit leaves those that wait or are held.
    fn leave(&mut self, unit: UnitId, stage: Stage) {
        let Some(entry) = self.entry_mut(unit) else { return };
        let (before, turn, suite, predicted_ms) = (entry.stage, entry.turn(), entry.unit.suite, entry.unit.predicted_ms);
        entry.stage = stage;
        match before {
            Stage::Pending => self.pending.entry(suite).or_default().remove(turn, unit, predicted_ms),
            Stage::Leased(_) => self.leased -= 1,
            Stage::Dormant | Stage::Final | Stage::Void => {}
        }
    }

    fn entry(&self, unit: UnitId) -> Option<&Entry> {
        self.units.get(usize::try_from(unit.0).ok()?)
    }

    fn entry_mut(&mut self, unit: UnitId) -> Option<&mut Entry> {
        self.units.get_mut(usize::try_from(unit.0).ok()?)
    }
}

impl Entry {
    fn turn(&self) -> Turn {
        match self.unit.role {
            _ if self.progress.alone => Turn::Alone,
            Role::Fallback(_) => Turn::Fallback,
            Role::Retry { .. } => Turn::Retry,
            Role::Plain | Role::Slice(_) => Turn::Ordinary,
        }
    }
}

/// How a load of a unit compares with those before.
enum Load {
    Same,
    Changed,
    SlicesDiffer(u32),
}
