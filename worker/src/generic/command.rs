//! One command for some units: started, heard, waited for, and its report read; nothing of an earlier run is taken for it.
//!
//! What it prints goes on to our own streams as it comes, unless its standard output is the report. Its report is either at a path that did not exist
//! before (`{report}`, `{reports}`), or, where the tool chooses the path, a file that changed while it ran. A process that it leaves
//! behind with the pipes open is waited for briefly, since it may be the one that writes; after that it is not heard.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::link::OWN;
use super::template::{Parts, class, expand, report_directory, report_file};
use crate::protocol::recipe::{Recipe, Results};

/// Longest report, and longest standard output that is one, in bytes.
const MAX_REPORT: usize = 64 << 20;
/// Kept of what a command prints, for the error of one whose report is missing, in bytes.
const SAID: usize = 16 << 10;
/// How long processes that a command left behind are waited for.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It did not start, for this reason.
    NotStarted(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::NotStarted(reason) => write!(f, "did not start: {reason}"),
        }
    }
}

/// A command that ran.
#[derive(Debug)]
pub(super) struct Ran {
    /// Its words, for people.
    pub(super) command: String,
    pub(super) end: End,
    /// What it reported: each report's text, or why there is none.
    pub(super) reports: Result<Vec<String>, String>,
    /// The last that it printed.
    pub(super) said: String,
    pub(super) took: Duration,
}

/// What commands have in common.
#[derive(Debug)]
pub(super) struct Runner {
    recipe: Recipe,
    command: Vec<String>,
    run: PathBuf,
    seed: u64,
    number: u32,
}

impl Runner {
    pub(super) fn new(recipe: &Recipe, command: Vec<String>, seed: u64) -> Self {
        // The recipe lies among the session's files.
        let run = super::link::variable(crate::protocol::recipe::VARIABLE).map(PathBuf::from).unwrap_or_default();
        Self { recipe: recipe.clone(), command, run: run.parent().unwrap_or(Path::new("/")).to_owned(), seed, number: 0 }
    }

    /// Runs the command for these units.
    pub(super) fn run(&mut self, units: &[&str]) -> Ran {
        self.number += 1;
        let started = Instant::now();
        let private = match self.private_directory() {
            Ok(private) => private,
            Err(error) => {
                let end = End::NotStarted(format!("no directory for its report: {error}"));
                return Ran {
                    command: self.recipe.tool.clone(),
                    end,
                    reports: Err(String::new()),
                    said: String::new(),
                    took: started.elapsed(),
                };
            }
        };
        let parts = Parts { units, run: &self.run, private: &private, seed: self.seed };
        let words = expand(&self.command, &parts);
        let place = self.place(units, &private);
        let before = place.snapshot();
        let (end, mut heard) = execute(&words, place == Place::Printed);
        let reports = if self.recipe.results == Results::Exit { Ok(Vec::new()) } else { place.read(&before, &mut heard) };
        // A file that cannot be removed goes with the container, or is the system's to clean.
        fs_err::remove_dir_all(&private).ok();
        Ran { command: words.join(" "), end, reports, said: heard.said, took: started.elapsed() }
    }

    /// A fresh directory: beside the session's own where that can be written, else a temporary one. An entrypoint may have changed the user.
    fn private_directory(&self) -> std::io::Result<PathBuf> {
        let name = format!("splitci-{}-{}", std::process::id(), self.number);
        let beside = self.run.parent().map(|parent| parent.join(&name));
        let made = |path: PathBuf| fs_err::create_dir(&path).and_then(|()| fs_err::create_dir(report_directory(&path))).map(|()| path);
        match beside.map(made) {
            Some(Ok(path)) => Ok(path),
            _ => made(std::env::temp_dir().join(name)),
        }
    }

    fn place(&self, units: &[&str], private: &Path) -> Place {
        let says = |what: &str| self.command.iter().any(|word| word.contains(what));
        match &self.recipe.report {
            Some(pattern) => {
                let class = |unit: &&str| pattern.replace("{class}", &class(unit));
                let patterns = if pattern.contains("{class}") { units.iter().map(class).collect() } else { vec![pattern.clone()] };
                Place::Chosen(patterns)
            }
            None if says("{report}") => Place::File(report_file(private)),
            None if says("{reports}") => Place::Directory(report_directory(private)),
            None => Place::Printed,
        }
    }
}

/// Where a report is looked for.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In this file.
    File(PathBuf),
    /// In the files of this directory.
    Directory(PathBuf),
    /// In files that match one of these, if they changed.
    Chosen(Vec<String>),
    /// In what the command prints.
    Printed,
}

/// What tells a file from what it was: it cannot be written without a change of these.
type Trace = (u64, u64, i64, i64, i64, i64);

impl Place {
    fn snapshot(&self) -> BTreeMap<PathBuf, Trace> {
        match self {
            Self::Chosen(patterns) => patterns.iter().flat_map(|pattern| matching(pattern)).collect(),
            _ => BTreeMap::new(),
        }
    }

    fn read(&self, before: &BTreeMap<PathBuf, Trace>, heard: &mut Heard) -> Result<Vec<String>, String> {
        match self {
            Self::File(path) => read(path).map(|text| vec![text]),
            Self::Directory(directory) => {
                let mut files = below(directory).map_err(|error| format!("its reports cannot be read: {error}"))?;
                files.sort();
                if files.is_empty() {
                    return Err("it wrote no report into `{reports}`".to_owned());
                }
                files.iter().map(|path| read(path)).collect()
            }
            Self::Chosen(patterns) => {
                let after: BTreeMap<_, _> = patterns.iter().flat_map(|pattern| matching(pattern)).collect();
                let fresh: Vec<_> = after.iter().filter(|(path, trace)| before.get(*path) != Some(trace)).map(|(path, _)| path).collect();
                if fresh.is_empty() {
                    let shown = patterns.join("`, `");
                    let why = if after.is_empty() { "there is none" } else { "what is there is from an earlier run" };
                    return Err(format!("it wrote no report to `{shown}`: {why}"));
                }
                fresh.into_iter().map(|path| read(path)).collect()
            }
            Self::Printed if heard.printed.len() > MAX_REPORT => Err(format!("it printed more than {MAX_REPORT} bytes")),
            Self::Printed => Ok(vec![String::from_utf8_lossy(&std::mem::take(&mut heard.printed)).into_owned()]),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    match fs_err::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("it wrote no report".to_owned()),
        Err(error) => Err(format!("its report cannot be read: {error}")),
        Ok(found) if found.len() > MAX_REPORT as u64 => Err(format!("its report is longer than {MAX_REPORT} bytes")),
        Ok(_) => fs_err::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.to_string()),
    }
}

/// The files that a pattern names, with their traces. Only its last two parts may have wildcards: more is not asked for by any tool.
fn matching(pattern: &str) -> Vec<(PathBuf, Trace)> {
    let fixed: PathBuf = Path::new(pattern).iter().take_while(|part| !part.to_string_lossy().contains(['*', '?', '[', '{'])).collect();
    let base = if fixed.as_os_str().is_empty() { PathBuf::from(".") } else { fixed };
    let files = if base.is_file() { vec![base] } else { below(&base).unwrap_or_default() };
    let named = |path: &PathBuf| fast_glob::glob_match(pattern, path.strip_prefix(".").unwrap_or(path).to_string_lossy().as_bytes());
    let traced = |path: PathBuf| {
        let m = fs_err::metadata(&path).ok()?;
        Some((path, (m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())))
    };
    files.into_iter().filter(named).filter_map(traced).collect()
}

fn below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { todo.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    Ok(files)
}

/// What a command printed.
#[derive(Debug, Default)]
struct Heard {
    /// Its standard output, where that is the report.
    printed: Vec<u8>,
    /// The end of all of it.
    said: String,
}

fn execute(words: &[String], printed: bool) -> (End, Heard) {
    let mut command = Command::new(words.first().map_or("", String::as_str));
    command.args(words.iter().skip(1)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if OWN.iter().any(|own| name.as_encoded_bytes().starts_with(own.as_bytes())) {
            command.env_remove(name);
        }
    }
    match command.spawn() {
        Ok(child) => attend(child, printed),
        Err(error) => (End::NotStarted(format!("`{}`: {error}", words.first().map_or("", String::as_str))), Heard::default()),
    }
}

/// Hears a command to its end.
fn attend(mut child: Child, printed: bool) -> (End, Heard) {
    let (sender, pieces) = channel();
    for (is_stdout, pipe) in
        [(true, child.stdout.take().map(|pipe| Box::new(pipe) as Pipe)), (false, child.stderr.take().map(|pipe| Box::new(pipe) as Pipe))]
    {
        let Some(pipe) = pipe else { continue };
        let sender = sender.clone();
        std::thread::spawn(move || drain(pipe, |bytes| sender.send((is_stdout, bytes)).is_ok()));
    }
    drop(sender);
    let waiting = std::thread::spawn(move || child.wait());
    let mut heard = Heard::default();
    while !waiting.is_finished() {
        if !hear(&pieces, Duration::from_millis(20), printed, &mut heard) {
            break;
        }
    }
    let end = match waiting.join() {
        Ok(Ok(status)) => status.signal().map_or_else(|| End::Status(status.code().unwrap_or(-1)), End::Signal),
        Ok(Err(error)) => End::NotStarted(error.to_string()),
        Err(_) => End::NotStarted("its end was lost".to_owned()),
    };
    let patience = Instant::now() + LEFT_BEHIND;
    while hear(&pieces, patience.saturating_duration_since(Instant::now()), printed, &mut heard) {
        if Instant::now() >= patience {
            break;
        }
    }
    (end, heard)
}

type Pipe = Box<dyn Read + Send>;
type Piece = (bool, Vec<u8>);

/// Reads a pipe to its end, or until nobody wants to know.
fn drain(mut pipe: Pipe, mut hand_on: impl FnMut(Vec<u8>) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) if hand_on(buffer[..n].to_vec()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Waits for what is printed next; false when both pipes are closed.
fn hear(pieces: &Receiver<Piece>, patience: Duration, printed: bool, heard: &mut Heard) -> bool {
    match pieces.recv_timeout(patience) {
        Ok((is_stdout, bytes)) => {
            heard.said.push_str(&String::from_utf8_lossy(&bytes));
            if heard.said.len() > 2 * SAID {
                let from = heard.said.floor_char_boundary(heard.said.len() - SAID);
                heard.said.drain(..from);
            }
            if printed && is_stdout {
                if heard.printed.len() <= MAX_REPORT {
                    heard.printed.extend_from_slice(&bytes);
                }
            } else {
                pass_on(is_stdout, &bytes);
            }
            true
        }
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => true,
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => false,
    }
}

/// Nobody may be left to read it; that is no matter of the tests.
fn pass_on(is_stdout: bool, bytes: &[u8]) {
    if is_stdout {
        std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush())
    } else {
        std::io::stderr().write_all(bytes)
    }
    .ok();
}
