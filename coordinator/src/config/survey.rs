//! Looks at the directory: where the project is, what its file and env files say, where the Dockerfile is. The only part of `config` that does I/O.
//!
//! It decides nothing but what `config`'s own page says about searching; what it finds goes to `resolve` as `Facts`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::environment::EnvFile;
use super::fault::{ConfigError, FaultKind, Faults, Place};
use super::paths::Bases;
use super::read::{self, Flags};
use super::resolve::{self, Facts};
use super::schema::{Given, Layer, SuiteSection};
use super::suites::directory_of;
use super::{Caches, Candidate, Delivery, FILE_NAME, Project, RecordSettings};

/// What configuration starts from.
#[derive(Debug)]
pub struct Request {
    /// The directory that the command runs in, absolute, `-C` applied.
    pub directory: PathBuf,
    /// The command line.
    pub flags: Flags,
    /// The caller's environment.
    pub env: BTreeMap<String, String>,
    /// CPUs of this machine.
    pub cpus: u32,
    /// A fresh seed.
    pub seed: u32,
}

/// Where a project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    /// Its directory and the one that the command runs in.
    pub bases: Bases,
    /// Its configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The nearest Dockerfile.
    pub dockerfile: Option<PathBuf>,
}

/// What has to be known of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// Which frameworks it uses: any file in it may say so.
    Frameworks,
    /// The usual commands of these frameworks, which are named.
    Commands(BTreeSet<String>),
}

/// Says what each framework finds in a directory.
pub type Detect<'a> = &'a dyn Fn(&Path, &Sought) -> Vec<Candidate>;

/// All passes.
pub fn load(request: Request, detect: Detect<'_>) -> Result<Project, ConfigError> {
    let located = locate(&request.directory, &request.env)?;
    let (layer, mut faults) = layers(&located, request.flags, &request.env);
    let facts = Facts {
        env_files: env_files(&layer, &located.bases, &mut faults),
        elsewhere: elsewhere(&layer, &located.bases, detect),
        frameworks: detect(&located.bases.root, &sought(&layer, &located.bases, "")),
        bases: located.bases,
        file: located.file,
        dockerfile: located.dockerfile,
        env: request.env,
        cpus: request.cpus,
        seed: request.seed,
    };
    check_paths(&layer, &facts.bases, &mut faults);
    resolve::resolve(layer, facts, faults)
}

/// The first half alone: where the project's records are. What else is wrong with its configuration does not keep anybody from reading reports.
pub fn records(request: Request) -> Result<RecordSettings, ConfigError> {
    let located = locate(&request.directory, &request.env)?;
    let (layer, faults) = layers(&located, request.flags, &request.env);
    resolve::records(layer.record, &located.bases, &request.env, faults.about(&["record"]))
}

/// The first half alone: where the cache is and whose entries are believed.
pub fn caches(request: Request) -> Result<Caches, ConfigError> {
    let located = locate(&request.directory, &request.env)?;
    let (layer, faults) = layers(&located, request.flags, &request.env);
    let caches = resolve::caches(layer, &located, &request.env, faults.about(&["record", "cache", "trust"]))?;
    Ok(Caches { file: located.file, ..caches })
}

/// Sections that say what comes after green.
pub(super) const OF_DELIVERY: &[&str] = &["project", "record", "trust", "registry", "gate", "environment"];

/// What commands after green need. What else is wrong with the configuration keeps nobody from rolling back.
pub fn delivery(request: Request) -> Result<Delivery, ConfigError> {
    let located = locate(&request.directory, &request.env)?;
    let (layer, faults) = layers(&located, request.flags, &request.env);
    super::delivery::delivery(layer, &located, &request.env, faults.about(OF_DELIVERY))
}

/// What each framework finds in the directories of suites.
fn elsewhere(layer: &Layer, bases: &Bases, detect: Detect<'_>) -> BTreeMap<String, Vec<Candidate>> {
    let directories: BTreeSet<String> = directories(layer).filter_map(|given| directory_of(given, bases)).collect();
    let other = directories.into_iter().filter(|directory| !directory.is_empty());
    other
        .map(|directory| {
            let found = detect(&bases.root.join(&directory), &sought(layer, bases, &directory));
            (directory, found)
        })
        .collect()
}

/// What the suites in a directory leave open. A large project is not looked through for what it says itself.
fn sought(layer: &Layer, bases: &Bases, directory: &str) -> Sought {
    let said = &layer.suite;
    let tables: Vec<&SuiteSection> =
        if layer.suites.is_empty() { vec![said] } else { layer.suites.iter().map(|table| &table.section).collect() };
    let mut commands = BTreeSet::new();
    for table in tables {
        let place = said.directory.as_ref().or(table.directory.as_ref()).and_then(|given| directory_of(given, bases));
        if place.unwrap_or_default() != directory {
            continue;
        }
        let Some(framework) = said.framework.as_ref().or(table.framework.as_ref()) else { return Sought::Frameworks };
        if said.command.as_ref().or(table.command.as_ref()).is_none_or(|words| words.value.0.is_empty()) {
            commands.insert(framework.value.clone());
        }
    }
    Sought::Commands(commands)
}

fn directories(layer: &Layer) -> impl Iterator<Item = &Given<String>> {
    layer.suites.iter().map(|table| &table.section).chain([&layer.suite]).filter_map(|section| section.directory.as_ref())
}

/// Finds the project and its Dockerfile from a directory.
pub fn locate(directory: &Path, env: &BTreeMap<String, String>) -> Result<Where, ConfigError> {
    let Ok(directory) = fs_err::canonicalize(directory) else {
        let mut faults = Faults::default();
        faults.push(Place::Flag("-C".into()), FaultKind::NoDirectory(directory.to_owned()));
        return faults.finish(unlocated());
    };
    let home = env.get("HOME").map(Path::new);
    let file = upward(&directory, FILE_NAME, home);
    let root = file.as_deref().and_then(Path::parent).unwrap_or(&directory).to_owned();
    let dockerfile = upward(&root, "Dockerfile", home);
    Ok(Where { bases: Bases { root, directory }, file, dockerfile })
}

fn unlocated() -> Where {
    Where { bases: Bases { root: PathBuf::new(), directory: PathBuf::new() }, file: None, dockerfile: None }
}

/// The nearest file of this name, from a directory up to the repository's root, or to below home and `/` where there is no repository.
fn upward(from: &Path, name: &str, home: Option<&Path>) -> Option<PathBuf> {
    for directory in from.ancestors() {
        let outermost = directory.parent().is_none() || Some(directory) == home;
        if outermost && directory != from {
            return None;
        }
        let candidate = directory.join(name);
        if candidate.is_file() {
            return Some(candidate);
        }
        if outermost || directory.join(".git").exists() {
            return None;
        }
    }
    None
}

/// Reads all sources and lays them over each other.
fn layers(located: &Where, flags: Flags, env: &BTreeMap<String, String>) -> (Layer, Faults) {
    let (mut merged, mut faults) = read::defaults();
    if let Some(path) = &located.file {
        match fs_err::read_to_string(path) {
            Ok(text) => {
                let (layer, more) = read::file(&shown(path, &located.bases.directory), &text);
                merged = layer.over(merged);
                faults.extend(more);
            }
            Err(cause) => faults.unreadable(Place::Nowhere, path, cause),
        }
    }
    let (layer, more) = read::environment(env);
    faults.extend(more);
    merged = layer.over(merged);
    let (layer, more) = flags.finish();
    faults.extend(more);
    (layer.over(merged), faults)
}

/// A path as messages name it: short when it is below the directory that the command runs in.
fn shown(path: &Path, directory: &Path) -> PathBuf {
    path.strip_prefix(directory).unwrap_or(path).to_owned()
}

fn env_files(layer: &Layer, bases: &Bases, faults: &mut Faults) -> Vec<EnvFile> {
    let mut out = Vec::new();
    for item in layer.run.env_file.iter().flat_map(|given| &given.value.0) {
        let path = bases.absolute(&item.place, &item.text);
        let short = shown(&path, &bases.directory);
        match fs_err::read_to_string(&path) {
            Ok(text) => out.push(EnvFile { path: short, place: item.place.clone(), text }),
            Err(cause) => faults.unreadable(item.place.clone(), &short, cause),
        }
    }
    out
}

/// What is named must be there: better said here, with the line, than by the builder.
fn check_paths(layer: &Layer, bases: &Bases, faults: &mut Faults) {
    if let Some(given) = &layer.image.dockerfile {
        let path = bases.absolute(&given.place, &given.value);
        if !path.is_file() {
            faults.push(given.place.clone(), FaultKind::NoSuchFile(shown(&path, &bases.directory)));
        }
    }
    for given in directories(layer) {
        let path = bases.absolute(&given.place, &given.value);
        if !path.is_dir() {
            faults.push(given.place.clone(), FaultKind::NoDirectory(shown(&path, &bases.directory)));
        }
    }
    if let Some(given) = &layer.image.context {
        let path = bases.absolute(&given.place, &given.value);
        if !path.is_dir() {
            faults.push(given.place.clone(), FaultKind::NoDirectory(shown(&path, &bases.directory)));
        }
    }
}
