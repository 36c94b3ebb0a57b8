//! The frameworks whose suites are measured: what a file of theirs looks like, and how they are called alone.

use std::path::Path;
use std::process::Command;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framework {
    Pytest,
    Rspec,
    Minitest,
}

impl Framework {
    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Pytest, Self::Rspec, Self::Minitest].into_iter().find(|one| one.name() == name)
    }

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pytest => "pytest",
            Self::Rspec => "rspec",
            Self::Minitest => "minitest",
        }
    }

    /// Path of a test file.
    pub(crate) fn path(self, file: usize) -> String {
        match self {
            Self::Pytest => format!("tests/test_{file:04}.py"),
            Self::Rspec => format!("spec/f{file:04}_spec.rb"),
            Self::Minitest => format!("test/f{file:04}_test.rb"),
        }
    }

    /// Test files of a project, sorted.
    pub(crate) fn files(self, project: &Path) -> Vec<String> {
        let path = self.path(0);
        let directory = path.split('/').next().unwrap_or_default();
        let found = fs_err::read_dir(project.join(directory)).expect("test files");
        let mut files: Vec<_> = found.flatten().map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy())).collect();
        files.sort();
        files
    }

    /// A file of so many trivial tests.
    pub(crate) fn trivial(self, file: usize, tests: usize) -> String {
        let all = |one: &dyn Fn(usize) -> String, between: &str| (0..tests).map(one).collect::<Vec<_>>().join(between);
        match self {
            Self::Pytest => all(&|test| format!("def test_{test:02}():\n    assert 1 + 1 == 2\n"), "\n\n"),
            Self::Rspec => {
                let examples = all(&|test| format!("  it('passes {test:02}') {{ expect(1 + 1).to eq(2) }}\n"), "");
                format!("RSpec.describe 'f{file:04}' do\n{examples}end\n")
            }
            Self::Minitest => minitest(file, &all(&|test| format!("  def test_{test:02}\n    assert_equal 2, 1 + 1\n  end\n"), "\n")),
        }
    }

    /// A file with one test that sleeps.
    pub(crate) fn sleeping(self, file: usize, seconds: f64) -> String {
        match self {
            Self::Pytest => format!("import time\n\n\ndef test_sleep():\n    time.sleep({seconds})\n"),
            Self::Rspec => format!("RSpec.describe 'f{file:04}' do\n  it('sleeps') {{ sleep {seconds} }}\nend\n"),
            Self::Minitest => minitest(file, &format!("  def test_sleep\n    sleep {seconds}\n    assert true\n  end\n")),
        }
    }

    /// What a rival would have recorded of these durations: the file it reads, and its text.
    pub(crate) fn recorded(self, durations: &[f64]) -> (&'static str, String) {
        let lines =
            || durations.iter().enumerate().map(|(file, seconds)| format!("{}:{seconds}\n", self.path(file))).collect::<Vec<_>>().concat();
        match self {
            Self::Pytest => {
                let one = |(file, seconds): (usize, &f64)| (format!("{}::test_sleep", self.path(file)), (*seconds).into());
                let all: serde_json::Map<_, _> = durations.iter().enumerate().map(one).collect();
                (".test_durations", serde_json::Value::Object(all).to_string())
            }
            Self::Rspec | Self::Minitest => (RUNTIMES, lines()),
        }
    }

    /// The framework alone, for Ruby.
    pub(crate) fn plainly(self, project: &Path) -> Command {
        let mut command = Command::new(if self == Self::Rspec { "rspec" } else { "ruby" });
        if self == Self::Minitest {
            command.args(["-Itest", "-e", "Dir['test/**/*_test.rb'].sort.each { |file| require File.expand_path(file) }"]);
        }
        command.current_dir(project);
        command
    }

    /// `parallel_tests`, for Ruby.
    pub(crate) fn parallel_tests(self, processes: usize, by: &str, project: &Path) -> Command {
        let mut command = Command::new(if self == Self::Rspec { "parallel_rspec" } else { "parallel_test" });
        command.args(["-n", &processes.to_string(), "--group-by", by]);
        if by == "runtime" {
            command.args(["--runtime-log", RUNTIMES]);
        }
        command.arg(if self == Self::Rspec { "spec" } else { "test" }).current_dir(project);
        command
    }
}

const RUNTIMES: &str = "tmp/runtimes.log";

fn minitest(file: usize, methods: &str) -> String {
    format!("require 'minitest/autorun'\n\nclass F{file:04}Test < Minitest::Test\n{methods}end\n")
}
