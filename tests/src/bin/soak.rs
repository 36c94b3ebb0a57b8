//! Many random schedules of the queue: `soak [SCHEDULES] [FIRST-SEED]`. A violation names the seed, and `soak 1 SEED` has it again.
//! `soak ignore [CASES] [FIRST-SEED]` compares random ignore files with what docker's client makes of them, 500 by itself.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let ignore = words.next_if(|word| word == "ignore").is_some();
    let mut numbers = words.map(|word| word.parse::<u64>());
    let usual = if ignore { 500 } else { 100_000 };
    let (Ok(schedules), Ok(seed)) = (numbers.next().unwrap_or(Ok(usual)), numbers.next().unwrap_or(Ok(1))) else {
        eprintln!("usage: soak [ignore] [CASES] [FIRST-SEED]");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    if ignore {
        return match splitci_tests::ignores::soak(schedules, seed) {
            Ok(()) => {
                println!("{schedules} ignore files mean the same to both, {:.1} s", start.elapsed().as_secs_f64());
                ExitCode::SUCCESS
            }
            Err(difference) => {
                eprintln!("{difference}");
                ExitCode::FAILURE
            }
        };
    }
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
