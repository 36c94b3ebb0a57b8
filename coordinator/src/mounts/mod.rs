//! Build mounts across machines: what `RUN --mount=type=cache` has gathered is saved after a build, and restored into a mount that has nothing.
//!
//! | file | is |
//! |---|---|
//! | `errand` | a build whose only steps are our worker, once in each mount, and the talk with it |
//! | [`manifest`] | what is in a mount: names, times, owners, and where the bytes are |
//! | `restore` | from the store into an empty mount |
//! | `save` | from a mount into the store, of which only what the store has not |
//! | `pack` | small files travel together |
//! | `table` | what was saved last from this engine, so that what did not change is not read again |
//! | [`worth`] | whether it pays |
//!
//! A builder offers no way to a mount but a step that has it, and no way out of a step that leaves nothing behind but an agent's socket. So the
//! worker talks with us through that. Records are sealed by level (`vault`), and blobs are named by the signed record alone. Nothing here fails a build or
//! a run: what cannot be restored is made again, what cannot be saved is not saved, and both are said.

mod errand;
pub mod manifest;
mod pack;
mod restore;
mod save;
mod table;
pub mod worth;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::content::{Digest, Lease, StoreError};
use crate::docker::build::BuildFailure;
use crate::docker::{Docker, DockerError};
use crate::image::kept::replace;
use crate::image::travel::{Brought, Journey, StepTimes, Stop, Travel};
use crate::model::{Listener, chain};
use crate::trust::Life;
use crate::vault::{Memory, Recall, Vault};

/// The layer of the cache.
pub const LAYER: &str = "mounts";
/// How long a mount is worth keeping that nobody saved again.
const KEEP: Duration = Duration::from_hours(30 * 24);
/// How long saving or restoring may take, all in all.
const PATIENCE: Duration = Duration::from_mins(10);

/// The worker's program for an architecture.
pub type Program = dyn Fn(&str) -> Option<Arc<[u8]>> + Send + Sync;

/// What carrying mounts needs.
#[derive(Clone)]
pub struct Needs {
    /// Where contents are remembered.
    pub vault: Arc<Vault>,
    /// Keeps this machine's store from making room of what is on its way, if it has one.
    pub lease: Option<Arc<Lease>>,
    /// What the project is called where memory is shared.
    pub project: [u8; 32],
    /// Who does the work inside of builds.
    pub program: Arc<Program>,
    /// A directory for sockets and large files, with a short path.
    pub scratch: PathBuf,
    /// Where this machine remembers what it saved last.
    pub state: PathBuf,
    /// Mounts are saved, not only restored.
    pub saves: bool,
}

/// Carries mounts of builds. A copy is the same one.
#[derive(Clone)]
pub struct Carrier(Arc<Inner>);

struct Inner {
    needs: Needs,
    /// What was found in mounts, by their identity.
    found: Mutex<BTreeMap<String, Found>>,
    /// Held while something is saved: one at a time.
    saving: tokio::sync::Mutex<()>,
    at_work: Mutex<JoinSet<Vec<String>>>,
    balance: Mutex<Balance>,
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("vault", &self.0.needs.vault).finish_non_exhaustive()
    }
}

/// What a mount held when the build began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing, and nothing was brought.
    Nothing,
    /// What was brought, and what its steps took with nothing, if that is known.
    Brought { empty_ms: Option<u64> },
    /// Something that was there.
    Something,
}

/// What is remembered of a mount: the payload of a record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Saved {
    /// The blob that is the manifest.
    pub manifest: Digest,
    /// Bytes of all files.
    pub bytes: u64,
    /// What its tools were told to get.
    pub lock: Digest,
    /// How long its steps took with nothing in the mount, in milliseconds.
    pub empty_ms: Option<u64>,
    /// And with what was brought.
    pub filled_ms: Option<u64>,
}

/// What carrying mounts was good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Mounts that were restored.
    pub restored: u64,
    /// How much less their steps took than with nothing, in milliseconds, where both are known.
    pub saved_ms: u64,
    /// How long looking, restoring and saving took, in milliseconds.
    pub cost_ms: u64,
}

/// Why a mount was not restored or saved.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The build in which it was to be done failed.
    #[error("the builder cannot do it")]
    Build(#[source] BuildFailure),
    /// The engine.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our files or the stream to the worker.
    #[error("cannot use a file or a socket")]
    Io(#[from] std::io::Error),
    /// Something of a saved mount that must not be restored.
    #[error("what was saved is refused: {0}")]
    Refused(String),
    /// A part of a saved mount went away.
    #[error("a part of what was saved is not there any more")]
    Lost,
    /// The worker says no.
    #[error("the worker in the mount says: {0}")]
    Worker(String),
    /// The mount holds more than is saved.
    #[error(
        "it holds {entries} files and directories, {bytes} bytes; what is saved is at most {} and {}",
        manifest::MOST_ENTRIES,
        manifest::MOST_BYTES
    )]
    TooMuch {
        /// How many.
        entries: usize,
        /// How large.
        bytes: u64,
    },
    /// There is no worker for this engine.
    #[error("there is no worker for the architecture {0}")]
    NoWorker(String),
    /// It took too long.
    #[error("it was not done within {}", humantime::format_duration(PATIENCE))]
    Late,
}

impl Carrier {
    /// One that is ready.
    pub fn new(needs: Needs) -> Self {
        let (found, saving, at_work) = (Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { needs, found, saving, at_work, balance: Mutex::default() }))
    }

    /// What it was good for so far, of what was not told yet.
    pub fn balance(&self) -> Balance {
        std::mem::take(&mut *self.0.balance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for what is being saved, but not longer than this. What the user should know.
    pub async fn finish(&self, within: Duration) -> Vec<String> {
        let mut at_work = std::mem::take(&mut *self.0.at_work.lock().unwrap_or_else(PoisonError::into_inner));
        let mut notes = Vec::new();
        let all = async {
            while let Some(done) = at_work.join_next().await {
                notes.extend(done.unwrap_or_default());
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            notes.push("build mounts are not saved: the run was over before it was done".to_owned());
        }
        notes
    }
}

impl Inner {
    fn count(&self, more: Balance) {
        let mut balance = self.balance.lock().unwrap_or_else(PoisonError::into_inner);
        balance.restored += more.restored;
        balance.saved_ms += more.saved_ms;
        balance.cost_ms += more.cost_ms;
    }

    /// Counts what it was good for that mounts were brought.
    fn weigh(&self, journey: &Journey, times: &StepTimes) {
        let found = self.found().clone();
        let brought = journey.mounts.iter().filter_map(|stop| match found.get(&stop.mount.identity()) {
            Some(Found::Brought { empty_ms }) => Some((stop, *empty_ms)),
            _ => None,
        });
        let brought: Vec<_> = brought.collect();
        self.count(Balance { restored: brought.len() as u64, saved_ms: worth::gain(&brought, times), cost_ms: 0 });
    }

    fn found(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Travel for Carrier {
    async fn bring(
        &self,
        journey: &Journey,
        docker: &Arc<Docker>,
        listener: &dyn Listener,
        forget: &(dyn Fn() -> bool + Send + Sync),
    ) -> Brought {
        let began = Instant::now();
        let bringing = restore::bring(&self.0, journey, (docker, listener), forget);
        let brought = tokio::time::timeout(PATIENCE, bringing).await;
        self.0.count(Balance { cost_ms: milliseconds(began), ..Balance::default() });
        if let Ok(brought) = brought {
            return brought;
        }
        // What was being restored may be in a mount when the builder is through with it. If the old times stay, this build says *now* at least.
        forget();
        Brought { something: true, notes: vec![format!("build mounts are not restored: {}", MountError::Late)] }
    }

    fn take(&self, journey: Journey, times: StepTimes, docker: &Arc<Docker>) {
        self.0.weigh(&journey, &times);
        if !self.0.needs.saves {
            return;
        }
        let (carrier, docker) = (Arc::clone(&self.0), Arc::clone(docker));
        let work = async move {
            let _one_at_a_time = carrier.saving.lock().await;
            let began = Instant::now();
            let saving = save::save(&carrier, &journey, &times, &docker);
            let saved = tokio::time::timeout(PATIENCE, saving).await;
            carrier.count(Balance { cost_ms: milliseconds(began), ..Balance::default() });
            saved.unwrap_or_else(|_| vec![format!("build mounts are not saved: {}", MountError::Late)])
        };
        self.0.at_work.lock().unwrap_or_else(PoisonError::into_inner).spawn(work);
    }
}

impl Needs {
    /// Holds blobs, or records by their keys, before they are looked for or put. A lease that cannot be written costs them at worst.
    fn hold(&self, blobs: &[Digest]) {
        let _held = self.lease.as_ref().map(|lease| lease.add(blobs));
    }

    /// What is remembered of a mount: for exactly these lock files, else the latest that anybody saved.
    async fn recall(&self, journey: &Journey, stop: &Stop) -> Option<Saved> {
        self.hold(&[true, false].map(|exact| Digest::from_bytes(self.key(journey, stop, exact))));
        if let Recall::Found(opened) = self.vault.recall(LAYER, self.key(journey, stop, true), now()).await
            && let Ok(saved) = serde_json::from_slice(&opened.payload)
        {
            return Some(saved);
        }
        let all = self.vault.recall_all(LAYER, self.key(journey, stop, false), now()).await;
        let latest = all.into_iter().max_by_key(|opened| opened.written_at)?;
        serde_json::from_slice(&latest.payload).ok()
    }

    /// Remembers a mount, both ways. Its blobs are in the store.
    async fn remember(&self, journey: &Journey, stop: &Stop, saved: &Saved, blobs: &[Digest]) -> Result<(), MountError> {
        let payload = serde_json::to_vec(saved).map_err(std::io::Error::from)?;
        for exact in [true, false] {
            let life = Life { written_at: now(), keep: KEEP };
            let memory = Memory { payload: payload.clone().into(), blobs: blobs.to_vec(), life };
            self.vault.remember(LAYER, self.key(journey, stop, exact), memory).await?;
        }
        Ok(())
    }

    /// The key of a mount. Another base is another mount: what was compiled for one may not run on the other.
    fn key(&self, journey: &Journey, stop: &Stop, exact: bool) -> [u8; 32] {
        let identity = stop.mount.identity();
        let mut hasher = blake3::Hasher::new_derive_key("splitci build mount v1");
        let lock: &[u8] = if exact { &stop.lock } else { &[] };
        let fields =
            [&self.project, journey.project.as_bytes(), journey.platform.as_bytes(), stop.base.as_bytes(), identity.as_bytes(), lock];
        for field in fields {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
        *hasher.finalize().as_bytes()
    }

    fn state(&self, name: &str) -> PathBuf {
        self.state.join("mounts").join(name)
    }
}

/// How long the steps of a mount took, if all of them were done.
fn took(stop: &Stop, times: &StepTimes) -> Option<u64> {
    stop.steps.iter().map(|step| times.get(step)).sum()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn milliseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Keeps a file of this machine's memory. What cannot be kept is not kept: then more is read the next time.
fn keep(path: &Path, bytes: &[u8]) {
    replace(path, bytes).ok();
}
