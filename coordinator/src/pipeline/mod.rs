//! The story from a request to a verdict, told top to bottom; every part of it is another room's.
//!
//! `splitci run`: the image is found or built, an engine is set up on it, shards run the suite, what happens goes into the record and to the
//! listener, and what was learnt is kept for the next run. `plan` stops when the suite is listed; `repro` runs again what a shard ran, `shell` opens a shell
//! there; `why` explains the image. Only `ground` names concrete engines. This is the façade: whoever starts runs needs `Project` from `config` and what is here.

mod cache;
mod checkout;
mod claims;
mod damage;
mod examine;
mod ground;
mod images;
mod launches;
mod layers;
mod learn;
mod mounts;
mod plans;
mod provenance;
mod repository;
mod repro;
mod results;
mod run;
mod shared_stores;
mod shell;
mod tellers;
mod tidy;
mod tiers;
mod timings;
mod warm;
mod why;
mod why_test;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::docker::uploads::Takes;
pub use crate::docker::usage::BuildCache;
pub use examine::{EngineCache, Examined, SurplusImage, examine, examine_cache, surplus_images};
pub use provenance::{SELECTING, filters, is_clean};
pub use repro::{ReproRequest, repro};
pub use results::FileFate;
pub use run::{RunRequest, plan, run};
pub use shared_stores::{LayersRepository, SharedStore, examine_layers, examine_stores};
pub use shell::{OpenShell, shell};
pub use warm::{Warmed, warm};
pub use why::{Explained, Fate, why};
pub use why_test::{FilesExplained, why_files};

use crate::docker::DockerError;
use crate::engine::EngineError;
pub use crate::engine::{Control as ShellControl, Here, Shell, There, WorkerBinaries};
use crate::history::HistoryError;
use crate::image::ImageError;
use crate::model::verdict::Verdict;
use crate::model::{Manifest, RunId};
pub use crate::run::Control;
use crate::trust::TrustError;

/// Orders to a run that goes on.
pub type Controls = tokio::sync::mpsc::UnboundedReceiver<Control>;

/// What the outside gives: this library looks at no environment, clock or home by itself.
#[derive(Debug, Clone)]
pub struct World {
    /// The caller's environment.
    pub env: BTreeMap<String, String>,
    /// What the private key of `[trust]` is encrypted with, if it is.
    pub passphrase: Option<String>,
    /// The worker's programs.
    pub workers: WorkerBinaries,
    /// This machine's architecture, as the kernel spells it.
    pub arch: String,
    /// Version of splitci.
    pub version: String,
    /// Where private directories of process shards are made; at most 60 bytes long, since sockets live there.
    pub scratch: PathBuf,
    /// The wall clock, RFC 3339 in UTC.
    pub now: fn() -> String,
}

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its name.
    pub run: RunId,
    /// The answer.
    pub verdict: Verdict,
    /// The exit status: the verdict's, unless the record could not be written.
    pub exit: u8,
    /// Where its record is.
    pub record: PathBuf,
    /// What could not be done after it, a sentence each: nothing of the run itself.
    pub notes: Vec<String>,
}

/// What would be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The units, in their order.
    pub manifest: Manifest,
    /// How many shards.
    pub shards: u32,
}

/// Why there was no run, or no record of one.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The engine cannot start anything.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The docker engine cannot be reached.
    #[error(transparent)]
    Docker(DockerError),
    /// The key that was given, or the list of trusted ones.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The image cannot be had.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The user stopped it before the run began.
    #[error("stopped before the run began")]
    Interrupted,
    /// The history cannot be read or written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The framework is not one we know.
    #[error("cannot drive the test framework `{0}`")]
    Framework(String),
    /// Its program is not there.
    #[error("cannot start the test framework: {tried}")]
    Absent {
        /// What was tried and what came of it.
        tried: String,
        /// The command.
        command: String,
    },
    /// It does not take its arguments.
    #[error("the test framework refuses its command `{command}`: {said}")]
    Usage {
        /// What it said.
        said: String,
        /// The command.
        command: String,
    },
    /// The engine does not take what shards are to be.
    #[error("cannot start any shard: {said}")]
    Refused {
        /// What it said.
        said: String,
    },
    /// The suite could not be listed.
    #[error("cannot list the suite: no session of the test framework came up")]
    NotListed,
    /// A run to be reproduced does not have this.
    #[error("run {run} has no {what}")]
    NothingToRepeat {
        /// Which run.
        run: RunId,
        /// What was looked for.
        what: String,
        /// What there is.
        hint: String,
    },
    /// A reproduction ran other tests than the run did, and they passed.
    #[error("cannot reproduce run {run}: {what}")]
    NotTheSame {
        /// Which run.
        run: RunId,
        /// The first difference.
        what: String,
    },
    /// There is no image that is built.
    #[error("no image is built for this project")]
    NothingBuilt,
    /// Nothing failed in the last run.
    #[error("no test failed in the last run")]
    NothingFailed,
    /// The worker's program cannot be put on disk.
    #[error("cannot put the worker's program in place")]
    Worker(#[source] std::io::Error),
}

impl PipelineError {
    /// The exit status.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Framework(_)
            | Self::Absent { .. }
            | Self::Usage { .. }
            | Self::Refused { .. }
            | Self::NothingToRepeat { .. }
            | Self::NotTheSame { .. }
            | Self::NothingFailed
            | Self::NothingBuilt
            | Self::Trust(_)
            | Self::History(HistoryError::NoSuchRun(_) | HistoryError::AmbiguousRun { .. } | HistoryError::NoRuns) => 2,
            Self::Image(error) => error.exit_code(),
            Self::Interrupted => 130,
            Self::Docker(_) | Self::History(_) | Self::Engine(_) | Self::NotListed | Self::Worker(_) => 3,
        }
    }

    /// The step that an image's build failed in, and the end of what it printed.
    pub fn failed_step(&self) -> Option<(&str, &str)> {
        match self {
            Self::Image(ImageError::Build { step: Some(step), .. }) => Some((&step.name, &step.log)),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint.clone(),
            Self::Docker(error) => error.hint().map(str::to_owned),
            Self::Image(error) => error.hint(),
            Self::History(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Framework(_) => {
                Some("use `pytest`, `unittest`, `django`, `rspec` or `minitest`, with the key `suite.framework`".to_owned())
            }
            Self::Absent { command, .. } => {
                Some(format!("install it where the tests run, or give another command than `{command}` with the key `suite.command`"))
            }
            Self::Usage { .. } => Some("paths are relative to the project; what follows `--` goes to the framework as it is".to_owned()),
            Self::Refused { .. } => Some("change the option, or the key in `[shard]`, that the engine names".to_owned()),
            Self::NotListed => Some("its output is in the record: `splitci report last`".to_owned()),
            Self::NothingToRepeat { hint, .. } => Some(hint.clone()),
            Self::NotTheSame { .. } => Some(
                "local processes run what is in the project now: check out what was tested; containers run the image that was tested"
                    .to_owned(),
            ),
            Self::NothingBuilt => Some("it runs as local processes or in an image that is named: there is nothing to be reused".to_owned()),
            Self::NothingFailed => Some("run the whole suite with `splitci run`".to_owned()),
            Self::Interrupted | Self::Worker(_) => None,
        }
    }
}
