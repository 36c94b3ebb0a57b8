//! What a run was asked to do, resolved: no defaults left open, nothing of where it came from. It stands in the record's first event.

use serde::{Deserialize, Serialize};

use super::{Recipe, SuiteId, Volume};

/// Everything that decides what a run does, apart from the image and the suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// Where shards run.
    pub engine: EngineKind,
    /// How many shards at most.
    pub shards: u32,
    /// What is run: one suite, or several with a name each.
    pub suites: Vec<SuiteSettings>,
    /// The project's directory relative to the build context; the working directory in a process shard.
    pub directory: String,
    /// Seed of the run.
    pub seed: u64,
    /// Order of units.
    pub order: Order,
    /// Stop at the first final failure.
    pub fail_fast: bool,
    /// Nothing ran counts as passed.
    pub allow_empty: bool,
    /// How often a failed test is tried again.
    pub retries: u32,
    /// What a test is worth that passed only when it was tried again.
    #[serde(default, skip_serializing_if = "Flaky::is_usual")]
    pub flaky: Flaky,
    /// Files that were proven before may be reused instead of run.
    #[serde(default, skip_serializing_if = "is_off")]
    pub reuse: bool,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Limits and openings of a container.
    pub container: ContainerSettings,
    /// `--env K=V` by value.
    pub env: Vec<(String, String)>,
    /// `--env K` and the names in env files: taken from the caller, never recorded by value.
    pub env_names: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_off(is_on: &bool) -> bool {
    !is_on
}

impl RunSettings {
    /// One of its suites.
    pub fn suite(&self, suite: SuiteId) -> Option<&SuiteSettings> {
        self.suites.get(usize::try_from(suite.0).ok()?)
    }

    /// The suites with their ids.
    pub fn suites(&self) -> impl Iterator<Item = (SuiteId, &SuiteSettings)> {
        (0..).map(SuiteId).zip(&self.suites)
    }

    /// The frameworks' names, in the order of the suites.
    pub fn frameworks(&self) -> String {
        self.suites.iter().map(|suite| suite.framework.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// What one framework runs of a project.
///
/// Where there are several suites, files and tests carry the suite's name, `api:tests/test_cart.py`, from the moment that a framework tells of them until
/// one is asked for them: so what is known by its file's name or its id is of one suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SuiteSettings {
    /// Its name; empty for the only suite of a project that names none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Framework's name.
    pub framework: String,
    /// The framework's command, e.g. `["pytest"]`, with the paths and what came after `--`.
    pub command: Vec<String>,
    /// Where it is run, and what its files' names begin at: relative to the project's directory, which it is when this is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// Load the whole suite in each shard.
    pub whole: bool,
    /// How the worker drives it, for a tool without a driver of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Recipe>,
}

impl SuiteSettings {
    /// A file or a test of the suite, as the run names it.
    pub fn named(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_owned() } else { format!("{}:{name}", self.name) }
    }

    /// A file or a test of the run, as the suite's framework names it. What is of another suite stays as it is.
    pub fn plain<'a>(&self, name: &'a str) -> &'a str {
        self.owned(name).unwrap_or(name)
    }

    /// The same; nothing if it is of another suite.
    pub fn owned<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.name.is_empty() { Some(name) } else { name.strip_prefix(&self.name)?.strip_prefix(':') }
    }

    /// A path that the suite's framework names, as seen from the project's directory.
    pub fn path(&self, path: &str) -> String {
        if self.directory.is_empty() || path.is_empty() || path.starts_with('/') {
            return path.to_owned();
        }
        format!("{}/{path}", self.directory)
    }
}

/// What a test is worth that passed only when it was tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaky {
    /// It passed, and is named.
    #[default]
    Pass,
    /// It failed.
    Fail,
}

impl Flaky {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Where shards run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Containers of the built image.
    Docker,
    /// Local processes in the project's directory.
    Process,
}

/// In which order units are dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Unknown first, then the longest: the shortest run.
    Scheduled,
    /// As the framework lists them.
    Defined,
    /// Shuffled by the seed.
    Random,
}

/// Deadlines in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// One test. Default 10 min.
    pub test_ms: u64,
    /// A framework's start. Default 5 min.
    pub boot_ms: u64,
    /// The whole run, without the build. Default 60 min.
    pub run_ms: u64,
    /// From TERM to KILL. Default 5 s.
    pub grace_ms: u64,
}

/// What a container is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSettings {
    /// Memory limit in bytes.
    pub memory: Option<u64>,
    /// CPUs, fractions allowed.
    pub cpus: Option<f64>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Extra hosts, `name:address`.
    pub add_hosts: Vec<String>,
    /// Mounts.
    pub volumes: Vec<Volume>,
    /// Network: `bridge` by default, or `none`.
    pub network: Option<String>,
    /// Entrypoint instead of the image's; an empty list for none.
    pub entrypoint: Option<Vec<String>>,
    /// The image's init insists on PID 1: the worker becomes its command.
    pub init_image: Option<bool>,
    /// Working directory instead of the image's.
    pub workdir: Option<String>,
    /// Read-only root file system.
    pub read_only: bool,
    /// User instead of the image's.
    pub user: Option<String>,
    /// Capabilities added to the reduced set.
    pub cap_add: Vec<String>,
    /// Security options, checked against the engine's own list.
    pub security_opt: Vec<String>,
    /// Limit of processes in a shard. Default 4096.
    pub pids_limit: Option<i64>,
}
