//! The project that is compared, in copies: one that splitci runs, and one for the framework alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use splitci_coordinator::model::event::{EventKind, RunStarted};
use splitci_tests::plain::{self, Outcomes};
use splitci_tests::{Done, Splitci, program};

/// Longest that a run may take.
const PATIENCE: Duration = Duration::from_hours(1);

/// A plain run.
pub(crate) struct Plain {
    /// What was called.
    pub(crate) command: Vec<String>,
    /// Its exit status; -1 where a signal ended it.
    pub(crate) status: i32,
    /// What it came to.
    pub(crate) outcomes: Outcomes,
    /// Its wall time.
    pub(crate) took: Duration,
}

/// The copies. Gone when dropped.
pub(crate) struct Subject {
    place: tempfile::TempDir,
    docker: bool,
}

impl Subject {
    /// Copies a project.
    pub(crate) fn of(project: &Path, docker: bool) -> Self {
        let place = tempfile::Builder::new().prefix("compare-").tempdir().expect("make a directory");
        for copy in ["project", "plain"] {
            let copied = Command::new("cp").arg("-a").arg(project).arg(place.path().join(copy)).status().expect("start cp");
            assert!(copied.success(), "{} could not be copied", project.display());
        }
        fs_err::create_dir(place.path().join("out")).expect("make a directory");
        Self { place, docker }
    }

    /// splitci with these arguments.
    pub(crate) fn run(&self, line: &str) -> Done {
        let done = Splitci::new(program::words(line))
            .current_dir(&self.place.path().join("project"))
            .env("SPLITCI_STATE", self.place.path().join("state"))
            .env("SPLITCI_CACHE_DIR", self.place.path().join("cache"))
            .patience(PATIENCE)
            .run();
        assert!(matches!(done.code, Some(0 | 1 | 4)), "splitci came to no verdict: {done}");
        done
    }

    /// What splitci called, without it.
    pub(crate) fn plain(&self, done: &Done) -> Plain {
        let settings = started(done).settings;
        let [suite] = &settings.suites[..] else { panic!("one suite at a time: {:?}", settings.suites) };
        let plugins = if self.docker { PathBuf::from("/plugin") } else { plain::plugins(&suite.framework) };
        let command = plain::command(&suite.framework, &suite.command, &plugins);
        let command = command.unwrap_or_else(|| panic!("no plain run is known for {}: {:?}", suite.framework, suite.command));
        let out = self.place.path().join("out");
        let mut process = if self.docker { in_image(done, &suite.framework, &out) } else { Command::new(&command[0]) };
        if self.docker {
            process.args(&command);
        } else {
            process.args(&command[1..]).current_dir(self.place.path().join("plain"));
            process.env("PYTHONPATH", plugins).env("PLAIN_OUTCOMES", out.join("outcomes"));
            plain::as_in_a_shell(&mut process);
        }
        let started = Instant::now();
        let output = process.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{process:?}: {error}"));
        let took = started.elapsed();
        let outcomes = plain::read(&out.join("outcomes"));
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let outcomes = outcomes.unwrap_or_else(|| panic!("the plain run did not come to its end\n{stdout}\n{stderr}"));
        Plain { command, status: output.status.code().unwrap_or(-1), outcomes, took }
    }
}

/// `docker run` of the image that splitci made, with our plugin and a place to write to.
fn in_image(done: &Done, framework: &str, out: &Path) -> Command {
    let image = done.events().into_iter().find_map(|event| match event.kind {
        EventKind::ImageReady { identity, .. } => Some(identity.config),
        _ => None,
    });
    // The image's user may be any.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs_err::set_permissions(out, mode).expect("open the directory to all");
    let mut docker = Command::new("docker");
    docker.args(["run", "--rm", "--env", "PYTHONPATH=/plugin", "--env", "PLAIN_OUTCOMES=/out/outcomes", "--volume"]);
    docker.arg(format!("{}:/plugin:ro", plain::plugins(framework).display())).arg("--volume").arg(format!("{}:/out", out.display()));
    docker.arg(image.expect("an image"));
    docker
}

/// How a run began.
fn started(done: &Done) -> RunStarted {
    let first = done.events().into_iter().find_map(|event| match event.kind {
        EventKind::RunStarted(started) => Some(*started),
        _ => None,
    });
    first.expect("a run begins")
}

/// The framework that splitci found.
pub(crate) fn framework(done: &Done) -> String {
    started(done).settings.suites.first().map(|suite| suite.framework.clone()).unwrap_or_default()
}
