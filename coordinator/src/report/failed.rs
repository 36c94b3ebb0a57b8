//! The failed tests of a run, for a run that runs only those.

use std::collections::{BTreeMap, BTreeSet};

use crate::proof::{LOADING, Proof};

/// What is to be run again of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFile {
    /// The file.
    pub file: String,
    /// Ids of its failed tests, each once; none when the file itself could not be loaded, which means all of it.
    pub ids: Vec<String>,
}

/// Files with failures in the manifest's order, each once. Tests that were not proven are not among them: nothing is known against them.
pub fn failed(proof: &Proof) -> Vec<FailedFile> {
    let mut files: Vec<FailedFile> = Vec::new();
    let mut places = BTreeMap::new();
    let mut whole = BTreeSet::new();
    let mut known = BTreeSet::new();
    for failure in proof.failures() {
        let place = *places.entry(failure.unit_file).or_insert_with(|| {
            files.push(FailedFile { file: failure.unit_file.to_owned(), ids: Vec::new() });
            files.len() - 1
        });
        // A file that cannot be loaded is a test named after it.
        if failure.test.ordinal == LOADING || failure.id == failure.unit_file {
            whole.insert(place);
        }
        if let Some(file) = files.get_mut(place).filter(|_| known.insert((place, failure.id))) {
            file.ids.push(failure.id.to_owned());
        }
    }
    for place in whole {
        if let Some(file) = files.get_mut(place) {
            file.ids.clear();
        }
    }
    files
}
