//! Test frameworks: how each is recognised, started with its driver, and where its files may be cut.
//!
//! All of it is pure: facts about a project come in, commands and names go out; a driver is text that is handed on. What a framework's driver
//! says is not read here (`worker::protocol::driver`). A new framework is a folder, an implementation and a line in `ALL`.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::settings::{RunSettings, SuiteSettings};
use crate::model::{Launch, Recipe, SessionId};

pub mod generic;
pub mod minitest;
pub mod pytest;
mod python;
pub mod rspec;
mod ruby;
pub mod unittest;

/// Every framework there is.
pub const ALL: &[&dyn Framework] = &[
    &pytest::Pytest,
    &unittest::Unittest,
    &unittest::Django,
    &rspec::Rspec,
    &minitest::Minitest,
    &generic::BATS,
    &generic::CARGO,
    &generic::CTEST,
    &generic::EXUNIT,
    &generic::GO,
    &generic::JEST,
    &generic::JUNIT,
    &generic::MOCHA,
    &generic::PHPUNIT,
    &generic::GENERIC,
];

/// Directories whose contents are not the project's own.
const FOREIGN: &[&str] = &["node_modules", "site-packages", "venv", ".venv", "vendor", ".tox", ".nox", "__pycache__", ".bundle"];

/// Programs that frameworks ask about: whether they are in `PATH`, or in a virtual environment of the project.
pub const PROGRAMS: &[&str] = &["pytest", "python3", "python", "bundle", "rspec", "ruby", "jest", "mocha", "phpunit"];

/// The framework with this name.
pub fn by_name(name: &str) -> Option<&'static dyn Framework> {
    ALL.iter().copied().find(|framework| framework.name() == name)
}

/// The files whose text `evidence` wants to see, where they exist in the project's directory.
pub fn texts_wanted() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|framework| framework.texts_wanted()).copied()
}

/// The project's own test files, some of them, whose text `evidence` wants to see as well.
pub fn samples(files: &[String]) -> impl Iterator<Item = &str> {
    python::samples(files)
}

/// A test framework. Every method is a function of its arguments.
pub trait Framework: Send + Sync {
    /// Its name in configuration and records.
    fn name(&self) -> &'static str;

    /// What `evidence` looks for, for people.
    fn looked_for(&self) -> &'static str;

    /// Files in the project's directory whose text `evidence` wants to see.
    fn texts_wanted(&self) -> &'static [&'static str];

    /// What in the project says that it uses this framework, for people.
    fn evidence(&self, facts: &ProjectFacts) -> Option<String>;

    /// The command when none is configured.
    fn command(&self, facts: &ProjectFacts) -> Vec<String>;

    /// Whether its command depends on what is anywhere in the project, and not only on files of fixed names at its top or in a directory there.
    fn command_looks_deep(&self) -> bool {
        false
    }

    /// How to start one session with our driver in it.
    fn launch(&self, request: &LaunchRequest<'_>) -> Launch;

    /// Whether this command runs only some tests of a file: what it takes is not what the file takes.
    fn picks_tests(&self, command: &[String]) -> bool;

    /// The exit status with which it refuses its command line, if it has one for nothing else.
    fn usage_status(&self) -> Option<i32> {
        None
    }

    /// How the worker drives it, for a tool without a driver of ours in its process. Such a framework stands back where one with a driver was found.
    fn recipe(&self) -> Option<Recipe> {
        None
    }

    /// From a test's id, the part that names what must stay together in one slice; none if files of this framework cannot be cut.
    fn group(&self) -> Option<fn(&str) -> &str>;
}

/// What is known of a project before anything of it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectFacts {
    /// Its files, relative to its directory, separated by `/`. Of ignored and hidden directories only `.venv/bin` and `venv/bin` are asked about.
    pub files: Vec<String>,
    /// The texts of those that were wanted.
    pub texts: BTreeMap<String, String>,
    /// Where its tests will run.
    pub place: Place,
}

/// Where tests will run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// In an image, of which nothing is known.
    #[default]
    Image,
    /// On this machine.
    Here {
        /// Names of the programs in `PATH`, as far as they were asked about.
        programs: BTreeSet<String>,
        /// The caller has activated a virtual environment.
        activated: bool,
    },
}

/// What a session is started with.
#[derive(Debug, Clone, Copy)]
pub struct LaunchRequest<'a> {
    /// The run's settings.
    pub settings: &'a RunSettings,
    /// What it is to run.
    pub suite: &'a SuiteSettings,
    /// Which session.
    pub session: SessionId,
    /// How many shards the run has.
    pub shards: u32,
    /// Working directory of a process shard.
    pub cwd: Option<&'a str>,
    /// What the user wants set, resolved: `--env` and env files.
    pub given: &'a [(String, String)],
    /// What the session inherits anyway: the image's environment, or the caller's.
    pub inherited: &'a BTreeMap<String, String>,
}

impl LaunchRequest<'_> {
    /// A variable as the session would have it without us.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let given = self.given.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        given.or_else(|| self.inherited.get(name).map(String::as_str))
    }
}

impl ProjectFacts {
    /// Whether the project has this file.
    pub fn has(&self, file: &str) -> bool {
        self.files.iter().any(|path| path == file)
    }

    /// The first of its own files, in their order, that is wanted.
    fn first(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let own = self.files.iter().filter(|path| !path.split('/').any(|part| FOREIGN.contains(&part)));
        own.map(String::as_str).find(|path| wanted(path)).map(|path| format!("`{path}`"))
    }
}

/// What every session's environment says: what the user wants set, which shard this is of how many, and the run's seed.
fn shard_environment(request: &LaunchRequest<'_>) -> Vec<(String, String)> {
    let shard = request.session.shard.0;
    let mut env = request.given.to_vec();
    let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
    set("SPLITCI_SHARD", shard.to_string());
    set("SPLITCI_SHARDS", request.shards.to_string());
    set("SPLITCI_DRIVER_SEED", request.settings.seed.to_string());
    if !request.given.iter().any(|(name, _)| name == "TEST_ENV_NUMBER") {
        // As parallel_tests has it: the first database has the plain name.
        set("TEST_ENV_NUMBER", if shard == 1 { String::new() } else { shard.to_string() });
    }
    env
}
