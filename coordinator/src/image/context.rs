//! The build context: walks a directory as docker does, without what the ignore file excludes, and hashes what is in it.
//!
//! Names are bytes. Owners and times do not count and are not looked at, except for a file's time, which travels. Group and others lose the right to write,
//! so that a user's umask does not change an image. Sockets are left out, as docker leaves them out; what cannot be read is an error that names it.
//! The Dockerfile and the ignore file may be excluded like others: the builder gets them apart from the context. Everything here blocks: callers put it on a thread that may.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::ignore::{Ignore, IgnoreError, Matched};
use super::key::{ContextItem, ItemContent, NamedText};

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
        let mut walk = Walk { root, patterns: &patterns, entries: Vec::new() };
        walk.directory(&[], &Matched::default(), false)?;
        let entries = walk.entries;
        let name = inside.unwrap_or_else(|| outside_name(&text));
        Ok(Self { root: root.to_owned(), dockerfile: NamedText { name, text }, ignore, entries })
    }

    /// The path of an entry on this machine.
    pub fn place(&self, entry: &Entry) -> PathBuf {
        self.root.join(OsStr::from_bytes(&entry.path))
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    /// Reads every file and gives what counts for the key.
    pub fn items(&self) -> Result<Vec<ContextItem>, ContextError> {
        self.entries.iter().map(|entry| self.item(entry)).collect()
    }

    fn item(&self, entry: &Entry) -> Result<ContextItem, ContextError> {
        let content = match &entry.kind {
            EntryKind::Directory => ItemContent::Directory,
            EntryKind::Link(target) => ItemContent::Link(target.clone()),
            EntryKind::Pipe => ItemContent::Pipe,
            EntryKind::Device { block, number } => ItemContent::Device { block: *block, number: *number },
            EntryKind::File(length) => ItemContent::File(hash(&self.place(entry), *length)?),
        };
        Ok(ContextItem { path: entry.path.clone(), mode: entry.mode, content })
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
fn outside_name(text: &[u8]) -> Vec<u8> {
    format!(".dockerfile.{}", &blake3::hash(text).to_hex()[..16]).into_bytes()
}

fn hash(path: &Path, length: u64) -> Result<[u8; 32], ContextError> {
    let file = fs_err::File::open(path).map_err(ContextError::Read)?;
    let mut hasher = blake3::Hasher::new();
    let read = std::io::copy(&mut file.take(length + 1), &mut hasher).map_err(ContextError::Read)?;
    if read != length {
        return Err(ContextError::Changed(path.to_owned()));
    }
    Ok(*hasher.finalize().as_bytes())
}

struct Walk<'a> {
    root: &'a Path,
    patterns: &'a Ignore,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    /// Walks a directory; one that is excluded itself is listed only when something in it is not.
    fn directory(&mut self, path: &[u8], matched: &Matched, excluded: bool) -> Result<(), ContextError> {
        let place = self.root.join(OsStr::from_bytes(path));
        let mut names = match names(&place) {
            Ok(names) => names,
            // What is excluded may well be unreadable: docker does not mind either.
            Err(error) if excluded && error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(()),
            Err(error) => return Err(ContextError::Read(error)),
        };
        names.sort_unstable();
        for name in names {
            let below = if path.is_empty() { name } else { [path, b"/", &name].concat() };
            self.entry(below, matched)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: Vec<u8>, directory: &Matched) -> Result<(), ContextError> {
        let place = self.root.join(OsStr::from_bytes(&path));
        let (excluded, matched) = self.patterns.judge(&path, directory);
        let metadata = match fs_err::symlink_metadata(&place) {
            Ok(metadata) => metadata,
            Err(_) if excluded => return Ok(()),
            Err(error) => return Err(ContextError::Read(error)),
        };
        if !metadata.is_dir() {
            if !excluded && let Some(kind) = kind(&place, &metadata)? {
                self.entries.push(entry(path, &metadata, kind));
            }
            return Ok(());
        }
        let here = self.entries.len();
        self.entries.push(entry(path.clone(), &metadata, EntryKind::Directory));
        if !excluded || self.patterns.may_include_below(&path) {
            self.directory(&path, &matched, excluded)?;
        }
        if excluded && self.entries.len() == here + 1 {
            self.entries.pop();
        }
        Ok(())
    }
}

fn names(place: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    fs_err::read_dir(place)?.map(|entry| Ok(entry?.file_name().into_vec())).collect()
}

fn entry(path: Vec<u8>, metadata: &std::fs::Metadata, kind: EntryKind) -> Entry {
    let mode = match kind {
        EntryKind::Link(_) => 0o777,
        _ => metadata.mode() & KEPT_BITS,
    };
    Entry { path, mode, mtime: u64::try_from(metadata.mtime()).unwrap_or(0), kind }
}

fn kind(place: &Path, metadata: &std::fs::Metadata) -> Result<Option<EntryKind>, ContextError> {
    let kind = metadata.file_type();
    Ok(Some(if kind.is_file() {
        EntryKind::File(metadata.len())
    } else if kind.is_symlink() {
        let target = fs_err::read_link(place).map_err(ContextError::Read)?;
        EntryKind::Link(target.into_os_string().into_vec())
    } else if kind.is_fifo() {
        EntryKind::Pipe
    } else if kind.is_block_device() || kind.is_char_device() {
        EntryKind::Device { block: kind.is_block_device(), number: metadata.rdev() }
    } else {
        return Ok(None);
    }))
}

#[cfg(test)]
mod tests;
