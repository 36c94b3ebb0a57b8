//! Our own questions to slots: part of the process that asks, and gone with it.

use std::collections::BTreeMap;

use splitci_coordinator::deployment::{ContainerId, Probe, Sickness};
use splitci_coordinator::model::environment::SlotName;

use super::fleet::Fleet;

/// What a process remembers of its questions.
#[derive(Debug, Clone)]
pub struct Prober {
    interval_ms: u64,
    next: u64,
    asked: BTreeMap<SlotName, (ContainerId, u64, Probe)>,
}

impl Prober {
    /// One that has asked nothing yet.
    pub fn new(interval_ms: u64) -> Self {
        Self { interval_ms, next: 0, asked: BTreeMap::new() }
    }

    /// Asks every slot, if it is time.
    pub fn ask(&mut self, fleet: &Fleet) {
        if fleet.now < self.next {
            return;
        }
        self.next = fleet.now + self.interval_ms;
        for name in &fleet.names {
            let Some(unit) = fleet.runs_at(name) else {
                self.asked.remove(name);
                continue;
            };
            let fresh = || (unit.seen.id.clone(), unit.started, Probe::default());
            let (id, started, probe) = self.asked.entry(name.clone()).or_insert_with(fresh);
            if (&*id, *started) != (&unit.seen.id, unit.started) {
                (*id, *started, *probe) = fresh();
            }
            if fleet.well(name) {
                probe.since_ms.get_or_insert(fleet.now);
                (probe.successes, probe.failures) = (probe.successes + 1, 0);
            } else {
                (probe.successes, probe.since_ms, probe.failures) = (0, None, probe.failures + 1);
                probe.last_failure = Some(Sickness::Status(500));
            }
        }
    }

    /// How it went at a slot.
    pub fn of(&self, slot: &SlotName, fleet: &Fleet) -> Probe {
        // What was answered by another one, or before this one was started again, says nothing of it.
        let runs =
            |(id, started): (&ContainerId, &u64)| fleet.runs_at(slot).is_some_and(|unit| (id, started) == (&unit.seen.id, &unit.started));
        self.asked.get(slot).filter(|(id, started, _)| runs((id, started))).map(|(_, _, probe)| probe.clone()).unwrap_or_default()
    }
}
