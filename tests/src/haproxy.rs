//! A real HAProxy of a test's own: on free ports of loopback, with its sockets and its configuration in a directory that goes with it. It is a process of this machine, or in a
//! container of a network that its servers are in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getegid, geteuid, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::engine::{docker, docker_says};
use crate::network::Network;

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
  bind HOST:PORT
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
    /// Servers, by name and address.
    pub servers: Vec<(String, SocketAddr)>,
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
        Self::at(&ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect::<Vec<_>>())
    }

    /// The same at these addresses.
    pub fn at(places: &[SocketAddr]) -> Self {
        let servers = places.iter().zip(1..).map(|(place, number)| (format!("web{number}"), *place)).collect();
        Self { servers, every_server: "check inter 200ms rise 2 fall 2".to_owned(), backend: String::new(), state_file: false }
    }

    fn text(&self, directory: &Path, host: &str, (port, runtime): (u16, u16)) -> String {
        let servers: Vec<_> = self.servers.iter().map(|(name, place)| format!("  server {name} {place}")).collect();
        let load = if self.state_file { "load-server-state-from-file global" } else { "" };
        CONFIGURATION
            .replace("RUNTIME_PORT", &runtime.to_string())
            .replace("HOST", host)
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
    home: Home,
    directory: TempDir,
    /// Of the frontend, and of the runtime socket.
    ports: (u16, u16),
}

/// Where it runs.
#[derive(Debug)]
enum Home {
    /// Here.
    Process(Child),
    /// In a container of the engine that `docker` speaks to with this option.
    Container { engine: String, id: String },
}

/// The port of its frontend in a container.
const INSIDE: u16 = 8_080;

/// The image of one in a container.
pub fn image() -> String {
    static BUILT: OnceLock<String> = OnceLock::new();
    crate::engine::require();
    let folder = crate::root().join("fixtures/haproxy");
    BUILT.get_or_init(|| docker_says(&format!("build --quiet {}", folder.display()))).clone()
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
        fs_err::write(&configuration, setup.text(directory.path(), "127.0.0.1", ports)).expect("write the configuration");
        let mut haproxy = Self { home: Home::Process(spawn(directory.path())), directory, ports };
        haproxy.wait_for(|haproxy| haproxy.worker().is_some());
        haproxy
    }

    /// The same in a container of a network, whose engine has the image. Its frontend is at a port of loopback where the engine is.
    pub fn start_in(network: &Network, setup: &Setup) -> Self {
        let directory = tempfile::Builder::new().prefix("haproxy-").tempdir().expect("a directory");
        let (at, configuration) = (directory.path(), directory.path().join("haproxy.cfg"));
        fs_err::write(&configuration, setup.text(at, "*", (INSIDE, INSIDE + 1))).expect("write the configuration");
        let options = format!(
            "--network {} --publish 127.0.0.1::{INSIDE} --volume {at}:{at} --user {}:{}",
            network.name,
            geteuid(),
            getegid(),
            at = at.display()
        );
        let id = network.says(&format!("run --detach {options} {} {}", image(), configuration.display()));
        let mut haproxy =
            Self { home: Home::Container { engine: network.engine.clone(), id: id.clone() }, directory, ports: (INSIDE, INSIDE + 1) };
        haproxy.wait_for(|haproxy| haproxy.worker().is_some());
        let published = network.says(&format!("port {id} {INSIDE}/tcp"));
        haproxy.ports.0 = published.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
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
        fs_err::write(self.directory.path().join("haproxy.cfg"), setup.text(self.directory.path(), "127.0.0.1", self.ports))
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
        self.signal(Signal::USR2);
        // For a moment both listen.
        let is_new = |haproxy: &Self| haproxy.worker().is_some_and(|worker| Some(worker) != old);
        self.wait_for(|haproxy| (0..10).all(|_| is_new(haproxy)));
    }

    /// Ends it as an administrator would, and waits for it.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while self.ended().is_none() {
            assert!(began.elapsed() < WITHIN, "haproxy does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills all of its processes, and waits until nobody listens any more.
    pub fn kill(&mut self) {
        match &mut self.home {
            Home::Process(process) => {
                kill_process_group(Pid::from_child(process), Signal::KILL).ok();
                process.wait().ok();
            }
            Home::Container { engine, id } => drop(docker(&format!("{engine} rm --force {id}"))),
        }
        let began = Instant::now();
        while UnixStream::connect(self.socket()).is_ok() && began.elapsed() < WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills all of its processes and starts it again, as whoever supervises it would; one in a container is not started again.
    pub fn restart(&mut self) {
        self.kill();
        self.home = Home::Process(spawn(self.directory.path()));
        self.wait_for(|haproxy| haproxy.worker().is_some());
    }

    fn signal(&self, signal: Signal) {
        match &self.home {
            Home::Process(process) => kill_process(Pid::from_child(process), signal).expect("it runs"),
            Home::Container { engine, id } => drop(docker_says(&format!("{engine} kill --signal {} {id}", signal.as_raw()))),
        }
    }

    /// How it ended, once it has.
    fn ended(&mut self) -> Option<String> {
        match &mut self.home {
            Home::Process(process) => process.try_wait().expect("our own child").map(|status| status.to_string()),
            Home::Container { engine, id } => {
                let state = docker_says(&format!("{engine} inspect --format {{{{.State.Status}}}} {id}"));
                (state != "running").then(|| format!("{state}: {}", docker_says(&format!("{engine} logs {id}"))))
            }
        }
    }

    /// The process that answers.
    fn worker(&self) -> Option<u32> {
        self.tell("show info").lines().find_map(|line| line.strip_prefix("Pid: ")?.parse().ok())
    }

    fn wait_for(&mut self, there: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !there(self) {
            let ended = self.ended();
            let log = || fs_err::read_to_string(self.directory.path().join("log")).unwrap_or_default();
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

fn spawn(directory: &Path) -> Child {
    let log = fs_err::OpenOptions::new().create(true).append(true).open(directory.join("log")).expect("a log").into_parts().0;
    let mut command = Command::new(program());
    command.args(["-W", "-f"]).arg(directory.join("haproxy.cfg")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    command.spawn().unwrap_or_else(|error| panic!("cannot start haproxy ({error}); on Debian: apt-get install haproxy"))
}

/// Debian keeps it where only administrators look.
fn program() -> &'static str {
    let usual = "/usr/sbin/haproxy";
    if Path::new(usual).exists() { usual } else { "haproxy" }
}
