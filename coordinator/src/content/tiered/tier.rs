//! One far store with its deadlines and its breaker.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::Patience;
use crate::content::{Store, StoreError};

/// So many failures in a row, and a tier is not asked any more: a run is too short to wait for it to come back.
const MOST_FAILURES: u32 = 3;

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// As long as a small answer.
    Answer,
    /// As long as so many bytes need to get there.
    Upload(u64),
    /// As long as bytes keep coming.
    Download,
}

/// A far store.
#[derive(Debug)]
pub(super) struct Tier {
    store: Arc<dyn Store>,
    patience: Patience,
    failures: AtomicU32,
    /// It has answered once: a connection is there.
    met: AtomicBool,
}

impl Tier {
    pub(super) fn new(store: Arc<dyn Store>, patience: Patience) -> Self {
        Self { store, patience, failures: AtomicU32::new(0), met: AtomicBool::new(false) }
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= MOST_FAILURES
    }

    /// The answer to a call, or nothing if there is none in time. An error is the caller's own.
    pub(super) async fn ask<T>(&self, wait: Wait, call: impl Future<Output = Result<T, StoreError>>) -> Result<Option<T>, StoreError> {
        if self.is_given_up() {
            self.store.counters().skipped();
            return Ok(None);
        }
        let answer = match self.in_time(wait, call).await {
            Err(late) => {
                self.store.counters().failed(&late);
                Err(late)
            }
            Ok(answer) => answer,
        };
        match answer {
            Err(error) if error.is_the_callers() => Err(error),
            Err(_counted) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Ok(answer) => {
                self.met.store(true, Ordering::Relaxed);
                // Whoever was given up meanwhile stays so: of several calls that wait at once one may get through.
                let not_given_up = |failures| (failures < MOST_FAILURES).then_some(0);
                let _given_up = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, not_given_up);
                Ok(Some(answer))
            }
        }
    }

    async fn in_time<T>(&self, wait: Wait, call: impl Future<Output = T>) -> Result<T, StoreError> {
        let connect = if self.met.load(Ordering::Relaxed) { Duration::ZERO } else { self.patience.connect };
        let within = connect
            + match wait {
                Wait::Answer => self.patience.record,
                Wait::Upload(bytes) => self.patience.blob * u32::try_from(bytes >> 20).unwrap_or(u32::MAX - 1).saturating_add(1),
                Wait::Download => self.patience.blob,
            };
        let mut call = pin!(call);
        loop {
            let moved = self.store.counters().moved();
            match tokio::time::timeout(within, call.as_mut()).await {
                Ok(answer) => return Ok(answer),
                Err(_) if matches!(wait, Wait::Download) && self.store.counters().moved() > moved => {}
                Err(_) => return Err(StoreError::Late { tier: self.store.name().to_owned(), after: within }),
            }
        }
    }
}
