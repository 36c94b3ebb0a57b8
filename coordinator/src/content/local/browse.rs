//! The entries of a directory store as people handle them: what each is called, and away with it.

#[cfg(test)]
mod tests;

use fs_err as fs;

use super::evict::{Entry, Kept};
use super::files::Files;
use super::{Access, LocalStore, gc};
use crate::content::{Digest, StoreError, name};

impl Entry {
    /// What it is called: a record's key or a blob's digest.
    pub fn digest(&self) -> Digest {
        match &self.what {
            Kept::Blob(digest) | Kept::Record { key: digest, .. } => *digest,
        }
    }

    /// The layer of a record.
    pub fn layer(&self) -> Option<&str> {
        match &self.what {
            Kept::Blob(_) => None,
            Kept::Record { layer, .. } => Some(layer),
        }
    }

    /// The space of a record, for people to read.
    pub fn space(&self) -> Option<String> {
        match &self.what {
            Kept::Blob(_) => None,
            Kept::Record { space, .. } => Some(name::read(space)),
        }
    }

    /// The level of a record.
    pub fn level(&self) -> Option<&str> {
        match &self.what {
            Kept::Blob(_) => None,
            Kept::Record { space, .. } => Some(name::written_level(space)),
        }
    }
}

impl LocalStore {
    /// Deletes entries; says how many were there to delete.
    pub async fn forget(&self, entries: Vec<Entry>) -> Result<usize, StoreError> {
        self.aside(move |files| {
            let mut gone = 0;
            for entry in &entries {
                gone += usize::from(forget(files, entry)?);
            }
            Ok(gone)
        })
        .await
    }
}

fn forget(files: &Files, entry: &Entry) -> Result<bool, StoreError> {
    if files.access() == Access::ReadOnly {
        return Ok(false);
    }
    match fs::remove_file(gc::path(files.root(), &entry.what)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
