//! The image of locks, holders and askers: our own static program, which does nothing until it is told to stop. So it needs no registry, no shell, and nothing of the
//! application; and since it runs, no prune of the engine's takes it away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FleetError;
use crate::docker::Docker;
use crate::docker::files::File;
use crate::docker::service::ServiceSpec;
use crate::engine::WorkerBinaries;

/// The program in it.
pub(super) const PROGRAM: &str = "splitci-worker";
/// What it is told to do.
const WAIT: &str = "wait";
/// Where a holder has its rows.
pub(super) const ROWS: &str = "/rows";

/// The image of this splitci on an engine, made there if it is not there. Its id.
pub(super) async fn image(engine: (&str, &Arc<Docker>), workers: &WorkerBinaries) -> Result<String, FleetError> {
    let (name, docker) = engine;
    let arch = &docker.facts().await.map_err(FleetError::of(name))?.arch;
    let worker = workers.get(arch).ok_or_else(|| FleetError::NoKeeper { engine: name.to_owned(), arch: arch.clone() })?;
    let reference = format!("splitci-keeper:{}", &blake3::hash(worker).to_hex()[..16]);
    if let Some(found) = docker.image(&reference).await.map_err(FleetError::of(name))? {
        return Ok(found.identity.config);
    }
    let files = [File { path: PROGRAM, bytes: worker, mode: 0o555 }, File { path: &format!("{}/", &ROWS[1..]), bytes: b"", mode: 0o755 }];
    docker.make_image(&reference, &files, &[&format!("/{PROGRAM}"), WAIT]).await.map_err(FleetError::of(name))
}

/// The same everywhere: a container of ours that waits, reaches nothing, and comes back with its engine.
pub(super) fn waiting(name: String, image: String, labels: BTreeMap<String, String>) -> ServiceSpec {
    ServiceSpec { name, image, labels, network: Some("none".to_owned()), restart: true, ..ServiceSpec::default() }
}
