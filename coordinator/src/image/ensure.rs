//! Sees to it that the image is there: named by the user, found by its key, or built.
//!
//! A key is looked up as the tag `splitci/<project>:<12 hex>`, and believed only if the image carries the whole key as its label. Images that a
//! Dockerfile starts from are resolved to what the engine has (`bases`); the builder gets a Dockerfile in which they are named so that they can mean
//! nothing else. Where something cannot be seen (a download without checksum, a base that cannot be pulled), the image is built every time, and that
//! is said. An image that goes away after it was found is built; a base that goes away during a build lets it begin anew, once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::bases::fits;
use super::building::{Built, build};
use super::damage;
use super::elsewhere::{Elsewhere, Fetched, awaited, fetched};
use super::error::ImageError;
use super::flight;
use super::kept::{Kept, Shelf};
use super::layers::{self, Layers, Parcel};
use super::prepare::{Prepared, prepare};
use super::tidying::Tidying;
use super::travel::Travel;
use crate::docker::images::LocalImage;
use crate::docker::{Docker, DockerError};
use crate::model::event::{BuiltSteps, ImageSource};
use crate::model::trust::Level;
use crate::model::{BuildSecret, EntryPoint, ImageContent, ImageIdentity, Listener, Progress, SshAgent, Telling};

/// The label with the whole key.
pub(super) const KEY_LABEL: &str = "splitci.key";

/// Which image is wanted.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a run")]
pub enum ImageRequest {
    /// One that exists, by name, digest or id.
    Given {
        /// Its reference.
        reference: String,
        /// Its platform, if not the engine's.
        platform: Option<String>,
    },
    /// The one that is built from a project.
    Build(BuildFrom),
}

/// What is built.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "wishes that have nothing to do with each other")]
pub struct BuildFrom {
    /// Name of the project, for the tag.
    pub project: String,
    /// Directory that is sent.
    pub context: PathBuf,
    /// The Dockerfile; it may lie outside of the context.
    pub dockerfile: PathBuf,
    /// Target stage.
    pub target: Option<String>,
    /// Build arguments, with their values.
    pub args: BTreeMap<String, String>,
    /// Platform, if not the engine's.
    pub platform: Option<String>,
    /// Network of `RUN` steps.
    pub network: Option<String>,
    /// Extra hosts, `name:address`.
    pub add_hosts: Vec<String>,
    /// Size of `/dev/shm` in `RUN` steps.
    pub shm_size: Option<u64>,
    /// Secrets that steps may ask for.
    pub secrets: Vec<BuildSecret>,
    /// SSH agents that steps may ask for.
    pub ssh: Vec<SshAgent>,
    /// Where it is remembered what was built and of what; nothing is without.
    pub state: Option<PathBuf>,
    /// Who wants it, for others who want the same.
    pub whom: String,
    /// Ask registries for what the names of bases mean now.
    pub pull: bool,
    /// Build every step, whatever was built before.
    pub no_cache: bool,
    /// Copy what was edited lately in a step of its own.
    pub split_copies: bool,
    /// The same, and so that no layer is one that there was: what the engine has of them is damaged.
    pub anew: bool,
    /// Another one wants everything anew.
    pub epoch: Option<String>,
    /// Older images are built anew.
    pub max_age: Option<Duration>,
    /// How many images of all projects stay in the engine, if not all of them.
    pub images: Option<u32>,
    /// Who knows what other machines built.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
    /// Where layers travel from one machine to another, if they do.
    pub layers: Option<Layers>,
    /// How far this build is trusted, if not only here: its cache mounts are shared with nobody whose builds are trusted otherwise.
    pub level: Option<Level>,
    /// Who brings the contents of cache mounts from other machines, and takes them there.
    pub mounts: Option<Arc<dyn Travel>>,
}

/// An image that is there.
#[derive(Debug, Clone)]
pub struct ReadyImage {
    /// Which one.
    pub identity: ImageIdentity,
    /// What it is called.
    pub reference: String,
    /// How it came.
    pub how: ImageSource,
    /// How long it took to build it, or to find it, in milliseconds; 0 for one that was given.
    pub took_ms: u64,
    /// How long the build took that was not needed, in milliseconds; 0 if nobody knows.
    pub saved_ms: u64,
    /// Its key, when it was built from a project and everything that counts could be seen.
    pub key: Option<String>,
    /// Its architecture, in Docker's words.
    pub arch: String,
    /// Platform that was asked for.
    pub platform: Option<String>,
    /// What it wants to be started as.
    pub entry: EntryPoint,
    /// Its default command.
    pub command: Vec<String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
    /// What of it its tests can see.
    pub content: ImageContent,
    /// How many steps its build had, and how many of them were not done again.
    pub steps: Option<BuiltSteps>,
    /// What of it is worth sending to other machines.
    pub parcel: Option<Parcel>,
    /// What may go from the engine now, when nobody waits for it.
    pub tidying: Option<Tidying>,
    /// What it was made of, if it was built from a project, now or before.
    pub made_of: Option<MadeOf>,
    /// How far the run is trusted that built it, if another one did and that is known.
    pub level: Option<Level>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// What an image was made of, as far as others ask about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeOf {
    /// The Dockerfile, as it was read.
    pub dockerfile: Vec<u8>,
    /// The images that it starts from, by reference and platform: an id or a digest each, or nothing if that is not known.
    pub bases: BTreeMap<String, String>,
}

/// Sees to it that the image is there.
pub async fn ensure_image(request: &ImageRequest, docker: &Arc<Docker>, listener: &dyn Listener) -> Result<ReadyImage, ImageError> {
    match request {
        ImageRequest::Given { reference, platform } => given(reference, platform.as_deref(), docker, listener).await,
        ImageRequest::Build(from) => of_project(from, docker, listener).await,
    }
}

pub(super) fn doing(listener: &dyn Listener, what: String) {
    listener.hear(&Telling::Progress(Progress::Doing(what)));
}

async fn given(reference: &str, platform: Option<&str>, docker: &Docker, listener: &dyn Listener) -> Result<ReadyImage, ImageError> {
    let image = match obtain(reference, platform, docker, listener).await {
        Ok(Some(image)) => image,
        Ok(None) => return Err(ImageError::NoImage),
        Err(source) if source.engine_message().is_some() => return Err(ImageError::NotThere { reference: reference.to_owned(), source }),
        Err(error) => return Err(error.into()),
    };
    Ok(ready(image, reference.to_owned(), ImageSource::Given, platform.map(str::to_owned)))
}

/// The engine's image of this name, pulled if it is not there, or there for another platform only.
async fn obtain(
    reference: &str,
    platform: Option<&str>,
    docker: &Docker,
    listener: &dyn Listener,
) -> Result<Option<LocalImage>, DockerError> {
    if let Some(image) = docker.image(reference).await?
        && platform.is_none_or(|platform| fits(&image.identity.platform, platform))
    {
        return Ok(Some(image));
    }
    doing(listener, format!("pulling {reference}"));
    docker.pull(reference, platform, |news| doing(listener, format!("pulling {reference}: {news}"))).await?;
    docker.image(reference).await
}

async fn of_project(from: &BuildFrom, docker: &Arc<Docker>, listener: &dyn Listener) -> Result<ReadyImage, ImageError> {
    let (mut again, mut from, began) = (true, from.clone(), Instant::now());
    loop {
        doing(listener, "reading the build context".to_owned());
        let prepared = prepare(&from, false, docker, listener).await?;
        from.anew |= damage::is_noted(from.state.as_deref(), prepared.key);
        match found_or_built(&from, &prepared, docker, listener).await {
            Err(error) if !from.anew && error.is_damage() => {
                doing(listener, "what the engine has of the image is damaged; building anew".to_owned());
                from.anew = true;
            }
            Err(ImageError::Build { .. }) if std::mem::take(&mut again) && base_is_gone(&prepared, docker).await? => {
                doing(listener, "a base image went away while it was built upon; building anew".to_owned());
            }
            Ok(mut ready) => {
                if ready.how == ImageSource::Found {
                    ready.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                }
                return Ok(ready);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn found_or_built(
    from: &BuildFrom,
    prepared: &Prepared,
    docker: &Arc<Docker>,
    listener: &dyn Listener,
) -> Result<ReadyImage, ImageError> {
    let repository = repository(&from.project);
    let reference = format!("{repository}:{}", prepared.key.short());
    let reliable = prepared.unseen.is_empty();
    let (mut turn, mut unfetched) = (None, None);
    if reliable && !from.no_cache && !from.anew {
        doing(listener, format!("looking for {reference}"));
        let by_name = believes_the_engine(from);
        if by_name && let Some(found) = found(from, prepared, &reference, docker).await? {
            return Ok(found);
        }
        if let Some(state) = &from.state {
            let waiting = |whom: &str| doing(listener, format!("waiting for {whom}, which builds {reference}"));
            turn = flight::turn(state, prepared.key, &from.whom, waiting).await;
            if by_name && let Some(found) = found(from, prepared, &reference, docker).await? {
                return Ok(found);
            }
        }
        match fetched(from, prepared, &reference, (docker, listener)).await? {
            Fetched::Ready(found) => return Ok(*found),
            Fetched::Not(why) => unfetched = why,
        }
        // What is remembered and cannot be had is not there a second later either.
        if unfetched.is_none() {
            match awaited(from, prepared, &reference, (docker, listener)).await? {
                Fetched::Ready(found) => return Ok(*found),
                Fetched::Not(why) => unfetched = why,
            }
        }
    }
    let began = Instant::now();
    let Built { image, steps, again, unwell, notes } = build(from, prepared, docker, listener).await?;
    docker.tag(&image.identity.config, &reference).await?;
    damage::is_mended(from.state.as_deref(), prepared.key);
    let mut built = keyed(ready(image, reference.clone(), ImageSource::Built, from.platform.clone()), prepared);
    built.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    built.notes.extend(unfetched);
    built.steps = steps;
    built.parcel = layers::parcel(from, prepared, &built, again).filter(|_| !unwell);
    built.notes.extend(notes);
    if reliable {
        built.notes.extend(keep(from, prepared, built.took_ms).await);
    }
    drop(turn);
    built.tidying = Some(Tidying { repository, current: reference, pinned: prepared.pinned.clone(), images: from.images });
    Ok(built)
}

/// Whether names and labels of the engine's images are enough: whoever builds there gives them as it likes. A run that others believe takes only what it can
/// believe itself: see `elsewhere`.
pub(super) fn believes_the_engine(from: &BuildFrom) -> bool {
    !from.level.is_some_and(Level::travels)
}

/// The image of this key, if the engine has it.
async fn found(from: &BuildFrom, prepared: &Prepared, reference: &str, docker: &Docker) -> Result<Option<ReadyImage>, ImageError> {
    let Some(image) = docker.image(reference).await? else { return Ok(None) };
    if image.labels.get(KEY_LABEL) != Some(&prepared.key.to_hex()) {
        return Ok(None);
    }
    // The time of its last use, for those who make room. The image may have gone this very moment.
    match docker.tag(&image.identity.config, reference).await {
        Ok(()) => {}
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut found = keyed(ready(image, reference.to_owned(), ImageSource::Found, from.platform.clone()), prepared);
    match shelf(from).map(|shelf| shelf.took_ms(prepared.key)) {
        Some(Some(took)) => found.saved_ms = took,
        // Built when there was another state directory.
        Some(None) => found.notes.extend(keep(from, prepared, 0).await),
        None => {}
    }
    Ok(Some(found))
}

fn shelf(from: &BuildFrom) -> Option<Shelf> {
    from.state.as_deref().map(|state| Shelf::of(state, &from.project, from.target.as_deref()))
}

/// How long the last build of this took, if that is known here.
pub(super) async fn usual(from: &BuildFrom) -> Option<Duration> {
    let shelf = shelf(from)?;
    // What cannot be looked up is not known.
    tokio::task::spawn_blocking(move || shelf.last_took_ms()).await.ok().flatten().map(Duration::from_millis)
}

/// Keeps what the key was made of. What is said if that cannot be done.
async fn keep(from: &BuildFrom, prepared: &Prepared, took_ms: u64) -> Option<String> {
    let shelf = shelf(from)?;
    let made = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let kept = Kept { key: prepared.key, made, took_ms, inputs: prepared.inputs.clone() };
    let done = tokio::task::spawn_blocking(move || shelf.keep(&kept)).await;
    let error = done.unwrap_or_else(|lost| Err(std::io::Error::other(lost))).err()?;
    Some(format!("what the image was built of is not remembered, `splitci cache why` cannot explain the next build by it: {error}"))
}

/// Whether a base that a build was told to start from is not there any more.
async fn base_is_gone(prepared: &Prepared, docker: &Docker) -> Result<bool, ImageError> {
    for name in &prepared.pinned {
        if docker.image(name).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn keyed(mut image: ReadyImage, prepared: &Prepared) -> ReadyImage {
    if prepared.unseen.is_empty() {
        image.key = Some(prepared.key.to_hex());
    }
    image.made_of = Some(MadeOf { dockerfile: prepared.inputs.dockerfile.text.clone(), bases: prepared.inputs.bases.clone() });
    image.notes.extend(prepared.notes.iter().cloned());
    image.notes.extend(prepared.unseen.iter().map(|why| format!("the image is built in every run: {why}")));
    image
}

pub(super) fn ready(image: LocalImage, reference: String, how: ImageSource, platform: Option<String>) -> ReadyImage {
    let content = image.content();
    let LocalImage { identity, arch, entry, command, env, .. } = image;
    ReadyImage {
        identity,
        reference,
        how,
        took_ms: 0,
        saved_ms: 0,
        key: None,
        arch,
        platform,
        entry,
        command,
        env,
        content,
        steps: None,
        parcel: None,
        tidying: None,
        made_of: None,
        level: None,
        notes: Vec::new(),
    }
}

/// A project's name as docker allows it in a reference.
pub(super) fn repository(project: &str) -> String {
    let plain: String =
        project.to_lowercase().chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' }).collect();
    let parts: Vec<_> = plain.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "splitci/project".to_owned() } else { format!("splitci/{}", parts.join("-")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projects_name_becomes_one_that_docker_allows() {
        assert_eq!(repository("My App_2"), "splitci/my-app-2");
        assert_eq!(repository("--é--"), "splitci/project");
    }
}
