//! A proven image gets its name in the release repository, by the very bytes that were tested.
//!
//! | there | is |
//! |---|---|
//! | [`gather`] | everything that is signed about an image, from where it lies: what the gate is shown |
//! | [`promote`] | an [`Approval`] and a candidate become a [`Promotion`] |
//! | [`recall`] | the same for an image that was promoted before, by whoever deploys it |
//!
//! Comes in: repositories, and an approval, which only the gate makes. Goes out: a [`Promotion`], which is made here alone and is what a deployment takes. Neither can
//! be written down and read back: another process asks the gate again, about what there is then. So what is deployed was tested, or the glass was broken for it.
//!
//! Not here: what the gate makes of evidence, what a registry is, and who may write to the release repository, which is what the promise rests on in the end.

mod gather;

use crate::gate::Approval;
use crate::gate::decide::Broken;
use crate::model::Sha256;
use crate::registry::transfer::{self, Order};
use crate::registry::{Digest, Manifest, Name, RegistryError, Repository, Tag};

pub use crate::gate::{Mode, Moment};
pub use crate::registry::transfer::Copied;
pub use gather::{gather, identify};

/// An image that has its place in the release repository, approved for one environment. It is as old as the process.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// use splitci_coordinator::model::Sha256;
/// use splitci_coordinator::promotion::Promotion;
/// fn another(one: Promotion, untested: Sha256) -> Promotion {
///     Promotion { config: untested, ..one }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    approval: Approval,
    config: Sha256,
    repository: Name,
}

impl Promotion {
    /// The image, by the digest of its manifest.
    pub fn manifest(&self) -> Sha256 {
        self.approval.manifest()
    }

    /// Digest of its configuration: what an engine calls it.
    pub fn config(&self) -> Sha256 {
        self.config
    }

    /// By which engines fetch it: never by a tag.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.approval.manifest())
    }

    /// The repository that it is in.
    pub fn repository(&self) -> &Name {
        &self.repository
    }

    /// Where it may go.
    pub fn environment(&self) -> &str {
        self.approval.environment()
    }

    /// What for.
    pub fn mode(&self) -> Mode {
        self.approval.mode()
    }

    /// Digest of the policy that it was approved under.
    pub fn policy(&self) -> Sha256 {
        self.approval.policy()
    }

    /// When the tests ended that it rests on; nothing if the glass was broken.
    pub fn finished(&self) -> Option<Moment> {
        self.approval.finished()
    }

    /// Who got past the gate, if somebody did.
    pub fn glass(&self) -> Option<&Broken> {
        self.approval.glass()
    }
}

/// Why an image was not promoted.
#[derive(Debug, thiserror::Error)]
pub enum PromotionError {
    /// A registry.
    #[error("cannot promote `{image}`")]
    Registry {
        /// Which image.
        image: Sha256,
        /// Why.
        #[source]
        cause: Box<RegistryError>,
    },
    /// It is not an image of one platform.
    #[error("`{image}` is an index of images, and the approval is about one image")]
    Index {
        /// Which.
        image: Sha256,
    },
    /// It is no image at all.
    #[error("`{image}` has no configuration: it is no image")]
    NoImage {
        /// Which.
        image: Sha256,
    },
    /// It was approved for something else.
    #[error("`{image}` was approved for {approved:?}, and not to be promoted")]
    OtherMode {
        /// Which.
        image: Sha256,
        /// What for.
        approved: Mode,
    },
    /// It was never promoted.
    #[error("`{image}` is not in `{repository}`")]
    NotReleased {
        /// Which.
        image: Sha256,
        /// The release repository.
        repository: Name,
    },
}

impl PromotionError {
    fn registry(image: Sha256, cause: RegistryError) -> Self {
        Self::Registry { image, cause: Box::new(cause) }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry { cause, .. } => cause.hint(),
            Self::Index { .. } => Some("name the manifest of one of its platforms by digest".to_owned()),
            Self::NoImage { .. } => Some("name an image by the digest of its manifest".to_owned()),
            Self::OtherMode { .. } => None,
            Self::NotReleased { .. } => Some("promote it first: `splitci promote`".to_owned()),
        }
    }
}

/// Carries an approved image from the candidate repository into the release repository, with all that is said about it, and gives it these names there: some
/// once and for ever, some that mean the latest. Called again, it writes what is missing.
///
/// Whoever calls holds the lock of the release repository: registries know no "only if nobody else wrote".
pub async fn promote(
    approval: &Approval,
    (candidate, release): (&Repository, &Repository),
    once: &[Tag],
    moving: &[Tag],
) -> Result<(Promotion, Copied), PromotionError> {
    let image = approval.manifest();
    if approval.mode() != Mode::Promote {
        return Err(PromotionError::OtherMode { image, approved: approval.mode() });
    }
    let failed = |cause| PromotionError::registry(image, cause);
    let manifest = candidate.manifest(image.into()).await.map_err(failed)?;
    let config = config(&manifest, image)?;
    let order = Order { source: candidate, target: release, digest: image.into(), once, moving };
    let copied = transfer::copy(&order).await.map_err(failed)?;
    Ok((Promotion { approval: approval.clone(), config, repository: release.name().clone() }, copied))
}

/// An image that was promoted before, approved again by whoever deploys it now. Nothing is written.
pub async fn recall(approval: &Approval, release: &Repository) -> Result<Promotion, PromotionError> {
    let image = approval.manifest();
    let found = release.find(&Digest::from(image).into()).await.map_err(|cause| PromotionError::registry(image, cause))?;
    let manifest = found.ok_or_else(|| PromotionError::NotReleased { image, repository: release.name().clone() })?;
    Ok(Promotion { approval: approval.clone(), config: config(&manifest, image)?, repository: release.name().clone() })
}

/// Digest of an image's configuration.
fn config(manifest: &Manifest, image: Sha256) -> Result<Sha256, PromotionError> {
    if manifest.is_index() {
        return Err(PromotionError::Index { image });
    }
    manifest.config().map(|config| config.digest.into()).ok_or(PromotionError::NoImage { image })
}
