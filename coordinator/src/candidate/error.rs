//! Why a run's image was not pushed, or what it showed not attested.

use super::copies::CopyError;
use crate::docker::DockerError;
use crate::gate::Unattestable;
use crate::history::HistoryError;
use crate::model::{RunId, Sha256};
use crate::registry::{Name, RegistryError};
use crate::trust::{SignerError, TrustError};

/// Why there is no statement about a run's image beside it.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// There is no record, or it cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It shows nothing that a gate may go by.
    #[error("cannot attest run {run}")]
    Unattestable {
        /// Which run.
        run: RunId,
        /// Why.
        #[source]
        cause: Unattestable,
    },
    /// It would not, if it were begun.
    #[error("cannot begin a run that is to be pushed: it could not be attested")]
    Unfit {
        /// Why.
        #[source]
        cause: Unattestable,
    },
    /// Its record does not say what it was of.
    #[error("cannot attest run {run}: its record is older than this splitci, and does not say of which commit and configuration it was")]
    Older {
        /// Which run.
        run: RunId,
    },
    /// Nobody says where to.
    #[error("no repository is named for images that are to be tested")]
    NoRepository,
    /// The image has its place already.
    #[error("the image of run {run} is in `{has}` already, and is not pushed to `{asked}`")]
    Elsewhere {
        /// Which run.
        run: RunId,
        /// Where it is.
        has: Name,
        /// Where it was to be.
        asked: Name,
    },
    /// A name or a tag that is none.
    #[error(transparent)]
    Name(Box<RegistryError>),
    /// The engine does not have it any more.
    #[error("the image `{image}`, which run {run} tested, is not in the engine any more")]
    Gone {
        /// Which run.
        run: RunId,
        /// What the engine called it.
        image: String,
    },
    /// The engine.
    #[error(transparent)]
    Docker(Box<DockerError>),
    /// The engine could not push it.
    #[error("cannot push the image of run {run} to `{repository}`")]
    Unsent {
        /// Which run.
        run: RunId,
        /// Where to.
        repository: Name,
        /// Why.
        #[source]
        cause: Box<DockerError>,
    },
    /// Whose login it would be cannot be found out.
    #[error("cannot get credentials for `{repository}`")]
    Login {
        /// Of which repository.
        repository: Name,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is in the registry is another image.
    #[error("what `{repository}` has as `{found}` is not the image that run {run} tested, `{tested}`")]
    OtherImage {
        /// Which run.
        run: RunId,
        /// Where.
        repository: Name,
        /// What was found there.
        found: String,
        /// What the engine called the one that was tested.
        tested: String,
    },
    /// The registry.
    #[error("cannot put the image of run {run} and what is said of it into `{repository}`")]
    Registry {
        /// Which run.
        run: RunId,
        /// Where.
        repository: Name,
        /// Why.
        #[source]
        cause: Box<RegistryError>,
    },
    /// The key.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The program that signs.
    #[error(transparent)]
    Signer(#[from] Box<SignerError>),
    /// What was signed is nothing that can be put beside an image.
    #[error("cannot wrap the statement about `{manifest}`")]
    Unwrapped {
        /// Which image.
        manifest: Sha256,
    },
    /// This machine's own copy.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The user stopped it.
    #[error("stopped before everything was pushed")]
    Interrupted,
}

impl From<DockerError> for PushError {
    fn from(cause: DockerError) -> Self {
        Self::Docker(Box::new(cause))
    }
}

impl PushError {
    pub(super) fn name(cause: RegistryError) -> Self {
        Self::Name(Box::new(cause))
    }

    /// The exit status: 2 for what whoever asks can change, 4 where no test ran, 130 where they stopped it, 3 for everything else.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Unattestable { cause, .. } | Self::Unfit { cause } => match cause {
                Unattestable::ProcessEngine
                | Unattestable::Partial
                | Unattestable::Filtered { .. }
                | Unattestable::Mounted
                | Unattestable::Dirty => 2,
                Unattestable::NoTests => 4,
                Unattestable::NotBegun
                | Unattestable::NoImage
                | Unattestable::OtherImage { .. }
                | Unattestable::Interrupted
                | Unattestable::NoVerdict
                | Unattestable::BadTime { .. } => 3,
            },
            Self::History(HistoryError::NoSuchRun(_) | HistoryError::AmbiguousRun { .. } | HistoryError::NoRuns)
            | Self::Older { .. }
            | Self::NoRepository
            | Self::Elsewhere { .. }
            | Self::Name(_)
            | Self::Trust(_) => 2,
            Self::History(_)
            | Self::Gone { .. }
            | Self::Docker(_)
            | Self::Unsent { .. }
            | Self::Login { .. }
            | Self::OtherImage { .. }
            | Self::Registry { .. }
            | Self::Unwrapped { .. }
            | Self::Copy(_) => 3,
            Self::Signer(cause) => {
                if cause.is_configuration() {
                    2
                } else {
                    3
                }
            }
            Self::Interrupted => 130,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::History(cause) => cause.hint(),
            Self::Unattestable { cause, .. } | Self::Unfit { cause } => Some(cause.hint()),
            Self::Older { .. } => Some("run again: `splitci run --push`".to_owned()),
            Self::NoRepository => {
                Some("name one with `--to registry.example/shop/candidate`, or with the key `registry.candidate.repository`".to_owned())
            }
            Self::Elsewhere { .. } => Some("leave `--to` out: what is said of it is put beside it, where it is".to_owned()),
            Self::Name(cause) => cause.hint(),
            Self::Gone { .. } => Some("test it again, and push it at once: `splitci run --push`".to_owned()),
            Self::Docker(cause) => cause.hint().map(str::to_owned),
            Self::Unsent { run, cause, .. } => Some(cause.hint().map_or_else(|| again(run), str::to_owned)),
            Self::Login { repository, .. } => Some(format!("log in with `docker login {}`", repository.host)),
            Self::OtherImage { .. } => Some("somebody else writes there at the same time; push again: `splitci push RUN`".to_owned()),
            Self::Registry { run, cause, .. } => Some(cause.hint().unwrap_or_else(|| again(run))),
            Self::Trust(cause) => cause.hint(),
            Self::Signer(cause) => Some(cause.hint()),
            Self::Unwrapped { .. } | Self::Interrupted => {
                Some("push again: `splitci push RUN`; what is there already is not sent again".to_owned())
            }
            Self::Copy(cause) => Some(cause.hint()),
        }
    }
}

fn again(run: &RunId) -> String {
    format!("when the registry takes it: `splitci push {run}`; nothing is tested again")
}
