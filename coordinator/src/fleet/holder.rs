//! The journal's rows, kept in a container on each of the first two engines of an environment: so any machine can go on where another was stopped.
//!
//! A row is a file of its own, written whole or not at all and never changed. Holders may come to disagree: one was not reachable, or was deleted. What counts
//! then is the journal's to say, which is why every copy is read and none is mended here.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::names::Role;
use super::{Fleet, FleetError, Place, keeper};
use crate::docker::files::File;
use crate::docker::service::Phase;
use crate::docker::{Docker, DockerError};
use crate::engine::WorkerBinaries;

/// On how many engines.
const COPIES: usize = 2;
/// Most bytes of rows that are read.
const MOST: usize = 256 << 20;

/// The holders of an environment's journal.
#[derive(Debug)]
pub struct Holders {
    parts: Vec<(String, Arc<Docker>, String)>,
}

/// Where rows are now.
#[derive(Debug)]
pub struct Kept {
    /// How many holders have them.
    pub by: usize,
    /// Why others do not.
    pub refused: Vec<FleetError>,
}

/// The rows of one holder: by name, or why they cannot be read.
pub type Copy = (String, Result<BTreeMap<String, Vec<u8>>, FleetError>);

impl Holders {
    /// The holders on the first two engines, made and started where they are not.
    pub async fn ensure(fleet: &Fleet, place: &Place, workers: &WorkerBinaries) -> Result<Self, FleetError> {
        fleet.whole()?;
        let mut parts = Vec::new();
        for (name, docker) in fleet.engines().take(COPIES) {
            let id = match docker.service(&place.holder()).await.map_err(FleetError::of(name))? {
                Some(found) if found.phase == Phase::Running => found.id,
                Some(found) => start((name, docker), found.id).await?,
                None => make((name, docker), place, workers).await?,
            };
            parts.push((name.to_owned(), Arc::clone(docker), id));
        }
        Ok(Self { parts })
    }

    /// The holders that there are. None is made: for who only looks.
    pub async fn find(fleet: &Fleet, place: &Place) -> Result<Self, FleetError> {
        let mut parts = Vec::new();
        for (name, docker) in fleet.engines().take(COPIES) {
            let found = docker.service(&place.holder()).await.map_err(FleetError::of(name))?;
            parts.extend(found.map(|found| (name.to_owned(), Arc::clone(docker), found.id)));
        }
        Ok(Self { parts })
    }

    /// Puts rows into every holder, under names that no other rows have.
    pub async fn put(&self, rows: &[(String, String)]) -> Kept {
        let files: Vec<_> = rows.iter().map(|(name, row)| File { path: name, bytes: row.as_bytes(), mode: 0o444 }).collect();
        let puts = self.parts.iter().map(|(name, docker, id)| {
            let files = &files;
            async move { docker.put_files(id, keeper::ROWS, files, ".").await.map_err(FleetError::of(name)) }
        });
        let mut kept = Kept { by: 0, refused: Vec::new() };
        for put in join_all(puts).await {
            match put {
                Ok(()) => kept.by += 1,
                Err(error) => kept.refused.push(error),
            }
        }
        kept
    }

    /// Every copy, by engine. What a broken connection left half of is not among the rows.
    pub async fn read(&self) -> Vec<Copy> {
        let mut copies = Vec::new();
        for (name, docker, id) in &self.parts {
            let read = docker.files_in(id, keeper::ROWS, MOST).await.map_err(FleetError::of(name));
            let rows = read.map(|files| files.into_iter().filter(|(row, _)| !row.starts_with('.')).collect());
            copies.push((name.clone(), rows));
        }
        copies
    }
}

async fn make(engine: (&str, &Arc<Docker>), place: &Place, workers: &WorkerBinaries) -> Result<String, FleetError> {
    let (name, docker) = engine;
    let image = keeper::image(engine, workers).await?;
    let spec = keeper::waiting(place.holder(), image, place.labels(Role::Holder, "", 0));
    let id = match docker.create_service(&spec).await {
        Ok(id) => id,
        // Somebody made it at the same moment.
        Err(DockerError::Conflict { .. }) => spec.name,
        Err(cause) => return Err(FleetError::of(name)(cause)),
    };
    start(engine, id).await
}

async fn start(engine: (&str, &Arc<Docker>), id: String) -> Result<String, FleetError> {
    engine.1.start_container(&id).await.map_err(FleetError::of(engine.0))?;
    Ok(id)
}
