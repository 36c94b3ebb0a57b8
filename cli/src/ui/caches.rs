//! The cache in words: what it was good for, and what lies in it. Pure: facts in, text out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use splitci_coordinator::content::local::Entry;
use splitci_coordinator::content::{Lookups, StoreStats};
use splitci_coordinator::tally::{Sum, Worth};

use super::rows::{bytes, count, span};
use super::terminal::tame;

/// Digits of a name that are shown.
const DIGITS: usize = 16;

/// What is in a cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds {
    /// Files.
    pub entries: usize,
    /// Room that they take.
    pub bytes: u64,
    /// Room that they may take.
    pub limit: u64,
    /// Room by level; blobs that no record names have none.
    pub levels: BTreeMap<String, u64>,
    /// How long ago the coldest was used.
    pub coldest_seconds: Option<u64>,
}

/// What it was good for.
pub(crate) fn stats(directory: &Path, holds: &Holds, sum: &Sum) -> String {
    let mut out = format!("{}\n", directory.display());
    let coldest = holds.coldest_seconds.map(|age| format!("; the coldest was last used {} ago", ago(Duration::from_secs(age))));
    let room = format!("{} of {}", bytes(holds.bytes), bytes(holds.limit));
    // Writing into a string cannot fail.
    let _written = writeln!(out, "  holds    {}, {room}{}", count(holds.entries, "file"), coldest.unwrap_or_default());
    let level = |(level, size): (&String, &u64)| format!("{} {}", if level.is_empty() { "none" } else { level }, bytes(*size));
    let levels: Vec<String> = holds.levels.iter().map(level).collect();
    if !levels.is_empty() {
        let _written = writeln!(out, "  levels   {}", levels.join(" · "));
    }
    let Some(since) = &sum.since else {
        out += "  runs     none yet that used it\n";
        return out;
    };
    let _written = writeln!(out, "  runs     {} since {}", sum.runs, since.get(..10).unwrap_or(since));
    for (layer, worth) in &sum.layers {
        let _written = writeln!(out, "  {layer:<8} {}", saved(worth));
    }
    for (tier, stats) in &sum.tiers {
        out += &of_tier(tier, stats);
    }
    let refused: Vec<String> = sum.refused.iter().map(|(reason, times)| format!("{reason} {times}")).collect();
    if !refused.is_empty() {
        let _written = writeln!(out, "  refused  {}", refused.join(" · "));
    }
    out
}

fn saved(worth: &Worth) -> String {
    let net = worth.net_ms();
    let sign = if net < 0 { '-' } else { '+' };
    let (saved, cost) = (span(worth.saved_ms), span(worth.cost_ms));
    format!("{} reused, saved {saved}, cost {cost}, net {sign}{}", worth.reused, span(net.unsigned_abs()))
}

fn of_tier(tier: &str, stats: &StoreStats) -> String {
    let mut out = format!("  {tier:<8} read {}, written {}", bytes(stats.bytes_read), bytes(stats.bytes_written));
    if stats.skipped > 0 {
        let _written = write!(out, ", {} not written", stats.skipped);
    }
    if stats.errors > 0 {
        let first = stats.first_error.as_deref().map(|error| format!(": {}", tame(error))).unwrap_or_default();
        let _written = write!(out, ", {}{first}", count(usize::try_from(stats.errors).unwrap_or(usize::MAX), "error"));
    }
    out.push('\n');
    for (layer, lookups) in stats.records.iter().map(|(layer, lookups)| (layer.as_str(), lookups)).chain([("blobs", &stats.blobs)]) {
        if lookups.hits + lookups.misses() > 0 {
            let _written = writeln!(out, "           {layer:<8} {}", ends(lookups));
        }
    }
    out
}

/// How look-ups ended: never a bare "miss".
fn ends(lookups: &Lookups) -> String {
    let all = [
        ("hit", lookups.hits),
        ("absent", lookups.absent),
        ("damaged", lookups.damaged),
        ("of another version", lookups.other_version),
        ("without blobs", lookups.without_blobs),
        ("failed", lookups.failed),
    ];
    all.iter().filter(|(_, times)| *times > 0).map(|(end, times)| format!("{times} {end}")).collect::<Vec<_>>().join(" · ")
}

/// An entry's line in a list.
pub(crate) fn entry(entry: &Entry, now: SystemTime) -> String {
    let used = now.duration_since(entry.used).unwrap_or_default();
    format!("{}  {:>9}  used {} ago\n", name(entry), bytes(entry.bytes), ago(used))
}

/// An entry's name.
pub(crate) fn name(entry: &Entry) -> String {
    let digits: String = entry.digest().to_string().chars().take(DIGITS).collect();
    match (entry.layer(), entry.space()) {
        (Some(layer), Some(space)) => format!("{layer:<8} {:<16} {digits}", tame(&space).replace('\n', " ")),
        _ => format!("{:<8} {:<16} {digits}", "blob", ""),
    }
}

/// A time that has passed, roughly.
fn ago(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_look_up_has_its_end_and_what_it_was_worth_is_net() {
        let lookups = Lookups { hits: 51, absent: 4, without_blobs: 2, ..Lookups::default() };
        let local = StoreStats {
            blobs: Lookups { hits: 9, damaged: 1, ..Lookups::default() },
            records: BTreeMap::from([("image".into(), lookups)]),
            bytes_read: 5 << 20,
            skipped: 3,
            errors: 1,
            first_error: Some("cannot use the content store's files".into()),
            ..StoreStats::default()
        };
        let sum = Sum {
            runs: 57,
            since: Some("2026-11-01T10:00:00Z".into()),
            tiers: BTreeMap::from([("local".into(), local)]),
            layers: BTreeMap::from([
                ("image".into(), Worth { reused: 51, saved_ms: 5_202_000, cost_ms: 3_100 }),
                ("mounts".into(), Worth { reused: 1, saved_ms: 1_000, cost_ms: 9_500 }),
            ]),
            refused: BTreeMap::from([("expired".into(), 2), ("stranger".into(), 3)]),
        };
        let holds = Holds {
            entries: 1234,
            bytes: 3 << 30,
            limit: 10_000_000_000,
            levels: BTreeMap::from([(String::new(), 1 << 20), ("protected".into(), 2 << 30)]),
            coldest_seconds: Some(12 * 86_400),
        };
        insta::assert_snapshot!(stats(Path::new("/home/ann/.cache/splitci"), &holds, &sum), @r"
        /home/ann/.cache/splitci
          holds    1234 files, 3.0 GiB of 9.3 GiB; the coldest was last used 12 days ago
          levels   none 1.0 MiB · protected 2.0 GiB
          runs     57 since 2026-11-01
          image    51 reused, saved 86 min 42 s, cost 3.10 s, net +86 min 38 s
          mounts   1 reused, saved 1.00 s, cost 9.50 s, net -8.50 s
          local    read 5.0 MiB, written 0 B, 3 not written, 1 error: cannot use the content store's files
                   image    51 hit · 4 absent · 2 without blobs
                   blobs    9 hit · 1 damaged
          refused  expired 2 · stranger 3
        ");
    }

    #[test]
    fn a_cache_that_nobody_used_says_so() {
        insta::assert_snapshot!(stats(Path::new("/c"), &Holds::default(), &Sum::default()), @r"
        /c
          holds    0 files, 0 B of 0 B
          runs     none yet that used it
        ");
    }
}
