//! Our own questions to slots: asked all the time, whoever serves, from where the balancer is as far as the network goes: from here, or from inside the
//! environment's network by `inside`.
//!
//! An answer counts for the container that was asked. When another one runs at a slot, its past is forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use splitci_worker::protocol::ask::{Found, HEAD, read, request};

use super::inside::{self, Asker};
use super::{Site, now_ms};
use crate::deployment::{ContainerId, Probe, Sickness};
use crate::docker::service::HealthCheck;
use crate::model::Fence;
use crate::model::environment::{DeployId, Role, SlotName};

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the last questions went, by slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    slots: Arc<Mutex<BTreeMap<SlotName, Asked>>>,
    /// Why nobody can be asked at an engine, where that is so.
    troubles: Arc<Mutex<BTreeMap<String, String>>>,
}

#[derive(Debug, Clone, Default)]
struct Asked {
    container: Option<ContainerId>,
    /// `host:port`, as the balancer has it.
    address: Option<String>,
    probe: Probe,
}

impl Probes {
    fn with<T>(&self, slot: &SlotName, change: impl FnOnce(&mut Asked) -> T) -> T {
        let mut all = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(slot.clone()).or_default())
    }

    /// Why slots of an engine cannot be asked, or that they can.
    pub(super) fn trouble(&self, engine: &str, why: Option<String>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => drop(troubles.insert(engine.to_owned(), why)),
            None => drop(troubles.remove(engine)),
        }
    }

    /// Why slots cannot be asked, a sentence for each engine where that is so.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// How questions to the container that runs at a slot went. From now on that one is asked, at this address.
    pub(super) fn of(&self, slot: &SlotName, container: Option<&ContainerId>, address: Option<String>) -> Probe {
        self.with(slot, |asked| {
            if asked.container.as_ref() != container {
                *asked = Asked { container: container.cloned(), ..Asked::default() };
            }
            asked.address = address;
            asked.probe.clone()
        })
    }

    /// What a worker's engine says of the one that runs: nobody else can say anything of it. A look counts as a question.
    pub(super) fn of_worker(&self, slot: &SlotName, running: Option<(&ContainerId, HealthCheck)>) -> Probe {
        self.of(slot, running.map(|(container, _)| container), None);
        self.with(slot, |asked| {
            match running.map(|(_, health)| health) {
                Some(HealthCheck::Absent | HealthCheck::Passing) => count(&mut asked.probe, Ok(()), now_ms()),
                Some(HealthCheck::Failing) => count(&mut asked.probe, Err(Sickness::Unhealthy), now_ms()),
                Some(HealthCheck::Starting) | None => {}
            }
            asked.probe.clone()
        })
    }
}

/// What questions came to where the health check of the image fails: one layer that finds something wrong is enough. One that has not decided yet is not waited for, since the
/// questions and the balancer decide sooner.
pub(super) fn unhealthy(asked: &Probe) -> Probe {
    let failures = asked.failures.saturating_add(asked.successes).max(1);
    Probe { successes: 0, since_ms: None, failures, last_failure: Some(Sickness::Unhealthy) }
}

/// Asks every slot that something runs at, in its own time, for as long as the set lives.
pub(super) fn ask_all(site: &Site, probes: &Probes, (deploy, fence): (&DeployId, Fence), tasks: &mut JoinSet<()>) {
    let interval = Duration::from_millis(site.environment.health.interval_ms);
    let askers = inside::start(site, probes, (deploy, fence), tasks);
    for slot in site.environment.slots.iter().filter(|slot| slot.role == Role::Web) {
        let asker = askers.get(&slot.engine).cloned();
        let (slot, probes, path) = (slot.name.clone(), probes.clone(), site.environment.health.path.clone());
        tasks.spawn(async move {
            let mut clock = tokio::time::interval(interval);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                let (container, address) = probes.with(&slot, |asked| (asked.container.clone(), asked.address.clone()));
                let (Some(container), Some(address)) = (container, address) else { continue };
                let Some(found) = found(asker.as_ref(), &address, &path).await else { continue };
                probes.with(&slot, |asked| {
                    // Another one may run there by now.
                    if asked.container.as_ref() == Some(&container) {
                        count(&mut asked.probe, judged(found), now_ms());
                    }
                });
            }
        });
    }
}

/// What is found at an address; nothing if nobody can say so now, which counts neither for a slot nor against it.
async fn found(asker: Option<&Asker>, address: &str, path: &str) -> Option<Found> {
    match asker {
        Some(asker) => asker.ask(address, path).await,
        None => Some(ask(address, path).await),
    }
}

fn judged(found: Found) -> Result<(), Sickness> {
    match found {
        Found::Status(200..=399) => Ok(()),
        Found::Status(status) => Err(Sickness::Status(status)),
        // Whoever takes the connection and says nothing that can be read is not well, either.
        Found::Unreadable => Err(Sickness::Status(0)),
        Found::Nobody => Err(Sickness::NeverListened),
    }
}

/// Goes on with the panic of a task that asks. Nobody else would hear of it, and what it saw last would count for ever.
pub(super) fn expect_asking(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.try_join_next() {
        if let Err(error) = ended
            && let Ok(bug) = error.try_into_panic()
        {
            std::panic::resume_unwind(bug);
        }
    }
}

fn count(probe: &mut Probe, answer: Result<(), Sickness>, now_ms: u64) {
    match answer {
        Ok(()) => {
            probe.successes = probe.successes.saturating_add(1);
            probe.since_ms.get_or_insert(now_ms);
            probe.failures = 0;
        }
        Err(sickness) => {
            *probe = Probe { successes: 0, since_ms: None, failures: probe.failures.saturating_add(1), last_failure: Some(sickness) };
        }
    }
}

/// One question, on a connection of its own: what answers from a connection that was there before says little about who else could connect.
async fn ask(address: &str, path: &str) -> Found {
    match tokio::time::timeout(PATIENCE, exchange(address, path)).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => Found::Nobody,
    }
}

async fn exchange(address: &str, path: &str) -> std::io::Result<Found> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request(address, path).as_bytes()).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(read(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_a_row_count_and_a_bad_one_begins_anew() {
        let mut probe = Probe::default();
        for now in [10, 20] {
            count(&mut probe, Ok(()), now);
        }
        assert_eq!((probe.successes, probe.since_ms, probe.failures), (2, Some(10), 0));
        count(&mut probe, Err(Sickness::Status(503)), 30);
        assert_eq!((probe.successes, probe.since_ms, probe.failures), (0, None, 1));
        count(&mut probe, Ok(()), 40);
        assert_eq!((probe.successes, probe.since_ms, probe.last_failure), (1, Some(40), Some(Sickness::Status(503))));
    }

    #[tokio::test]
    async fn a_panic_of_whoever_asks_is_not_swallowed() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        expect_asking(&mut tasks);
        tasks.spawn(async { std::panic::resume_unwind(Box::new("a bug")) });
        tokio::task::yield_now().await;
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| expect_asking(&mut tasks)));
        assert_eq!(seen.unwrap_err().downcast_ref(), Some(&"a bug"));
    }

    #[test]
    fn another_container_has_no_past() {
        let (probes, slot) = (Probes::default(), SlotName("web1".into()));
        let (one, other) = (ContainerId("1".into()), ContainerId("2".into()));
        probes.of(&slot, Some(&one), None);
        probes.with(&slot, |asked| count(&mut asked.probe, Ok(()), 10));
        assert_eq!(probes.of(&slot, Some(&one), None).successes, 1);
        assert_eq!(probes.of(&slot, Some(&other), None), Probe::default());
    }

    #[test]
    fn of_a_worker_its_engine_is_asked_and_a_health_check_that_fails_is_a_sickness() {
        let (probes, slot, one) = (Probes::default(), SlotName("jobs1".into()), ContainerId("1".into()));
        let look = |health| probes.of_worker(&slot, Some((&one, health)));
        assert_eq!(look(HealthCheck::Starting), Probe::default());
        assert_eq!((look(HealthCheck::Absent).successes, look(HealthCheck::Passing).successes), (1, 2));
        let failing = look(HealthCheck::Failing);
        assert_eq!((failing.successes, failing.failures, failing.last_failure), (0, 1, Some(Sickness::Unhealthy)));
        assert_eq!(probes.of_worker(&slot, None), Probe::default());
        // Of a slot of the web, too, whatever it answers.
        let well = Probe { successes: 3, since_ms: Some(1), ..Probe::default() };
        assert_eq!((unhealthy(&well).successes, unhealthy(&well).failures), (0, 3));
    }

    #[test]
    fn a_slot_is_well_by_its_status_alone() {
        assert_eq!((judged(Found::Status(204)), judged(Found::Status(302))), (Ok(()), Ok(())));
        assert_eq!(judged(Found::Status(404)), Err(Sickness::Status(404)));
        assert_eq!((judged(Found::Unreadable), judged(Found::Nobody)), (Err(Sickness::Status(0)), Err(Sickness::NeverListened)));
    }
}
