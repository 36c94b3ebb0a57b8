//! An image into another repository, byte by byte the same, with all that is said about it.
//!
//! This is how a promotion is done, and no more: [`copy`] asks nobody whether the image may be released. **It is not to be called without an approval of exactly this
//! digest**; the test of the architecture says who may name it.
//!
//! The order makes every crash harmless: first all is read that is to be carried, and tags that are given once are looked at, so that what cannot be done is
//! refused before anything is written; then blobs, manifests by digest, those of an index before the index, statements, tags that are given once, tags that move. Until a
//! tag is written nobody sees anything new, and whoever comes again goes on where the last one was cut off: what is there already is not written.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};

use super::evidence::{self, Evidence, Spoiled};
use super::{Descriptor, Digest, Manifest, Mounted, RegistryError, Repository, Tag};

/// How many blobs are on their way at once; each takes the memory of one part.
const AT_ONCE: usize = 3;

/// What is to be carried where.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Where the image is.
    pub source: &'a Repository,
    /// Where it is to be.
    pub target: &'a Repository,
    /// Which image, or index of images.
    pub digest: Digest,
    /// Tags that never mean anything else.
    pub once: &'a [Tag],
    /// Tags that mean the latest.
    pub moving: &'a [Tag],
}

/// What was carried, and what was there already.
#[derive(Debug, Default)]
pub struct Copied {
    /// Manifests that were put.
    pub manifests: usize,
    /// Blobs that the registry took over from the other repository.
    pub mounted: usize,
    /// Blobs that were sent.
    pub sent: usize,
    /// Bytes of those.
    pub bytes: u64,
    /// Statements that are beside the image now.
    pub statements: usize,
    /// What is named as a statement at the source and cannot be used; it was not carried.
    pub spoiled: Vec<Spoiled>,
    /// Tags that were written.
    pub tags: Vec<Tag>,
    /// Requests that could have changed something at the target. None if all was there already.
    pub writes: u64,
}

/// How a blob came.
enum Way {
    There,
    Mounted,
    Sent(u64),
}

/// What is to be carried, read before anything is written.
struct Load {
    /// Parts before the whole.
    manifests: Vec<Manifest>,
    evidence: Vec<(Digest, Evidence)>,
}

/// Carries an image. **Not to be called without an approval of this very digest.** Called again, it writes what is missing.
///
/// Whoever calls holds the lock of the target: registries know no "only if nobody else wrote". Each question has its deadline, the whole has none; it may be dropped at any
/// moment, which is the same as a crash.
///
/// # Errors
/// A tag that is given once means another digest: nothing was written then, unless somebody else wrote it meanwhile. A part of the image is missing, or is not what it is
/// called. What is said about it could not be asked. One of the registries cannot be asked, or refuses.
pub async fn copy(order: &Order<'_>) -> Result<Copied, RegistryError> {
    let before = order.target.writes();
    for tag in order.once {
        is_given(order, tag).await?;
    }
    let load = read(order).await?;
    let mut copied = Copied::default();
    carry_images(order, &load, &mut copied).await?;
    carry_evidence(order, load.evidence, &mut copied).await?;
    let Some(image) = load.manifests.last() else {
        return Err(RegistryError::Missing { what: format!("manifest `{}` in `{}`", order.digest, order.source.name()) });
    };
    for tag in order.once {
        // Looked at again: the copying may have taken a while.
        if !is_given(order, tag).await? {
            order.target.put_tag(image, tag).await?;
            copied.tags.push(tag.clone());
        }
    }
    for tag in order.moving {
        if !means(order.target, tag, image.digest()).await? {
            order.target.put_tag(image, tag).await?;
            copied.tags.push(tag.clone());
        }
    }
    copied.writes = order.target.writes() - before;
    Ok(copied)
}

/// Whether a tag that is given once means this image already.
async fn is_given(order: &Order<'_>, tag: &Tag) -> Result<bool, RegistryError> {
    let wanted = order.digest;
    let taken = |found| RegistryError::Taken { tag: tag.to_string(), repository: order.target.name().to_string(), wanted, found };
    match order.target.find(&tag.into()).await?.map(|manifest| manifest.digest()) {
        Some(found) if found != wanted => Err(taken(found)),
        found => Ok(found.is_some()),
    }
}

async fn means(repository: &Repository, tag: &Tag, digest: Digest) -> Result<bool, RegistryError> {
    Ok(repository.find(&tag.into()).await?.is_some_and(|manifest| manifest.digest() == digest))
}

/// Reads all that is to be carried, but for the blobs.
async fn read(order: &Order<'_>) -> Result<Load, RegistryError> {
    let manifests = order.source.tree(order.digest).await?;
    let mut evidence = Vec::new();
    for manifest in &manifests {
        evidence.push((manifest.digest(), evidence::list(order.source, manifest.digest()).await?));
    }
    Ok(Load { manifests, evidence })
}

async fn carry_images(order: &Order<'_>, load: &Load, copied: &mut Copied) -> Result<(), RegistryError> {
    for manifest in &load.manifests {
        carry(order, manifest, copied).await?;
    }
    for manifest in &load.manifests {
        if order.target.find(&manifest.digest().into()).await?.is_none() {
            order.target.put_manifest(manifest).await?;
            copied.manifests += 1;
        }
        let part = manifest.digest() != order.digest;
        let own = Tag::of_part(manifest.digest());
        // Debian's registry collects what has no tag, and what an index names is none the better for that.
        if part && !means(order.target, &own, manifest.digest()).await? {
            order.target.put_tag(manifest, &own).await?;
            copied.tags.push(own);
        }
    }
    Ok(())
}

async fn carry_evidence(order: &Order<'_>, all: Vec<(Digest, Evidence)>, copied: &mut Copied) -> Result<(), RegistryError> {
    for (subject, evidence) in all {
        for found in &evidence.found {
            carry(order, &found.artifact, copied).await?;
            evidence::place(order.target, subject, &found.artifact).await?;
            copied.statements += 1;
        }
        copied.spoiled.extend(evidence.spoiled);
    }
    Ok(())
}

/// Carries the blobs of a manifest, a few at once. When one fails, those that are on their way come to their end, so that no upload stays open.
async fn carry(order: &Order<'_>, manifest: &Manifest, copied: &mut Copied) -> Result<(), RegistryError> {
    let failed = AtomicBool::new(false);
    let one = async |blob| {
        if failed.load(Ordering::Relaxed) {
            return Ok(Way::There);
        }
        carry_patiently(order, blob).await.inspect_err(|_| failed.store(true, Ordering::Relaxed))
    };
    let ways: Vec<_> = stream::iter(manifest.blobs()).map(one).buffer_unordered(AT_ONCE).collect().await;
    for way in ways {
        match way? {
            Way::There => {}
            Way::Mounted => copied.mounted += 1,
            Way::Sent(bytes) => {
                copied.sent += 1;
                copied.bytes += bytes;
            }
        }
    }
    Ok(())
}

/// An upload cannot be gone on with when it broke off, but begun anew.
async fn carry_patiently(order: &Order<'_>, blob: Descriptor) -> Result<Way, RegistryError> {
    let mut pauses = order.target.line.patience.pauses.iter();
    loop {
        let carried = carry_blob(order, &blob).await;
        let pause = pauses.next().filter(|_| carried.as_ref().is_err_and(RegistryError::is_passing));
        let Some(pause) = pause else { return carried };
        tokio::time::sleep(*pause).await;
    }
}

async fn carry_blob(order: &Order<'_>, blob: &Descriptor) -> Result<Way, RegistryError> {
    let (source, target) = (order.source, order.target);
    if target.has_blob(blob.digest).await? {
        return Ok(Way::There);
    }
    let mut begun = None;
    if source.name().host == target.name().host {
        match target.mount_blob(blob.digest, source.name()).await? {
            Mounted::Yes => return Ok(Way::Mounted),
            Mounted::No(upload) => begun = Some(upload),
            Mounted::Refused => {}
        }
    }
    let content = match source.open_blob(blob).await {
        Ok(content) => content,
        Err(error) => {
            if let Some(upload) = begun {
                target.give_up(upload).await;
            }
            return Err(error);
        }
    };
    let upload = match begun {
        Some(upload) => upload,
        None => target.begin().await?,
    };
    target.fill(upload, blob, content).await?;
    Ok(Way::Sent(blob.size))
}
