//! A unit in a session's hands: what it declared, and how far its results go.

use std::collections::VecDeque;

use splitci_worker::protocol::message::RunUnit;

use crate::model::settings::SuiteSettings;
use crate::model::{Fence, Select, Slot, Unit, UnitId, UnitKind};
use crate::queue::{self, Listing};

/// A leased unit that is not through.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) unit: UnitId,
    pub(super) fence: Fence,
    from: u32,
    until: Option<u32>,
    careful: bool,
    declared: Option<Declared>,
}

#[derive(Debug)]
struct Declared {
    listing: Listing,
    ids: Vec<String>,
    /// Ordinals that have not reported yet, in the order in which they must.
    waiting: VecDeque<u32>,
    /// Reported so far.
    reported: u32,
}

/// A driver said something that its unit does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeldError {
    #[error("a unit was declared twice")]
    Twice,
    #[error("a test reported before its unit was declared")]
    Undeclared,
    #[error("a test reported out of its turn")]
    OutOfTurn,
    #[error("a unit ended with another number of tests than it declared")]
    Count,
}

impl Held {
    pub(super) fn new(lease: &queue::Lease, unit: &Unit) -> Self {
        let (lowest, bound) = match unit.kind {
            UnitKind::Part { from, until, .. } => (from, until),
            UnitKind::File | UnitKind::Slice { .. } | UnitKind::Fallback => (0, None),
        };
        let until = lease.until.into_iter().chain(bound).min();
        Self { unit: lease.unit, fence: lease.fence, from: lease.from.max(lowest), until, careful: lease.suspect, declared: None }
    }

    /// The order to run it, in the words of its suite's framework.
    pub(super) fn order(&self, unit: &Unit, suite: &SuiteSettings) -> RunUnit {
        let plain = |ids: Vec<String>| ids.iter().map(|id| suite.plain(id).to_owned()).collect();
        let select = match unit.select() {
            Select::Only(ids) => Select::Only(plain(ids)),
            Select::Except(ids) => Select::Except(plain(ids)),
            Select::All => Select::All,
        };
        RunUnit {
            unit: self.unit.0,
            fence: self.fence.0,
            name: suite.plain(&unit.file).to_owned(),
            select,
            from: self.from,
            until: self.until,
            careful: self.careful,
        }
    }

    /// The unit was loaded; `selected` is what the driver will run of it, by its own account.
    pub(super) fn declare(&mut self, ids: Vec<String>, selected: Option<&[u32]>) -> Result<(), HeldError> {
        if self.declared.is_some() {
            return Err(HeldError::Twice);
        }
        let all = u32::try_from(ids.len()).map_err(|_| HeldError::Count)?;
        let waiting = match selected {
            Some(ordinals) => ordinals.iter().copied().collect(),
            // Whatever the lease's bounds: a file that cannot be loaded has one test, its first, and tells of it whichever it was asked for.
            None => (0..all).collect(),
        };
        self.declared = Some(Declared { listing: Listing::of(&ids), ids, waiting, reported: 0 });
        Ok(())
    }

    /// A test reported. Results come in order, so that what is final is always a prefix.
    pub(super) fn finish(&mut self, ordinal: u32) -> Result<(), HeldError> {
        let declared = self.declared.as_mut().ok_or(HeldError::Undeclared)?;
        if declared.waiting.front() != Some(&ordinal) {
            return Err(HeldError::OutOfTurn);
        }
        declared.waiting.pop_front();
        declared.reported += 1;
        Ok(())
    }

    /// The unit's end, as a result for the queue.
    pub(super) fn complete(&self, count: u32) -> Result<queue::UnitResult, HeldError> {
        let declared = self.declared.as_ref().ok_or(HeldError::Undeclared)?;
        if !declared.waiting.is_empty() || declared.reported != count {
            return Err(HeldError::Count);
        }
        Ok(self.result(queue::End::Complete(declared.listing)))
    }

    /// What can be said of the unit when its session is lost. `running` is the test in the slot, if the slot was at this unit.
    pub(super) fn interrupt(&self, at: Interrupted, cause: queue::Cause) -> Option<queue::UnitResult> {
        let Some(declared) = &self.declared else {
            if at == Interrupted::NotBegun {
                return None;
            }
            let suspect = Some(queue::Suspect::Loading);
            return Some(self.result(queue::End::Partial(queue::Partial {
                listing: None,
                final_below: self.from,
                suspect,
                rest: true,
                cause,
            })));
        };
        let next = declared.waiting.front().copied();
        // A test that has reported is no suspect, even if the slot still shows it.
        let suspect = match at {
            Interrupted::Running(ordinal) if declared.waiting.contains(&ordinal) => Some(ordinal),
            Interrupted::Unknown => next,
            Interrupted::Running(_) | Interrupted::Loading | Interrupted::NotBegun => None,
        };
        let final_below = next.unwrap_or(u32::MAX);
        let last = declared.waiting.back().copied();
        let rest = match suspect {
            Some(ordinal) => last.is_some_and(|last| last > ordinal),
            None => next.is_some(),
        };
        let suspect = suspect.map(queue::Suspect::Test);
        Some(self.result(queue::End::Partial(queue::Partial { listing: Some(declared.listing), final_below, suspect, rest, cause })))
    }

    /// What runs of it, for the queue: it names a culprit if this whole agent is lost.
    pub(super) fn mark(&self, at: Slot) -> Option<queue::Started> {
        let at = match (at, &self.declared) {
            (Slot::Test { unit, ordinal }, Some(_)) if unit == self.unit.0 => queue::Suspect::Test(ordinal),
            (_, Some(declared)) => queue::Suspect::Test(*declared.waiting.front()?),
            (_, None) => queue::Suspect::Loading,
        };
        Some(queue::Started { unit: self.unit, fence: self.fence, at })
    }

    pub(super) fn id_of(&self, ordinal: u32) -> Option<&str> {
        let ids = &self.declared.as_ref()?.ids;
        ids.get(usize::try_from(ordinal).ok()?).map(String::as_str)
    }

    pub(super) fn is_declared(&self) -> bool {
        self.declared.is_some()
    }

    fn result(&self, end: queue::End) -> queue::UnitResult {
        queue::UnitResult { unit: self.unit, fence: self.fence, end }
    }
}

/// Where a unit was when its session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// Still waiting in the worker.
    NotBegun,
    /// Its file was being loaded.
    Loading,
    /// This test ran.
    Running(u32),
    /// It had begun, and the slot is lost with its shard.
    Unknown,
}

/// blake3 over the length-prefixed names of a list.
pub(super) fn hash_list(names: &[String]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("splitci list v1");
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.finalize()
}
