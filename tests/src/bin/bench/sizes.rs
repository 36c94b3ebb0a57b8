//! How big the worker is, on disk and in memory, and how much memory the coordinator takes for 10,000 tests.

use std::process::Stdio;
use std::time::Duration;

use splitci_coordinator::model::event::{EventKind, RunEvent};

use crate::measure::Bar;
use crate::rivals::Contest;
use crate::workload::trivial;

const TESTS: usize = 10_000;
const MIB: f64 = 1_048_576.0;

/// A field of `/proc/<pid>/status` in mebibytes; 0 when the process is gone.
fn memory(pid: u32) -> f64 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// Bytes of the program that a process runs, as mebibytes.
#[expect(clippy::cast_precision_loss, reason = "the size of a file")]
fn program(pid: u32) -> f64 {
    fs_err::metadata(format!("/proc/{pid}/exe")).map_or(0.0, |about| about.len() as f64 / MIB)
}

/// Prints the table; returns its bars.
pub(crate) fn measure(contest: &Contest, _rounds: Option<usize>) -> Vec<Bar> {
    let project = trivial(contest.framework, TESTS);
    let state = tempfile::tempdir().expect("a state directory");
    let mut command = contest.ours("run --engine process --shards 2 --json", &project, state.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start splitci");
    let stdout = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
    let (tell, workers) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = std::io::BufRead::lines(stdout).map_while(Result::ok);
        let mut passed = 0;
        for event in lines.map(|line| serde_json::from_str::<RunEvent>(&line).expect("an event")) {
            match event.kind {
                EventKind::ShardStarted { name, .. } => drop(tell.send(name.parse::<u32>().unwrap_or(0))),
                EventKind::TestFinished(test) if !test.outcome.is_bad() => passed += 1,
                _ => {}
            }
        }
        passed
    });
    let (mut coordinator, mut worker, mut size, mut pids) = (0.0_f64, 0.0_f64, 0.0_f64, Vec::new());
    while child.try_wait().expect("wait for splitci").is_none() {
        pids.extend(workers.try_iter());
        coordinator = coordinator.max(memory(child.id()));
        for pid in &pids {
            worker = worker.max(memory(*pid));
            size = size.max(program(*pid));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(reader.join().expect("a thread"), TESTS, "tests that passed");
    println!("\n## Sizes, with 10,000 tests on two shards\n\n| what | MiB |\n|---|---|");
    println!("| worker's file | {size:.2} |\n| worker's peak memory | {worker:.2} |\n| coordinator's peak memory | {coordinator:.2} |");
    vec![
        Bar::at_most("worker's file", 3.0, size, "MiB"),
        Bar::at_most("worker's resident memory", 10.0, worker, "MiB"),
        Bar::at_most("coordinator's resident memory with 10,000 tests", 60.0, coordinator, "MiB"),
    ]
}
