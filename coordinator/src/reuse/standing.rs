//! Which files may be reused: the past of each in as few words as will do.
//!
//! A file without a standing has no past that we know of and is not reused, whatever is kept of it. One that was flaky (it failed and passed when it was
//! tried again, or in two runs of the same key), or that contradicted what was kept of it, is run in each of its next [`BARRED_FOR`] runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;

/// Runs of a file in which it is not reused once it was seen to be flaky.
pub const BARRED_FOR: u32 = 20;
/// Another number is started anew.
const VERSION: u16 = 1;
/// A file that was not in so many runs is forgotten.
const FORGET_AFTER: u64 = 200;

/// The standing of each file of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings {
    runs: u64,
    files: BTreeMap<String, Standing>,
}

/// A file's standing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The run that last had it.
    seen: u64,
    /// Runs in which it is not to be reused.
    #[serde(default, skip_serializing_if = "is_none")]
    barred: u32,
    /// The key that it last failed under, if it did not pass under it before or since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none(n: &u32) -> bool {
    *n == 0
}

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(rename = "splitci-standings")]
    version: u16,
    runs: u64,
    files: BTreeMap<String, Standing>,
}

impl Standing {
    /// In how many more runs the file is not to be reused.
    pub fn barred(&self) -> u32 {
        self.barred
    }
}

impl Standings {
    /// What is in these bytes; nothing if they are not ours.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(bytes).ok()?;
        (body.version == VERSION).then_some(Self { runs: body.runs, files: body.files })
    }

    /// They as bytes.
    ///
    /// # Panics
    /// Never: they are plain data with string keys, which always serialise.
    pub fn write(&self) -> Vec<u8> {
        let body = Body { version: VERSION, runs: self.runs, files: self.files.clone() };
        #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
        serde_json::to_vec(&body).expect("standings serialise")
    }

    /// What both know, the worse of each file: several machines write standings, and none waits for another. A file may be run more often for that, never less.
    pub fn join(&mut self, other: Self) {
        let runs = self.runs.max(other.runs);
        let (ours, theirs) = (runs - self.runs, runs - other.runs);
        for standing in self.files.values_mut() {
            standing.seen += ours;
        }
        self.runs = runs;
        for (file, mut theirs_of) in other.files {
            theirs_of.seen += theirs;
            match self.files.get_mut(&file) {
                None => drop(self.files.insert(file, theirs_of)),
                Some(own) => {
                    own.seen = own.seen.max(theirs_of.seen);
                    own.barred = own.barred.max(theirs_of.barred);
                    own.failed = own.failed.take().or(theirs_of.failed);
                }
            }
        }
    }

    /// A file's, if it has a past.
    pub fn of(&self, file: &str) -> Option<&Standing> {
        self.files.get(file)
    }

    /// Files of the last run that are not to be reused, and in how many more runs.
    pub fn barred(&self) -> impl Iterator<Item = (&str, u32)> {
        let last = self.files.iter().filter(|(_, standing)| standing.barred > 0 && standing.seen == self.runs);
        last.map(|(file, standing)| (&**file, standing.barred))
    }

    /// Another run begins to be learnt from.
    pub fn next_run(&mut self) {
        self.runs += 1;
        let runs = self.runs;
        self.files.retain(|_, standing| runs - standing.seen.min(runs) <= FORGET_AFTER);
    }

    /// The file was in the run, and was reused.
    pub fn reused(&mut self, file: &str) {
        self.known(file);
    }

    /// The file contradicted itself.
    pub fn bar(&mut self, file: &str) {
        let standing = self.known(file);
        (standing.barred, standing.failed) = (BARRED_FOR, None);
    }

    /// The file failed.
    pub fn failed(&mut self, file: &str, key: Option<Key>) {
        self.known(file).failed = key.map(Key::to_hex);
    }

    /// The file came to a good end at once. Says whether it may be kept for others.
    pub fn passed(&mut self, file: &str, key: Option<Key>) -> bool {
        let standing = self.known(file);
        if standing.failed.is_some() && standing.failed == key.map(Key::to_hex) {
            // It failed with all of this being the same.
            (standing.barred, standing.failed) = (BARRED_FOR, None);
            return false;
        }
        standing.barred = standing.barred.saturating_sub(1);
        standing.barred == 0
    }

    fn known(&mut self, file: &str) -> &mut Standing {
        let standing = self.files.entry(file.to_owned()).or_default();
        standing.seen = self.runs;
        standing
    }
}
