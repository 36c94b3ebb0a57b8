//! What a trivial test costs beyond the plain framework, in wall and processor time: a slope between two sizes, so that start-ups fall out, and what is left
//! at size zero. The line through the two sizes is not straight for pytest, which gets slower with every item that it holds; so a single test is
//! measured as well, where nothing but the fixed cost is left.

use std::path::Path;

use crate::measure::{Bar, Took, median};
use crate::rivals::{Contest, Runner};
use crate::workload::trivial;

const SIZES: [usize; 2] = [2_000, 20_000];
const PAIRS: usize = 15;
/// What a test may cost, in milliseconds, and what a run may cost besides, in seconds.
const A_TEST: f64 = 0.05;
const BESIDES: f64 = 0.15;

/// What one round added to the plain framework: a test's share and the rest.
struct Added {
    per_test_ms: f64,
    fixed: f64,
    cpu_per_test_ms: f64,
}

#[expect(clippy::cast_precision_loss, reason = "numbers of tests")]
fn added(plain: &[Took; 2], other: &[Took; 2]) -> Added {
    let tests = (SIZES[1] - SIZES[0]) as f64;
    let slope = |of: fn(&Took) -> f64| ((of(&other[1]) - of(&plain[1])) - (of(&other[0]) - of(&plain[0]))) / tests;
    let per_test = slope(|took| took.wall);
    let fixed = other[0].wall - plain[0].wall - per_test * SIZES[0] as f64;
    Added { per_test_ms: per_test * 1e3, fixed, cpu_per_test_ms: slope(|took| took.cpu) * 1e3 }
}

/// Prints the table; returns its bars.
#[expect(clippy::cast_precision_loss, reason = "numbers of tests")]
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    let rounds = rounds.unwrap_or(PAIRS);
    let projects = SIZES.map(|tests| trivial(contest.framework, tests));
    let single = trivial(contest.framework, 1);
    let state = tempfile::tempdir().expect("a state directory");
    let runners = contest.runners(1);
    let mut rows: Vec<Vec<[Took; 2]>> = runners.iter().map(|_| Vec::new()).collect();
    let mut singles: Vec<Vec<f64>> = runners.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        // Size by size, every runner right after the other: what a machine does meanwhile is the same for both of a pair. The first one of a size goes last the next time.
        let mut order: Vec<usize> = (0..runners.len()).collect();
        order.rotate_left(round % runners.len());
        let sized = |project: &Path, tests: usize| {
            let mut took: Vec<(usize, Took)> =
                order.iter().map(|at| (*at, contest.run(runners[*at], project, state.path(), tests))).collect();
            took.sort_by_key(|(at, _)| *at);
            took.into_iter().map(|(_, took)| took).collect::<Vec<_>>()
        };
        let one = sized(&single, 1);
        let [few, many] = [0, 1].map(|size| sized(&projects[size], SIZES[size]));
        // The first round warms byte code and caches.
        if round > 0 {
            for (((one, few), many), (rows, singles)) in one.iter().zip(few).zip(many).zip(rows.iter_mut().zip(&mut singles)) {
                rows.push([few, many]);
                singles.push(one.wall);
            }
        }
    }
    let name = contest.framework.name();
    println!("\n## Cost of a trivial test of {name}, one shard, {rounds} rounds\n");
    println!(
        "| runner | one test, s | 2,000 tests, s | 20,000 tests, s | added a test, ms | added besides, s | added CPU a test, ms | others, cores |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut bars = Vec::new();
    for ((runner, took), single) in runners.iter().zip(&rows).zip(&singles) {
        let one = median(single.iter().copied());
        let wall = |size: usize| median(took.iter().map(|pair| pair[size].wall));
        let foreign = median(took.iter().flatten().map(|one| one.foreign));
        let all: Vec<Added> = rows[0].iter().zip(took).map(|(plain, other)| added(plain, other)).collect();
        let per_test = median(all.iter().map(|one| one.per_test_ms));
        let fixed = median(all.iter().map(|one| one.fixed));
        let cpu = median(all.iter().map(|one| one.cpu_per_test_ms));
        println!("| {} | {one} | {} | {} | {per_test} | {fixed} | {cpu} | {foreign} |", contest.name(*runner), wall(0), wall(1));
        if matches!(runner, Runner::Ours(_)) {
            bars.push(Bar::at_most(&format!("added to plain {name}, a test"), A_TEST, per_test.value, "ms"));
            bars.push(Bar::at_most(&format!("added to plain {name}, besides"), BESIDES, fixed.value, "s"));
            let added = median(singles[0].iter().zip(single).map(|(plain, ours)| ours - plain));
            bars.push(Bar::at_most(&format!("added to plain {name}, one test"), BESIDES, added.value, "s"));
            bars.push(Bar::at_most("CPU added, a test", 0.1, cpu.value, "ms"));
            // What both limits together allow, at each size.
            for (size, tests) in SIZES.iter().enumerate() {
                let added = median(rows[0].iter().zip(took).map(|(plain, ours)| ours[size].wall - plain[size].wall));
                let allowed = BESIDES + A_TEST / 1e3 * *tests as f64;
                bars.push(Bar::at_most(&format!("added to plain {name}, {tests} tests"), allowed, added.value, "s"));
            }
        }
    }
    bars
}
