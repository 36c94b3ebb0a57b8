//! Build mounts of a run: who carries them, as whom, and how long the end of a run waits for them.
//!
//! They are restored for everybody who has a cache, and saved by runs whose word counts on other machines: a machine of its own has its mounts in its own
//! builder already.

use std::sync::Arc;
use std::time::Duration;

use super::World;
use super::cache::Cache;
use super::repository::identity;
use crate::config::Project;
use crate::image::travel::Travel;
use crate::mounts::{Balance, Carrier, LAYER, Needs};
use crate::tally::Worth;

/// How long the end of a run waits for what is still being saved. It had all the time of the tests.
const WAIT: Duration = Duration::from_secs(10);

/// Who carries the mounts of a run's build.
pub(super) fn carrier(cache: &Cache, project: &Project, world: &World) -> Arc<dyn Travel> {
    let workers = world.workers.clone();
    let carrier = cache.carrier.get_or_init(|| {
        Carrier::new(Needs {
            vault: Arc::clone(&cache.vault),
            lease: Some(Arc::clone(&cache.lease)),
            project: identity(project),
            program: Arc::new(move |arch| workers.get(arch).cloned()),
            scratch: world.scratch.clone(),
            state: project.records.state.clone(),
            saves: !cache.read_only && cache.vault.seal().space().level.travels(),
        })
    });
    Arc::new(carrier.clone())
}

impl Cache {
    /// Waits for what is being saved, but not for long, and counts what all of it was good for. What the user should know.
    pub(super) async fn finish_mounts(&self) -> Vec<String> {
        let Some(carrier) = self.carrier.get() else { return Vec::new() };
        let notes = carrier.finish(WAIT).await;
        let Balance { restored, saved_ms, cost_ms } = carrier.balance();
        // A build without mounts says nothing of them.
        if cost_ms > 0 {
            self.count(LAYER, Worth { reused: restored, saved_ms, cost_ms });
        }
        notes
    }
}
