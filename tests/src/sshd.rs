//! A real SSH server of a test's own, on a free port of loopback, and an `ssh` that knows its host and has a key for it. All of it goes with the test.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::haproxy::free_port;

/// How long it may take to come up.
const WITHIN: Duration = Duration::from_secs(20);

/// A running server, gone at the end.
#[derive(Debug)]
pub struct Sshd {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Sshd {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        // Short, since sockets may live below it.
        let directory = tempfile::Builder::new().prefix("sshd-").tempdir_in("/tmp").expect("a directory");
        let (port, at) = (free_port(), directory.path());
        for key in ["host", "user", "stranger"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at.join(key)).status();
            assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key");
        }
        fs_err::copy(at.join("user.pub"), at.join("authorized")).expect("copied");
        let host = fs_err::read_to_string(at.join("host.pub")).expect("a key");
        fs_err::write(at.join("known"), format!("[127.0.0.1]:{port} {host}")).expect("written");
        let setup = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nLogLevel ERROR\n",
            at = at.display()
        );
        fs_err::write(at.join("sshd_config"), setup).expect("written");
        for key in ["user", "stranger"] {
            let client = format!(
                "Host *\n  IdentityFile {at}/{key}\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {at}/known\n  GlobalKnownHostsFile none\n",
                at = at.display()
            );
            fs_err::write(at.join(format!("{key}.config")), client).expect("written");
            let bin = at.join(format!("{key}.bin"));
            fs_err::create_dir(&bin).expect("made");
            let program = format!("#!/bin/sh\nexec /usr/bin/ssh -F {}/{key}.config \"$@\"\n", at.display());
            fs_err::write(bin.join("ssh"), program).expect("written");
            fs_err::set_permissions(bin.join("ssh"), std::fs::Permissions::from_mode(0o755)).expect("made a program");
        }
        let process = serve(at);
        let sshd = Self { process, directory, port };
        sshd.wait();
        sshd
    }

    /// Where it is, as `ssh://` writes it: `127.0.0.1:port`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A directory with an `ssh` that is let in.
    pub fn bin(&self) -> PathBuf {
        self.directory.path().join("user.bin")
    }

    /// The `ssh` that is let in.
    pub fn program(&self) -> PathBuf {
        self.bin().join("ssh")
    }

    /// An `ssh` whose key is not known there.
    pub fn strangers_program(&self) -> PathBuf {
        self.directory.path().join("stranger.bin/ssh")
    }

    /// Breaks off all that goes through it, as a network would, and serves again.
    pub fn cut(&mut self) {
        self.kill();
        self.process = serve(self.directory.path());
        self.wait();
    }

    fn wait(&self) {
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = || fs_err::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < WITHIN, "sshd does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// With the processes of its connections: each leads a session of its own.
    fn kill(&mut self) {
        let of_ours = Command::new("pkill").args(["-KILL", "-P", &self.process.id().to_string()]).status();
        assert!(of_ours.is_ok(), "pkill is there");
        kill_process_group(Pid::from_child(&self.process), Signal::KILL).ok();
        self.process.wait().ok();
    }
}

fn serve(directory: &Path) -> Child {
    // Where the server shuts itself in before it knows who is there; packages make it when they start theirs.
    if rustix::process::geteuid().is_root() {
        fs_err::create_dir_all("/run/sshd").expect("made");
    }
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
    let log = fs_err::File::create(directory.join("log")).expect("a log").into_parts().0;
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn();
    process.unwrap_or_else(|error| panic!("cannot start sshd ({error}); on Debian: apt-get install openssh-server"))
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}
