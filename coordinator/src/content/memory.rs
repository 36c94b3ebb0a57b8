//! A store in memory: for tests of those who use one, for what is worth no disk, and honest: it verifies what it gives out as the others do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use fs_err as fs;

use super::counters::End;
use super::envelope::{self, Opened};
use super::{Counters, Digest, Record, RecordKey, Store, StoreError, place};

/// A store that ends with its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Kept {
    blobs: HashMap<Digest, Bytes>,
    records: HashMap<RecordKey, Bytes>,
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        let kept = self.kept();
        Ok(digests.iter().map(|digest| kept.blobs.contains_key(digest)).collect())
    }

    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let found = self.kept().blobs.get(&digest).cloned();
        let end = match &found {
            None => End::Absent,
            Some(bytes) if Digest::of(bytes) == digest => End::Hit,
            Some(_) => End::Damaged,
        };
        if end == End::Damaged {
            self.kept().blobs.remove(&digest);
        }
        self.counters.blob(end, found.as_ref().map_or(0, Bytes::len));
        Ok(found.filter(|_| end == End::Hit))
    }

    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        let Some(bytes) = self.get(digest).await? else { return Ok(false) };
        if bytes.len() as u64 > most {
            return Err(StoreError::TooLarge { what: "a blob", bytes: bytes.len() as u64, most });
        }
        place::whole(file, |aside| fs::write(aside, &bytes).map_err(StoreError::from).map(|()| true))
    }

    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(StoreError::NotTheDigest { wanted: digest, found });
        }
        self.counters.written(bytes.len() as u64);
        self.kept().blobs.insert(digest, bytes);
        Ok(())
    }

    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        let bytes = Bytes::from(fs::read(file)?);
        let digest = Digest::of(&bytes);
        self.put(digest, bytes).await.map(|()| digest)
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let Some(kept) = self.kept().records.get(key).cloned() else {
            self.counters.record(key.layer, End::Absent, 0);
            return Ok(None);
        };
        let opened = envelope::open(key, &kept);
        self.counters.record(key.layer, opened.end(), kept.len());
        if opened == Opened::Damaged {
            self.kept().records.remove(key);
        }
        Ok(opened.whole())
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        let kept = envelope::seal(key, &record)?;
        self.counters.written(kept.len() as u64);
        self.kept().records.insert(key.clone(), kept);
        Ok(())
    }

    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.kept().blobs.remove(&digest);
        Ok(())
    }

    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        self.kept().records.remove(key);
        Ok(())
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::contract::{self, Change, Vandal};

    #[async_trait]
    impl Vandal for MemoryStore {
        async fn change_blob(&self, digest: Digest, change: Change<'_>) {
            let kept = self.kept().blobs.remove(&digest).unwrap();
            if let Some(changed) = change(kept.into()) {
                self.kept().blobs.insert(digest, changed.into());
            }
        }

        async fn change_record(&self, key: &RecordKey, change: Change<'_>) {
            let kept = self.kept().records.remove(key).unwrap();
            if let Some(changed) = change(kept.into()) {
                self.kept().records.insert(key.clone(), changed.into());
            }
        }
    }

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let store = MemoryStore::default();
        contract::check(&store, &store).await;
    }
}
