//! 2,000 trivial tests on eight shards: on few cores this is eight start-ups more than anything else.

use crate::measure::{Bar, median};
use crate::rivals::Runner;
use crate::workload::trivial;

const TESTS: usize = 2_000;
const ROUNDS: usize = 5;
const RUNNERS: [Runner; 6] = [
    Runner::Plain,
    Runner::Ours(8),
    Runner::Xdist(8, "load"),
    Runner::Xdist(8, "loadfile"),
    Runner::Xdist(8, "worksteal"),
    Runner::Split(8, "duration_based_chunks"),
];

/// Prints the table; returns its bar.
pub(crate) fn measure(rounds: Option<usize>) -> Vec<Bar> {
    let rounds = rounds.unwrap_or(ROUNDS);
    let project = trivial(TESTS);
    let state = tempfile::tempdir().expect("a state directory");
    let mut walls: Vec<Vec<f64>> = RUNNERS.iter().map(|_| Vec::new()).collect();
    let mut foreign = Vec::new();
    for round in 0..=rounds {
        for (runner, walls) in RUNNERS.iter().zip(&mut walls) {
            let took = runner.run(&project, state.path(), TESTS);
            if round > 0 {
                walls.push(took.wall);
                foreign.push(took.foreign);
            }
        }
    }
    println!(
        "\n## 2,000 trivial tests, eight shards, {rounds} rounds (others took {} cores)\n\n| runner | wall, s |\n|---|---|",
        median(foreign)
    );
    for (runner, walls) in RUNNERS.iter().zip(&walls) {
        println!("| {} | {} |", runner.name(), median(walls.iter().copied()));
    }
    let named: Vec<_> = RUNNERS.iter().zip(&walls).map(|(runner, walls)| (runner.name(), median(walls.iter().copied()).value)).collect();
    vec![Bar::ahead_of("2,000 tests on eight shards, whole wall", named[1].1, &named[2..])]
}
