//! Walks a directory with several threads, a directory at a time each, and puts what they found in the order of names.
//!
//! Per file this costs one call to the kernel, relative to its open directory. Links are not followed, sockets are left out, and what vanishes
//! between being listed and being looked at was not there. What is remembered of a file's content is looked up on the way.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use super::stamp::Stamp;
use super::table::{Cursor, Known, Table};
use super::{ContextError, Entry, EntryKind};
use crate::image::ignore::{Ignore, Matched};

/// Bytes of a directory that are listed in one go.
const LISTED: usize = 64 << 10;
/// More threads wait for each other, and for the kernel.
const MOST_THREADS: usize = 4;

/// What is walked, and by which rules.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) patterns: &'a Ignore,
    pub(super) table: &'a Table,
}

/// What else is known of an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) stamp: Stamp,
    /// Its content, if it is remembered.
    pub(super) known: Option<Known>,
    /// Whether it may be remembered: its file system keeps its times as it should.
    pub(super) keeps: bool,
    /// Hash of its extended attributes, if it is a file that was read and has any that count.
    pub(super) attributes: Option<[u8; 32]>,
}

/// Entries, a directory before what it holds, and what else is known of each.
pub(super) type Walked = (Vec<Entry>, Vec<Seen>);

/// A directory that waits for somebody to list it.
struct Task {
    slot: usize,
    path: Vec<u8>,
    matched: Matched,
    /// It is excluded itself: it is there only if something in it is not.
    excluded: bool,
}

/// What is directly in a directory, in the order of names.
#[derive(Default)]
struct Listing {
    items: Vec<Item>,
}

struct Item {
    entry: Entry,
    seen: Seen,
    below: Below,
}

/// What comes after an entry.
enum Below {
    Nothing,
    /// A directory that is excluded and holds nothing that is not.
    Excluded,
    /// A directory that somebody has to list; its place among the listings once it is given out.
    Directory {
        slot: usize,
        matched: Matched,
        excluded: bool,
    },
}

struct Queue {
    waiting: Vec<Task>,
    working: usize,
    listings: Vec<Option<Listing>>,
    failed: Option<ContextError>,
}

/// What a thread uses again and again.
struct Scratch {
    buffer: Vec<MaybeUninit<u8>>,
    names: Vec<u8>,
    spans: Vec<(usize, usize)>,
    /// Devices, and whether they keep times as they should.
    devices: Vec<(u64, bool)>,
}

/// Everything below the root that is not excluded.
pub(super) fn walk(walk: &Walk<'_>) -> Result<Walked, ContextError> {
    let first = Task { slot: 0, path: Vec::new(), matched: Matched::default(), excluded: false };
    let queue = Mutex::new(Queue { waiting: vec![first], working: 0, listings: vec![None], failed: None });
    let changed = Condvar::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| work(walk, &queue, &changed));
        }
        work(walk, &queue, &changed);
    });
    let mut queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = queue.failed {
        return Err(error);
    }
    let mut walked = Walked::default();
    assemble(0, &mut queue.listings, &mut walked);
    Ok(walked)
}

/// Lists directories until there are none left.
fn work(walk: &Walk<'_>, queue: &Mutex<Queue>, changed: &Condvar) {
    let mut scratch = Scratch { buffer: vec![MaybeUninit::uninit(); LISTED], names: Vec::new(), spans: Vec::new(), devices: Vec::new() };
    let mut locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if locked.failed.is_some() || (locked.waiting.is_empty() && locked.working == 0) {
            changed.notify_all();
            return;
        }
        let Some(task) = locked.waiting.pop() else {
            locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        locked.working += 1;
        drop(locked);
        let listed = walk.list(&task, &mut scratch);
        locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
        locked.working -= 1;
        match listed {
            Ok(listing) => give_out(listing, task.slot, &mut locked),
            Err(error) => locked.failed = Some(error),
        }
        if locked.waiting.len() > 1 || locked.working == 0 {
            changed.notify_all();
        }
    }
}

/// Puts a listing in its place and its directories among those that wait.
fn give_out(mut listing: Listing, at: usize, queue: &mut Queue) {
    for item in &mut listing.items {
        if let Below::Directory { slot, matched, excluded } = &mut item.below {
            *slot = queue.listings.len();
            queue.listings.push(None);
            queue.waiting.push(Task { slot: *slot, path: item.entry.path.clone(), matched: std::mem::take(matched), excluded: *excluded });
        }
    }
    queue.listings[at] = Some(listing);
}

/// Puts everything in the order of names.
fn assemble(slot: usize, listings: &mut [Option<Listing>], walked: &mut Walked) {
    let listing = listings.get_mut(slot).and_then(Option::take).unwrap_or_default();
    for Item { entry, seen, below } in listing.items {
        let here = walked.0.len();
        walked.0.push(entry);
        walked.1.push(seen);
        match below {
            Below::Nothing => {}
            Below::Excluded => drop((walked.0.pop(), walked.1.pop())),
            Below::Directory { slot, excluded, .. } => {
                assemble(slot, listings, walked);
                if excluded && walked.0.len() == here + 1 {
                    drop((walked.0.pop(), walked.1.pop()));
                }
            }
        }
    }
}

impl Walk<'_> {
    fn list(&self, task: &Task, scratch: &mut Scratch) -> Result<Listing, ContextError> {
        let place = self.root.join(OsStr::from_bytes(&task.path));
        let directory = match open(&place, task.path.is_empty()) {
            Ok(directory) => directory,
            // What is excluded may well be unreadable: docker does not mind either.
            Err(Errno::ACCESS) if task.excluded => return Ok(Listing::default()),
            // It was there a moment ago.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) if !task.path.is_empty() => return Err(ContextError::Changed(place)),
            Err(error) => return Err(unread(error, &place)),
        };
        names(&directory, scratch).map_err(|error| unread(error, &place))?;
        let keeps = keeps_times(&directory, scratch).map_err(|error| unread(error, &place))?;
        let mut cursor = self.table.at(&task.path);
        let mut listing = Listing { items: Vec::with_capacity(scratch.spans.len()) };
        for &(start, end) in &scratch.spans {
            let look = Look { task, directory: &directory, keeps, name: &scratch.names[start..end] };
            listing.items.extend(self.item(&look, &mut cursor)?);
        }
        Ok(listing)
    }

    fn item(&self, look: &Look<'_>, cursor: &mut Cursor<'_>) -> Result<Option<Item>, ContextError> {
        let Look { task, directory, keeps, name } = *look;
        let path = if task.path.is_empty() { name.to_vec() } else { [&task.path, b"/".as_slice(), name].concat() };
        let (excluded, matched) = self.patterns.judge(&path, &task.matched);
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(_) if excluded => return Ok(None),
            Err(error) => return Err(unread(error, &self.root.join(OsStr::from_bytes(&path)))),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if excluded && !is_directory {
            return Ok(None);
        }
        let below = match (is_directory, excluded && !self.patterns.may_include_below(&path)) {
            (false, _) => Below::Nothing,
            (true, true) => Below::Excluded,
            (true, false) => Below::Directory { slot: 0, matched, excluded },
        };
        let stamp = Stamp::of(&stat);
        let Some(kind) = kind(&stat, directory, name).map_err(|error| unread(error, &self.root.join(OsStr::from_bytes(&path))))? else {
            return Ok(None);
        };
        // A file that is mounted alone lies on another file system than its directory: nothing is known of that one.
        let keeps = keeps.is_some_and(|device| device == stamp.device);
        let known = if keeps && matches!(kind, EntryKind::File(_)) { cursor.find(&path, &stamp) } else { None };
        let mode = if matches!(kind, EntryKind::Link(_)) { 0o777 } else { stamp.permissions() };
        let entry = Entry { path, mode, mtime: stamp.seconds(), kind };
        Ok(Some(Item { entry, seen: Seen { stamp, known, keeps, attributes: None }, below }))
    }
}

/// One name of a directory.
#[derive(Clone, Copy)]
struct Look<'a> {
    task: &'a Task,
    directory: &'a OwnedFd,
    /// The directory's device, if that keeps times.
    keeps: Option<u64>,
    name: &'a [u8],
}

fn open(place: &Path, follow: bool) -> Result<OwnedFd, Errno> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    rustix::fs::open(place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | nofollow, Mode::empty())
}

/// The names in a directory, sorted.
fn names(directory: &OwnedFd, scratch: &mut Scratch) -> Result<(), Errno> {
    let Scratch { buffer, names, spans, .. } = scratch;
    names.clear();
    spans.clear();
    let mut listed = RawDir::new(directory, buffer);
    while let Some(entry) = listed.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            spans.push((names.len(), names.len() + name.len()));
            names.extend_from_slice(name);
        }
    }
    spans.sort_unstable_by(|a, b| names[a.0..a.1].cmp(&names[b.0..b.1]));
    Ok(())
}

/// The device of a directory, if its file system keeps the times of files so well that they tell whether a file was changed.
fn keeps_times(directory: &OwnedFd, scratch: &mut Scratch) -> Result<Option<u64>, Errno> {
    let device = rustix::fs::fstat(directory)?.st_dev;
    if let Some((_, keeps)) = scratch.devices.iter().find(|(known, _)| *known == device) {
        return Ok(keeps.then_some(device));
    }
    let keeps = !is_foreign(u64::from_ne_bytes(rustix::fs::fstatfs(directory)?.f_type.to_ne_bytes()));
    scratch.devices.push((device, keeps));
    Ok(keeps.then_some(device))
}

/// File systems whose times are made by somebody else, kept by a cache for a while, or of another file than the one that is read: NFS, CIFS and
/// SMB, 9p, FUSE (virtiofs is one), overlay, Ceph, AFS, Coda, vboxsf.
fn is_foreign(kind: u64) -> bool {
    const FOREIGN: [u64; 12] = [
        0x6969,
        0xff53_4d42,
        0xfe53_4d42,
        0x517b,
        0x0102_1997,
        0x6573_5546,
        0x794c_7630,
        0x00c3_6400,
        0x5346_414f,
        0x6b41_4653,
        0x7375_7245,
        0x786f_4256,
    ];
    FOREIGN.contains(&(kind & 0xffff_ffff))
}

fn kind(stat: &Stat, directory: &OwnedFd, name: &[u8]) -> Result<Option<EntryKind>, Errno> {
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => EntryKind::Directory,
        FileType::RegularFile => EntryKind::File(u64::try_from(stat.st_size).unwrap_or(0)),
        FileType::Symlink => EntryKind::Link(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes()),
        FileType::Fifo => EntryKind::Pipe,
        FileType::BlockDevice => EntryKind::Device { block: true, number: stat.st_rdev },
        FileType::CharacterDevice => EntryKind::Device { block: false, number: stat.st_rdev },
        FileType::Socket | FileType::Unknown => return Ok(None),
    }))
}

/// The error with the path that it is about.
pub(super) fn unread(error: Errno, place: &Path) -> ContextError {
    let error = std::io::Error::from(error);
    ContextError::Read(std::io::Error::new(error.kind(), format!("`{}`: {error}", place.display())))
}
