//! What is started in a shard, as data: engines and frameworks meet here.

use serde::{Deserialize, Serialize};

/// The framework's command and how to get its driver in. Made by a framework, carried out by the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The test command, without the image's entrypoint.
    pub argv: Vec<String>,
    /// Working directory of a process shard; a container keeps the image's.
    pub cwd: Option<String>,
    /// Variables set. A value may contain `{run}`: the session's private directory, where `files` are.
    pub env: Vec<(String, String)>,
    /// Variables put in front of what is inherited: name, value, separator.
    pub env_prepend: Vec<(String, String, String)>,
    /// Variables removed.
    pub env_remove: Vec<String>,
    /// Driver files: relative path and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// The signal that makes the framework print its stacks.
    pub dump_signal: Option<i32>,
}

/// Which image: a local build has no manifest digest until it is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageIdentity {
    /// `os/arch` or `os/arch/variant`.
    pub platform: String,
    /// What docker calls its id: the digest of its configuration, or, where containerd keeps the images, of its manifest.
    pub config: String,
    /// Digest of its manifest, where it is known and another one.
    pub manifest: Option<String>,
}

/// What an image wants to be started as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPoint {
    /// The image's `ENTRYPOINT`.
    pub entrypoint: Vec<String>,
    /// The image's `WORKDIR`.
    pub workdir: Option<String>,
    /// The image's `USER`.
    pub user: Option<String>,
}

/// What of an image its tests can see. Its id says more: when and how it was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageContent {
    /// `os/arch` or `os/arch/variant`.
    pub platform: String,
    /// Digests of its layers' contents, lowest first.
    pub layers: Vec<String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
    /// What it wants to be started as.
    pub entry: EntryPoint,
    /// Its `CMD`.
    pub command: Vec<String>,
    /// Its `SHELL`.
    pub shell: Vec<String>,
    /// Its `VOLUME`s.
    pub volumes: Vec<String>,
}

/// A mount asked for with `--volume`: source, target and options as docker writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Volume(pub String);
