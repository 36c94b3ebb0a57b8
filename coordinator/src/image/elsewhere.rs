//! Images that another machine built: asked for by key where this run remembers things, and pulled by digest.
//!
//! Who remembers, and whom it believes, is the caller's business: what comes from there is believed here as far as it can be checked. An image is taken only if it is the one
//! that is named, by its id, and carries the whole key; where it is not, or cannot be pulled, it is built as if nobody had known anything, and that is said.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::ensure::{BuildFrom, KEY_LABEL, ReadyImage, doing, keyed, ready, usual};
use super::error::ImageError;
use super::key::Key;
use super::layers::sends;
use super::prepare::Prepared;
use super::watch::{Next, Waiter, Watch};
use crate::docker::Docker;
use crate::docker::images::LocalImage;
use crate::model::event::ImageSource;
use crate::model::trust::Level;
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
    /// How far whoever says so is trusted. It is never what they say of themselves.
    #[serde(skip)]
    pub level: Option<Level>,
}

/// What somebody says who builds the image of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Claim {
    /// Who it is, and where.
    pub whom: String,
    /// In which engine.
    pub engine: String,
    /// It would send what it builds to a registry, if that is worth it.
    pub sends: bool,
    /// How long its last build took, in milliseconds, if it knows.
    pub usual_ms: Option<u64>,
    /// Another one each time that it is said: who is silent may be dead.
    pub beat: u64,
    /// The image is built, and on its way.
    pub built: bool,
}

/// Whoever remembers images.
#[async_trait]
pub trait Elsewhere: Send + Sync + std::fmt::Debug {
    /// What is known of the image of a key, and may be believed.
    async fn image(&self, key: Key) -> Option<Remembered>;

    /// Who else says that it builds the image of a key, and may be believed.
    async fn claim(&self, key: Key) -> Option<Claim>;

    /// Says that this run builds the image of a key, again and again until it is through with it.
    fn announce(&self, key: Key, claim: Claim);
}

/// How often somebody who waits looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The image of this key, if another machine is building it and it can be taken from there. If it is to be built here, that is announced.
///
/// Two that look at the same moment both build: a store has no way to let one of them through, and work that is done twice is no error.
pub(super) async fn awaited(
    from: &BuildFrom,
    prepared: &Prepared,
    reference: &str,
    (docker, listener): (&Docker, &dyn Listener),
) -> Result<Fetched, ImageError> {
    let Some(elsewhere) = &from.elsewhere else { return Ok(Fetched::Not(None)) };
    let (engine, took) = (docker.facts().await?.identity(), usual(from).await);
    let mut watch = Watch::new(Waiter { engine: engine.clone(), takes: from.layers.is_some(), took });
    let (began, mut told) = (Instant::now(), None);
    let why = loop {
        let claim = elsewhere.claim(prepared.key).await;
        // Looked for after the claim: whoever takes that back has said before where the image is.
        if told.is_some() {
            match fetched(from, prepared, reference, (docker, listener)).await? {
                Fetched::Not(None) => {}
                found => return Ok(found),
            }
        }
        if let Next::Build(why) = watch.next(claim.as_ref(), began.elapsed()) {
            break why;
        }
        if let Some(Claim { whom, .. }) = claim
            && told.as_ref() != Some(&whom)
        {
            doing(listener, format!("waiting for {whom}, which builds {reference}"));
            told = Some(whom);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let usual_ms = took.and_then(|took| u64::try_from(took.as_millis()).ok());
    let sends = from.layers.as_ref().is_some_and(sends);
    elsewhere.announce(prepared.key, Claim { whom: from.whom.clone(), engine, sends, usual_ms, ..Claim::default() });
    Ok(Fetched::Not(why))
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
    found.level = known.level;
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
