//! 2,000 trivial tests on eight shards: on few cores this is eight start-ups more than anything else.

use crate::measure::{Bar, median};
use crate::rivals::Contest;
use crate::workload::trivial;

const TESTS: usize = 2_000;
const ROUNDS: usize = 5;
/// Prints the table; returns its bar.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    let rounds = rounds.unwrap_or(ROUNDS);
    let project = trivial(contest.framework, TESTS);
    let state = tempfile::tempdir().expect("a state directory");
    let runners = contest.runners(8);
    let mut walls: Vec<Vec<f64>> = runners.iter().map(|_| Vec::new()).collect();
    let mut foreign = Vec::new();
    for round in 0..=rounds {
        for (runner, walls) in runners.iter().zip(&mut walls) {
            let took = contest.run(*runner, &project, state.path(), TESTS);
            if round > 0 {
                walls.push(took.wall);
                foreign.push(took.foreign);
            }
        }
    }
    println!(
        "\n## 2,000 trivial tests of {}, eight shards, {rounds} rounds (others took {} cores)\n\n| runner | wall, s |\n|---|---|",
        contest.framework.name(),
        median(foreign)
    );
    for (runner, walls) in runners.iter().zip(&walls) {
        println!("| {} | {} |", contest.name(*runner), median(walls.iter().copied()));
    }
    let named: Vec<_> =
        runners.iter().zip(&walls).map(|(runner, walls)| (contest.name(*runner), median(walls.iter().copied()).value)).collect();
    vec![Bar::ahead_of("2,000 tests on eight shards, whole wall", named[1].1, &named[2..])]
}
