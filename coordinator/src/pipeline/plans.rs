//! What is run of the suites that were listed: everything by what is known of the past, failures alone, what is left beside reused results, or what was given.

use std::collections::{BTreeMap, BTreeSet};

use super::PipelineError;
use super::launches::framework_of;
use crate::history::History;
use crate::model::settings::{RunSettings, SuiteSettings};
use crate::model::{Manifest, RunId, SuiteId};
use crate::plan::{self, PlanRequest, Timings};
use crate::proof::Proof;
use crate::report::failed::failed;
use crate::reuse::offer::Choice;
use crate::run::{Plan, Planner};

/// The plan of a whole run.
pub(super) fn planned(settings: &RunSettings, timings: Timings) -> Result<Planner, PipelineError> {
    let groups = settings.suites.iter().map(|suite| Ok(framework_of(suite)?.group())).collect::<Result<_, PipelineError>>()?;
    let request = PlanRequest { shards: settings.shards, order: settings.order, seed: settings.seed, groups };
    Ok(Box::new(move |suites: &[Vec<String>]| plan::plan(suites, &timings, &request).into()))
}

/// The plan of failures alone.
pub(super) fn replanned(settings: &RunSettings, only: Vec<FileTests>, paths_given: bool) -> Planner {
    let suites = settings.suites.clone();
    let owner = move |file: &str| (0..).map(SuiteId).zip(&suites).find(|(_, suite)| suite.owned(file).is_some()).map(|(id, _)| id);
    Box::new(move |suites: &[Vec<String>]| {
        // Where paths are given, failures elsewhere are not asked for.
        let asked = |file: &String| !paths_given || suites.iter().any(|files| files.contains(file));
        let wanted: Vec<_> = only.iter().filter(|(file, _)| asked(file)).cloned().collect();
        plan::plan_only(suites, &wanted, |file| owner(file).unwrap_or_default()).into()
    })
}

/// Leaves out the suites that have none of these failures: they would run nothing, which is no pass.
pub(super) fn narrow(settings: &mut RunSettings, failed: &[FileTests]) -> Result<(), PipelineError> {
    settings.suites.retain(|suite| failed.iter().any(|(file, _)| suite.owned(file).is_some()));
    if settings.suites.is_empty() { Err(PipelineError::NothingFailed) } else { Ok(()) }
}

/// What is known of how long files take, in microseconds.
pub(super) fn durations(timings: &Timings) -> BTreeMap<String, u64> {
    timings.files.iter().map(|(file, timing)| (file.clone(), timing.total_us)).collect()
}

/// How long a suite took in earlier runs, in milliseconds.
pub(super) fn expected(suite: &SuiteSettings, durations: &BTreeMap<String, u64>) -> u64 {
    let files = durations.iter().filter(|(file, _)| suite.owned(file).is_some());
    files.fold(0_u64, |sum, (_, micros)| sum.saturating_add(*micros)).div_ceil(1_000)
}

/// A planner of what is left when the files of a choice are taken away.
pub(super) fn offering(planner: Planner, choose: impl Fn(&[Vec<String>]) -> Choice + Send + 'static) -> Planner {
    Box::new(move |suites: &[Vec<String>]| {
        let Choice { reused, canaries } = choose(suites);
        let gone: BTreeSet<&str> = reused.iter().map(|known| &*known.file).collect();
        let left = |files: &Vec<String>| files.iter().filter(|file| !gone.contains(file.as_str())).cloned().collect();
        let rest: Vec<Vec<String>> = suites.iter().map(left).collect();
        Plan { manifest: planner(&rest).manifest, reused, canaries }
    })
}

/// A file and ids of some of its tests.
pub(super) type FileTests = (String, Vec<String>);

/// The failures of the last run, by file.
pub(super) fn failed_before(history: &History) -> Result<(RunId, Vec<FileTests>), PipelineError> {
    let run = history.resolve("last")?;
    let mut proof = Proof::default();
    for event in history.read(&run)? {
        proof.apply(&event?);
    }
    let only: Vec<_> = failed(&proof).into_iter().map(|failed| (failed.file, failed.ids)).collect();
    if only.is_empty() { Err(PipelineError::NothingFailed) } else { Ok((run, only)) }
}

/// Tests that failed before and are no more: that they do not fail now proves nothing.
pub(super) fn vanished(failed: &[FileTests], proof: &Proof) -> Option<String> {
    let ran: BTreeSet<_> = proof.tests().map(|test| (test.unit_file, test.id)).collect();
    let files: BTreeSet<_> = ran.iter().map(|(file, _)| *file).collect();
    let all = failed
        .iter()
        .filter(|(file, _)| files.contains(file.as_str()))
        .flat_map(|(file, ids)| ids.iter().map(move |id| (file.as_str(), id.as_str())));
    let gone: Vec<_> = all.filter(|test| !ran.contains(test)).map(|(_, id)| id).collect();
    let first = gone.first()?;
    let more = if gone.len() > 1 { format!(" and {} more", gone.len() - 1) } else { String::new() };
    Some(format!("failed in the last run and not there any more: {first}{more}"))
}

/// A plan that is given: nothing is decided any more.
pub(super) fn given(manifest: Manifest) -> Planner {
    Box::new(move |_| manifest.clone().into())
}
