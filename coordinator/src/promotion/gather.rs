//! What the gate is shown about an image: which one it is, and every envelope that lies beside it or that somebody brought.

use futures_util::future::join_all;

use super::{PromotionError, config};
use crate::gate::{Evidence, Found, Identity, StoreKind};
use crate::model::Sha256;
use crate::registry::evidence;
use crate::registry::{Repository, Wanted};
use crate::trust::dsse;

/// Which image a name means now. What is decided afterwards is decided about the digest.
pub async fn identify(repository: &Repository, wanted: &Wanted, store: StoreKind) -> Result<Identity, PromotionError> {
    let nothing = Sha256::from_bytes([0; 32]);
    let found = repository.find(wanted).await.map_err(|cause| PromotionError::registry(nothing, cause))?;
    let manifest = found.ok_or_else(|| PromotionError::NotReleased { image: nothing, repository: repository.name().clone() })?;
    let image = manifest.digest().into();
    Ok(Identity { manifest: image, config: config(&manifest, image)?, store })
}

/// Everything that is signed about an image: what somebody brought, and what lies beside it in each of these repositories. One that cannot be asked, or that names
/// something that is not there, may hold the statement that says no; that is not the same as nothing.
pub async fn gather(manifest: Sha256, brought: Vec<Found>, repositories: &[&Repository]) -> Evidence {
    let mut found = brought;
    let mut silent = None;
    // All at once: one that is slow is waited for once, however many there are.
    let asked = join_all(repositories.iter().map(|repository| evidence::list(repository, manifest.into()))).await;
    for (repository, listed) in repositories.iter().zip(asked) {
        let place = repository.name().to_string();
        match listed {
            Ok(listed) => {
                for one in listed.found {
                    // What is no bundle of ours is somebody else's, and nothing about tests that we could read.
                    let at = format!("{place}@{}", one.artifact.digest());
                    found.extend(dsse::unbundle(&one.bundle).map(|envelope| Found { envelope, at }));
                }
                if let Some(spoiled) = listed.spoiled.first() {
                    silent.get_or_insert((place, format!("{}: {}", spoiled.artifact, spoiled.cause)));
                }
            }
            Err(error) => {
                silent.get_or_insert((place, chain(&error)));
            }
        }
    }
    match silent {
        Some((place, why)) => Evidence::Unanswered { place, why, given: found },
        None => Evidence::Asked(found),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
