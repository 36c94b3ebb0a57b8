//! The application's containers: one a slot, and those that were there before it.
//!
//! A container is ours to change when its labels say that it is of this environment. One that stands in the way and is not, is left alone and told of.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Place;
use super::names::{DEPLOY, ENVIRONMENT, FENCE, RELEASE, ROLE, Role, SETTINGS, SLOT};
use crate::docker::service::{HealthCheck, Phase, Publish, Service, ServiceSpec};
use crate::docker::{Docker, DockerError};

/// An instance that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// Of which environment.
    pub place: Place,
    /// In which slot.
    pub slot: String,
    /// For which deployment.
    pub deploy: String,
    /// Its fence.
    pub fence: u64,
    /// The manifest's digest of the release.
    pub release: String,
    /// Digest of the application's own configuration.
    pub settings: String,
    /// The image's id on this engine.
    pub image: String,
    /// Variables over those of the image, `NAME=value`.
    pub env: Vec<String>,
    /// Its command; nothing for the image's own.
    pub command: Option<Vec<String>>,
    /// What the host gives out; nothing where the balancer is in the same network.
    pub publish: Option<Publish>,
    /// Network; nothing for the engine's own.
    pub network: Option<String>,
    /// Its address in that network.
    pub address: Option<Ipv4Addr>,
    /// A process of the engine's is PID 1 and hands signals on.
    pub init: bool,
}

/// Stands in a container's name before the deployment that set it aside.
const ASIDE: &str = ".aside.";
/// A name that is taken, and that nobody has when asked, is on its way out: its engine is given so long.
const MOMENT: Duration = Duration::from_millis(50);

/// An instance as an engine tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its slot.
    pub slot: String,
    /// The deployment that made it.
    pub deploy: String,
    /// That one's fence; 0 where the label is none.
    pub fence: u64,
    /// The manifest's digest of its release, as its label says.
    pub release: String,
    /// Digest of the application's own configuration, as its label says.
    pub settings: String,
    /// The image's id, as the engine says.
    pub image: String,
    /// What it does.
    pub phase: Phase,
    /// How often the engine started it again.
    pub restarts: u32,
    /// What the image's health check says.
    pub health: HealthCheck,
    /// Its memory was exhausted.
    pub oom: bool,
    /// The deployment that set it aside, if one did.
    pub aside: Option<String>,
}

/// What came of making one.
#[derive(Debug)]
pub enum Made {
    /// It is there, with this id. It may have been there before: an earlier try of the same deployment made it.
    Ours(String),
    /// Its name is taken by a container that is not of this deployment.
    Foreign(Box<Service>),
}

impl InstanceSpec {
    /// What an engine is asked for.
    pub fn service(&self) -> ServiceSpec {
        let mut labels = self.place.labels(Role::Instance, &self.deploy, self.fence);
        labels.insert(SLOT.to_owned(), self.slot.clone());
        labels.insert(RELEASE.to_owned(), self.release.clone());
        labels.insert(SETTINGS.to_owned(), self.settings.clone());
        ServiceSpec {
            name: self.place.instance(&self.slot, &self.deploy),
            image: self.image.clone(),
            command: self.command.clone(),
            env: self.env.clone(),
            labels,
            ports: self.publish.into_iter().collect(),
            network: self.network.clone(),
            address: self.address,
            restart: true,
            init: self.init,
        }
    }
}

/// Makes an instance, without starting it.
pub async fn make(docker: &Docker, spec: &InstanceSpec) -> Result<Made, DockerError> {
    let wanted = spec.service();
    loop {
        match docker.create_service(&wanted).await {
            Ok(id) => return Ok(Made::Ours(id)),
            Err(DockerError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        // One that went meanwhile gave its name back.
        let Some(found) = docker.service(&wanted.name).await? else {
            tokio::time::sleep(MOMENT).await;
            continue;
        };
        let label = |name: &str| found.labels.get(name).map(String::as_str);
        let ours = label(ENVIRONMENT) == Some(&spec.place.label()) && label(DEPLOY) == Some(&spec.deploy) && found.image == spec.image;
        return Ok(if ours { Made::Ours(found.id) } else { Made::Foreign(Box::new(found)) });
    }
}

/// All instances of an environment on this engine, running or not, by name.
pub async fn all(docker: &Docker, place: &Place) -> Result<Vec<Instance>, DockerError> {
    let found = docker.services(&place.filter()).await?;
    let instances = found.into_iter().filter(|found| found.labels.get(ROLE).is_some_and(|role| role == Role::Instance.word()));
    Ok(instances.map(instance).collect())
}

/// Sets a container that does not run aside, for a deployment: its name is free for another, and its engine does not start it again. One that is aside already
/// stays what it is.
pub async fn set_aside(docker: &Docker, id: &str, deploy: &str) -> Result<(), DockerError> {
    docker.set_restart(id, false).await?;
    match name_aside(docker, id, deploy).await? {
        Some(name) => docker.rename_service(id, &name).await,
        None => Ok(()),
    }
}

/// The name of a container that is set aside for a deployment, if it is not aside already.
pub async fn name_aside(docker: &Docker, id: &str, deploy: &str) -> Result<Option<String>, DockerError> {
    let found = docker.service(id).await?;
    Ok(found.filter(|found| !found.name.contains(ASIDE)).map(|found| format!("{}{ASIDE}{deploy}", found.name)))
}

/// Gives a container that was set aside its name back, and its engine the order to keep it running.
pub async fn take_back(docker: &Docker, id: &str) -> Result<(), DockerError> {
    docker.set_restart(id, true).await?;
    match own_name(docker, id).await? {
        Some(own) => docker.rename_service(id, &own).await,
        None => Ok(()),
    }
}

/// The own name of a container that is aside.
pub async fn own_name(docker: &Docker, id: &str) -> Result<Option<String>, DockerError> {
    Ok(docker.service(id).await?.and_then(|found| found.name.split_once(ASIDE).map(|(own, _)| own.to_owned())))
}

fn instance(found: Service) -> Instance {
    let text = |name: &str| found.labels.get(name).cloned().unwrap_or_default();
    Instance {
        slot: text(SLOT),
        deploy: text(DEPLOY),
        fence: text(FENCE).parse().unwrap_or(0),
        aside: found.name.rsplit_once(ASIDE).map(|(_, deploy)| deploy.to_owned()),
        release: text(RELEASE),
        settings: text(SETTINGS),
        id: found.id,
        name: found.name,
        image: found.image,
        phase: found.phase,
        restarts: found.restarts,
        health: found.health,
        oom: found.oom,
    }
}
