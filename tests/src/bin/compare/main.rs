//! A real project's suite, plainly and through splitci: the same tests with the same outcomes, or what differs; and what each took.
//!
//!     cargo run --release -p splitci-tests --bin compare -- DIR [--engine process|docker] [--shards N]
//!
//! For pytest, RSpec and Minitest, as splitci finds them without configuration; the framework's program is the one in `PATH`, or that of the image that the
//! project's own Dockerfile makes. Everything runs in copies: the project is left alone. splitci runs twice, the second time with durations, so that slow
//! files are cut. Exit status 1 if anything differs, or if there was no test.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for people, which stops at what it cannot compare")]

mod subject;

use std::path::PathBuf;
use std::process::ExitCode;

use splitci_tests::plain;

use subject::Subject;

const USAGE: &str = "usage: compare DIR [--engine process|docker] [--shards N]";

/// What to compare.
struct Asked {
    project: PathBuf,
    docker: bool,
    shards: usize,
}

fn asked() -> Option<Asked> {
    let mut asked = Asked { project: PathBuf::new(), docker: false, shards: 4 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--engine" => match words.next()?.as_str() {
                "docker" => asked.docker = true,
                "process" => asked.docker = false,
                _ => return None,
            },
            "--shards" => asked.shards = words.next()?.parse().ok()?,
            option if option.starts_with('-') => return None,
            path => asked.project = PathBuf::from(path),
        }
    }
    asked.project.is_dir().then_some(asked)
}

fn main() -> ExitCode {
    let Some(Asked { project, docker, shards }) = asked() else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let subject = Subject::of(&project, docker);
    let line = format!("run --engine {} --shards {shards} --json", if docker { "docker" } else { "process" });
    let runs = [("splitci", subject.run(&line)), ("splitci, with durations", subject.run(&line))];
    let plain = subject.plain(&runs[0].1);
    println!("{}: {}, {shards} shards\n\n    {}\n", project.display(), subject::framework(&runs[0].1), plain.command.join(" "));
    println!("| runner | tests | exit | wall, s |\n|---|---|---|---|");
    println!("| plain | {} | {} | {:.2} |", plain::count(&plain.outcomes), plain.status, plain.took.as_secs_f64());
    let mut same = plain::count(&plain.outcomes) > 0;
    let mut told = Vec::new();
    if !same {
        told.push("there was no test".to_owned());
    }
    for (name, done) in &runs {
        let facts = done.facts();
        println!("| {name} | {} | {} | {:.2} |", facts.total(), done.code.unwrap_or(-1), done.took.as_secs_f64());
        let differences = plain::differences(&plain.outcomes, &facts);
        // A plain run's status may be any that is not 0.
        let verdict = (plain.status == 0) == (done.code == Some(0));
        same &= differences.is_empty() && verdict;
        told.extend(differences.iter().map(|line| format!("{name}: {line}")));
        if !verdict {
            told.push(format!("{name}: the exit statuses disagree; it says\n{}", done.stderr));
        }
    }
    let mut outcomes: Vec<&String> = plain.outcomes.values().flatten().collect();
    outcomes.sort();
    let parts = outcomes.chunk_by(|a, b| a == b).map(|part| format!("{} {}", part.len(), part[0].replace('_', " ")));
    println!("\nplain: {}", parts.collect::<Vec<_>>().join(", "));
    println!("{}", if same { "no difference".to_owned() } else { told.join("\n") });
    if same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
