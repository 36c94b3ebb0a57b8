//! What waits to be written to a far store: bounded, in the background, and records never before the blobs that were put before them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::tier::{Tier, Wait};
use crate::content::{Digest, MOST_IN_MEMORY, Record, RecordKey, Store, StoreError};

/// Things that may wait; more are left out and counted.
const MOST_WAITING: usize = 4096;
/// Kibibytes of memory that they may take. What is too large for it is read from the near store again.
const MOST_MEMORY: usize = 64 << 10;
/// Blobs that are sent at a time: stores far away take long for each, and have room for many.
const AT_ONCE: usize = 8;

/// The way to one far store.
#[derive(Debug)]
pub(super) struct Outbox {
    tier: Arc<Tier>,
    post: mpsc::Sender<Parcel>,
    memory: Arc<Semaphore>,
    /// Ends with this.
    _postman: JoinSet<()>,
}

/// Something to be written.
#[derive(Debug)]
enum Parcel {
    /// A blob, and its bytes if they are at hand.
    Blob(Digest, Option<(Bytes, OwnedSemaphorePermit)>),
    Record(RecordKey, Record, OwnedSemaphorePermit),
    /// Nothing: tells that all before it are dealt with.
    Mark(oneshot::Sender<()>),
}

impl Outbox {
    pub(super) fn new(tier: Arc<Tier>, near: Arc<dyn Store>, scratch: Arc<Path>) -> Self {
        let (post, parcels) = mpsc::channel(MOST_WAITING);
        let mut postman = JoinSet::new();
        postman.spawn(deliver(Arc::clone(&tier), near, scratch, parcels));
        Self { tier, post, memory: Arc::new(Semaphore::new(MOST_MEMORY)), _postman: postman }
    }

    /// Posts a blob. Without its bytes, or with too many of them, the near store is asked for it when its turn comes.
    pub(super) fn blob(&self, digest: Digest, bytes: Option<Bytes>) {
        let bytes = bytes.and_then(|bytes| Some((bytes.clone(), self.memory_for(bytes.len())?)));
        self.send(Parcel::Blob(digest, bytes));
    }

    /// Posts a record.
    pub(super) fn record(&self, key: RecordKey, record: Record) {
        match self.memory_for(record.payload.len() + 32 * record.blobs.len()) {
            Some(permit) => self.send(Parcel::Record(key, record, permit)),
            None => self.tier.store().counters().skipped(),
        }
    }

    /// Waits until what was posted is dealt with, but no longer than that.
    pub(super) async fn settle(&self, most: Duration) {
        let settled = async {
            let (tell, told) = oneshot::channel();
            if self.post.send(Parcel::Mark(tell)).await.is_ok() {
                // A postman who is gone has nothing left to do.
                let _gone = told.await;
            }
        };
        if tokio::time::timeout(most, settled).await.is_err() {
            let late = StoreError::Late { tier: self.tier.store().name().to_owned(), after: most };
            self.tier.store().counters().failed(&late);
        }
    }

    fn memory_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kibibytes = u32::try_from(bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.memory).try_acquire_many_owned(kibibytes).ok()
    }

    fn send(&self, parcel: Parcel) {
        if self.tier.is_given_up() || self.post.try_send(parcel).is_err() {
            self.tier.store().counters().skipped();
        }
    }
}

async fn deliver(tier: Arc<Tier>, near: Arc<dyn Store>, scratch: Arc<Path>, mut parcels: mpsc::Receiver<Parcel>) {
    let mut blobs = JoinSet::new();
    while let Some(parcel) = parcels.recv().await {
        match parcel {
            Parcel::Blob(digest, bytes) => {
                if blobs.len() >= AT_ONCE {
                    let _sent = blobs.join_next().await;
                }
                blobs.spawn(send_blob(Arc::clone(&tier), Arc::clone(&near), Arc::clone(&scratch), (digest, bytes)));
            }
            Parcel::Record(key, record, _memory) => {
                while blobs.join_next().await.is_some() {}
                let size = record.payload.len() as u64;
                // What goes wrong is counted there.
                let _counted = tier.ask(Wait::Upload(size), tier.store().put_entry(&key, record)).await;
            }
            Parcel::Mark(settled) => {
                while blobs.join_next().await.is_some() {}
                let _gone = settled.send(());
            }
        }
    }
}

async fn send_blob(
    tier: Arc<Tier>,
    near: Arc<dyn Store>,
    scratch: Arc<Path>,
    (digest, bytes): (Digest, Option<(Bytes, OwnedSemaphorePermit)>),
) {
    if tier.is_given_up() {
        tier.store().counters().skipped();
        return;
    }
    let sent = match bytes {
        Some((bytes, _memory)) => {
            let size = bytes.len() as u64;
            tier.ask(Wait::Upload(size), tier.store().put(digest, bytes)).await.map(drop)
        }
        None => send_from_near(&tier, &*near, &scratch, digest).await,
    };
    if sent.is_err() {
        tier.store().counters().skipped();
    }
}

/// Sends a blob that the near store has, through a file: it may be larger than memory.
async fn send_from_near(tier: &Tier, near: &dyn Store, scratch: &Path, digest: Digest) -> Result<(), StoreError> {
    if tier.ask(Wait::Answer, tier.store().has(&[digest])).await?.is_none_or(|there| there.contains(&true)) {
        return Ok(());
    }
    let file = scratch.join(format!("splitci-{}", ulid::Ulid::generate()));
    let file = Passing(file);
    if !near.get_to(digest, &file.0, u64::MAX).await? {
        tier.store().counters().skipped();
        return Ok(());
    }
    let size = fs_err::metadata(&file.0).map_or(MOST_IN_MEMORY as u64, |about| about.len());
    tier.ask(Wait::Upload(size), tier.store().put_file(&file.0)).await.map(drop)
}

/// A file that is gone when it has passed, also when nobody waits for that any more.
struct Passing(std::path::PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _gone = fs_err::remove_file(&self.0);
    }
}
