//! Those who hear a run: the record, the caller's listener, and whoever learns from it. The record comes first, so that nothing is shown that is not kept.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::learn::Loads;
use crate::history::RecordWriter;
use crate::model::event::{EventKind, RunEvent};
use crate::model::verdict::Verdict;
use crate::model::{Listener, Manifest, Telling};

pub(super) struct Tellers {
    pub(super) record: Option<RecordWriter>,
    pub(super) user: Arc<dyn Listener>,
    loads: Mutex<Loads>,
    manifest: Mutex<Option<Manifest>>,
    tests: CancellationToken,
}

impl Tellers {
    pub(super) fn new(record: Option<RecordWriter>, user: Arc<dyn Listener>) -> Self {
        Self { record, user, loads: Mutex::default(), manifest: Mutex::default(), tests: CancellationToken::new() }
    }

    /// Waits until tests are given out.
    pub(super) async fn tests_started(&self) {
        self.tests.cancelled().await;
    }

    /// How long units took to load.
    pub(super) fn loads(&self) -> Loads {
        std::mem::take(&mut self.loads.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The manifest, once it was frozen.
    pub(super) fn manifest(&self) -> Option<Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tellers {
    /// The run's end as it is told: a pass that could not be written down is none.
    fn end(&self, event: &RunEvent) -> Option<RunEvent> {
        let EventKind::RunFinished { exit: 0 | 4, .. } = event.kind else { return None };
        let written = self.record.as_ref().is_none_or(|record| record.flush().is_ok());
        (!written).then(|| RunEvent {
            kind: EventKind::RunFinished { verdict: Verdict::None, exit: Verdict::None.exit_code(false) },
            ..event.clone()
        })
    }
}

impl Listener for Tellers {
    fn hear(&self, telling: &Telling) {
        if let Telling::Event(event) = telling {
            if let Some(record) = &self.record {
                record.add(event);
            }
            if let Some(end) = self.end(event) {
                return self.user.hear(&Telling::Event(end));
            }
            self.loads.lock().unwrap_or_else(PoisonError::into_inner).hear(event);
            if let EventKind::UnitLeased { .. } = &event.kind {
                self.tests.cancel();
            }
            if let EventKind::PlanMade { manifest, .. } = &event.kind {
                *self.manifest.lock().unwrap_or_else(PoisonError::into_inner) = Some(manifest.clone());
            }
        }
        self.user.hear(telling);
    }
}
