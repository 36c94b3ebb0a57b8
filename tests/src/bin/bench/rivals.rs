//! Who is measured: their commands, and how they say how many tests passed.

use std::path::Path;
use std::process::Command;

use splitci_tests::python::Python;

use crate::ci_queue::CiQueue;
use crate::framework::Framework;
use crate::measure::{Took, run};

/// A way to run a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// The framework itself.
    Plain,
    /// splitci with local processes.
    Ours(usize),
    /// pytest-xdist, with its way to distribute.
    Xdist(usize, &'static str),
    /// pytest-split, its groups side by side.
    Split(usize, &'static str),
    /// `parallel_tests`, with what it groups files by.
    ParallelTests(usize, &'static str),
    /// ci-queue, its workers side by side.
    CiQueue(usize),
}

/// What all runs of a benchmark share.
pub(crate) struct Contest {
    /// The framework whose suites are measured.
    pub(crate) framework: Framework,
    ci_queue: Option<CiQueue>,
}

impl Contest {
    /// For this framework. The rivals that are missing are named.
    #[expect(clippy::print_stdout, reason = "a program for people")]
    pub(crate) fn of(framework: Framework) -> Self {
        let ci_queue = if framework == Framework::Pytest { None } else { CiQueue::if_there() };
        if framework != Framework::Pytest && ci_queue.is_none() {
            println!("ci-queue is not measured: CI_QUEUE names the folder of its Ruby code, with its redis gem in GEM_PATH");
        }
        Self { framework, ci_queue }
    }

    /// The framework, ours, and the rivals with this many shards.
    pub(crate) fn runners(&self, shards: usize) -> Vec<Runner> {
        let mut runners = vec![Runner::Plain, Runner::Ours(shards)];
        match self.framework {
            Framework::Pytest if shards == 1 => runners.push(Runner::Xdist(1, "load")),
            Framework::Pytest => {
                runners.extend(["load", "loadfile", "worksteal"].map(|how| Runner::Xdist(shards, how)));
                runners.push(Runner::Split(shards, "duration_based_chunks"));
            }
            Framework::Rspec | Framework::Minitest => runners.push(Runner::ParallelTests(shards, "filesize")),
        }
        runners.extend(self.ci_queue.as_ref().map(|_| Runner::CiQueue(shards)));
        runners
    }

    /// The rivals for files of very different length.
    pub(crate) fn schedulers(&self, shards: usize) -> Vec<Runner> {
        let mut rivals = match self.framework {
            Framework::Pytest => vec![
                Runner::Xdist(shards, "load"),
                Runner::Xdist(shards, "worksteal"),
                Runner::Split(shards, "least_duration"),
                Runner::Split(shards, "duration_based_chunks"),
            ],
            _ => vec![Runner::ParallelTests(shards, "filesize"), Runner::ParallelTests(shards, "runtime")],
        };
        rivals.extend(self.ci_queue.as_ref().map(|_| Runner::CiQueue(shards)));
        rivals
    }

    /// Runs a project once. Stops everything if not exactly so many tests passed.
    pub(crate) fn run(&self, runner: Runner, project: &Path, state: &Path, tests: usize) -> Took {
        let took = run(&mut self.commands(runner, project, state));
        let passed = self.passed(runner, &took.stdout);
        assert_eq!(passed, tests, "tests that passed under {}:\n{}", self.name(runner), took.stdout);
        took
    }

    /// For tables.
    pub(crate) fn name(&self, runner: Runner) -> String {
        match runner {
            Runner::Plain => self.framework.name().to_owned(),
            Runner::Ours(n) => format!("splitci, {n} shards"),
            Runner::Xdist(n, how) => format!("pytest-xdist {how}, {n} workers"),
            Runner::Split(n, how) => format!("pytest-split {how}, {n} groups"),
            Runner::ParallelTests(n, how) => format!("parallel_tests by {how}, {n} processes"),
            Runner::CiQueue(n) => format!("ci-queue, {n} workers"),
        }
    }

    /// splitci with these arguments on this project.
    pub(crate) fn ours(&self, line: &str, project: &Path, state: &Path) -> Command {
        let mut command = Command::new(splitci_tests::program::binary());
        command.args(line.split(' ')).current_dir(project).env("SPLITCI_STATE", state).env("SPLITCI_CACHE_DIR", state.join("cache"));
        if self.framework == Framework::Pytest {
            let old = std::env::var_os("PATH").unwrap_or_default();
            let path = std::env::join_paths(std::iter::once(Python::with_rivals().bin()).chain(std::env::split_paths(&old)));
            command.args("-- -q -p no:xdist -p no:pytest-split".split(' ')).env("PATH", path.expect("a PATH"));
        }
        command
    }

    /// How many tests passed: a run counts only if nothing failed, which its exit status says.
    fn passed(&self, runner: Runner, stdout: &str) -> usize {
        let all = |word: &str| stdout.lines().filter_map(|line| number_before(line, word)).collect::<Vec<_>>();
        match (runner, self.framework) {
            (Runner::Ours(_), _) | (_, Framework::Pytest) => all(" passed").iter().sum(),
            // Each process says its own, and the last line what they come to.
            (Runner::ParallelTests(..), Framework::Rspec) => all(" example").last().copied().unwrap_or(0),
            (Runner::ParallelTests(..), Framework::Minitest) => all(" runs, ").last().copied().unwrap_or(0),
            (Runner::CiQueue(_), Framework::Minitest) => {
                stdout.lines().filter(|line| line.starts_with("Ran ")).filter_map(|line| number_before(line, " tests")).sum()
            }
            (_, Framework::Rspec) => all(" example").iter().sum(),
            (_, Framework::Minitest) => all(" runs, ").iter().sum(),
        }
    }

    fn commands(&self, runner: Runner, project: &Path, state: &Path) -> Vec<Command> {
        let pytest = |more: &str| {
            let mut command = Python::with_rivals().command("pytest");
            command.args(["-q", "-p", "no:cacheprovider"]).args(more.split(' ')).current_dir(project);
            command
        };
        match runner {
            Runner::Plain if self.framework == Framework::Pytest => vec![pytest("-p no:xdist -p no:pytest-split")],
            Runner::Plain => vec![self.framework.plainly(project)],
            Runner::Xdist(n, how) => vec![pytest(&format!("-n {n} --dist {how}"))],
            Runner::Split(n, how) => {
                let group = |group| pytest(&format!("-p no:xdist --splits {n} --group {group} --splitting-algorithm {how}"));
                (1..=n).map(group).collect()
            }
            Runner::ParallelTests(n, how) => vec![self.framework.parallel_tests(n, how, project)],
            Runner::CiQueue(n) => self.ci_queue.as_ref().map_or_else(Vec::new, |redis| redis.workers(self.framework, n, project)),
            Runner::Ours(n) => vec![self.ours(&format!("run --engine process --shards {n}"), project, state)],
        }
    }
}

impl Runner {
    /// Whether it is told the true durations.
    pub(crate) fn knows_durations(self) -> bool {
        matches!(self, Self::Split(..) | Self::ParallelTests(_, "runtime"))
    }
}

/// The number in front of a word, e.g. 1200 in `1,200 passed, 1 skipped`.
fn number_before(line: &str, word: &str) -> Option<usize> {
    let before = line.split(word).next().filter(|before| before.len() < line.len())?;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit() && c != ',').next()?;
    digits.replace(',', "").parse().ok()
}
