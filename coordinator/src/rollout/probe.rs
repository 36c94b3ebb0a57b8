//! Our own questions to slots: asked all the time, whoever serves, from where the balancer is as far as the network goes.
//!
//! An answer counts for the container that was asked. When another one runs at a slot, its past is forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Site, now_ms};
use crate::deployment::{ContainerId, Probe, Sickness};
use crate::docker::service::HealthCheck;
use crate::model::environment::{Role, SlotName};

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// As much of an answer as is read.
const HEAD: usize = 4 << 10;

/// How the last questions went, by slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes(Arc<Mutex<BTreeMap<SlotName, Asked>>>);

#[derive(Debug, Clone, Default)]
struct Asked {
    container: Option<ContainerId>,
    /// `host:port`, as the balancer has it.
    address: Option<String>,
    probe: Probe,
}

impl Probes {
    fn with<T>(&self, slot: &SlotName, change: impl FnOnce(&mut Asked) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(slot.clone()).or_default())
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
pub(super) fn ask_all(site: &Site, probes: &Probes, tasks: &mut JoinSet<()>) {
    let interval = Duration::from_millis(site.environment.health.interval_ms);
    for slot in site.environment.of(Role::Web) {
        let (probes, path) = (probes.clone(), site.environment.health.path.clone());
        tasks.spawn(async move {
            let mut clock = tokio::time::interval(interval);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                clock.tick().await;
                let (container, address) = probes.with(&slot, |asked| (asked.container.clone(), asked.address.clone()));
                if let (Some(container), Some(address)) = (container, address) {
                    let answer = ask(&address, &path).await;
                    probes.with(&slot, |asked| {
                        // Another one may run there by now.
                        if asked.container.as_ref() == Some(&container) {
                            count(&mut asked.probe, answer, now_ms());
                        }
                    });
                }
            }
        });
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
async fn ask(address: &str, path: &str) -> Result<(), Sickness> {
    match tokio::time::timeout(PATIENCE, status(address, path)).await {
        Ok(Ok(Some(200..=399))) => Ok(()),
        Ok(Ok(Some(status))) => Err(Sickness::Status(status)),
        // Whoever takes the connection and says nothing that can be read is not well, either.
        Ok(Ok(None)) => Err(Sickness::Status(0)),
        Ok(Err(_)) | Err(_) => Err(Sickness::NeverListened),
    }
}

async fn status(address: &str, path: &str) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: splitci\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(parsed(&head))
}

/// The status of an HTTP answer's first line.
fn parsed(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
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
    fn what_is_no_http_is_no_status() {
        assert_eq!(parsed(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(parsed(b"HTTP/1.0 503\r\nx"), Some(503));
        for bad in [b"".as_slice(), b"HTTP/1.1", b"HTTP/2 200", b"220 mail ready\r\n", b"HTTP/1.1 ok\r\n", b"\xff\xff"] {
            assert_eq!(parsed(bad), None);
        }
    }
}
