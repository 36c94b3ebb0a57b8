//! A second Docker engine beside this machine's own, with its own data root: it plays another machine, may be killed, and nobody else builds on it.
//!
//! It lives in a network namespace of its own, out of which nothing leads: an engine rearranges the bridge and the packet filter of the one it is in.
//! Steps of its builds have no network. Starting an engine is the administrator's: without being root, `sudo` must ask for no password.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::docker;

/// How long an engine may take to come up.
const UP_WITHIN: Duration = Duration::from_mins(1);
/// How long it may take to go.
const DOWN_WITHIN: Duration = Duration::from_secs(20);

/// A running engine, gone at the end.
#[derive(Debug)]
pub struct SecondEngine {
    directory: PathBuf,
    process: Child,
}

impl SecondEngine {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_in(tempfile::Builder::new().prefix("second-engine-").tempdir().expect("a folder").keep())
    }

    /// Starts one that has this many megabytes for everything that it keeps.
    pub fn start_on(megabytes: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("second-engine-").tempdir().expect("a folder").keep();
        let data = directory.join("data");
        fs_err::create_dir_all(&data).expect("made");
        let mounted = as_root("mount").args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"]).arg(&data).status();
        assert!(mounted.is_ok_and(|status| status.success()), "cannot mount a small disk");
        Self::start_in(directory)
    }

    fn start_in(directory: PathBuf) -> Self {
        let process = start(&directory);
        let mut engine = Self { directory, process };
        engine.wait();
        engine
    }

    /// For `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("engine.sock")
    }

    fn wait(&mut self) {
        let started = Instant::now();
        while !docker(&format!("-H {} version", self.address())).status.success() {
            let ended = self.process.try_wait().expect("our own child");
            let log = || fs_err::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the second engine ended: {}", log());
            assert!(started.elapsed() < UP_WITHIN, "the second engine does not come up: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `docker` on this engine, which must succeed.
    pub fn says(&self, line: &str) -> String {
        let output = docker(&format!("-H {} {line}", self.address()));
        assert!(output.status.success(), "docker {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Gives it an image that the machine's engine has.
    pub fn load(&self, image: &str) {
        let line = format!("docker save {image} | docker -H {} load", self.address());
        let loaded = Command::new("sh").args(["-c", &line]).output().expect("start sh");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    }

    /// A program in the network that it lives in.
    pub fn inside(&self, program: &str) -> Command {
        let pid = fs_err::read_to_string(self.directory.join("pid")).expect("it runs");
        let mut command = as_root("nsenter");
        command.args(["--net", "--target", pid.trim(), program]);
        command
    }

    /// Bytes that its build cache holds.
    pub fn build_cache(&self) -> u64 {
        let mut stream = UnixStream::connect(self.socket()).expect("the engine's socket");
        stream.write_all(b"GET /system/df HTTP/1.0\r\nHost: docker\r\n\r\n").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let body = answer.split_once("\r\n\r\n").expect("an answer").1;
        let usage: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let records = usage["BuildCache"].as_array().expect("a build cache");
        records.iter().map(|record| record["Size"].as_u64().expect("a size")).sum()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        signal(&self.directory, "KILL");
        self.process.wait().expect("our own child");
    }

    /// Starts it again, after it was killed.
    pub fn restart(&mut self) {
        // Its containerd went with it, and may stand in the list of processes until somebody asks how it ended.
        for left in ["pid", "exec/containerd/containerd.pid"] {
            fs_err::remove_file(self.directory.join(left)).ok();
        }
        self.process = start(&self.directory);
        self.wait();
    }
}

fn start(directory: &Path) -> Child {
    let log = fs_err::OpenOptions::new().create(true).append(true).open(directory.join("log")).expect("a log");
    // Not the machine's configuration, which names the first engine's places.
    let config = directory.join("daemon.json");
    fs_err::write(&config, "{}").expect("written");
    let mut command = as_root("unshare");
    command.args(["--net", "dockerd", "--config-file"]).arg(config);
    for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        command.arg(option).arg(directory.join(name));
    }
    command.arg("--host").arg(format!("unix://{}", directory.join("engine.sock").display()));
    // Names of its own in a containerd that both engines may share.
    let own = directory.file_name().expect("a name").to_string_lossy().into_owned();
    command.args(["--containerd-namespace", &own, "--containerd-plugins-namespace", &format!("{own}-plugins")]);
    command.arg("--iptables=false");
    let output = || Stdio::from(log.try_clone().expect("clone").into_parts().0);
    command.stdin(Stdio::null()).stdout(output()).stderr(output()).spawn().expect("start dockerd; on Debian: apt-get install docker.io")
}

/// Ends a process that may be the administrator's.
pub fn end(process: &mut Child) {
    as_root("kill").arg(process.id().to_string()).status().ok();
    process.wait().ok();
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn signal(directory: &Path, name: &str) {
    if let Ok(pid) = fs_err::read_to_string(directory.join("pid")) {
        as_root("kill").args(["-s", name, pid.trim()]).status().ok();
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        signal(&self.directory, "TERM");
        let started = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && started.elapsed() < DOWN_WITHIN {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.process.kill().ok();
        // A crash leaves mounts behind, which keep the directory.
        let script = "for mount in $(awk '{print $2}' /proc/mounts | grep \"^$1/\" | sort -r); do umount -l $mount; done; \
                      if [ -f $1/exec/containerd/containerd.pid ]; then kill $(cat $1/exec/containerd/containerd.pid); fi; rm -rf $1";
        as_root("sh").args(["-c", script, "sh"]).arg(&self.directory).output().ok();
    }
}
