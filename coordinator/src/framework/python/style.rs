//! Whose tests a Python project's are: pytest's, unittest's or Django's. pytest can run all three, so its name says little.
//!
//! pytest has a project that says so: a configuration of it, a `conftest.py`, its name among the requirements, an environment with it, test files
//! written for it. Where nothing speaks of pytest, `manage.py` is Django's, and files that use unittest are unittest's. What is left is pytest's.

use super::ProjectFacts;
use crate::framework::FOREIGN;

/// Files in which a project names what it needs.
pub(in crate::framework) const REQUIREMENTS: &[&str] = &[
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
    "setup.py",
    "noxfile.py",
    "Pipfile",
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements_dev.txt",
    "requirements_test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "requirements/dev.txt",
    "requirements/test.txt",
];

/// How many test files are looked into.
const MOST_SAMPLES: usize = 40;

/// A style of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::framework) enum Style {
    Pytest,
    Unittest,
    Django,
}

/// Test files whose text says how tests are written.
pub(in crate::framework) fn samples(files: &[String]) -> impl Iterator<Item = &str> {
    files.iter().map(String::as_str).filter(|path| is_sample(path)).take(MOST_SAMPLES)
}

fn is_sample(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let test = name.strip_suffix(".py").is_some_and(|stem| stem.starts_with("test") || stem.ends_with("_test"));
    test && !path.split('/').any(|part| FOREIGN.contains(&part))
}

/// The style of the project's tests.
pub(in crate::framework) fn style(facts: &ProjectFacts) -> Style {
    if speaks_of_pytest(facts) {
        return Style::Pytest;
    }
    if is_django(facts) {
        return Style::Django;
    }
    if unittests(facts).next().is_some() { Style::Unittest } else { Style::Pytest }
}

/// The files that unittest would find and that use it.
pub(in crate::framework) fn unittests(facts: &ProjectFacts) -> impl Iterator<Item = &str> {
    let found = |path: &&str| path.rsplit('/').next().is_some_and(|name| name.starts_with("test"));
    samples(&facts.files).filter(found).filter(|path| facts.texts.get(*path).is_some_and(|text| uses_unittest(text)))
}

fn is_django(facts: &ProjectFacts) -> bool {
    facts.texts.get("manage.py").is_some_and(|text| text.contains("django"))
}

fn speaks_of_pytest(facts: &ProjectFacts) -> bool {
    let own = |path: &String| path.rsplit('/').next() == Some("conftest.py") && !path.split('/').any(|part| FOREIGN.contains(&part));
    let named = |file: &str| facts.texts.get(file).is_some_and(|text| code(text).any(|line| line.contains("pytest")));
    ["pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", ".venv/bin/pytest", "venv/bin/pytest"].iter().any(|file| facts.has(file))
        || facts.files.iter().any(own)
        || REQUIREMENTS.iter().any(|file| named(file))
        || samples(&facts.files).any(|path| facts.texts.get(path).is_some_and(|text| is_for_pytest(text)))
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split('#').next().unwrap_or(line))
}

/// Imports it, or has tests that are functions.
fn is_for_pytest(text: &str) -> bool {
    let imports = |line: &str| line.trim_start().starts_with("import pytest") || line.trim_start().starts_with("from pytest");
    let function = |line: &str| line.starts_with("def test") || line.starts_with("async def test");
    code(text).any(|line| imports(line) || function(line))
}

fn uses_unittest(text: &str) -> bool {
    code(text).any(|line| {
        line.trim_start().starts_with("import unittest") || line.trim_start().starts_with("from unittest") || line.contains("TestCase")
    })
}
