//! A policy with its keys read: who may say something about an image, and what has to be said.
//!
//! It comes from a place that the environment's owner keeps, never from the tree that is to be let through; where from is the caller's business. Its digest goes
//! into the approval and covers the keys with their levels too: whoever changes who is trusted has another policy.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Sha256;
use crate::model::encoding::Encoding;
use crate::model::policy::{PolicySettings, ReusedRule, Revocation, Revoked};
use crate::model::trust::{KeySource, Level};
use crate::trust::{KeyError, KeyId, PublicKey, TrustList, sha256};

/// Names the derivation of a policy's digest; changes whenever the encoding does.
const CONTEXT: &[u8] = b"splitci policy v1";

/// A policy, its keys read.
#[derive(Debug, Clone)]
pub struct Policy {
    settings: PolicySettings,
    list: TrustList,
    only: BTreeSet<KeyId>,
    glass: BTreeMap<KeyId, PublicKey>,
    digest: Sha256,
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A key cannot be read.
    #[error("cannot use a key of policy `{policy}`")]
    Key {
        /// Of which.
        policy: String,
        /// Why.
        #[source]
        cause: KeyError,
    },
    /// A key that nobody trusts.
    #[error("key {key} of policy `{policy}` is not in `[trust]`")]
    Untrusted {
        /// Of which.
        policy: String,
        /// The key.
        key: String,
    },
    /// A level that is no authority.
    #[error("policy `{policy}` takes the word of level `local`")]
    Local {
        /// Which.
        policy: String,
    },
    /// Somebody may break the glass, and nobody is named.
    #[error("policy `{policy}` has `break_glass` without a key")]
    NoGlassKey {
        /// Which.
        policy: String,
    },
}

impl PolicyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key { cause, .. } => cause.hint(),
            Self::Untrusted { policy, .. } => {
                Some(format!("list the key in `[trust]` under its level, or take it out of `policy.{policy}.keys`"))
            }
            Self::Local { policy } => {
                Some(format!("set `policy.{policy}.level = \"protected\"`: everybody is `local` on a machine of their own"))
            }
            Self::NoGlassKey { policy } => {
                Some(format!("name the keys of those who may in `policy.{policy}.break_glass`, or leave it out"))
            }
        }
    }
}

impl Policy {
    /// A policy with this list of trusted keys. `key` reads a key from where it is said to be.
    pub fn new(
        settings: PolicySettings,
        list: TrustList,
        key: impl Fn(&KeySource) -> Result<PublicKey, KeyError>,
    ) -> Result<Self, PolicyError> {
        let policy = settings.name.clone();
        if !settings.level.travels() {
            return Err(PolicyError::Local { policy });
        }
        let read = |sources: &[KeySource]| {
            let keys = sources.iter().map(|source| key(source).map(|key| (key.id(), key)));
            keys.collect::<Result<BTreeMap<_, _>, _>>().map_err(|cause| PolicyError::Key { policy: policy.clone(), cause })
        };
        let only: BTreeSet<KeyId> = read(&settings.keys)?.into_keys().collect();
        if let Some(key) = only.iter().find(|id| list.get(id).is_none()) {
            return Err(PolicyError::Untrusted { policy: policy.clone(), key: key.short() });
        }
        let glass = settings.break_glass.as_ref().map(|rule| read(&rule.keys)).transpose()?;
        if glass.as_ref().is_some_and(BTreeMap::is_empty) {
            return Err(PolicyError::NoGlassKey { policy: policy.clone() });
        }
        let glass = glass.unwrap_or_default();
        let mut this = Self { settings, list, only, glass, digest: Sha256::from_bytes([0; 32]) };
        this.digest = sha256(this.encode().bytes());
        Ok(this)
    }

    /// What it asks for.
    pub fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    /// What tells it from every other policy: the SHA-256 of one encoding of all that it asks for and of the keys that it goes by.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// A key that is known, whatever its word is worth.
    pub(super) fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.list.get(id).map(|(key, _)| key).or_else(|| self.glass.get(id))
    }

    /// How far a key is trusted.
    pub(super) fn level_of(&self, id: &KeyId) -> Option<Level> {
        self.list.get(id).map(|(_, space)| space.level)
    }

    /// Whether what this key says about an image counts.
    pub(super) fn may_speak(&self, id: &KeyId) -> bool {
        let named = self.only.is_empty() || self.only.contains(id);
        named && self.level_of(id).is_some_and(|level| level.travels() && level >= self.settings.level)
    }

    /// Whether this key gets past the gate.
    pub(super) fn may_break_glass(&self, id: &KeyId) -> bool {
        self.glass.contains_key(id)
    }

    /// Why something of this kind does not count any more, if it does not.
    pub(super) fn revoked(&self, hit: impl Fn(&Revoked) -> bool) -> Option<&Revocation> {
        self.settings.revoked.iter().find(|revocation| hit(&revocation.what))
    }

    fn encode(&self) -> Encoding {
        let settings = &self.settings;
        let mut out = Encoding::default();
        out.field(0, CONTEXT);
        out.field(1, settings.name.as_bytes());
        out.nested(2, |out| self.speakers().for_each(|(id, place)| out.nested(1, |out| out.pair(id.bytes(), place.as_bytes()))));
        out.field(3, settings.level.word().as_bytes());
        settings.repository.iter().for_each(|repository| out.field(4, repository.as_bytes()));
        out.field(5, &settings.max_age_ms.to_le_bytes());
        out.field(6, &settings.min_tests.to_le_bytes());
        out.field(7, &settings.max_warned.to_le_bytes());
        out.field(8, if settings.reused == ReusedRule::Deny { b"deny" } else { b"protected" });
        settings.image_level.iter().for_each(|level| out.field(9, level.word().as_bytes()));
        out.list(10, sorted(settings.configs.iter().map(Sha256::bytes)));
        out.field(11, &[u8::from(settings.dirty)]);
        out.list(12, sorted(settings.require.iter().map(String::as_bytes)));
        out.list(13, sorted(settings.revoked.iter().map(revocation)));
        if let Some(rule) = &settings.break_glass {
            out.nested(14, |out| {
                out.list(1, self.glass.keys().map(KeyId::bytes));
                out.field(2, &rule.ttl_ms.to_le_bytes());
                out.field(3, &(rule.min_reason as u64).to_le_bytes());
            });
        }
        out
    }

    /// Keys whose word counts, with the place that each writes to.
    fn speakers(&self) -> impl Iterator<Item = (KeyId, String)> {
        self.list.iter().filter(|(key, _)| self.may_speak(&key.id())).map(|(key, space)| (key.id(), space.name()))
    }
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    all.collect()
}

fn revocation(revocation: &Revocation) -> Vec<u8> {
    let mut out = Encoding::default();
    match &revocation.what {
        Revoked::Image(digest) => out.field(1, digest.bytes()),
        Revoked::Run(run) => out.field(2, run.as_bytes()),
        Revoked::Key(id) => out.field(3, id.bytes()),
        Revoked::Commit(commit) => out.field(4, commit.as_bytes()),
    }
    out.field(9, revocation.reason.as_bytes());
    out.bytes().to_vec()
}
