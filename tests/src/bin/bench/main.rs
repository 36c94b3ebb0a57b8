//! Our figures beside the rivals', from the same minutes on the same machine.
//!
//!     cargo run --release -p splitci-tests --bin bench [cost] [eight] [skew] [containers] [context] [unchanged] [hash] [reuse] [store] [second] [sizes] [wheels] [deploy] [--rounds N] [--framework NAME]
//!
//! Without names all of it, about forty minutes. `--framework rspec` or `minitest` measures cost, eight and skew in Ruby, beside `parallel_tests`
//! (Debian's ruby-parallel-tests) and, where `CI_QUEUE` names it, ci-queue (which needs redis-server). Runs are interleaved, round by round; a run counts only if the number of tests that passed is
//! right; medians are printed with their spread. A round waits for an idle machine, but not for long: the load by others is printed, judge by it.
//! What the rows are held against is in the table of bars at the end; a bar that is missed is said to be, and changes nothing else.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for people, which stops at what it cannot measure")]

mod ci_queue;
mod containers;
mod context;
mod cost;
mod deploy;
mod eight;
mod framework;
mod hash;
mod measure;
mod reuse;
mod rivals;
mod second;
mod sizes;
mod skew;
mod store;
mod unchanged;
mod wheels;
mod workload;

use framework::Framework;
use measure::Bar;
use rivals::Contest;

/// One part of the benchmark, by the number of rounds.
type Part = fn(&Contest, Option<usize>) -> Vec<Bar>;

const PARTS: &[(&str, Part)] = &[
    ("sizes", sizes::measure),
    ("cost", cost::measure),
    ("eight", eight::measure),
    ("skew", skew::measure),
    ("containers", containers::measure),
    ("context", context::measure),
    ("unchanged", unchanged::measure),
    ("hash", hash::measure),
    ("reuse", reuse::measure),
    ("store", store::measure),
    ("second", second::measure),
    ("wheels", wheels::measure),
    ("deploy", deploy::measure),
];

/// Parts that are pytest's alone.
const OF_PYTEST: &[&str] = &["sizes", "containers", "context", "unchanged", "hash", "reuse", "store", "second", "wheels", "deploy"];

fn main() {
    let mut wanted = Vec::new();
    let mut rounds = None;
    let mut framework = Some(Framework::Pytest);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--rounds" {
            rounds = arguments.next().and_then(|n| n.parse().ok());
        } else if argument == "--framework" {
            framework = arguments.next().and_then(|name| Framework::named(&name));
        } else {
            wanted.push(argument);
        }
    }
    let Some(framework) = framework else {
        println!("--framework is pytest, rspec or minitest");
        return;
    };
    let there = |part: &str| framework == Framework::Pytest || !OF_PYTEST.contains(&part);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| there(name)).collect();
    if let Some(unknown) = wanted.iter().find(|name| parts.iter().all(|(part, _)| part != name)) {
        let names = parts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        println!("there is no part {unknown:?} for {}; there are: {names}", framework.name());
        return;
    }
    let contest = Contest::of(framework);
    let chosen = parts.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name));
    let bars: Vec<Bar> = chosen.flat_map(|(_, part)| part(&contest, rounds)).collect();
    println!("\n## Bars\n\n| what | bar | measured | |\n|---|---|---|---|");
    for bar in &bars {
        println!("{bar}");
    }
}
