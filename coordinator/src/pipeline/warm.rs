//! `splitci cache warm`: the image of a project, found, fetched or built as a run would, and remembered for those that come after; nothing is run in it.

use std::sync::Arc;

use super::cache::{Cache, Opening};
use super::ground::{build_from, image_ready, with_others};
use super::run::{new_run, tell};
use super::{Controls, PipelineError, World, images, layers};
use crate::config::{ImageSettings, Project};
use crate::docker;
use crate::image::{ImageRequest, ensure_image};
use crate::model::event::EventKind;
use crate::model::{Listener, chain};

/// What there is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Warmed {
    /// The image, as a run's record would tell it.
    pub image: EventKind,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// Sees to it that the next run of a project finds its image.
pub async fn warm(project: &Project, world: &World, listener: Arc<dyn Listener>, controls: Controls) -> Result<Warmed, PipelineError> {
    let Some(ImageSettings::Build(build)) = &project.image else { return Err(PipelineError::NothingBuilt) };
    let run = new_run();
    let Opening { cache, level, notices } = Cache::open(project, &run, world).await?;
    let whom = format!("`cache warm` (process {})", std::process::id());
    let build = build_from(project, build, &project.settings, whom);
    let wanted = ImageRequest::Build(with_others(build, project, (cache.as_ref(), level), world).await);
    let ended = warmed(&wanted, cache.as_deref(), world, listener.as_ref(), controls).await;
    let more = match cache {
        Some(cache) => cache.close(&(world.now)()).await,
        None => Vec::new(),
    };
    match ended {
        Ok(Warmed { image, notes }) => Ok(Warmed { image, notes: notices.into_iter().chain(notes).chain(more).collect() }),
        Err(error) => {
            tell(more, listener.as_ref());
            Err(error)
        }
    }
}

async fn warmed(
    wanted: &ImageRequest,
    cache: Option<&Cache>,
    world: &World,
    listener: &dyn Listener,
    mut controls: Controls,
) -> Result<Warmed, PipelineError> {
    let docker = Arc::new(docker::connect(None, &world.env).await.map_err(PipelineError::Docker)?);
    let image = tokio::select! {
        image = Box::pin(ensure_image(wanted, &docker, listener)) => image?,
        // Dropping the preparation cancels a build.
        Some(_) = controls.recv() => return Err(PipelineError::Interrupted),
    };
    let mut notes = image.notes.clone();
    let ready = image_ready(&image);
    let mut remembered = match cache {
        Some(cache) => images::is_there(cache, &ready, image.parcel.is_some()).await,
        None => Ok(()),
    };
    if let Some(parcel) = &image.parcel {
        let arrived = layers::send(parcel, &docker).await;
        notes.push(arrived.note);
        if let Some(cache) = cache {
            remembered = remembered.and(images::was_sent(cache, &ready, arrived.remote).await);
        }
    }
    if let Some(tidying) = &image.tidying {
        let tidied = tidying.tidy(&docker).await;
        notes.extend(tidied.err().map(|error| format!("older images are left in the engine: {}", chain(&error))));
    }
    notes.extend(remembered.err().map(|error| format!("the image is not remembered for others: {}", chain(&error))));
    Ok(Warmed { image: ready, notes })
}
