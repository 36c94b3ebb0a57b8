//! Why a deployment was not carried out. What comes with a code changed nothing.

use super::ledger::LedgerError;
use super::network::NetworkFault;
use crate::deployment::Refusal;
use crate::fleet::{FleetError, Held};
use crate::hooks::Veto;
use crate::model::environment::DeployId;

/// Why nothing was carried out, or it was left where it was.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// There is no plan.
    #[error("cannot deploy")]
    Refused(#[from] Refusal),
    /// The environment's network is not as it has to be.
    #[error("cannot deploy")]
    Network(#[from] NetworkFault),
    /// Somebody has the lock.
    #[error("the environment is locked by {} (deployment {}, fence {})", .0.holder, .0.deploy, .0.fence)]
    Locked(Box<Held>),
    /// A newer deployment waits as well, or went first.
    #[error("a newer deployment came meanwhile: {0}")]
    Overtaken(String),
    /// A deployment was left unfinished.
    #[error("deployment `{0}` was left unfinished")]
    Unfinished(DeployId),
    /// None was.
    #[error("there is no deployment to go on with")]
    NothingToResume,
    /// The promotion is for another environment.
    #[error("`{promoted}` was approved for `{approved}`, and not for `{environment}`")]
    OtherEnvironment {
        /// Which image.
        promoted: String,
        /// For which environment.
        approved: String,
        /// For which it is wanted.
        environment: String,
    },
    /// What was left unfinished is of another image.
    #[error("what was left unfinished is a deployment of `{begun}`, and not of `{promoted}`")]
    OtherImage {
        /// What it was begun with.
        begun: String,
        /// What was promoted.
        promoted: String,
    },
    /// A hook says no, before anything was changed.
    #[error("nothing was changed")]
    Vetoed(#[source] Veto),
    /// Somebody wanted it to end, before anything was changed.
    #[error("nothing was changed: {0} wanted it to end")]
    Stopped(String),
    /// Others take fences all the time.
    #[error("cannot get a fence: others get one all the time")]
    Fenced,
    /// An engine.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The journal.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl RolloutError {
    /// A code that stays the same, where there is one: nothing was changed then.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.code()),
            Self::Network(fault) => Some(fault.code()),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.hint().to_owned()),
            Self::Network(fault) => Some(fault.hint()),
            Self::Locked(held) if held.ended == Some(true) => Some("its process has ended: go on with `splitci resume`".into()),
            Self::Locked(_) => Some(
                "wait for it (`splitci deploy --wait 10m`), or look at it with `splitci lock show` and break it if nobody is at work"
                    .into(),
            ),
            Self::Overtaken(_) => Some("nothing to do: what is newer goes live; to deploy this one all the same, start it again".into()),
            Self::Unfinished(_) => Some("go on with it: `splitci resume`".into()),
            Self::NothingToResume => Some("start one: `splitci deploy`".into()),
            Self::OtherEnvironment { environment, .. } => Some(format!("promote it for this one: `splitci promote REF {environment}`")),
            Self::OtherImage { begun, .. } => Some(format!("go on with that one: `splitci resume`, with the promotion of `{begun}`")),
            Self::Vetoed(veto) => Some(format!("deploy again once the hook `{}` of the environment has nothing against it", veto.point)),
            Self::Stopped(_) => None,
            Self::Fenced => Some("see who deploys there, with `splitci lock show`".into()),
            Self::Fleet(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
        }
    }
}
