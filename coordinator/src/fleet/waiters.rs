//! Who waits for an environment's lock: each has a container of its own on the first engine. Of those that wait the newest deploys, since what it brings came last; the others find
//! out that they were overtaken, and leave without ever having had the lock.
//!
//! Newer is whose deployment has the greater name: names sort by the time at which they were given. What a process of this machine has left behind that ended counts for nobody,
//! and everything that is not newer than who gets the lock goes with that.

use std::sync::Arc;

use super::lock::{Claim, held_by, labels};
use super::names::{DEPLOY, OWNER, ROLE, Role};
use super::{Fleet, FleetError, Place, keeper};
use crate::docker::Docker;
use crate::docker::container::ListedContainer;
use crate::docker::owner::{self, Owner};
use crate::engine::WorkerBinaries;

/// One that waits, until it leaves. Dropped, its container stays where it is, as after a crash.
#[derive(Debug)]
pub struct Waiter {
    engine: (String, Arc<Docker>),
    place: Place,
    deploy: String,
    id: String,
}

impl Waiter {
    /// Waits from now on.
    ///
    /// # Errors
    /// The first engine does not do what it is asked for.
    pub async fn join(fleet: &Fleet, claim: &Claim, workers: &WorkerBinaries) -> Result<Option<Self>, FleetError> {
        let Some((name, docker)) = fleet.engines().next() else { return Ok(None) };
        let (place, deploy) = (claim.place.clone(), claim.deploy.clone());
        let image = keeper::image((name, docker), workers).await?;
        let spec = keeper::waiting(place.waiter(&deploy), image, labels(claim, Role::Waiter));
        let id = docker.create_service(&spec).await.map_err(FleetError::of(name))?;
        let waiter = Self { engine: (name.to_owned(), Arc::clone(docker)), place, deploy, id };
        // One that runs is not taken away by a prune.
        match docker.start_container(&waiter.id).await {
            Ok(()) => Ok(Some(waiter)),
            Err(error) => {
                // The first error is the one to tell; one that never ran goes with the next deployment.
                waiter.leave().await.ok();
                Err(FleetError::of(name)(error))
            }
        }
    }

    /// Who came later and waits, too: the newest, in words for people.
    pub async fn overtaken(&self) -> Result<Option<String>, FleetError> {
        let (name, docker) = &self.engine;
        let mut newer = waiting(name, docker, &self.place).await?;
        newer.retain(|found| deploy_of(found) > self.deploy.as_str() && !has_ended(found));
        newer.sort_by(|a, b| deploy_of(a).cmp(deploy_of(b)));
        Ok(newer.last().map(|found| format!("{} (deployment {})", held_by(&found.labels), deploy_of(found))))
    }

    /// Waits no longer.
    pub async fn leave(self) -> Result<(), FleetError> {
        let (name, docker) = &self.engine;
        docker.remove_container(&self.id).await.map(drop).map_err(FleetError::of(name))
    }
}

/// Takes away what is left of those that are not newer than this deployment, which has the lock.
pub async fn clear(fleet: &Fleet, place: &Place, deploy: &str) -> Result<(), FleetError> {
    let Some((name, docker)) = fleet.engines().next() else { return Ok(()) };
    for found in waiting(name, docker, place).await? {
        if deploy_of(&found) <= deploy || has_ended(&found) {
            docker.remove_container(&found.id).await.map_err(FleetError::of(name))?;
        }
    }
    Ok(())
}

async fn waiting(name: &str, docker: &Docker, place: &Place) -> Result<Vec<ListedContainer>, FleetError> {
    let mut found = docker.containers_labelled(&place.filter()).await.map_err(FleetError::of(name))?;
    found.retain(|found| found.labels.get(ROLE).is_some_and(|role| role == Role::Waiter.word()));
    Ok(found)
}

fn deploy_of(found: &ListedContainer) -> &str {
    found.labels.get(DEPLOY).map_or("", String::as_str)
}

/// Whether its process was of this machine, and is no more.
fn has_ended(found: &ListedContainer) -> bool {
    let owner = found.labels.get(OWNER).map_or("", String::as_str);
    owner::has_ended(owner, &Owner::here()) == Some(true)
}
