//! Who runs first, and which files are cut: a list of files and what is known of them goes in, the frozen manifest comes out.
//!
//! Files without history come first (any of them may be the longest), then the longest predicted. With sessions that pull, this keeps a run within a few
//! percent of the lower bound; a file that is longer than the others' share is cut into slices, because no order helps against it. The manifest says nothing of who
//! runs what: that is the queue's. Pure: no clock, no files, and chance only from the seed. It does not know how durations are stored.
//!
//! Next: `slices` cuts a file, [`timings`] is what is known of the past.

mod shuffle;
mod slices;
pub mod timings;

pub use timings::{FileRun, FileTiming, Timings};

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::settings::Order;
use crate::model::{Manifest, Select, SuiteId, Unit, UnitKind};

/// What a plan depends on besides the files and their past.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// How many sessions there will be at a time.
    pub shards: u32,
    /// In which order.
    pub order: Order,
    /// For the random one.
    pub seed: u64,
    /// How the files of each suite may be cut.
    pub groups: Vec<Group>,
}

/// From a test's id, the part that names what must stay together (its class, or the whole id). Absent: the framework cannot run parts of a file.
pub type Group = Option<fn(&str) -> &str>;

/// The manifest of these files of each suite, which its framework listed in this order. Only the scheduled order cuts files: the other two are asked for to see tests run
/// side by side as they stand.
pub fn plan(suites: &[Vec<String>], timings: &Timings, request: &PlanRequest) -> Manifest {
    let whole = |(suite, file): (SuiteId, &String)| Unit {
        suite,
        file: file.clone(),
        kind: UnitKind::File,
        predicted_ms: timings.predicted_ms(file),
    };
    let mut units: Vec<_> = listed(suites).map(whole).collect();
    match request.order {
        Order::Defined => {}
        Order::Random => shuffle::shuffle(&mut units, request.seed),
        Order::Scheduled => units = schedule(units, timings, request),
    }
    Manifest { units }
}

/// Files with their suites, in the order of both.
fn listed(suites: &[Vec<String>]) -> impl Iterator<Item = (SuiteId, &String)> {
    (0..).map(SuiteId).zip(suites).flat_map(|(suite, files)| files.iter().map(move |file| (suite, file)))
}

/// The manifest of these tests alone, by id, in the order in which the frameworks listed their files. A file without ids is run whole; one that the framework does
/// not list any more stays in the manifest, so that the driver says what became of it: that of the suite that `owner` names.
pub fn plan_only(suites: &[Vec<String>], only: &[(String, Vec<String>)], owner: impl Fn(&str) -> SuiteId) -> Manifest {
    let places: BTreeMap<_, _> = listed(suites).zip(0_usize..).map(|((suite, file), place)| (file, (place, suite))).collect();
    let mut parts: BTreeMap<(usize, SuiteId, &str), Select> = BTreeMap::new();
    for (file, ids) in only {
        let (place, suite) = places.get(file).copied().unwrap_or_else(|| (usize::MAX, owner(file)));
        let part = parts.entry((place, suite, file)).or_insert_with(|| Select::Only(Vec::new()));
        match part {
            Select::Only(known) if !ids.is_empty() => known.extend(ids.iter().cloned()),
            _ => *part = Select::All,
        }
    }
    let kind = |select| match select {
        Select::All => UnitKind::File,
        select => UnitKind::Part { select, from: 0, until: None },
    };
    let units = parts.into_iter().map(|((_, suite, file), select)| Unit::new(suite, file, kind(select)));
    Manifest { units: units.collect() }
}

fn schedule(whole: Vec<Unit>, timings: &Timings, request: &PlanRequest) -> Vec<Unit> {
    let ideal_ms = ideal_ms(&whole, request.shards);
    let (mut units, mut fallbacks) = (Vec::with_capacity(whole.len()), Vec::new());
    for unit in whole {
        match slices::cut(&unit, timings.file(&unit.file), ideal_ms, request) {
            Some(slices) => {
                units.extend(slices);
                fallbacks.push(Unit { kind: UnitKind::Fallback, ..unit });
            }
            None => units.push(unit),
        }
    }
    // A stable sort: the framework's order among equals.
    units.sort_by_key(|unit| unit.predicted_ms.map(Reverse));
    units.extend(fallbacks);
    units
}

/// A shard's share of the work, if it could be divided at will. A file without history counts as the mean of the others.
fn ideal_ms(units: &[Unit], shards: u32) -> u64 {
    let known: Vec<u64> = units.iter().filter_map(|unit| unit.predicted_ms).collect();
    let (sum, number) = (known.iter().sum::<u64>(), known.len() as u64);
    let mean = sum.checked_div(number).unwrap_or(0);
    (sum + mean * (units.len() as u64 - number)) / u64::from(shards.max(1))
}

#[cfg(test)]
mod tests;
