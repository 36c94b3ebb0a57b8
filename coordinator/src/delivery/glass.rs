//! A person's signed word that gets past the gate, put beside the image as evidence for everybody to see. Whether it counts is the gate's to say, by the policy.

use std::path::PathBuf;

use super::{DeliveryError, Outside};
use crate::gate::claim::BREAK_GLASS;
use crate::gate::{BreakGlass, Identity, Moment};
use crate::model::trust::KeySource;
use crate::registry::evidence::{self, Statement};
use crate::registry::{Digest, Repository};
use crate::trust::{dsse, secret};

/// Somebody who wants past.
#[derive(Debug, Clone)]
pub struct Breaking {
    /// Where to.
    pub environment: String,
    /// Why.
    pub reason: String,
    /// Who, in words.
    pub actor: String,
    /// The file of the person's own private key.
    pub key: PathBuf,
    /// What it is encrypted with, if it is.
    pub passphrase: Option<String>,
    /// For how long, in milliseconds; the policy has the last word.
    pub ttl_ms: u64,
}

/// Signs the word, and puts it beside the image. Gives back the artifact.
///
/// # Errors
/// The key cannot be used; the registry does not take it.
pub async fn break_glass(
    breaking: &Breaking,
    identity: &Identity,
    repository: &Repository,
    outside: &Outside,
) -> Result<Digest, DeliveryError> {
    let unusable = |cause| DeliveryError::Key { path: breaking.key.clone(), cause };
    let key = secret(&KeySource::File(breaking.key.clone()), breaking.passphrase.as_deref()).map_err(unusable)?;
    let made_on = Moment::of_ms(outside.now_ms);
    let word = BreakGlass {
        environment: breaking.environment.clone(),
        reason: breaking.reason.clone(),
        actor: breaking.actor.clone(),
        made_on,
        expires: made_on.plus_ms(breaking.ttl_ms),
    };
    let envelope = dsse::sign(&key, &word.about(&repository.name().to_string(), identity.manifest).to_bytes());
    let bundle = dsse::bundle(&envelope).ok_or(DeliveryError::Unsigned)?;
    let statement = Statement { predicate_type: BREAK_GLASS.to_owned(), created_at: outside.now_ms, bundle: bundle.into() };
    Ok(evidence::attach(repository, identity.manifest.into(), &statement).await?)
}
