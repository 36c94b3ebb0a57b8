//! The summary's figures: slowest tests, what each shard did, and time won.
//!
//! Sums are of tests as they ran; what is compared is stated beside it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::event::ImageSource;
use crate::model::verdict::Verdict;
use crate::proof::{Canary, TestState};
use crate::report::account::{Account, Shard};
use crate::report::words::{count, duration, harmless, number, times};

/// Tests that are named as slow.
const SLOWEST: usize = 5;
/// Tests faster than this are not slow, whatever the others are.
const WORTH_NAMING_US: u64 = 100_000;

/// Runs that are named as those which proved what is reused.
const MOST_RUNS: usize = 3;

/// What comes before the shards is told if it takes this long.
const WORTH_TELLING_MS: u64 = 1_000;

/// The slowest tests, slowest first; nothing if none is worth naming.
pub(super) fn slowest(account: &Account) -> String {
    let mut timed: Vec<_> = account
        .proof()
        .tests()
        .filter_map(|view| match view.state {
            TestState::Final(result) if result.micros >= WORTH_NAMING_US => Some((result.micros, view.test, view.id)),
            TestState::Final(_) | TestState::Crashed(_) | TestState::Missing => None,
        })
        .collect();
    timed.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut table = String::new();
    for (micros, _, id) in timed.into_iter().take(SLOWEST) {
        let _infallible = writeln!(table, "  {:>9}  {}", duration(micros / 1_000), harmless(id));
    }
    table
}

/// What was not run, since it was proven before, and by which runs; nothing if there was no such thing.
pub(super) fn reused(account: &Account) -> Option<String> {
    let proof = account.proof();
    let mut runs: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for proven in proof.reused() {
        let run = runs.entry(&proven.of.0).or_insert((0, proven.record));
        run.0 += proven.tests.len();
    }
    let canaries: Vec<_> = proof.canaries().collect();
    if runs.is_empty() && canaries.is_empty() {
        return None;
    }
    let counts = proof.counts();
    let micros = proof.reused().flat_map(|proven| &proven.tests).fold(0_u64, |sum, test| sum.saturating_add(test.micros));
    let mut line =
        format!("tests   {} reused ({} of tests), {} run", number(counts.reused), duration(micros / 1_000), number(counts.executed()));
    if !canaries.is_empty() {
        let agreed = canaries.iter().filter(|(_, canary)| *canary == Canary::Agrees).count();
        let _infallible = write!(line, "; {} run again to see: {} as before", count(canaries.len(), "file"), number(agreed));
    }
    // Newest first.
    for (run, (tests, record)) in runs.iter().rev().take(MOST_RUNS) {
        let gone = if *record { "" } else { ", whose record is gone" };
        let _infallible = write!(line, "\nproof   {} by run {}{gone}", count(*tests, "test"), harmless(run));
    }
    if runs.len() > MOST_RUNS {
        let _infallible = write!(line, "\nproof   and by {}", count(runs.len() - MOST_RUNS, "more run"));
    }
    Some(line)
}

/// What it was good for that things were not done again; nothing if everything was. Tests would have shared the shards, so that what they took counts by shard.
pub(super) fn cache(account: &Account) -> Option<String> {
    let proof = account.proof();
    let found = account.image().filter(|image| image.how == ImageSource::Found && image.saved_ms > 0);
    let tests = proof.counts().reused;
    if found.is_none() && tests == 0 {
        return None;
    }
    let shards = account.started().map_or(1, |started| u64::from(started.settings.shards.max(1)));
    let micros = proof.reused().flat_map(|proven| &proven.tests).fold(0_u64, |sum, test| sum.saturating_add(test.micros));
    let tests_ms = micros / 1_000 / shards;
    let (image_ms, search_ms) = found.map_or((0, 0), |image| (image.saved_ms, image.took_ms));
    let saved = image_ms.saturating_add(tests_ms);
    let image = found.map(|_| "image reused".to_owned());
    let tests = (tests > 0).then(|| format!("{} reused, {} run", count(tests, "test"), number(proof.counts().executed())));
    let net =
        if saved >= search_ms { format!("net +{}", duration(saved - search_ms)) } else { format!("net -{}", duration(search_ms - saved)) };
    let parts: Vec<String> = image.into_iter().chain(tests).chain([net]).collect();
    Some(format!("cache   {}", parts.join(" · ")))
}

/// Which shard did what.
pub(super) fn shards(account: &Account) -> String {
    if account.shards().is_empty() {
        return String::new();
    }
    let tests = account.proof().counts_by_shard();
    let mut table = format!("{:>7}{:>9}{:>13}{:>13}   sessions\n", "shard", "tests", "busy", "boot");
    for (shard, told) in account.shards().iter().filter(|(_, told)| !unneeded(account, told)) {
        let done = tests.get(shard).map_or(0, |counts| counts.total() - counts.lost);
        let boot = told.boot_ms.map_or_else(|| "-".to_owned(), duration);
        let lost = if told.sessions_lost > 0 { format!(", {} lost", told.sessions_lost) } else { String::new() };
        let _infallible =
            writeln!(table, "{shard:>7}{:>9}{:>13}{boot:>13}   {}{lost}", number(done), duration(told.busy_us / 1_000), told.sessions);
    }
    match account.shards().values().filter(|told| unneeded(account, told)).count() {
        0 => {}
        1 => table.push_str("  1 more shard was not needed\n"),
        idle => {
            let _infallible = writeln!(table, "  {} more shards were not needed", number(idle));
        }
    }
    table
}

/// Whether everything was done before a shard could begin. Where something is missing, every shard is worth a line.
fn unneeded(account: &Account, shard: &Shard) -> bool {
    let all_done = matches!(account.verdict(), Verdict::Passed | Verdict::Failed { complete: true } | Verdict::Empty);
    all_done && shard.sessions == 0 && shard.lost.is_empty()
}

/// How long the shards took for how much of test time.
pub(super) fn time(account: &Account) -> String {
    let busy_ms = account.shards().values().fold(0, |sum: u64, shard| sum.saturating_add(shard.busy_us)) / 1_000;
    let shards_ms = account.shards_ms();
    if account.shards().is_empty() {
        return duration(account.wall_ms());
    }
    let shards = count(account.shards().values().filter(|told| !unneeded(account, told)).count(), "shard");
    let mut time = format!("{} on {shards} for {} of tests", duration(shards_ms), duration(busy_ms));
    // Otherwise the start of the framework is all there is to see.
    if busy_ms > shards_ms && shards_ms > 0 {
        let _infallible = write!(time, ": {} times as fast as one after the other", times(busy_ms, shards_ms));
    }
    if account.wall_ms() >= shards_ms + WORTH_TELLING_MS {
        let _infallible = write!(time, "; {} in all", duration(account.wall_ms()));
    }
    time
}
