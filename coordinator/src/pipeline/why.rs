//! `splitci cache why`: whether a run would build the project's image, and why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::PipelineError;
use super::ground::build_from;
use crate::config::{ImageSettings, Project};
use crate::docker;
use crate::image::explain::explain;
pub use crate::image::explain::{Explained, Fate};
use crate::model::Listener;

/// Explains the image of a project. Nothing is built, pulled or named.
pub async fn why(project: &Project, env: &BTreeMap<String, String>, listener: &dyn Listener) -> Result<Explained, PipelineError> {
    let Some(ImageSettings::Build(build)) = &project.image else { return Err(PipelineError::NothingBuilt) };
    let docker = Arc::new(docker::connect(None, env).await.map_err(PipelineError::Docker)?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(explain(&build_from(project, build, &project.settings, String::new()), &docker, listener, now).await?)
}
