//! How the worker gets into containers: a volume per version and architecture, filled once through a container that is never started, and mounted
//! read-only in every shard.
//!
//! A volume and not a bind mount, on local engines too: an engine need not see our files (it may be remote, rootless, or the socket may be lent to
//! a container), and a root file system may be read-only. Filling is safe against being cut off: the program is there whole or not at all
//! (`Docker::put_program`). Therefore an existing volume is taken as filled; when a shard's start shows that it is not, it is filled and the shard
//! started again. Several runs may do so at once: who finds the program there, or there after he was refused, is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DockerSetup;
use super::OWNER_LABEL;
use super::shape::{WORKER_FOLDER, WORKER_NAME, WORKER_PATH};
use crate::docker::container::{ContainerSpec, HostSpec};
use crate::docker::owner::Owner;
use crate::docker::{Docker, DockerError};

/// What the names of these volumes begin with. Not a label: a volume that the engine had to make by itself for want of one has none.
const PREFIX: &str = "splitci-worker-";

/// Sees to it that the volume exists, and says its name.
pub(super) async fn ready(docker: &Arc<Docker>, setup: &DockerSetup, worker: &[u8]) -> Result<String, DockerError> {
    let name = name(setup, worker);
    if !docker.has_volume(&name).await? {
        docker.create_volume(&name, &BTreeMap::from([("splitci.worker".to_owned(), setup.arch.clone())])).await?;
        fill(docker, setup, &name, worker).await?;
    }
    Ok(name)
}

/// Puts the worker into the volume.
pub(super) async fn fill(docker: &Arc<Docker>, setup: &DockerSetup, volume: &str, worker: &[u8]) -> Result<(), DockerError> {
    let spec = ContainerSpec {
        name: format!("splitci-filler-{}-{}", std::process::id(), setup.run.0.to_lowercase()),
        image: setup.image.clone(),
        platform: setup.platform.clone(),
        entrypoint: vec![WORKER_PATH.to_owned()],
        labels: BTreeMap::from([(OWNER_LABEL.to_owned(), Owner::here().to_string())]),
        host: HostSpec {
            volumes_writable: vec![(volume.to_owned(), WORKER_FOLDER.to_owned())],
            network: Some("none".to_owned()),
            ..HostSpec::default()
        },
        ..ContainerSpec::default()
    };
    let filler = docker.create_container(&spec).await?;
    let outcome = fill_through(docker, &filler, worker).await;
    docker.remove_container(&filler).await?;
    outcome
}

async fn fill_through(docker: &Docker, filler: &str, worker: &[u8]) -> Result<(), DockerError> {
    if docker.has_path(filler, WORKER_PATH).await? {
        return Ok(());
    }
    match docker.put_program(filler, WORKER_FOLDER, WORKER_NAME, worker).await {
        Err(refused) if !docker.has_path(filler, WORKER_PATH).await? => Err(refused),
        _ => Ok(()),
    }
}

/// Whether a start failed because the volume was not filled.
pub(super) fn is_unfilled(error: &DockerError) -> bool {
    error.engine_message().is_some_and(|said| said.contains(WORKER_PATH) && said.contains("no such file"))
}

/// Volumes of other versions of the worker.
pub(super) async fn outdated(docker: &Docker, setup: &DockerSetup, worker: &[u8]) -> Result<Vec<String>, DockerError> {
    let current = name(setup, worker);
    let all = docker.volumes_named(PREFIX).await?;
    Ok(all.into_iter().filter(|volume| *volume != current).collect())
}

fn name(setup: &DockerSetup, worker: &[u8]) -> String {
    format!("{PREFIX}{}-{}", &blake3::hash(worker).to_hex()[..16], setup.arch)
}
