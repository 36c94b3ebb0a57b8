//! A balancer on another machine: its socket, brought here by the `ssh` program, with the user's own configuration, keys and known hosts.
//!
//! One `ssh` runs as long as the balancer is spoken to, and a socket of ours leads through it. It asks no questions: a key that needs a passphrase needs
//! an agent, a host that is not known is refused. Nothing is installed or started over there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::BalancerError;
use super::address::Remote;

/// How long a connection to another machine may take.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked whether it is there.
const LOOK: Duration = Duration::from_millis(20);
/// What is shown of what `ssh` says: its last lines.
const SHOWN: usize = 500;

/// How other machines are reached.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// The program: `ssh`, wherever it is found.
    pub program: PathBuf,
    /// A directory that nobody else may enter, with a path of at most 60 bytes: whoever reaches the socket in it rules the balancer.
    pub directory: PathBuf,
}

/// A way to the socket of another machine. It is open when it is first needed, and opened again when it broke.
#[derive(Debug)]
pub(super) struct Tunnel {
    ssh: Ssh,
    remote: Remote,
    /// Ours, and what `ssh` says.
    socket: PathBuf,
    log: PathBuf,
    running: Mutex<Option<Child>>,
}

impl Tunnel {
    pub(super) fn new(ssh: Ssh, remote: Remote) -> Self {
        let name = ulid::Ulid::generate().to_string();
        let (socket, log) = (ssh.directory.join(format!("{name}.sock")), ssh.directory.join(format!("{name}.log")));
        Self { ssh, remote, socket, log, running: Mutex::default() }
    }

    /// Our end of it, which leads to the other now.
    pub(super) async fn open(&self) -> Result<&Path, BalancerError> {
        let mut running = self.running.lock().await;
        if let Some(child) = running.as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(&self.socket);
        }
        *running = None;
        let mut child = self.start().map_err(|source| self.failed(source))?;
        let began = Instant::now();
        loop {
            if UnixStream::connect(&self.socket).await.is_ok() {
                *running = Some(child);
                return Ok(&self.socket);
            }
            if child.try_wait().map_err(|source| self.failed(source))?.is_some() || began.elapsed() > OPEN_WITHIN {
                return Err(self.broken());
            }
            sleep(LOOK).await;
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        fs_err::remove_file(&self.socket).ok();
        let log = fs_err::File::create(&self.log)?.into_parts().0;
        let mut command = Command::new(&self.ssh.program);
        // Somebody else's connection would outlive us, and one that is dead has to be found dead.
        for option in ["BatchMode=yes", "ExitOnForwardFailure=yes", "ControlMaster=no", "ControlPath=none", "ServerAliveInterval=5"] {
            command.args(["-o", option]);
        }
        if let Some(port) = self.remote.port {
            command.args(["-p", &port.to_string()]);
        }
        let forward = format!("{}:{}", self.socket.display(), self.remote.socket.display());
        command.args(["-N", "-T", "-L", &forward, "--", &self.remote.destination]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()
    }

    fn failed(&self, source: std::io::Error) -> BalancerError {
        BalancerError::Ssh { program: self.ssh.program.clone(), source }
    }

    /// It leads nowhere, or not any more.
    pub(super) fn broken(&self) -> BalancerError {
        BalancerError::Tunnel { remote: self.remote.to_string(), said: self.said() }
    }

    /// The end of what `ssh` said.
    fn said(&self) -> String {
        let said = fs_err::read(&self.log).unwrap_or_default();
        let end = said.get(said.len().saturating_sub(SHOWN)..).unwrap_or_default();
        String::from_utf8_lossy(end).trim().to_owned()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for path in [&self.socket, &self.log] {
            fs_err::remove_file(path).ok();
        }
    }
}
