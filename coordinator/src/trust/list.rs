//! The reader's list: which public key is trusted how far. There is no other source of authority; nothing that is read can add to it.

use std::collections::{BTreeMap, BTreeSet};

use super::key::{KeyId, PublicKey};
use crate::model::trust::{Level, Partition, Space};

/// What is wrong with a list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A key with two meanings has none.
    #[error("key {key} is trusted twice: as `{first}` and as `{second}`")]
    Twice {
        /// Which.
        key: String,
        /// As it was.
        first: Space,
        /// As it is now.
        second: Space,
    },
}

impl ListError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        "keep one of the two: a key has one level, and one partition or none; `splitci keys new` makes another key".into()
    }
}

/// A key and where it may write.
#[derive(Debug, Clone)]
struct Trusted {
    key: PublicKey,
    space: Space,
}

/// Keys and their levels.
#[derive(Debug, Clone, Default)]
pub struct TrustList(BTreeMap<KeyId, Trusted>);

impl TrustList {
    /// Trusts one more key.
    pub fn add(&mut self, key: PublicKey, space: Space) -> Result<(), ListError> {
        let id = key.id();
        if let Some(first) = self.0.get(&id).filter(|first| first.space != space) {
            return Err(ListError::Twice { key: id.short(), first: first.space.clone(), second: space });
        }
        self.0.insert(id, Trusted { key, space });
        Ok(())
    }

    /// A key that is trusted, and where it may write: a level, and within it one partition or any.
    pub fn get(&self, id: &KeyId) -> Option<(&PublicKey, &Space)> {
        self.0.get(id).map(|trusted| (&trusted.key, &trusted.space))
    }

    /// All keys that are trusted, by their ids, and where each may write.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Space)> {
        self.0.values().map(|trusted| (&trusted.key, &trusted.space))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody has a key of this level.
    pub fn has_level(&self, level: Level) -> bool {
        !self.places(level).is_empty()
    }

    /// Places of a level that keys of the list write to, as far as the list names them; nothing for a level that nobody has.
    pub(super) fn places(&self, level: Level) -> BTreeSet<Option<Partition>> {
        self.0.values().filter(|trusted| trusted.space.level == level).map(|trusted| trusted.space.partition.clone()).collect()
    }
}
