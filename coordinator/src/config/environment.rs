//! The variables that tests are given: `--env` by value or by name, and env files, which count as names.
//!
//! Values given as `NAME=value` are recorded; everything else is known to the record by name only, and its value lives in `Environment`, which
//! does not show it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::assignment::{Variables, assignment};
use super::fault::{FaultKind, Faults, Place};

/// Values of variables that are recorded by name only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// An env file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// Its path, for messages.
    pub path: std::path::PathBuf,
    /// Where it was named.
    pub place: Place,
    /// What is in it.
    pub text: String,
}

/// What tests are given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// By value.
    pub(super) env: Vec<(String, String)>,
    /// By name only.
    pub(super) names: Vec<String>,
    /// The values of those that the caller has.
    pub(super) values: Environment,
    /// Names that the caller does not have.
    pub(super) missing: Vec<String>,
}

/// Variables over env files, later files over earlier ones, as docker does it.
pub(super) fn resolve(variables: Option<Variables>, files: &[EnvFile], caller: &BTreeMap<String, String>, faults: &mut Faults) -> Resolved {
    let mut by_name: BTreeMap<String, Option<String>> = BTreeMap::new();
    for file in files {
        by_name.extend(lines(&file.path, &file.text, &file.place, faults));
    }
    let mut out = Resolved::default();
    for (name, value) in variables.map(|variables| variables.0).unwrap_or_default() {
        match value {
            Some(value) => {
                by_name.remove(&name);
                out.env.push((name, value));
            }
            None => drop(by_name.insert(name, None)),
        }
    }
    let mut values = BTreeMap::new();
    for (name, value) in by_name {
        match value.or_else(|| caller.get(&name).cloned()) {
            Some(value) => drop(values.insert(name.clone(), value)),
            None => out.missing.push(name.clone()),
        }
        out.names.push(name);
    }
    Resolved { values: Environment(values), ..out }
}

fn lines(path: &Path, text: &str, place: &Place, faults: &mut Faults) -> Vec<(String, Option<String>)> {
    let mut out = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Some(pair) => out.push(pair),
            None => faults.push(place.clone(), FaultKind::EnvFileLine { path: path.to_owned(), line: number + 1 }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env_file(text: &str) -> EnvFile {
        EnvFile { path: ".env".into(), place: Place::Flag("--env-file".into()), text: text.into() }
    }

    fn pairs(list: &[(&str, Option<&str>)]) -> Variables {
        Variables(list.iter().map(|(name, value)| ((*name).into(), value.map(str::to_owned))).collect())
    }

    #[test]
    fn values_of_files_and_of_the_caller_are_kept_apart_from_what_is_recorded() {
        let caller = BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned())]);
        let files = [env_file("# first\nA=1\n\nB=two words\nTOKEN"), env_file("A=2")];
        let mut faults = Faults::default();
        let out = resolve(Some(pairs(&[("B", Some("3")), ("GONE", None)])), &files, &caller, &mut faults);
        assert!(faults.is_empty());
        assert_eq!(out.env, [("B".into(), "3".into())]);
        assert_eq!(out.names, ["A", "GONE", "TOKEN"]);
        assert_eq!(out.values.iter().collect::<Vec<_>>(), [("A", "2"), ("TOKEN", "secret")]);
        assert_eq!(out.missing, ["GONE"]);
    }

    #[test]
    fn values_are_not_shown() {
        assert_eq!(format!("{:?}", Environment::from_iter([("TOKEN".to_owned(), "secret".to_owned())])), r#"{"TOKEN"}"#);
    }

    #[test]
    fn a_line_that_is_no_variable_is_a_fault_of_its_own() {
        let mut faults = Faults::default();
        let out = resolve(None, &[env_file("export A=1\nB=1")], &BTreeMap::new(), &mut faults);
        assert_eq!(out.names, ["B"]);
        assert!(!faults.is_empty());
    }
}
