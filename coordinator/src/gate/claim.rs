//! What else is signed about an image: a claim with a name, which a policy may ask for, and a person's word that gets past the gate.

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::statement::{Answer, Statement, Subject};
use crate::model::Sha256;

/// The predicate of a claim.
pub const CLAIM: &str = "urn:splitci:claim:v1";
/// The predicate of a break-glass statement.
pub const BREAK_GLASS: &str = "urn:splitci:break-glass:v1";

/// A claim about an image, beside its tests: that it works with the last release's database, that it was in staging for a day, that somebody approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// What is claimed, as a policy names it: `compat`, `soaked:staging`.
    pub name: String,
    /// The answer. Only [`Answer::Passed`] is one that satisfies a policy.
    pub result: Answer,
    /// When.
    pub made_on: Moment,
}

/// A person's word: this image, there, now, whatever the gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlass {
    /// Where to.
    pub environment: String,
    /// Why.
    pub reason: String,
    /// Who, in words; who it was is said by the key.
    pub actor: String,
    /// When it was signed.
    pub made_on: Moment,
    /// Until when it counts.
    pub expires: Moment,
}

impl Claim {
    /// The claim as a statement about an image.
    pub fn about(self, repository: &str, manifest: Sha256) -> Statement<Self> {
        Statement::about(vec![Subject::of_bytes(repository, manifest)], CLAIM, self)
    }
}

impl BreakGlass {
    /// The word as a statement about an image.
    pub fn about(self, repository: &str, manifest: Sha256) -> Statement<Self> {
        Statement::about(vec![Subject::of_bytes(repository, manifest)], BREAK_GLASS, self)
    }
}
