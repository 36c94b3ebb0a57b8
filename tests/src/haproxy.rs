//! A real HAProxy of a test's own: on free ports of loopback, with its sockets and its configuration in a directory that goes with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// How long it may take to come up, to reload, or to go.
const WITHIN: Duration = Duration::from_secs(20);

const CONFIGURATION: &str = "\
global
  stats socket DIRECTORY/admin.sock mode 600 level admin expose-fd listeners
  stats socket DIRECTORY/operator.sock mode 600 level operator
  stats socket 127.0.0.1:RUNTIME_PORT level admin
  server-state-file DIRECTORY/state
  hard-stop-after 10s
defaults
  mode http
  timeout connect 2s
  timeout client 20s
  timeout server 20s
  LOAD
frontend web
  bind 127.0.0.1:PORT
  default_backend app
backend app
  option httpchk GET /up
  default-server EVERY_SERVER
  BACKEND
SERVERS
";

/// How it is set up: one frontend, and the backend `app`.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Servers, by name and port.
    pub servers: Vec<(String, u16)>,
    /// What all servers have.
    pub every_server: String,
    /// More lines of the backend.
    pub backend: String,
    /// Whether a reload loads a state file.
    pub state_file: bool,
}

impl Setup {
    /// Servers `web1`, `web2` ... on these ports, checked at `/up` five times a second, `rise 2 fall 2`.
    pub fn of(ports: &[u16]) -> Self {
        let servers = ports.iter().zip(1..).map(|(port, number)| (format!("web{number}"), *port)).collect();
        Self { servers, every_server: "check inter 200ms rise 2 fall 2".to_owned(), backend: String::new(), state_file: false }
    }

    fn text(&self, directory: &Path, (port, runtime): (u16, u16)) -> String {
        let servers: Vec<_> = self.servers.iter().map(|(name, port)| format!("  server {name} 127.0.0.1:{port}")).collect();
        let load = if self.state_file { "load-server-state-from-file global" } else { "" };
        CONFIGURATION
            .replace("RUNTIME_PORT", &runtime.to_string())
            .replace("PORT", &port.to_string())
            .replace("LOAD", load)
            .replace("EVERY_SERVER", &self.every_server)
            .replace("BACKEND", &self.backend)
            .replace("SERVERS", &servers.join("\n"))
            .replace("DIRECTORY", &directory.display().to_string())
    }
}

/// A running HAProxy, gone at the end.
#[derive(Debug)]
pub struct Haproxy {
    process: Child,
    directory: TempDir,
    /// Of the frontend, and of the runtime socket.
    ports: (u16, u16),
}

/// A port of loopback that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Haproxy {
    /// Starts one and waits until it answers.
    pub fn start(setup: &Setup) -> Self {
        let directory = tempfile::Builder::new().prefix("haproxy-").tempdir().expect("a directory");
        let ports = (free_port(), free_port());
        let configuration = directory.path().join("haproxy.cfg");
        fs_err::write(&configuration, setup.text(directory.path(), ports)).expect("write the configuration");
        let log = fs_err::File::create(directory.path().join("log")).expect("a log").into_parts().0;
        let mut command = Command::new(program());
        command.args(["-W", "-f"]).arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let process = command.spawn();
        let process = process.unwrap_or_else(|error| panic!("cannot start haproxy ({error}); on Debian: apt-get install haproxy"));
        let mut haproxy = Self { process, directory, ports };
        haproxy.wait_for(|haproxy| haproxy.worker().is_some());
        haproxy
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.0).into()
    }

    /// Its runtime socket of the level `admin`.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// The port of loopback that is a runtime socket of the level `admin`, too.
    pub fn runtime_port(&self) -> u16 {
        self.ports.1
    }

    /// Its runtime socket of the level `operator`.
    pub fn operator_socket(&self) -> PathBuf {
        self.directory.path().join("operator.sock")
    }

    /// What it answers to a line on its runtime socket, past everything that is being tested. Empty where nobody answers.
    pub fn tell(&self, line: &str) -> String {
        let talk = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.write_all(format!("{line}\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        talk().unwrap_or_default()
    }

    /// Sets it up otherwise; it takes effect with the next reload.
    pub fn rewrite(&self, setup: &Setup) {
        fs_err::write(self.directory.path().join("haproxy.cfg"), setup.text(self.directory.path(), self.ports))
            .expect("write the configuration");
    }

    /// Writes what its servers are into the file that a reload may load.
    pub fn write_state(&self, state: &str) {
        fs_err::write(self.directory.path().join("state"), state).expect("write the state");
    }

    /// Reloads its configuration and waits until the new process answers.
    pub fn reload(&mut self) {
        let old = self.worker();
        assert!(old.is_some(), "it does not run");
        kill_process(self.pid(), Signal::USR2).expect("it runs");
        // For a moment both listen.
        let is_new = |haproxy: &Self| haproxy.worker().is_some_and(|worker| Some(worker) != old);
        self.wait_for(|haproxy| (0..10).all(|_| is_new(haproxy)));
    }

    /// Ends it as an administrator would, and waits for it.
    pub fn stop(mut self) {
        kill_process(self.pid(), Signal::TERM).expect("it runs");
        let began = Instant::now();
        while self.process.try_wait().expect("our own child").is_none() {
            assert!(began.elapsed() < WITHIN, "haproxy does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills all of its processes, and waits until nobody listens any more.
    pub fn kill(&mut self) {
        kill_process_group(self.pid(), Signal::KILL).ok();
        self.process.wait().ok();
        let began = Instant::now();
        while UnixStream::connect(self.socket()).is_ok() && began.elapsed() < WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// The process that answers.
    fn worker(&self) -> Option<u32> {
        self.tell("show info").lines().find_map(|line| line.strip_prefix("Pid: ")?.parse().ok())
    }

    fn wait_for(&mut self, there: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !there(self) {
            let log = || fs_err::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let ended = self.process.try_wait().expect("our own child");
            assert!(ended.is_none() && began.elapsed() < WITHIN, "haproxy does not come up: {ended:?}: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps it where only administrators look.
fn program() -> &'static str {
    let usual = "/usr/sbin/haproxy";
    if Path::new(usual).exists() { usual } else { "haproxy" }
}
