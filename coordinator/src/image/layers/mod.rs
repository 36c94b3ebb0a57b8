//! Layers of images travel from one machine to another through a repository in a registry.
//!
//! | file | is |
//! |---|---|
//! | `names` | which tags are read and written: pure |
//! | `take` | what a build need not do again, because a registry has it |
//! | [`send`] | what was built goes there, while tests run |
//! | `steps` | how many steps of a build were not done again |
//!
//! The cache is BuildKit's own, written into the image itself (inline): an engine with the classic image store can do no other. It holds the steps of the
//! last stage. Where containerd keeps the images, all steps of all stages go to a tag of their own as well, and are read from there: whoever may read the
//! repository sees what is in stages that are in no image.
//!
//! Invariant: nothing here fails a build or a run. A registry that is not there, refuses, is slow or has something else makes a build one without layers
//! of others, and that is said. Which images are the same is no matter of layers: nothing of this is in an image's key.

mod names;
pub mod send;
mod steps;
mod take;

use std::time::Duration;

pub use names::Branches;
pub use send::{AllSteps, Delivered, Parcel};
pub(super) use steps::Counter;
pub(super) use take::{Taken, take};

use super::ensure::{BuildFrom, ReadyImage};
use super::prepare::Prepared;
use crate::docker::build::{BuildRequest, Sources};
use crate::model::event::ImageSource;
use crate::model::trust::{LEVEL, Level};
use names::Recipe;

/// What a build takes less time than is not worth a push: built again it is there sooner than it is looked at elsewhere.
pub const PAYS_FROM: Duration = Duration::from_secs(10);
/// The build argument by which BuildKit writes its cache into the image. It changes no layer, and is given to every build of a project with such a
/// repository, sent or not: the image is the same on every machine.
pub(super) const INLINE: &str = "BUILDKIT_INLINE_CACHE";

/// Where layers of a project travel.
#[derive(Debug, Clone)]
pub struct Layers {
    /// The repository; `{level}` in it stands for the level of who writes.
    pub repository: String,
    /// How far this run is trusted.
    pub level: Level,
    /// What it built may be sent.
    pub sends: bool,
    /// What a build must have taken to be sent.
    pub pays_from: Duration,
    /// What is built.
    pub branches: Branches,
}

/// Levels whose layers are of use elsewhere. Forks write nothing that others build upon.
pub fn travels(level: Level) -> bool {
    level.travels() && level != Level::Fork
}

/// The repository that a level writes to.
pub fn repository_of(repository: &str, level: Level) -> String {
    repository.replace(LEVEL, level.word())
}

/// Whether a build with these layers sends what it made, if that is worth it.
pub(super) fn sends(layers: &Layers) -> bool {
    layers.sends && travels(layers.level)
}

/// What is built. Images and steps of one project are two recipes.
fn recipe(from: &BuildFrom, prepared: &Prepared, of: &str) -> Recipe {
    let dockerfile = from.dockerfile.strip_prefix(&from.context).unwrap_or(&from.dockerfile);
    let target = from.target.as_deref().unwrap_or_default();
    Recipe::of([&from.project, &dockerfile.to_string_lossy(), target, &format!("{}{of}", prepared.inputs.platform)])
}

const IMAGE: &str = "";
const STEPS: &str = " all steps";

/// Whether all steps of a build can be sent, and are to be.
pub(super) fn sends_steps(from: &BuildFrom, prepared: &Prepared) -> bool {
    prepared.inputs.containerd_store && from.layers.as_ref().is_some_and(sends)
}

/// What there is to send of an image that is there, if it is worth it: it was built, with something new in it, and that took its time. `again` is how to ask for
/// the same build, where all its steps can be sent.
pub(super) fn parcel(from: &BuildFrom, prepared: &Prepared, image: &ReadyImage, again: Option<(BuildRequest, Sources)>) -> Option<Parcel> {
    let layers = from.layers.as_ref().filter(|layers| sends(layers))?;
    let something_new = image.steps.is_none_or(|steps| steps.cached < steps.all);
    let pays = u128::from(image.took_ms) >= layers.pays_from.as_millis();
    if image.how != ImageSource::Built || !something_new || !pays {
        return None;
    }
    let references = names::written(layers, &recipe(from, prepared, IMAGE));
    let to = names::written(layers, &recipe(from, prepared, STEPS)).into_iter().next();
    let steps = again.zip(to).map(|((request, sources), to)| AllSteps { request, sources, to });
    let repository = repository_of(&layers.repository, layers.level);
    let image_id = image.identity.config.clone();
    (!references.is_empty()).then_some(Parcel {
        image: image_id,
        repository,
        references,
        took: Duration::from_millis(image.took_ms),
        steps,
    })
}
