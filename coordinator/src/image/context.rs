//! The build context: walks a directory as docker does, without what the ignore file excludes, and hashes what is in it.
//!
//! | file | is |
//! |---|---|
//! | `walk` | what is there |
//! | `read` | what it holds |
//! | `table` | what it held the last time, so that it need not be read |
//! | `stamp`, `attributes` | what the kernel says of a file |
//!
//! Names are bytes. Owners and times do not count and are not looked at, except for a file's time, which travels. Group and others lose the right to write,
//! so that a user's umask does not change an image. Sockets are left out, as docker leaves them out; what cannot be read is an error that names it.
//! The Dockerfile and the ignore file may be excluded like others: the builder gets them apart from the context. Everything here blocks: callers put it on a thread that may.

mod attributes;
mod read;
mod stamp;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ignore::{Ignore, IgnoreError};
use super::key::{ContextItem, NamedText};
pub(in crate::image) use attributes::Attributes;
pub use read::Reading;
use table::Table;
pub(in crate::image) use table::in_order;
use walk::{Seen, Walk};

/// Bits that are kept of a mode: all but writing for group and others.
const KEPT_BITS: u32 = 0o7777 & !0o022;

/// The context cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file or directory cannot be read.
    #[error("cannot read the build context")]
    Read(#[source] std::io::Error),
    /// The Dockerfile is not there.
    #[error("there is no Dockerfile at `{}`", .0.display())]
    NoDockerfile(PathBuf),
    /// The ignore file is wrong.
    #[error("cannot understand `{}`", .path.display())]
    Ignore {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IgnoreError,
    },
    /// A file is being written while it is read.
    #[error("`{}` changed while it was read", .0.display())]
    Changed(PathBuf),
}

/// A context, walked.
#[derive(Debug)]
pub struct Context {
    /// Its directory.
    pub root: PathBuf,
    /// The Dockerfile, by its name in what is sent.
    pub dockerfile: NamedText,
    /// The ignore file in force.
    pub ignore: Option<NamedText>,
    /// Everything in it, a directory before what it holds, in the order of names.
    pub entries: Vec<Entry>,
    /// What else is known of each.
    seen: Vec<Seen>,
}

/// A file, a directory, or another thing in a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the context.
    pub path: Vec<u8>,
    /// Permission bits, normalised.
    pub mode: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file of this length.
    File(u64),
    /// A symbolic link to there.
    Link(Vec<u8>),
    /// A named pipe.
    Pipe,
    /// A device.
    Device {
        /// Block device, not character device.
        block: bool,
        /// Its number.
        number: u64,
    },
}

impl Context {
    /// Walks the context at `root` for a Dockerfile that may be elsewhere.
    pub fn walk(root: &Path, dockerfile: &Path) -> Result<Self, ContextError> {
        Self::walk_with(root, dockerfile, &Table::default())
    }

    /// Walks it and reads its files, except those that nobody touched since they were read for this state directory.
    pub fn read(root: &Path, dockerfile: &Path, state: Option<&Path>) -> Result<Reading, ContextError> {
        let table = state.map(|state| table::place(state, root));
        read::read(root, dockerfile, table.as_deref())
    }

    fn walk_with(root: &Path, dockerfile: &Path, table: &Table) -> Result<Self, ContextError> {
        let text = match fs_err::read(dockerfile) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ContextError::NoDockerfile(dockerfile.to_owned())),
            Err(error) => return Err(ContextError::Read(error)),
        };
        let ignore = find_ignore(root, dockerfile)?;
        let patterns = match &ignore {
            Some(file) => {
                let wrong = |source| ContextError::Ignore { path: root.join(OsStr::from_bytes(&file.name)), source };
                Ignore::parse(&file.text).map_err(wrong)?
            }
            None => Ignore::default(),
        };
        let inside = relative(root, dockerfile);
        let (entries, seen) = walk::walk(&Walk { root, patterns: &patterns, table })?;
        let name = inside.unwrap_or_else(|| outside_name(&text));
        Ok(Self { root: root.to_owned(), dockerfile: NamedText { name, text }, ignore, entries, seen })
    }

    /// The path of an entry on this machine.
    pub fn place(&self, entry: &Entry) -> PathBuf {
        self.root.join(OsStr::from_bytes(&entry.path))
    }

    /// Extended attributes of a file that has any, which must be those that were hashed.
    pub(in crate::image) fn attributes(&self, item: &ContextItem) -> Result<Attributes, ContextError> {
        let Some(hash) = &item.attributes else { return Ok(Attributes::new()) };
        let place = self.root.join(OsStr::from_bytes(&item.path));
        attributes::attributes_at(&place, hash).ok_or(ContextError::Changed(place))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    /// Reads every file and gives what counts for the key.
    pub fn items(&self) -> Result<Vec<ContextItem>, ContextError> {
        read::items(self)
    }
}

impl Entry {
    /// Bytes, if it is a file.
    pub fn bytes(&self) -> u64 {
        match self.kind {
            EntryKind::File(length) => length,
            _ => 0,
        }
    }
}

/// A Dockerfile's own ignore file comes before the general one.
fn find_ignore(root: &Path, dockerfile: &Path) -> Result<Option<NamedText>, ContextError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), root.join(".dockerignore")] {
        match fs_err::read(&path) {
            Ok(text) => {
                let name = relative(root, &path).unwrap_or_else(|| b".dockerignore".to_vec());
                return Ok(Some(NamedText { name, text }));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ContextError::Read(error)),
        }
    }
    Ok(None)
}

fn relative(root: &Path, path: &Path) -> Option<Vec<u8>> {
    let inside = path.strip_prefix(root).ok()?;
    Some(inside.as_os_str().as_bytes().to_vec())
}

/// A Dockerfile from outside travels under a name that nobody else has.
pub(super) fn outside_name(text: &[u8]) -> Vec<u8> {
    format!(".dockerfile.{}", &blake3::hash(text).to_hex()[..16]).into_bytes()
}
