//! Nothing changed: from the start of `splitci run` to the image that is ready, beside `docker build` with BuildKit over the same files. What both take
//! for a context of two files is taken off, so that what is left is what files cost. On an engine of its own, with its default storage driver.

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use splitci_coordinator::model::event::{EventKind, ImageSource, RunEvent};
use splitci_tests::second::SecondEngine;

use crate::measure::{Bar, median, wait_for_idle};
use crate::rivals::Contest;

const ROUNDS: usize = 9;
/// Files beside Dockerfile and configuration, and the share of the rival's time that is aimed at.
const SIZES: [(usize, f64); 4] = [(2, 0.0), (5_000, 1.0 / 12.0), (20_000, 1.0 / 10.0), (100_000, 1.0 / 8.0)];
/// What is older than this may be remembered.
const TO_REST: std::time::Duration = std::time::Duration::from_secs(3);
/// Debian's client, which has BuildKit inside.
const RIVAL: &str = "/usr/bin/docker";

fn grow(files: usize) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(&format!("unchanged-{files}-")).tempdir().expect("a folder");
    let root = folder.path().join("project");
    for file in 0..files {
        let directory = root.join(format!("src/{:02}/{:03}", file / 1_000, file / 25 % 40));
        if file % 25 == 0 {
            fs_err::create_dir_all(&directory).expect("made");
        }
        fs_err::write(directory.join(format!("file_{file}.txt")), format!("{file:08}\n").repeat(460)).expect("written");
    }
    fs_err::write(root.join("Dockerfile"), "FROM debian:bookworm-slim\nCOPY . /app\n").expect("written");
    fs_err::write(root.join("splitci.toml"), "[suite]\nframework = \"pytest\"\n").expect("written");
    folder
}

/// Seconds until the image is ready, and whether it was built.
fn ours(contest: &Contest, folder: &Path, host: &str) -> (f64, ImageSource) {
    let mut command = contest.ours("run --shards 1 --json", &folder.join("project"), &folder.join("state"));
    command.env("DOCKER_HOST", host);
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start splitci");
    let stdout = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut ready = None;
    for line in stdout.lines().map_while(Result::ok) {
        let event: RunEvent = serde_json::from_str(&line).expect("an event");
        if let (EventKind::ImageReady { how, .. }, None) = (event.kind, ready) {
            ready = Some((started.elapsed().as_secs_f64(), how));
            // There is nothing in it that could be run.
            let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
            kill_process(pid, Signal::TERM).expect("signal splitci");
        }
    }
    let output = child.wait_with_output().expect("its end");
    ready.unwrap_or_else(|| panic!("no image: {}", String::from_utf8_lossy(&output.stderr)))
}

fn theirs(folder: &Path, host: &str) -> f64 {
    let started = Instant::now();
    let built = Command::new(RIVAL)
        .args(["build", "--quiet", "."])
        .env("DOCKER_BUILDKIT", "1")
        .env("DOCKER_HOST", host)
        .current_dir(folder.join("project"))
        .output()
        .expect("start Debian's docker client");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    started.elapsed().as_secs_f64()
}

/// Prints the table; returns its bars.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    splitci_tests::engine::require();
    let rounds = rounds.unwrap_or(ROUNDS);
    let engine = SecondEngine::start();
    engine.load("debian:bookworm-slim");
    let host = engine.address();
    let folders = SIZES.map(|(files, _)| grow(files));
    for folder in &folders {
        theirs(folder.path(), &host);
        ours(contest, folder.path(), &host);
    }
    std::thread::sleep(TO_REST);
    let mut rows: Vec<(Vec<f64>, Vec<f64>)> = SIZES.iter().map(|_| Default::default()).collect();
    // One size after the other: an engine is slow for a while after it was sent 100,000 files, and whoever comes next would pay for it.
    for (folder, (our, their)) in folders.iter().zip(&mut rows) {
        for round in 0..=rounds {
            wait_for_idle();
            let (took, how) = ours(contest, folder.path(), &host);
            wait_for_idle();
            let took = (took, theirs(folder.path(), &host));
            // The first round fills the table of what files hold.
            if round > 0 {
                assert_eq!(how, ImageSource::Found, "nothing changed");
                our.push(took.0);
                their.push(took.1);
            }
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|(our, their)| (median(our), median(their))).collect();
    println!(
        "\n## Nothing changed, {rounds} rounds\n\n| files | splitci, s | `docker build`, s | ratio | ratio less two files |\n|---|---|---|---|---|"
    );
    let (our_least, their_least) = (rows[0].0.value, rows[0].1.value);
    let mut bars = Vec::new();
    for ((files, limit), (our, their)) in SIZES.iter().zip(&rows) {
        let ratio = (our.value - our_least) / (their.value - their_least);
        let shown = if *limit > 0.0 { format!("{ratio:.3}") } else { String::new() };
        println!("| {files} | {our} | {their} | {:.3} | {shown} |", our.value / their.value);
        if *limit > 0.0 {
            let what = format!("nothing changed, {files} files, less two files, over `docker build`, less two files");
            bars.push(Bar::at_most(&what, (limit * 1e4).round() / 1e4, ratio, "x"));
        }
    }
    bars
}
