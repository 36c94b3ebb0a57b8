//! What is remembered of a context's files, so that those which nobody touched are not read again.
//!
//! One file a context, replaced in one move, sorted in the order of the walk, read whole and searched where it lies: no row is ever a value of its
//! own. A row is believed only if everything that the kernel says of the file is what it was, and if the file was at rest when it was read: its
//! times are older by more than two seconds than the moment at which the reading began, since two writes within a tick of a coarse clock look the
//! same. What a row cannot see is said in `read`. A table that is damaged, cut off, of another version or of another directory is none; it may be
//! deleted at any time.
//!
//! Layout, little endian: magic, number of rows, hash of all that follows (under the directory's path), rows, their paths one after the other. A
//! row: end of its path, mode, size, mtime, ctime, inode, device, moment of reading, blake3.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::stamp::Stamp;

/// Another layout is another magic.
const MAGIC: &[u8; 16] = b"splitci-stat v1\n";
const HEADER: usize = MAGIC.len() + 8 + 32;
const ROW: usize = 4 + 4 + 6 * 8 + 32;
/// A file that changed this shortly before it was read may have changed once more since, unseen.
const AT_REST: i64 = 2_000_000_000;

/// What a file held when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) hash: [u8; 32],
    /// When the reading began, in nanoseconds since 1970.
    pub(super) read_at: i64,
}

impl Known {
    /// Whether a file of this stamp was at rest, as far as its clock can be trusted at all.
    pub(super) fn holds_for(&self, stamp: &Stamp) -> bool {
        stamp.latest() < self.read_at.saturating_sub(AT_REST)
    }
}

/// A table as it was read.
#[derive(Debug, Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
    rows: usize,
    now: i64,
}

impl Table {
    /// Reads the table of a directory; an empty one if there is none to be believed. `now` is the moment from which on rows are from the future.
    pub(super) fn load(file: &Path, root: &Path, now: i64) -> Self {
        let bytes = fs_err::read(file).unwrap_or_default();
        match checked(&bytes, root) {
            Some(rows) => Self { bytes, rows, now },
            None => Self { now, ..Self::default() },
        }
    }

    /// How many files it knows.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Goes through the rows from where a directory's begin.
    pub(super) fn at(&self, directory: &[u8]) -> Cursor<'_> {
        Cursor { table: self, next: if directory.is_empty() { 0 } else { self.first_not_before(directory) } }
    }

    fn first_not_before(&self, path: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = usize::midpoint(low, high);
            if in_order(self.path(middle), path) == Ordering::Less { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn path(&self, row: usize) -> &[u8] {
        let paths = HEADER + self.rows * ROW;
        let start = if row == 0 { 0 } else { self.number(row - 1, 0) };
        let end = self.number(row, 0);
        self.bytes.get(paths + start..paths + end).unwrap_or_default()
    }

    fn number(&self, row: usize, at: usize) -> usize {
        u32::from_le_bytes(self.field(row, at)) as usize
    }

    fn field<const N: usize>(&self, row: usize, at: usize) -> [u8; N] {
        let start = HEADER + row * ROW + at;
        self.bytes.get(start..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn row(&self, row: usize) -> (Stamp, Known) {
        let unsigned = |at| u64::from_le_bytes(self.field(row, at));
        let signed = |at| i64::from_le_bytes(self.field(row, at));
        let stamp = Stamp {
            mode: u32::from_le_bytes(self.field(row, 4)),
            size: unsigned(8),
            mtime: signed(16),
            ctime: signed(24),
            inode: unsigned(32),
            device: unsigned(40),
        };
        (stamp, Known { read_at: signed(48), hash: self.field(row, 56) })
    }
}

/// How many rows a table has, if it is whole and this directory's.
fn checked(bytes: &[u8], root: &Path) -> Option<usize> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (rows, rest) = rest.split_first_chunk()?;
    let (hash, body) = rest.split_first_chunk::<32>()?;
    let rows = usize::try_from(u64::from_le_bytes(*rows)).ok()?;
    let fits = rows.checked_mul(ROW).is_some_and(|length| length <= body.len());
    (fits && *hash == hash_of(body, root)).then_some(rows)
}

fn hash_of(body: &[u8], root: &Path) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("splitci table of file contents v1");
    let root = root.as_os_str().as_bytes();
    hasher.update(&(root.len() as u64).to_le_bytes());
    hasher.update(root);
    hasher.update(body);
    *hasher.finalize().as_bytes()
}

/// The order of the walk: name by name, so that what a directory holds follows it directly.
pub(in crate::image) fn in_order(a: &[u8], b: &[u8]) -> Ordering {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rank = |byte: Option<&u8>| byte.map_or(0, |byte| if *byte == b'/' { 1 } else { u16::from(*byte) + 2 });
    rank(a.get(same)).cmp(&rank(b.get(same)))
}

/// Rows, one after the other. A walk asks in their order, and mostly for the very next one.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    table: &'a Table,
    next: usize,
}

impl Cursor<'_> {
    /// What is known of a file of this path and stamp.
    pub(super) fn find(&mut self, path: &[u8], stamp: &Stamp) -> Option<Known> {
        if self.next >= self.table.rows || self.table.path(self.next) != path {
            self.next = self.table.first_not_before(path);
            if self.next >= self.table.rows || self.table.path(self.next) != path {
                return None;
            }
        }
        let (then, known) = self.table.row(self.next);
        self.next += 1;
        (then == *stamp && known.read_at <= self.table.now && known.holds_for(stamp)).then_some(known)
    }
}

/// A table that is being written.
#[derive(Debug, Default)]
pub(super) struct Rows {
    fixed: Vec<u8>,
    paths: Vec<u8>,
    count: u64,
}

impl Rows {
    /// Adds what is known of a file, unless it was not at rest. Files come in the order of the walk.
    pub(super) fn add(&mut self, path: &[u8], stamp: &Stamp, known: &Known) {
        // 4 GiB of paths: what does not fit is read every time.
        let Ok(end) = u32::try_from(self.paths.len() + path.len()) else { return };
        if !known.holds_for(stamp) {
            return;
        }
        self.paths.extend_from_slice(path);
        self.fixed.extend_from_slice(&end.to_le_bytes());
        self.fixed.extend_from_slice(&stamp.mode.to_le_bytes());
        self.fixed.extend_from_slice(&stamp.size.to_le_bytes());
        self.fixed.extend_from_slice(&stamp.mtime.to_le_bytes());
        self.fixed.extend_from_slice(&stamp.ctime.to_le_bytes());
        self.fixed.extend_from_slice(&stamp.inode.to_le_bytes());
        self.fixed.extend_from_slice(&stamp.device.to_le_bytes());
        self.fixed.extend_from_slice(&known.read_at.to_le_bytes());
        self.fixed.extend_from_slice(&known.hash);
        self.count += 1;
    }

    /// Puts the table in its place, whole or not at all.
    pub(super) fn save(self, file: &Path, root: &Path) -> std::io::Result<()> {
        let Self { fixed: mut body, paths, count } = self;
        body.extend_from_slice(&paths);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&hash_of(&body, root));
        bytes.extend_from_slice(&body);
        crate::image::kept::replace(file, &bytes)
    }
}

/// Where the table of a context lies in a state directory.
pub(super) fn place(state: &Path, root: &Path) -> PathBuf {
    let hash = blake3::hash(root.as_os_str().as_bytes()).to_hex();
    state.join("stat").join(&hash[..16])
}

#[cfg(test)]
mod tests;
