//! Evidence: signed statements that lie beside an image, in the same repository, as artifacts whose subject it is.
//!
//! A registry that can be asked what refers to an image is asked. One that cannot is given two things: an index of what refers to the image, under a tag made of its digest,
//! where every tool looks; and for each statement a tag of its own, because a registry's garbage collection takes what is reachable through an index alone, and because two
//! who write the index at the same time lose one of the entries. What is found on any of these ways counts.
//!
//! That nothing is there, and that it could not be asked, are different answers: the first is an empty list, the second an error. What is named and cannot be used is
//! told one by one. Nothing here reads a statement or believes one: signatures are looked at by who judges.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_client::manifest::{OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Descriptor, Digest, Malformed, Manifest, RegistryError, Repository, Tag, Wanted};

/// What a statement is wrapped in.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The largest statement, in bytes.
pub const LARGEST_BUNDLE: u64 = 4 << 20;
/// How many artifacts may refer to one image.
const MOST: usize = 500;
/// How much all statements about one image may be, in bytes.
const LARGEST_ALTOGETHER: u64 = 64 << 20;
/// How often the index is read and written again when somebody else writes it.
const ROUNDS: usize = 4;

const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const CONTENT: &str = "dev.sigstore.bundle.content";
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
const CREATED: &str = "org.opencontainers.image.created";

/// A signed statement that is to lie beside an image.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What kind of statement it is.
    pub predicate_type: String,
    /// When it was made, in milliseconds since 1970. The same statement at the same time is the same artifact.
    pub created_at: u64,
    /// Itself, wrapped and signed: of type [`BUNDLE`], and not looked into.
    pub bundle: Bytes,
}

/// A statement that was found beside an image. Its bytes are whole; whether it is true is for others to say.
#[derive(Debug, Clone)]
pub struct Found {
    /// What kind of statement it says it is; not to be relied on.
    pub predicate_type: Option<String>,
    /// Itself.
    pub bundle: Bytes,
    /// The artifact that it lies in.
    pub artifact: Manifest,
}

/// Something that is said to be a statement about the image, and cannot be used. It may have been the one that says no: who judges must not take it for nothing.
#[derive(Debug)]
pub struct Spoiled {
    /// The artifact.
    pub artifact: Digest,
    /// What is wrong with it.
    pub cause: RegistryError,
}

/// What lies beside an image.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Statements, by the digests of their artifacts.
    pub found: Vec<Found>,
    /// What is named, and is not there or is not what it should be.
    pub spoiled: Vec<Spoiled>,
}

/// A list of what refers to something.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    /// As others wrote them, with all that they have.
    manifests: Vec<Value>,
}

/// Puts a statement beside an image, which must be in the repository. Once or twice is the same. Gives back its artifact.
///
/// # Errors
/// The image is not there; the statement is too large; the registry cannot be asked, or refuses; somebody else keeps writing the index of what refers to the image: the
/// statement is there then, and found by us.
pub async fn attach(repository: &Repository, subject: Digest, statement: &Statement) -> Result<Digest, RegistryError> {
    if statement.bundle.len() as u64 > LARGEST_BUNDLE {
        return Err(RegistryError::TooLarge { what: "the statement".to_owned(), most: LARGEST_BUNDLE });
    }
    let subject = repository.manifest(subject).await?.descriptor();
    let config = repository.put_bytes(EMPTY_TYPE, Bytes::from_static(EMPTY)).await?;
    let bundle = repository.put_bytes(BUNDLE, statement.bundle.clone()).await?;
    let artifact = artifact(&subject, [&config, &bundle], statement)?;
    place(repository, subject.digest, &artifact).await?;
    Ok(artifact.digest())
}

/// The artifact that a statement lies in.
fn artifact(subject: &Descriptor, [config, bundle]: [&Descriptor; 2], statement: &Statement) -> Result<Manifest, RegistryError> {
    let strange = |why| RegistryError::Strange { asked: format!("put a statement beside `{}`", subject.digest), why };
    let made = OffsetDateTime::from_unix_timestamp_nanos(i128::from(statement.created_at) * 1_000_000).ok();
    let made = made.and_then(|made| made.format(&Rfc3339).ok()).ok_or_else(|| strange("its time is out of reach"))?;
    let remarks = [(CONTENT, "dsse-envelope".to_owned()), (PREDICATE, statement.predicate_type.clone()), (CREATED, made)];
    let manifest = OciImageManifest {
        media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
        artifact_type: Some(BUNDLE.to_owned()),
        config: named(config)?,
        layers: vec![named(bundle)?],
        subject: Some(named(subject)?),
        annotations: Some(remarks.into_iter().map(|(name, remark)| (name.to_owned(), remark)).collect::<BTreeMap<_, _>>()),
        ..OciImageManifest::default()
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|_| strange("it cannot be written"))?;
    Manifest::read(None, bytes.into()).map_err(|_| strange("it cannot be written"))
}

fn named(part: &Descriptor) -> Result<OciDescriptor, RegistryError> {
    let most = i64::MAX.unsigned_abs();
    let size = i64::try_from(part.size).map_err(|_| RegistryError::TooLarge { what: format!("`{}`", part.digest), most })?;
    Ok(OciDescriptor { media_type: part.media_type.clone(), digest: part.digest.to_string(), size, ..OciDescriptor::default() })
}

/// Puts an artifact about an image where it is found, when its blobs and the image are there. What is there already is not written.
pub(super) async fn place(repository: &Repository, subject: Digest, artifact: &Manifest) -> Result<(), RegistryError> {
    if repository.find(&artifact.digest().into()).await?.is_none() {
        repository.put_manifest(artifact).await?;
    }
    if let Some(listed) = referrers(repository, subject).await?
        && listed.iter().any(|one| one.digest == artifact.digest())
    {
        return Ok(());
    }
    let own = Tag::of_statement(subject, artifact.digest());
    if repository.find(&Wanted::from(&own)).await?.is_none_or(|there| there.digest() != artifact.digest()) {
        repository.put_tag(artifact, &own).await?;
    }
    enter(repository, subject, artifact).await
}

/// Enters an artifact into the index of what refers to an image. Registries know no "only if nobody else wrote", so it is read again afterwards.
async fn enter(repository: &Repository, subject: Digest, artifact: &Manifest) -> Result<(), RegistryError> {
    let tag = Tag::of_referrers(subject);
    for _ in 0..ROUNDS {
        let mut index = index(repository, &tag).await?.unwrap_or_else(Index::empty);
        if index.descriptors().any(|one| one.digest == artifact.digest()) {
            return Ok(());
        }
        index.forget_what_is_gone(repository).await?;
        index.manifests.push(entry(artifact));
        match repository.put_tag(&index.written(&tag, repository)?, &tag).await {
            Ok(()) | Err(RegistryError::Raced { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(RegistryError::Raced { tag: tag.to_string(), repository: repository.name().to_string() })
}

fn entry(artifact: &Manifest) -> Value {
    let mut remarks = serde_json::Map::new();
    for name in [CONTENT, PREDICATE, CREATED] {
        if let Some(remark) = artifact.annotation(name) {
            remarks.insert(name.to_owned(), remark.into());
        }
    }
    let mut entry = serde_json::to_value(artifact.descriptor()).unwrap_or_default();
    if let Some(fields) = entry.as_object_mut().filter(|_| !remarks.is_empty()) {
        fields.insert("annotations".to_owned(), remarks.into());
    }
    entry
}

impl Index {
    fn empty() -> Self {
        Self { schema_version: 2, media_type: Some(OCI_IMAGE_INDEX_MEDIA_TYPE.to_owned()), manifests: Vec::new() }
    }

    fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        self.manifests.iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok())
    }

    /// A registry takes no index of something that is not there, and garbage collection leaves such ones behind.
    async fn forget_what_is_gone(&mut self, repository: &Repository) -> Result<(), RegistryError> {
        let mut kept = Vec::new();
        for entry in std::mem::take(&mut self.manifests) {
            // What is not understood is somebody else's.
            let there = match serde_json::from_value::<Descriptor>(entry.clone()) {
                Ok(known) => repository.has_manifest(known.digest).await?,
                Err(_) => true,
            };
            if there {
                kept.push(entry);
            }
        }
        self.manifests = kept;
        Ok(())
    }

    fn written(&self, tag: &Tag, repository: &Repository) -> Result<Manifest, RegistryError> {
        let wrong = |cause| RegistryError::Manifest { name: tag.to_string(), repository: repository.name().to_string(), cause };
        let bytes = serde_json::to_vec(self).map_err(|cause| wrong(cause.into()))?;
        Manifest::read(Some(OCI_IMAGE_INDEX_MEDIA_TYPE), bytes.into()).map_err(wrong)
    }
}

/// The index under a tag; nothing if there is none. Something else under that tag is an error: it may hide what was there.
async fn index(repository: &Repository, tag: &Tag) -> Result<Option<Index>, RegistryError> {
    let Some(manifest) = repository.find(&tag.into()).await? else { return Ok(None) };
    let wrong = |cause| RegistryError::Manifest { name: tag.to_string(), repository: repository.name().to_string(), cause };
    let index: Index = serde_json::from_slice(manifest.bytes()).map_err(|cause| wrong(cause.into()))?;
    if index.manifests.len() > MOST { Err(too_many(repository)) } else { Ok(Some(index)) }
}

fn too_many(repository: &Repository) -> RegistryError {
    RegistryError::TooMany { what: format!("artifacts about one image in `{}`", repository.name()), most: MOST }
}

/// What the registry says refers to an image; nothing if it cannot be asked that.
async fn referrers(repository: &Repository, subject: Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
    let asked = format!("list what refers to `{subject}` in `{}`", repository.name());
    let mut listed = Vec::new();
    let url = repository.line.url(&format!("referrers/{subject}"))?;
    let pages = repository.pages(url, &asked, |body| {
        let page: Index = serde_json::from_slice(body)?;
        listed.extend(page.descriptors());
        Ok(listed.len())
    });
    match pages.await {
        Ok(true) => {}
        // One that knows no such address cannot be asked, nor one that knows no such question.
        Ok(false) | Err(RegistryError::Answer { status: 405 | 501, .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    if listed.len() > MOST { Err(too_many(repository)) } else { Ok(Some(listed)) }
}

/// All statements beside an image. An empty list says that there are none.
///
/// # Errors
/// It cannot be known what there is: the registry cannot be asked or refuses, or there is more than anybody would put there.
pub async fn list(repository: &Repository, subject: Digest) -> Result<Evidence, RegistryError> {
    let named = named_by_any(repository, subject).await?;
    let mut evidence = Evidence::default();
    let mut altogether = 0;
    for (digest, known) in named {
        match read(repository, subject, digest, known).await {
            Ok(None) => {}
            Ok(Some(found)) => {
                altogether += found.bundle.len() as u64;
                if altogether > LARGEST_ALTOGETHER {
                    let what = format!("all that is said about `{subject}` in `{}`", repository.name());
                    return Err(RegistryError::TooLarge { what, most: LARGEST_ALTOGETHER });
                }
                evidence.found.push(found);
            }
            Err(cause) if is_about_itself(&cause) => evidence.spoiled.push(Spoiled { artifact: digest, cause }),
            Err(error) => return Err(error),
        }
    }
    Ok(evidence)
}

/// Whether an error says something about an artifact, and not that it could not be asked for.
fn is_about_itself(error: &RegistryError) -> bool {
    use RegistryError::{Digest, Length, Manifest, Missing, TooLarge};
    matches!(error, Digest { .. } | Length { .. } | Manifest { .. } | Missing { .. } | TooLarge { .. })
}

/// All artifacts that may be statements about an image, with those that were read on the way.
async fn named_by_any(repository: &Repository, subject: Digest) -> Result<BTreeMap<Digest, Option<Manifest>>, RegistryError> {
    let listed = match referrers(repository, subject).await? {
        Some(listed) => listed,
        None => index(repository, &Tag::of_referrers(subject)).await?.map(|index| index.descriptors().collect()).unwrap_or_default(),
    };
    let ours = |one: &Descriptor| one.artifact_type.as_deref().is_none_or(|artifact| artifact == BUNDLE);
    let mut named: BTreeMap<_, _> = listed.iter().filter(|one| ours(one)).map(|one| (one.digest, None)).collect();
    let own = Tag::of_statements(subject);
    for tag in repository.tags().await?.into_iter().filter(|tag| tag.starts_with(&own)) {
        let tag: Tag = tag.parse()?;
        // A tag that went away in the meantime names nothing.
        if let Some(manifest) = repository.find(&(&tag).into()).await? {
            named.insert(manifest.digest(), Some(manifest));
        }
        if named.len() > MOST {
            return Err(too_many(repository));
        }
    }
    Ok(named)
}

/// A statement; nothing if the artifact is something else, or about something else.
async fn read(repository: &Repository, subject: Digest, digest: Digest, known: Option<Manifest>) -> Result<Option<Found>, RegistryError> {
    let artifact = match known {
        Some(artifact) => artifact,
        None => repository.manifest(digest).await?,
    };
    let about_it = artifact.subject().is_some_and(|about| about.digest == subject);
    if !about_it || artifact.artifact_type() != Some(BUNDLE) {
        return Ok(None);
    }
    let [layer] = artifact.layers() else {
        let cause = Malformed::Parts { said: BUNDLE.to_owned() };
        return Err(RegistryError::Manifest { name: digest.to_string(), repository: repository.name().to_string(), cause });
    };
    let bundle = repository.read_blob(layer, LARGEST_BUNDLE).await?;
    Ok(Some(Found { predicate_type: artifact.annotation(PREDICATE).map(str::to_owned), bundle, artifact }))
}
