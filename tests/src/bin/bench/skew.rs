//! 200 files that sleep for very different times, 120 s in all, on eight shards: how good the schedule is, without history and with it.
//!
//! Held against the best that any schedule could do with shards that get ready when they did, and without history against handing the same
//! files out one by one in the same order.

use std::collections::BTreeMap;

use splitci_coordinator::model::event::{EventKind, RunEvent};

use crate::measure::{Bar, Took, median, run};
use crate::rivals::{Contest, Runner};
use crate::workload::skewed;

const SHARDS: usize = 8;
const ROUNDS: usize = 3;
/// What a run's events say of its schedule, in seconds.
struct Schedule {
    /// From the first test's start to the last one's end.
    span: f64,
    /// The least that it could have been.
    bound: f64,
    /// What handing out the same files one by one, in the same order, would have given.
    one_by_one: f64,
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn schedule(events: &[RunEvent]) -> Schedule {
    let mut ready = Vec::new();
    let mut order = Vec::new();
    let mut slept: BTreeMap<u32, f64> = BTreeMap::new();
    let (mut first, mut last) = (f64::INFINITY, 0.0_f64);
    for event in events {
        let at = seconds(event.at_ms);
        match &event.kind {
            EventKind::SessionReady { .. } => ready.push(at),
            EventKind::UnitLeased { unit, .. } => order.push(unit.0),
            EventKind::TestFinished(test) => {
                let took = seconds(test.micros) / 1e3;
                slept.insert(test.test.unit.0, took);
                first = first.min(at - took);
                last = last.max(at);
            }
            _ => {}
        }
    }
    ready.sort_by(f64::total_cmp);
    let total: f64 = slept.values().sum();
    let longest = slept.values().copied().fold(0.0, f64::max);
    let late: f64 = ready.iter().map(|at| at - ready[0]).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few shards")]
    let even = (total + late) / ready.len() as f64;
    let order: Vec<f64> = order.iter().filter_map(|unit| slept.get(unit).copied()).collect();
    Schedule { span: last - first, bound: longest.max(even), one_by_one: list_schedule(&ready, &order) - ready[0] }
}

/// When the last of these durations ends if each goes to whoever is free first.
fn list_schedule(ready: &[f64], durations: &[f64]) -> f64 {
    let mut free = ready.to_vec();
    for duration in durations {
        if let Some(earliest) = free.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *earliest += duration;
        }
    }
    free.into_iter().fold(0.0, f64::max)
}

/// Prints the table; returns its bars.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    let rounds = rounds.unwrap_or(ROUNDS);
    let (project, durations) = skewed(contest.framework);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let rivals = contest.schedulers(SHARDS);
    let mut walls: Vec<Vec<f64>> = rivals.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        let state = tempfile::tempdir().expect("a state directory");
        let once = || {
            let line = format!("run --engine process --shards {SHARDS} --json");
            let took = run(&mut [contest.ours(&line, &project, state.path())]);
            let events: Vec<RunEvent> = took.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
            let passed = splitci_tests::Facts::of(&events).count("passed");
            assert_eq!(passed, durations.len(), "tests that passed");
            (took, schedule(&events))
        };
        cold.push(once());
        warm.push(once());
        for (rival, walls) in rivals.iter().zip(&mut walls) {
            walls.push(contest.run(*rival, &project, state.path(), durations.len()).wall);
        }
    }
    let walls: Vec<_> = rivals.iter().map(|rival| (*rival, contest.name(*rival))).zip(walls).collect();
    println!("\n## Skewed sleeps in {}, eight shards, {rounds} rounds\n", contest.framework.name());
    report(&cold, &warm, &walls)
}

fn report(cold: &[(Took, Schedule)], warm: &[(Took, Schedule)], walls: &[((Runner, String), Vec<f64>)]) -> Vec<Bar> {
    println!("| runner | durations | wall, s | first start to last end, s | over the bound | over one by one |");
    println!("|---|---|---|---|---|---|");
    let wall = |rows: &[(Took, Schedule)]| median(rows.iter().map(|row| row.0.wall));
    let bound = |rows: &[(Took, Schedule)]| median(rows.iter().map(|row| row.1.span / row.1.bound));
    let listed = |rows: &[(Took, Schedule)]| median(rows.iter().map(|row| row.1.span / row.1.one_by_one));
    for (durations, rows) in [("none", cold), ("of the run before", warm)] {
        let span = median(rows.iter().map(|row| row.1.span));
        println!("| splitci | {durations} | {} | {span} | {} | {} |", wall(rows), bound(rows), listed(rows));
    }
    let mut named = Vec::new();
    for ((rival, name), walls) in walls {
        let known = if rival.knows_durations() { "true ones" } else { "none" };
        let middle = median(walls.iter().copied());
        println!("| {name} | {known} | {middle} | | | |");
        named.push((known, name.clone(), middle.value));
    }
    let of = |known: &str| named.iter().filter(|row| row.0 == known).map(|row| (row.1.clone(), row.2)).collect::<Vec<_>>();
    vec![
        Bar::at_most("skewed sleeps with history, over the bound", 1.05, bound(warm).value, "x"),
        Bar::at_most("skewed sleeps without history, over one-by-one list scheduling", 1.02, listed(cold).value, "x"),
        Bar::ahead_of("skewed sleeps with history, whole wall", wall(warm).value, &of("true ones")),
        Bar::ahead_of("skewed sleeps without history, whole wall", wall(cold).value, &of("none")),
    ]
}
