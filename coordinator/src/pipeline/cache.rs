//! The cache of a run: opened before anything else is done, asked and written to under this run's key, and closed when the run is over.
//!
//! What is remembered for how long, and what it is good for, is known where it is used (`results`, `timings`, `ground`). Here is who this run is, where its
//! store lies (`tiers`), and the one form that a piece of memory has: small ones in the record itself, larger ones in a blob that the record names.
//!
//! Nothing here makes a run red. A store that cannot be used is told in a sentence, and everything is done as if it were empty. The one error is a key that was given and
//! cannot be used: who signs with the wrong key, or with none, wants to know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::claims::Claims;
use super::tiers::{Chain, chain_of};
use super::{PipelineError, World};
use crate::config::Project;
use crate::content::local::Sweep;
use crate::content::{Access, Digest, Lease, Limit, LocalStore, StoreError};
use crate::model::RunId;
use crate::model::chain;
use crate::model::settings::EngineKind;
use crate::model::trust::Level;
use crate::mounts::Carrier;
use crate::tally::{self, Tally, Worth};
use crate::trust::{Keys, Life, MacKey, Opened, identify};
use crate::vault::{Memory, Vault};

/// What is not larger goes into the record itself: one question instead of two.
const MOST_INSIDE: usize = 64 << 10;
/// Room is made no more often: a walk over all entries is not free.
const MAKE_ROOM_EVERY: Duration = Duration::from_hours(1);
/// The file whose time says when room was last made.
const LAST_COLLECTED: &str = "collected";

/// The cache of a run.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) vault: Arc<Vault>,
    near: LocalStore,
    chain: Chain,
    pub(super) lease: Arc<Lease>,
    /// What was asked for, if not the default.
    size: Option<u64>,
    /// Where the near store is.
    directory: PathBuf,
    pub(super) read_only: bool,
    run: RunId,
    worth: Mutex<BTreeMap<String, Worth>>,
    /// What is said of its build to other machines, if there are any.
    pub(super) claims: Option<Claims>,
    /// Who carries build mounts, once there was a build.
    pub(super) carrier: OnceLock<Carrier>,
}

/// A cache, if there can be one, and what the user should know of it.
#[derive(Default)]
pub(super) struct Opening {
    pub(super) cache: Option<Arc<Cache>>,
    /// How far the run is trusted, with a cache or without; nothing if only here.
    pub(super) level: Option<Level>,
    pub(super) notices: Vec<String>,
}

impl Cache {
    /// The cache of a run of a project.
    pub(super) async fn open(project: &Project, run: &RunId, world: &World) -> Result<Opening, PipelineError> {
        let directory = match (project.cache.dir.clone(), &project.trust.key) {
            (Some(directory), _) => Some(directory),
            (None, Some(_)) => None,
            // Nobody wants to know who this is.
            (None, None) => return Ok(Opening::default()),
        };
        let keys =
            Keys { settings: &project.trust, passphrase: world.passphrase.clone().map(Zeroizing::new), home: &project.records.machine };
        let identity = match identify(&keys) {
            Ok(identity) => identity,
            Err(error) if project.trust.key.is_some() || !project.trust.trusted.is_empty() => return Err(error.into()),
            Err(error) => return Ok(Opening::without(None, &error, error.hint())),
        };
        let level = Some(identity.seal.space().level);
        let Some(directory) = directory else { return Ok(Opening { level, ..Opening::default() }) };
        let mut notices: Vec<String> = identity.notice().into_iter().collect();
        let access = if project.cache.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let opened = async {
            let near = LocalStore::open(&directory, access)?;
            let lease = near.lease(run).await?;
            Ok::<_, StoreError>((near, lease))
        };
        let (near, lease) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return Ok(Opening::without(level, &error, error.hint())),
        };
        // What local processes did is no proof for anybody else, and a level that does not travel has no readers elsewhere.
        let travels = identity.seal.space().level.travels() && project.settings.engine == EngineKind::Docker;
        let (chain, more) = chain_of(&near, &project.cache, &identity.seal.reads(&[]), travels.then_some(world));
        notices.extend(more);
        let claims = chain.far().map(|far| Claims::new(far, identity.seal.clone(), chain.store(), run.clone()));
        let vault = Arc::new(Vault::new(chain.store(), identity.seal, &[]));
        let (size, read_only) = (project.cache.size, project.cache.read_only);
        let (worth, carrier) = (Mutex::default(), OnceLock::new());
        let lease = Arc::new(lease);
        let cache = Self { vault, near, chain, lease, size, directory, read_only, run: run.clone(), worth, claims, carrier };
        Ok(Opening { cache: Some(Arc::new(cache)), level, notices })
    }

    /// What hides secret values in keys.
    pub(super) fn mac_key(&self) -> MacKey {
        self.vault.seal().mac_key()
    }

    /// Everything that is believed of a piece of memory, this run's own first.
    pub(super) async fn recall(&self, layer: &'static str, key: [u8; 32]) -> Vec<Bytes> {
        self.recall_with_levels(layer, key).await.into_iter().map(|(_, bytes)| bytes).collect()
    }

    /// The same, each with the level of who wrote it.
    pub(super) async fn recall_with_levels(&self, layer: &'static str, key: [u8; 32]) -> Vec<(Level, Bytes)> {
        let mut all = Vec::new();
        for opened in self.vault.recall_all(layer, key, milliseconds(&self.run)).await {
            let level = opened.space.level;
            all.extend(self.whole(opened).await.map(|bytes| (level, bytes)));
        }
        all
    }

    async fn whole(&self, opened: Opened) -> Option<Bytes> {
        match Form::read(&opened.payload)? {
            Form::Inside(bytes) => Some(bytes),
            Form::Blob(digest) => {
                // A lease that cannot be written costs the blob at worst, if somebody makes room this very moment.
                let _held = self.lease.add(&[digest]);
                self.vault.store().get(digest).await.ok().flatten()
            }
        }
    }

    /// Remembers something at this run's level, and counts how long that took.
    pub(super) async fn remember(&self, layer: &'static str, key: [u8; 32], bytes: Vec<u8>, keep: Duration) -> Result<(), StoreError> {
        if self.read_only {
            return Ok(());
        }
        let life = Life { written_at: milliseconds(&self.run), keep };
        let bytes = Bytes::from(bytes);
        let (payload, blobs) = if bytes.len() <= MOST_INSIDE {
            (Form::Inside(bytes).write(), Vec::new())
        } else {
            let digest = Digest::of(&bytes);
            self.vault.store().put(digest, bytes).await?;
            (Form::Blob(digest).write(), vec![digest])
        };
        self.vault.remember(layer, key, Memory { payload, blobs, life }).await
    }

    /// Counts what a layer was good for in this run.
    pub(super) fn count(&self, layer: &str, more: Worth) {
        let mut worth = self.worth.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = worth.entry(layer.to_owned()).or_default();
        sum.reused += more.reused;
        sum.saved_ms += more.saved_ms;
        sum.cost_ms += more.cost_ms;
    }

    /// Waits, not for ever, until what was written has arrived, makes room, and notes what all of it was good for. Returns what the user should know.
    pub(super) async fn close(&self, at: &str) -> Vec<String> {
        let mut notes = self.finish_mounts().await;
        let flushed = self.vault.store().flush().await.err();
        notes.extend(flushed.map(|error| format!("what is remembered of this run may not outlive a loss of power: {}", chain(&error))));
        if let Some(claims) = &self.claims {
            claims.close().await;
        }
        notes.extend(self.chain.lost());
        if !self.read_only {
            notes.extend(self.make_room().await.err().map(|error| format!("no room was made in the cache: {}", chain(&error))));
            let tallied = tally::note(&self.directory, &self.tally(at));
            notes.extend(tallied.err().map(|error| format!("what the cache was good for is not noted: {}", chain(&error))));
        }
        notes
    }

    fn tally(&self, at: &str) -> Tally {
        let layers = self.worth.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Tally {
            at: at.to_owned(),
            run: self.run.0.clone(),
            tiers: self.chain.stats(&self.near),
            layers,
            refused: self.vault.refused(),
            ..Tally::default()
        }
    }

    async fn make_room(&self) -> Result<(), StoreError> {
        let last = self.near.path().join(LAST_COLLECTED);
        let recent = |at: SystemTime| at.elapsed().is_ok_and(|age| age < MAKE_ROOM_EVERY);
        if fs_err::metadata(&last).and_then(|about| about.modified()).is_ok_and(recent) {
            return Ok(());
        }
        fs_err::write(&last, [])?;
        let limit = self.size.map_or_else(|| Limit::for_disk(&self.directory), |bytes| Ok(Limit::of(bytes)))?;
        self.near.collect(limit, Sweep::Delete).await.map(|_| ())
    }
}

impl Opening {
    fn without(level: Option<Level>, error: &dyn std::error::Error, hint: Option<String>) -> Self {
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let notice = format!("nothing is remembered beside the state directory: {}{hint}", chain(error));
        Self { cache: None, level, notices: vec![notice] }
    }
}

/// The form that a piece of memory has under its seal. Another version is another word.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Inside(Bytes),
    Blob(Digest),
}

const INSIDE: &[u8] = b"inside 1\n";
const BLOB: &[u8] = b"blob 1\n";

impl Form {
    fn write(&self) -> Bytes {
        match self {
            Self::Inside(bytes) => [INSIDE, bytes].concat().into(),
            Self::Blob(digest) => [BLOB, digest.as_bytes()].concat().into(),
        }
    }

    fn read(payload: &Bytes) -> Option<Self> {
        if payload.starts_with(INSIDE) {
            return Some(Self::Inside(payload.slice(INSIDE.len()..)));
        }
        let digest = payload.strip_prefix(BLOB)?.try_into().ok()?;
        Some(Self::Blob(Digest::from_bytes(digest)))
    }
}

/// When a run began, by its name, in milliseconds since 1970.
pub(super) fn milliseconds(run: &RunId) -> u64 {
    ulid::Ulid::from_string(&run.0).map_or(0, |ulid| ulid.timestamp_ms())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_memory_has_one_of_two_forms() {
        for form in [Form::Inside(Bytes::from_static(b"blob 1\n")), Form::Inside(Bytes::new()), Form::Blob(Digest::of(b"x"))] {
            assert_eq!(Form::read(&form.write()), Some(form));
        }
        let cut = Form::Blob(Digest::of(b"x")).write();
        assert_eq!(Form::read(&cut.slice(..cut.len() - 1)), None);
        assert_eq!(Form::read(&Bytes::from_static(b"inside 2\nx")), None, "another version");
    }
}
