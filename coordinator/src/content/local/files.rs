//! What a directory store does, file by file. Blocks; the async side is next door.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;

use super::scratch::{Scratch, Temporary};
use super::{Access, FORMAT, gc};
use crate::content::counters::End;
use crate::content::envelope::{self, Opened};
use crate::content::frames::{self, Unreadable};
use crate::content::{Counters, Digest, MOST_IN_MEMORY, Record, RecordKey, StoreError, name, place};

/// When an entry was used is noted at most that often.
const NOTE_EVERY: Duration = Duration::from_hours(1);

/// As <https://bford.info/cachedir/> has it: backup programs leave such a directory out.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This is splitci's cache. It may be deleted at any time.\n";

/// The directory, and this process's part in it.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    access: Access,
    scratch: Scratch,
    counters: Counters,
    /// A write failed in a way that the next one will, too.
    shut: AtomicBool,
    /// Something was written and not synced.
    unsynced: AtomicBool,
}

impl Files {
    pub(super) fn open(root: &Path, access: Access) -> Result<Self, StoreError> {
        let root = root.join(format!("v{FORMAT}"));
        let scratch = Scratch::below(root.join("tmp"));
        let files = Self { access, scratch, counters: Counters::default(), shut: false.into(), unsynced: false.into(), root };
        if let Some(found) = files.format()?.filter(|found| *found != FORMAT) {
            return Err(StoreError::OtherFormat { path: files.root, found });
        }
        if access == Access::ReadWrite {
            files.lay_out()?;
        }
        Ok(files)
    }

    /// The version that the directory says it has. A file that says nothing, as after a loss of power, is written anew.
    fn format(&self) -> Result<Option<u32>, StoreError> {
        match fs::read_to_string(self.root.join("FORMAT")) {
            Ok(text) => Ok(text.trim().strip_prefix("splitci content store ").and_then(|number| number.parse().ok())),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn lay_out(&self) -> Result<(), StoreError> {
        for directory in ["cas", "rec", "tmp", "leases", "trash"] {
            fs::create_dir_all(self.root.join(directory))?;
        }
        if self.format()?.is_none() {
            self.write(&self.root.join("CACHEDIR.TAG"), TAG.as_bytes())?;
            self.write(&self.root.join("FORMAT"), format!("splitci content store {FORMAT}\n").as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    pub(super) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn blob(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join("cas").join(&hex[..2]).join(&hex[2..])
    }

    pub(super) fn record(&self, key: &RecordKey) -> PathBuf {
        let hex = Digest::from_bytes(key.key).to_hex();
        self.root.join("rec").join(name::space(key.layer)).join(name::space(&key.space)).join(&hex[..2]).join(&hex[2..])
    }

    pub(super) fn has(&self, digest: Digest) -> Result<bool, StoreError> {
        let path = self.blob(digest);
        match fs::metadata(&path) {
            Ok(about) => {
                // Whoever asks wants to use it: what is asked for stays.
                if is_due(&about)
                    && let Ok(Some((file, about))) = look(&path)
                {
                    self.note_use(&file, &about);
                }
                Ok(about.is_file())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.read_blob(digest, |file, length| {
            let (found, bytes) = frames::decode_bytes(file, length, MOST_IN_MEMORY)?;
            Ok((found, Bytes::from(bytes)))
        })
    }

    pub(super) fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        place::whole(file, |aside| {
            let read = self.read_blob(digest, |kept, length| {
                let sink = fs::OpenOptions::new().create_new(true).write(true).open(aside)?;
                Ok((frames::decode(kept, length, most, &sink)?, ()))
            });
            Ok(read?.is_some())
        })
    }

    /// Opens a blob and has it read; what is read counts only if its digest is right.
    fn read_blob<T>(
        &self,
        digest: Digest,
        read: impl FnOnce(&fs::File, u64) -> Result<(Digest, T), Unreadable>,
    ) -> Result<Option<T>, StoreError> {
        let path = self.blob(digest);
        let opened = look(&path).inspect_err(|_| self.counters.blob(End::Failed, 0))?;
        let Some((file, about)) = opened else {
            self.counters.blob(End::Absent, 0);
            return Ok(None);
        };
        let length = usize::try_from(about.len()).unwrap_or(usize::MAX);
        let read = if about.is_file() { read(&file, about.len()) } else { Err(Unreadable::Damaged) };
        match read {
            Ok((found, whole)) if found == digest => {
                self.note_use(&file, &about);
                self.counters.blob(End::Hit, length);
                Ok(Some(whole))
            }
            Ok(_) | Err(Unreadable::Damaged) => {
                self.discard(&path, &about);
                self.counters.blob(End::Damaged, length);
                Ok(None)
            }
            Err(Unreadable::TooLarge { bytes, most }) => Err(StoreError::TooLarge { what: "a blob", bytes, most }),
            Err(Unreadable::Files(error)) => {
                self.counters.blob(End::Failed, length);
                Err(error.into())
            }
        }
    }

    pub(super) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let found = Digest::of(bytes);
        if found != digest {
            return Err(StoreError::NotTheDigest { wanted: digest, found });
        }
        if self.is_shut() {
            return Ok(());
        }
        self.guarded(|| {
            if self.has(digest)? {
                return Ok(());
            }
            let mut temporary = self.scratch.file()?;
            frames::encode(&bytes, bytes.len() as u64, frames::NEAR, &mut temporary)?;
            self.publish(temporary, &self.blob(digest))
        })
    }

    pub(super) fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        let source = fs::File::open(file)?;
        let length = source.metadata()?.len();
        if self.is_shut() {
            return Ok(frames::digest(&source, length)?);
        }
        self.guarded(|| {
            let mut temporary = self.scratch.file()?;
            let digest = frames::encode(&source, length, frames::NEAR, &mut temporary)?;
            self.publish(temporary, &self.blob(digest))?;
            Ok(digest)
        })
    }

    /// Takes a blob as another store kept it, if it comes to at most `most` bytes, and says to how many. Nothing if it is not what it is called.
    pub(super) fn adopt_blob(&self, digest: Digest, kept: &mut dyn Read, most: u64) -> Result<Option<u64>, StoreError> {
        let mut temporary = self.scratch.file()?;
        let length = std::io::copy(kept, &mut temporary)?;
        let checked = frames::unpacked(temporary.file(), length).and_then(|bytes| {
            if bytes > most {
                return Err(Unreadable::TooLarge { bytes, most });
            }
            frames::check(temporary.file(), length).map(|found| (bytes, found))
        });
        match checked {
            Ok((bytes, found)) if found == digest => self.publish(temporary, &self.blob(digest)).map(|()| Some(bytes)),
            Ok(_) | Err(Unreadable::Damaged) => Ok(None),
            Err(Unreadable::TooLarge { bytes, most }) => Err(StoreError::TooLarge { what: "a blob", bytes, most }),
            Err(Unreadable::Files(error)) => Err(error.into()),
        }
    }

    /// Takes a record as another store kept it, at its place. That it belongs there is the caller's to know.
    pub(super) fn adopt_record(&self, path: &Path, kept: &[u8]) -> Result<(), StoreError> {
        self.write(path, kept)
    }

    pub(super) fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let path = self.record(key);
        let read = look(&path).and_then(|opened| opened.map(read_kept).transpose());
        let Some((kept, file, about)) = read.inspect_err(|_| self.counters.record(key.layer, End::Failed, 0))? else {
            self.counters.record(key.layer, End::Absent, 0);
            return Ok(None);
        };
        let opened = envelope::open(key, &kept);
        self.counters.record(key.layer, opened.end(), kept.len());
        match &opened {
            Opened::Whole(_) => self.note_use(&file, &about),
            Opened::Damaged => self.discard(&path, &about),
            Opened::OtherVersion => {}
        }
        Ok(opened.whole())
    }

    pub(super) fn put_entry(&self, key: &RecordKey, record: &Record) -> Result<(), StoreError> {
        let kept = envelope::seal(key, record)?;
        if self.is_shut() {
            return Ok(());
        }
        self.guarded(|| self.write(&self.record(key), &kept))
    }

    pub(super) fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.delete(&self.blob(digest))
    }

    pub(super) fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        self.delete(&self.record(key))
    }

    pub(super) fn flush(&self) -> Result<(), StoreError> {
        if self.unsynced.swap(false, Ordering::Relaxed) {
            rustix::fs::syncfs(fs::File::open(&self.root)?).map_err(std::io::Error::from)?;
        }
        Ok(())
    }

    /// Whether writes are left out: then this one is counted as such.
    fn is_shut(&self) -> bool {
        let shut = self.access == Access::ReadOnly || self.shut.load(Ordering::Relaxed);
        if shut {
            self.counters.skipped();
        }
        shut
    }

    /// Writes, if need be after making room once, and writes no more where that cannot work: one error is told, not thousands.
    fn guarded<T>(&self, write: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let kind = |written: &Result<T, StoreError>| match written {
            Err(StoreError::Files(error)) => Some(error.kind()),
            _ => None,
        };
        let mut written = write();
        if matches!(kind(&written), Some(StorageFull | QuotaExceeded)) && gc::make_room(self) {
            written = write();
        }
        if matches!(kind(&written), Some(PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)) {
            self.shut.store(true, Ordering::Relaxed);
        }
        written
    }

    fn write(&self, name: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temporary = self.scratch.file()?;
        temporary.write_all(bytes)?;
        self.publish(temporary, name)
    }

    fn publish(&self, temporary: Temporary, name: &Path) -> Result<(), StoreError> {
        let length = temporary.publish(name)?;
        self.unsynced.store(true, Ordering::Relaxed);
        self.counters.written(length);
        Ok(())
    }

    fn delete(&self, path: &Path) -> Result<(), StoreError> {
        if self.is_shut() {
            return Ok(());
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Throws away what is damaged, unless somebody has put another in its place meanwhile.
    pub(super) fn discard(&self, path: &Path, damaged: &std::fs::Metadata) {
        let same = fs::symlink_metadata(path).is_ok_and(|there| there.ino() == damaged.ino());
        if self.access == Access::ReadOnly || !same {
            return;
        }
        let trash = self.root.join("trash").join(ulid::Ulid::generate().to_string());
        // What cannot be deleted is found to be damaged again.
        let _kept =
            fs::rename(path, &trash).and_then(|()| if damaged.is_dir() { fs::remove_dir_all(&trash) } else { fs::remove_file(&trash) });
    }

    /// Notes that an entry was used. Who may not, because it is another user's, leaves it at that.
    fn note_use(&self, file: &fs::File, about: &std::fs::Metadata) {
        if self.access == Access::ReadWrite && is_due(about) {
            let _unnoted = file.set_modified(SystemTime::now());
        }
    }
}

/// Whether the note of its last use is old, or of a time to come: then a clock was wrong.
fn is_due(about: &std::fs::Metadata) -> bool {
    about.modified().is_ok_and(|noted| match noted.elapsed() {
        Ok(age) => age > NOTE_EVERY,
        Err(ahead) => ahead.duration() > NOTE_EVERY,
    })
}

/// Opens what may not be there. Whatever was put in its place, opening does not wait.
pub(super) fn look(path: &Path) -> std::io::Result<Option<(fs::File, std::fs::Metadata)>> {
    let opened = fs::OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    match opened {
        Ok(file) => file.metadata().map(|about| Some((file, about))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a record, and nothing at all of what cannot be one.
pub(super) fn read_kept((file, about): (fs::File, std::fs::Metadata)) -> std::io::Result<(Bytes, fs::File, std::fs::Metadata)> {
    let mut kept = Vec::new();
    if about.is_file() {
        // One byte more than there can be tells that it is too long.
        (&file).take(envelope::MOST_KEPT as u64 + 1).read_to_end(&mut kept)?;
    }
    Ok((kept.into(), file, about))
}
