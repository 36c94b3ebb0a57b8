//! `splitci.toml`, the environment and the command line become a [`Project`]: what is tested, and how, with nothing left open.
//!
//! Three passes: `read` (each source becomes a layer; `schema` has the keys, `setting` the kinds of values), merge (`Layer::over`: the command line
//! over the environment over the file over the defaults), `resolve` (pure decisions). Between the last two, `survey` looks at the directory: it
//! is the only part here that touches the file system.
//!
//! Every fault of every source is reported at once. Where things are looked for:
//! - The file: `splitci.toml` in the directory or the nearest one above it; its directory is the project. Without one the project is the
//!   directory itself. The search ends at the repository's root (`.git`), else below the home directory and the root of the file system.
//! - The Dockerfile: in the project or the nearest directory above it, within the same bounds. The context is the project when the Dockerfile is
//!   in it, else the Dockerfile's directory.
//! - Tests run in the image's working directory; when the project is a subdirectory of the context, in the same subdirectory of that
//!   (`RunSettings::directory`), unless `shard.workdir` says otherwise.
//!
//! Not here: whether the engine answers, what is in the image, which tests there are.

mod assignment;
mod delivery;
#[cfg(test)]
mod delivery_tests;
mod environment;
mod fault;
mod generic;
mod hooks;
mod paths;
mod permits;
mod read;
mod repository;
mod resolve;
mod schema;
mod secrets;
mod setting;
mod slots;
mod suites;
mod survey;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use delivery::{AnsibleSettings, Delivery, EnvironmentSettings, Policies, RegistrySettings, policies};
pub use environment::{EnvFile, Environment};
pub use fault::{ConfigError, Fault, FaultKind, Faults, Place};
pub use paths::Bases;
pub use permits::AuthSource;
pub use read::Flags;
pub use resolve::{Facts, default_state, resolve};
pub use schema::{KEYS, Key, Layer, SECTIONS, SuiteTable};
pub use setting::duration;
pub use survey::{Detect, Request, Sought, Where, caches, delivery, load, locate, records};
pub use trust::{KeyText, PublicKeys};

use crate::model::settings::RunSettings;
use crate::model::trust::TrustSettings;
use crate::model::{BuildSecret, Recipe, SecretText, SshAgent};

/// The annotated example: the reference of all keys, and the source of the defaults.
pub const EXAMPLE: &str = include_str!("splitci.example.toml");

/// Name of the file.
pub const FILE_NAME: &str = "splitci.toml";

/// What is tested, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its directory, absolute, without symbolic links.
    pub root: PathBuf,
    /// Its name: fit for a part of an image's name.
    pub name: String,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// How the run goes.
    pub settings: RunSettings,
    /// The image; none with the process engine.
    pub image: Option<ImageSettings>,
    /// Values of `settings.env_names`, never recorded.
    pub environment: Environment,
    /// Where and how long records are kept.
    pub records: RecordSettings,
    /// What is not done twice.
    pub cache: CacheSettings,
    /// Whose entries are believed, and with which key this run writes.
    pub trust: TrustSettings,
    /// Where images go that are to be tested, if they go anywhere.
    pub candidate: Option<RegistrySettings>,
    /// What the user should know, a sentence each.
    pub notices: Vec<String>,
}

/// Where the image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSettings {
    /// It is built, or found already built for the same inputs.
    Build(BuildSettings),
    /// It exists: the user named it.
    Given {
        /// Its name.
        reference: String,
        /// Which of its platforms.
        platform: Option<String>,
    },
}

/// What is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSettings {
    /// The context's directory, absolute.
    pub context: PathBuf,
    /// The Dockerfile, absolute; perhaps outside of the context.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one if absent.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The platform; the engine's own if absent.
    pub platform: Option<String>,
    /// Secrets that steps may ask for.
    pub secrets: Vec<BuildSecret>,
    /// SSH agents that steps may ask for.
    pub ssh: Vec<SshAgent>,
    /// Ask registries what the names of bases mean now.
    pub pull: bool,
    /// Build every step anew.
    pub no_cache: bool,
    /// Copy what was edited lately in a step of its own.
    pub split_copies: bool,
    /// Another one wants everything anew.
    pub epoch: Option<String>,
    /// Older images are built anew.
    pub max_age: Option<Duration>,
}

/// Where and how long records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSettings {
    /// The project's own state directory.
    pub state: PathBuf,
    /// How many records.
    pub keep: u32,
    /// How many bytes of them.
    pub keep_bytes: u64,
    /// What is kept for the whole machine: its own key.
    pub machine: PathBuf,
}

/// What is not done twice, where that is kept, and what may be done there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheSettings {
    /// Its directory; none when nothing says where one could be.
    pub dir: Option<PathBuf>,
    /// Nothing is written there.
    pub read_only: bool,
    /// How much room it may take, if not the default.
    pub size: Option<u64>,
    /// A Redis server that is shared with other machines: its URL, which may have a password in it.
    pub redis: Option<SecretText>,
    /// A bucket that is shared with other machines: its name, and what stands before all names in it.
    pub s3: Option<(String, String)>,
    /// Files that were proven before are not run again.
    pub results: bool,
    /// For this run they are, and are kept.
    pub fresh: bool,
    /// How many of a hundred of them are run all the same.
    pub canaries: u32,
    /// How many images of all projects stay in the engine.
    pub images: u32,
    /// Another text is another cache.
    pub epoch: Option<String>,
    /// The seed of the run, if one was asked for: who asks for one wants to see what it does.
    pub seed: Option<u64>,
    /// The repository in which layers of images travel; `{level}` in it stands for the level of who writes.
    pub layers: Option<String>,
}

/// All that commands about the cache need of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caches {
    /// Where the cache is.
    pub cache: CacheSettings,
    /// Whose entries are believed.
    pub trust: TrustSettings,
    /// Where this machine keeps its own key.
    pub machine: PathBuf,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
}

/// A test framework there is, and what speaks for it in a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its command in an image, when none is given.
    pub in_image: Vec<String>,
    /// Its command on this machine, when none is given.
    pub here: Vec<String>,
    /// Why the project seems to use it, e.g. "`pytest.ini`"; none when nothing was found.
    pub evidence: Option<String>,
    /// What was looked for, e.g. "`pytest.ini`, `conftest.py`, `test_*.py` (pytest)".
    pub looked_for: String,
    /// How it is driven, if it has no driver of ours.
    pub recipe: Option<Recipe>,
}
