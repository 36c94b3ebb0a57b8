//! Our figures beside the rivals', from the same minutes on the same machine.
//!
//!     cargo run --release -p splitci-tests --bin bench [cost] [eight] [skew] [containers] [sizes] [--rounds N]
//!
//! Without names all of it, about forty minutes. Runs are interleaved, round by round; a run counts only if the number of tests that passed is
//! right; medians are printed with their spread. A round waits for an idle machine, but not for long: the load by others is printed, judge by it.
//! What the rows are held against is in the table of bars at the end; a bar that is missed is said to be, and changes nothing else.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for people, which stops at what it cannot measure")]

mod containers;
mod cost;
mod eight;
mod measure;
mod rivals;
mod sizes;
mod skew;
mod workload;

use measure::Bar;

/// One part of the benchmark, by the number of rounds.
type Part = fn(Option<usize>) -> Vec<Bar>;

const PARTS: &[(&str, Part)] = &[
    ("sizes", sizes::measure),
    ("cost", cost::measure),
    ("eight", eight::measure),
    ("skew", skew::measure),
    ("containers", containers::measure),
];

fn main() {
    let mut wanted = Vec::new();
    let mut rounds = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--rounds" {
            rounds = arguments.next().and_then(|n| n.parse().ok());
        } else {
            wanted.push(argument);
        }
    }
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        println!("there is no part {unknown:?}; there are: {}", PARTS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "));
        return;
    }
    let chosen = PARTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name));
    let bars: Vec<Bar> = chosen.flat_map(|(_, part)| part(rounds)).collect();
    println!("\n## Bars\n\n| what | bar | measured | |\n|---|---|---|---|");
    for bar in &bars {
        println!("{bar}");
    }
}
