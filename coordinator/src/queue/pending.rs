//! The units of a suite that wait, in the order of their turns, with their predicted time in all.
//!
//! A unit's id is its turn, so one that comes back is in front of all that were never given out. Three kinds go before that: a unit that took a session
//! with it (alone, and soon, because it may take long to blame), the fallback of a slow file, and another attempt at tests that failed.

use std::collections::BTreeSet;

use crate::model::UnitId;

/// Who comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Dispatched alone.
    Alone,
    /// A fallback that was woken.
    Fallback,
    /// Another attempt: who waits for the verdict wants to know soon.
    Retry,
    /// Everybody else.
    Ordinary,
}

/// The units of a suite that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pending {
    turns: BTreeSet<(Turn, UnitId)>,
    /// Sum of what is predicted of them.
    predicted_ms: u64,
}

impl Pending {
    pub(super) fn insert(&mut self, turn: Turn, unit: UnitId, predicted_ms: Option<u64>) {
        if self.turns.insert((turn, unit)) {
            self.predicted_ms = self.predicted_ms.saturating_add(predicted_ms.unwrap_or(0));
        }
    }

    pub(super) fn remove(&mut self, turn: Turn, unit: UnitId, predicted_ms: Option<u64>) {
        if self.turns.remove(&(turn, unit)) {
            self.predicted_ms = self.predicted_ms.saturating_sub(predicted_ms.unwrap_or(0));
        }
    }

    /// The first that is not excluded.
    pub(super) fn first_but(&self, excluded: impl Fn(UnitId) -> bool) -> Option<(Turn, UnitId)> {
        self.turns.iter().copied().find(|(_, unit)| !excluded(*unit))
    }

    pub(super) fn predicted_ms(&self) -> u64 {
        self.predicted_ms
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.turns.len()).unwrap_or(u32::MAX)
    }
}
