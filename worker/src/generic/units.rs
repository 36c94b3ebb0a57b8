//! The list of units: files that match a pattern, or what a command says. The same in every shard, so files are sorted.
//!
//! Before it comes what a recipe wants made ready. Local shards share a directory, and build tools spoil each other's work there: one shard at a
//! time does it, the next finds it done.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::link::OWN;
use crate::protocol::recipe::{Listing, Recipe};

/// Directories that hold other people's files, unless a pattern begins with one.
const FOREIGN: &[&str] =
    &["node_modules", "bower_components", "vendor", "target", "_build", "deps", "venv", "site-packages", "__pycache__", "dist"];
/// What a command is for that prints units.
const LISTS: &str = "lists units";
/// Longest list that is read, in bytes.
const MAX_LIST: usize = 64 << 20;
/// Kept of what a command says when it fails.
const SAID: usize = 4 << 10;

/// The units cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("cannot look for test files in the working directory")]
    Walk(#[from] std::io::Error),
    #[error("cannot wait for the other shards in the working directory")]
    Lock(#[source] std::io::Error),
    #[error("the command that {what}, `{command}`, does not start")]
    Start {
        what: &'static str,
        command: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("the command that {what}, `{command}`, ended with {status}\n{said}")]
    Failed { what: &'static str, command: String, status: String, said: String },
    #[error("`{command}` does not print what it should")]
    Format {
        command: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("`{command}` prints more than {MAX_LIST} bytes")]
    TooLong { command: String },
}

/// An error with its cause, for the record.
pub(super) fn account(error: &ListError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Does what is to be done before units can be listed and run.
pub(super) fn prepare(recipe: &Recipe) -> Result<(), ListError> {
    if recipe.prepare.is_empty() {
        return Ok(());
    }
    // The lock ends with this process at the latest, leaves no file, and is nothing that the command inherits.
    let here = fs_err::File::open(".").map_err(ListError::Lock)?;
    flock(here.file(), FlockOperation::LockExclusive).map_err(|error| ListError::Lock(error.into()))?;
    output("makes the project ready", &recipe.prepare).map(drop)
}

/// The units of a recipe.
pub(super) fn list(recipe: &Recipe) -> Result<Vec<String>, ListError> {
    let all = match &recipe.units {
        Listing::Files(patterns) => files(patterns)?,
        Listing::Lines(command) => lines(&output(LISTS, command)?),
        Listing::Ctest(command) => ctest(&command.join(" "), &output(LISTS, command)?)?,
        Listing::Cargo(command) => cargo(&command.join(" "), &output(LISTS, command)?)?,
    };
    let is_file = matches!(recipe.units, Listing::Files(_));
    let wanted = |unit: &String| recipe.only.is_empty() || recipe.only.iter().any(|path| is_below(unit, path, is_file));
    Ok(all.into_iter().filter(wanted).collect())
}

/// Whether a unit is the path or below it. A name that is no file may have the path within: `example.com/shop/cart` is below `cart`.
fn is_below(unit: &str, path: &str, is_file: bool) -> bool {
    let path = path.trim_start_matches("./").trim_end_matches('/');
    if path.is_empty() || path == "." || unit == path || unit.starts_with(&format!("{path}/")) {
        return true;
    }
    !is_file && (unit.ends_with(&format!("/{path}")) || unit.contains(&format!("/{path}/")))
}

fn files(patterns: &[String]) -> Result<Vec<String>, ListError> {
    let mut found = BTreeSet::new();
    let mut todo = vec![String::new()];
    while let Some(directory) = todo.pop() {
        let here = if directory.is_empty() { Path::new(".") } else { Path::new(&directory) };
        for entry in fs_err::read_dir(here)? {
            let entry = entry?;
            // A name that is no text cannot be a unit's: names cross as text.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let foreign = name.starts_with('.') || FOREIGN.contains(&name.as_str());
                if !foreign || patterns.iter().any(|pattern| pattern.starts_with(&format!("{path}/"))) {
                    todo.push(path);
                }
            } else if patterns.iter().any(|pattern| fast_glob::glob_match(pattern, &path)) && Path::new(&path).is_file() {
                found.insert(path);
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn output(what: &'static str, command: &[String]) -> Result<String, ListError> {
    let shown = command.join(" ");
    let mut words = command.iter();
    let mut child = Command::new(words.next().map_or("", String::as_str));
    child.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if OWN.iter().any(|own| name.as_encoded_bytes().starts_with(own.as_bytes())) {
            child.env_remove(name);
        }
    }
    let done = child.output().map_err(|cause| ListError::Start { what, command: shown.clone(), cause })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        let from = said.floor_char_boundary(said.len().saturating_sub(SAID));
        return Err(ListError::Failed { what, command: shown, status: done.status.to_string(), said: said[from..].trim().to_owned() });
    }
    if done.stdout.len() > MAX_LIST {
        return Err(ListError::TooLong { command: shown });
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// One unit a line; a name that comes twice is one unit. A path below the working directory is told from there.
fn lines(text: &str) -> Vec<String> {
    let here = std::env::current_dir().map(|here| format!("{}/", here.display())).unwrap_or_default();
    let mut seen = BTreeSet::new();
    let trimmed = text.lines().map(str::trim).map(|line| line.strip_prefix(&here).unwrap_or(line)).filter(|line| !line.is_empty());
    trimmed.filter(|line| seen.insert(line.to_owned())).map(str::to_owned).collect()
}

fn ctest(command: &str, text: &str) -> Result<Vec<String>, ListError> {
    #[derive(Deserialize)]
    struct Shown {
        tests: Vec<Test>,
    }
    #[derive(Deserialize)]
    struct Test {
        name: String,
    }
    let shown: Shown = serde_json::from_str(text).map_err(|cause| ListError::Format { command: command.to_owned(), cause })?;
    Ok(shown.tests.into_iter().map(|test| test.name).collect())
}

/// A unit is a package and the option that names one of its targets: `shop --lib`, `shop --test cart`, `shop --doc`.
fn cargo(command: &str, text: &str) -> Result<Vec<String>, ListError> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
        test: bool,
        doctest: bool,
    }
    let metadata: Metadata = serde_json::from_str(text).map_err(|cause| ListError::Format { command: command.to_owned(), cause })?;
    let mut units = Vec::new();
    for package in metadata.packages {
        for target in package.targets {
            let option = match target.kind.first().map(String::as_str) {
                Some(kind @ ("bin" | "test" | "example" | "bench")) => format!("--{kind} {}", target.name),
                Some("custom-build") | None => continue,
                Some(_) => "--lib".to_owned(),
            };
            if target.test {
                units.push(format!("{} {option}", package.name));
            }
            if target.doctest && option == "--lib" {
                units.push(format!("{} --doc", package.name));
            }
        }
    }
    units.sort();
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_what_is_below_it() {
        for (unit, path, is_file) in [
            ("test/a.js", "test", true),
            ("test/a.js", "./test/", true),
            ("test/a.js", "test/a.js", true),
            ("a", ".", true),
            ("example.com/shop/cart", "cart", false),
        ] {
            assert!(is_below(unit, path, is_file), "{unit} {path}");
        }
        for (unit, path, is_file) in [("tests/a.js", "test", true), ("x/test/a.js", "test", true), ("example.com/shop/cart", "car", false)]
        {
            assert!(!is_below(unit, path, is_file), "{unit} {path}");
        }
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(lines(" a \n\nb\na\n"), ["a", "b"]);
        assert_eq!(
            ctest("ctest", r#"{"kind":"ctestInfo","tests":[{"name":"b"},{"name":"a","command":["x"]}]}"#).expect("read"),
            ["b", "a"]
        );
        assert!(ctest("ctest", "Test project /x").is_err());
        let metadata = r#"{"packages":[{"name":"shop","targets":[
            {"name":"shop","kind":["lib"],"test":true,"doctest":true},{"name":"shop","kind":["bin"],"test":false,"doctest":false},
            {"name":"cart","kind":["test"],"test":true,"doctest":false},{"name":"build","kind":["custom-build"],"test":true,"doctest":false}]}]}"#;
        assert_eq!(cargo("cargo", metadata).expect("read"), ["shop --doc", "shop --lib", "shop --test cart"]);
    }
}
