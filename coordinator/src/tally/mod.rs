//! What the cache was good for, run by run: kept beside it, and added up by `splitci cache stats`.
//!
//! Every look-up has an end with a name, and what a hit saved is set against what all the looking, fetching and storing cost: a cache that costs more than it
//! saves has to show. A line of JSON for each run, appended under a lock; lines that cannot be read are passed over, and old ones go when there are
//! many. Losing the file loses numbers.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::content::{Lookups, StoreStats};

/// The form of a line.
const VERSION: u32 = 1;
/// A file larger than this loses the older half of its lines.
const MOST_BYTES: u64 = 1 << 20;

/// What one run had of the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Form of this line.
    pub version: u32,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Which run.
    pub run: String,
    /// What each tier did.
    pub tiers: BTreeMap<String, StoreStats>,
    /// What each layer was good for.
    pub layers: BTreeMap<String, Worth>,
    /// Entries that were found and not believed, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// What a layer was good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    /// Things that were not done again.
    pub reused: u64,
    /// How long they took when they were done.
    pub saved_ms: u64,
    /// How long looking, fetching and storing took.
    pub cost_ms: u64,
}

impl Worth {
    /// What was saved, less what it cost.
    pub fn net_ms(&self) -> i64 {
        self.saved_ms.cast_signed() - self.cost_ms.cast_signed()
    }
}

/// All runs that are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub runs: usize,
    /// When the first of them was.
    pub since: Option<String>,
    /// What each tier did.
    pub tiers: BTreeMap<String, StoreStats>,
    /// What each layer was good for.
    pub layers: BTreeMap<String, Worth>,
    /// Entries that were found and not believed, by reason.
    pub refused: BTreeMap<String, u64>,
}

fn place(directory: &Path) -> PathBuf {
    directory.join("tally.jsonl")
}

/// Remembers what a run had of the cache in this directory.
pub fn note(directory: &Path, tally: &Tally) -> std::io::Result<()> {
    let line = serde_json::to_string(&Tally { version: VERSION, ..tally.clone() }).map_err(std::io::Error::other)?;
    fs::create_dir_all(directory)?;
    let mut file = fs::OpenOptions::new().create(true).read(true).append(true).open(place(directory))?;
    file.lock()?;
    let length = file.metadata()?.len();
    if length > MOST_BYTES {
        shorten(&mut file)?;
    }
    // A line that somebody could not finish ends here; in one go, so that nobody else's comes between.
    let start = if ends_open(&mut file)? { "\n" } else { "" };
    file.write_all(format!("{start}{line}\n").as_bytes())
}

/// Drops the older half. In place, for others wait for the lock of this very file.
fn shorten(file: &mut fs::File) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let half = bytes.len() / 2;
    let from = bytes[half..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| half + at + 1);
    file.set_len(0)?;
    file.write_all(&bytes[from..])
}

fn ends_open(file: &mut fs::File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Everything that is remembered; nothing where there is no file.
pub fn sum(directory: &Path) -> std::io::Result<Sum> {
    let bytes = match fs::read(place(directory)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Tally>(line).ok());
    Ok(lines.filter(|tally| tally.version == VERSION).fold(Sum::default(), Sum::and))
}

impl Sum {
    fn and(mut self, tally: Tally) -> Self {
        self.runs += 1;
        self.since = self.since.or(Some(tally.at));
        for (tier, stats) in tally.tiers {
            add_stats(self.tiers.entry(tier).or_default(), stats);
        }
        for (layer, worth) in tally.layers {
            let sum = self.layers.entry(layer).or_default();
            sum.reused = sum.reused.saturating_add(worth.reused);
            sum.saved_ms = sum.saved_ms.saturating_add(worth.saved_ms);
            sum.cost_ms = sum.cost_ms.saturating_add(worth.cost_ms);
        }
        for (reason, times) in tally.refused {
            let sum = self.refused.entry(reason).or_default();
            *sum = sum.saturating_add(times);
        }
        self
    }
}

fn add_stats(sum: &mut StoreStats, stats: StoreStats) {
    add_lookups(&mut sum.blobs, stats.blobs);
    for (layer, lookups) in stats.records {
        add_lookups(sum.records.entry(layer).or_default(), lookups);
    }
    for (sum, more) in [
        (&mut sum.written, stats.written),
        (&mut sum.skipped, stats.skipped),
        (&mut sum.bytes_read, stats.bytes_read),
        (&mut sum.bytes_written, stats.bytes_written),
        (&mut sum.errors, stats.errors),
    ] {
        *sum = sum.saturating_add(more);
    }
    // The latest: an old one may have been mended.
    sum.first_error = stats.first_error.or(sum.first_error.take());
}

fn add_lookups(sum: &mut Lookups, more: Lookups) {
    for (sum, more) in [
        (&mut sum.hits, more.hits),
        (&mut sum.absent, more.absent),
        (&mut sum.damaged, more.damaged),
        (&mut sum.other_version, more.other_version),
        (&mut sum.without_blobs, more.without_blobs),
        (&mut sum.failed, more.failed),
    ] {
        *sum = sum.saturating_add(more);
    }
}
