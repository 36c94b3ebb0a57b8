//! A store as one file, to be carried elsewhere: a tar archive of entries as they are kept, blobs before the records that name them.
//!
//! | name in the archive | is |
//! |---|---|
//! | `splitci-cache-1` | empty: says what this is |
//! | `cas/<64 digits>` | a blob as it is kept |
//! | `rec/<layer>/<space>/<64 digits>` | a record as it is kept |
//!
//! An archive comes from anywhere. No name in it ever becomes a path: it is taken apart, and what has other parts or other letters than the store writes is
//! refused, as are links, devices and directories. Every blob is hashed and every record checked before it gets its name, sizes are bounded before anything is
//! written, and what is there is never replaced. Whether a record is to be believed is asked of the caller, who has the keys. The first thing that is wrong
//! ends the import; what came before it was whole, and stays.

#[cfg(test)]
mod tests;

use std::io::{Read, Write as _};
use std::path::Path;

use bytes::Bytes;
use fs_err as fs;

use super::files::Files;
use super::{Kept, LocalStore, gc};
use crate::content::envelope::{self, Opened};
use crate::content::{Digest, Record, StoreError, name, place};

/// The first entry of an archive.
const HEAD: &str = "splitci-cache-1";
/// How many times as much as a cache may hold everything may come to when it is unpacked: more than data ever does, and not all the time in the world.
const MOST_UNPACKED: u64 = 20;

/// What was carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Entries.
    pub entries: usize,
    /// Their bytes, as they are kept.
    pub bytes: u64,
}

/// What was brought in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Entries that are here now and were not before.
    pub new: usize,
    /// Entries that were here.
    pub known: usize,
    /// Bytes of what is new, as they are kept.
    pub bytes: u64,
    /// Records that are not believed here: of which space, and why.
    pub refused: Vec<(String, String)>,
    /// Records of another version of splitci, left out.
    pub other_version: usize,
}

/// A record that wants to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its layer.
    pub layer: &'a str,
    /// Its space; of one too long for a file name, what is left.
    pub space: String,
    /// Its key.
    pub key: [u8; 32],
    /// What it says.
    pub payload: &'a Bytes,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no archive of ours.
    #[error("this is not an archive of a splitci cache")]
    NotOurs,
    /// Something that no archive of ours has.
    #[error("`{}` is {what}, and an archive of a cache has none", name.escape_debug())]
    Unexpected {
        /// Its name in the archive.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// An entry that is not what it is called.
    #[error("`{}` is damaged, or is not what it is called", name.escape_debug())]
    Damaged {
        /// Its name in the archive.
        name: String,
    },
    /// More than there may be.
    #[error("it holds more than {most} bytes, which is the limit of this cache")]
    TooLarge {
        /// The limit.
        most: u64,
    },
    /// The archive cannot be read or written.
    #[error("cannot use the file of the archive")]
    File(#[source] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOurs => Some("`splitci cache export FILE` makes one".into()),
            Self::Unexpected { .. } | Self::Damaged { .. } => Some("somebody or something changed it: export it again".into()),
            Self::TooLarge { .. } => Some("allow the cache more with the key `cache.size`".into()),
            Self::Store(error) => error.hint(),
            Self::File(_) => None,
        }
    }
}

/// Whether a record is believed here; if not, why.
pub type Judge = dyn Fn(&Candidate<'_>) -> Result<(), String> + Send + Sync;

impl LocalStore {
    /// Writes everything into a file that is whole or not there.
    pub async fn export(&self, file: &Path) -> Result<Exported, ArchiveError> {
        let file = file.to_owned();
        self.at_length(move |files| export(files, &file)).await
    }

    /// Takes in an archive of at most `most` bytes.
    pub async fn import(&self, file: &Path, most: u64, judge: Box<Judge>) -> Result<Imported, ArchiveError> {
        let file = file.to_owned();
        self.at_length(move |files| Import::new(files, most, &*judge).read(&file)).await
    }

    async fn at_length<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        self.aside(move |files| Ok(work(files))).await?
    }
}

fn export(files: &Files, file: &Path) -> Result<Exported, ArchiveError> {
    let mut done = Exported::default();
    let mut failed = None;
    place::whole(file, |aside| {
        let written = write(files, aside, &mut done);
        let good = written.is_ok();
        failed = written.err();
        Ok(good)
    })?;
    failed.map_or(Ok(done), |error| Err(ArchiveError::File(error)))
}

fn write(files: &Files, aside: &Path, done: &mut Exported) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(std::io::BufWriter::new(fs::OpenOptions::new().create_new(true).write(true).open(aside)?));
    append(&mut archive, HEAD, 0, &mut std::io::empty())?;
    let mut entries = gc::walk(files.root())?;
    // Who reads it puts blobs before records, as everybody does.
    entries.sort_by_key(|entry| entry.layer().is_some());
    for entry in &entries {
        let digest = entry.digest();
        let name = match &entry.what {
            Kept::Blob(_) => format!("cas/{digest}"),
            Kept::Record { layer, space, .. } => format!("rec/{layer}/{space}/{digest}"),
        };
        // What went meanwhile was of no use to anybody.
        let Ok(mut kept) = fs::File::open(gc::path(files.root(), &entry.what)) else { continue };
        let length = kept.metadata()?.len();
        append(&mut archive, &name, length, &mut kept)?;
        done.entries += 1;
        done.bytes += length;
    }
    let mut file = archive.into_inner()?;
    file.flush()?;
    file.get_ref().sync_all()
}

fn append(archive: &mut tar::Builder<impl std::io::Write>, name: &str, length: u64, content: &mut dyn Read) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(length);
    header.set_mode(0o444);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, content)
}

struct Import<'a> {
    files: &'a Files,
    most: u64,
    /// Bytes that may still come in, as they are kept.
    left: u64,
    /// Bytes that they may still come to.
    unpacked_left: u64,
    judge: &'a Judge,
    done: Imported,
}

impl<'a> Import<'a> {
    fn new(files: &'a Files, most: u64, judge: &'a Judge) -> Self {
        Self { files, most, left: most, unpacked_left: most.saturating_mul(MOST_UNPACKED), judge, done: Imported::default() }
    }

    fn read(mut self, file: &Path) -> Result<Imported, ArchiveError> {
        let file = fs::File::open(file).map_err(ArchiveError::File)?;
        let mut archive = tar::Archive::new(std::io::BufReader::new(file));
        let mut ours = false;
        for entry in archive.entries().map_err(ArchiveError::File)? {
            // A file that is no archive at all fails at its first header.
            let mut entry = entry.map_err(|error| if ours { ArchiveError::File(error) } else { ArchiveError::NotOurs })?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if ours {
                self.entry(&name, &mut entry)?;
            } else if name == HEAD {
                ours = true;
            } else {
                return Err(ArchiveError::NotOurs);
            }
        }
        if ours { Ok(self.done) } else { Err(ArchiveError::NotOurs) }
    }

    fn entry(&mut self, name: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let unexpected = |what| ArchiveError::Unexpected { name: name.into(), what };
        if let Some(what) = unusual(entry.header().entry_type()) {
            return Err(unexpected(what));
        }
        let size = entry.size();
        self.left = self.left.checked_sub(size).ok_or(ArchiveError::TooLarge { most: self.most })?;
        let parts: Vec<&str> = name.split('/').collect();
        let strange = || unexpected("a name that no entry has");
        match parts[..] {
            ["cas", digest] => self.blob(name, Digest::parse(digest).ok_or_else(strange)?, entry),
            ["rec", layer, space, key] if is_written(layer) && is_written(space) => {
                let key = Digest::parse(key).ok_or_else(strange)?;
                self.record(name, (layer, space, key), entry)
            }
            _ => Err(strange()),
        }
    }

    fn blob(&mut self, name: &str, digest: Digest, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        if self.files.has(digest)? {
            self.done.known += 1;
            return Ok(());
        }
        let size = entry.size();
        let unpacked = match self.files.adopt_blob(digest, entry, self.unpacked_left) {
            Err(StoreError::TooLarge { .. }) => return Err(ArchiveError::TooLarge { most: self.most }),
            adopted => adopted?.ok_or_else(|| ArchiveError::Damaged { name: name.into() })?,
        };
        self.unpacked_left -= unpacked;
        self.came(size);
        Ok(())
    }

    fn came(&mut self, size: u64) {
        self.done.new += 1;
        self.done.bytes += size;
    }

    fn record(
        &mut self,
        name: &str,
        (layer, space, key): (&str, &str, Digest),
        entry: &mut tar::Entry<'_, impl Read>,
    ) -> Result<(), ArchiveError> {
        let damaged = || ArchiveError::Damaged { name: name.into() };
        if entry.size() > envelope::MOST_KEPT as u64 {
            return Err(damaged());
        }
        let mut kept = Vec::new();
        entry.read_to_end(&mut kept).map_err(ArchiveError::File)?;
        let kept = Bytes::from(kept);
        let record = match envelope::open_at((layer, space, key.as_bytes()), &kept) {
            Opened::Whole(record) => record,
            Opened::Damaged => return Err(damaged()),
            Opened::OtherVersion => {
                self.done.other_version += 1;
                return Ok(());
            }
        };
        if let Err(reason) = self.believed(layer, space, key, &record) {
            self.done.refused.push((name::read(space), reason));
            return Ok(());
        }
        let what = Kept::Record { layer: layer.to_owned(), space: space.to_owned(), key, blobs: Vec::new() };
        let path = gc::path(self.files.root(), &what);
        if path.exists() {
            self.done.known += 1;
            return Ok(());
        }
        self.files.adopt_record(&path, &kept)?;
        self.came(kept.len() as u64);
        Ok(())
    }

    fn believed(&self, layer: &str, space: &str, key: Digest, record: &Record) -> Result<(), String> {
        (self.judge)(&Candidate { layer, space: name::read(space), key: *key.as_bytes(), payload: &record.payload })?;
        for digest in &record.blobs {
            if !self.files.has(*digest).map_err(|error| error.to_string())? {
                return Err("a blob that it names is not there".into());
            }
        }
        Ok(())
    }
}

/// What an entry of an archive is, if it is not a plain file.
fn unusual(kind: tar::EntryType) -> Option<&'static str> {
    match kind {
        tar::EntryType::Regular => None,
        tar::EntryType::Link | tar::EntryType::Symlink => Some("a link"),
        tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => Some("a device"),
        tar::EntryType::Directory => Some("a directory"),
        _ => Some("something special"),
    }
}

/// Whether this is one part of a path, as `content/name.rs` writes layers and spaces: no letter in it leads anywhere.
fn is_written(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_%~".contains(&byte);
    !part.is_empty() && part.len() <= 255 && part.bytes().all(plain)
}
