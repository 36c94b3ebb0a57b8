//! Containers that stay: an application's instances, and what a deployment leaves on an engine. Unlike a shard's they live on without us, are what their image
//! says where nothing else is asked for, keep its health check, and write a log that can be read afterwards.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody, EndpointIpamConfig, EndpointSettings,
    HealthStatusEnum, HostConfig, NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters as query;
use futures_util::StreamExt as _;

use super::container::short;
use super::{Docker, DockerError, LONG, SHORT};

/// Most bytes of a log's end that are read.
const LOG_BYTES: usize = 64 << 10;

/// What a container that stays shall be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceSpec {
    /// Its name, which no other container of the engine has.
    pub name: String,
    /// Image id.
    pub image: String,
    /// Command instead of the image's.
    pub command: Option<Vec<String>>,
    /// Variables over those of the image, `NAME=value`.
    pub env: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What of it can be reached from the host.
    pub ports: Vec<Publish>,
    /// Network; nothing for the engine's own.
    pub network: Option<String>,
    /// Its address in that network; nothing for one that the engine chooses. It is the container's whenever it runs, and nobody's while it does not.
    pub address: Option<Ipv4Addr>,
    /// The engine starts it again when it ends, and when the engine itself starts, even if somebody stopped it before. ("Unless stopped" would be no such promise: an
    /// engine that was killed stops what it finds running, and then takes it for stopped.)
    pub restart: bool,
    /// A process of the engine's is PID 1 and hands signals on.
    pub init: bool,
}

/// A port of a container, where its host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// Address on the host.
    pub address: IpAddr,
    /// Port on the host.
    pub host: u16,
    /// Port in the container.
    pub container: u16,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was made and never started.
    Created,
    /// It runs.
    Running,
    /// It ended and will be started again by the engine.
    Restarting,
    /// It ended with this status.
    Exited(i32),
    /// Anything else: paused, being removed, dead.
    Other,
}

/// What the image's own health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCheck {
    /// There is none.
    Absent,
    /// It has not decided.
    Starting,
    /// It passes.
    Passing,
    /// It fails.
    Failing,
}

/// A container that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Id of its image.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it does.
    pub phase: Phase,
    /// How often the engine started it again.
    pub restarts: u32,
    /// What the image's health check says.
    pub health: HealthCheck,
    /// Its memory was exhausted.
    pub oom: bool,
}

impl Docker {
    /// Makes a container that stays, and gives its id. A name that is taken is [`DockerError::Conflict`], whoever took it: of many who try at once, one succeeds.
    pub async fn create_service(&self, spec: &ServiceSpec) -> Result<String, DockerError> {
        let options = query::CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let attempt = || format!("create the container `{}`", spec.name);
        let made = self.call(attempt, LONG, self.client.create_container(Some(options), body(spec))).await?;
        Ok(made.id)
    }

    /// Stops a container with its stop signal, and kills it when that has not ended it within `grace`. One that has ended is fine, one that is gone is not.
    pub async fn stop_service(&self, id: &str, grace: Duration) -> Result<(), DockerError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = query::StopContainerOptionsBuilder::new().t(seconds).build();
        let request = self.client.stop_container(id, Some(options));
        self.call(|| format!("stop the container `{}`", short(id)), LONG + grace, request).await
    }

    /// Gives a container another name.
    pub async fn rename_service(&self, id: &str, name: &str) -> Result<(), DockerError> {
        let options = query::RenameContainerOptionsBuilder::new().name(name).build();
        let request = self.client.rename_container(id, options);
        self.call(|| format!("rename the container `{}` to `{name}`", short(id)), SHORT, request).await
    }

    /// Whether the engine starts a container again from now on.
    pub async fn set_restart(&self, id: &str, restart: bool) -> Result<(), DockerError> {
        let change = ContainerUpdateBody { restart_policy: Some(policy(restart)), ..ContainerUpdateBody::default() };
        let request = self.client.update_container(id, change);
        self.call(|| format!("change the container `{}`", short(id)), SHORT, request).await
    }

    /// The container of this name or id; nothing if there is none.
    pub async fn service(&self, name: &str) -> Result<Option<Service>, DockerError> {
        let request = self.client.inspect_container(name, None::<query::InspectContainerOptions>);
        match self.call(|| format!("inspect the container `{}`", short(name)), SHORT, request).await {
            Ok(found) => Ok(Some(service(found))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All containers with this label (`name` or `name=value`), running or not, by name. One that goes while it is looked for is left out.
    pub async fn services(&self, label: &str) -> Result<Vec<Service>, DockerError> {
        let mut found = Vec::new();
        for listed in self.containers_labelled(label).await? {
            found.extend(self.service(&listed.id).await?);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The last lines that a container wrote, 64 KiB at most. What is not text is replaced.
    pub async fn log_tail(&self, id: &str, lines: usize) -> Result<String, DockerError> {
        let options = query::LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let mut stream = self.client.logs(id, Some(options));
        let attempt = || format!("read the log of the container `{}`", short(id));
        let read = async {
            let mut text = Vec::new();
            while let Some(piece) = stream.next().await {
                text.extend_from_slice(&piece?.into_bytes());
            }
            Ok(text)
        };
        let mut text = self.call(attempt, SHORT, read).await?;
        let surplus = text.len().saturating_sub(LOG_BYTES);
        text.drain(..surplus);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn body(spec: &ServiceSpec) -> ContainerCreateBody {
    let port = |port: &Publish| format!("{}/tcp", port.container);
    let bound = |port: &Publish| PortBinding { host_ip: Some(port.address.to_string()), host_port: Some(port.host.to_string()) };
    let bindings = spec.ports.iter().map(|published| (port(published), Some(vec![bound(published)]))).collect();
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        env: Some(spec.env.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        exposed_ports: Some(spec.ports.iter().map(port).collect()),
        host_config: Some(HostConfig {
            port_bindings: Some(bindings),
            network_mode: spec.network.clone(),
            restart_policy: Some(policy(spec.restart)),
            init: spec.init.then_some(true),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..HostConfig::default()
        }),
        networking_config: spec.network.as_ref().zip(spec.address).map(at),
        ..ContainerCreateBody::default()
    }
}

/// A network and an address in it.
fn at((network, address): (&String, Ipv4Addr)) -> NetworkingConfig {
    let ipam = EndpointIpamConfig { ipv4_address: Some(address.to_string()), ..EndpointIpamConfig::default() };
    let endpoint = EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() };
    NetworkingConfig { endpoints_config: Some([(network.clone(), endpoint)].into()) }
}

fn policy(restart: bool) -> RestartPolicy {
    let name = if restart { RestartPolicyNameEnum::ALWAYS } else { RestartPolicyNameEnum::NO };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

fn service(found: ContainerInspectResponse) -> Service {
    let state = found.state.unwrap_or_default();
    let exit = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
    let health = match state.health.and_then(|health| health.status) {
        None | Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) => HealthCheck::Absent,
        Some(HealthStatusEnum::STARTING) => HealthCheck::Starting,
        Some(HealthStatusEnum::HEALTHY) => HealthCheck::Passing,
        Some(HealthStatusEnum::UNHEALTHY) => HealthCheck::Failing,
    };
    Service {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: found.image.unwrap_or_default(),
        labels: found.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect(),
        phase: match state.status {
            Some(ContainerStateStatusEnum::CREATED) => Phase::Created,
            Some(ContainerStateStatusEnum::RUNNING) => Phase::Running,
            Some(ContainerStateStatusEnum::RESTARTING) => Phase::Restarting,
            Some(ContainerStateStatusEnum::EXITED) => Phase::Exited(exit),
            _ => Phase::Other,
        },
        restarts: found.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        health,
        oom: state.oom_killed.unwrap_or(false),
    }
}
