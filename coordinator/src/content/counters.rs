//! What a store counts of itself: every look-up has one of a few ends, and none of them is a bare "miss".

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What became of look-ups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookups {
    /// Found, and whole.
    pub hits: u64,
    /// There was none.
    pub absent: u64,
    /// There was one that was damaged; it was deleted, if it could be.
    pub damaged: u64,
    /// There was one of another version of splitci, which was left alone.
    pub other_version: u64,
    /// There was a record, but not all of the blobs that it names.
    pub without_blobs: u64,
    /// The store could not answer, or not in time.
    pub failed: u64,
}

impl Lookups {
    /// All that were not hits.
    pub fn misses(&self) -> u64 {
        self.absent + self.damaged + self.other_version + self.without_blobs + self.failed
    }

    fn count(&mut self, end: End) {
        match end {
            End::Hit => self.hits += 1,
            End::Absent => self.absent += 1,
            End::Damaged => self.damaged += 1,
            End::OtherVersion => self.other_version += 1,
            End::Failed => self.failed += 1,
        }
    }
}

/// What a store did since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Look-ups of blobs.
    pub blobs: Lookups,
    /// Look-ups of records, by layer.
    pub records: BTreeMap<String, Lookups>,
    /// Blobs and records that were written.
    pub written: u64,
    /// Writes that were left out: the store is only read, has no room, has lost too often, or too much was waiting.
    pub skipped: u64,
    /// Bytes that came out of the store, as it keeps them.
    pub bytes_read: u64,
    /// Bytes that went into the store, as it keeps them.
    pub bytes_written: u64,
    /// Calls that failed.
    pub errors: u64,
    /// What the first of them said, with its causes.
    pub first_error: Option<String>,
}

/// How a look-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Hit,
    Absent,
    Damaged,
    OtherVersion,
    Failed,
}

/// The counting, shared by all who use a store.
#[derive(Debug, Default)]
pub struct Counters {
    stats: Mutex<StoreStats>,
    /// Bytes that came so far, of whatever: tells slow from dead.
    moved: AtomicU64,
}

impl Counters {
    /// What was counted so far.
    pub fn snapshot(&self) -> StoreStats {
        self.stats().clone()
    }

    /// Some bytes came from far away; there may be more.
    pub(super) fn arrived(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(super) fn blob(&self, end: End, bytes: usize) {
        let mut stats = self.stats();
        stats.blobs.count(end);
        stats.bytes_read += bytes as u64;
    }

    pub(super) fn record(&self, layer: &str, end: End, bytes: usize) {
        let mut stats = self.stats();
        stats.records.entry(layer.to_owned()).or_default().count(end);
        stats.bytes_read += bytes as u64;
    }

    /// A record that was counted as a hit names blobs that are not there.
    pub(super) fn without_blobs(&self, layer: &str) {
        let mut stats = self.stats();
        let lookups = stats.records.entry(layer.to_owned()).or_default();
        lookups.hits = lookups.hits.saturating_sub(1);
        lookups.without_blobs += 1;
    }

    pub(super) fn written(&self, bytes: u64) {
        let mut stats = self.stats();
        stats.written += 1;
        stats.bytes_written += bytes;
    }

    pub(super) fn skipped(&self) {
        self.stats().skipped += 1;
    }

    pub(super) fn failed(&self, error: &dyn std::error::Error) {
        let mut stats = self.stats();
        stats.errors += 1;
        if stats.first_error.is_none() {
            let causes = std::iter::successors(Some(error), |error| error.source());
            stats.first_error = Some(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        }
    }

    fn stats(&self) -> MutexGuard<'_, StoreStats> {
        // Numbers: a panic elsewhere leaves nothing half done in them.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
