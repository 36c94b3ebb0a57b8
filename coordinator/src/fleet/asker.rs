//! A container of ours in an environment's network, which asks the instances there how they are: from where the balancers are, whatever machine we are on, and whether
//! or not that network can be reached from it.
//!
//! It lives as long as somebody holds its streams: its engine ends it when they close, and removes it. What a process that was killed left before it was started, the next one
//! removes.

use std::sync::Arc;

use super::names::{FENCE, ROLE, Role};
use super::{FleetError, Place, keeper};
use crate::docker::container::{Attached, ContainerSpec, HostSpec};
use crate::docker::{Docker, DockerError};
use crate::engine::WorkerBinaries;

/// What it is told to do.
const ASK: &str = "ask";

/// Makes and starts one in this network of an engine, and takes hold of it: questions go in, answers come out, as the worker's program has them.
pub async fn open(
    engine: (&str, &Arc<Docker>),
    place: &Place,
    network: &str,
    (deploy, fence): (&str, u64),
    workers: &WorkerBinaries,
) -> Result<Attached, FleetError> {
    let (name, docker) = engine;
    let image = keeper::image(engine, workers).await?;
    tidy(docker, place, fence).await.map_err(FleetError::of(name))?;
    let host = HostSpec {
        auto_remove: true,
        network: Some(network.to_owned()),
        read_only: true,
        cap_drop: vec!["ALL".to_owned()],
        security_opt: vec!["no-new-privileges".to_owned()],
        ..HostSpec::default()
    };
    let spec = ContainerSpec {
        name: place.asker(&ulid::Ulid::generate().to_string()),
        image,
        entrypoint: vec![format!("/{}", keeper::PROGRAM)],
        command: vec![ASK.to_owned()],
        labels: place.labels(Role::Asker, deploy, fence),
        host,
        ..ContainerSpec::default()
    };
    let id = docker.create_container(&spec).await.map_err(FleetError::of(name))?;
    let opened = async {
        let attached = docker.attach(&id).await?;
        docker.start_container(&id).await.map(|()| attached)
    };
    match opened.await {
        Ok(attached) => Ok(attached),
        Err(error) => {
            // What was never started is not removed by itself. The first error is the one to tell: what stays goes with `tidy`.
            docker.remove_container(&id).await.ok();
            Err(FleetError::of(name)(error))
        }
    }
}

/// Removes those that were never started, of whoever was here before.
async fn tidy(docker: &Docker, place: &Place, fence: u64) -> Result<(), DockerError> {
    for left in docker.containers_labelled(&place.filter()).await? {
        let label = |name: &str| left.labels.get(name).map(String::as_str).unwrap_or_default();
        let before = label(FENCE).parse::<u64>().is_ok_and(|other| other < fence);
        if label(ROLE) == Role::Asker.word() && left.state == "created" && before {
            docker.remove_container(&left.id).await?;
        }
    }
    Ok(())
}
