//! What the stores that machines share let this run do, for `splitci cache doctor`. Each is asked with a record that nobody looks for, which is gone when this returns; the repository of
//! layers for a tag that nobody writes, and with an upload that is given up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::tiers::far_stores;
use crate::config::CacheSettings;
use crate::content::{RecordKey, RedisMemory, Store, StoreError};
use crate::docker::uploads::Takes;
use crate::docker::{Docker, DockerError, connect};
use crate::image::layers::{repository_of, travels};
use crate::model::trust::{Level, Space};

/// How long a store is waited for, all questions together.
const PATIENCE: Duration = Duration::from_secs(10);
const LAYER: &str = "probe";

/// A shared store that was asked.
#[derive(Debug, Clone)]
pub struct SharedStore {
    /// What it is called: `redis`, `s3`.
    pub name: String,
    /// Milliseconds until a record was written and read again; or why that cannot be done.
    pub answer: Result<u64, StoreError>,
    /// Whether this run may overwrite and delete what a more trusted level wrote: it cannot forge it.
    pub meddles: bool,
    /// How a Redis is set up and filled.
    pub memory: Option<RedisMemory>,
}

/// Asks each shared store of the settings, as a run that writes to this space would.
pub async fn examine_stores(settings: &CacheSettings, space: &Space, env: &BTreeMap<String, String>, scratch: &Path) -> Vec<SharedStore> {
    let (stores, broken) = far_stores(settings, std::slice::from_ref(space), env, scratch);
    let unusable = broken.into_iter().map(|(name, error)| SharedStore { name, answer: Err(error), meddles: false, memory: None });
    let mut all: Vec<SharedStore> = unusable.collect();
    for (store, redis) in stores {
        let memory = match &redis {
            Some(redis) => tokio::time::timeout(PATIENCE, redis.memory()).await.ok().and_then(Result::ok),
            None => None,
        };
        all.push(SharedStore { memory, ..asked(&store, space).await });
    }
    all
}

/// The repository of layers that was asked.
#[derive(Debug)]
pub struct LayersRepository {
    /// The one that this run's level writes to, or reads.
    pub name: String,
    /// As whom it was asked; nobody in particular if the docker client has no credentials for it.
    pub user: Option<String>,
    /// Whether the engine can read there.
    pub reads: Result<(), DockerError>,
    /// Whether it takes layers; nothing if a run of this level sends none.
    pub takes: Option<Takes>,
    /// A more trusted level whose layers this run may overwrite.
    pub meddles: Option<Level>,
}

/// Asks the repository in which layers travel, as a run of this level would; nothing if there is none. `used` are the levels that anybody has a key for.
pub async fn examine_layers(
    settings: &CacheSettings,
    level: Level,
    used: &[Level],
    env: &BTreeMap<String, String>,
) -> Result<Option<LayersRepository>, DockerError> {
    let Some(repository) = &settings.layers else { return Ok(None) };
    let docker = connect(None, env).await?;
    // Who sends nothing takes what others wrote.
    let name = repository_of(repository, if travels(level) { level } else { Level::Protected });
    let reads = docker.in_registry(&format!("{name}:{LAYER}"), PATIENCE).await.map(|_| ());
    let takes = if travels(level) && !settings.read_only { Some(docker.takes(&name).await?) } else { None };
    let above: Vec<Level> = used.iter().copied().filter(|one| *one > level && travels(*one)).collect();
    let meddles = overwrites(&docker, repository, &above).await?;
    Ok(Some(LayersRepository { user: docker.user_of(&name).await?, name, reads, takes, meddles }))
}

/// The first of these levels whose layers may be overwritten.
async fn overwrites(docker: &Docker, repository: &str, above: &[Level]) -> Result<Option<Level>, DockerError> {
    for level in above {
        if docker.takes(&repository_of(repository, *level)).await? == Takes::Yes {
            return Ok(Some(*level));
        }
    }
    Ok(None)
}

async fn asked(store: &Arc<dyn Store>, space: &Space) -> SharedStore {
    let late = || StoreError::Late { tier: store.name().to_owned(), after: PATIENCE };
    let began = Instant::now();
    let answer = match tokio::time::timeout(PATIENCE, probe(store, &space.name())).await {
        Err(_) => Err(late()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) => Ok(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
    };
    // Who is trusted most has nobody above.
    let above = Level::ALL.into_iter().find(|level| *level > space.level);
    let meddles = match above.filter(|_| answer.is_ok()) {
        None => false,
        Some(above) => matches!(tokio::time::timeout(PATIENCE, probe(store, &Space::of(above).name())).await, Ok(Ok(()))),
    };
    SharedStore { name: store.name().to_owned(), answer, meddles, memory: None }
}

/// Writes a record, reads it, and deletes it.
async fn probe(store: &Arc<dyn Store>, space: &str) -> Result<(), StoreError> {
    let name = ulid::Ulid::generate().to_string();
    let key = RecordKey { layer: LAYER, space: space.to_owned(), key: *blake3::hash(name.as_bytes()).as_bytes() };
    store.put_record(&key, Bytes::from(name.clone())).await?;
    let read = store.record(&key).await;
    let removed = store.remove_record(&key).await;
    let there = read?.is_some_and(|bytes| bytes == name.as_bytes());
    removed?;
    if there {
        Ok(())
    } else {
        Err(std::io::Error::other("what was written could not be read again: it is full, or its policy keeps nothing").into())
    }
}
