//! Several stores as one: a near one that answers at once, and far ones that are shared with other machines.
//!
//! Read near first, then far; what was found far is kept near. Written near at once, and far in the background: [`Store::flush`] waits for it, but not for
//! ever. A far tier has a deadline for every call and is left alone for the rest of the run after three failures in a row, so that a dead one makes
//! a run slower by seconds and changes nothing else. An error comes out of here only where the caller is at fault; what tiers did wrong stands in
//! their statistics.

mod outbox;
mod tier;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fs_err as fs;

use self::outbox::Outbox;
use self::tier::{Tier, Wait};
use super::counters::End;
use super::{Counters, Digest, Record, RecordKey, Store, StoreError, StoreStats, frames};

/// Blobs that a far tier is asked for at a time, each time with the patience for one answer: a bucket knows them one by one, and many take long.
const AT_A_TIME: usize = 16;

/// How long far tiers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Added to each call until a tier has answered once.
    pub connect: Duration,
    /// For a record, or for whether blobs are there.
    pub record: Duration,
    /// For each mebibyte that goes there, and for the next byte that comes from there.
    pub blob: Duration,
    /// For all that waits to be written when [`Store::flush`] is called.
    pub flush: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            record: Duration::from_millis(250),
            blob: Duration::from_secs(2),
            flush: Duration::from_secs(10),
        }
    }
}

/// How a tier did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReport {
    /// Its name.
    pub name: String,
    /// What it counted.
    pub stats: StoreStats,
    /// It failed too often and is not asked any more.
    pub given_up: bool,
}

/// A chain of stores.
#[derive(Debug)]
pub struct Tiered {
    near: Arc<dyn Store>,
    far: Vec<(Arc<Tier>, Outbox)>,
    patience: Patience,
    counters: Counters,
}

impl Tiered {
    /// A near store before far ones, the fastest first. Large blobs pass through `scratch` on their way to a far one. To be called within a
    /// runtime, which does the writing; what was not flushed is lost when this is dropped.
    pub fn new(near: Arc<dyn Store>, far: Vec<Arc<dyn Store>>, scratch: PathBuf, patience: Patience) -> Self {
        let scratch: Arc<Path> = scratch.into();
        let tier = |store| {
            let tier = Arc::new(Tier::new(store, patience));
            let outbox = Outbox::new(Arc::clone(&tier), Arc::clone(&near), Arc::clone(&scratch));
            (tier, outbox)
        };
        let far = far.into_iter().map(tier).collect();
        Self { near, far, patience, counters: Counters::default() }
    }

    /// How each tier did, the near one first.
    pub fn tiers(&self) -> Vec<TierReport> {
        let near = TierReport { name: self.near.name().to_owned(), stats: self.near.stats(), given_up: false };
        let far = self.tiers_afar().map(|tier| TierReport {
            name: tier.store().name().to_owned(),
            stats: tier.store().stats(),
            given_up: tier.is_given_up(),
        });
        std::iter::once(near).chain(far).collect()
    }

    fn tiers_afar(&self) -> impl Iterator<Item = &Arc<Tier>> {
        self.far.iter().map(|(tier, _)| tier)
    }

    fn with_blobs(&self) -> impl Iterator<Item = &(Arc<Tier>, Outbox)> {
        self.far.iter().filter(|(tier, _)| tier.store().keeps_blobs())
    }

    fn with_layer(&self, layer: &'static str) -> impl Iterator<Item = &(Arc<Tier>, Outbox)> {
        self.far.iter().filter(move |(tier, _)| tier.store().keeps_layer(layer))
    }
}

/// What a caller has to hear; the rest is nothing but a miss.
fn to_the_caller<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_the_callers() => Err(error),
        Err(_counted) => Ok(None),
    }
}

#[async_trait]
impl Store for Tiered {
    fn name(&self) -> &'static str {
        "tiered"
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        let near = to_the_caller(self.near.has(digests).await)?;
        let mut there = near.unwrap_or_else(|| vec![false; digests.len()]);
        for (tier, _) in self.with_blobs() {
            let places: Vec<usize> = (0..there.len()).filter(|at| !there[*at]).collect();
            if places.is_empty() {
                break;
            }
            for some in places.chunks(AT_A_TIME) {
                let missing: Vec<Digest> = some.iter().map(|at| digests[*at]).collect();
                let Some(found) = tier.ask(Wait::Answer, tier.store().has(&missing)).await? else { break };
                some.iter().zip(found).for_each(|(at, found)| there[*at] = found);
            }
        }
        Ok(there)
    }

    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let mut found = to_the_caller(self.near.get(digest).await)?.flatten();
        for (tier, _) in self.with_blobs() {
            if found.is_some() {
                break;
            }
            found = tier.ask(Wait::Download, tier.store().get(digest)).await?.flatten();
            if let Some(bytes) = &found {
                // Next time it is near; if not, it is fetched again.
                let _counted = self.near.put(digest, bytes.clone()).await;
            }
        }
        self.counters.blob(if found.is_some() { End::Hit } else { End::Absent }, found.as_ref().map_or(0, Bytes::len));
        Ok(found)
    }

    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        let mut found = to_the_caller(self.near.get_to(digest, file, most).await)?.unwrap_or_default();
        for (tier, _) in self.with_blobs() {
            if found {
                break;
            }
            found = tier.ask(Wait::Download, tier.store().get_to(digest, file, most)).await?.unwrap_or_default();
            if found {
                let _counted = self.near.put_file(file).await;
            }
        }
        self.counters.blob(if found { End::Hit } else { End::Absent }, 0);
        Ok(found)
    }

    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        to_the_caller(self.near.put(digest, bytes.clone()).await)?;
        self.counters.written(bytes.len() as u64);
        self.with_blobs().for_each(|(_, outbox)| outbox.blob(digest, Some(bytes.clone())));
        Ok(())
    }

    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        if let Ok(digest) = self.near.put_file(file).await {
            self.counters.written(0);
            self.with_blobs().for_each(|(_, outbox)| outbox.blob(digest, None));
            return Ok(digest);
        }
        // The near tier is in trouble, or the file is. Only the second is the caller's business.
        self.counters.skipped();
        let file = file.to_owned();
        let digest = tokio::task::spawn_blocking(move || {
            let file = fs::File::open(file)?;
            frames::digest(&file, file.metadata()?.len())
        });
        Ok(digest.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone)))?)
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let mut found = to_the_caller(self.near.entry(key).await)?.flatten();
        for (tier, _) in self.with_layer(key.layer) {
            if found.is_some() {
                break;
            }
            found = tier.ask(Wait::Answer, tier.store().entry(key)).await?.flatten();
            if let Some(record) = &found {
                let _counted = self.near.put_entry(key, record.clone()).await;
            }
        }
        let bytes = found.as_ref().map_or(0, |record| record.payload.len());
        self.counters.record(key.layer, if found.is_some() { End::Hit } else { End::Absent }, bytes);
        Ok(found)
    }

    async fn versions(&self, key: &RecordKey) -> Result<Vec<Record>, StoreError> {
        let mut found: Vec<Record> = to_the_caller(self.near.entry(key).await)?.flatten().into_iter().collect();
        for (tier, _) in self.with_layer(key.layer) {
            let far = tier.ask(Wait::Answer, tier.store().entry(key)).await?.flatten();
            found.extend(far.filter(|far| !found.contains(far)));
        }
        let bytes = found.iter().map(|record| record.payload.len()).sum();
        self.counters.record(key.layer, if found.is_empty() { End::Absent } else { End::Hit }, bytes);
        Ok(found)
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        to_the_caller(self.near.put_entry(key, record.clone()).await)?;
        self.counters.written(record.payload.len() as u64);
        self.with_layer(key.layer).for_each(|(_, outbox)| outbox.record(key.clone(), record.clone()));
        Ok(())
    }

    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        to_the_caller(self.near.remove(digest).await)?;
        for (tier, outbox) in self.with_blobs() {
            outbox.settle(self.patience.flush).await;
            tier.ask(Wait::Answer, tier.store().remove(digest)).await?;
        }
        Ok(())
    }

    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        to_the_caller(self.near.remove_record(key).await)?;
        for (tier, outbox) in self.with_layer(key.layer) {
            outbox.settle(self.patience.flush).await;
            tier.ask(Wait::Answer, tier.store().remove_record(key)).await?;
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let settled = self.far.iter().map(|(_, outbox)| outbox.settle(self.patience.flush));
        futures_util::future::join_all(settled).await;
        to_the_caller(self.near.flush().await)?;
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
