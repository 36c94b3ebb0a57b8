//! ci-queue and the Redis that it needs: a server of our own, up before anything is measured and gone with us.
//!
//! Nothing of it is installed: `CI_QUEUE` names a folder with its Ruby code (`lib`, `exe`), and `GEM_PATH` leads to the redis gem that it wants.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::framework::Framework;

/// A build of ci-queue's stays in Redis: each run is a new one.
static BUILD: AtomicUsize = AtomicUsize::new(0);

/// A server that runs.
pub(crate) struct Redis {
    server: Child,
    port: u16,
    code: PathBuf,
}

impl Redis {
    /// Starts one, if ci-queue is there.
    pub(crate) fn of_ci_queue() -> Option<Self> {
        let code = PathBuf::from(std::env::var_os("CI_QUEUE")?);
        assert!(code.join("exe/rspec-queue").is_file(), "{} does not hold ci-queue's Ruby code", code.display());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let server = server.unwrap_or_else(|error| panic!("ci-queue needs redis-server: {error}"));
        let tries = (0..100).find(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let redis = Self { server, port, code };
        assert!(tries.is_some(), "redis-server does not answer");
        Some(redis)
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
            command.args(["--queue", &format!("redis://127.0.0.1:{}/0", self.port), "--timeout", "60"]);
            command.args(["--build", &build.to_string(), "--worker", &number.to_string()]).current_dir(project);
            if framework == Framework::Minitest {
                command.arg("-Itest").args(framework.files(project));
            }
            command
        };
        (1..=workers).map(worker).collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
