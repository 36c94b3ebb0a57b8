//! The content store: bytes by their blake3, and small records by key. What is never done twice is remembered here.
//!
//! | store | is |
//! |---|---|
//! | [`LocalStore`] | a directory, shared by any number of processes without a server |
//! | [`RedisStore`] | a Redis server, shared by many machines |
//! | [`S3Store`] | a bucket, for what is large |
//! | [`RegistryStore`] | a registry of images, for records of images alone |
//! | [`MemoryStore`] | a process's own, for tests and for what is worth no disk |
//! | [`Tiered`] | a chain of them: what one has not, the next one may have |
//!
//! Every store keeps one contract, which `contract.rs` checks: what comes out is what went in, or nothing. Blobs are hashed again when they are read
//! and records carry a hash of their own, over their key too, so that whatever a disk, a network or a neighbour did to an entry, it is gone at worst.
//! Who wrote an entry is not known here: whoever follows a record looks at its signature first, for whoever can write into a store can put
//! any record there.
//!
//! A store may lose anything at any moment; that costs time and nothing else. So an error here is for telling and for counting, and never a reason to
//! fail a run. A record never counts without the blobs that it names: they are put first, and looked for when it is read.

mod counters;
mod digest;
mod envelope;
mod frames;
pub mod local;
mod memory;
mod name;
mod place;
mod redis;
mod registry;
mod s3;
mod tiered;

#[cfg(test)]
mod contract;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::redis::{RedisMemory, RedisSettings, RedisStore};
pub use counters::{Counters, Lookups, StoreStats};
pub use digest::Digest;
pub use local::{Access, Lease, Limit, LocalStore};
pub use memory::MemoryStore;
pub use registry::{Login, RegistrySettings, RegistryStore};
pub use s3::{S3Settings, S3Store};
pub use tiered::{Patience, TierReport, Tiered};

/// Most bytes of a record: its payload, and 32 for each blob that it names.
pub const MOST_OF_A_RECORD: usize = 1 << 20;

/// Most bytes of a blob that is put or got in memory; larger ones travel as files.
pub const MOST_IN_MEMORY: usize = 256 << 20;

/// The name of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// What kind of thing it tells: `image`, `results`, `suite`.
    pub layer: &'static str,
    /// The level of its writer, and what partitions that, after a slash: `protected`, `pull/17`. It carries no authority: the signature does.
    pub space: String,
    /// What it is about.
    pub key: [u8; 32],
}

/// A record with the blobs that it stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// What its writer put there.
    pub payload: Bytes,
    /// Blobs without which it says nothing.
    pub blobs: Vec<Digest>,
}

impl From<Bytes> for Record {
    fn from(payload: Bytes) -> Self {
        Self { payload, blobs: Vec::new() }
    }
}

/// Where bytes are kept. All of it may be called by many at once and may be given up in the middle; what was half done is then not there.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// What it is called in statistics and sentences: `local`, `redis`, `s3`.
    fn name(&self) -> &str;

    /// Whether it keeps blobs at all. Where it does not, there are none, and putting one is as good as losing it.
    fn keeps_blobs(&self) -> bool {
        true
    }

    /// Whether it keeps records of this layer. Where it does not, there are none.
    fn keeps_layer(&self, _layer: &str) -> bool {
        true
    }

    /// Which of these blobs seem to be here. Their bytes are not read, so that one of them may still turn out to be damaged.
    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError>;

    /// A blob of at most [`MOST_IN_MEMORY`], verified. A damaged one is deleted and counted, and is not there.
    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;

    /// A blob of at most `most` bytes into a file, verified before the file gets its name. Says whether there was one.
    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError>;

    /// Keeps a blob; again is as good as once. Refuses bytes that are not the digest's.
    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError>;

    /// Keeps what is in a file, as it is while it is read, and says what that was.
    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError>;

    /// A record as it was put, whether or not its blobs are still here. What cannot be read is not there; what another version wrote stays.
    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError>;

    /// All that is kept under this name, the nearest first: where stores stand in a chain, each may have what another writer put there. For records that grow.
    async fn versions(&self, key: &RecordKey) -> Result<Vec<Record>, StoreError> {
        Ok(self.entry(key).await?.into_iter().collect())
    }

    /// Keeps a record, whole or not at all. The last writer wins. Put its blobs before.
    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError>;

    /// Forgets a blob.
    async fn remove(&self, digest: Digest) -> Result<(), StoreError>;

    /// Forgets a record.
    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError>;

    /// Waits until what was put has arrived, as far as this store can say.
    async fn flush(&self) -> Result<(), StoreError>;

    /// Where it counts what it does.
    fn counters(&self) -> &Counters;

    /// What it did since it was opened.
    fn stats(&self) -> StoreStats {
        self.counters().snapshot()
    }

    /// The payload of a record whose blobs are all here.
    async fn record(&self, key: &RecordKey) -> Result<Option<Bytes>, StoreError> {
        let Some(record) = self.entry(key).await? else { return Ok(None) };
        if self.has(&record.blobs).await?.contains(&false) {
            self.counters().without_blobs(key.layer);
            return Ok(None);
        }
        Ok(Some(record.payload))
    }

    /// Keeps a record that names no blobs.
    async fn put_record(&self, key: &RecordKey, payload: Bytes) -> Result<(), StoreError> {
        self.put_entry(key, payload.into()).await
    }
}

/// A store could not do what it was asked. Causes are shared, for the first one is told again in the statistics.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The caller's bytes are not what they are said to be.
    #[error("the bytes for blob {wanted} are those of {found}")]
    NotTheDigest {
        /// The digest that was given.
        wanted: Digest,
        /// What they are.
        found: Digest,
    },
    /// A record or a blob beyond its limit.
    #[error("{what} of {bytes} bytes is beyond the limit of {most}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// The directory was laid out by another version.
    #[error("`{}` holds a content store of format {found}, and this splitci knows {}", path.display(), local::FORMAT)]
    OtherFormat {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A far store did not answer in time.
    #[error("the store `{tier}` gave no answer within {}", humantime::format_duration(*after))]
    Late {
        /// Which.
        tier: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A far store failed, or the way there did.
    #[error("the store `{tier}` failed")]
    Remote {
        /// Which.
        tier: &'static str,
        /// Why.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A far store does not let us do that.
    #[error("the store `{tier}` refuses us")]
    Refused {
        /// Which.
        tier: &'static str,
        /// Why.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A file or directory of the store, or the caller's file.
    #[error("cannot use the content store's files")]
    Files(#[source] Arc<std::io::Error>),
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Files(cause) if matches!(cause.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
                Some("make room on its disk, or set `--cache-dir` to a directory on another one".to_owned())
            }
            Self::Files(_) => Some("set `--cache-dir` to a directory that can be written".to_owned()),
            Self::OtherFormat { .. } => Some("use the splitci that made it, or set `--cache-dir` to another directory".to_owned()),
            Self::Refused { tier: "redis", .. } => {
                Some("let its user read and write `~sc:<level>:*`, with `+@read +@write +@connection +info`".to_owned())
            }
            Self::Refused { tier: "registry", .. } => Some(
                "log in with `docker login` as somebody who may pull from that repository, and push to it if this run sends layers"
                    .to_owned(),
            ),
            Self::Refused { .. } => Some("look at the key that it is given, and at what that key may do".to_owned()),
            Self::NotTheDigest { .. } | Self::TooLarge { .. } | Self::Late { .. } | Self::Remote { .. } => None,
        }
    }

    /// Whether who called did something wrong, and not the store.
    pub fn is_the_callers(&self) -> bool {
        matches!(self, Self::NotTheDigest { .. } | Self::TooLarge { .. })
    }
}

impl From<std::io::Error> for StoreError {
    fn from(cause: std::io::Error) -> Self {
        Self::Files(Arc::new(cause))
    }
}
