//! Keeps what a plan knows of the past between runs. What it is, is the plan's business; here it is data with a version.
//!
//! The file may be lost at any moment with no harm but time: a damaged one, or one of another version, is started anew, and the caller is told.
//! Two runs that end at the same time both get their say: whoever updates holds a lock, and what it updates is what is in the file then.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{History, HistoryError, lock, replace};

/// Another number is started anew.
const VERSION: u16 = 1;

/// Timings that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// What is known.
    pub timings: T,
    /// What the user should know: that they were started anew, and why.
    pub notice: Option<String>,
}

/// A file with timings: the one in the state directory, or one named with `--history`.
#[derive(Debug, Clone)]
pub struct KeptTimings {
    path: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct TimingsFile<T> {
    #[serde(rename = "splitci-timings")]
    version: u16,
    timings: T,
}

impl History {
    /// The timings of the project.
    pub fn timings(&self) -> KeptTimings {
        KeptTimings::at(self.state.join("timings.json"))
    }
}

impl KeptTimings {
    /// Timings in this file.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known. Nothing, with a notice, if the file cannot be used.
    pub fn load<T: DeserializeOwned + Default>(&self) -> Kept<T> {
        let anew = |why: &str| Kept {
            timings: T::default(),
            notice: Some(format!("durations of earlier runs are not known: `{}` {why}", self.path.display())),
        };
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Kept { timings: T::default(), notice: None },
            Err(_) => return anew("cannot be read"),
        };
        match serde_json::from_slice::<TimingsFile<T>>(&bytes) {
            Ok(file) if file.version == VERSION => Kept { timings: file.timings, notice: None },
            Ok(_) => anew("is of another version"),
            Err(_) => anew("is damaged"),
        }
    }

    /// Changes what is known.
    pub fn update<T>(&self, change: impl FnOnce(&mut T)) -> Result<(), HistoryError>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let _lock = lock(&self.path.with_extension("lock"))?;
        let mut timings = self.load::<T>().timings;
        change(&mut timings);
        let written = serde_json::to_vec(&TimingsFile { version: VERSION, timings }).map_err(std::io::Error::from);
        let written = written.and_then(|bytes| replace(&self.path, &bytes));
        written.map_err(|e| HistoryError::State(Arc::new(e)))
    }
}
