//! Chance, for as long as one likes: `soak [SUBJECT] [COUNT] [FIRST-SEED]`. A violation names the seed, and the same seed has it again.
//!
//! | subject | is |
//! |---|---|
//! | `schedules` | random schedules of the queue; the one without a name |
//! | `deployments` | deployments in a simulated fleet in which anything goes wrong |
//! | `deaths` | deployments whose process aborts after each row of their journal, and are gone on with, here and from another machine; needs Docker and HAProxy |
//! | `flips` | envelopes and statements that were bent, before the gate |
//! | `keys` | single changes of what an image's key is made of |
//! | `copies` | images that are built for real from trees that change; needs Docker |
//! | `ignore` | ignore files, beside what docker's client makes of them; needs Docker and Debian's client |
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a program that stops at what it cannot do")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use splitci_coordinator::docker;
use splitci_tests::keys;

/// A subject: so many, from this seed on. What it saw, or what went wrong.
type Subject = fn(u64, u64) -> Result<String, String>;

const SUBJECTS: &[(&str, u64, Subject)] = &[
    ("schedules", 100_000, schedules),
    ("deployments", 10_000, deployments),
    ("deaths", 200, deaths),
    ("flips", 100_000, flips),
    ("keys", 1_000_000, mutations),
    ("copies", 100, copies),
    ("ignore", 500, ignores),
];

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let named = words.first().and_then(|word| SUBJECTS.iter().find(|(name, ..)| name == word));
    let (_, count, subject) = named.unwrap_or(&SUBJECTS[0]);
    if named.is_some() {
        words.remove(0);
    }
    let mut numbers = words.iter().map(|word| word.parse::<u64>());
    let (Ok(count), Ok(seed)) = (numbers.next().unwrap_or(Ok(*count)), numbers.next().unwrap_or(Ok(1))) else {
        eprintln!("usage: soak [schedules|deployments|deaths|flips|keys|copies|ignore] [COUNT] [FIRST-SEED]");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    match subject(count, seed) {
        Ok(told) => {
            println!("{told}\n{:.1} s", start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn schedules(count: u64, seed: u64) -> Result<String, String> {
    let stats = splitci_tests::schedules::soak(count, seed);
    stats.map(|stats| format!("{stats:#?}")).map_err(|violation| format!("seed {}: {}", violation.seed, violation.objection))
}

fn flips(count: u64, seed: u64) -> Result<String, String> {
    let quick = splitci_tests::flips::decision_ms(10_000);
    let tried = splitci_tests::flips::soak(count, seed)?;
    Ok(format!("{tried:#?}: none of them opens the gate\na decision over 10000 names: {quick:.2} ms"))
}

fn deployments(count: u64, seed: u64) -> Result<String, String> {
    let stats = splitci_tests::deployments::soak(count, seed);
    let told =
        |violation: splitci_tests::deployments::Violation| format!("{}\nseed {}: {}", violation.story, violation.seed, violation.objection);
    stats.map(|stats| format!("{stats:#?}")).map_err(told)
}

/// So many deploys, two for a row, from the row of this number on; or as many as there are.
fn deaths(count: u64, first: u64) -> Result<String, String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let deploys = runtime.block_on(splitci_tests::desk::deaths(count, first))?;
    Ok(format!("aborted {deploys} times, two for a row from the {first}. on, and gone on with: no request lost"))
}

fn mutations(count: u64, seed: u64) -> Result<String, String> {
    keys::mutations(count, seed).map(|()| format!("{count} changes, each with a key of its own"))
}

fn copies(count: u64, seed: u64) -> Result<String, String> {
    splitci_tests::engine::require();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let docker = Arc::new(docker::connect(None, &std::env::vars().collect()).await.expect("an engine"));
        let copied = Box::pin(keys::copies(usize::try_from(count).unwrap_or(usize::MAX), seed, &docker)).await?;
        Ok(format!("{copied:?}: no two that hold something else have the same key"))
    })
}

fn ignores(count: u64, seed: u64) -> Result<String, String> {
    splitci_tests::ignores::soak(count, seed).map(|same| format!("{count} ignore files, {same} of them mean the same to both"))
}
