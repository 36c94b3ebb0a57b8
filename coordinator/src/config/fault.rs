//! What can be wrong with a configuration: a fault each, all of them at once, with its place and a hint.
//!
//! A fault says what was expected and found; its place says where (file, line and key, or variable, or option); its hint is one sentence that
//! names the key or command to use. Everything here belongs to the invoker: exit 2.

use std::fmt;
use std::path::{Path, PathBuf};

use super::schema;
use crate::model::environment::EnvironmentFault;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Full key, `run.shards`; empty when the place is not a key.
        key: String,
    },
    /// In the environment.
    Variable(String),
    /// On the command line.
    Flag(String),
    /// Nowhere: what is asked for is missing, or a default. Shown as nothing.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, key } if key.is_empty() => write!(f, "{}:{line}", file.display()),
            Self::File { file, line, key } => write!(f, "{}:{line}, key `{key}`", file.display()),
            Self::Variable(name) => write!(f, "environment variable `{name}`"),
            Self::Flag(flag) => write!(f, "command line, `{flag}`"),
            Self::Nowhere => Ok(()),
        }
    }
}

/// One thing wrong.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: FaultKind,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum FaultKind {
    /// The file is not TOML.
    #[error("cannot read this as TOML: {0}")]
    Syntax(String),
    /// A file could not be read.
    #[error("cannot read `{}`", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// There is no such key.
    #[error("there is no key `{key}`")]
    UnknownKey {
        /// As written.
        key: String,
    },
    /// There is no such variable.
    #[error("the variable `{0}` sets no key")]
    UnknownVariable(String),
    /// A section was given a plain value.
    #[error("`{0}` is a table of keys, not a value")]
    NotATable(String),
    /// A value where there is a table for each name.
    #[error("`{section}` has a table for each name, and this is a value")]
    Nameless {
        /// Which section.
        section: &'static str,
    },
    /// A name that is none.
    #[error("`{}` is no name", .name.escape_debug())]
    BadName {
        /// As written.
        name: String,
    },
    /// Something that an environment cannot be without.
    #[error("environment `{environment}` does not say its {what}")]
    Unsaid {
        /// Which environment.
        environment: String,
        /// What is missing, in words.
        what: &'static str,
        /// The key that says it.
        key: &'static str,
    },
    /// What an environment says does not go together.
    #[error("environment `{environment}` cannot be deployed to: {cause}")]
    Environment {
        /// Which environment.
        environment: String,
        /// What is wrong.
        cause: EnvironmentFault,
    },
    /// A value of the wrong kind.
    #[error("expected {expected}, found {found}")]
    Value {
        /// What would do.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// Words that would do, where they can be counted.
        choices: &'static [&'static str],
    },
    /// A line of an env file is not `NAME=value`.
    #[error("line {line} of `{}` is neither `NAME=value` nor `NAME`", .path.display())]
    EnvFileLine {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// A path leads out of the project.
    #[error("`{}` is not in the project `{}`", .path.display(), .root.display())]
    Outside {
        /// The path.
        path: PathBuf,
        /// The project.
        root: PathBuf,
    },
    /// The directory does not exist.
    #[error("there is no directory `{}`", .0.display())]
    NoDirectory(PathBuf),
    /// The Dockerfile does not exist.
    #[error("there is no file `{}`", .0.display())]
    NoSuchFile(PathBuf),
    /// Docker is asked for, and there is nothing to build.
    #[error("engine `docker` needs an image, and no Dockerfile was found in `{}` or above it", .0.display())]
    NothingToBuild(PathBuf),
    /// An image for processes.
    #[error("engine `process` runs no image, but an image was named")]
    ImageForProcesses,
    /// Name an image or build it.
    #[error("an image is both named and to be built")]
    NamedAndBuilt,
    /// A build secret that is none. What was written is not shown.
    #[error("this is no build secret")]
    Secret,
    /// An SSH agent that is none.
    #[error("this is no SSH agent")]
    Agent,
    /// The caller has no SSH agent.
    #[error("the environment names no SSH agent: `SSH_AUTH_SOCK` is not set")]
    NoAgent,
    /// No framework.
    #[error("no test framework was found in `{}`", .root.display())]
    NoFramework {
        /// Where.
        root: PathBuf,
        /// What was looked for, a sentence a framework.
        looked_for: Vec<String>,
    },
    /// More than one framework.
    #[error("more than one test framework was found: {}", .0.join(", "))]
    SeveralFrameworks(Vec<String>),
    /// One of several suites has no name.
    #[error("a suite of several has no name")]
    NamelessSuite,
    /// Two have the same.
    #[error("two suites are called `{0}`")]
    SuiteTwice(String),
    /// A suite that is not there.
    #[error("there is no suite `{name}`")]
    UnknownSuite {
        /// As written.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Something that is said of the suite, and there are several.
    #[error("there are several suites, and this does not say which it is for")]
    WhichSuite,
    /// A path that may be of several suites, or of none.
    #[error("`{path}` is in {}", if .suites.is_empty() { "no suite".to_owned() } else { format!("the suites {}", .suites.join(", ")) })]
    PathOfSuites {
        /// As seen from the project.
        path: String,
        /// The suites it may be of.
        suites: Vec<String>,
    },
    /// A framework that we do not know.
    #[error("there is no framework `{name}`")]
    UnknownFramework {
        /// As written.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A key of tools without a driver, given to a framework that has one.
    #[error("`{framework}` has a driver and finds its tests and results itself: this key is for `generic` and the tools like it")]
    HasDriver {
        /// Which framework.
        framework: String,
    },
    /// A tool without a driver and without a command.
    #[error("`{framework}` has no command of its own")]
    NoCommand {
        /// Which framework.
        framework: String,
    },
    /// A command that does not say where its units go.
    #[error("the command does not say where the units go: `{0}`")]
    NoUnits(String),
    /// Nothing says what the units are.
    #[error("nothing says what the units of `{framework}` are")]
    NoListing {
        /// Which framework.
        framework: String,
    },
    /// Two things say what the units are.
    #[error("units are either files that match a pattern, or what a command lists")]
    TwoListings,
    /// Several units in a command whose results do not name them.
    #[error("results of this kind do not say which unit they are of, so that only one goes into a command")]
    NamelessBatch,
    /// A pattern that is none.
    #[error("`{0}` is not a pattern of files")]
    Pattern(String),
    /// A private key where everybody can read it.
    #[error("a private key does not belong there")]
    KeyInTheOpen,
    /// Neither XDG nor HOME.
    #[error("there is no place for records: neither `--state`, `SPLITCI_STATE`, `XDG_STATE_HOME` nor `HOME` is set")]
    NoStateDirectory,
}

impl FaultKind {
    /// What to do about it.
    #[expect(clippy::too_many_lines, reason = "flat table: one row for each fault")]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax(_) => Some("`splitci init --reference` prints a complete example".into()),
            Self::UnknownKey { key } => Some(near_key(key)),
            Self::UnknownVariable(name) => Some(near_variable(name)),
            Self::NotATable(section) => Some(format!("write its keys below a line `[{section}]`")),
            Self::Nameless { section } => Some(format!("write its keys below a line `[{section}.NAME]`")),
            Self::BadName { .. } => {
                Some("names are small letters, digits, `-` and `_`, a letter or digit first, at most 40 of them".into())
            }
            Self::Unsaid { environment, key, .. } => {
                Some(format!("give `{key}` below `[environment.{environment}]`; `splitci init --reference` explains it"))
            }
            Self::Environment { cause, .. } => Some(cause.hint().to_owned()),
            Self::Value { choices, found, .. } => {
                near(found.trim_matches('`'), choices.iter().copied()).map(|near| format!("did you mean `{near}`?"))
            }
            Self::EnvFileLine { .. } => Some("comments start with `#`; values are taken as they stand, without quotes".into()),
            Self::Outside { .. } => Some("name tests by paths below the project, or choose another project with `-C DIR`".into()),
            Self::NothingToBuild(_) => {
                Some("name one with `--file` (key `image.dockerfile`), an existing image with `--image`, or use `--engine process`".into())
            }
            Self::ImageForProcesses => Some("drop `--image` (key `image.ref`) or use `--engine docker`".into()),
            Self::Secret => Some("write `id=ID,src=FILE` or `id=ID,env=NAME`; the value itself stands in neither".into()),
            Self::Agent => Some("write `ID` for your own agent, or `ID=SOCKET`; steps that name none ask for `default`".into()),
            Self::NoAgent => {
                Some("start one and give it your key, `eval $(ssh-agent); ssh-add`, or name a socket, `default=SOCKET`".into())
            }
            Self::NamedAndBuilt => Some("keep either `image.ref` or the keys that build one".into()),
            Self::NoFramework { looked_for, .. } => {
                Some(format!("looked for {}; name it with `--framework` (key `suite.framework`)", looked_for.join("; ")))
            }
            Self::SeveralFrameworks(_) => Some(
                "choose one with `--framework` (key `suite.framework`), or run them all: `splitci init` writes a `[[suite]]` for each"
                    .into(),
            ),
            Self::NamelessSuite => Some("give each `[[suite]]` a `name`: its tests carry it".into()),
            Self::SuiteTwice(_) => Some("give each `[[suite]]` a `name` of its own".into()),
            Self::UnknownSuite { known, .. } if known.is_empty() => {
                Some("suites have names where `splitci.toml` has a `[[suite]]` for each".into())
            }
            Self::UnknownSuite { name, known } => Some(match near(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            }),
            Self::WhichSuite => Some("choose one with `--suite NAME` (key `run.suites`)".into()),
            Self::PathOfSuites { suites, .. } if suites.is_empty() => {
                Some("a path is of the suite whose `paths`, or else whose `directory`, it is in".into())
            }
            Self::PathOfSuites { .. } => Some("choose one with `--suite NAME`".into()),
            Self::UnknownFramework { name, known } => Some(match near(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", known.join(", ")),
            }),
            Self::HasDriver { .. } => Some("drop the key, or choose another `suite.framework`".into()),
            Self::NoCommand { .. } => {
                Some("give `suite.command`, e.g. `command = \"./run-tests {units}\"`; `splitci init --reference` explains it".into())
            }
            Self::NoUnits(_) => Some("put `{units}` where they belong, e.g. `command = \"./run-tests {units}\"`".into()),
            Self::NoListing { .. } => {
                Some("give `suite.files`, e.g. `files = [\"test/**/*.sh\"]`, or `suite.list`, a command that prints them".into())
            }
            Self::TwoListings => Some("keep `suite.files` or `suite.list`".into()),
            Self::NamelessBatch => Some("drop `suite.batch`, or use `results = \"junit\"` with files in the report".into()),
            Self::Pattern(_) => Some("`*` is any name, `**` any directories, `{a,b}` a choice".into()),
            Self::KeyInTheOpen => {
                Some("put it into a file that only you can read, and name that file; or hand it on in `SPLITCI_KEY`".into())
            }
            Self::NoStateDirectory => Some("set `SPLITCI_STATE` to a directory outside of the project".into()),
            Self::Unreadable { .. } | Self::NoDirectory(_) | Self::NoSuchFile(_) => None,
        }
    }
}

/// The key that was meant: the same word in another section, else the nearest; a word without a section may be meant for one.
fn near_key(key: &str) -> String {
    let paths = || schema::KEYS.iter().map(|row| row.path);
    let leaf = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let elsewhere = paths().find(|path| leaf(path) == leaf(key));
    let sections = schema::SECTIONS.iter().copied().filter(|_| !key.contains('.'));
    match elsewhere.or_else(|| near(key, sections)).or_else(|| near(key, paths())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`splitci init --reference` lists all keys".into(),
    }
}

fn near_variable(name: &str) -> String {
    let names: Vec<String> = schema::KEYS.iter().filter(|key| !key.is_of_a_name()).map(schema::Key::variable).collect();
    match near(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`splitci init --reference` lists all keys; a variable is `SPLITCI_` and its key".into(),
    }
}

/// The closest of some words, if it is close enough to be a slip.
fn near<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase());
    let best = words.min_by_key(|other| distance(other))?;
    (distance(best) <= 1 + best.len() / 4).then_some(best)
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {}", count(.faults.len()))]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

fn count(n: usize) -> String {
    if n == 1 { "a fault".into() } else { format!("{n} faults") }
}

/// Collects faults while a pass goes on.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes one.
    pub fn push(&mut self, place: Place, kind: FaultKind) {
        self.0.push(Fault { place, kind });
    }

    /// Whether something was wrong with this key, which then was said after all.
    pub(super) fn tells_of(&self, path: &str) -> bool {
        self.0.iter().any(|fault| matches!(&fault.place, Place::File { key, .. } if key == path))
    }

    /// Takes over those of another pass.
    pub fn extend(&mut self, other: Faults) {
        self.0.extend(other.0);
    }

    /// The value if nothing was wrong. What stands in a file is told in the order of its lines.
    pub fn finish<T>(mut self, value: T) -> Result<T, ConfigError> {
        self.0.sort_by_key(|fault| if let Place::File { line, .. } = fault.place { line } else { usize::MAX });
        if self.0.is_empty() { Ok(value) } else { Err(ConfigError { faults: self.0 }) }
    }

    /// Those about the keys of some sections; and about the file as a whole, and sections that there are not, since either may hide what these sections say.
    pub(super) fn about(self, sections: &[&str]) -> Self {
        let within = |key: &str| sections.iter().any(|section| key.starts_with(section));
        let first = |key: &str| key.split('.').next().unwrap_or_default().to_owned();
        let variables: Vec<String> =
            schema::KEYS.iter().filter(|key| !key.is_of_a_name() && within(key.path)).map(schema::Key::variable).collect();
        let about = |fault: &Fault| match &fault.place {
            Place::File { key, .. } => within(key) || !schema::KEYS.iter().any(|known| first(known.path) == first(key)),
            Place::Variable(name) => variables.contains(name),
            Place::Flag(_) | Place::Nowhere => true,
        };
        Self(self.0.into_iter().filter(about).collect())
    }

    /// Notes a file that could not be read.
    pub(super) fn unreadable(&mut self, place: Place, path: &Path, cause: std::io::Error) {
        self.push(place, FaultKind::Unreadable { path: path.to_owned(), cause });
    }

    /// Whether nothing was wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
