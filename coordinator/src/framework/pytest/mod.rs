//! pytest 7, 8 and 9: recognised by its configuration or its file names, driven by `driver.py` inside the user's own pytest.
//!
//! The driver is a plugin named in `PYTEST_PLUGINS` that lies in the session's private directory, so nothing is installed; it gives both variables
//! back before tests run. What it does with a suite, and where that differs from a plain run, stands in its own head and in the contract's.
//! A unit is a file; a slice never cuts a class, and may cut the variants of a parametrised function.

use super::{Framework, LaunchRequest, Place, ProjectFacts, python};
use crate::model::Launch;

#[cfg(test)]
mod tests;

/// The driver's text.
pub const DRIVER: &str = include_str!("driver.py");

const MODULE: &str = "splitci_pytest_driver";

/// Configuration files and what must stand in one for it to be pytest's.
const CONFIGURATIONS: &[(&str, &[&str])] = &[
    ("pytest.toml", &[]),
    (".pytest.toml", &[]),
    ("pytest.ini", &[]),
    (".pytest.ini", &[]),
    ("pyproject.toml", &["[tool.pytest.ini_options]", "[tool.pytest]"]),
    ("tox.ini", &["[pytest]"]),
    ("setup.cfg", &["[tool:pytest]"]),
];

/// Options that choose tests within files.
const PICKING: &[&str] = &["-k", "-m", "--deselect", "--lf", "--last-failed", "--ff", "--sw", "--stepwise"];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pytest;

impl Framework for Pytest {
    fn name(&self) -> &'static str {
        "pytest"
    }

    fn looked_for(&self) -> &'static str {
        "`pytest.ini`, pytest's section in `pyproject.toml`, `tox.ini` or `setup.cfg`, `conftest.py`, `test_*.py`, `*_test.py` (pytest)"
    }

    fn texts_wanted(&self) -> &'static [&'static str] {
        python::REQUIREMENTS
    }

    fn evidence(&self, facts: &ProjectFacts) -> Option<String> {
        // It can run unittest's tests, and Django's with a plugin: where nothing speaks of it, they are run as their authors do.
        configured(facts).or_else(|| by_file_name(facts).filter(|_| python::style(facts) == python::Style::Pytest))
    }

    fn command(&self, facts: &ProjectFacts) -> Vec<String> {
        let words: &[&str] = match &facts.place {
            Place::Here { activated: false, .. } if facts.has(".venv/bin/pytest") => &[".venv/bin/pytest"],
            Place::Here { activated: false, .. } if facts.has("venv/bin/pytest") => &["venv/bin/pytest"],
            Place::Here { programs, .. } if programs.contains("pytest") => &["pytest"],
            Place::Here { programs, .. } if programs.contains("python3") => &["python3", "-m", "pytest"],
            Place::Here { programs, .. } if programs.contains("python") => &["python", "-m", "pytest"],
            Place::Here { .. } | Place::Image => &["pytest"],
        };
        words.iter().map(ToString::to_string).collect()
    }

    fn launch(&self, request: &LaunchRequest<'_>) -> Launch {
        let module = format!("{MODULE}.py");
        let mut launch = python::launch(request, &[(module.as_str(), DRIVER)]);
        launch.env_prepend.push(("PYTEST_PLUGINS".into(), MODULE.into(), ",".into()));
        launch
    }

    fn picks_tests(&self, command: &[String]) -> bool {
        let picks = |word: &String| word.contains("::") || PICKING.iter().any(|option| word.starts_with(option));
        // `python -m pytest` names a module.
        let words = if command.get(1).is_some_and(|word| word == "-m") { 3 } else { 1 };
        command.iter().skip(words).any(picks)
    }

    fn usage_status(&self) -> Option<i32> {
        Some(4)
    }

    fn group(&self) -> Option<fn(&str) -> &str> {
        Some(group)
    }
}

/// What of an id must stay together: its class, or the id itself (the same id twice is chosen by name, so both or none).
fn group(id: &str) -> &str {
    let Some(file) = id.find("::").map(|at| at + 2) else { return id };
    // A parameter may hold anything, two colons too.
    let plain = id[file..].find('[').map_or(id.len(), |at| file + at);
    id[file..plain].find("::").map_or(id, |at| &id[..file + at])
}

fn configured(facts: &ProjectFacts) -> Option<String> {
    CONFIGURATIONS.iter().find_map(|(file, headers)| {
        if headers.is_empty() {
            return facts.has(file).then(|| format!("`{file}`"));
        }
        let text = facts.texts.get(*file)?;
        let header = headers.iter().find(|header| text.lines().any(|line| line.trim() == **header))?;
        Some(format!("`{header}` in `{file}`"))
    })
}

fn by_file_name(facts: &ProjectFacts) -> Option<String> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    facts.first(|path| name(path) == "conftest.py").or_else(|| facts.first(|path| is_test_file(&name(path))))
}

fn is_test_file(name: &str) -> bool {
    name.strip_suffix(".py").is_some_and(|stem| stem.starts_with("test_") || stem.ends_with("_test"))
}
