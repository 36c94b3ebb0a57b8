//! How a tool without a driver is driven: what its preset says, and what the keys of `[suite]` say instead. Pure.

use super::fault::{FaultKind, Faults, Place};
use super::schema::Given;
use super::setting::{Count, Items, ResultsKind, Words};
use crate::model::{Listing, Naming, Recipe, Results};

/// Placeholders that stand for the units of a command.
const UNITS: &[&str] = &["{units}", "{regex}", "{classes}", "{nested}", "{target}"];

/// The keys of `[suite]` that are for such tools alone.
#[derive(Debug, Default)]
pub(super) struct RecipeKeys {
    pub(super) prepare: Option<Given<Words>>,
    pub(super) files: Option<Given<Items>>,
    pub(super) list: Option<Given<Words>>,
    pub(super) results: Option<Given<ResultsKind>>,
    pub(super) report: Option<Given<String>>,
    pub(super) batch: Option<Given<Count>>,
}

/// A framework that has a driver finds and reads everything itself.
pub(super) fn refuse(framework: &str, keys: &RecipeKeys, faults: &mut Faults) {
    let places = [
        keys.prepare.as_ref().map(|given| &given.place),
        keys.files.as_ref().map(|given| &given.place),
        keys.list.as_ref().map(|given| &given.place),
        keys.results.as_ref().map(|given| &given.place),
        keys.report.as_ref().map(|given| &given.place),
        keys.batch.as_ref().map(|given| &given.place),
    ];
    for place in places.into_iter().flatten() {
        faults.push(place.clone(), FaultKind::HasDriver { framework: framework.to_owned() });
    }
}

/// The recipe: the preset's, with what was said instead.
pub(super) fn resolve(base: Recipe, command: &[String], keys: RecipeKeys, only: Vec<String>, faults: &mut Faults) -> Recipe {
    if command.is_empty() {
        faults.push(Place::Nowhere, FaultKind::NoCommand { framework: base.tool.clone() });
    } else if !command.iter().any(|word| UNITS.iter().any(|units| word.contains(units))) {
        faults.push(Place::Nowhere, FaultKind::NoUnits(command.join(" ")));
    }
    if let (Some(files), Some(_)) = (&keys.files, &keys.list) {
        faults.push(files.place.clone(), FaultKind::TwoListings);
    }
    let patterns = keys.files.map(|given| given.value.0).unwrap_or_default();
    for pattern in patterns.iter().filter(|pattern| fast_glob::validate(&pattern.text).is_err()) {
        faults.push(pattern.place.clone(), FaultKind::Pattern(pattern.text.clone()));
    }
    let patterns: Vec<String> = patterns.into_iter().map(|pattern| pattern.text).collect();
    let units = match (keys.list, patterns.is_empty()) {
        (Some(list), _) => Listing::Lines(list.value.0),
        (None, false) => Listing::Files(patterns),
        (None, true) => base.units,
    };
    if matches!(&units, Listing::Files(patterns) if patterns.is_empty()) {
        faults.push(Place::Nowhere, FaultKind::NoListing { framework: base.tool.clone() });
    }
    let (results, naming) = match keys.results {
        Some(Given { value: ResultsKind(results), .. }) if results != base.results => (results, results.naming()),
        _ => (base.results, base.naming),
    };
    let batch = match keys.batch {
        Some(Given { value: Count(batch), place }) => {
            if batch > 1 && naming == Naming::Alone && results != Results::Exit {
                faults.push(place, FaultKind::NamelessBatch);
            }
            batch
        }
        None => base.batch,
    };
    let prepare = keys.prepare.map(|given| given.value.0).unwrap_or(base.prepare);
    Recipe { prepare, units, only, results, report: keys.report.map(|given| given.value).or(base.report), batch, naming, ..base }
}
