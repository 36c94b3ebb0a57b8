//! Who is measured: their commands, and how they say how many tests passed.

use std::path::Path;
use std::process::Command;

use splitci_tests::python::Python;

use crate::measure::{Took, run};

/// A way to run a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// pytest itself.
    Plain,
    /// splitci with local processes.
    Ours(usize),
    /// pytest-xdist, with its way to distribute.
    Xdist(usize, &'static str),
    /// pytest-split, its groups side by side.
    Split(usize, &'static str),
}

impl Runner {
    /// For tables.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Plain => "pytest".to_owned(),
            Self::Ours(n) => format!("splitci, {n} shards"),
            Self::Xdist(n, how) => format!("pytest-xdist {how}, {n} workers"),
            Self::Split(n, how) => format!("pytest-split {how}, {n} groups"),
        }
    }

    /// Runs a project once. Stops everything if not exactly so many tests passed.
    pub(crate) fn run(self, project: &Path, state: &Path, tests: usize) -> Took {
        let took = run(&mut self.commands(project, state));
        let passed: usize = took.stdout.lines().filter_map(|line| number_before(line, " passed")).sum();
        assert_eq!(passed, tests, "tests that passed under {}:\n{}", self.name(), took.stdout);
        took
    }

    fn commands(self, project: &Path, state: &Path) -> Vec<Command> {
        let pytest = |more: &[String]| {
            let mut command = Python::with_rivals().command("pytest");
            command.args(["-q", "-p", "no:cacheprovider"]).args(more).current_dir(project);
            command
        };
        let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        match self {
            Self::Plain => vec![pytest(&words("-p no:xdist -p no:pytest-split".to_owned()))],
            Self::Xdist(n, how) => vec![pytest(&words(format!("-n {n} --dist {how}")))],
            Self::Split(n, how) => (1..=n)
                .map(|group| pytest(&words(format!("-p no:xdist --splits {n} --group {group} --splitting-algorithm {how}"))))
                .collect(),
            Self::Ours(n) => vec![ours(&format!("run --engine process --shards {n} -- -q -p no:xdist -p no:pytest-split"), project, state)],
        }
    }
}

/// splitci with these arguments on this project.
pub(crate) fn ours(line: &str, project: &Path, state: &Path) -> Command {
    let mut command = Command::new(splitci_tests::program::binary());
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(Python::with_rivals().bin()).chain(std::env::split_paths(&old)));
    command.args(line.split(' ')).current_dir(project).env("SPLITCI_STATE", state).env("PATH", path.expect("a PATH"));
    command
}

/// The number in front of a word, e.g. 1200 in `1,200 passed, 1 skipped`.
fn number_before(line: &str, word: &str) -> Option<usize> {
    let before = line.split(word).next().filter(|before| before.len() < line.len())?;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit() && c != ',').next()?;
    digits.replace(',', "").parse().ok()
}
