//! Images that another machine built: asked for by key where this run remembers things, and pulled by digest.
//!
//! Who remembers, and whom it believes, is the caller's business: what comes from there is believed here as far as it can be checked. An image is taken only if it is the one
//! that is named, by its id, and carries the whole key; where it is not, or cannot be pulled, it is built as if nobody had known anything, and that is said.

use async_trait::async_trait;

use super::ensure::{BuildFrom, KEY_LABEL, ReadyImage, keyed, ready};
use super::error::ImageError;
use super::key::Key;
use super::prepare::Prepared;
use crate::docker::Docker;
use crate::docker::images::LocalImage;
use crate::model::event::ImageSource;
use crate::model::{Listener, Progress, Telling};

/// An image that was built somewhere.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remembered {
    /// Its id: the digest of its configuration.
    pub id: String,
    /// Where a registry has it, by digest, if one has it.
    pub remote: Option<String>,
    /// How long it took to build, in milliseconds.
    pub took_ms: u64,
}

/// Whoever remembers images.
#[async_trait]
pub trait Elsewhere: Send + Sync + std::fmt::Debug {
    /// What is known of the image of a key, and may be believed.
    async fn image(&self, key: Key) -> Option<Remembered>;
}

/// What came of asking elsewhere.
pub(super) enum Fetched {
    /// The image is there.
    Ready(Box<ReadyImage>),
    /// It is to be built; what the user should know of that, if anything.
    Not(Option<String>),
}

/// The image of this key that is known elsewhere, under this name.
pub(super) async fn fetched(
    from: &BuildFrom,
    prepared: &Prepared,
    reference: &str,
    (docker, listener): (&Docker, &dyn Listener),
) -> Result<Fetched, ImageError> {
    let Some(elsewhere) = &from.elsewhere else { return Ok(Fetched::Not(None)) };
    let Some(known) = elsewhere.image(prepared.key).await else { return Ok(Fetched::Not(None)) };
    let image = match docker.image(&known.id).await? {
        Some(image) => image,
        None => match pulled(&known, from.platform.as_deref(), docker, listener).await {
            Ok(Some(image)) => image,
            Ok(None) => return Ok(Fetched::Not(None)),
            Err(why) => {
                return Ok(Fetched::Not(Some(format!("the image that another machine built cannot be used, so it is built here: {why}"))));
            }
        },
    };
    if image.identity.config != known.id || image.labels.get(KEY_LABEL) != Some(&prepared.key.to_hex()) {
        let why = "the image that another machine is said to have built is another one, so it is built here";
        return Ok(Fetched::Not(Some(why.to_owned())));
    }
    match docker.tag(&image.identity.config, reference).await {
        Ok(()) => {}
        // It may have gone this very moment.
        Err(error) if error.is_missing() => return Ok(Fetched::Not(None)),
        Err(error) => return Err(error.into()),
    }
    let mut found = keyed(ready(image, reference.to_owned(), ImageSource::Found, from.platform.clone()), prepared);
    found.saved_ms = known.took_ms;
    Ok(Fetched::Ready(Box::new(found)))
}

async fn pulled(
    known: &Remembered,
    platform: Option<&str>,
    docker: &Docker,
    listener: &dyn Listener,
) -> Result<Option<LocalImage>, String> {
    let Some(remote) = &known.remote else { return Ok(None) };
    let doing = |what: String| listener.hear(&Telling::Progress(Progress::Doing(what)));
    doing(format!("pulling {remote}"));
    let pulled = docker.pull(remote, platform, |news| doing(format!("pulling {remote}: {news}"))).await;
    let image = match pulled {
        Ok(()) => docker.image(remote).await,
        Err(error) => Err(error),
    };
    image.map_err(|error| error.to_string())
}
