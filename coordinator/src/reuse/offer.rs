//! What a run may reuse of what is kept, and what it runs all the same: canaries.
//!
//! Offered is what is fresh, of a file with a past and no bar. Of the offered files that are listed, a few are run as canaries, among all others: which is
//! drawn by the run's name, so that it is other files in each run.

use std::collections::BTreeMap;

use super::key::Key;
use super::pack::Pack;
use super::standing::Standings;
use crate::model::event::Proven;
use crate::model::{RunId, SuiteId};

/// What may be reused in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    files: BTreeMap<String, Proven>,
    /// What is kept and not offered, by why.
    pub withheld: Withheld,
}

/// How many files are kept and not offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Too old, or from the future.
    pub stale: usize,
    /// Of no known past.
    pub unknown: usize,
}

/// A choice from an offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Not run, in the order of the lists.
    pub reused: Vec<Proven>,
    /// Run all the same.
    pub canaries: Vec<Proven>,
}

impl Offer {
    /// Adds what is kept of a suite. `record` says whether a run's record is at hand.
    pub fn add(&mut self, suite: SuiteId, kept: (&Pack, Key), (standings, now_ms): (&Standings, u64), record: impl Fn(&RunId) -> bool) {
        let (pack, key) = kept;
        let mut records = BTreeMap::new();
        for (file, entry) in &pack.files {
            match standings.of(file) {
                _ if !entry.is_fresh(now_ms) => self.withheld.stale += 1,
                None => self.withheld.unknown += 1,
                // What barred them is told by their standings.
                Some(standing) if standing.barred() > 0 => {}
                Some(_) => {
                    let record = *records.entry(&entry.of).or_insert_with(|| record(&entry.of));
                    self.files.insert(file.clone(), entry.proven(suite, file, key, record));
                }
            }
        }
    }

    /// Whether this file may be reused.
    pub fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// What of these files is reused in a run, and what is a canary: so many of a hundred, and one at least unless there are to be none.
    pub fn choose(&self, suites: &[Vec<String>], run: &RunId, canaries_percent: u32) -> Choice {
        let listed = (0..).map(SuiteId).zip(suites).flat_map(|(suite, files)| files.iter().map(move |file| (suite, file)));
        let offered: Vec<&Proven> = listed.filter_map(|(suite, file)| self.files.get(file).filter(|known| known.suite == suite)).collect();
        let percent = usize::try_from(canaries_percent.min(100)).unwrap_or(100);
        let number = (offered.len() * percent).div_ceil(100);
        let mut drawn: Vec<_> = offered.iter().map(|known| (lot(run, &known.file), &*known.file)).collect();
        drawn.sort_unstable();
        let drawn: std::collections::BTreeSet<&str> = drawn.into_iter().take(number).map(|(_, file)| file).collect();
        let mut choice = Choice::default();
        for known in offered {
            let side = if drawn.contains(&*known.file) { &mut choice.canaries } else { &mut choice.reused };
            side.push(known.clone());
        }
        choice
    }
}

/// A file's lot in a run.
fn lot(run: &RunId, file: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("splitci canaries v1");
    hasher.update(&(run.0.len() as u64).to_le_bytes()).update(run.0.as_bytes()).update(file.as_bytes());
    *hasher.finalize().as_bytes()
}
