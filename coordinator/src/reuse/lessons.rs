//! What a finished run teaches: which files may be reused from now on, and which not any more.
//!
//! Kept is a file whose tests all passed or skipped themselves at the first attempt, in sessions that closed in order, of a run whose record contradicts itself
//! nowhere. Whatever was run is held against what is kept of it, canary or not: where the two differ, what is kept goes and the file is barred.

use std::collections::{BTreeMap, BTreeSet};

use super::key::Key;
use super::pack::{Entry, Pack};
use super::standing::Standings;
use crate::model::event::ProvenTest;
use crate::model::{RunId, SuiteId};
use crate::proof::{Canary, Proof};

/// What a run shows of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lessons {
    run: RunId,
    at: String,
    at_ms: u64,
    files: Vec<(SuiteId, String, Shown)>,
}

/// What a run shows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    /// It was reused.
    Reused,
    /// All its tests came to an end at once, none of them bad.
    Good(Vec<ProvenTest>),
    /// It failed, and not only at first.
    Bad,
    /// It failed, and passed when it was tried again; or it did not do what it was proven to do.
    Contradiction,
    /// Nothing that would be certain.
    Nothing,
}

impl Lessons {
    /// Those of a run with this name, which began then.
    pub fn of(proof: &Proof, run: &RunId, at: &str, at_ms: u64) -> Self {
        let flaky: BTreeSet<&str> = proof.tests().filter(|view| view.flaky).map(|view| view.unit_file).collect();
        let differing: BTreeSet<&str> =
            proof.canaries().filter(|(_, canary)| *canary == Canary::Differs).map(|(known, _)| &*known.file).collect();
        let reused: BTreeSet<&str> = proof.reused().map(|known| &*known.file).collect();
        let shown = |file: &str| match () {
            // A record that contradicts itself shows nothing.
            () if !proof.faults().is_empty() => Shown::Nothing,
            () if reused.contains(file) => Shown::Reused,
            () if flaky.contains(file) || differing.contains(file) => Shown::Contradiction,
            () => of_file(proof, file),
        };
        let files = proof.files().map(|(suite, file)| (suite, file.clone(), shown(file))).collect();
        Self { run: run.clone(), at: at.to_owned(), at_ms, files }
    }

    /// Takes them in: changes what is kept under each suite's key, and the files' standings. Returns the files of which something else was kept.
    pub fn teach(&self, keys: &BTreeMap<SuiteId, Key>, packs: &mut BTreeMap<SuiteId, Pack>, standings: &mut Standings) -> Vec<String> {
        standings.next_run();
        let mut contradicted = Vec::new();
        for (suite, file, shown) in &self.files {
            let (key, pack) = (keys.get(suite).copied(), packs.entry(*suite).or_default());
            let kept = pack.files.get(file);
            let contradicts = match shown {
                Shown::Contradiction => true,
                Shown::Bad => kept.is_some(),
                Shown::Good(tests) => kept.is_some_and(|kept| !kept.says(tests)),
                Shown::Reused | Shown::Nothing => false,
            };
            if contradicts {
                contradicted.extend(kept.map(|_| file.clone()));
                pack.take_back(file, self.at_ms);
                standings.bar(file);
                continue;
            }
            match shown {
                Shown::Reused => standings.reused(file),
                Shown::Bad => standings.failed(file, key),
                Shown::Good(tests) => {
                    let may_be_kept = standings.passed(file, key);
                    let entry = Entry::of(&self.run, &self.at, self.at_ms, tests);
                    match entry.filter(|_| may_be_kept) {
                        Some(entry) => drop(pack.files.insert(file.clone(), entry)),
                        None => pack.take_back(file, self.at_ms),
                    }
                }
                Shown::Contradiction | Shown::Nothing => {}
            }
        }
        for pack in packs.values_mut() {
            pack.expire(self.at_ms);
        }
        contradicted
    }
}

fn of_file(proof: &Proof, file: &str) -> Shown {
    let Some(ran) = proof.file_run(file) else { return Shown::Nothing };
    match ran.tests {
        _ if ran.bad => Shown::Bad,
        Some(tests) if ran.straight => {
            let test = |(id, outcome, micros): (&str, _, _)| ProvenTest { id: id.to_owned(), outcome, micros };
            Shown::Good(tests.into_iter().map(test).collect())
        }
        Some(_) | None => Shown::Nothing,
    }
}
