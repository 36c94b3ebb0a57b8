//! ci-queue and the Redis that it needs: a server of our own, up before anything is measured and gone with us.
//!
//! Nothing of it is installed: `CI_QUEUE` names a folder with its Ruby code (`lib`, `exe`), and `GEM_PATH` leads to the redis gem that it wants.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use splitci_tests::redis::Redis;

use crate::framework::Framework;

/// A build of ci-queue's stays in Redis: each run is a new one.
static BUILD: AtomicUsize = AtomicUsize::new(0);

/// ci-queue, with a server that runs.
pub(crate) struct CiQueue {
    redis: Redis,
    code: PathBuf,
}

impl CiQueue {
    /// Starts its server, if it is there.
    pub(crate) fn if_there() -> Option<Self> {
        let code = PathBuf::from(std::env::var_os("CI_QUEUE")?);
        assert!(code.join("exe/rspec-queue").is_file(), "{} does not hold ci-queue's Ruby code", code.display());
        Some(Self { redis: Redis::start(&[]), code })
    }

    /// Its workers on a project, as one build.
    pub(crate) fn workers(&self, framework: Framework, workers: usize, project: &Path) -> Vec<Command> {
        // Where ci-queue notes the order of tests; it makes no directory.
        fs_err::create_dir_all(project.join("log")).expect("make a directory");
        let build = BUILD.fetch_add(1, Ordering::Relaxed);
        let worker = |number: usize| {
            let mut command = Command::new("ruby");
            // It takes for granted that somebody has required these.
            command.args(["-rpathname", "-I"]).arg(self.code.join("lib"));
            match framework {
                Framework::Minitest => command.arg(self.code.join("exe/minitest-queue")).arg("run"),
                _ => command.arg(self.code.join("exe/rspec-queue")),
            };
            command.args(["--queue", &self.redis.url(""), "--timeout", "60"]);
            command.args(["--build", &build.to_string(), "--worker", &number.to_string()]).current_dir(project);
            if framework == Framework::Minitest {
                command.arg("-Itest").args(framework.files(project));
            }
            command
        };
        (1..=workers).map(worker).collect()
    }
}
