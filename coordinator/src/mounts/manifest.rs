//! What is in a saved mount: every name with its owner, times and permissions, and where the bytes of each file are.
//!
//! Pure. Whoever wrote a manifest may have been hostile or broken: it is taken as a whole or refused as a whole, before a single byte of it is restored.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use splitci_worker::protocol::mounts::{Entry, Kind, is_below, leads_below};

use super::MountError;
use crate::content::Digest;

/// Most files and directories of a mount.
pub const MOST_ENTRIES: usize = 200_000;
/// Most bytes of all its files.
pub const MOST_BYTES: u64 = 8 << 30;
/// Most bytes of a manifest.
pub const MOST_OF_A_MANIFEST: u64 = 128 << 20;
/// The only version that is read.
const VERSION: u32 = 1;

/// The contents of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// Everything, a directory before what it holds.
    pub items: Vec<Item>,
}

/// Something in a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it is.
    pub entry: Entry,
    /// Where its bytes are, if it has any.
    pub bytes: Option<Bytes>,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Their hash.
    pub hash: Digest,
    /// The blob that they are in.
    pub blob: Digest,
    /// Where they begin there.
    pub offset: u64,
}

impl Item {
    /// Its length, if it is a file.
    pub fn length(&self) -> u64 {
        if let Kind::File { length } = self.entry.kind { length } else { 0 }
    }
}

impl Manifest {
    /// Of these things.
    pub fn new(items: Vec<Item>) -> Self {
        Self { version: VERSION, items }
    }

    /// As bytes.
    pub fn encode(&self) -> Result<Vec<u8>, MountError> {
        Ok(serde_json::to_vec(self).map_err(std::io::Error::from)?)
    }

    /// Reads and looks over one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MountError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| MountError::Refused(format!("it cannot be read: {error}")))?;
        manifest.check().map_err(MountError::Refused)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it has the format {}, and this splitci knows {VERSION}", self.version));
        }
        if self.items.len() > MOST_ENTRIES {
            return Err(format!("it has {} entries", self.items.len()));
        }
        let (mut total, mut seen) = (0_u64, HashMap::new());
        for item in &self.items {
            let Entry { path, mode, kind, .. } = &item.entry;
            let wrong = |what: &str| Err(format!("`{}` {what}", path.escape_debug()));
            if !is_below(path) {
                return wrong("does not stay in the mount");
            }
            if mode & !0o1777 != 0 {
                return wrong("would change its user");
            }
            if let Some((parent, _)) = path.rsplit_once('/')
                && seen.get(parent) != Some(&true)
            {
                return wrong("lies in no directory");
            }
            if seen.insert(path.as_str(), *kind == Kind::Directory).is_some() {
                return wrong("is there twice");
            }
            match (kind, &item.bytes) {
                (Kind::Link { to }, _) if !leads_below(path, to) => return wrong("is a link that leads out of the mount"),
                (Kind::File { length: 1.. }, None) => return wrong("has no bytes"),
                (Kind::File { length }, Some(bytes)) if bytes.offset.checked_add(*length).is_none() => return wrong("lies nowhere"),
                _ => {}
            }
            total = total.saturating_add(item.length());
            if total > MOST_BYTES {
                return Err(format!("it has more than {MOST_BYTES} bytes"));
            }
        }
        Ok(())
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(Item::length).sum()
    }

    /// The blobs that it needs, each once.
    pub fn blobs(&self) -> Vec<Digest> {
        let all: BTreeSet<Digest> = self.items.iter().filter_map(|item| Some(item.bytes?.blob)).collect();
        all.into_iter().collect()
    }

    /// In the order in which it is restored: directories, then files blob by blob, then links.
    pub fn in_order(&self) -> Vec<&Item> {
        let rank = |item: &Item| match item.entry.kind {
            Kind::Directory => 0,
            Kind::File { .. } => 1,
            Kind::Link { .. } => 2,
        };
        let mut items: Vec<&Item> = self.items.iter().collect();
        items.sort_by_key(|item| (rank(item), item.bytes.map(|bytes| (bytes.blob, bytes.offset))));
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, mode: u32, kind: Kind) -> Item {
        let bytes = matches!(kind, Kind::File { length: 1.. }).then(|| Bytes { hash: Digest::of(b"x"), blob: Digest::of(b"x"), offset: 0 });
        Item { entry: Entry { path: path.into(), mode, uid: 0, gid: 0, modified: 0, kind }, bytes }
    }

    fn file(path: &str, length: u64) -> Item {
        item(path, 0o644, Kind::File { length })
    }

    fn read(items: Vec<Item>) -> Result<Manifest, MountError> {
        Manifest::decode(&Manifest::new(items).encode().expect("plain data"))
    }

    #[test]
    fn an_honest_one_is_read_again() {
        let link = Kind::Link { to: "../f".into() };
        let items = vec![file("f", 1), item("d", 0o1777, Kind::Directory), item("d/l", 0o777, link), file("d/e", 0)];
        let manifest = read(items.clone()).expect("good");
        assert_eq!((manifest.items.clone(), manifest.bytes(), manifest.blobs().len()), (items, 1, 1));
        let order: Vec<_> = manifest.in_order().iter().map(|item| item.entry.path.as_str()).collect();
        assert_eq!(order, ["d", "d/e", "f", "d/l"]);
    }

    #[test]
    fn a_hostile_one_is_refused_as_a_whole() {
        let link = |path: &str, to: &str| item(path, 0o777, Kind::Link { to: to.into() });
        let directory = || item("d", 0o755, Kind::Directory);
        let hostile = [
            (vec![file("../x", 0)], "stay"),
            (vec![file("/etc/passwd", 0)], "stay"),
            (vec![directory(), file("d/../../x", 0)], "stay"),
            (vec![file("", 0)], "stay"),
            (vec![link("l", "/etc")], "leads out"),
            (vec![directory(), link("d/l", "../../x")], "leads out"),
            (vec![link("l", "d"), file("l/x", 0)], "no directory"),
            (vec![file("f", 0), file("f/x", 0)], "no directory"),
            (vec![file("d/x", 0), directory()], "no directory"),
            (vec![file("f", 0), file("f", 0)], "twice"),
            (vec![item("s", 0o4755, Kind::File { length: 0 })], "user"),
            (vec![item("s", 0o2755, Kind::Directory)], "user"),
            (vec![file("a", MOST_BYTES), file("b", 1)], "bytes"),
            (vec![file("a", u64::MAX), file("b", u64::MAX)], "bytes"),
            (vec![Item { bytes: None, ..file("a", 1) }], "no bytes"),
            ((0..=MOST_ENTRIES).map(|number| file(&number.to_string(), 0)).collect(), "entries"),
        ];
        for (items, why) in hostile {
            let all = [vec![file("good", 1)], items].concat();
            let error = read(all.clone()).expect_err("hostile").to_string();
            assert!(error.contains(why), "{:?}: {error}", all.last());
        }
        for text in [
            "",
            "{}",
            r#"{"version":2,"items":[]}"#,
            r#"{"version":1,"items":[{"entry":{"path":"d","mode":420,"uid":0,"gid":0,"modified":0,"kind":{"device":{"number":1}}}}]}"#,
        ] {
            assert!(Manifest::decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
