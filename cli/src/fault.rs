//! Faults on demand, for tests of what is left where a deployment ends badly. It is in builds with debug assertions alone: what people install has no such door.
//!
//! `SPLITCI_FAULT=WHAT@WHERE`. What: `abort`, `panic`, or `stop`, which is what a machine does that falls asleep. Where: after the row of the journal that is the first of
//! its kind which this process writes (`intent start`, `outcome swap`, `intent soaked`), or that many rows in (`7`). Then it has happened, and does not happen again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use splitci_coordinator::deployment::Row;

/// What goes wrong, and where.
const FAULT: &str = "SPLITCI_FAULT";

/// A fault that was asked for.
#[derive(Debug)]
pub(crate) struct Fault {
    what: String,
    place: String,
    /// Rows so far. Past the place, none counts any more.
    rows: AtomicU64,
}

impl Fault {
    /// The one that the caller's environment asks for.
    pub(crate) fn of(env: &BTreeMap<String, String>) -> Option<Self> {
        let (what, place) = env.get(FAULT)?.split_once('@')?;
        Some(Self { what: what.to_owned(), place: place.to_owned(), rows: AtomicU64::new(0) })
    }

    /// A row was written.
    pub(crate) fn reads(&self, row: &Row) {
        let number = self.rows.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let there = number < OVER && (self.place == number.to_string() || self.place == kind(row));
        if there {
            self.rows.store(OVER, Ordering::SeqCst);
            self.happen();
        }
    }

    fn happen(&self) {
        match self.what.as_str() {
            "abort" => std::process::abort(),
            "stop" => kill_process(getpid(), Signal::STOP).unwrap_or_default(),
            what => std::panic::panic_any(format!("{FAULT} asks for a {what}")),
        }
    }
}

/// Rows of a process whose fault has happened.
const OVER: u64 = 1 << 40;

/// `intent start`, by the names that rows are written with.
fn kind(row: &Row) -> String {
    let written = serde_json::json!({ "phase": row.phase, "step": row.step });
    let phase = written["phase"].as_str().unwrap_or_default();
    let name = written["step"].as_object().and_then(|step| step.values().next()).map(|step| match step {
        serde_json::Value::String(name) => name.clone(),
        other => other.as_object().and_then(|step| step.keys().next()).cloned().unwrap_or_default(),
    });
    format!("{phase} {}", name.unwrap_or_default())
}
