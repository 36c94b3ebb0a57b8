//! Which records are kept: the newest, up to a number and a size. Never deletes the record of a running run, nor the newest of all.

use std::sync::Arc;

use fs_err as fs;

use super::index::Entry;
use super::{History, HistoryError};
use crate::model::RunId;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Most records.
    pub records: usize,
    /// Most bytes of all records together.
    pub bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { records: 50, bytes: 1 << 30 }
    }
}

impl History {
    /// Deletes the oldest records beyond the limit, and says which.
    pub fn retain(&self, keep: Keep) -> Result<Vec<RunId>, HistoryError> {
        let _lock = self.lock()?;
        let (mut records, mut bytes) = (0, 0_u64);
        let mut deleted = Vec::new();
        for entry in self.entries()? {
            records += 1;
            bytes = bytes.saturating_add(entry.bytes);
            let fits = records <= keep.records && bytes <= keep.bytes;
            if fits || records == 1 || entry.running {
                continue;
            }
            self.delete(&entry)?;
            deleted.push(entry.run);
        }
        Ok(deleted)
    }

    fn delete(&self, entry: &Entry) -> Result<(), HistoryError> {
        fs::remove_file(&entry.path).map_err(|e| HistoryError::State(Arc::new(e)))?;
        // Most records have none.
        let _none = fs::remove_file(self.row(&entry.run));
        Ok(())
    }
}
