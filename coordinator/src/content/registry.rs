//! A registry of images as a store of a few records: for machines that share nothing else. It keeps no blobs, and records of images alone, beside the
//! layers: who can find the image there has a use for knowing which one it is.
//!
//! A record is a tag `sc-<40 digits>`, made of what the record is named by, on an artifact of which nothing but its manifest counts: the record, see
//! [`mod@super::envelope`], is an annotation of it, so that a look-up is one question. `{level}` in the repository's name stands for the level of a record's
//! writer, since registries give rights to repositories and not to tags. Nothing is ever deleted, because most registries let nobody do that: what is
//! written again overtakes what was there, and what is old goes with the registry's own rules.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use tokio::sync::OnceCell;

use super::counters::End;
use super::envelope::{self, Opened};
use super::{Counters, Digest, Record, RecordKey, Store, StoreError, frames, name};
use crate::model::trust::LEVEL;

/// The only layer whose records are kept.
const LAYER: &str = "image";
const ARTIFACT: &str = "application/vnd.splitci.record.v1";
const ANNOTATION: &str = "ci.splitci.record";
/// The content of an artifact that has none, its length, type and digest, as the image specification has it.
const EMPTY: &[u8] = b"{}";
const EMPTY_SIZE: i64 = 2;
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY_DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const CONNECT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a user and a password, once and not before they are needed. Nothing where there are none; or why they could not be had.
pub type Login =
    Box<dyn Fn() -> BoxFuture<'static, Result<Option<(String, String)>, Box<dyn std::error::Error + Send + Sync>>> + Send + Sync>;

/// Which repository, and who asks.
pub struct RegistrySettings {
    /// The repository with its host, `{level}` included.
    pub repository: String,
    /// It speaks HTTP, as engines let those on loopback do.
    pub plain: bool,
    /// Who asks.
    pub login: Login,
}

impl fmt::Debug for RegistrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySettings").field("repository", &self.repository).finish_non_exhaustive()
    }
}

/// A store in a registry.
pub struct RegistryStore {
    client: Client,
    settings: RegistrySettings,
    auth: OnceCell<RegistryAuth>,
    counters: Counters,
}

impl fmt::Debug for RegistryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryStore").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl RegistryStore {
    /// A store that connects when it is first asked.
    pub fn new(settings: RegistrySettings) -> Result<Self, StoreError> {
        let protocol = if settings.plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(PATIENCE),
            user_agent: concat!("splitci/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(failure)?;
        Ok(Self { client, settings, auth: OnceCell::new(), counters: Counters::default() })
    }

    fn tag(&self, key: &RecordKey) -> Result<Reference, StoreError> {
        let level = key.space.split('/').next().unwrap_or_default();
        let repository = self.settings.repository.replace(LEVEL, level);
        let mut hasher = blake3::Hasher::new_derive_key("splitci record in a registry v1");
        for part in [name::space(&key.space).as_bytes(), name::space(key.layer).as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let digits = hasher.update(&key.key).finalize().to_hex();
        format!("{repository}:sc-{}", &digits[..40]).parse().map_err(|error| remote(Box::new(error)))
    }

    async fn auth(&self) -> Result<&RegistryAuth, StoreError> {
        let ask = async || match (self.settings.login)().await {
            Ok(Some((user, password))) => Ok(RegistryAuth::Basic(user, password)),
            Ok(None) => Ok(RegistryAuth::Anonymous),
            Err(error) => Err(remote(error)),
        };
        self.auth.get_or_try_init(ask).await
    }

    async fn read(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let (reference, auth) = (self.tag(key)?, self.auth().await?);
        let manifest = match self.client.pull_manifest_raw(&reference, auth, &[OCI_IMAGE_MEDIA_TYPE]).await {
            Ok((manifest, _)) => manifest,
            Err(error) if is_missing(&error) => {
                self.counters.record(key.layer, End::Absent, 0);
                return Ok(None);
            }
            Err(error) => return Err(failure(error)),
        };
        self.counters.arrived(manifest.len());
        let opened = kept(&manifest).map_or(Opened::Damaged, |kept| envelope::open(key, &kept));
        self.counters.record(key.layer, opened.end(), manifest.len());
        Ok(opened.whole())
    }

    async fn write(&self, key: &RecordKey, record: &Record) -> Result<(), StoreError> {
        let (kept, reference, auth) = (envelope::seal(key, record)?, self.tag(key)?, self.auth().await?);
        // The pushes themselves take a refusal for somebody who needs no name.
        self.client.auth(&reference, auth, RegistryOperation::Push).await.map_err(failure)?;
        if !self.client.blob_exists(&reference, EMPTY_DIGEST).await.map_err(failure)? {
            self.client.push_blob(&reference, Bytes::from_static(EMPTY), EMPTY_DIGEST).await.map_err(failure)?;
        }
        self.client.push_manifest(&reference, &OciManifest::Image(artifact(&kept))).await.map_err(failure)?;
        self.counters.written(kept.len() as u64);
        Ok(())
    }

    fn told<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.inspect_err(|error| self.counters.failed(error))
    }
}

/// An artifact that is nothing but this record.
fn artifact(kept: &[u8]) -> OciImageManifest {
    let empty =
        OciDescriptor { media_type: EMPTY_TYPE.to_owned(), digest: EMPTY_DIGEST.to_owned(), size: EMPTY_SIZE, ..OciDescriptor::default() };
    OciImageManifest {
        media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
        config: empty.clone(),
        layers: vec![empty],
        artifact_type: Some(ARTIFACT.to_owned()),
        annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), STANDARD.encode(kept))])),
        ..OciImageManifest::default()
    }
}

/// The record of an artifact; nothing if it is something else.
fn kept(manifest: &[u8]) -> Option<Bytes> {
    let manifest: OciImageManifest = serde_json::from_slice(manifest).ok()?;
    let text = manifest.annotations?.remove(ANNOTATION).filter(|text| text.len() <= envelope::MOST_KEPT * 4 / 3 + 4)?;
    STANDARD.decode(text).ok().map(Bytes::from)
}

#[async_trait]
impl Store for RegistryStore {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn keeps_blobs(&self) -> bool {
        false
    }

    fn keeps_layer(&self, layer: &str) -> bool {
        layer == LAYER
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; digests.len()])
    }

    async fn get(&self, _: Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    async fn get_to(&self, _: Digest, _: &Path, _: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn put(&self, _: Digest, _: Bytes) -> Result<(), StoreError> {
        self.counters.skipped();
        Ok(())
    }

    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        self.counters.skipped();
        let file = file.to_owned();
        let digest = tokio::task::spawn_blocking(move || {
            let file = fs_err::File::open(file)?;
            frames::digest(&file, file.metadata()?.len())
        });
        Ok(digest.await.unwrap_or_else(|gone| Err(std::io::Error::other(gone)))?)
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        if self.keeps_layer(key.layer) { self.told(self.read(key).await) } else { Ok(None) }
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        // Without its blobs a record would say nothing.
        if !self.keeps_layer(key.layer) || !record.blobs.is_empty() {
            self.counters.skipped();
            return Ok(());
        }
        self.told(self.write(key, &record).await)
    }

    async fn remove(&self, _: Digest) -> Result<(), StoreError> {
        Ok(())
    }

    /// Leaves something there that is no record.
    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        if !self.keeps_layer(key.layer) || self.entry(key).await?.is_none() {
            return Ok(());
        }
        let reference = self.tag(key)?;
        let gone = OciManifest::Image(artifact(&[]));
        self.told(self.client.push_manifest(&reference, &gone).await.map(drop).map_err(failure))
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn is_missing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::RegistryError { envelope, .. } => {
            use OciErrorCode::{ManifestUnknown, NameUnknown, NotFound};
            envelope.errors.iter().any(|error| matches!(error.code, ManifestUnknown | NameUnknown | NotFound))
        }
        _ => false,
    }
}

fn failure(error: OciDistributionError) -> StoreError {
    use OciDistributionError::{AuthenticationFailure, RegistryError, RequestError, ServerError, UnauthorizedError};
    let denied = |envelope: &oci_client::errors::OciEnvelope| {
        envelope.errors.iter().any(|error| matches!(error.code, OciErrorCode::Denied | OciErrorCode::Unauthorized))
    };
    let refused = match &error {
        AuthenticationFailure(_) | UnauthorizedError { .. } => true,
        ServerError { code, .. } => matches!(code, 401 | 403),
        RequestError(error) => error.status().is_some_and(|status| matches!(status.as_u16(), 401 | 403)),
        RegistryError { envelope, .. } => denied(envelope),
        _ => false,
    };
    if refused { StoreError::Refused { tier: "registry", cause: std::sync::Arc::new(error) } } else { remote(Box::new(error)) }
}

fn remote(cause: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Remote { tier: "registry", cause: cause.into() }
}
