//! A project in a directory of its own, with a state directory of its own, and a look at what a run left behind.
//!
//! Every process of a sandbox carries its mark in the environment, set by the harness and not by splitci: what lives on is found
//! even where splitci would not look for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Splitci;
use crate::python::Python;

/// The promise: nothing of a run is left this long after its end.
pub const GONE_WITHIN: Duration = Duration::from_secs(10);

const MARK: &str = "TEST_SANDBOX";

/// A project, its state, and its mark. Gone when dropped.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
    mark: String,
}

impl Sandbox {
    /// An empty project.
    pub fn empty() -> Self {
        let directory = tempfile::Builder::new().prefix("sandbox-").tempdir().expect("make a directory");
        let mark = directory.path().file_name().expect("a name").to_string_lossy().into_owned();
        fs_err::create_dir_all(directory.path().join("project")).expect("make the project");
        fs_err::create_dir_all(directory.path().join("tmp")).expect("make a place for private directories");
        Self { directory, mark }
    }

    /// A copy of a directory of `fixtures/`, without its `expected.toml`.
    pub fn of(fixture: &str) -> Self {
        let sandbox = Self::empty();
        let source = crate::root().join("fixtures").join(fixture);
        for entry in walkdir::WalkDir::new(&source).into_iter().filter_entry(|entry| !is_by_product(entry.file_name())) {
            let entry = entry.unwrap_or_else(|error| panic!("the fixture {fixture}: {error}"));
            let target = sandbox.project().join(entry.path().strip_prefix(&source).expect("below the fixture"));
            if entry.file_type().is_dir() {
                fs_err::create_dir_all(target).expect("make a directory");
            } else if entry.file_name() != "expected.toml" {
                fs_err::copy(entry.path(), target).expect("copy a file");
            }
        }
        sandbox
    }

    /// Writes a file of the project.
    #[must_use]
    pub fn file(self, path: &str, content: &str) -> Self {
        self.write(path, content);
        self
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: &str) {
        let target = self.project().join(path);
        fs_err::create_dir_all(target.parent().expect("a parent")).expect("make a directory");
        fs_err::write(target, content).expect("write a file");
    }

    /// Makes an image of it possible: Debian's own pytest, nothing else.
    #[must_use]
    pub fn dockerfile(self) -> Self {
        self.file("Dockerfile", DOCKERFILE).file(".dockerignore", "Dockerfile\n.dockerignore\n**/__pycache__\n**/.pytest_cache\n")
    }

    /// The project's directory.
    pub fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    /// The state's directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where the cache is.
    pub fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Where private directories of shards are made.
    fn scratch(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    /// A place outside of the project that tests may write to.
    pub fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// splitci with these arguments, on this project, with this state, with the harness's Python first in its path.
    pub fn splitci(&self, line: &str) -> Splitci {
        self.dress(Splitci::new(crate::program::words(line)), Python::with_friends())
    }

    /// The same with another Python.
    pub fn splitci_with(&self, python: &Python, line: &str) -> Splitci {
        self.dress(Splitci::new(crate::program::words(line)), python)
    }

    /// Gives a command line this sandbox's place, state and mark.
    pub fn dress(&self, splitci: Splitci, python: &Python) -> Splitci {
        splitci
            .current_dir(&self.project())
            .env("SPLITCI_STATE", self.state())
            .env("SPLITCI_CACHE_DIR", self.cache())
            .env("TMPDIR", self.scratch())
            .env("XDG_STATE_HOME", self.state())
            .env(MARK, &self.mark)
            .env("SANDBOX_OUTSIDE", self.directory.path())
            .path_first(&python.bin())
    }

    /// Processes of this sandbox that are alive: id and command line.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mark = format!("{MARK}={}", self.mark);
        let pids = fs_err::read_dir("/proc").expect("read /proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| has_variable(*pid, mark.as_bytes()) && !is_zombie(*pid)).map(|pid| (pid, command_line(pid))).collect()
    }

    /// Fails if a process of this sandbox is alive after the time that the design promises.
    pub fn expect_no_processes(&self) {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "still alive {GONE_WITHIN:?} after the end: {left:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails if a shard's private directory is left after a run that ended by itself.
    pub fn expect_no_private_directories(&self) {
        let entries = fs_err::read_dir(self.scratch()).expect("read the scratch directory");
        let left: Vec<_> =
            entries.flatten().map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("splitci-")).collect();
        assert!(left.is_empty(), "private directories are left: {left:?}");
    }

    /// Fails if the run wrote into the project: its image's key would change. Byte code and pytest's own cache are the user's business.
    pub fn expect_project_untouched(&self, before: &[PathBuf]) {
        assert_eq!(self.listing(), before, "files of the project before and after");
    }

    /// Files of the project, sorted.
    pub fn listing(&self) -> Vec<PathBuf> {
        let walk =
            walkdir::WalkDir::new(self.project()).sort_by_file_name().into_iter().filter_entry(|entry| !is_by_product(entry.file_name()));
        walk.map(|entry| entry.expect("a readable project").into_path()).collect()
    }
}

fn is_by_product(name: &std::ffi::OsStr) -> bool {
    name == "__pycache__" || name == ".pytest_cache"
}

fn has_variable(pid: u32, assignment: &[u8]) -> bool {
    let environment = fs_err::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == assignment)
}

fn is_zombie(pid: u32) -> bool {
    fs_err::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

fn command_line(pid: u32) -> String {
    let bytes = fs_err::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

const DOCKERFILE: &str = "\
FROM debian:bookworm-slim
RUN apt-get update \\
 && apt-get install -y --no-install-recommends python3 python3-pytest \\
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
";
