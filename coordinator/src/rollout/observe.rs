//! Everything of an environment looked at once. What does not answer is unknown, and is said to be; nothing of the last look is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Site;
use super::probe::{Probes, unhealthy};
use crate::balancer::server::CheckResult as Found;
use crate::balancer::{Name, Observation, Server as Seen};
use crate::deployment::{
    Admin, Balancer, CheckResult, Container, ContainerId, ContainerState, Gate, Lock, MigrationView, Server, SlotView, Traffic, World,
};
use crate::docker::Docker;
use crate::docker::service::{HealthCheck, Phase, Service};
use crate::fleet::instance::{self, Instance};
use crate::fleet::{FleetError, Held, lock, names};
use crate::model::environment::{DeployId, Release, Role, Slot, SlotName};
use crate::model::{Fence, chain};

/// An engine that takes longer than this to answer does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one engine tells.
struct Told {
    instances: Vec<Instance>,
    images: BTreeSet<String>,
    migration: Option<Service>,
    lock: Option<Held>,
}

/// The world now, and for each engine and balancer that does not answer why, a sentence each.
pub(super) async fn world(site: &Site, (deploy, target): (&DeployId, &Release), probes: &Probes) -> (World, Vec<String>) {
    let engines = join_all(site.fleet.engines().map(|(name, docker)| async move {
        let told = tokio::time::timeout(PATIENCE, engine(site, (name, docker), (deploy, target))).await;
        let late = |_| Err(format!("engine `{name}` does not answer within {} s", PATIENCE.as_secs()));
        (name.to_owned(), told.map_or_else(late, |told| told.map_err(|error| chain(&error))))
    }));
    let balancers = join_all(
        site.balancers.iter().map(|(balancer, backend)| async move { balancer.observe(backend).await.map_err(|error| chain(&error)) }),
    );
    let (mut engines, balancers) = tokio::join!(engines, balancers);
    engines.extend(site.fleet.away().map(|(name, error)| (name.to_owned(), Err(chain(&error)))));
    let silent = engines.iter().filter_map(|(_, told)| told.as_ref().err()).chain(balancers.iter().filter_map(|seen| seen.as_ref().err()));
    let misses = silent.cloned().chain(probes.troubles()).collect();
    let engines: BTreeMap<_, _> = engines.into_iter().map(|(name, told)| (name, told.ok())).collect();
    let balancers: Vec<_> = balancers.into_iter().map(Result::ok).collect();
    let slots = site.environment.slots.iter().map(|slot| {
        let told = engines.get(&slot.engine).and_then(Option::as_ref);
        (slot.name.clone(), told.map_or_else(SlotView::default, |told| view(slot, told, &balancers, probes)))
    });
    let slots: BTreeMap<_, _> = slots.collect();
    let made = slots.values().flat_map(|view: &SlotView| &view.containers).map(|container| container.fence);
    let locked = engines.values().flatten().filter_map(|told| told.lock.as_ref()).map(|held| Fence(held.fence));
    let world = World {
        fence: made.chain(locked).max().unwrap_or(Fence(0)),
        migration: migration(&engines),
        lock: lock_of(&engines, deploy),
        balancers: balancers.into_iter().map(|seen| seen.map_or(Balancer::Unreachable, |seen| servers(site, &seen))).collect(),
        gate: Gate::default(),
        slots,
    };
    (world, misses)
}

/// The highest fence on anything of the environment.
pub(super) async fn highest_fence(site: &Site) -> Result<Fence, FleetError> {
    site.fleet.whole()?;
    let mut labels = Vec::new();
    for (name, docker) in site.fleet.engines() {
        let found = docker.containers_labelled(&site.place.filter()).await;
        labels.extend(found.map_err(|cause| FleetError::Engine { engine: name.to_owned(), cause })?.into_iter().map(|found| found.labels));
    }
    Ok(Fence(names::highest_fence(&labels)))
}

async fn engine(site: &Site, (name, docker): (&str, &Arc<Docker>), (deploy, target): (&DeployId, &Release)) -> Result<Told, FleetError> {
    let failed = |cause| FleetError::Engine { engine: name.to_owned(), cause };
    let one = crate::fleet::Fleet::new([(name.to_owned(), Arc::clone(docker))]);
    let migration = site.place.migration(&deploy.0);
    let (instances, migration, lock) =
        tokio::join!(instance::all(docker, &site.place), docker.service(&migration), lock::held_on(&one, &site.place),);
    let instances = instances.map_err(failed)?;
    let mut images = BTreeSet::new();
    let wanted = instances.iter().map(|instance| &instance.image).chain([&target.image]);
    for image in wanted.collect::<BTreeSet<_>>() {
        if docker.image(image).await.map_err(failed)?.is_some() {
            images.insert(image.clone());
        }
    }
    Ok(Told { instances, images, migration: migration.map_err(failed)?, lock: lock?.pop() })
}

fn view(slot: &Slot, told: &Told, balancers: &[Option<Observation>], probes: &Probes) -> SlotView {
    let containers: Vec<_> = told.instances.iter().filter(|instance| instance.slot == slot.name.0).map(container).collect();
    let running = containers.iter().find(|container| container.state == ContainerState::Running).map(|container| &container.id);
    let health = told.instances.iter().find(|instance| running.is_some_and(|id| id.0 == instance.id)).map(|instance| instance.health);
    if slot.role == Role::Worker {
        let probe = probes.of_worker(&slot.name, running.zip(health));
        return SlotView { reachable: true, images: told.images.clone(), probe, containers };
    }
    let name: Option<Name> = slot.name.0.parse().ok();
    let server = name.and_then(|name| balancers.iter().flatten().find_map(|seen| seen.server(&name)));
    let address = server.map(|server| format!("{}:{}", server.address, server.port));
    let asked = probes.of(&slot.name, running, address);
    let probe = if health == Some(HealthCheck::Failing) { unhealthy(&asked) } else { asked };
    SlotView { reachable: true, images: told.images.clone(), probe, containers }
}

fn container(instance: &Instance) -> Container {
    Container {
        id: ContainerId(instance.id.clone()),
        release: Release { image: instance.image.clone(), settings: instance.settings.clone() },
        deploy: DeployId(instance.deploy.clone()),
        fence: Fence(instance.fence),
        state: state(instance.phase),
        restarts: instance.restarts,
        aside: instance.aside.clone().map(DeployId),
    }
}

/// What is about to be started again by its engine has ended.
fn state(phase: Phase) -> ContainerState {
    match phase {
        Phase::Created => ContainerState::Created,
        Phase::Running => ContainerState::Running,
        Phase::Exited(status) => ContainerState::Exited(status.into()),
        Phase::Restarting | Phase::Other => ContainerState::Exited(-1),
    }
}

fn migration(engines: &BTreeMap<String, Option<Told>>) -> MigrationView {
    match engines.values().flatten().find_map(|told| told.migration.as_ref()) {
        Some(found) => MigrationView::There { container: ContainerId(found.id.clone()), state: state(found.phase) },
        None if engines.values().any(Option::is_none) => MigrationView::Unknown,
        None => MigrationView::Absent,
    }
}

/// The worst of what the engines that answer say. One that does not answer says nothing, and nothing is done at it; where none does, nobody knows that the lock was lost, and
/// nothing can be done that it would be asked for.
fn lock_of(engines: &BTreeMap<String, Option<Told>>, deploy: &DeployId) -> Lock {
    let mut held = engines.values().flatten().map(|told| told.lock.as_ref().map(|held| DeployId(held.deploy.clone())));
    let strange = held.clone().find(|holder| holder.as_ref() != Some(deploy));
    match strange.or_else(|| held.next()) {
        Some(Some(holder)) => Lock::Held(holder),
        Some(None) => Lock::Free,
        None => Lock::Held(deploy.clone()),
    }
}

fn servers(site: &Site, seen: &Observation) -> Balancer {
    let names: BTreeSet<_> = site.environment.of(Role::Web).into_iter().collect();
    let (mut servers, mut foreign) = (BTreeMap::new(), Vec::new());
    for server in &seen.servers {
        let name = SlotName(server.place.server.to_string());
        if names.contains(&name) {
            servers.insert(name, of(server));
        } else {
            foreign.push(name.0);
        }
    }
    Balancer::Servers { servers, foreign }
}

fn of(server: &Seen) -> Server {
    let admin = match server.admin {
        admin if admin.is_maintenance() => Admin::Maint,
        admin if admin.is_drain() => Admin::Drain,
        _ => Admin::Ready,
    };
    let thresholds = server.check.thresholds;
    Server {
        admin,
        checked: server.check.state.is_configured(),
        check: match server.check.result {
            Found::Passed => CheckResult::Passed,
            Found::Failed => CheckResult::Failed,
            _ => CheckResult::Unknown,
        },
        health: server.check.health,
        // Not told of a server in maintenance, and of no use there.
        rise: thresholds.map_or(1, |thresholds| thresholds.rise),
        fall: thresholds.map_or(1, |thresholds| thresholds.fall),
        in_flight: server.load.in_flight.saturating_add(server.load.queued),
        traffic: Traffic {
            requests: server.load.total,
            errors: server.load.server_errors.saturating_add(server.load.connect_errors).saturating_add(server.load.response_errors),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(deploy: Option<&str>) -> Told {
        let held = |deploy: &str| Held {
            engine: "a".into(),
            id: "1".into(),
            deploy: deploy.to_owned(),
            fence: 1,
            holder: String::new(),
            message: String::new(),
            since_ms: 0,
            ended: None,
        };
        Told { instances: Vec::new(), images: BTreeSet::new(), migration: None, lock: deploy.map(held) }
    }

    #[test]
    fn a_lock_is_lost_where_an_engine_says_so_and_not_where_none_answers() {
        let ours = DeployId("D".into());
        let lock = |engines: [Option<Told>; 2]| lock_of(&["a", "b"].map(str::to_owned).into_iter().zip(engines).collect(), &ours);
        assert_eq!(lock([Some(told(Some("D"))), Some(told(Some("D")))]), Lock::Held(ours.clone()));
        assert_eq!(lock([Some(told(Some("D"))), None]), Lock::Held(ours.clone()));
        assert_eq!(lock([None, None]), Lock::Held(ours.clone()));
        assert_eq!(lock([Some(told(Some("D"))), Some(told(None))]), Lock::Free);
        assert_eq!(lock([None, Some(told(Some("E")))]), Lock::Held(DeployId("E".into())));
    }
}
