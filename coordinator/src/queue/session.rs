//! What the queue remembers of a session: its last step and the reply to it, what it holds, and until when.
//!
//! A session that is over stays as a tombstone, so that a delayed step of it finds neither a gap to fill nor a name to take.

use std::collections::BTreeMap;

use super::call::{Reply, Started};
use crate::model::{Fence, SuiteId, UnitId};

/// A session, alive or over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Session {
    /// What it can run.
    pub(super) suite: SuiteId,
    pub(super) last_seq: u64,
    pub(super) last_reply: Reply,
    pub(super) expires_ms: u64,
    /// It got one extension since its last step, because nobody had been heard.
    pub(super) extended: bool,
    pub(super) over: bool,
    /// What the process has before it. A void unit stays until the session says that it is through with it.
    pub(super) held: BTreeMap<UnitId, Held>,
    /// What ran when it was last heard of.
    pub(super) mark: Option<Started>,
}

/// A unit that a session has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) fence: Fence,
    pub(super) predicted_ms: Option<u64>,
    /// Nothing may be added until it is resolved.
    pub(super) alone: bool,
}

impl Session {
    /// The session is through with this unit. False if it never had it under this fence.
    pub(super) fn let_go(&mut self, unit: UnitId, fence: Fence) -> bool {
        if self.held.get(&unit).is_none_or(|held| held.fence != fence) {
            return false;
        }
        self.mark = self.mark.filter(|mark| mark.unit != unit);
        self.held.remove(&unit).is_some()
    }

    /// Takes a mark, if it is about something that the session holds.
    pub(super) fn mark(&mut self, mark: Started) {
        if self.held.get(&mark.unit).is_some_and(|held| held.fence == mark.fence) {
            self.mark = Some(mark);
        }
    }

    pub(super) fn holds_alone(&self) -> bool {
        self.held.values().any(|held| held.alone)
    }

    /// Predicted time of what it holds; absent when something of it is unknown.
    pub(super) fn held_ms(&self) -> Option<u64> {
        self.held.values().try_fold(0_u64, |sum, held| Some(sum.saturating_add(held.predicted_ms?)))
    }
}
