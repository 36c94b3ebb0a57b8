//! Shards as local processes in the project's directory. Isolates nothing: tests run as the user and are trusted like the user.
//!
//! A shard is one worker process with a private directory. It is told apart by a mark in its environment, which everything it starts inherits:
//! what outlives the worker is found by that mark and killed. The mark names the coordinator's process, so that a later run can sweep what a
//! killed coordinator left; the private directory says the same in a file.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::{Engine, EngineError, Here, Inside, Shard, ShardEnd, ShardHandle, ShardSpec, Shell, Swept};

/// Environment variable that marks every process of a shard: `<owner's pid>.<owner's start time>:ns<its pid namespace>:<run>:<shard>`.
pub const MARK: &str = "SPLITCI_MARK";
/// File in a private directory that names its owner as the mark does.
const OWNER_FILE: &str = "owner";
/// What the names of private directories begin with.
const PREFIX: &str = "splitci-";
/// Tells the worker its private directory.
const RUN_DIR: &str = "SPLITCI_RUN_DIR";
/// How long a worker may take to clean up after its stream was closed, before it is killed: its own grace period and a second.
const CLEAN_UP: Duration = Duration::from_secs(6);
/// Kept of a worker's standard error.
const STDERR_TAIL: usize = 8 << 10;

/// Starts workers as child processes.
pub struct ProcessEngine {
    worker: PathBuf,
    directory: PathBuf,
    environment: BTreeMap<String, String>,
    scratch: PathBuf,
    owner: String,
    live: Mutex<BTreeMap<String, Live>>,
}

struct Live {
    child: Child,
    mark: String,
    directory: PathBuf,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl ProcessEngine {
    /// `worker` is the worker's executable, `directory` the project, `environment` what shards inherit, `scratch` where private directories are
    /// made: its path must be short, since a socket's path within has at most 107 bytes.
    pub fn new(worker: PathBuf, directory: PathBuf, environment: BTreeMap<String, String>, scratch: PathBuf) -> io::Result<Self> {
        let me = std::process::id();
        let owner = format!("{me}.{}:{}", start_time(me)?, namespace());
        let live = Mutex::new(BTreeMap::new());
        Ok(Self { worker, directory, environment, scratch, owner, live })
    }

    fn spawn(&self, spec: &ShardSpec) -> io::Result<(Child, String, PathBuf)> {
        let mark = self.mark(spec);
        let tail = &spec.run[spec.run.len().saturating_sub(10)..];
        let directory = self.scratch.join(format!("{PREFIX}{tail}-{}-{}", spec.shard, spec.restarts));
        std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(|error| naming(&directory, &error))?;
        match self.spawn_in(&directory, &mark) {
            Ok(child) => Ok((child, mark, directory)),
            Err(error) => {
                fs_err::remove_dir_all(&directory)?;
                Err(error)
            }
        }
    }

    fn mark(&self, spec: &ShardSpec) -> String {
        format!("{}:{}:{}", self.owner, spec.run, spec.shard)
    }

    fn spawn_in(&self, directory: &Path, mark: &str) -> io::Result<Child> {
        fs_err::write(directory.join(OWNER_FILE), &self.owner)?;
        Command::new(&self.worker)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.iter().filter(|(name, _)| !is_ours(name)))
            .env(MARK, mark)
            .env(RUN_DIR, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Shards that nobody saw to their end: started when the run was over already.
impl Drop for ProcessEngine {
    fn drop(&mut self) {
        for (_, mut live) in std::mem::take(self.live.get_mut()) {
            // It fails only for a process that has ended.
            live.child.start_kill().ok();
            kill_marked(|mark| mark == live.mark);
            // What cannot be removed now is removed by the next sweep.
            fs_err::remove_dir_all(&live.directory).ok();
        }
    }
}

#[async_trait]
impl Engine for ProcessEngine {
    async fn start(&self, spec: &ShardSpec) -> Result<Shard, EngineError> {
        let (mut child, mark, directory) = self.spawn(spec).map_err(|cause| EngineError {
            attempt: format!("start the worker process of shard {}", spec.shard),
            cause: Box::new(cause),
            hint: None,
            refused: false,
        })?;
        let name = child.id().map_or_else(String::new, |pid| pid.to_string());
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(EngineError {
                attempt: format!("reach the worker process of shard {}", spec.shard),
                cause: Box::new(io::Error::other("its pipes are missing")),
                hint: None,
                refused: false,
            });
        };
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let handle = ShardHandle { name, shard: spec.shard };
        let live = Live { child, mark, directory, stderr: Arc::clone(&stderr) };
        self.live.lock().await.insert(handle.name.clone(), live);
        Ok(Shard { input: Box::new(input), output: Box::new(TeeErrors::new(output, errors, stderr)), handle })
    }

    async fn end(&self, handle: &ShardHandle) -> ShardEnd {
        let Some(mut live) = self.live.lock().await.remove(&handle.name) else { return ShardEnd::default() };
        let status = if let Ok(status) = tokio::time::timeout(CLEAN_UP, live.child.wait()).await {
            status.ok()
        } else {
            live.child.start_kill().ok();
            live.child.wait().await.ok()
        };
        let strays = kill_marked(|mark| mark == live.mark);
        let removed = fs_err::remove_dir_all(&live.directory);
        let mut details = vec![String::from_utf8_lossy(&live.stderr.lock().await).trim().to_owned()];
        if !strays.is_empty() {
            details.push(format!("killed what outlived the worker: processes {strays:?}"));
        }
        details.extend(removed.err().map(|error| error.to_string()));
        details.retain(|detail| !detail.is_empty());
        ShardEnd { status: status.map(exit_status), oom: false, detail: details.join("; ") }
    }

    /// The user's own shell. The worker attends it: the shell ends with splitci, and what it started with the shell. The mark is for the next sweep, should
    /// the worker be killed too.
    async fn shell(&self, spec: &ShardSpec, inside: &Inside) -> Result<Shell, EngineError> {
        let shell = self.environment.get("SHELL").filter(|shell| !shell.is_empty()).map_or("/bin/sh", String::as_str);
        let mut env: BTreeMap<_, _> = self.environment.clone().into_iter().filter(|(name, _)| !is_ours(name)).collect();
        env.extend(inside.env.iter().cloned());
        env.insert(MARK.to_owned(), self.mark(spec));
        let owner = std::process::id().to_string();
        let arguments = ["--attend", &owner, shell].map(str::to_owned).to_vec();
        let directory = inside.cwd.as_ref().map_or_else(|| self.directory.clone(), PathBuf::from);
        Ok(Shell::Here(Here { program: self.worker.clone(), arguments, directory, env }))
    }

    async fn sweep(&self) -> Result<Swept, EngineError> {
        let mut swept = Swept::default();
        swept.removed.extend(kill_marked(owner_is_gone).into_iter().map(|pid| format!("process {pid}")));
        for directory in abandoned(&self.scratch) {
            match fs_err::remove_dir_all(&directory) {
                Ok(()) => swept.removed.push(format!("directory {}", directory.display())),
                // Another run swept it at the same moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => swept.stuck.push(error.to_string()),
            }
        }
        Ok(swept)
    }

    /// Nothing goes on by itself here: what nobody took over goes when the engine is dropped.
    async fn close(&self) {}
}

/// Private directories of this user whose owner is gone. Everybody may put things beside them: what is of others, or is not what a shard makes (a
/// pipe in the file's place would be read for ever), is left alone.
fn abandoned(scratch: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(scratch) else { return Vec::new() };
    let named = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)).map(|entry| entry.path());
    let me = rustix::process::geteuid().as_raw();
    let of_mine = |path: &Path| path.symlink_metadata().ok().filter(|found| found.uid() == me);
    named
        .filter(|path| {
            let owner = path.join(OWNER_FILE);
            of_mine(path).is_some_and(|found| found.is_dir())
                && of_mine(&owner).is_some_and(|found| found.is_file())
                && fs_err::read_to_string(&owner).is_ok_and(|owner| owner_is_gone(&owner))
        })
        .collect()
}

/// An error that names the path it is about.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot make `{}`: {error}", path.display()))
}

/// Variables that are ours must not reach the code under test, whatever they hold.
fn is_ours(name: &str) -> bool {
    name.starts_with("SPLITCI_")
}

fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Kills, until none is left, every process whose mark satisfies `condemned`; returns those killed.
fn kill_marked(condemned: impl Fn(&str) -> bool) -> Vec<u32> {
    let mut killed = Vec::new();
    // A process may fork between the listing and the kill; a few rounds catch its children. The bound is for a fork bomb that outruns us.
    for _ in 0..20 {
        let found: Vec<u32> = marked().into_iter().filter(|(pid, mark)| condemned(mark) && is_alive(*pid)).map(|(pid, _)| pid).collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            if let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // Gone already is as good.
                kill_process(target, Signal::KILL).ok();
            }
            if !killed.contains(&pid) {
                killed.push(pid);
            }
        }
    }
    killed
}

/// All processes that carry a mark and whose environment we may read.
fn marked() -> Vec<(u32, String)> {
    let Ok(entries) = fs_err::read_dir("/proc") else { return Vec::new() };
    let prefix = format!("{MARK}=");
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs_err::read(entry.path().join("environ")).ok()?;
            let mark = environment.split(|byte| *byte == 0).find_map(|row| row.strip_prefix(prefix.as_bytes()))?;
            Some((pid, String::from_utf8_lossy(mark).into_owned()))
        })
        .collect()
}

fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_ok_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X")))
}

/// Whether an owner is known to have ended. One in a container is numbered otherwise than here, where its processes are seen all the same.
fn owner_is_gone(mark: &str) -> bool {
    let mut parts = mark.split(':');
    let Some((pid, start)) = parts.next().and_then(|owner| owner.split_once('.')) else { return false };
    let Ok(pid) = pid.parse::<u32>() else { return false };
    // Older versions did not say where they were.
    let here = parts.next().filter(|part| part.starts_with("ns")).is_none_or(|place| place == namespace());
    here && start_time(pid).map_or(true, |now| now.to_string() != start)
}

/// The namespace in which pids are what they are here.
fn namespace() -> String {
    let name = fs_err::read_link("/proc/self/ns/pid").unwrap_or_default();
    let number: String = name.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("ns{number}")
}

/// When a process started, in ticks since boot: with the pid it names a process for good.
fn start_time(pid: u32) -> io::Result<u64> {
    let fields = stat_fields(pid)?;
    fields.get(19).and_then(|field| field.parse().ok()).ok_or_else(|| io::Error::other("a process's stat line has no start time"))
}

/// The fields of `/proc/<pid>/stat` after the command's name, which may hold anything: the first is the state.
fn stat_fields(pid: u32) -> io::Result<Vec<String>> {
    let line = fs_err::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, fields) = line.rsplit_once(')').ok_or_else(|| io::Error::other("a process's stat line has no name"))?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// The worker's output, read together with its standard error so that neither pipe fills up; the latter's tail is kept aside.
struct TeeErrors {
    output: tokio::process::ChildStdout,
    errors: Option<tokio::process::ChildStderr>,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl TeeErrors {
    fn new(output: tokio::process::ChildStdout, errors: tokio::process::ChildStderr, kept: Arc<Mutex<Vec<u8>>>) -> Self {
        Self { output, errors: Some(errors), kept }
    }

    fn poll_errors(&mut self, context: &mut Context<'_>) {
        let Some(errors) = &mut self.errors else { return };
        let mut piece = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut *errors).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => keep_tail(&self.kept, buffer.filled()),
                Poll::Ready(_) => {
                    self.errors = None;
                    return;
                }
                Poll::Pending => return,
            }
        }
    }
}

fn keep_tail(kept: &Mutex<Vec<u8>>, piece: &[u8]) {
    // `end` takes the lock only after the reader is done; a missed piece would cost a line of detail, not a result.
    if let Ok(mut kept) = kept.try_lock() {
        kept.extend_from_slice(piece);
        let excess = kept.len().saturating_sub(STDERR_TAIL);
        kept.drain(..excess);
    }
}

impl AsyncRead for TeeErrors {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_errors(context);
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shard_of_mine_left_is_swept() {
        let scratch = tempfile::tempdir().expect("a directory");
        let made = |name: &str, owner: Option<&str>| {
            let path = scratch.path().join(name);
            fs_err::create_dir(&path).expect("a directory");
            if let Some(owner) = owner {
                fs_err::write(path.join(OWNER_FILE), owner).expect("written");
            }
            path
        };
        // No process has this pid.
        let gone = "4294967294.1";
        let left = made("splitci-left-1-0", Some(gone));
        let (me, here) = (std::process::id(), namespace());
        assert_ne!(here, "ns", "a namespace has a number");
        let gone_here = made("splitci-left-2-0", Some(&format!("{gone}:{here}")));
        made("splitci-mine-1-0", Some(&format!("{me}.{}", start_time(me).expect("a start"))));
        made("splitci-mine-2-0", Some(&format!("{me}.{}:{here}", start_time(me).expect("a start"))));
        made("splitci-elsewhere", Some(&format!("{gone}:{here}1")));
        made("splitci-unsigned", None);
        made("splitci-empty", Some(""));
        let elsewhere = made("others", Some(gone));
        fs_err::os::unix::fs::symlink(&elsewhere, scratch.path().join("splitci-link")).expect("a link");
        let pipe = made("splitci-pipe", None).join(OWNER_FILE);
        let private = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, private, 0).expect("a pipe");
        let mut found = abandoned(scratch.path());
        found.sort();
        assert_eq!(found, [left, gone_here]);
    }
}
