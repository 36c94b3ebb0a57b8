//! The program under test: built once, started with nothing of ours in its environment, watched, and never waited for without end.
//!
//! `cargo test` does not build another package's program, so the first test that needs it has cargo build it (a no-op when it is fresh). `TESTED_SPLITCI`
//! names another one instead, e.g. an installed one.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use splitci_coordinator::model::event::{EventKind, RunEvent};

use crate::Facts;

/// Longest that a run may take here before the test fails, unless it says otherwise.
const PATIENCE: Duration = Duration::from_mins(3);

/// Path of the program under test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("TESTED_SPLITCI") {
        Some(path) => PathBuf::from(path),
        None => build(if cfg!(debug_assertions) { &[] } else { &["--release"] }),
    })
}

/// Has cargo build the program, and returns where it is.
pub fn build(options: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--package", "splitci", "--bin", "splitci", "--message-format", "json"])
        .args(options)
        .current_dir(crate::root())
        .stderr(Stdio::inherit())
        .output()
        .expect("start cargo");
    assert!(output.status.success(), "cargo could not build splitci");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "splitci")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program that it built")
}

/// Whether a variable is there only because a test harness runs, here or in CI.
pub fn is_of_the_harness(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let families = ["SPLITCI_", "CARGO", "RUST", "NEXTEST", "PYTEST", "COV_", "COVERAGE"];
    families.iter().any(|family| name.starts_with(family)) || name == "CI" || name == "GITHUB_ACTIONS"
}

/// A command line of splitci.
#[derive(Debug)]
pub struct Splitci {
    command: Command,
    patience: Duration,
}

impl Splitci {
    /// `splitci` with these arguments.
    pub fn new<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(binary());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::without_our_environment(command)
    }

    /// Another program that ends up as splitci, e.g. `unshare … splitci run`.
    pub fn through<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::without_our_environment(command)
    }

    fn without_our_environment(mut command: Command) -> Self {
        crate::plain::as_in_a_shell(&mut command);
        Self { command, patience: PATIENCE }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Puts a directory in front of `PATH`.
    #[must_use]
    pub fn path_first(mut self, directory: &Path) -> Self {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(directory.to_path_buf()).chain(std::env::split_paths(&old));
        self.command.env("PATH", std::env::join_paths(all).expect("a PATH"));
        self
    }

    /// Works in this directory.
    #[must_use]
    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Fails the test when it takes longer.
    #[must_use]
    pub fn patience(mut self, longest: Duration) -> Self {
        self.patience = longest;
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let what = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let started = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start splitci {what}: {error}"));
        let (tell, lines) = channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut stdout = BufReader::new(stdout);
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                all.extend_from_slice(&line);
                tell.send(String::from_utf8_lossy(&line).into_owned()).ok();
                line.clear();
            }
            all
        });
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let said = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&said);
        let errors = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut some) {
                kept.lock().expect("nobody panics here").extend_from_slice(&some[..read]);
            }
            std::mem::take(&mut *kept.lock().expect("nobody panics here"))
        });
        Running { child, what, started, deadline: started + self.patience, lines, said, reader: Some(reader), errors: Some(errors) }
    }
}

/// A splitci at work. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    what: String,
    started: Instant,
    deadline: Instant,
    lines: Receiver<String>,
    /// Its telling so far.
    said: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<Vec<u8>>>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("signal splitci");
    }

    /// Waits until it tells of an event like this; needs `--json`.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let event: RunEvent = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not an event: {error}: {line}"));
                    if let Some(found) = wanted(&event.kind) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.give_up(&format!("did not tell of {what}")),
                Err(RecvTimeoutError::Disconnected) => self.give_up(&format!("ended without {what}")),
            }
        }
    }

    /// Waits until it says this in its telling.
    pub fn wait_until_says(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.said.lock().expect("nobody panics here")).contains(text) {
            if Instant::now() > self.deadline || self.child.try_wait().expect("wait for splitci").is_some() {
                self.give_up(&format!("did not say {text:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("wait for splitci").is_some()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for splitci") {
                break status;
            }
            if Instant::now() > self.deadline {
                self.give_up("did not end in time");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.started.elapsed();
        Done {
            what: std::mem::take(&mut self.what),
            code: status.code(),
            signal: status.signal(),
            stdout: text(self.reader.take()),
            stderr: text(self.errors.take()),
            took,
        }
    }

    fn give_up(&mut self, why: &str) -> ! {
        self.child.kill().ok();
        self.child.wait().ok();
        let (stdout, stderr) = (text(self.reader.take()), text(self.errors.take()));
        panic!("splitci {} {why}\n--- stdout\n{}\n--- stderr\n{}", self.what, tail(&stdout), tail(&stderr));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn text(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.map(|reader| reader.join().expect("a reader thread")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(6000);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// How it ended, and what it said.
#[derive(Debug)]
pub struct Done {
    what: String,
    /// Exit status, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The answer.
    pub stdout: String,
    /// The telling.
    pub stderr: String,
    /// Its wall time.
    pub took: Duration,
}

impl Done {
    /// Fails unless it exited with this status.
    pub fn expect_exit(&self, code: i32) -> &Self {
        assert!(self.code == Some(code), "expected exit {code} of {self}");
        self
    }

    /// Fails unless it said this, on either stream.
    pub fn expect_says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "expected {text:?} in the words of {self}");
        self
    }

    /// The events of `--json`.
    pub fn events(&self) -> Vec<RunEvent> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("not an event: {error}: {line}\nin {self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// What the events of `--json` amount to.
    pub fn facts(&self) -> Facts {
        Facts::of(&self.events())
    }

    /// The whole command line, for messages.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, code, signal, stdout, stderr, took } = self;
        write!(
            f,
            "splitci {what}: code {code:?}, signal {signal:?}, after {took:?}\n--- stdout\n{}\n--- stderr\n{}",
            tail(stdout),
            tail(stderr)
        )
    }
}

/// Arguments as a list, whatever they were.
pub fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}
