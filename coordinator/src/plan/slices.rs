//! Cuts a slow file into slices of about equal predicted time: lists of ids, and one slice for the rest.
//!
//! The rest is named by what it is not, so tests that nobody knows yet are in it. Slices are contiguous, so that tests which lean on their neighbours mostly
//! keep them; what belongs together (a class) is never cut. Each slice loads the file again and is charged for it. A file whose ids change from load to load is never cut.

use std::collections::BTreeMap;

use super::{FileTiming, PlanRequest};
use crate::model::{Select, Unit, UnitKind};

/// A file is cut when it is predicted above this part of the ideal makespan. Found by simulation: below it, the others fill the gaps.
const CUT_ABOVE_PERCENT: u64 = 70;
/// Cutting costs a load for each slice and finds ids that change; below this nobody would notice what it saves.
const WORTH_CUTTING_MS: u64 = 500;

/// A file is left whole if its longest slice is shorter than it by less than one part in so many, or by less than it takes to load.
const LEAST_WON: u64 = 10;

/// What is never cut.
struct Group<'a> {
    ids: Vec<&'a str>,
    micros: u64,
}

/// The file's slices, if it shall be cut.
pub(super) fn cut(unit: &Unit, timing: Option<&FileTiming>, ideal_ms: u64, request: &PlanRequest) -> Option<Vec<Unit>> {
    let group = usize::try_from(unit.suite.0).ok().and_then(|suite| request.groups.get(suite).copied().flatten());
    let (timing, group, predicted_ms) = (timing?, group?, unit.predicted_ms?);
    let slow = predicted_ms >= WORTH_CUTTING_MS && predicted_ms * 100 > ideal_ms * CUT_ABOVE_PERCENT;
    if !slow || timing.unstable || request.shards < 2 {
        return None;
    }
    let groups = groups(&timing.tests, group);
    let number = number_of_slices(&groups, timing.load_us, ideal_ms * 1_000, request.shards);
    let chunks = divide(&groups, number);
    // Where one group is nearly all of the file, every slice beside it is another load for nothing.
    let longest = chunks.iter().map(|chunk| micros(chunk)).max().unwrap_or(0);
    let won = micros(&groups) - longest;
    if won < timing.load_us.max(micros(&groups) / LEAST_WON) {
        return None;
    }
    let named: Vec<Vec<String>> = chunks.iter().map(|chunk| ids(chunk)).collect();
    let last = named.len() - 1;
    let select = |place: usize| {
        if place < last { Select::Only(named[place].clone()) } else { Select::Except(named[..last].concat()) }
    };
    let slice = |(place, chunk): (usize, &&[Group<'_>])| Unit {
        suite: unit.suite,
        file: unit.file.clone(),
        kind: UnitKind::Slice { select: select(place) },
        predicted_ms: Some((timing.load_us + micros(chunk)).div_ceil(1_000)),
    };
    Some(chunks.iter().enumerate().map(slice).collect())
}

/// The groups in the order of their first tests.
fn groups<'a>(tests: &'a [(String, u64)], group: fn(&str) -> &str) -> Vec<Group<'a>> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (id, micros) in tests {
        let place = *places.entry(group(id)).or_insert_with(|| {
            groups.push(Group { ids: Vec::new(), micros: 0 });
            groups.len() - 1
        });
        groups[place].ids.push(id);
        groups[place].micros += micros;
    }
    groups
}

/// So many that a slice takes half a shard's share, loading included, yet no less for its tests than for loading: else the loads eat what was won.
fn number_of_slices(groups: &[Group<'_>], load_us: u64, ideal_us: u64, shards: u32) -> u64 {
    let aim_us = (ideal_us / 2).saturating_sub(load_us).max(load_us).max(1);
    micros(groups).div_ceil(aim_us).min(2 * u64::from(shards))
}

/// At most so many runs of groups, the longest of them as short as possible: the smallest capacity that suffices, by bisection.
fn divide<'g, 'a>(groups: &'g [Group<'a>], number: u64) -> Vec<&'g [Group<'a>]> {
    let (mut low, mut high) = (groups.iter().map(|group| group.micros).max().unwrap_or(0), micros(groups));
    while low < high {
        let capacity = low.midpoint(high);
        if fill(groups, capacity).len() as u64 <= number {
            high = capacity;
        } else {
            low = capacity + 1;
        }
    }
    fill(groups, low)
}

fn fill<'g, 'a>(groups: &'g [Group<'a>], capacity: u64) -> Vec<&'g [Group<'a>]> {
    let (mut chunks, mut start, mut filled) = (Vec::new(), 0, 0);
    for (place, group) in groups.iter().enumerate() {
        if place > start && filled + group.micros > capacity {
            chunks.push(&groups[start..place]);
            (start, filled) = (place, 0);
        }
        filled += group.micros;
    }
    if start < groups.len() {
        chunks.push(&groups[start..]);
    }
    chunks
}

fn micros(groups: &[Group<'_>]) -> u64 {
    groups.iter().map(|group| group.micros).sum()
}

fn ids(chunk: &[Group<'_>]) -> Vec<String> {
    chunk.iter().flat_map(|group| &group.ids).map(|&id| id.to_owned()).collect()
}
