//! The engines that an environment runs on: what a deployment makes there, finds there, and leaves there.
//!
//! | there | is |
//! |---|---|
//! | [`names`] | names and labels of everything that an environment has on an engine |
//! | [`instance`] | the application's containers |
//! | [`lock`] | who may change an environment: containers of one name, which an engine gives to one caller only |
//! | [`waiters`] | who waits for that |
//! | [`releases`] | images of releases, and which of them may go |
//! | [`holder`] | the journal's rows, kept in containers that outlive whoever wrote them |
//! | [`asker`] | a container of ours in the network of instances that publish no port |
//! | [`keeper`] | the image of locks, holders and askers: our own static program |
//!
//! Comes in: engines, and what is to be made or looked for. Goes out: what was found, or a refusal by an engine. The engine's word is the only one that counts:
//! nothing is remembered here between two questions. Not here: what to do next, when, and whether it is allowed; that is `deployment`'s.

pub mod asker;
pub mod holder;
pub mod instance;
pub mod keeper;
pub mod lock;
pub mod names;
pub mod releases;
pub mod waiters;

use std::sync::Arc;

use crate::docker::{Docker, DockerError};

pub use holder::{Holders, Kept};
pub use lock::{Claim, Held, Lock, Taken};
pub use names::Place;

/// The engines of an environment, in the order of their addresses: whoever locks several takes them in this order, so that two cannot wait for each other.
///
/// One that is not reached is known by name: an environment can be looked at without it, and not be changed.
#[derive(Debug, Clone)]
pub struct Fleet {
    engines: Vec<(String, Arc<Docker>)>,
    away: Vec<(String, Arc<DockerError>)>,
}

impl Fleet {
    /// These engines, by the names under which the environment knows them. One that is named twice is there once.
    pub fn new(engines: impl IntoIterator<Item = (String, Arc<Docker>)>) -> Self {
        let mut engines: Vec<_> = engines.into_iter().collect();
        engines.sort_by(|a, b| a.0.cmp(&b.0));
        engines.dedup_by(|a, b| a.0 == b.0);
        Self { engines, away: Vec::new() }
    }

    /// And these, which were not reached, and why.
    #[must_use]
    pub fn without(mut self, away: impl IntoIterator<Item = (String, DockerError)>) -> Self {
        self.away.extend(away.into_iter().map(|(name, cause)| (name, Arc::new(cause))));
        self
    }

    /// Those that were not reached, and why.
    pub fn away(&self) -> impl Iterator<Item = (&str, FleetError)> {
        self.away.iter().map(|(name, cause)| (name.as_str(), FleetError::Away { engine: name.clone(), cause: Arc::clone(cause) }))
    }

    /// To be asked before anything that is to be done at each engine or at none.
    ///
    /// # Errors
    /// One is away.
    pub fn whole(&self) -> Result<(), FleetError> {
        self.away().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Name and engine, in order.
    pub fn engines(&self) -> impl Iterator<Item = (&str, &Arc<Docker>)> {
        self.engines.iter().map(|(name, docker)| (name.as_str(), docker))
    }

    /// The engine of this name.
    pub fn engine(&self, name: &str) -> Option<&Arc<Docker>> {
        self.engines().find(|(known, _)| *known == name).map(|(_, docker)| docker)
    }
}

/// An engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// One engine.
    #[error("cannot work with the engine `{engine}`")]
    Engine {
        /// Its name.
        engine: String,
        /// Why.
        #[source]
        cause: DockerError,
    },
    /// It was not reached.
    #[error("cannot reach the engine `{engine}`")]
    Away {
        /// Its name.
        engine: String,
        /// Why.
        #[source]
        cause: Arc<DockerError>,
    },
    /// There is no program of ours for its architecture.
    #[error("cannot leave anything on the engine `{engine}`: there is no worker for {arch}")]
    NoKeeper {
        /// Its name.
        engine: String,
        /// Its architecture, in Docker's words.
        arch: String,
    },
}

impl FleetError {
    fn of(engine: &str) -> impl FnOnce(DockerError) -> Self {
        move |cause| Self::Engine { engine: engine.to_owned(), cause }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine { cause, .. } => cause.hint().map(str::to_owned),
            Self::Away { cause, .. } => cause.hint().map(str::to_owned),
            Self::NoKeeper { arch, .. } => Some(format!(
                "set SPLITCI_WORKER_DIR to a directory with a worker for {arch}, or use engines of this machine's architecture"
            )),
        }
    }
}
