//! The build itself: what travels to it from other machines, what the builder is asked, and what becomes of what it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::context::ContextError;
use super::ensure::{BuildFrom, KEY_LABEL, doing, repository};
use super::error::ImageError;
use super::layers::{self, Counter, INLINE, Taken};
use super::prepare::Prepared;
use super::sent::{Given, given, shared_key};
use super::travel::{arrive, depart};
use crate::docker::Docker;
use crate::docker::build::{BuildFailure, BuildRequest, SourceError, Sources};
use crate::docker::images::LocalImage;
use crate::model::event::BuiltSteps;
use crate::model::trust::Level;
use crate::model::{Listener, Progress, Telling};

/// What came of a build.
pub(super) struct Built {
    pub(super) image: LocalImage,
    /// How many steps it had, and how many of them were not done again.
    pub(super) steps: Option<BuiltSteps>,
    /// How to ask for the same once more, where all its steps are to be sent.
    pub(super) again: Option<(BuildRequest, Sources)>,
    /// The repository of layers is not well: nothing is to be sent there.
    pub(super) unwell: bool,
    /// What the user should know, a sentence each.
    pub(super) notes: Vec<String>,
}

/// Builds it; with layers of others, and what they had in its mounts, where these can be had.
pub(super) async fn build(
    from: &BuildFrom,
    prepared: &Prepared,
    docker: &Arc<Docker>,
    listener: &dyn Listener,
) -> Result<Built, ImageError> {
    let mut arrived = arrive(from, prepared, docker, listener).await;
    let context = &prepared.context;
    doing(listener, format!("building the image from {} entries, {} bytes", context.entries.len(), context.bytes()));
    let mut taken = layers::take(from, prepared, docker).await;
    let mut from = from.clone();
    loop {
        let Given { sources, in_parts, note, _turn } = given(&from, prepared, docker, arrived.something).await?;
        let request = build_request(&from, prepared, &taken, docker);
        let again = layers::sends_steps(&from, prepared).then(|| (request.clone(), sources.clone()));
        let mut counter = Counter::default();
        let heard = |news: Progress| {
            counter.hear(&news);
            arrived.hear(&news);
            listener.hear(&Telling::Progress(news));
        };
        let why = match docker.build(&request, sources, heard).await {
            Ok(built) => {
                let image = docker.image(&built).await?.ok_or(ImageError::NoImage)?;
                let mut notes = depart(&from, arrived, docker);
                notes.append(&mut taken.notes);
                notes.extend(note);
                notes.extend(counter.refused.iter().map(|(from, why)| format!("layers of {from} were not used: {why}")));
                return Ok(Built { image, steps: counter.steps(), again, unwell: taken.unwell, notes });
            }
            Err(BuildFailure::Imports(why)) => why,
            // A layer more than an image may have.
            Err(BuildFailure::Failed { error, .. }) if in_parts && error.contains(TOO_DEEP) => {
                from.split_copies = false;
                continue;
            }
            // No step of the Dockerfile is to blame.
            Err(BuildFailure::Failed { step: None, error }) if !taken.references.is_empty() => error,
            Err(failure) => return Err(failed(failure, prepared)),
        };
        taken.give_up(&why);
        doing(listener, format!("layers of others do not come ({why}); building without"));
    }
}

/// What an engine says of an image with too many layers.
const TOO_DEEP: &str = "max depth exceeded";

fn failed(failure: BuildFailure, prepared: &Prepared) -> ImageError {
    match failure {
        BuildFailure::Source(SourceError::Changed(path)) => ContextError::Changed(path).into(),
        BuildFailure::Source(SourceError::Read(error)) => ContextError::Read(error).into(),
        BuildFailure::Source(error) => ImageError::Source(error),
        BuildFailure::Engine(error) => error.into(),
        BuildFailure::NoImage => ImageError::NoImage,
        BuildFailure::Imports(error) => ImageError::Build { step: None, error, odd: prepared.unseen.clone() },
        BuildFailure::Failed { step, error } => ImageError::Build { step, error, odd: prepared.unseen.clone() },
    }
}

fn build_request(from: &BuildFrom, prepared: &Prepared, taken: &Taken, docker: &Docker) -> BuildRequest {
    let mut args = docker.config().proxies(&docker.endpoint().to_string());
    args.extend(from.layers.iter().map(|_| (INLINE.to_owned(), "1".to_owned())));
    args.extend(from.args.clone());
    args.insert(MOUNT_SPACE.to_owned(), mount_space(from));
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    BuildRequest {
        id: format!("splitci-{}-{}-{nanos}", prepared.key.short(), std::process::id()),
        dockerfile: from.dockerfile.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        target: from.target.clone(),
        args,
        labels: BTreeMap::from([(KEY_LABEL.to_owned(), prepared.key.to_hex())]),
        platform: from.platform.clone(),
        network: from.network.clone(),
        add_hosts: from.add_hosts.clone(),
        shm_size: from.shm_size,
        no_cache: from.no_cache || from.anew,
        cache_from: taken.references.clone(),
        no_image: false,
    }
}

/// The argument by which a builder keeps cache mounts apart.
pub(super) const MOUNT_SPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// Whose cache mounts these are. Times in a mount are compared with those that one table said: two checkouts on one engine that shared a mount would each
/// call the other's work new.
pub(super) fn mount_space(from: &BuildFrom) -> String {
    let level = from.level.unwrap_or(Level::Local);
    format!("{level}/{}/{}", repository(&from.project), &shared_key(&from.context)[..12])
}
