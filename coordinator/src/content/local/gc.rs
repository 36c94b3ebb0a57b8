//! Makes room in a directory store: one process at a time, and never in the way of those who read and write.
//!
//! Records go before the blobs that they name. A blob is put aside first, then all leases are read again, and what somebody leased meanwhile gets its
//! name back; a reader that has it open reads on. What was used since the plan was made stays. The same walk lists what is there, for
//! those who only look.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use super::evict::{self, Entry, Kept, Limit, Why};
use super::files::Files;
use super::{Access, LocalStore, lease};
use crate::content::{Digest, StoreError, envelope};

/// The limit where nobody sets one: as much as that, or the tenth part of the disk, whichever is less.
const MOST: u64 = 10_000_000_000;
const PART_OF_THE_DISK: u64 = 10;
/// What was used within this time is probably used again in a moment.
const GRACE: Duration = Duration::from_hours(1);
/// Blocks of the file systems that people have.
const BLOCK: u64 = 4096;
/// So many blobs are put aside before the leases are read again.
const AT_A_TIME: usize = 256;

/// Whether anything goes, or is only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Things go.
    Delete,
    /// Nothing is touched.
    DryRun,
}

/// What was there, and what went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Entries that were there.
    pub entries: usize,
    /// Room that they took.
    pub bytes: u64,
    /// Room by level of the records; blobs that no record names have none.
    pub levels: BTreeMap<String, u64>,
    /// What went, or would: in this order.
    pub gone: Vec<(Entry, Why)>,
    /// Room that this made, or would.
    pub freed: u64,
    /// How long ago the coldest entry that stays was used: if this is short, the limit is too small.
    pub coldest: Option<Duration>,
}

impl Limit {
    /// The limit for a store in this directory, where nobody sets one.
    pub fn for_disk(directory: &Path) -> Result<Self, StoreError> {
        let there = directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
        let disk = rustix::fs::statvfs(there).map_err(std::io::Error::from)?;
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        Ok(Self::of(MOST.min(size / PART_OF_THE_DISK)))
    }

    /// So many bytes.
    pub fn of(bytes: u64) -> Self {
        Self { bytes, grace: GRACE }
    }
}

impl LocalStore {
    /// Makes room, unless another process is about it: then nothing.
    pub async fn collect(&self, limit: Limit, sweep: Sweep) -> Result<Option<Collected>, StoreError> {
        self.aside(move |files| collect(files, limit, sweep)).await
    }

    /// Everything that is there.
    pub async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        self.aside(|files| Ok(walk(files.root())?)).await
    }
}

/// Makes room at once because the disk is full, whatever the limit. Says whether there is any.
pub(super) fn make_room(files: &Files) -> bool {
    let used: u64 = walk(files.root()).map_or(0, |entries| entries.iter().map(|entry| entry.bytes).sum());
    let limit = Limit { bytes: used / 4 * 3, grace: GRACE };
    matches!(collect(files, limit, Sweep::Delete), Ok(Some(collected)) if collected.freed > 0)
}

fn collect(files: &Files, limit: Limit, sweep: Sweep) -> Result<Option<Collected>, StoreError> {
    let root = files.root();
    let deletes = sweep == Sweep::Delete && files.access() == Access::ReadWrite;
    let _only_one = if deletes {
        let lock = fs::OpenOptions::new().create(true).append(true).open(root.join("gc.lock"))?;
        if matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            return Ok(None);
        }
        tidy(root)?;
        Some(lock)
    } else {
        None
    };
    let now = SystemTime::now();
    let entries = walk(root)?;
    let going = evict::plan(&entries, &held(root, &entries)?, limit, now);
    let mut collected = Collected { entries: entries.len(), levels: evict::by_level(&entries), ..Collected::default() };
    collected.bytes = entries.iter().map(|entry| entry.bytes).sum();
    let gone: Vec<usize> = if deletes { delete(root, &entries, &going)? } else { going.iter().map(|(at, _)| *at).collect() };
    let gone: HashSet<usize> = gone.into_iter().collect();
    collected.gone = going.iter().filter(|(at, _)| gone.contains(at)).map(|(at, why)| (entries[*at].clone(), *why)).collect();
    collected.freed = collected.gone.iter().map(|(entry, _)| entry.bytes).sum();
    let stays = entries.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, entry)| entry.used);
    collected.coldest = stays.min().map(|used| now.duration_since(used).unwrap_or_default());
    Ok(Some(collected))
}

/// What is leased, and what records name that are leased by their keys.
fn held(root: &Path, entries: &[Entry]) -> Result<HashSet<Digest>, StoreError> {
    let mut held = leases(root)?;
    let of_held = |entry: &Entry| match &entry.what {
        Kept::Record { key, blobs, .. } if held.contains(key) => blobs.clone(),
        _ => Vec::new(),
    };
    let named: Vec<Digest> = entries.iter().flat_map(of_held).collect();
    held.extend(named);
    Ok(held)
}

fn leases(root: &Path) -> Result<HashSet<Digest>, StoreError> {
    match lease::leased(&root.join("leases")) {
        Ok(leased) => Ok(leased),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) => Err(error.into()),
    }
}

/// Deletes what dead processes did not finish writing, or deleting.
fn tidy(root: &Path) -> Result<(), StoreError> {
    for process in names(&root.join("tmp"))? {
        if let Ok(lock) = fs::File::open(&process)
            && !lease::is_held(&lock)
        {
            let _left = fs::remove_dir_all(&process);
        }
    }
    for rest in names(&root.join("trash"))? {
        let _left = fs::remove_file(&rest).or_else(|_| fs::remove_dir_all(&rest));
    }
    Ok(())
}

/// Deletes what should go, and says what went.
fn delete(root: &Path, entries: &[Entry], going: &[(usize, Why)]) -> Result<Vec<usize>, StoreError> {
    let (mut gone, mut blobs) = (Vec::new(), Vec::new());
    for (at, _) in going {
        let path = path(root, &entries[*at].what);
        match &entries[*at].what {
            Kept::Record { .. } if is_unused_since(&path, &entries[*at]) && fs::remove_file(&path).is_ok() => gone.push(*at),
            Kept::Record { .. } => {}
            Kept::Blob(digest) => blobs.push((*at, *digest, path)),
        }
    }
    for some in blobs.chunks(AT_A_TIME) {
        gone.extend(delete_blobs(root, entries, some)?);
    }
    Ok(gone)
}

fn delete_blobs(root: &Path, entries: &[Entry], blobs: &[(usize, Digest, PathBuf)]) -> Result<Vec<usize>, StoreError> {
    let mut aside = Vec::new();
    for (at, digest, path) in blobs {
        let trash = root.join("trash").join(ulid::Ulid::generate().to_string());
        if is_unused_since(path, &entries[*at]) && fs::rename(path, &trash).is_ok() {
            aside.push((*at, digest, path, trash));
        }
    }
    let leased = held(root, entries)?;
    let mut gone = Vec::new();
    for (at, digest, path, trash) in aside {
        if leased.contains(digest) {
            let _lost = fs::rename(&trash, path);
        } else if fs::remove_file(&trash).is_ok() {
            gone.push(at);
        }
    }
    Ok(gone)
}

fn is_unused_since(path: &Path, entry: &Entry) -> bool {
    fs::metadata(path).and_then(|about| about.modified()).is_ok_and(|used| used == entry.used)
}

/// Where an entry is.
pub(super) fn path(root: &Path, what: &Kept) -> PathBuf {
    let (directory, digest) = match what {
        Kept::Blob(digest) => (root.join("cas"), digest),
        Kept::Record { layer, space, key, .. } => (root.join("rec").join(layer).join(space), key),
    };
    let hex = digest.to_hex();
    directory.join(&hex[..2]).join(&hex[2..])
}

/// Lists all entries. Records first: the blobs of one that is seen were there before.
pub(super) fn walk(root: &Path) -> std::io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for layer in names(&root.join("rec"))? {
        for space in names(&layer)? {
            for (key, path) in digests(&space)? {
                let what = |blobs| Kept::Record { layer: name(&layer), space: name(&space), key, blobs };
                let named = fs::read(&path).ok().and_then(|kept| envelope::named_blobs(&kept)).unwrap_or_default();
                entries.extend(entry(&path, what(named)));
            }
        }
    }
    for (digest, path) in digests(&root.join("cas"))? {
        entries.extend(entry(&path, Kept::Blob(digest)));
    }
    Ok(entries)
}

/// What is there of a file, unless it went meanwhile.
fn entry(path: &Path, what: Kept) -> Option<Entry> {
    let about = fs::symlink_metadata(path).ok()?;
    Some(Entry { what, bytes: about.len().div_ceil(BLOCK).max(1) * BLOCK, used: about.modified().ok()? })
}

/// Files below a directory whose names are digests.
fn digests(directory: &Path) -> std::io::Result<Vec<(Digest, PathBuf)>> {
    let mut found = Vec::new();
    for part in names(directory)? {
        for path in names(&part)? {
            found.extend(Digest::parse(&(name(&part) + &name(&path))).map(|digest| (digest, path)));
        }
    }
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a directory; nothing if there is none.
fn names(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(found) => found.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
