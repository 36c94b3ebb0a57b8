//! A socket of another machine, brought here by the `ssh` program, with the user's own configuration, keys and known hosts: an engine's, or a balancer's.
//!
//! One `ssh` runs as long as the other side is spoken to, and a socket of ours leads through it. It asks no questions: a key that needs a passphrase needs
//! an agent, a host that is not known is refused. Nothing is installed or started over there. `remote` reads addresses.

mod remote;

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub use remote::Remote;

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
    /// Where a directory is made for each tunnel, which nobody else may enter: whoever reaches the socket in it rules what is at the other end. A path of at
    /// most 60 bytes.
    pub directory: PathBuf,
}

impl Default for Ssh {
    /// The `ssh` of the search path, and `/tmp`, whose path is short enough for a socket's wherever this runs.
    fn default() -> Self {
        Self { program: "ssh".into(), directory: "/tmp".into() }
    }
}

/// The other machine is not reached.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The program that reaches it, or the place for its socket.
    #[error("cannot run `{}`", .program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The machine or its socket is not reached.
    #[error("cannot reach `{remote}`: ssh says: {}", told(.said))]
    Away {
        /// Where to.
        remote: Remote,
        /// What it says, the end of it.
        said: String,
    },
}

fn told(said: &str) -> &str {
    if said.is_empty() { "nothing" } else { said }
}

impl TunnelError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Program { .. } => "install an SSH client: `apt-get install openssh-client`".to_owned(),
            Self::Away { remote, .. } => {
                let port = remote.port.map(|port| format!("-p {port} ")).unwrap_or_default();
                format!(
                    "try `ssh {port}{} ls -l {}`: it has to work without a question, with a key that has no passphrase or an agent that holds it, and the \
                     socket has to be that user's",
                    remote.destination,
                    remote.socket.display()
                )
            }
        }
    }
}

/// A way to the socket of another machine. It is open when it is first needed, and opened again when it broke.
#[derive(Debug)]
pub struct Tunnel {
    ssh: Ssh,
    remote: Remote,
    /// Ours alone.
    directory: PathBuf,
    running: Mutex<Option<Child>>,
}

impl Tunnel {
    /// A way that is not open yet.
    pub fn new(ssh: Ssh, remote: Remote) -> Self {
        // A name that nobody can have taken before.
        let directory = ssh.directory.join(format!("splitci-{}", ulid::Ulid::generate()));
        Self { ssh, remote, directory, running: Mutex::default() }
    }

    /// Where it leads.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Our end of it, which is there while the tunnel is open.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Our end of it, which leads to the other now.
    ///
    /// # Errors
    /// `ssh` cannot be run, or does not get there within 15 s.
    pub async fn open(&self) -> Result<PathBuf, TunnelError> {
        let mut running = self.running.lock().await;
        if let Some(child) = running.as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(self.socket());
        }
        *running = None;
        let mut child = self.start().map_err(|source| self.failed(source))?;
        let began = Instant::now();
        loop {
            if UnixStream::connect(self.socket()).await.is_ok() {
                *running = Some(child);
                return Ok(self.socket());
            }
            if child.try_wait().map_err(|source| self.failed(source))?.is_some() || began.elapsed() > OPEN_WITHIN {
                return Err(self.broken());
            }
            sleep(LOOK).await;
        }
    }

    fn start(&self) -> std::io::Result<Child> {
        if !self.directory.exists() {
            std::fs::DirBuilder::new().mode(0o700).create(&self.directory)?;
        }
        fs_err::remove_file(self.socket()).ok();
        let log = fs_err::File::create(self.log())?.into_parts().0;
        let mut command = Command::new(&self.ssh.program);
        // Somebody else's connection would outlive us, and one that is dead has to be found dead.
        for option in ["BatchMode=yes", "ExitOnForwardFailure=yes", "ControlMaster=no", "ControlPath=none", "ServerAliveInterval=5"] {
            command.args(["-o", option]);
        }
        if let Some(port) = self.remote.port {
            command.args(["-p", &port.to_string()]);
        }
        let forward = format!("{}:{}", self.socket().display(), self.remote.socket.display());
        command.args(["-N", "-T", "-L", &forward, "--", &self.remote.destination]);
        // A group of its own: a key that interrupts us is not for it, since what is to be cleaned up is cleaned up through it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).kill_on_drop(true).spawn()
    }

    fn failed(&self, source: std::io::Error) -> TunnelError {
        TunnelError::Program { program: self.ssh.program.clone(), source }
    }

    /// It leads nowhere, or not any more.
    pub fn broken(&self) -> TunnelError {
        TunnelError::Away { remote: self.remote.clone(), said: self.said() }
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The end of what `ssh` said.
    fn said(&self) -> String {
        let said = fs_err::read(self.log()).unwrap_or_default();
        let end = said.get(said.len().saturating_sub(SHOWN)..).unwrap_or_default();
        String::from_utf8_lossy(end).trim().to_owned()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // A way that was never opened has none.
        fs_err::remove_dir_all(&self.directory).ok();
    }
}
