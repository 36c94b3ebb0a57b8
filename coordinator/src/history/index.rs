//! The list of runs, newest first, and what a name given by a person means.
//!
//! What is shown of a run is a fold that the caller brings; it is worked out once per record and kept in a file beside it, for a record can be
//! large and does not change any more. The kept rows are a cache: lost, damaged or of another version, they are worked out anew.

use std::path::PathBuf;
use std::sync::Arc;

use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{History, HistoryError, RecordFile, format, replace};
use crate::model::RunId;
use crate::model::event::EventKind;

/// A record in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its run.
    pub run: RunId,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its run is still going on.
    pub running: bool,
}

/// A record in the list with what a fold says of it.
#[derive(Debug)]
pub struct Row<T> {
    /// The record.
    pub entry: Entry,
    /// What the fold says; an error if the record cannot be read.
    pub row: Result<T, HistoryError>,
}

/// What is kept beside a record.
#[derive(Debug, Serialize, Deserialize)]
struct KeptRow<T> {
    splitci: String,
    bytes: u64,
    row: T,
}

impl History {
    /// All records, newest first.
    pub fn entries(&self) -> Result<Vec<Entry>, HistoryError> {
        let unreadable = |e: std::io::Error| HistoryError::State(Arc::new(e));
        let mut entries = Vec::new();
        for found in fs::read_dir(self.runs()).map_err(unreadable)? {
            let path = found.map_err(unreadable)?.path();
            entries.extend(entry(path));
        }
        entries.sort_by(|a, b| b.run.cmp(&a.run));
        Ok(entries)
    }

    /// The newest records, with what a fold says of each.
    pub fn list<T: Serialize + DeserializeOwned>(
        &self,
        most: usize,
        fold: impl Fn(&mut RecordFile) -> Result<T, HistoryError>,
    ) -> Result<Vec<Row<T>>, HistoryError> {
        let newest = self.entries()?.into_iter().take(most);
        Ok(newest.map(|entry| Row { row: self.row_of(&entry, &fold), entry }).collect())
    }

    /// The run that somebody means: its name, the beginning of its name, or `last` for the newest that is not going on and is no reproduction of
    /// another: who reproduces the last run twice means the same run.
    pub fn resolve(&self, given: &str) -> Result<RunId, HistoryError> {
        let entries = self.entries()?;
        if entries.is_empty() {
            return Err(HistoryError::NoRuns);
        }
        if given == "last" {
            let ended = entries.iter().find(|entry| !entry.running && !self.repeats_another(&entry.run)).or(entries.first());
            return ended.map(|entry| entry.run.clone()).ok_or(HistoryError::NoRuns);
        }
        let wanted = given.to_ascii_uppercase();
        let runs: Vec<_> = entries.into_iter().map(|entry| entry.run).filter(|run| run.0.starts_with(&wanted)).collect();
        match &runs[..] {
            [] => Err(HistoryError::NoSuchRun(given.to_owned())),
            [_] if given.is_empty() => Err(HistoryError::NoSuchRun(given.to_owned())),
            [one] => Ok(one.clone()),
            _ => Err(HistoryError::AmbiguousRun { given: given.to_owned(), runs }),
        }
    }

    fn repeats_another(&self, run: &RunId) -> bool {
        let first = self.read(run).ok().and_then(|mut record| record.next()?.ok());
        first.is_some_and(|first| matches!(first.kind, EventKind::RunStarted(started) if started.repeats.is_some()))
    }

    fn row_of<T: Serialize + DeserializeOwned>(
        &self,
        entry: &Entry,
        fold: impl Fn(&mut RecordFile) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let beside = self.row(&entry.run);
        let kept = fs::read(&beside).ok().and_then(|bytes| serde_json::from_slice::<KeptRow<T>>(&bytes).ok());
        if let Some(kept) = kept.filter(|kept| kept.bytes == entry.bytes && kept.splitci == env!("CARGO_PKG_VERSION")) {
            return Ok(kept.row);
        }
        let row = fold(&mut self.read(&entry.run)?)?;
        if entry.running {
            return Ok(row);
        }
        let kept = KeptRow { splitci: env!("CARGO_PKG_VERSION").to_owned(), bytes: entry.bytes, row };
        if let Ok(bytes) = serde_json::to_vec(&kept) {
            // Without it the row is worked out again next time, that is all.
            let _uncached = replace(&beside, &bytes);
        }
        Ok(kept.row)
    }
}

/// The entry for a file, if it is a record and still there.
fn entry(path: PathBuf) -> Option<Entry> {
    if path.extension()? != format::EXTENSION {
        return None;
    }
    let run = RunId(path.file_stem()?.to_str()?.to_owned());
    let file = fs::File::open(&path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let running = matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock));
    Some(Entry { run, path, bytes, running })
}
