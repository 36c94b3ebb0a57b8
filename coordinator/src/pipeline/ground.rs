//! What a run stands on: the engine, and the image if there is one. The only place that names concrete engines.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::Cache;
use super::damage::watched;
use super::results::Surroundings;
use super::run::Job;
use super::{PipelineError, World, layers, mounts};
use crate::config::{BuildSettings, ImageSettings, Project};
use crate::docker::{self, Docker};
use crate::engine::docker::{DockerEngine, DockerSetup, runs_image_init};
use crate::engine::process::ProcessEngine;
use crate::engine::{Engine, EngineError};
use crate::image::elsewhere::Elsewhere;
use crate::image::layers::Parcel;
use crate::image::tidying::Tidying;
use crate::image::{BuildFrom, ImageRequest, MadeOf, ReadyImage, ensure_image};
use crate::model::event::EventKind;
use crate::model::settings::{EngineKind, RunSettings, SuiteSettings};
use crate::model::trust::Level;
use crate::model::{EntryPoint, Listener, RunId};

/// What a run stands on.
pub(super) struct Ground {
    pub(super) run: RunId,
    pub(super) engine: Arc<dyn Engine>,
    /// The image, as the record tells it.
    pub(super) image_ready: Option<EventKind>,
    /// What sessions inherit.
    pub(super) inherited: BTreeMap<String, String>,
    /// What comes before the test command.
    pub(super) entrypoint: Vec<String>,
    /// Where sessions start, if not where the engine starts them by itself.
    pub(super) cwd: Option<String>,
    /// Where the engine starts them by itself.
    pub(super) home: String,
    /// What the user should know, a sentence each.
    pub(super) notices: Vec<String>,
    /// What else tests could notice, where results are kept.
    pub(super) surroundings: Option<Surroundings>,
    /// What of the image is to be sent to other machines.
    pub(super) parcel: Option<(Parcel, Arc<Docker>)>,
    /// Where the image comes from, as far as a statement about it says.
    pub(super) origin: Option<Origin>,
    /// What may go from its engine.
    pub(super) tidying: Option<(Tidying, Arc<Docker>)>,
    /// Wall clock when all this was there, RFC 3339 in UTC.
    pub(super) started: String,
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The engine keeps its images as containerd does.
    pub(super) containerd: bool,
    /// What it was made of, if it was built from the project.
    pub(super) made_of: Option<MadeOf>,
    /// The level of the run that built it, if another one did and that is known.
    pub(super) level: Option<Level>,
}

pub(super) async fn prepare(job: &Job<'_>, world: &World, listener: &dyn Listener) -> Result<Ground, PipelineError> {
    match job.settings.engine {
        EngineKind::Process => processes(job, world),
        EngineKind::Docker => containers(job, world, listener).await,
    }
}

fn processes(job: &Job<'_>, world: &World) -> Result<Ground, PipelineError> {
    let worker = worker_on_disk(world, &job.project.records.state).map_err(PipelineError::Worker)?;
    let engine = ProcessEngine::new(worker, job.project.root.clone(), world.env.clone(), world.scratch.clone());
    let engine = engine.map_err(|cause| EngineError {
        attempt: "start local processes".to_owned(),
        cause: Box::new(cause),
        hint: None,
        refused: false,
    })?;
    Ok(Ground {
        run: job.run.clone(),
        engine: Arc::new(engine),
        image_ready: None,
        inherited: world.env.clone(),
        entrypoint: Vec::new(),
        cwd: None,
        home: job.project.root.display().to_string(),
        notices: Vec::new(),
        surroundings: None,
        origin: None,
        parcel: None,
        tidying: None,
        started: (world.now)(),
    })
}

/// The worker's program for this machine as a file: made once per version, replaced in one move so that two runs may do it at the same time.
fn worker_on_disk(world: &World, state: &Path) -> std::io::Result<PathBuf> {
    let missing = || std::io::Error::other(format!("this build carries no worker for {}", world.arch));
    let program = world.workers.get(&world.arch).ok_or_else(missing)?;
    let name = &blake3::hash(program).to_hex()[..16];
    let path = state.join(format!("worker-{name}"));
    if fs_err::metadata(&path).is_ok_and(|found| found.len() == program.len() as u64) {
        return Ok(path);
    }
    let fresh = state.join(format!("worker-{name}.{}", std::process::id()));
    let written = fs_err::write(&fresh, program)
        .and_then(|()| fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs_err::rename(&fresh, &path));
    if written.is_err() {
        // A disk that is full is not to be fuller.
        fs_err::remove_file(&fresh).ok();
    }
    written.map(|()| path)
}

/// The image comes first: without it there is nothing to start.
async fn containers(job: &Job<'_>, world: &World, listener: &dyn Listener) -> Result<Ground, PipelineError> {
    let docker = Arc::new(docker::connect(None, &world.env).await.map_err(PipelineError::Docker)?);
    let image = Box::pin(ensure_image(&wanted(job, world).await, &docker, listener)).await?;
    let container = job.settings.container.clone();
    // An init that stays the container's first process starts the worker itself; every other entrypoint comes before the test command.
    let entrypoint = if runs_image_init(&image.entry, &container) {
        Vec::new()
    } else {
        container.entrypoint.clone().unwrap_or_else(|| image.entry.entrypoint.clone())
    };
    let setup = DockerSetup {
        run: job.run.clone(),
        image: image.identity.config.clone(),
        platform: image.platform.clone(),
        arch: image.arch.clone(),
        entry: image.entry.clone(),
        container,
        workers: world.workers.clone(),
        keep: job.keep,
    };
    let (cwd, home) = (subdirectory(&image.entry, &job.settings), home(&image.entry, &job.settings));
    let image_ready = image_ready(&image);
    let inherited =
        image.env.iter().filter_map(|row| row.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let surroundings = if job.settings.reuse { Some(surroundings(&image, &docker, world).await?) } else { None };
    let containerd = docker.facts().await.map_err(PipelineError::Docker)?.containerd_store;
    let origin = Some(Origin { containerd, made_of: image.made_of, level: image.level });
    let parcel = image.parcel.map(|parcel| (parcel, Arc::clone(&docker)));
    let tidying = image.tidying.map(|tidying| (tidying, Arc::clone(&docker)));
    let engine = DockerEngine::new(docker, setup).await?;
    Ok(Ground {
        run: job.run.clone(),
        engine: watched(engine, image.key, job.project.records.state.clone()),
        image_ready: Some(image_ready),
        notices: image.notes,
        inherited,
        entrypoint,
        cwd,
        home,
        surroundings,
        origin,
        parcel,
        tidying,
        started: (world.now)(),
    })
}

/// An image, as a record tells it.
pub(super) fn image_ready(image: &ReadyImage) -> EventKind {
    let ReadyImage { identity, reference, how, key, took_ms, saved_ms, steps, .. } = image.clone();
    EventKind::ImageReady { identity, reference, how, key, took_ms, saved_ms, steps }
}

async fn surroundings(image: &ReadyImage, docker: &Docker, world: &World) -> Result<Surroundings, PipelineError> {
    let facts = docker.facts().await.map_err(PipelineError::Docker)?;
    let cpus = facts.cpus.to_string();
    let engine = [&facts.version, &facts.storage_driver, &facts.cgroup_version, &facts.arch, &cpus].into_iter().chain(&facts.security);
    Ok(Surroundings {
        content: image.content.clone(),
        engine: engine.cloned().collect(),
        proxies: docker.config().proxies(&docker.endpoint().to_string()),
        worker: world.workers.get(&image.arch).map_or([0; 32], |program| *blake3::hash(program).as_bytes()),
    })
}

async fn wanted(job: &Job<'_>, world: &World) -> ImageRequest {
    if let Some((identity, _)) = &job.image {
        return ImageRequest::Given { reference: identity.config.clone(), platform: None };
    }
    match &job.project.image {
        Some(ImageSettings::Build(build)) => {
            let whom = format!("run {} (process {})", job.run, std::process::id());
            let build = build_from(job.project, build, &job.settings, whom);
            ImageRequest::Build(with_others(build, job.project, (job.cache.as_ref(), job.level), world).await)
        }
        Some(ImageSettings::Given { reference, platform }) => {
            ImageRequest::Given { reference: reference.clone(), platform: platform.clone() }
        }
        // A configuration with the docker engine always has an image; the look-up of an empty name says what is missing.
        None => ImageRequest::Given { reference: String::new(), platform: None },
    }
}

/// The same build, with what other machines did of it, as far as this level believes them.
pub(super) async fn with_others(
    build: BuildFrom,
    project: &Project,
    (cache, level): (Option<&Arc<Cache>>, Option<Level>),
    world: &World,
) -> BuildFrom {
    BuildFrom {
        elsewhere: cache.map(|cache| Arc::clone(cache) as Arc<dyn Elsewhere>),
        layers: layers::of(project, level, world).await,
        level,
        mounts: cache.map(|cache| mounts::carrier(cache, project, world)),
        ..build
    }
}

/// What is built from a project.
pub(super) fn build_from(project: &Project, build: &BuildSettings, settings: &RunSettings, whom: String) -> BuildFrom {
    BuildFrom {
        project: project.name.clone(),
        context: build.context.clone(),
        dockerfile: build.dockerfile.clone(),
        target: build.target.clone(),
        args: build.args.clone(),
        platform: build.platform.clone(),
        network: None,
        add_hosts: settings.container.add_hosts.clone(),
        shm_size: settings.container.shm_size,
        secrets: build.secrets.clone(),
        ssh: build.ssh.clone(),
        state: Some(project.records.state.clone()),
        whom,
        pull: build.pull,
        no_cache: build.no_cache,
        split_copies: build.split_copies,
        anew: false,
        epoch: build.epoch.clone(),
        max_age: build.max_age,
        images: Some(project.cache.images),
        elsewhere: None,
        layers: None,
        level: None,
        mounts: None,
    }
}

/// Where tests run when the project is not the whole context: the same subdirectory of the image's working directory.
fn subdirectory(entry: &EntryPoint, settings: &RunSettings) -> Option<String> {
    if settings.container.workdir.is_some() || matches!(settings.directory.as_str(), "" | ".") {
        return None;
    }
    Some(format!("{}/{}", home(entry, settings).trim_end_matches('/'), settings.directory))
}

/// The working directory of a container.
fn home(entry: &EntryPoint, settings: &RunSettings) -> String {
    let workdir = settings.container.workdir.as_deref().or(entry.workdir.as_deref());
    workdir.filter(|workdir| !workdir.is_empty()).unwrap_or("/").to_owned()
}

impl Ground {
    /// Where sessions of a suite start, if not where the engine starts them by itself.
    pub(super) fn cwd_of(&self, suite: &SuiteSettings) -> Option<String> {
        if suite.directory.is_empty() {
            return self.cwd.clone();
        }
        let above = self.cwd.as_deref().unwrap_or(&self.home);
        Some(format!("{}/{}", above.trim_end_matches('/'), suite.directory))
    }
}
