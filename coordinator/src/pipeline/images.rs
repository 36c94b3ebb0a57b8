//! Images in the cache: which one is of which key, how long it took to build, and where a registry has it.

use std::time::Duration;

use async_trait::async_trait;

use super::cache::Cache;
use crate::content::StoreError;
use crate::image::elsewhere::{Elsewhere, Remembered};
use crate::image::key::Key;
use crate::model::event::{EventKind, ImageSource};

/// The layer's name.
pub(super) const IMAGE: &str = "image";
/// Registries and engines clean up, too.
const KEEP: Duration = Duration::from_hours(30 * 24);

#[async_trait]
impl Elsewhere for Cache {
    async fn image(&self, key: Key) -> Option<Remembered> {
        let kept = self.recall(IMAGE, key.bytes()).await;
        let known: Vec<Remembered> = kept.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        // One that can be pulled is worth more than one that is only named.
        known.iter().find(|image| image.remote.is_some()).or(known.first()).cloned()
    }
}

/// Remembers an image that was built, and where it can be pulled from: for others if it can be, else for this machine alone. Nothing is remembered of one that
/// was found, or that has no key.
pub(super) async fn remember(cache: &Cache, image: &EventKind, remote: Option<String>) -> Result<(), StoreError> {
    let EventKind::ImageReady { identity, how: ImageSource::Built, key: Some(key), took_ms, .. } = image else { return Ok(()) };
    let Ok(key) = blake3::Hash::from_hex(key) else { return Ok(()) };
    let travels = remote.is_some();
    let known = Remembered { id: identity.config.clone(), remote, took_ms: *took_ms };
    let bytes = serde_json::to_vec(&known).map_err(std::io::Error::from)?;
    if travels {
        cache.remember(IMAGE, *key.as_bytes(), bytes, KEEP).await
    } else {
        cache.remember_here(IMAGE, *key.as_bytes(), bytes, KEEP).await
    }
}
