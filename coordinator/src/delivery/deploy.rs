//! What is to be deployed, gone on with, or gone back to: found, approved by the gate anew, and looked up in the release repository.

use super::approve::{Asked, approve};
use super::promote::CURRENT;
use super::registries::{self, Role};
use super::{DeliveryError, Outside, PolicySource};
use crate::config::Delivery;
use crate::deployment::{Gate, Journal};
use crate::gate::Mode;
use crate::model::environment::DeployId;
use crate::promotion::{Promotion, recall};
use crate::rollout::{self, RolloutError, Site};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// This image, or what was promoted last for the environment.
    Deploy(Option<String>),
    /// What was left unfinished.
    Resume,
    /// The release that was stable before the one that is.
    Rollback,
}

/// Something that may be deployed now.
#[derive(Debug)]
pub struct Permitted {
    /// The image in its place.
    pub promotion: Promotion,
    /// How it was named.
    pub reference: String,
    /// Where the policy is from, for people.
    pub policy_from: String,
}

/// A name for a deploy that no other has had.
pub fn new_deploy() -> DeployId {
    DeployId(ulid::Ulid::generate().to_string())
}

/// Asks the gate about what is wanted.
///
/// # Errors
/// There is nothing to go on with or back to; the gate says no; it was never promoted; an engine or a registry.
pub async fn permit(
    wish: &Wish,
    (delivery, site): (&Delivery, &Site),
    source: &PolicySource,
    outside: &Outside,
) -> Result<Permitted, DeliveryError> {
    // What is gone back to or on with is in journals, and one that is away may be the longest.
    site.fleet.whole().map_err(RolloutError::from)?;
    let environment = &site.environment.name;
    let (reference, mode) = match wish {
        Wish::Deploy(Some(reference)) => (reference.clone(), Mode::Deploy),
        Wish::Deploy(None) => (format!("{CURRENT}{environment}"), Mode::Deploy),
        // What has begun is finished, however old its evidence has become meanwhile.
        Wish::Resume => (unfinished(&rollout::journal(site).await?)?, Mode::Rollback),
        Wish::Rollback => (before(&rollout::journal(site).await?)?, Mode::Rollback),
    };
    let asked = Asked { delivery, reference: &reference, environment, mode, source, brought: &[] };
    let approved = approve(&asked, outside).await?;
    let release = registries::repository(delivery, Role::Release, outside)?;
    let promotion = recall(&approved.approval, &release).await?;
    Ok(Permitted { promotion, reference, policy_from: approved.policy_from })
}

/// What the gate says now of what is being deployed, and of what would be gone back to. Only a revocation counts: how old the evidence has become meanwhile does not, and a registry
/// that does not answer for a while stops nothing that was let through.
pub async fn revoked(permitted: &Permitted, (delivery, site): (&Delivery, &Site), source: &PolicySource, outside: &Outside) -> Gate {
    let target = permitted.promotion.manifest().to_string();
    let back = rollout::journal(site).await.ok().and_then(|journal| {
        let course = journal.course(journal.unfinished()?)?;
        journal.manifest(course.current.as_ref()?).map(str::to_owned)
    });
    let environment = &site.environment.name;
    let is_revoked = async |reference: Option<String>| {
        let Some(reference) = reference else { return false };
        let asked = Asked { delivery, reference: &reference, environment, mode: Mode::Rollback, source, brought: &[] };
        matches!(approve(&asked, outside).await, Err(DeliveryError::Denied(denial)) if denial.code() == "E_REVOKED")
    };
    Gate { target_revoked: is_revoked(Some(target)).await, back_revoked: is_revoked(back).await }
}

fn unfinished(journal: &Journal) -> Result<String, DeliveryError> {
    let deploy = journal.unfinished().ok_or(RolloutError::NothingToResume)?;
    let course = journal.course(deploy).ok_or(RolloutError::NothingToResume)?;
    Ok(course.manifest.clone())
}

fn before(journal: &Journal) -> Result<String, DeliveryError> {
    if let Some(deploy) = journal.unfinished() {
        return Err(RolloutError::Unfinished(deploy.clone()).into());
    }
    journal.previous().map(|course| course.manifest.clone()).ok_or(DeliveryError::NothingBefore)
}
