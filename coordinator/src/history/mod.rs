//! The past of a project: one record per run, and what is remembered between runs. Lives in the state directory, never in the project.
//!
//! | there | is |
//! |---|---|
//! | `runs/<ulid>.splitci` | the record of a run, see [`mod@format`] |
//! | `runs/<ulid>.row` | its line in the list of runs, worked out once; may be deleted at any time |
//! | `runs/.lock` | held while records are begun or deleted |
//! | `timings.json`, `timings.lock` | how long things take |
//!
//! Several runs may use one state directory at the same time. Whoever writes a record holds a lock on it for as long as it lives, so that a
//! record that is locked is that of a running run, and one that is not and has no end is that of a killed one.

pub mod format;
mod index;
mod reader;
mod retention;
mod timings;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;

pub use index::{Entry, Row};
pub use reader::{RecordFile, RecordReader};
pub use retention::Keep;
pub use timings::{Kept, KeptTimings};
pub use writer::RecordWriter;

use crate::model::RunId;

/// The records and timings of one project.
#[derive(Debug, Clone)]
pub struct History {
    state: PathBuf,
}

impl History {
    /// The history in this state directory, which is made if need be.
    pub fn open(state: &Path) -> Result<Self, HistoryError> {
        let history = Self { state: state.to_owned() };
        fs::create_dir_all(history.runs()).map_err(|e| HistoryError::State(Arc::new(e)))?;
        Ok(history)
    }

    /// Whether records could be written here, found out by a file that is gone when this returns.
    pub fn probe(state: &Path) -> Result<(), HistoryError> {
        let there = state.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
        let probe = there.join(format!(".splitci-probe-{}", std::process::id()));
        let made = fs::OpenOptions::new().create_new(true).write(true).open(&probe).and_then(|_| fs::remove_file(&probe));
        made.map_err(|e| HistoryError::State(Arc::new(e)))
    }

    /// Begins the record of a run.
    pub fn begin(&self, run: &RunId) -> Result<RecordWriter, HistoryError> {
        let _lock = self.lock()?;
        RecordWriter::create(self.record(run))
    }

    /// Reads the record of a run, which may still be going on.
    pub fn read(&self, run: &RunId) -> Result<RecordFile, HistoryError> {
        RecordReader::open(&self.record(run))
    }

    /// Where the record of a run is.
    pub fn record(&self, run: &RunId) -> PathBuf {
        self.runs().join(format!("{run}.{}", format::EXTENSION))
    }

    fn row(&self, run: &RunId) -> PathBuf {
        self.runs().join(format!("{run}.row"))
    }

    fn runs(&self) -> PathBuf {
        self.state.join("runs")
    }

    fn lock(&self) -> Result<fs::File, HistoryError> {
        lock(&self.runs().join(".lock"))
    }
}

/// Waits until nobody else holds the lock; it ends with the file.
pub(crate) fn lock(path: &Path) -> Result<fs::File, HistoryError> {
    let taken = fs::OpenOptions::new().create(true).append(true).open(path).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    taken.map_err(|e| HistoryError::State(Arc::new(e)))
}

/// Puts a file in its place whole or not at all.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = fs::write(&beside, content).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _gone = fs::remove_file(&beside);
    }
    written
}

/// The history cannot be read or written. Causes are shared, for the writer tells the same one more than once.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HistoryError {
    /// The state directory.
    #[error("cannot use the state directory")]
    State(#[source] Arc<std::io::Error>),
    /// A record cannot be written.
    #[error("cannot write the record `{}`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// A record cannot be opened or read.
    #[error("cannot read the record `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// A file is not a record.
    #[error("`{}` is not a record of splitci", .0.display())]
    NotARecord(PathBuf),
    /// A record of a version that cannot be read.
    #[error("`{}` has format {found}, and this splitci reads {}", path.display(), format::VERSION)]
    OtherVersion {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: format::RecordVersion,
    },
    /// A frame is damaged.
    #[error("frame {frame} of `{}` is damaged", path.display())]
    DamagedFrame {
        /// Which record.
        path: PathBuf,
        /// Counts from 0.
        frame: u64,
        /// Why.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// A frame is larger than a writer would make it.
    #[error("frame {frame} of `{}` holds more than {} MiB", path.display(), format::MAX_FRAME >> 20)]
    HugeFrame {
        /// Which record.
        path: PathBuf,
        /// Counts from 0.
        frame: u64,
    },
    /// A line is not an event.
    #[error("line {line} of `{}` is not an event", path.display())]
    BadEvent {
        /// Which record.
        path: PathBuf,
        /// Counts from 1, the header included.
        line: u64,
        /// Why.
        #[source]
        cause: Arc<serde_json::Error>,
    },
    /// No run has this name.
    #[error("no run is called `{0}`")]
    NoSuchRun(String),
    /// Several runs have names that begin like this.
    #[error("`{given}` is the beginning of {} runs", runs.len())]
    AmbiguousRun {
        /// What was asked for.
        given: String,
        /// What it could mean, newest first.
        runs: Vec<RunId>,
    },
    /// There is no run yet.
    #[error("there is no record of any run")]
    NoRuns,
}

impl HistoryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::State(_) => Some("set `SPLITCI_STATE` or `--state` to a directory that can be written".to_owned()),
            Self::Write { .. } => Some("make room on its disk, or set `--state` to a directory on another one".to_owned()),
            Self::OtherVersion { .. } => Some("read it with the splitci that wrote it, or a newer one".to_owned()),
            Self::NoSuchRun(_) => Some("list the runs with `splitci runs`".to_owned()),
            Self::AmbiguousRun { runs, .. } => {
                Some(format!("name one of them in full: {}", runs.iter().take(5).map(|run| &*run.0).collect::<Vec<_>>().join(", ")))
            }
            Self::NoRuns => Some("start one with `splitci run`".to_owned()),
            Self::DamagedFrame { .. } | Self::HugeFrame { .. } | Self::BadEvent { .. } | Self::NotARecord(_) | Self::Read { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
