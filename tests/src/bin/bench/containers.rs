//! Eight containers at once: when the last worker says hello, beside `docker run --rm IMAGE true` eight times; when the last driver does, beside the
//! same eight containers booting pytest by themselves.

use std::process::Command;

use splitci_coordinator::model::event::{EventKind, ImageSource, RunEvent};
use splitci_tests::Sandbox;

use crate::measure::{Bar, median, run};
use crate::rivals::Contest;

const SHARDS: usize = 8;
const ROUNDS: usize = 7;

/// Milliseconds from the image to the last hello of workers and of drivers.
fn hellos(events: &[RunEvent]) -> (f64, f64) {
    let last = |wanted: fn(&EventKind) -> bool| events.iter().rev().find(|event| wanted(&event.kind)).map_or(0, |event| event.at_ms);
    let count = |wanted: fn(&EventKind) -> bool| events.iter().filter(|event| wanted(&event.kind)).count();
    let worker = |kind: &EventKind| matches!(kind, EventKind::ShardReady { .. });
    let driver = |kind: &EventKind| matches!(kind, EventKind::SessionReady { .. });
    assert_eq!((count(worker), count(driver)), (SHARDS, SHARDS), "hellos of workers and drivers");
    let image = last(|kind| matches!(kind, EventKind::ImageReady { .. }));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
    let since = |at: u64| (at - image) as f64 / 1e3;
    (since(last(worker)), since(last(driver)))
}

/// Prints the table; returns its bars.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    splitci_tests::engine::require();
    let rounds = rounds.unwrap_or(ROUNDS);
    // Files enough that every shard is still wanted when the last one is ready.
    let sandbox = Sandbox::empty().dockerfile();
    for file in 0..64 {
        sandbox.write(&format!("tests/test_{file:02}.py"), "import time\n\n\ndef test_sleep():\n    time.sleep(0.5)\n");
    }
    let line = format!("run --engine docker --shards {SHARDS} --json");
    let mut rows: [Vec<f64>; 4] = Default::default();
    for round in 0..=rounds {
        let took = run(&mut [contest.ours(&line, &sandbox.project(), &sandbox.state())]);
        let events: Vec<RunEvent> = took.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        let image = events.iter().find_map(|event| match &event.kind {
            EventKind::ImageReady { reference, how, .. } => Some((reference.clone(), *how)),
            _ => None,
        });
        let (image, how) = image.expect("an image");
        let alone = |command: &str| {
            let mut all: Vec<Command> = (0..SHARDS)
                .map(|_| {
                    let mut docker = Command::new("docker");
                    docker.args(["run", "--rm", &image]).args(command.split(' '));
                    docker
                })
                .collect();
            run(&mut all).wall
        };
        let (empty, pytest) = (alone("true"), alone("pytest --collect-only -q"));
        if round > 0 {
            assert_eq!(how, ImageSource::Found, "the image is built once");
            let (worker, driver) = hellos(&events);
            for (row, value) in rows.iter_mut().zip([worker, empty, driver, pytest]) {
                row.push(value);
            }
        }
    }
    let [worker, empty, driver, pytest] = rows.map(median);
    println!("\n## Eight containers at once, {rounds} rounds\n\n| what | until the last, s |\n|---|---|");
    println!("| hello of our workers | {worker} |\n| `docker run --rm IMAGE true` | {empty} |");
    println!("| hello of our drivers | {driver} |\n| `docker run --rm IMAGE pytest --collect-only` | {pytest} |");
    vec![
        Bar::at_most("eight workers' hello over eight times `docker run --rm IMAGE true`", 1.25, worker.value / empty.value, "x"),
        Bar::at_most("eight drivers' hello over the same containers booting pytest", 1.10, driver.value / pytest.value, "x"),
    ]
}
