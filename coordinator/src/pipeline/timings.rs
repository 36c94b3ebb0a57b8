//! How long things took, where it is remembered: in the state directory, and in the cache for runners that live for one job and have no other past.

use std::time::Duration;

use super::cache::Cache;
use crate::history::{History, Kept};
use crate::model::chain;
use crate::plan::{FileRun, Timings};

const LAYER: &str = "timings";
/// How long they are kept after the project's last run.
const KEEP: Duration = Duration::from_hours(90 * 24);

/// What is known of a project. What this machine remembers comes first; what others remember is asked for where it remembers nothing.
pub(super) async fn known(history: &History, cache: Option<&Cache>, project: [u8; 32]) -> Kept<Timings> {
    let own = history.timings().load::<Timings>();
    let (Some(cache), 0) = (cache, own.timings.runs) else { return own };
    let kept = cache.recall(LAYER, project).await;
    // One that is of another version is none, as in the state directory.
    let others = kept.iter().filter_map(|bytes| serde_json::from_slice::<Timings>(bytes).ok()).max_by_key(|timings| timings.runs);
    Kept { timings: others.unwrap_or_default(), ..own }
}

/// Remembers what a run took. What was learnt is worth less than the run: if it cannot be kept the next plan is worse, and nothing else. Returns what is to be said then.
pub(super) async fn learn(lessons: &[FileRun], history: &History, cache: Option<&Cache>, project: [u8; 32]) -> Option<String> {
    let mut learnt = known(history, cache, project).await.timings;
    let alone = history.timings().load::<Timings>().timings.runs == 0;
    let kept = history.timings().update::<Timings>(|timings| {
        if alone && timings.runs == 0 {
            std::mem::swap(timings, &mut learnt);
        }
        timings.learn(lessons);
        learnt.clone_from(timings);
    });
    if let Some(cache) = cache
        && let Ok(bytes) = serde_json::to_vec(&learnt)
    {
        // Counted by the store; who has a past of its own does not need it.
        let _counted = cache.remember(LAYER, project, bytes, KEEP).await;
    }
    let error = kept.err()?;
    Some(format!("what this run took is not remembered, the next one is planned without it: {}", chain(&error)))
}
