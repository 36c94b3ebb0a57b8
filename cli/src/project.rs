//! From options to a project: asks `config` with what only this program knows, and the frameworks about what lies in the directory.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;

use splitci_coordinator::config::{Caches, Candidate, Flags, Project, Request, caches as found, load, records};
use splitci_coordinator::framework::{ALL, Framework, PROGRAMS, Place, ProjectFacts, samples, texts_wanted};
use splitci_coordinator::history::History;

use crate::Context;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::variables::Env;

/// Directories that are never looked into: not the project's own, and large.
const SKIPPED: &[&str] = &["node_modules", "site-packages", "venv", "vendor", "__pycache__", "target"];
/// Files looked at to recognise a framework: enough for any project that has no configuration of one.
const MOST_FILES: usize = 20_000;

/// The project that the options mean.
pub(crate) fn resolve(context: &Context, flags: Flags) -> Result<Project, Failure> {
    Ok(load(request(context, flags), &|root| candidates(root, &context.env))?)
}

/// The records of the project here.
pub(crate) fn history(context: &Context) -> Result<History, Failure> {
    let records = records(request(context, Flags::default()))?;
    History::open(&records.state).map_err(|error| Failure::new(Exit::NO_VERDICT, &error, error.hint()))
}

/// The cache of the project here, and whose entries in it are believed.
pub(crate) fn caches(context: &Context, flags: Flags) -> Result<Caches, Failure> {
    Ok(found(request(context, flags))?)
}

fn request(context: &Context, mut flags: Flags) -> Request {
    if let Some(state) = &context.state {
        flags.set("record.state", "--state", state);
    }
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
    Request { directory: context.directory.clone(), flags, env: context.env.clone(), cpus, seed: fresh_seed() }
}

/// A number that nobody chose: the standard library's hash keys come from the system's randomness.
fn fresh_seed() -> u32 {
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}

/// What each framework says about a directory.
pub(crate) fn candidates(root: &Path, env: &Env) -> Vec<Candidate> {
    let in_image = facts(root);
    let here = ProjectFacts { place: place(env), ..in_image.clone() };
    let candidate = |framework: &&dyn Framework| Candidate {
        name: framework.name().into(),
        in_image: framework.command(&in_image),
        here: framework.command(&here),
        evidence: framework.evidence(&in_image),
        looked_for: framework.looked_for().into(),
        recipe: framework.recipe(),
    };
    ALL.iter().map(candidate).collect()
}

fn facts(root: &Path) -> ProjectFacts {
    let mut files = Vec::new();
    list(root, "", &mut files);
    for environment in [".venv/bin", "venv/bin"] {
        let programs = PROGRAMS.iter().map(|program| format!("{environment}/{program}"));
        files.extend(programs.filter(|program| root.join(program).is_file()));
    }
    // A file that cannot be read is none that speaks for a framework.
    let read = |name: &str| Some((name.to_owned(), fs_err::read_to_string(root.join(name)).ok()?));
    let texts = texts_wanted().filter_map(read).chain(samples(&files).filter_map(read)).collect();
    ProjectFacts { texts, files, place: Place::Image }
}

fn list(directory: &Path, prefix: &str, files: &mut Vec<String>) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    let mut below = Vec::new();
    for entry in entries.flatten() {
        let (Ok(kind), Some(name)) = (entry.file_type(), entry.file_name().to_str().map(str::to_owned)) else { continue };
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
            below.push(name);
        } else if !kind.is_dir() && files.len() < MOST_FILES {
            files.push(format!("{prefix}{name}"));
        }
    }
    below.sort();
    for name in below {
        if files.len() < MOST_FILES {
            list(&directory.join(&name), &format!("{prefix}{name}/"), files);
        }
    }
}

fn place(env: &Env) -> Place {
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    let there = |program: &&&str| path.split(':').filter(|dir| !dir.is_empty()).any(|dir| Path::new(dir).join(program).is_file());
    let programs: BTreeSet<String> = PROGRAMS.iter().filter(there).map(ToString::to_string).collect();
    Place::Here { programs, activated: crate::variables::is_set(env, "VIRTUAL_ENV") }
}
