//! A shard's place in a run: its brain, whether it lives, and what it has been good for.

use super::shard::Shard;
use crate::model::{ShardId, SuiteId};

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) shard: Shard,
    pub(super) restarts: u32,
    pub(super) barren: u32,
    pub(super) crashes: u64,
    /// What it had got done, in tests, when its last session ended.
    pub(super) done: u64,
    /// The engine has a stream for it.
    pub(super) live: bool,
    /// It was told to go, or given up: its end is no news.
    pub(super) leaving: bool,
    /// Its stream was closed from this side: what is still on its way does not count, since nobody would hear how it ends.
    pub(super) dismissed: bool,
    pub(super) heard_at: u64,
    /// When its session was ordered.
    pub(super) opened_at: u64,
    /// Its session is closing, so that one of this suite can begin.
    pub(super) bound_for: Option<SuiteId>,
}

impl Seat {
    /// A seat whose shard is about to be started.
    pub(super) fn new(id: ShardId, now: u64) -> Self {
        let shard = Shard::new(id);
        Self {
            shard,
            restarts: 0,
            barren: 0,
            crashes: 0,
            done: 0,
            live: false,
            leaving: false,
            dismissed: false,
            heard_at: now,
            opened_at: now,
            bound_for: None,
        }
    }

    /// A session is over: was it good for anything? A test that is final, as crashed too, is progress.
    pub(super) fn take_stock(&mut self) {
        let done = self.shard.reported_in_all() + self.crashes;
        self.barren = if done > self.done { 0 } else { self.barren + 1 };
        self.done = done;
    }
}
