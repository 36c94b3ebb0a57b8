//! What a run stands on: the engine, and the image if there is one. The only place that names concrete engines.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::Job;
use super::{PipelineError, World};
use crate::engine::process::ProcessEngine;
use crate::engine::{Engine, EngineError};
use crate::model::event::EventKind;
use crate::model::settings::EngineKind;
use crate::model::{Listener, Progress, RunId, Telling};

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
}

pub(super) async fn prepare(job: &Job<'_>, run: &RunId, world: &World, listener: &dyn Listener) -> Result<Ground, PipelineError> {
    match job.settings.engine {
        EngineKind::Process => processes(job, run, world),
        EngineKind::Docker => containers(job, run, world, listener).await,
    }
}

fn processes(job: &Job<'_>, run: &RunId, world: &World) -> Result<Ground, PipelineError> {
    let worker = worker_on_disk(world, &job.project.records.state).map_err(PipelineError::Worker)?;
    let engine = ProcessEngine::new(worker, job.project.root.clone(), world.env.clone(), world.scratch.clone());
    let engine = engine.map_err(|cause| EngineError { attempt: "start local processes".to_owned(), cause: Box::new(cause), hint: None })?;
    Ok(Ground { run: run.clone(), engine: Arc::new(engine), image_ready: None, inherited: world.env.clone(), entrypoint: Vec::new() })
}

/// The worker's program for this machine as a file: made once per version, replaced in one move so that two runs may do it at the same time.
fn worker_on_disk(world: &World, state: &Path) -> std::io::Result<PathBuf> {
    let missing = || std::io::Error::other(format!("this build carries no worker for {}", std::env::consts::ARCH));
    let program = world.workers.get(std::env::consts::ARCH).ok_or_else(missing)?;
    let name = &blake3::hash(program).to_hex()[..16];
    let path = state.join(format!("worker-{name}"));
    if fs_err::metadata(&path).is_ok_and(|found| found.len() == program.len() as u64) {
        return Ok(path);
    }
    let fresh = state.join(format!("worker-{name}.{}", std::process::id()));
    fs_err::write(&fresh, program)?;
    fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    fs_err::rename(&fresh, &path)?;
    Ok(path)
}

async fn containers(_job: &Job<'_>, _run: &RunId, _world: &World, listener: &dyn Listener) -> Result<Ground, PipelineError> {
    listener.hear(&Telling::Progress(Progress::Doing("looking for the image".to_owned())));
    Err(EngineError { attempt: "use docker: images are not wired up yet".to_owned(), cause: "x".into(), hint: None }.into())
}
