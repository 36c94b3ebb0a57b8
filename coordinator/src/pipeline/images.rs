//! Images in the cache: which one is of which key, how long it took to build, and where a registry has it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::cache::Cache;
use crate::content::StoreError;
use crate::image::elsewhere::{Claim, Elsewhere, Remembered};
use crate::image::key::Key;
use crate::model::event::{EventKind, ImageSource};
use crate::model::trust::Level;

/// The layer of images that can be pulled; what it was good for is counted under its name, too.
pub(super) const IMAGE: &str = "image";
/// The layer of images that only the engine has that built them. It is another one, so that none of them hides what can be pulled.
const BUILT: &str = "built";
/// Registries and engines clean up, too.
const KEEP: Duration = Duration::from_hours(30 * 24);

#[async_trait]
impl Elsewhere for Cache {
    async fn image(&self, key: Key) -> Option<Remembered> {
        for layer in [IMAGE, BUILT] {
            let kept = self.recall_with_levels(layer, key.bytes()).await;
            let known = |(level, bytes): &(Level, Bytes)| Some((*level, serde_json::from_slice::<Remembered>(bytes).ok()?));
            if let Some((level, known)) = kept.iter().find_map(known) {
                return Some(Remembered { level: Some(level), ..known });
            }
        }
        None
    }

    async fn claim(&self, key: Key) -> Option<Claim> {
        self.claims.as_ref()?.of(key).await
    }

    fn announce(&self, key: Key, claim: Claim) {
        if let Some(claims) = self.claims.as_ref().filter(|_| !self.read_only) {
            claims.announce(key, claim);
        }
    }
}

/// Remembers an image that is there now, for this machine and others with the same engine. `on_its_way` is whether others can soon have it from elsewhere; if not, they
/// need not wait for this run any longer.
pub(super) async fn is_there(cache: &Cache, image: &EventKind, on_its_way: bool) -> Result<(), StoreError> {
    let remembered = remember(cache, image, None).await;
    if let Some(claims) = &cache.claims {
        if on_its_way { claims.built() } else { claims.through() }
    }
    remembered
}

/// Remembers an image that was sent, if it was, and where it can be pulled from. Nobody need wait for this run any longer.
pub(super) async fn was_sent(cache: &Cache, image: &EventKind, remote: Option<String>) -> Result<(), StoreError> {
    let remembered = match remote {
        Some(remote) => remember(cache, image, Some(remote)).await,
        None => Ok(()),
    };
    if let Some(claims) = &cache.claims {
        claims.through();
    }
    remembered
}

/// Remembers an image that was built, and where it can be pulled from, if it can. Nothing is remembered of one that was found, or that has no key.
async fn remember(cache: &Cache, image: &EventKind, remote: Option<String>) -> Result<(), StoreError> {
    let EventKind::ImageReady { identity, how: ImageSource::Built, key: Some(key), took_ms, .. } = image else { return Ok(()) };
    let Ok(key) = blake3::Hash::from_hex(key) else { return Ok(()) };
    let layer = if remote.is_some() { IMAGE } else { BUILT };
    let known = Remembered { id: identity.config.clone(), remote, took_ms: *took_ms, level: None };
    let bytes = serde_json::to_vec(&known).map_err(std::io::Error::from)?;
    cache.remember(layer, *key.as_bytes(), bytes, KEEP).await
}
