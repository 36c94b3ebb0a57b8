//! The list of a suite, kept for runs of the same key: where every file of it is proven too, nothing has to be started to know that that is all.
//!
//! Kept is a list that the sessions of a green run made, and on which all of them agree. Where several are kept under one key and they differ, listing is a
//! matter of chance, and none of them is believed.

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::model::event::Recalled;
use crate::model::verdict::Verdict;
use crate::model::{RunId, SuiteId};
use crate::proof::Proof;

/// What is written. Another version is another number.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    key: String,
    #[serde(flatten)]
    list: Recalled,
}

const VERSION: u32 = 1;

/// What a run shows of a suite's list, if anything.
pub fn shown(proof: &Proof, suite: SuiteId, run: &RunId) -> Option<Recalled> {
    let (files, list_hash) = proof.own_list(suite).filter(|_| proof.conclusion() == Verdict::Passed)?;
    Some(Recalled { of: run.clone(), files: files.to_vec(), list_hash: list_hash.to_owned() })
}

/// As it is kept under this key.
pub fn write(list: &Recalled, key: Key) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Written { version: VERSION, key: key.to_hex(), list: list.clone() })
}

/// What is kept under this key, of all that was found there.
pub fn read(kept: &[impl AsRef<[u8]>], key: Key) -> Option<Recalled> {
    let lists = kept.iter().filter_map(|bytes| serde_json::from_slice::<Written>(bytes.as_ref()).ok());
    let mut lists: Vec<_> = lists.filter(|list| list.version == VERSION && list.key == key.to_hex()).map(|list| list.list).collect();
    lists.sort_by(|one, other| one.of.0.cmp(&other.of.0));
    let last = lists.pop()?;
    lists.iter().all(|other| (&other.files, &other.list_hash) == (&last.files, &last.list_hash)).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([7; 32]);

    fn list(of: &str, files: &[&str]) -> Vec<u8> {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        write(&Recalled { of: RunId(of.to_owned()), files, list_hash: "11".to_owned() }, KEY).expect("JSON")
    }

    #[test]
    fn the_last_of_many_that_agree_is_the_list() {
        let kept = [list("02", &["a", "b"]), list("03", &["a", "b"]), list("01", &["a", "b"])];
        assert_eq!(read(&kept, KEY).map(|list| (list.of.0, list.files.len())), Some(("03".to_owned(), 2)));
        assert_eq!(read(&Vec::<Vec<u8>>::new(), KEY), None);
    }

    #[test]
    fn lists_that_differ_are_none_nor_is_what_cannot_be_read() {
        assert_eq!(read(&[list("01", &["a", "b"]), list("02", &["a"])], KEY), None);
        assert_eq!(read(&[list("01", &["b", "a"]), list("02", &["a", "b"])], KEY), None, "the order counts");
        assert_eq!(read(&[list("01", &["a"])], Key([8; 32])), None, "another key");
        let newer = String::from_utf8(list("01", &["a"])).expect("text").replace("\"version\":1", "\"version\":2");
        assert_eq!(read(&[newer.into_bytes(), b"{}".to_vec(), Vec::new()], KEY), None);
    }
}
