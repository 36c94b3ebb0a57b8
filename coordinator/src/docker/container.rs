//! Containers: create, attach, start, kill, remove, list.
//!
//! A container is described by a `ContainerSpec` in our words; the engine's are written here alone.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType};
use bollard::query_parameters as query;
use tokio::io::{AsyncRead, AsyncWrite};

pub use super::attach::StderrTail;
use super::attach::Stdout;
use super::files::File;
use super::{Docker, DockerError, LONG, SHORT};

/// What a container shall be.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Its name.
    pub name: String,
    /// Image id or name.
    pub image: String,
    /// Platform, where it is not the engine's.
    pub platform: Option<String>,
    /// Entrypoint; never empty.
    pub entrypoint: Vec<String>,
    /// Command.
    pub command: Vec<String>,
    /// Variables over those of the image, `NAME=value`.
    pub env: Vec<String>,
    /// User instead of the image's.
    pub user: Option<String>,
    /// Working directory instead of the image's.
    pub workdir: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Host side of it.
    pub host: HostSpec,
}

/// What the host gives a container.
#[derive(Debug, Clone, Default)]
pub struct HostSpec {
    /// The engine removes the container when it ends.
    pub auto_remove: bool,
    /// Named volumes mounted read-only: name, path.
    pub volumes_read_only: Vec<(String, String)>,
    /// Named volumes mounted writable: name, path.
    pub volumes_writable: Vec<(String, String)>,
    /// Mounts as the user writes them.
    pub binds: Vec<String>,
    /// Memory file systems: path, options.
    pub tmpfs: Vec<(String, String)>,
    /// Memory in bytes; swap is not given on top.
    pub memory: Option<u64>,
    /// CPUs.
    pub cpus: Option<f64>,
    /// Size of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Limit of processes.
    pub pids_limit: Option<i64>,
    /// Extra hosts.
    pub add_hosts: Vec<String>,
    /// Network.
    pub network: Option<String>,
    /// Read-only root file system.
    pub read_only: bool,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities taken.
    pub cap_drop: Vec<String>,
    /// Security options, as the engine reads them.
    pub security_opt: Vec<String>,
}

/// The streams of an attached container.
pub struct Attached {
    /// To its standard input; ends when both streams are dropped, or when this one is shut down.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// From its standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// The end of its standard error, filled while standard output is read.
    pub stderr: StderrTail,
}

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `created`, `running`, `exited` ...
    pub state: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStanding {
    /// It runs.
    pub running: bool,
    /// Its exit status, once it ended.
    pub exit: Option<i32>,
    /// The engine says that it ran out of memory.
    pub oom: bool,
}

impl Docker {
    /// Makes a container, and gives its id.
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<String, DockerError> {
        let options = query::CreateContainerOptions { name: Some(spec.name.clone()), platform: spec.platform.clone().unwrap_or_default() };
        let attempt = || format!("create the container `{}`", spec.name);
        let made = self.call(attempt, LONG, self.client.create_container(Some(options), body(spec))).await?;
        Ok(made.id)
    }

    /// Takes hold of a container's streams. To be done before it is started, or its first bytes are lost.
    pub async fn attach(&self, id: &str) -> Result<Attached, DockerError> {
        let options = query::AttachContainerOptionsBuilder::new().stdin(true).stdout(true).stderr(true).stream(true).build();
        let streams = self
            .call(|| format!("attach to the container `{}`", short(id)), SHORT, self.client.attach_container(id, Some(options)))
            .await?;
        let stderr = StderrTail::default();
        Ok(Attached { stdin: Box::new(streams.input), stdout: Box::new(Stdout::new(streams.output, stderr.clone())), stderr })
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<(), DockerError> {
        let request = self.client.start_container(id, None::<query::StartContainerOptions>);
        self.call(|| format!("start the container `{}`", short(id)), LONG, request).await
    }

    /// Kills a container; one that is gone or has ended is fine.
    pub async fn kill_container(&self, id: &str) -> Result<(), DockerError> {
        let request = self.client.kill_container(id, None::<query::KillContainerOptions>);
        self.call(|| format!("kill the container `{}`", short(id)), SHORT, request).await.or_else(if_gone)
    }

    /// Removes a container with its anonymous volumes, killing it if need be; one that is gone or going is fine. Says whether it did.
    pub async fn remove_container(&self, id: &str) -> Result<bool, DockerError> {
        let options = query::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let request = self.client.remove_container(id, Some(options));
        let removed = self.call(|| format!("remove the container `{}`", short(id)), LONG, request).await;
        removed.map(|()| true).or_else(|error| if_gone(error).map(|()| false))
    }

    /// How a container stands; nothing if it does not exist.
    pub async fn standing(&self, id: &str) -> Result<Option<ContainerStanding>, DockerError> {
        let request = self.client.inspect_container(id, None::<query::InspectContainerOptions>);
        match self.call(|| format!("inspect the container `{}`", short(id)), SHORT, request).await {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                let running = state.running.unwrap_or(false);
                let exit = state.exit_code.filter(|_| !running).and_then(|code| i32::try_from(code).ok());
                Ok(Some(ContainerStanding { running, exit, oom: state.oom_killed.unwrap_or(false) }))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All containers that carry a label (`name` or `name=value`), running or not.
    pub async fn containers_labelled(&self, label: &str) -> Result<Vec<ListedContainer>, DockerError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = query::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.call(|| "list the containers".to_owned(), SHORT, self.client.list_containers(Some(options))).await?;
        let listed = found.into_iter().map(|container| ListedContainer {
            id: container.id.unwrap_or_default(),
            name: container.names.unwrap_or_default().first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
            state: container.state.map(|state| state.to_string()).unwrap_or_default(),
            created: container.created.unwrap_or_default(),
            labels: container.labels.unwrap_or_default().into_iter().collect(),
        });
        Ok(listed.collect())
    }

    /// The ids of the images that containers are made of, running or not.
    pub async fn images_in_use(&self) -> Result<Vec<String>, DockerError> {
        let options = query::ListContainersOptionsBuilder::new().all(true).build();
        let found = self.call(|| "list the containers".to_owned(), SHORT, self.client.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(|container| container.image_id).collect())
    }

    /// Whether a path exists in a container, started or not.
    pub async fn has_path(&self, id: &str, path: &str) -> Result<bool, DockerError> {
        let options = query::ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let request = self.client.get_container_archive_info(id, Some(options));
        match self.call(|| format!("look for `{path}` in the container `{}`", short(id)), SHORT, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts an executable file into a folder of a container that exists, started or not. It appears whole or not at all. Where somebody else puts the same file
    /// into the same volume, one of the two may be refused; the file is there all the same.
    pub async fn put_program(&self, id: &str, folder: &str, name: &str, program: &[u8]) -> Result<(), DockerError> {
        let file = File { path: name, bytes: program, mode: 0o555 };
        self.put_files(id, folder, &[file], &format!(".{}-", short(id))).await
    }
}

/// Gone, or being removed by the engine itself, is what was wanted.
fn if_gone(error: DockerError) -> Result<(), DockerError> {
    match error {
        DockerError::Missing { .. } | DockerError::Conflict { .. } => Ok(()),
        other => Err(other),
    }
}

/// An id as people see it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: Some(spec.entrypoint.clone()),
        cmd: Some(spec.command.clone()),
        env: Some(spec.env.clone()),
        user: spec.user.clone(),
        working_dir: spec.workdir.clone(),
        labels: Some(spec.labels.clone().into_iter().collect()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // The engine closes the process's standard input when the attached client goes away: its order to die.
        stdin_once: Some(true),
        tty: Some(false),
        // A health check of the image would run in every shard and means nothing there.
        healthcheck: Some(bollard::models::HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        host_config: Some(host_config(&spec.host)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(host: &HostSpec) -> HostConfig {
    let whole = |bytes: Option<u64>| bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    HostConfig {
        auto_remove: Some(host.auto_remove),
        mounts: Some(mounts(host)),
        binds: some(&host.binds),
        tmpfs: Some(host.tmpfs.iter().cloned().collect()),
        memory: whole(host.memory),
        memory_swap: whole(host.memory),
        nano_cpus: host.cpus.map(nano),
        shm_size: whole(host.shm_size),
        pids_limit: host.pids_limit,
        extra_hosts: some(&host.add_hosts),
        network_mode: host.network.clone(),
        readonly_rootfs: Some(host.read_only),
        cap_add: some(&host.cap_add),
        cap_drop: some(&host.cap_drop),
        security_opt: some(&host.security_opt),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and no host has 9e9 CPUs")]
fn nano(cpus: f64) -> i64 {
    (cpus * 1e9) as i64
}

fn mounts(host: &HostSpec) -> Vec<Mount> {
    let mount = |(name, path): &(String, String), read_only| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(name.clone()),
        target: Some(path.clone()),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let read_only = host.volumes_read_only.iter().map(|volume| mount(volume, true));
    read_only.chain(host.volumes_writable.iter().map(|volume| mount(volume, false))).collect()
}
