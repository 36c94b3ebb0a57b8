//! The story after green, told top to bottom; every part of it is another room's: which policy, which registries, what the gate says, and what follows from a yes.
//!
//! | there | is |
//! |---|---|
//! | [`policies`] | the policy of an environment, from a file that was named or from the protected ref in git; never from the work tree |
//! | `git` | what a commit holds, read so that nothing in the work tree has a say |
//! | [`registries`] | the candidate and the release repository, with their logins |
//! | [`mod@approve`] | an image by a name, all that is signed about it, and the gate's answer |
//! | [`mod@promote`] | an approved image into the release repository |
//! | [`site`] | an environment, its engines and balancers reached |
//! | [`deploy`] | what is to be deployed, gone on with or gone back to, approved anew |
//! | [`glass`] | a person's signed word that gets past the gate |
//!
//! This is the façade of what commands after green call, as `pipeline` is of runs. Nothing is decided here: the answer is the gate's, and whoever writes the release repository's
//! credential down somewhere has given the promise away, whatever stands here.

pub mod approve;
pub mod deploy;
mod git;
pub mod glass;
pub mod policies;
pub mod promote;
pub mod registries;
pub mod site;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::gate::{Approval, Denial, Evidence, Found, Mode};
pub use approve::{Approved, Asked, approve, find};
pub use deploy::{Permitted, Wish, new_deploy, permit, revoked};
pub use glass::{Breaking, break_glass};
pub use policies::{PolicyFault, PolicySource};
pub use promote::{Promoted, promote};
pub use registries::Role;

use crate::balancer::BalancerError;
use crate::deployment::Refusal;
use crate::docker::DockerError;
use crate::promotion::PromotionError;
use crate::registry::RegistryError;
use crate::rollout::RolloutError;
use crate::trust::KeyError;

/// What the outside gives: this library looks at no environment and no clock by itself.
#[derive(Debug, Clone)]
pub struct Outside {
    /// The caller's environment.
    pub env: BTreeMap<String, String>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Why an image went nowhere.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The gate said no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// There is no policy to go by.
    #[error("there is no policy for `{policy}`")]
    Policy {
        /// For what.
        policy: String,
        /// Why.
        #[source]
        cause: PolicyFault,
    },
    /// No repository is configured.
    #[error("no {role} repository is configured")]
    NoRepository {
        /// Which.
        role: Role,
    },
    /// What was named is no image's name.
    #[error("`{text}` names no image")]
    Reference {
        /// As given.
        text: String,
        /// Why not.
        why: String,
    },
    /// An environment that is not there.
    #[error("there is no environment `{name}`")]
    Environment {
        /// As given.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It was not promoted.
    #[error(transparent)]
    Promotion(#[from] PromotionError),
    /// An engine of an environment.
    #[error("cannot reach the engine `{engine}`")]
    Engine {
        /// Its name.
        engine: String,
        /// Why.
        #[source]
        cause: Box<DockerError>,
    },
    /// A balancer's address.
    #[error(transparent)]
    Balancer(#[from] BalancerError),
    /// It was not carried out.
    #[error(transparent)]
    Rollout(Box<RolloutError>),
    /// There was no release before.
    #[error("there is no release to go back to: none was stable before the one that is")]
    NothingBefore,
    /// An envelope of ours that cannot be wrapped, which would be a bug.
    #[error("what was signed cannot be wrapped")]
    Unsigned,
    /// Somebody else promotes.
    #[error("another promotion of this project is under way on this machine")]
    Busy,
    /// A file.
    #[error("cannot use `{}`", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A key.
    #[error("cannot use the key `{}`", .path.display())]
    Key {
        /// Of which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: KeyError,
    },
}

impl DeliveryError {
    /// The exit status.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Denied(_) => 6,
            Self::Busy => 7,
            Self::Rollout(error) => of_rollout(error),
            Self::Policy { .. }
            | Self::NoRepository { .. }
            | Self::Reference { .. }
            | Self::Environment { .. }
            | Self::Balancer(_)
            | Self::NothingBefore
            | Self::File { .. }
            | Self::Key { .. } => 2,
            Self::Registry(_) | Self::Promotion(_) | Self::Engine { .. } => 3,
            Self::Unsigned => 70,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Denied(denial) => Some(denial.hint()),
            Self::Policy { policy, cause } => cause.hint(policy),
            Self::NoRepository { role } => {
                Some(format!("name it: `repository = \"registry.example/shop/{role}\"` below `[registry.{role}]`"))
            }
            Self::Reference { .. } => {
                Some("name it by digest, `sha256:…`, by a tag of the repository, or by both: REPOSITORY@sha256:…".into())
            }
            Self::Environment { known, .. } if known.is_empty() => {
                Some("write an `[environment.NAME]` in splitci.toml; `splitci init --reference` explains its keys".into())
            }
            Self::Environment { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::Registry(error) => error.hint(),
            Self::Promotion(error) => error.hint(),
            Self::Engine { cause, .. } => cause.hint().map(str::to_owned),
            Self::Balancer(error) => error.hint(),
            Self::Rollout(error) => error.hint(),
            Self::NothingBefore => Some("deploy a release by name: `splitci deploy ENV REF`".into()),
            Self::Busy => Some("wait for it, and promote again".into()),
            Self::Key { cause, .. } => cause.hint(),
            Self::File { .. } | Self::Unsigned => None,
        }
    }
}

impl From<RolloutError> for DeliveryError {
    fn from(error: RolloutError) -> Self {
        Self::Rollout(Box::new(error))
    }
}

/// What was not carried out ends like this: what others hold up is 7, what does not answer 3, what cannot be as it is configured or asked for 2.
fn of_rollout(error: &RolloutError) -> u8 {
    match error {
        RolloutError::Refused(Refusal::Older { .. } | Refusal::Frozen(_))
        | RolloutError::Locked(_)
        | RolloutError::Overtaken(_)
        | RolloutError::Unfinished(_)
        | RolloutError::Vetoed(_)
        | RolloutError::Stopped(_)
        | RolloutError::Fenced => 7,
        RolloutError::Refused(Refusal::Revoked) => 6,
        RolloutError::Refused(Refusal::BalancerUnreachable { .. } | Refusal::EngineUnreachable(_))
        | RolloutError::Fleet(_)
        | RolloutError::Ledger(_) => 3,
        RolloutError::Refused(_)
        | RolloutError::Network(_)
        | RolloutError::NothingToResume
        | RolloutError::OtherEnvironment { .. }
        | RolloutError::OtherImage { .. } => 2,
    }
}
