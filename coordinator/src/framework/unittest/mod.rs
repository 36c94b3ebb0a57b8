//! unittest, and Django's test runner: driven inside the user's own `python -m unittest` or `manage.py test`.
//!
//! The driver gets in as a `sitecustomize` that makes room for the one that it stands before. A unit is a test file; a slice never cuts a class. Ids are
//! those that pytest gives such tests, so that neither history nor reports change where a project changes its runner. What the driver does with a suite
//! stands in its own files; whose tests a project's are, in `python/style.rs`.

use super::python::{self, Style};
use super::{Framework, LaunchRequest, ProjectFacts};
use crate::model::Launch;

#[cfg(test)]
mod tests;

/// The driver's modules.
pub const MODULES: &[(&str, &str)] = &[
    ("sitecustomize.py", include_str!("sitecustomize.py")),
    ("splitci_heard.py", include_str!("splitci_heard.py")),
    ("splitci_unittest_driver.py", include_str!("splitci_unittest_driver.py")),
    ("splitci_django_driver.py", include_str!("splitci_django_driver.py")),
];

/// Options that choose tests within files.
const PICKING: &[&str] = &["-k", "--tag", "--exclude-tag"];

/// `python -m unittest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unittest;

/// `manage.py test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Django;

impl Framework for Unittest {
    fn name(&self) -> &'static str {
        "unittest"
    }

    fn looked_for(&self) -> &'static str {
        "`test*.py` that use unittest, where nothing speaks of pytest (unittest)"
    }

    fn texts_wanted(&self) -> &'static [&'static str] {
        python::REQUIREMENTS
    }

    fn evidence(&self, facts: &ProjectFacts) -> Option<String> {
        let file = python::unittests(facts).next()?;
        (python::style(facts) == Style::Unittest).then(|| format!("`{file}` uses unittest, and nothing speaks of pytest"))
    }

    fn command(&self, facts: &ProjectFacts) -> Vec<String> {
        let mut words = [python::interpreter(facts), "-m", "unittest"].map(str::to_owned).to_vec();
        // Discovery begins at the top and goes into packages alone.
        let tops: Vec<_> = python::unittests(facts).map(|path| top(facts, path)).collect();
        if let Some(first) = tops.first().filter(|_| !tops.contains(&"")) {
            words.extend(["discover", "-s", first].map(str::to_owned));
        }
        words
    }

    fn command_looks_deep(&self) -> bool {
        true
    }

    fn launch(&self, request: &LaunchRequest<'_>) -> Launch {
        python::launch(request, MODULES)
    }

    fn picks_tests(&self, command: &[String]) -> bool {
        picks(command)
    }

    fn usage_status(&self) -> Option<i32> {
        Some(2)
    }

    fn group(&self) -> Option<fn(&str) -> &str> {
        Some(class)
    }
}

impl Framework for Django {
    fn name(&self) -> &'static str {
        "django"
    }

    fn looked_for(&self) -> &'static str {
        "Django's `manage.py`, where nothing speaks of pytest (django)"
    }

    fn texts_wanted(&self) -> &'static [&'static str] {
        &["manage.py"]
    }

    fn evidence(&self, facts: &ProjectFacts) -> Option<String> {
        (python::style(facts) == Style::Django).then(|| "`manage.py`, and nothing speaks of pytest".to_owned())
    }

    fn command(&self, facts: &ProjectFacts) -> Vec<String> {
        [python::interpreter(facts), "manage.py", "test"].map(str::to_owned).to_vec()
    }

    fn launch(&self, request: &LaunchRequest<'_>) -> Launch {
        python::launch(request, MODULES)
    }

    fn picks_tests(&self, command: &[String]) -> bool {
        picks(command)
    }

    fn usage_status(&self) -> Option<i32> {
        Some(2)
    }

    fn group(&self) -> Option<fn(&str) -> &str> {
        Some(class)
    }
}

/// The nearest directory above a file that is no package: where names of its modules begin.
fn top<'a>(facts: &ProjectFacts, path: &'a str) -> &'a str {
    let mut directory = path;
    while let Some((above, _)) = directory.rsplit_once('/') {
        directory = above;
        if !facts.has(&format!("{directory}/__init__.py")) {
            return directory;
        }
    }
    ""
}

/// Whether a command names tests of a file, by an option or as `module.Class`.
fn picks(command: &[String]) -> bool {
    let class = |word: &str| !word.contains('/') && word.split('.').skip(1).any(|part| part.starts_with(char::is_uppercase));
    let option = |word: &str| PICKING.iter().any(|option| word.starts_with(option));
    command.iter().skip(1).any(|word| word.contains("::") || class(word) || option(word))
}

/// From an id, its class: `tests/test_a.py::Cart::test_total` must stay with all of `Cart`.
fn class(id: &str) -> &str {
    let Some(file) = id.find("::").map(|at| at + 2) else { return id };
    id[file..].find("::").map_or(id, |at| &id[..file + at])
}
