//! Many random schedules of the queue: `soak [SCHEDULES] [FIRST-SEED]`. A violation names the seed, and `soak 1 SEED` has it again.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let (Ok(schedules), Ok(seed)) = (numbers.next().unwrap_or(Ok(100_000)), numbers.next().unwrap_or(Ok(1))) else {
        eprintln!("usage: soak [SCHEDULES] [FIRST-SEED]");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    match splitci_tests::schedules::soak(schedules, seed) {
        Ok(stats) => {
            println!("{stats:#?}\n{:.1} s", start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("seed {}: {}", violation.seed, violation.objection);
            ExitCode::FAILURE
        }
    }
}
