//! `splitci cache why`: whether a run would build the project's image, and why.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::cache::{Cache, Opening};
use super::ground::build_from;
use super::run::new_run;
use super::{PipelineError, World};
use crate::config::{ImageSettings, Project};
use crate::docker;
use crate::image::BuildFrom;
use crate::image::elsewhere::Elsewhere;
use crate::image::explain::explain;
pub use crate::image::explain::{Explained, Fate};
use crate::model::Listener;

/// Explains the image of a project. Nothing is built, pulled or named.
pub async fn why(project: &Project, world: &World, listener: &dyn Listener) -> Result<Explained, PipelineError> {
    let Some(ImageSettings::Build(build)) = &project.image else { return Err(PipelineError::NothingBuilt) };
    let docker = Arc::new(docker::connect(None, &world.env).await.map_err(PipelineError::Docker)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let Opening { cache, level, .. } = Cache::open(project, &new_run(), world).await?;
    let elsewhere = cache.map(|cache| cache as Arc<dyn Elsewhere>);
    let from = BuildFrom { elsewhere, level, ..build_from(project, build, &project.settings, String::new()) };
    Ok(explain(&from, &docker, listener, now).await?)
}
