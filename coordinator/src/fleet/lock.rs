//! Who may change an environment: whoever made the container with the lock's name, on every engine that the environment has.
//!
//! An engine gives a name to one caller only, whatever machines they call from and whatever happens to them afterwards; nothing else has to be there, and `docker
//! ps` shows it. Engines are locked in one order, so that two that want all of them cannot each have half. A lock is given back by the container's *id*: who is
//! late gives back what was his, never what is another's by now. Time alone breaks no lock: a holder may be slow, and then he would go on believing that he has
//! it. What takes a lock from someone who is gone is the proof that he is (his process was of this machine, and has ended), or a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::names::{DEPLOY, FENCE, OWNER, Role};
use super::{Fleet, FleetError, Place, keeper};
use crate::docker::owner::{self, Owner};
use crate::docker::service::Service;
use crate::docker::{Docker, DockerError};
use crate::engine::WorkerBinaries;

const HOLDER: &str = "splitci.holder";
const SINCE: &str = "splitci.since";
const MESSAGE: &str = "splitci.message";
/// A name that is taken, and that nobody has when asked, is on its way out: its engine is given so long.
const MOMENT: Duration = Duration::from_millis(50);

/// Who wants the lock, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of which environment.
    pub place: Place,
    /// The deployment.
    pub deploy: String,
    /// Its fence.
    pub fence: u64,
    /// Who, for people: `anna@laptop`.
    pub holder: String,
    /// Why, for people.
    pub message: String,
    /// When it was asked for, in milliseconds since 1970.
    pub since_ms: u64,
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// On which engine.
    pub engine: String,
    /// The container's id.
    pub id: String,
    /// The deployment that holds it.
    pub deploy: String,
    /// Its fence; 0 where the label is none.
    pub fence: u64,
    /// Who, for people.
    pub holder: String,
    /// Why, for people.
    pub message: String,
    /// Since when, in milliseconds since 1970; 0 where the label is none.
    pub since_ms: u64,
    /// Whether its holder is known to have ended; nothing where that cannot be known from here.
    pub ended: Option<bool>,
}

/// What came of taking it.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// It is somebody's.
    Theirs(Held),
}

/// A lock that is ours, until it is given back. Dropped, it stays where it is: what a crash leaves is for `resume` to find.
#[derive(Debug)]
pub struct Lock {
    parts: Vec<(String, Arc<Docker>, String)>,
}

/// Takes the lock on all engines, or on none. A lock of the same deployment whose holder has ended is taken over.
pub async fn take(fleet: &Fleet, claim: &Claim, workers: &WorkerBinaries) -> Result<Taken, FleetError> {
    fleet.whole()?;
    let mut lock = Lock { parts: Vec::new() };
    for (name, docker) in fleet.engines() {
        match take_one((name, docker), claim, workers).await {
            Ok(Ok(id)) => lock.parts.push((name.to_owned(), Arc::clone(docker), id)),
            Ok(Err(held)) => {
                lock.give_back().await?;
                return Ok(Taken::Theirs(held));
            }
            Err(error) => {
                // What was taken would be held by nobody; the first error is the one to tell.
                lock.give_back().await.ok();
                return Err(error);
            }
        }
    }
    Ok(Taken::Ours(lock))
}

async fn take_one(engine: (&str, &Arc<Docker>), claim: &Claim, workers: &WorkerBinaries) -> Result<Result<String, Held>, FleetError> {
    let (name, docker) = engine;
    let spec = keeper::waiting(claim.place.lock(), keeper::image(engine, workers).await?, labels(claim, Role::Lock));
    loop {
        match docker.create_service(&spec).await {
            Ok(id) => {
                return match docker.start_container(&id).await {
                    Ok(()) => Ok(Ok(id)),
                    Err(error) => {
                        docker.remove_container(&id).await.ok();
                        Err(FleetError::of(name)(error))
                    }
                };
            }
            Err(DockerError::Conflict { .. }) => {}
            Err(error) => return Err(FleetError::of(name)(error)),
        }
        let found = docker.service(&spec.name).await.map_err(FleetError::of(name))?;
        // Who gave it back meanwhile leaves it to whoever asks next.
        let Some(held) = found.map(|found| held(name, found)) else {
            tokio::time::sleep(MOMENT).await;
            continue;
        };
        if held.deploy != claim.deploy || held.ended != Some(true) {
            return Ok(Err(held));
        }
        docker.remove_container(&held.id).await.map_err(FleetError::of(name))?;
    }
}

impl Lock {
    /// Whether every part of it is still there: somebody may have broken it. To be asked before each effect.
    pub async fn holds(&self) -> Result<bool, FleetError> {
        for (name, docker, id) in &self.parts {
            if docker.service(id).await.map_err(FleetError::of(name))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives it back, the last part first. Every part is tried; the first error is told.
    pub async fn give_back(self) -> Result<(), FleetError> {
        let mut first = Ok(());
        for (name, docker, id) in self.parts.iter().rev() {
            let given = docker.remove_container(id).await.map(|_| ()).map_err(FleetError::of(name));
            first = first.and(given);
        }
        first
    }
}

/// Every part of a lock that is held, by engine.
pub async fn held_on(fleet: &Fleet, place: &Place) -> Result<Vec<Held>, FleetError> {
    let mut parts = Vec::new();
    for (name, docker) in fleet.engines() {
        let found = docker.service(&place.lock()).await.map_err(FleetError::of(name))?;
        parts.extend(found.map(|found| held(name, found)));
    }
    Ok(parts)
}

/// Takes these parts away from whoever holds them: exactly the ones that a person saw, by their ids. Whoever held them finds out before his next effect.
pub async fn break_parts(fleet: &Fleet, parts: &[Held]) -> Result<(), FleetError> {
    for part in parts {
        if let Some(docker) = fleet.engine(&part.engine) {
            docker.remove_container(&part.id).await.map_err(FleetError::of(&part.engine))?;
        }
    }
    Ok(())
}

/// Who waited or waits, for people.
pub(super) fn held_by(labels: &BTreeMap<String, String>) -> &str {
    labels.get(HOLDER).map_or("somebody", String::as_str)
}

pub(super) fn labels(claim: &Claim, role: Role) -> BTreeMap<String, String> {
    let mut labels = claim.place.labels(role, &claim.deploy, claim.fence);
    let more = [
        (HOLDER, claim.holder.clone()),
        (OWNER, Owner::here().to_string()),
        (SINCE, claim.since_ms.to_string()),
        (MESSAGE, claim.message.clone()),
    ];
    labels.extend(more.map(|(name, value)| (name.to_owned(), value)));
    labels
}

fn held(engine: &str, found: Service) -> Held {
    let text = |name: &str| found.labels.get(name).cloned().unwrap_or_default();
    Held {
        engine: engine.to_owned(),
        deploy: text(DEPLOY),
        fence: text(FENCE).parse().unwrap_or(0),
        holder: text(HOLDER),
        message: text(MESSAGE),
        since_ms: text(SINCE).parse().unwrap_or(0),
        ended: owner::has_ended(&text(OWNER), &Owner::here()),
        id: found.id,
    }
}
