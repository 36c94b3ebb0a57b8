//! A directory as a store: the first tier, on from the first run, and shared by any number of processes without a server.
//!
//! | below `<root>/v1/` | is |
//! |---|---|
//! | `CACHEDIR.TAG`, `FORMAT` | for backup programs, and for other versions of splitci |
//! | `cas/ab/<62 digits>` | a blob, see `content/frames.rs`; never changed, mode 0444 |
//! | `rec/<layer>/<space>/ab/<62 digits>` | a record, see `content/envelope.rs` |
//! | `tmp/<process>/` | what is being written; locked as long as its writer lives |
//! | `leases/<run>` | what a run uses, see `lease.rs`; locked as long as the run lives |
//! | `trash/` | what is being deleted |
//! | `gc.lock` | held by the one who makes room, see `gc.rs` |
//!
//! Whatever has a name is whole: files are written aside and renamed. Nothing is synced before [`Store::flush`], once a run: after a loss of power
//! a file may be empty or old, and readers find out, for they verify everything. Nothing here needs an index, and any file may be
//! deleted by anybody at any time. The modification time of a file says when it was last used, to the hour.

mod archive;
mod browse;
mod evict;
mod files;
mod gc;
mod lease;
mod scratch;
mod verify;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::archive::{ArchiveError, Candidate, Exported, Imported, Judge};
pub use self::evict::{Entry, Kept, Limit, Why};
use self::files::Files;
pub use self::gc::{Collected, Sweep};
pub use self::lease::Lease;
pub use self::verify::{Repair, Verified};
use super::{Counters, Digest, Record, RecordKey, Store, StoreError};

/// The version of the layout.
pub(super) const FORMAT: u32 = 1;

/// What a store may do with its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Only read: nothing is written, deleted or touched, and the directory need not be there.
    ReadOnly,
}

/// A store in a directory.
#[derive(Debug, Clone)]
pub struct LocalStore {
    files: Arc<Files>,
}

impl LocalStore {
    /// The store in this directory, which is made if need be. Blocks for a moment.
    pub fn open(root: &Path, access: Access) -> Result<Self, StoreError> {
        Ok(Self { files: Arc::new(Files::open(root, access)?) })
    }

    /// Where it is: the directory of this version of the layout.
    pub fn path(&self) -> &Path {
        self.files.root()
    }

    /// Does work that waits for a disk where it holds up nobody. Who stops waiting does not stop it.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce(&Files) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        let files = Arc::clone(&self.files);
        let done = tokio::task::spawn_blocking(move || work(&files).inspect_err(|error| files.counters().failed(error)));
        done.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone).into()))
    }
}

#[async_trait]
impl Store for LocalStore {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        let digests = digests.to_vec();
        self.aside(move |files| digests.into_iter().map(|digest| files.has(digest)).collect()).await
    }

    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.aside(move |files| files.get(digest)).await
    }

    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        let file: PathBuf = file.to_owned();
        self.aside(move |files| files.get_to(digest, &file, most)).await
    }

    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        self.aside(move |files| files.put(digest, &bytes)).await
    }

    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        let file: PathBuf = file.to_owned();
        self.aside(move |files| files.put_file(&file)).await
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let key = key.clone();
        self.aside(move |files| files.entry(&key)).await
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        let key = key.clone();
        self.aside(move |files| files.put_entry(&key, &record)).await
    }

    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.aside(move |files| files.remove(digest)).await
    }

    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.aside(move |files| files.remove_record(&key)).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.aside(Files::flush).await
    }

    fn counters(&self) -> &Counters {
        self.files.counters()
    }
}
