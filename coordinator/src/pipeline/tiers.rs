//! Where the store of a run lies: a directory of this machine, and behind it what is shared with others. The only place that names concrete far stores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::World;
use crate::config::CacheSettings;
use crate::content::{
    LocalStore, Login, MemoryStore, Patience, RedisSettings, RedisStore, RegistrySettings, RegistryStore, S3Settings, S3Store, Store,
    StoreError, StoreStats, Tiered,
};
use crate::docker::credentials::login_of;
use crate::docker::uploads::is_plain;
use crate::model::chain;
use crate::model::trust::Space;

/// The stores of a run.
#[derive(Debug)]
pub(super) struct Chain {
    store: Arc<dyn Store>,
    tiered: Option<Arc<Tiered>>,
    /// The far ones alone, by a way of their own.
    far: Option<Arc<Tiered>>,
}

impl Chain {
    /// All of them as one.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The far ones alone, if there are any, for what is of no use here and must not wait behind what is large.
    pub(super) fn far(&self) -> Option<Arc<dyn Store>> {
        self.far.as_ref().map(|far| Arc::clone(far) as _)
    }

    /// What each did.
    pub(super) fn stats(&self, near: &LocalStore) -> BTreeMap<String, StoreStats> {
        match &self.tiered {
            Some(tiered) => tiered.tiers().into_iter().map(|tier| (tier.name, tier.stats)).collect(),
            None => BTreeMap::from([(near.name().to_owned(), near.stats())]),
        }
    }

    /// Stores that failed so often that they were left alone, a sentence each.
    pub(super) fn lost(&self) -> Vec<String> {
        let tiers = self.tiered.iter().flat_map(|tiered| tiered.tiers()).filter(|tier| tier.given_up);
        let sentence = |tier: crate::content::TierReport| {
            let why = tier.stats.first_error.map(|error| format!(": {error}")).unwrap_or_default();
            format!("the shared cache `{}` was left alone after three failures{why}", tier.name)
        };
        tiers.map(sentence).collect()
    }
}

/// The chain that the settings mean, for a run that writes in the first of these spaces and reads in all of them. `world` is there if what it remembers is
/// for others, too.
pub(super) fn chain_of(near: &LocalStore, settings: &CacheSettings, spaces: &[Space], world: Option<&World>) -> (Chain, Vec<String>) {
    let alone = || Chain { store: Arc::new(near.clone()), tiered: None, far: None };
    let asked = settings.redis.is_some() || settings.s3.is_some();
    let Some(world) = world else {
        let text = "the shared cache is not used: this run has no key that others trust, or runs local processes";
        return (alone(), asked.then(|| text.to_owned()).into_iter().collect());
    };
    let (stores, mut broken) = far_stores(settings, spaces, &world.env, &world.scratch);
    let mut far: Vec<_> = stores.into_iter().map(|(store, _)| store).collect();
    // Where layers travel, there is a registry that can say which image is of which key. It is asked last.
    match settings.layers.as_ref().map(|repository| RegistryStore::new(registry(repository, &world.env))) {
        Some(Ok(registry)) => far.push(Arc::new(registry)),
        Some(Err(error)) => broken.push(("registry".to_owned(), error)),
        None => {}
    }
    let sentence = |(name, error): (String, StoreError)| format!("the shared cache `{name}` is not used: {}", chain(&error));
    let notices = broken.into_iter().map(sentence).collect();
    if far.is_empty() {
        return (alone(), notices);
    }
    let before = |near: Arc<dyn Store>| Arc::new(Tiered::new(near, far.clone(), world.scratch.clone(), Patience::default()));
    let (tiered, apart) = (before(Arc::new(near.clone())), before(Arc::new(MemoryStore::default())));
    (Chain { store: Arc::clone(&tiered) as _, tiered: Some(tiered), far: Some(apart) }, notices)
}

/// A far store, and as a Redis if it is one.
pub(super) type FarStore = (Arc<dyn Store>, Option<Arc<RedisStore>>);

/// The far stores of the settings, the fastest first, for who writes in the first of these spaces; and those that cannot be used. None is asked yet.
pub(super) fn far_stores(
    settings: &CacheSettings,
    spaces: &[Space],
    env: &BTreeMap<String, String>,
    scratch: &Path,
) -> (Vec<FarStore>, Vec<(String, StoreError)>) {
    let (mut far, mut broken): (Vec<FarStore>, Vec<_>) = (Vec::new(), Vec::new());
    if let Some(url) = &settings.redis {
        let mut names = spaces.iter().map(Space::name);
        let own = RedisSettings::new(&url.0, &names.next().unwrap_or_default());
        match RedisStore::new(RedisSettings { trusted: names.collect(), ..own }).map(Arc::new) {
            Ok(redis) => far.push((Arc::clone(&redis) as _, Some(redis))),
            Err(error) => broken.push(("redis".to_owned(), error)),
        }
    }
    if let Some(bucket) = &settings.s3 {
        match S3Store::new(&s3(bucket, env), scratch.to_owned()) {
            Ok(store) => far.push((Arc::new(store) as _, None)),
            Err(error) => broken.push(("s3".to_owned(), error)),
        }
    }
    (far, broken)
}

/// A repository, and who the docker client's configuration says that we are there.
fn registry(repository: &str, env: &BTreeMap<String, String>) -> RegistrySettings {
    let (env, whose) = (env.clone(), repository.to_owned());
    let login: Login = Box::new(move || {
        let (env, whose) = (env.clone(), whose.clone());
        Box::pin(async move { login_of(&env, &whose).await.map_err(Into::into) })
    });
    RegistrySettings { repository: repository.to_owned(), plain: is_plain(repository), login }
}

/// A bucket with what the environment says of the way there: the variables that every tool of that kind reads.
fn s3((bucket, prefix): &(String, String), env: &BTreeMap<String, String>) -> S3Settings {
    let set = |names: &[&str]| names.iter().find_map(|name| env.get(*name)).filter(|value| !value.is_empty()).cloned();
    S3Settings {
        bucket: bucket.clone(),
        prefix: prefix.clone(),
        region: set(&["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or_else(|| "us-east-1".to_owned()),
        endpoint: set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
        key: set(&["AWS_ACCESS_KEY_ID"]).zip(set(&["AWS_SECRET_ACCESS_KEY"])),
        token: set(&["AWS_SESSION_TOKEN"]),
    }
}
