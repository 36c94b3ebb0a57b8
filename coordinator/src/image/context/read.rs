//! Reads what files hold, with several threads, and takes nothing that moved under its hands.
//!
//! A file counts only if it is after its reading what it was before: size, both times, inode, mode. One that is not is looked at again, up to three
//! times, and then refused by its name. What the table remembers is believed (see `table`), but one file of a hundred is read all the same: if the
//! table lied, it is dropped, everything is read, and that is told.
//!
//! What none of this sees: a program that writes through a shared mapping into a page that is dirty already moves no time at all. The build itself
//! finds that, since what is sent must be what was hashed.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::hash::BuildHasher as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes::attributes_of;
use super::stamp::Stamp;
use super::table::{Known, Rows, Table};
use super::walk::{Seen, unread};
use super::{Context, ContextError, Entry, EntryKind};
use crate::image::key::{ContextItem, ItemContent};

/// How often a file is looked at again that changed while it was read.
const AGAIN: u32 = 3;
/// How long it is left alone before that, the first time.
const LEFT_ALONE: Duration = Duration::from_millis(20);
/// Bytes that are read in one go: as much as stays near the processor.
const PIECE: usize = 128 << 10;
/// Files from this size on are begun first, so that no thread is left alone with one at the end.
const LARGE: u64 = 1 << 20;
/// More threads wait for the disk.
const MOST_THREADS: usize = 8;
/// So many files are worth another thread.
const WORTH_A_THREAD: usize = 16;
/// One of so many remembered files is read all the same.
const SAMPLED: u64 = 100;

/// A context with all that counts of it.
#[derive(Debug)]
pub struct Reading {
    /// The context.
    pub context: Context,
    /// What counts for the key, an item for each entry.
    pub items: Vec<ContextItem>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// Reads a context. `file` holds what is remembered of its files, if anything may be remembered.
pub(super) fn read(root: &Path, dockerfile: &Path, file: Option<&Path>) -> Result<Reading, ContextError> {
    let random = RandomState::new();
    read_sampling(root, dockerfile, file, &|at| random.hash_one(at).is_multiple_of(SAMPLED))
}

/// `sampled` says of which entries what is remembered is not believed.
fn read_sampling(root: &Path, dockerfile: &Path, file: Option<&Path>, sampled: &dyn Fn(usize) -> bool) -> Result<Reading, ContextError> {
    let mut notes = Vec::new();
    let mut began = now();
    let mut table = file.map(|file| Table::load(file, root, began)).unwrap_or_default();
    let mut context = walked(root, dockerfile, &table)?;
    let mut remembered = context.seen.iter().filter(|seen| seen.known.is_some()).count();
    let mut taken = take_in(&mut context, began, sampled)?;
    if let Some(path) = taken.lie {
        let shown = path.display();
        notes.push(format!(
            "`{shown}` does not hold what was remembered of it, though its times have not changed: every file was read again"
        ));
        began = now();
        table = Table::default();
        context = walked(root, dockerfile, &table)?;
        remembered = 0;
        taken = take_in(&mut context, began, sampled)?;
    }
    if let Some(file) = file.filter(|_| taken.fresh || remembered != table.len() || !notes.is_empty()) {
        notes.extend(
            remember(&context, file)
                .err()
                .map(|error| format!("what the files of the context hold is not remembered, the next run reads them again: {error}")),
        );
    }
    let items = context.entries.iter().zip(&context.seen).map(|(entry, seen)| item(entry, seen.known.as_ref(), seen.attributes)).collect();
    Ok(Reading { context, items, notes })
}

/// What counts of the files that a walk found. A file that is not what it was then is an error.
pub(super) fn items(context: &Context) -> Result<Vec<ContextItem>, ContextError> {
    let wanted: Vec<usize> = (0..context.entries.len()).filter(|at| matches!(context.entries[*at].kind, EntryKind::File(_))).collect();
    let mut hashes = vec![None; context.entries.len()];
    for (at, hashed) in hash_all(context, wanted, 0)? {
        hashes[at] = Some((Known { hash: hashed.hash, read_at: 0 }, hashed.attributes));
    }
    let entries = context.entries.iter().zip(&context.seen).zip(hashes);
    Ok(entries
        .map(|((entry, seen), hashed)| match hashed {
            Some((known, attributes)) => item(entry, Some(&known), attributes),
            None => item(entry, None, seen.attributes),
        })
        .collect())
}

fn item(entry: &Entry, known: Option<&Known>, attributes: Option<[u8; 32]>) -> ContextItem {
    let content = match &entry.kind {
        EntryKind::Directory => ItemContent::Directory,
        EntryKind::Link(target) => ItemContent::Link(target.clone()),
        EntryKind::Pipe => ItemContent::Pipe,
        EntryKind::Device { block, number } => ItemContent::Device { block: *block, number: *number },
        EntryKind::File(_) => ItemContent::File(known.map(|known| known.hash).unwrap_or_default()),
    };
    ContextItem { path: entry.path.clone(), mode: entry.mode, content, attributes }
}

/// Walks; again if a directory went away meanwhile.
fn walked(root: &Path, dockerfile: &Path, table: &Table) -> Result<Context, ContextError> {
    let mut left = AGAIN;
    loop {
        match Context::walk_with(root, dockerfile, table) {
            Err(ContextError::Changed(_)) if left > 0 => left -= 1,
            walked => return walked,
        }
    }
}

#[derive(Debug, Default)]
struct Taken {
    /// Something was read that can be remembered from now on.
    fresh: bool,
    /// A file that the table was wrong about.
    lie: Option<PathBuf>,
}

/// Reads what is not known, and some of what is.
fn take_in(context: &mut Context, began: i64, sampled: &dyn Fn(usize) -> bool) -> Result<Taken, ContextError> {
    let wanted = |at: &usize| match context.entries[*at].kind {
        EntryKind::File(_) => context.seen[*at].known.is_none() || sampled(*at),
        _ => false,
    };
    let wanted = (0..context.entries.len()).filter(wanted).collect();
    let mut taken = Taken::default();
    for (at, hashed) in hash_all(context, wanted, AGAIN)? {
        let (entry, seen) = (&mut context.entries[at], &mut context.seen[at]);
        if let Some(known) = seen.known.take_if(|_| hashed.stamp == seen.stamp) {
            if known.hash == hashed.hash && hashed.attributes.is_none() {
                seen.known = Some(known);
                continue;
            }
            return Ok(Taken { lie: Some(context.root.join(OsStr::from_bytes(&entry.path))), ..taken });
        }
        let known = Known { hash: hashed.hash, read_at: began };
        *seen = Seen { stamp: hashed.stamp, known: Some(known), attributes: hashed.attributes, ..seen.clone() };
        entry.kind = EntryKind::File(hashed.stamp.size);
        entry.mode = hashed.stamp.permissions();
        entry.mtime = hashed.stamp.seconds();
        taken.fresh |= can_be_remembered(seen);
    }
    Ok(taken)
}

fn can_be_remembered(seen: &Seen) -> bool {
    seen.keeps && seen.attributes.is_none() && seen.known.is_some_and(|known| known.holds_for(&seen.stamp))
}

fn remember(context: &Context, file: &Path) -> std::io::Result<()> {
    let mut rows = Rows::default();
    for (entry, seen) in context.entries.iter().zip(&context.seen) {
        if let Some(known) = seen.known.filter(|_| can_be_remembered(seen)) {
            rows.add(&entry.path, &seen.stamp, &known);
        }
    }
    rows.save(file, &context.root)
}

/// A file that stood still while it was read.
struct Hashed {
    hash: [u8; 32],
    stamp: Stamp,
    attributes: Option<[u8; 32]>,
}

/// Reads these entries, which are files, each again so often if it moves.
fn hash_all(context: &Context, mut wanted: Vec<usize>, again: u32) -> Result<Vec<(usize, Hashed)>, ContextError> {
    let size = |at: &usize| context.seen[*at].stamp.size;
    // The rest stays in the order of the walk, which is that of directories.
    wanted.sort_by_key(|at| std::cmp::Reverse(if size(at) < LARGE { 0 } else { size(at) }));
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let work = || {
        let mut piece = vec![0; PIECE];
        let mut done = Vec::new();
        while let Some(&at) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let place = context.root.join(OsStr::from_bytes(&context.entries[at].path));
            match hash_at_rest(&place, context.seen[at].stamp, again, &mut piece) {
                Ok(hashed) => done.push((at, hashed)),
                Err(error) => {
                    next.store(wanted.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
        done
    };
    let large = wanted.iter().take_while(|at| size(at) >= LARGE).count();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(large + wanted.len() / WORTH_A_THREAD);
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            // A thread that panicked makes the scope panic as well.
            all.extend(other.join().into_iter().flatten());
        }
        all
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all)
}

fn hash_at_rest(place: &Path, mut stamp: Stamp, again: u32, piece: &mut [u8]) -> Result<Hashed, ContextError> {
    for time in 0..=again {
        if let Some(hashed) = hash_once(place, &stamp, piece)? {
            return Ok(hashed);
        }
        if time == again {
            break;
        }
        std::thread::sleep(LEFT_ALONE * 2_u32.pow(time));
        stamp = match rustix::fs::statat(CWD, place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Stamp::of(&stat),
            // It is not there any more, or something else is.
            Ok(_) | Err(Errno::NOENT) => break,
            Err(error) => return Err(unread(error, place)),
        };
    }
    Err(ContextError::Changed(place.to_owned()))
}

/// The hash of a file, if it is and stays what it was said to be.
fn hash_once(place: &Path, stamp: &Stamp, piece: &mut [u8]) -> Result<Option<Hashed>, ContextError> {
    // A link or a pipe that has taken the file's place is neither followed nor waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(place, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(unread(error, place)),
    };
    let mut hasher = blake3::Hasher::new();
    let mut left = stamp.size;
    while left > 0 {
        let wanted = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut piece[..wanted])) {
            // It is shorter; or a pipe or a directory has taken its place.
            Ok(0) | Err(Errno::AGAIN | Errno::ISDIR) => return Ok(None),
            Ok(read) => {
                hasher.update(&piece[..read]);
                left -= read as u64;
            }
            Err(error) => return Err(unread(error, place)),
        }
    }
    let attributes = attributes_of(&file);
    let after = rustix::fs::fstat(&file).map_err(|error| unread(error, place))?;
    let same = Stamp::of(&after) == *stamp;
    Ok(same.then(|| Hashed { hash: *hasher.finalize().as_bytes(), stamp: *stamp, attributes }))
}

/// Nanoseconds since 1970, as file systems count.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
