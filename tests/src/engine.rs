//! The Docker engine as the tests need it: it must answer, and the fixtures' base image must be there. And a door in front of it that can be shut.
//!
//! Tests that need Docker fail without it; they are never skipped.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::sandbox::GONE_WITHIN;

/// The label that all containers of a run carry.
pub const LABEL: &str = "splitci.run";

/// Fails with what to do unless the engine answers and has the base image.
pub fn require() {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        let script = crate::root().join("fixtures/base-image.sh");
        let output = Command::new(script).output().map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    if let Err(why) = ready {
        panic!("this test needs Docker and its base image; see fixtures/base-image.sh:\n{why}");
    }
}

/// `docker` with these arguments.
pub fn docker(line: &str) -> Output {
    Command::new("docker").args(line.split_whitespace()).output().expect("start docker")
}

/// What `docker` printed, which must have succeeded.
pub fn docker_says(line: &str) -> String {
    let output = docker(line);
    assert!(output.status.success(), "docker {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers of a run, running or not.
pub fn containers(run: &str) -> Vec<String> {
    let listed = docker_says(&format!("ps --all --quiet --no-trunc --filter label={LABEL}={run}"));
    listed.lines().map(str::to_owned).collect()
}

/// Fails if a container of this run is there after the time that the design promises.
pub fn expect_no_containers(run: &str) {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = containers(run);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "containers {GONE_WITHIN:?} after the end: {left:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// What a door does with those who come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Manner {
    /// Lets them through.
    Open,
    /// Takes them in and never answers.
    Silent,
    /// Sends them away at once.
    Shut,
}

/// Every path at and below a directory of an image: what `about` says of it, and what it holds.
pub fn held(image: &str, directory: &str, about: impl Fn(&walkdir::DirEntry, &std::fs::Metadata) -> String) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let container = docker_says(&format!("create {image} none"));
    let script = format!("docker export {container} | tar --extract --preserve-permissions --same-owner {directory}");
    let status = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).status().expect("start a shell");
    docker_says(&format!("rm {container}"));
    assert!(status.success(), "{script}");
    let describe = |entry: walkdir::DirEntry| {
        let known = entry.metadata().expect("there");
        let content = match (known.is_file(), known.is_symlink()) {
            (true, _) => fs_err::read_to_string(entry.path()).expect("a text"),
            (_, true) => fs_err::read_link(entry.path()).expect("a link").display().to_string(),
            _ => String::new(),
        };
        let path = entry.path().strip_prefix(folder.path()).expect("below").display().to_string();
        (path, format!("{} {content}", about(&entry, &known)))
    };
    walkdir::WalkDir::new(folder.path().join(directory)).into_iter().map(|entry| describe(entry.expect("a readable tree"))).collect()
}

/// A socket in front of the engine's own, for `DOCKER_HOST`, whose manner can change while a run goes on.
#[derive(Debug)]
pub struct Door {
    socket: PathBuf,
    manner: Arc<AtomicU8>,
    carried: Arc<AtomicU64>,
    live: Arc<Mutex<Vec<UnixStream>>>,
}

impl Door {
    /// Opens one in this directory.
    pub fn open(directory: &Path) -> Self {
        Self::before(Path::new("/var/run/docker.sock"), directory)
    }

    /// Opens one in this directory, in front of another engine's socket.
    pub fn before(engine: &Path, directory: &Path) -> Self {
        let socket = directory.join("door.sock");
        let listener = UnixListener::bind(&socket).expect("bind the door");
        let door = Self { socket, manner: Arc::new(AtomicU8::new(Manner::Open as u8)), carried: Arc::default(), live: Arc::default() };
        let (manner, live, carried) = (Arc::clone(&door.manner), Arc::clone(&door.live), Arc::clone(&door.carried));
        let engine = engine.to_owned();
        std::thread::spawn(move || {
            for guest in listener.incoming().map_while(Result::ok) {
                admit(guest, &engine, manner.load(Ordering::SeqCst), (&live, &carried));
            }
        });
        door
    }

    /// Bytes carried to the engine so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }

    /// For `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Changes how it treats those who come from now on.
    pub fn set(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::SeqCst);
    }

    /// Throws out all who are inside.
    pub fn clear(&self) {
        for stream in self.live.lock().expect("no panic while locked").drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

fn admit(guest: UnixStream, engine: &Path, manner: u8, (live, carried): (&Mutex<Vec<UnixStream>>, &Arc<AtomicU64>)) {
    if manner == Manner::Shut as u8 {
        return;
    }
    let mut kept = live.lock().expect("no panic while locked");
    kept.extend(guest.try_clone());
    if manner == Manner::Silent as u8 {
        kept.push(guest);
        return;
    }
    let host = UnixStream::connect(engine).expect("the engine's own socket");
    kept.extend(host.try_clone());
    let (guest_back, host_back) = (guest.try_clone().expect("clone"), host.try_clone().expect("clone"));
    let carried = Arc::clone(carried);
    std::thread::spawn(move || pump(guest, host, &carried));
    std::thread::spawn(move || pump(host_back, guest_back, &AtomicU64::new(0)));
}

fn pump(mut from: UnixStream, mut to: UnixStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count.fetch_add(n as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Write).ok();
}
