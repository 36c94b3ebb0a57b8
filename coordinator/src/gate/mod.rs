//! The gate: whether this very image may go to this environment, by what was signed about it.
//!
//! | file | is |
//! |---|---|
//! | [`mod@attest`] | a record becomes a [`Statement`], or a reason why it shows nothing about an image |
//! | [`statement`] | the statement: in-toto, predicate `test-result` |
//! | [`claim`] | the other two: a named claim about an image, and a person's word that gets past the gate |
//! | [`policy`] | what an environment asks for, its keys read |
//! | [`evidence`] | what was found, or that it could not be asked for |
//! | `read` | which of that is signed by whom, about what |
//! | [`mod@decide`] | the answer: an [`Approval`], or a [`Denial`] |
//! | [`account`] | what was looked at, for people |
//! | [`denial`] | why not, with a code that does not change, and what to do |
//!
//! Comes in: the image's identity, a policy, envelopes, the time. Goes out: an approval or a denial. Everything here is pure, total and closed: no files, no
//! registry, no clock; every input has an answer, and whatever is missing, damaged, unknown or unreachable is a no. There is one place that makes an approval,
//! and no way to write one down and read it back: whoever needs it later decides again.
//!
//! What it does not promise: that the tests are good, or honest, or that the coordinator's host is. Nothing here fetches, pushes or deploys.

pub mod account;
pub mod attest;
pub mod claim;
pub mod decide;
pub mod denial;
pub mod evidence;
pub mod moment;
pub mod policy;
mod read;
pub mod statement;

#[cfg(test)]
mod tests;

pub use account::{Account, Told};
pub use attest::{Facts, Unattestable, Witness, attest};
pub use claim::{BreakGlass, Claim};
pub use decide::{Approval, Mode, Question, decide};
pub use denial::{Denial, Gap, Reason};
pub use evidence::{Evidence, Found, Seen, Sight};
pub use moment::Moment;
pub use policy::{Policy, PolicyError};
pub use statement::{Answer, Statement, StoreKind, Subject, TestResult};

use crate::model::Sha256;

/// Which image. A tag is none: it may be moved. Nor is a commit: another image may be built of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Digest of its manifest: what it is pushed, promoted and pulled by.
    pub manifest: Sha256,
    /// Digest of its configuration.
    pub config: Sha256,
    /// The kind of store that the engine keeps it in, which decides what its id there means.
    pub store: StoreKind,
}

impl Identity {
    /// What an engine with a store of this kind calls it.
    pub fn id_in(&self, store: StoreKind) -> Sha256 {
        match store {
            StoreKind::Docker => self.config,
            StoreKind::Containerd => self.manifest,
        }
    }
}
