//! An approved image gets its names in the release repository: the gate is asked, then the very bytes that were tested are put there.

use std::fs::File;

use super::approve::{Approved, Asked, approve};
use super::registries::{self, Role};
use super::{DeliveryError, Outside};
use crate::gate::Told;
use crate::promotion::{self, Copied, Promotion};
use crate::registry::{RegistryError, Tag};

/// The name that means what was promoted last for an environment. For people and for `deploy` without a name: what is deployed is approved anew, by digest.
pub const CURRENT: &str = "current-";

/// What came of it.
#[derive(Debug)]
pub struct Promoted {
    /// The gate's answer, with what it was about.
    pub approved: Approved,
    /// The image in its place.
    pub promotion: Promotion,
    /// What was carried.
    pub copied: Copied,
    /// Its tags that never mean anything else.
    pub once: Vec<Tag>,
}

/// Promotes an image for an environment. Called again, it writes what is missing, which is nothing the second time.
///
/// # Errors
/// No repository; the gate says no, and nothing is written; a tag means another image already, and nothing is written; a registry. Another promotion of the project on this
/// machine holds the lock. Two machines are kept apart by nothing but the registry: what they put is named by digest, a tag that is given once is looked at before and after, and
/// of two that move the same tag the last one wins.
pub async fn promote(asked: &Asked<'_>, tags: &[Tag], outside: &Outside) -> Result<Promoted, DeliveryError> {
    let release = registries::repository(asked.delivery, Role::Release, outside)?;
    let _held = lock(asked)?;
    let approved = approve(asked, outside).await?;
    let mut once = tags.to_vec();
    let commit = approved.account.decisive(&approved.approval).and_then(Told::commit);
    once.extend(commit.and_then(|commit| format!("sha-{commit}").parse::<Tag>().ok()));
    once.sort();
    once.dedup();
    let moving: Result<Tag, RegistryError> = format!("{CURRENT}{}", asked.environment).parse();
    let (promotion, copied) = promotion::promote(&approved.approval, (&approved.repository, &release), &once, &[moving?]).await?;
    Ok(Promoted { approved, promotion, copied, once })
}

/// Two of one machine do not promote at once.
fn lock(asked: &Asked<'_>) -> Result<File, DeliveryError> {
    let path = asked.delivery.records.state.join("promote.lock");
    let failed = |cause| DeliveryError::File { path: path.clone(), cause };
    fs_err::create_dir_all(&asked.delivery.records.state).map_err(failed)?;
    let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(DeliveryError::Busy),
        Err(std::fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}
