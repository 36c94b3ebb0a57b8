//! Files that are being written: in a directory of this process alone, under a lock that ends with it, so that others know what nobody finishes.

use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

/// The process's part of `tmp/`, made when something is first written.
#[derive(Debug)]
pub(super) struct Scratch {
    all: PathBuf,
    own: Mutex<Option<Own>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Own {
    directory: PathBuf,
    /// The directory, locked.
    _lock: fs::File,
}

impl Scratch {
    /// Below this directory of everybody's.
    pub(super) fn below(all: PathBuf) -> Self {
        Self { all, own: Mutex::new(None), next: AtomicU64::new(0) }
    }

    /// A new file.
    pub(super) fn file(&self) -> std::io::Result<Temporary> {
        self.file_in(&self.directory()?).or_else(|error| match error.kind() {
            // Somebody emptied the whole store.
            std::io::ErrorKind::NotFound => {
                self.forget();
                self.file_in(&self.directory()?)
            }
            _ => Err(error),
        })
    }

    fn file_in(&self, directory: &Path) -> std::io::Result<Temporary> {
        let path = directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = fs::OpenOptions::new().create_new(true).read(true).write(true).mode(0o444).open(&path)?;
        Ok(Temporary { file, path, published: false })
    }

    fn directory(&self) -> std::io::Result<PathBuf> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*own {
            return Ok(own.directory.clone());
        }
        let made = own.insert(own_directory(&self.all)?);
        Ok(made.directory.clone())
    }

    fn forget(&self) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let own = self.own.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(own) = own {
            // Otherwise whoever makes room does it.
            let _left = fs::remove_dir_all(&own.directory);
        }
    }
}

fn own_directory(all: &Path) -> std::io::Result<Own> {
    loop {
        let directory = all.join(ulid::Ulid::generate().to_string());
        fs::create_dir_all(&directory)?;
        let lock = match fs::File::open(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        // A file system without locks: then nobody can tell what is unfinished, and nobody deletes it.
        let _lockless = lock.lock();
        // Before it was locked somebody may have taken it for a dead one's.
        let still_there = fs::metadata(&directory).is_ok_and(|there| lock.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
        if still_there {
            return Ok(Own { directory, _lock: lock });
        }
    }
}

/// A file that is gone when this goes, unless it was given its name.
#[derive(Debug)]
pub(super) struct Temporary {
    file: fs::File,
    path: PathBuf,
    published: bool,
}

impl Temporary {
    /// The file, to be read again.
    pub(super) fn file(&self) -> &fs::File {
        &self.file
    }

    /// Gives the file its name, in place of what had it. Says how long it is.
    pub(super) fn publish(mut self, name: &Path) -> std::io::Result<u64> {
        let length = self.file.metadata()?.len();
        fs::rename(&self.path, name).or_else(|error| match (error.kind(), name.parent()) {
            (std::io::ErrorKind::NotFound, Some(directory)) => {
                fs::create_dir_all(directory)?;
                fs::rename(&self.path, name)
            }
            _ => Err(error),
        })?;
        self.published = true;
        Ok(length)
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            let _left = fs::remove_file(&self.path);
        }
    }
}
