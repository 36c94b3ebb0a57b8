//! An unchanged run of 10,000 tests whose results are reused: from the process's start to its verdict, without canaries and with them, beside the same
//! run with nothing reused. And 10,000 files looked up in one pack.

use std::time::Instant;

use splitci_coordinator::model::event::ProvenTest;
use splitci_coordinator::model::{Outcome, RunId, SuiteId};
use splitci_coordinator::reuse::key::Key;
use splitci_coordinator::reuse::offer::Offer;
use splitci_coordinator::reuse::pack::{Entry, Pack};
use splitci_coordinator::reuse::standing::Standings;
use splitci_tests::Sandbox;

use crate::framework::Framework;
use crate::measure::{Bar, median, run};
use crate::rivals::Contest;
use crate::workload::PER_FILE;

const TESTS: usize = 10_000;
const ROUNDS: usize = 5;
const LOOK_UPS: usize = 21;

/// Prints the table; returns its bars.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    splitci_tests::engine::require();
    let rounds = rounds.unwrap_or(ROUNDS);
    let sandbox = Sandbox::empty().dockerfile();
    for file in 0..TESTS / PER_FILE {
        sandbox.write(&Framework::Pytest.path(file), &Framework::Pytest.trivial(file, PER_FILE));
    }
    // The first run builds the image and keeps results, all others find both.
    let rows = [("all run", "--reuse --fresh"), ("reused, without canaries", "--reuse"), ("reused, with canaries", "--reuse")];
    let mut took: [Vec<f64>; 3] = Default::default();
    for round in 0..=rounds {
        for (at, (what, options)) in rows.iter().enumerate() {
            let mut command = contest.ours(&format!("run --engine docker {options}"), &sandbox.project(), &sandbox.state());
            command.env("SPLITCI_CACHE_CANARIES", if at == 1 { "0" } else { "2" });
            let one = run(&mut [command]);
            let reused = TESTS * [0, 100, 98][at] / 100;
            let said = if reused == 0 { "PASSED  10,000 tests: 10,000 passed".to_owned() } else { format!("{} reused", grouped(reused)) };
            assert!(one.stdout.contains(&said), "{what}: no {said:?} in\n{}", one.stdout);
            if round > 0 {
                took[at].push(one.wall);
            }
        }
    }
    println!(
        "\n## {TESTS} tests in {} files, nothing changed, {rounds} rounds\n\n| what | to the verdict, s |\n|---|---|",
        TESTS / PER_FILE
    );
    let medians = took.map(median);
    for ((what, _), median) in rows.iter().zip(&medians) {
        println!("| {what} | {median} |");
    }
    let looked_up = median((0..LOOK_UPS).map(|_| look_up()));
    println!("| {TESTS} files looked up in one pack, {LOOK_UPS} rounds | {looked_up} ms |");
    vec![
        Bar::at_most("10,000 tests reused, without canaries, to the verdict", 2.0, medians[1].value, "s"),
        Bar::at_most("10,000 look-ups in one pack on disk", 50.0, looked_up.value, "ms"),
    ]
}

/// Milliseconds from the pack on disk to a choice of all its files.
fn look_up() -> f64 {
    let (key, run) = (Key([1; 32]), RunId("01J".to_owned()));
    let names: Vec<String> = (0..TESTS).map(|file| Framework::Pytest.path(file)).collect();
    let test = |name: &str| ProvenTest { id: format!("{name}::test_one"), outcome: Outcome::Passed, micros: 1_000 };
    let entry = |name: &str| Entry::of(&run, "2026-11-24T12:00:00Z", 1_764_000_000_000, &[test(name)]).expect("an entry");
    let pack = Pack { files: names.iter().map(|name| (name.clone(), entry(name))).collect(), ..Pack::default() };
    let path = splitci_tests::scratch().join("bench/pack");
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs_err::write(&path, pack.write(key)).expect("written");
    let mut standings = Standings::default();
    for name in &names {
        standings.passed(name, Some(key));
    }
    let standings = standings.write();
    let suites = [names];

    let began = Instant::now();
    let pack = Pack::read(&fs_err::read(&path).expect("read"), key).expect("a pack");
    let standings = Standings::read(&standings).expect("standings");
    let mut offer = Offer::default();
    offer.add(SuiteId(0), (&pack, key), (&standings, 1_764_000_000_000), |_| true);
    let choice = offer.choose(&suites, &RunId("01K".to_owned()), 0);
    let took = began.elapsed().as_secs_f64() * 1e3;
    assert_eq!(choice.reused.len(), TESTS);
    took
}

fn grouped(n: usize) -> String {
    if n < 1_000 { n.to_string() } else { format!("{},{:03}", n / 1_000, n % 1_000) }
}
