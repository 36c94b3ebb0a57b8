//! How a deployment comes by the environment's lock: at once, or after those that have it, unless a newer one waits as well.

use std::time::{Duration, Instant};

use super::{Actor, RolloutError, Site, Watcher, ledger, now_ms, observe};
use crate::fleet::waiters::{self, Waiter};
use crate::fleet::{Claim, FleetError, Lock, Taken, lock};
use crate::model::environment::DeployId;
use crate::model::{Fence, chain};

/// So often a fence is taken that somebody else took at the same moment.
const FENCES: usize = 8;
/// From one look at the lock to the next.
const AGAIN: Duration = Duration::from_millis(500);

/// The lock, under a fence that is higher than any before it. A lock that is held is waited for, for so long.
pub(super) async fn enter(
    site: &Site,
    deploy: &DeployId,
    actor: &Actor,
    (within, watcher): (Duration, &dyn Watcher),
) -> Result<(Lock, Fence), RolloutError> {
    let entered = match take(site, deploy, actor).await {
        Err(RolloutError::Locked(held)) if !within.is_zero() && held.ended != Some(true) => {
            watcher.warns(&format!("waits for {} (deployment {}), for {} s at most", held.holder, held.deploy, within.as_secs()));
            queue(site, (deploy, actor), (within, watcher)).await
        }
        entered => entered,
    };
    if entered.is_ok() {
        tell(watcher, waiters::clear(&site.fleet, &site.place, &deploy.0).await);
    }
    entered
}

/// Whatever is left of those that wait holds up nobody: it is told of, and goes with the next.
fn tell(watcher: &dyn Watcher, cleared: Result<(), FleetError>) {
    if let Err(error) = cleared {
        watcher.warns(&format!("what shows that a process waited is still there: {}", chain(&error)));
    }
}

/// Waits where others can see it.
async fn queue(
    site: &Site,
    (deploy, actor): (&DeployId, &Actor),
    (within, watcher): (Duration, &dyn Watcher),
) -> Result<(Lock, Fence), RolloutError> {
    let Some(waiter) = Waiter::join(&site.fleet, &claim(site, (deploy, Fence(0)), actor), &site.workers).await? else {
        // Without an engine there is no lock to wait for, either.
        return take(site, deploy, actor).await;
    };
    let entered = wait(site, (deploy, actor), &waiter, (within, watcher)).await;
    tell(watcher, waiter.leave().await);
    entered
}

/// Until the lock is ours, a newer deployment is seen, or somebody wants no more. Who was overtaken takes no lock, also not one that is free by now.
async fn wait(
    site: &Site,
    (deploy, actor): (&DeployId, &Actor),
    waiter: &Waiter,
    (within, watcher): (Duration, &dyn Watcher),
) -> Result<(Lock, Fence), RolloutError> {
    let began = Instant::now();
    loop {
        if let Some(by) = waiter.overtaken().await? {
            return Err(RolloutError::Overtaken(by));
        }
        if let Some(by) = watcher.stops() {
            return Err(RolloutError::Stopped(by));
        }
        let held = lock::held_on(&site.fleet, &site.place).await?.into_iter().next().map(Box::new);
        match &held {
            Some(held) if held.deploy > deploy.0 => {
                return Err(RolloutError::Overtaken(format!("{} (deployment {})", held.holder, held.deploy)));
            }
            // Who has ended gives nothing back: that one is to be gone on with.
            Some(held) if held.ended == Some(true) => return Err(RolloutError::Locked(held.clone())),
            Some(_) => {}
            // Free: only now is the journal worth reading.
            None => {
                if let Some(newer) = ledger::read(site).await?.rows().last().filter(|row| row.deploy > *deploy) {
                    return Err(RolloutError::Overtaken(format!("{} (deployment {})", newer.actor, newer.deploy)));
                }
                match take(site, deploy, actor).await {
                    Err(RolloutError::Locked(_) | RolloutError::Fenced) => {}
                    entered => return entered,
                }
            }
        }
        if began.elapsed() >= within {
            return Err(held.map_or(RolloutError::Fenced, RolloutError::Locked));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn take(site: &Site, deploy: &DeployId, actor: &Actor) -> Result<(Lock, Fence), RolloutError> {
    for _ in 0..FENCES {
        let fence = Fence(seen_fence(site).await?.0.saturating_add(1));
        let lock = match lock::take(&site.fleet, &claim(site, (deploy, fence), actor), &site.workers).await? {
            Taken::Ours(lock) => lock,
            Taken::Theirs(held) => return Err(RolloutError::Locked(Box::new(held))),
        };
        // Whoever had the lock between the look and the taking had this fence, and may have written under it.
        if ledger::read(site).await?.fence() < fence && observe::highest_fence(site).await? <= fence {
            return Ok((lock, fence));
        }
        lock.give_back().await?;
    }
    Err(RolloutError::Fenced)
}

fn claim(site: &Site, (deploy, fence): (&DeployId, Fence), actor: &Actor) -> Claim {
    Claim {
        place: site.place.clone(),
        deploy: deploy.0.clone(),
        fence: fence.0,
        holder: actor.name.clone(),
        message: actor.message.clone(),
        since_ms: now_ms(),
    }
}

/// The highest fence of all, on things and in the journal.
async fn seen_fence(site: &Site) -> Result<Fence, RolloutError> {
    Ok(observe::highest_fence(site).await?.max(ledger::read(site).await?.fence()))
}
