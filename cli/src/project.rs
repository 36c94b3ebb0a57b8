//! From options to a project: asks `config` with what only this program knows, and the frameworks about what lies in the directory.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;

use splitci_coordinator::config::{
    Caches, Candidate, Delivery, Flags, Project, Request, Sought, caches as found, delivery as rest, load, records,
};
use splitci_coordinator::framework::{ALL, Framework, PROGRAMS, Place, ProjectFacts, by_name, samples, texts_wanted};
use splitci_coordinator::history::History;

use crate::Context;
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::variables::Env;

/// Directories that are never looked into: not the project's own, and large.
const SKIPPED: &[&str] = &["node_modules", "site-packages", "venv", "vendor", "__pycache__", "target"];
/// Files looked at to recognise a framework: enough for any project that has no configuration of one.
const MOST_FILES: usize = 20_000;
/// Directories, one in the other, that are looked into for files of fixed names.
const SHALLOW: usize = 2;
/// All of them.
const DEEP: usize = usize::MAX;

/// The project that the options mean.
pub(crate) fn resolve(context: &Context, flags: Flags) -> Result<Project, Failure> {
    Ok(load(request(context, flags), &|root, sought| candidates(root, &context.env, sought))?)
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

/// What commands after green need of the configuration here.
pub(crate) fn delivery(context: &Context, flags: Flags) -> Result<Delivery, Failure> {
    Ok(rest(request(context, flags))?)
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

/// What each framework says about a directory. Where all are named, what else speaks for one is not looked for: a large project takes time to walk.
pub(crate) fn candidates(root: &Path, env: &Env, sought: &Sought) -> Vec<Candidate> {
    let deep = match sought {
        Sought::Frameworks => true,
        Sought::Commands(names) => names.iter().filter_map(|name| by_name(name)).any(Framework::command_looks_deep),
    };
    let in_image = facts(root, if deep { DEEP } else { SHALLOW });
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

fn facts(root: &Path, depth: usize) -> ProjectFacts {
    let mut files = Vec::new();
    list(root, "", depth, &mut files);
    for environment in [".venv/bin", "venv/bin"] {
        let programs = PROGRAMS.iter().map(|program| format!("{environment}/{program}"));
        files.extend(programs.filter(|program| root.join(program).is_file()));
    }
    // A file that cannot be read is none that speaks for a framework.
    let read = |name: &str| Some((name.to_owned(), fs_err::read_to_string(root.join(name)).ok()?));
    let texts = texts_wanted().filter_map(read).chain(samples(&files).filter_map(read)).collect();
    ProjectFacts { texts, files, place: Place::Image }
}

fn list(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
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
    for name in below.into_iter().filter(|_| depth > 1) {
        if files.len() < MOST_FILES {
            list(&directory.join(&name), &format!("{prefix}{name}/"), depth - 1, files);
        }
    }
}

fn place(env: &Env) -> Place {
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    let there = |program: &&&str| path.split(':').filter(|dir| !dir.is_empty()).any(|dir| Path::new(dir).join(program).is_file());
    let programs: BTreeSet<String> = PROGRAMS.iter().filter(there).map(ToString::to_string).collect();
    Place::Here { programs, activated: crate::variables::is_set(env, "VIRTUAL_ENV") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Projects of every kind.
    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");

    fn directories(above: &Path) -> Vec<std::path::PathBuf> {
        let all = fs_err::read_dir(above).expect("listed").flatten().map(|entry| entry.path());
        all.filter(|path| path.is_dir()).collect()
    }

    #[test]
    fn a_framework_that_is_named_has_the_command_that_it_would_be_found_with() {
        let mut looked_at = 0;
        for project in directories(Path::new(FIXTURES)).iter().flat_map(|above| directories(above).into_iter().chain([above.clone()])) {
            let found = candidates(&project, &Env::default(), &Sought::Frameworks);
            for framework in ALL {
                let sought = Sought::Commands([framework.name().to_owned()].into());
                let named = candidates(&project, &Env::default(), &sought);
                let pair = found.iter().zip(&named).find(|(found, _)| found.name == framework.name()).expect("all are there");
                assert_eq!((&pair.0.in_image, &pair.0.here), (&pair.1.in_image, &pair.1.here), "{} in {project:?}", framework.name());
                looked_at += usize::from(pair.0.evidence.is_some());
            }
        }
        assert!(looked_at > 5, "{looked_at} projects");
    }

    #[test]
    fn what_is_named_is_not_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::create_dir_all(folder.path().join("a/b/c")).expect("made");
        fs_err::write(folder.path().join("a/b/c/test_it.py"), "def test_it(): pass").expect("written");
        let evidence = |sought| candidates(folder.path(), &Env::default(), &sought).into_iter().find_map(|candidate| candidate.evidence);
        assert_eq!(evidence(Sought::Frameworks).as_deref(), Some("`a/b/c/test_it.py`"));
        assert_eq!(evidence(Sought::Commands(["pytest".to_owned()].into())), None);
    }
}
