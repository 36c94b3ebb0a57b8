//! Shards as containers of the tested image, on one Docker engine, local or remote.
//!
//! A shard is made, attached to, and only then started, so that no byte is lost; its standard streams are the only line to it. The worker gets in
//! through a volume (`worker_volume`), never through the root file system. The engine removes a container when it ends; how it ended is heard
//! from the engine's events. Nothing here knows what travels on the stream.
//! `shape` decides what a container is given, `security` what of it the engine can keep, `docker::owner` whose containers may be swept.

mod security;
mod shape;
mod worker_volume;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinSet;

use super::{Engine, EngineError, Inside, Shard, ShardEnd, ShardHandle, ShardSpec, Shell, Swept, There, WorkerBinaries};
use crate::docker::container::{Attached, ContainerSpec, StderrTail};
use crate::docker::deaths::Deaths;
use crate::docker::exec::{OpenTerminal, TerminalSpec};
use crate::docker::owner::{self, Owner};
use crate::docker::{Docker, DockerError};
use crate::model::settings::ContainerSettings;
use crate::model::{EntryPoint, RunId};
pub use shape::runs_image_init;

/// Label that every container and volume of ours carries; its value names who owns a container.
pub const OWNER_LABEL: &str = "splitci.owner";
/// Label with the run.
pub const RUN_LABEL: &str = "splitci.run";
/// Label with the shard's number.
pub const SHARD_LABEL: &str = "splitci.shard";

/// Label of a container that was to be left when its shard ends: it is not swept.
pub const KEPT_LABEL: &str = "splitci.kept";

/// A worker whose stream was closed ends by itself; this long it may take before it is killed.
const OWN_END: Duration = Duration::from_millis(100);
/// From the order to die to the engine's word that it is done.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// How often a start finds the worker's volume without the worker before that is an error. Once is a volume that was emptied; more than once, others
/// who fill it at the same moment.
const FILLINGS: u32 = 5;
/// Shells that images have, in the order of what a person would rather use.
const SHELLS: [&str; 3] = ["/bin/bash", "/bin/sh", "/busybox/sh"];
/// An engine may tell of exhausted memory a little after it tells of the death.
const OOM_AFTER: Duration = Duration::from_millis(300);

/// What the shards of a run are made of.
#[derive(Debug, Clone)]
pub struct DockerSetup {
    /// The run.
    pub run: RunId,
    /// The image's id.
    pub image: String,
    /// Platform, where it is not the engine's own.
    pub platform: Option<String>,
    /// Architecture of the image.
    pub arch: String,
    /// What the image wants to be started as.
    pub entry: EntryPoint,
    /// What containers are given.
    pub container: ContainerSettings,
    /// The worker's programs.
    pub workers: WorkerBinaries,
    /// Leave the containers when their shards end.
    pub keep: bool,
}

/// Why shards cannot be made of this image on this engine.
#[derive(Debug, thiserror::Error)]
pub enum DockerEngineError {
    /// There is no worker for the image's architecture.
    #[error("the image is for `{image}` and there is a worker for {}", listed(.workers))]
    NoWorker {
        /// The image's architecture.
        image: String,
        /// Those there are workers for.
        workers: Vec<String>,
    },
    /// The engine cannot keep a security option.
    #[error("the engine does not support the security option `{option}`; it has {}", listed(.engine))]
    Unsupported {
        /// The option.
        option: String,
        /// What the engine has.
        engine: Vec<String>,
    },
    /// The security option means nothing to us.
    #[error("the security option `{0}` is not known")]
    UnknownOption(String),
    /// A seccomp profile cannot be read.
    #[error("cannot read the seccomp profile")]
    Profile(#[source] std::io::Error),
    /// There is nothing to type into.
    #[error("the image has no shell: none of {} is in it", SHELLS.join(", "))]
    NoShell,
    /// The engine did not do it.
    #[error(transparent)]
    Docker(#[from] DockerError),
}

impl DockerEngineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoWorker { image, .. } => Some(format!("put a worker at `SPLITCI_WORKER_DIR/splitci-worker-linux-{image}`")),
            Self::Unsupported { .. } | Self::UnknownOption(_) => Some("change `shard.security_opt`".to_owned()),
            Self::Profile(_) => None,
            Self::NoShell => Some(
                "run the tests again without `--shell`, or keep what they leave for `docker cp` with `splitci repro RUN --keep`".to_owned(),
            ),
            Self::Docker(error) => error.hint().map(str::to_owned),
        }
    }

    fn when(self, attempt: &str) -> EngineError {
        EngineError { attempt: attempt.to_owned(), hint: self.hint(), refused: self.refuses(), cause: Box::new(self) }
    }

    /// Whether it is what was asked for that cannot be had.
    fn refuses(&self) -> bool {
        match self {
            Self::Unsupported { .. } | Self::UnknownOption(_) | Self::Profile(_) => true,
            Self::Docker(error) => error.is_refusal(),
            Self::NoWorker { .. } | Self::NoShell => false,
        }
    }
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Containers of one image on one engine.
pub struct DockerEngine {
    docker: Arc<Docker>,
    setup: DockerSetup,
    security: Vec<String>,
    worker: Arc<[u8]>,
    volume: OnceCell<String>,
    deaths: Deaths,
    stderr: Mutex<HashMap<String, StderrTail>>,
    starts: Mutex<JoinSet<()>>,
    owner: Owner,
}

/// A container that runs.
struct Started {
    name: String,
    streams: Attached,
}

impl DockerEngine {
    /// Checks that shards can be made, and begins to listen to the engine.
    pub async fn new(docker: Arc<Docker>, setup: DockerSetup) -> Result<Self, EngineError> {
        Self::prepare(docker, setup).await.map_err(|error| error.when("prepare the shards"))
    }

    async fn prepare(docker: Arc<Docker>, setup: DockerSetup) -> Result<Self, DockerEngineError> {
        let worker = setup.workers.get(&setup.arch).cloned().ok_or_else(|| DockerEngineError::NoWorker {
            image: setup.arch.clone(),
            workers: setup.workers.archs().map(str::to_owned).collect(),
        })?;
        let facts = docker.facts().await?;
        let security = security::options(&setup.container.security_opt, &facts.security)?;
        let deaths = Deaths::listen(&docker, format!("{RUN_LABEL}={}", setup.run), facts.clock.clone());
        let (volume, stderr, starts) = (OnceCell::new(), Mutex::default(), Mutex::default());
        Ok(Self { docker, setup, security, worker, volume, deaths, stderr, starts, owner: Owner::here() })
    }

    async fn start_shard(&self, spec: &ShardSpec) -> Result<Shard, DockerEngineError> {
        while self.starts().try_join_next().is_some() {}
        let volume = self.volume.get_or_try_init(|| worker_volume::ready(&self.docker, &self.setup, &self.worker)).await?;
        let container = shape::container(&self.setup, spec, self.security.clone(), (volume, &self.owner.to_string()), &self.proxies());
        let mut fillings = 0;
        loop {
            match self.start_container(spec, container.clone()).await {
                Err(error) if fillings < FILLINGS && worker_volume::is_unfilled(&error) => {
                    fillings += 1;
                    worker_volume::fill(&self.docker, &self.setup, volume, &self.worker).await?;
                }
                other => return Ok(other?),
            }
        }
    }

    /// An engine finishes what it was asked although nobody waits for it any more. So a start goes on in a task of its own, and what it made is
    /// removed if it fails, or if nobody takes it over. `close` waits for such tasks: a process that ends takes them along, and a container that was made
    /// and not yet started would stay, since it has no stream whose end could tell it to go.
    async fn start_container(&self, spec: &ShardSpec, container: ContainerSpec) -> Result<Shard, DockerError> {
        let (hand_over, taken) = oneshot::channel();
        let docker = Arc::clone(&self.docker);
        self.starts().spawn(async move {
            let started = create_and_start(&docker, &container, || hand_over.is_closed()).await;
            if let Err(Ok(started)) = hand_over.send(started) {
                // Nobody is there to be told. If this fails too, the next sweep finds the container by its owner.
                let _told = docker.remove_container(&started.name).await;
            }
        });
        let started = taken.await.unwrap_or_else(|_| Err(DockerError::GivenUp { attempt: format!("start shard {}", spec.shard) }))?;
        self.tails().insert(started.name.clone(), started.streams.stderr);
        let handle = ShardHandle { name: started.name, shard: spec.shard };
        Ok(Shard { input: started.streams.stdin, output: started.streams.stdout, handle })
    }

    async fn open_shell(&self, spec: &ShardSpec, inside: &Inside) -> Result<Shell, DockerEngineError> {
        let shard = self.start_shard(spec).await?;
        let id = shard.handle.name.clone();
        match self.terminal_in(&id, inside).await {
            Ok(terminal) => Ok(Shell::There(There::new(Arc::clone(&self.docker), shard, terminal))),
            Err(error) => {
                self.docker.remove_container(&id).await?;
                Err(error)
            }
        }
    }

    async fn terminal_in(&self, id: &str, inside: &Inside) -> Result<OpenTerminal, DockerEngineError> {
        for shell in SHELLS {
            if self.docker.has_path(id, shell).await? {
                let command = inside.entrypoint.iter().cloned().chain([shell.to_owned()]).collect();
                let env = inside.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
                return Ok(self.docker.open_terminal(id, &TerminalSpec { command, env, workdir: inside.cwd.clone() }).await?);
            }
        }
        Err(DockerEngineError::NoShell)
    }

    fn proxies(&self) -> Vec<String> {
        let address = self.docker.endpoint().to_string();
        self.docker.config().proxies(&address).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, HashMap<String, StderrTail>> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn starts(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills a container if it still runs, and waits until it has ended and is gone.
    async fn see_off(&self, id: &str) -> Result<(Option<i32>, bool), DockerError> {
        let mut death = self.deaths.wait(id, OWN_END, |death| death.exit.is_some()).await;
        if death.exit.is_none() {
            self.docker.kill_container(id).await?;
            death = self.deaths.wait(id, KILLED_WITHIN, |death| death.exit.is_some() || death.removed).await;
        }
        if death.exit == Some(137) && self.setup.container.memory.is_some() {
            death = self.deaths.wait(id, OOM_AFTER, |death| death.oom).await;
        }
        let (mut exit, mut oom) = (death.exit, death.oom);
        if self.setup.keep {
            if let Some(standing) = self.docker.standing(id).await? {
                (exit, oom) = (exit.or(standing.exit), oom || standing.oom);
            }
            return Ok((exit, oom));
        }
        if !self.deaths.wait(id, KILLED_WITHIN, |death| death.removed).await.removed {
            self.docker.remove_container(id).await?;
        }
        Ok((exit, oom))
    }

    async fn sweep_all(&self) -> Result<Swept, DockerError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let mut swept = Swept::default();
        for container in self.docker.containers_labelled(OWNER_LABEL).await? {
            let owner = container.labels.get(OWNER_LABEL).map(String::as_str).unwrap_or_default();
            let running = container.state == "running";
            let kept = container.labels.contains_key(KEPT_LABEL);
            if !kept && owner::is_orphan(owner, &self.owner, running, now - container.created) {
                match self.docker.remove_container(&container.id).await {
                    Ok(true) => swept.removed.push(format!("container {}", container.name)),
                    Ok(false) => {}
                    // One that the engine cannot let go of does not keep the others.
                    Err(error) if error.engine_message().is_some() => swept.stuck.push(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
        }
        for volume in worker_volume::outdated(&self.docker, &self.setup, &self.worker).await? {
            if self.docker.remove_volume(&volume).await? {
                swept.removed.push(format!("volume {volume}"));
            }
        }
        Ok(swept)
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn start(&self, spec: &ShardSpec) -> Result<Shard, EngineError> {
        self.start_shard(spec).await.map_err(|error| error.when(&format!("start shard {}", spec.shard)))
    }

    async fn end(&self, handle: &ShardHandle) -> ShardEnd {
        let id = handle.name.as_str();
        let said = self.tails().get(id).map(StderrTail::text).unwrap_or_default();
        match self.see_off(id).await {
            Ok((status, oom)) => ShardEnd { status, oom, detail: said },
            Err(error) => {
                let death = self.deaths.of(id);
                ShardEnd { status: death.exit, oom: death.oom, detail: format!("{said}\n{error}").trim().to_owned() }
            }
        }
    }

    async fn shell(&self, spec: &ShardSpec, inside: &Inside) -> Result<Shell, EngineError> {
        self.open_shell(spec, inside).await.map_err(|error| error.when(&format!("open a shell in the place of shard {}", spec.shard)))
    }

    async fn sweep(&self) -> Result<Swept, EngineError> {
        self.sweep_all().await.map_err(|error| DockerEngineError::from(error).when("sweep the containers of earlier runs"))
    }

    async fn close(&self) {
        let mut starts = std::mem::take(&mut *self.starts());
        let all = async { while starts.join_next().await.is_some() {} };
        // An engine that takes longer keeps nobody: the next sweep finds by its owner what is left.
        let _in_time = tokio::time::timeout(KILLED_WITHIN, all).await;
    }
}

async fn create_and_start(docker: &Docker, container: &ContainerSpec, unwanted: impl Fn() -> bool) -> Result<Started, DockerError> {
    let name = docker.create_container(container).await?;
    let streams = async {
        if unwanted() {
            return Err(DockerError::GivenUp { attempt: format!("start the container `{}`", container.name) });
        }
        let streams = docker.attach(&name).await?;
        docker.start_container(&name).await?;
        Ok(streams)
    };
    match streams.await {
        Ok(streams) => Ok(Started { name, streams }),
        Err(error) => {
            docker.remove_container(&name).await?;
            Err(error)
        }
    }
}
