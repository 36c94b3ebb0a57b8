//! What a run in containers would stand on, for `splitci doctor`: the engine and the images that must be there. Looks, and changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{ImageSettings, Project};
use crate::docker::images::LabelledImage;
use crate::docker::usage::{BuildCache, collects_by_default, configured_collection};
use crate::docker::{Docker, DockerError, connect};
use crate::image::dockerfile::Choices;
use crate::image::facts::base_images;
use crate::image::surplus;
use crate::model::chain;

/// An engine that answered, and what it has of the project's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Version, e.g. `20.10.24`.
    pub version: String,
    /// Where it is, e.g. `unix:///var/run/docker.sock`.
    pub endpoint: String,
    /// Storage driver.
    pub storage: String,
    /// Version of control groups.
    pub cgroup: String,
    /// CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Where it keeps its data, if that is on this machine.
    pub root: Option<PathBuf>,
    /// The images to build upon, or the one that is named, and whether each is there.
    pub images: Vec<(String, bool)>,
}

/// Asks the engine that a run of the project would use.
pub async fn examine(project: &Project, env: &BTreeMap<String, String>) -> Result<Examined, DockerError> {
    let docker = connect(None, env).await?;
    let facts = docker.facts().await?;
    Ok(Examined {
        version: facts.version.clone(),
        endpoint: docker.endpoint().to_string(),
        storage: facts.storage_driver.clone(),
        cgroup: facts.cgroup_version.clone(),
        cpus: facts.cpus,
        memory: facts.memory,
        root: docker.endpoint().is_local().then(|| facts.root.clone().into()),
        images: images(&docker, project).await?,
    })
}

/// An engine's own build cache, and its clock.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineCache {
    /// Version, e.g. `20.10.24`.
    pub version: String,
    /// Where it is.
    pub endpoint: String,
    /// Seconds since 1970 by its clock, if it says.
    pub clock: Option<f64>,
    /// What it keeps of builds, or why it does not say: old engines measure for minutes, and for one who asks at a time.
    pub kept: Result<BuildCache, String>,
    /// Whether it makes room by itself, if that is known.
    pub collects: Option<bool>,
}

/// An image that splitci made and that is too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurplusImage {
    /// Its names, or its id if it has none.
    pub name: String,
    /// Its bytes, those included that it shares with others.
    pub bytes: u64,
}

/// The images that are too many in the engine that the environment names, if `most` may stay. With `remove` those that are gone now.
pub async fn surplus_images(env: &BTreeMap<String, String>, most: u32, remove: bool) -> Result<Vec<SurplusImage>, DockerError> {
    let docker = connect(None, env).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let mut surplus = surplus::surplus(&docker, most as usize, now).await?;
    if remove {
        surplus = surplus::remove(&docker, surplus).await?;
    }
    let name = |image: &LabelledImage| if image.names.is_empty() { image.id.clone() } else { image.names.join(", ") };
    Ok(surplus.iter().map(|image| SurplusImage { name: name(image), bytes: image.bytes }).collect())
}

/// Where an engine on this machine is configured.
const CONFIGURATION: &str = "/etc/docker/daemon.json";

/// Asks the engine that the environment names about its own cache.
pub async fn examine_cache(env: &BTreeMap<String, String>) -> Result<EngineCache, DockerError> {
    let docker = connect(None, env).await?;
    let facts = docker.facts().await?;
    let configured = docker.endpoint().is_local().then(|| configured_collection(CONFIGURATION.as_ref())).flatten();
    Ok(EngineCache {
        version: facts.version.clone(),
        endpoint: docker.endpoint().to_string(),
        clock: facts.clock.parse().ok().filter(|seconds| *seconds > 0.0),
        kept: docker.build_cache().await.map_err(|error| chain(&error)),
        collects: configured.or_else(|| collects_by_default(&facts.version)),
    })
}

async fn images(docker: &Docker, project: &Project) -> Result<Vec<(String, bool)>, DockerError> {
    match &project.image {
        Some(ImageSettings::Given { reference, .. }) => Ok(vec![(reference.clone(), docker.image(reference).await?.is_some())]),
        Some(ImageSettings::Build(build)) => {
            let platform = match &build.platform {
                Some(platform) => platform.clone(),
                None => docker.facts().await?.platform(),
            };
            let choices = Choices { target: build.target.as_deref(), args: build.args.clone(), platform: &platform };
            // A Dockerfile that cannot be read is the build's to tell.
            let text = fs_err::read(&build.dockerfile).unwrap_or_default();
            Ok(base_images(docker, &text, &choices).await?.into_iter().map(|(base, there)| (base.reference, there)).collect())
        }
        None => Ok(Vec::new()),
    }
}
