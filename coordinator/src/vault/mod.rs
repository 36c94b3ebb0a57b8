//! Records that can be believed: what a store remembers, looked for at the levels that this run reads, opened by its seal, and written at its own level.
//!
//! `content` keeps bytes for whoever asks and knows nobody; `trust` knows who may say what and keeps nothing. Whoever wants to remember something between
//! runs goes through here, so that there is one place where an entry is looked for, and none where one is used that was not opened.
//!
//! A look-up that finds nothing says why, place by place. Nothing here fails a run: a store that cannot answer is a miss, and what cannot be written is
//! not remembered. A run whose level is local is to be given this machine's own tier alone: nobody else has a use for what it writes.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::content::{Digest, Record, RecordKey, Store, StoreError};
use crate::model::trust::{Partition, Space};
use crate::trust::{Address, Life, Opened, Refusal, Seal};

/// A store behind a seal.
#[derive(Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    seal: Seal,
    reads: Vec<Space>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// What became of a look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    /// Found, and believed.
    Found(Opened),
    /// Nothing that can be used: what was found and not believed, and where.
    Missed(Vec<(Space, Refusal)>),
}

impl Recall {
    /// What was found.
    pub fn found(self) -> Option<Opened> {
        match self {
            Self::Found(opened) => Some(opened),
            Self::Missed(_) => None,
        }
    }
}

/// Something to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What it says.
    pub payload: Bytes,
    /// Blobs without which it says nothing: put them into the store before. Only the payload is signed: whoever follows a record takes digests from there.
    pub blobs: Vec<Digest>,
    /// From when until when it counts.
    pub life: Life,
}

impl Vault {
    /// A store, read at the levels that the seal reads, with partitions for these branches beside those of the reader's list.
    pub fn new(store: Arc<dyn Store>, seal: Seal, branches: &[Partition]) -> Self {
        let reads = seal.reads(branches);
        Self { store, seal, reads, refused: Mutex::default() }
    }

    /// The store itself, for blobs: they are what they are called, whoever put them there.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Who this run is.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Looks for a record, this run's own place first, then upwards; `now` in milliseconds since 1970.
    pub async fn recall(&self, layer: &'static str, key: [u8; 32], now: u64) -> Recall {
        let mut missed = Vec::new();
        for space in &self.reads {
            // A store that fails counts and tells it itself.
            let name = RecordKey { layer, space: space.name(), key };
            let Ok(Some(sealed)) = self.store.record(&name).await else { continue };
            match self.seal.open(&Address { layer, key, space: space.clone() }, &sealed, now) {
                Ok(opened) => return Recall::Found(opened),
                Err(refusal) => {
                    self.count(&refusal);
                    missed.push((space.clone(), refusal));
                }
            }
        }
        Recall::Missed(missed)
    }

    /// All that can be believed of a record that several write to: at each level that is read, from each store of a chain, this run's own place first. Blobs that
    /// they name may be gone. Whoever asks puts them together.
    pub async fn recall_all(&self, layer: &'static str, key: [u8; 32], now: u64) -> Vec<Opened> {
        let mut all = Vec::new();
        for space in &self.reads {
            let name = RecordKey { layer, space: space.name(), key };
            for record in self.store.versions(&name).await.unwrap_or_default() {
                match self.seal.open(&Address { layer, key, space: space.clone() }, &record.payload, now) {
                    Ok(opened) => all.push(opened),
                    Err(refusal) => self.count(&refusal),
                }
            }
        }
        all
    }

    /// Writes a record at this run's level.
    pub async fn remember(&self, layer: &'static str, key: [u8; 32], memory: Memory) -> Result<(), StoreError> {
        let Memory { payload, blobs, life } = memory;
        let sealed = self.seal.seal(layer, key, life, &payload);
        let name = RecordKey { layer, space: self.seal.space().name(), key };
        self.store.put_entry(&name, Record { payload: sealed, blobs }).await
    }

    /// Deletes what this run's level remembers; what others wrote is theirs.
    pub async fn forget(&self, layer: &'static str, key: [u8; 32]) -> Result<(), StoreError> {
        self.store.remove_record(&RecordKey { layer, space: self.seal.space().name(), key }).await
    }

    /// How many entries were found and not believed, by reason.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.iter().map(|(reason, times)| ((*reason).to_owned(), *times)).collect()
    }

    fn count(&self, refusal: &Refusal) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(refusal.reason()).or_default() += 1;
    }
}
