//! What was saved last from a mount of this engine: a file that looks the same has the same bytes, and is not read again.
//!
//! A file looks the same if length, time of content, inode, and time of any change do. The last one cannot be set by anybody; but a file that changed in the very
//! moment in which it was looked at could change again within the same tick of the clock, so young ones are not remembered.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use splitci_worker::protocol::mounts::{Kind, Seen};

use crate::content::Digest;

/// How old a change must be, in nanoseconds.
const SETTLED: i64 = 1_000_000_000;

/// The table of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    files: HashMap<String, (Look, Digest)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    length: u64,
    modified: i64,
    changed: i64,
    inode: u64,
}

fn look(seen: &Seen) -> Option<Look> {
    let Kind::File { length } = seen.entry.kind else { return None };
    Some(Look { length, modified: seen.entry.modified, changed: seen.changed, inode: seen.inode })
}

impl Table {
    /// An empty one if it is lost.
    pub(super) fn load(path: &Path) -> Self {
        fs_err::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(super) fn store(&self, path: &Path) {
        if let Ok(bytes) = serde_json::to_vec(self) {
            super::keep(path, &bytes);
        }
    }

    /// The hash of a file's bytes, if it is as it was.
    pub(super) fn hash(&self, seen: &Seen) -> Option<Digest> {
        let (before, hash) = self.files.get(&seen.entry.path)?;
        (look(seen)? == *before).then_some(*hash)
    }

    /// Remembers a file that was looked at `now`, by the clock that its times are of.
    pub(super) fn remember(&mut self, seen: &Seen, hash: Digest, now: i64) {
        if let Some(look) = look(seen).filter(|look| look.changed < now.saturating_sub(SETTLED)) {
            self.files.insert(seen.entry.path.clone(), (look, hash));
        }
    }
}

#[cfg(test)]
mod tests {
    use splitci_worker::protocol::mounts::Entry;

    use super::*;

    fn seen(length: u64, changed: i64) -> Seen {
        let entry = Entry { path: "a".into(), mode: 0o644, uid: 0, gid: 0, modified: 5, kind: Kind::File { length } };
        Seen { entry, changed, inode: 7 }
    }

    #[test]
    fn a_file_is_known_as_long_as_nothing_of_it_changed() {
        let (hash, mut table) = (Digest::of(b"x"), Table::default());
        table.remember(&seen(1, 10), hash, 10 + SETTLED);
        assert_eq!(table.hash(&seen(1, 10)), None, "it may change again in this moment");
        table.remember(&seen(1, 10), hash, 11 + SETTLED);
        assert_eq!(table.hash(&seen(1, 10)), Some(hash));
        assert_eq!(table.hash(&seen(1, 11)), None, "same length, content time put back");
        assert_eq!(table.hash(&seen(2, 10)), None);
        assert_eq!(table.hash(&Seen { inode: 8, ..seen(1, 10) }), None);
    }
}
