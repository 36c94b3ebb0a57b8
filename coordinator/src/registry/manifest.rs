//! Manifests: the bytes as they came, and what is read off them.
//!
//! Bytes are never written anew, because that would be another digest. The same bytes may not mean two things: the type that a registry tells must be the one that they
//! give themselves, and nothing is both an image and an index.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_client::manifest::{IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE};
use serde::{Deserialize, Serialize};

use super::Digest;

/// The largest manifest that is read, in bytes: what registries take.
pub const LARGEST: u64 = 4 << 20;
/// How many parts one manifest may have.
const MOST_PARTS: usize = 1000;

/// What manifests are asked for as.
pub(super) const TYPES: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// Something that a manifest names: what it is, and how large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For an artifact in a list: what it is an artifact of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Places outside of the registry where it is, if it is not in there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// A manifest: its bytes, their digest, and what they say.
#[derive(Debug, Clone)]
pub struct Manifest {
    media_type: String,
    digest: Digest,
    bytes: Bytes,
    outline: Outline,
}

/// Why something is no manifest that can be worked with.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not with what a manifest has.
    #[error("it is not the JSON of a manifest")]
    Json(#[from] serde_json::Error),
    /// Of a type that is not known.
    #[error("its type is `{said}`: neither an image nor an index")]
    Type {
        /// What it says to be.
        said: String,
    },
    /// The registry says it is one thing, the bytes say another.
    #[error("the registry says it is `{told}`, and it says itself that it is `{said}`")]
    Disagree {
        /// In the answer's header.
        told: String,
        /// In the bytes.
        said: String,
    },
    /// It has what its type does not have, or lacks what it has.
    #[error("its parts are not those of its type, `{said}`")]
    Parts {
        /// Its type.
        said: String,
    },
}

/// What is read off the bytes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads one. `told` is the type that came along with the bytes, if any did.
    pub fn read(told: Option<&str>, bytes: Bytes) -> Result<Self, Malformed> {
        let outline: Outline = serde_json::from_slice(&bytes)?;
        let told = told.map(|told| told.split(';').next().unwrap_or(told).trim());
        let media_type = match (told, outline.media_type.as_deref()) {
            (Some(told), Some(said)) if told != said => {
                return Err(Malformed::Disagree { told: told.to_owned(), said: said.to_owned() });
            }
            (told, said) => told.or(said).unwrap_or_default().to_owned(),
        };
        if !TYPES.contains(&media_type.as_str()) {
            return Err(Malformed::Type { said: media_type });
        }
        let manifest = Self { media_type, digest: Digest::of(&bytes), bytes, outline };
        if manifest.has_the_parts_of_its_type() { Ok(manifest) } else { Err(Malformed::Parts { said: manifest.media_type }) }
    }

    fn has_the_parts_of_its_type(&self) -> bool {
        let Outline { schema_version, config, layers, manifests, .. } = &self.outline;
        let few = |parts: &Vec<Descriptor>| parts.len() <= MOST_PARTS;
        let right = match (config, layers, manifests) {
            (Some(_), Some(layers), None) => !self.is_index() && few(layers),
            (None, None, Some(manifests)) => self.is_index() && few(manifests),
            _ => false,
        };
        right && *schema_version == 2
    }

    /// The type under which it is put.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether it is a list of manifests.
    pub fn is_index(&self) -> bool {
        self.media_type == OCI_IMAGE_INDEX_MEDIA_TYPE || self.media_type == IMAGE_MANIFEST_LIST_MEDIA_TYPE
    }

    /// The configuration of an image, which is what an engine knows a local image by; none of an index.
    pub fn config(&self) -> Option<&Descriptor> {
        self.outline.config.as_ref()
    }

    /// The layers of an image, from the lowest.
    pub fn layers(&self) -> &[Descriptor] {
        self.outline.layers.as_deref().unwrap_or_default()
    }

    /// The manifests of an index.
    pub fn children(&self) -> &[Descriptor] {
        self.outline.manifests.as_deref().unwrap_or_default()
    }

    /// What it is about, if it is about something.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.outline.subject.as_ref()
    }

    /// What it is an artifact of.
    pub fn artifact_type(&self) -> Option<&str> {
        self.outline.artifact_type.as_deref()
    }

    /// A remark on it.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.outline.annotations.get(name).map(String::as_str)
    }

    /// Itself, as others name it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest,
            size: self.bytes.len() as u64,
            artifact_type: self.outline.artifact_type.clone(),
            urls: Vec::new(),
        }
    }

    /// The blobs that must be in a repository before the manifest is, each once. A layer that lies outside of registries, as those of Windows do, is not among them.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs: Vec<Descriptor> = Vec::new();
        for part in self.config().into_iter().chain(self.layers()).filter(|part| part.urls.is_empty()) {
            if blobs.iter().all(|known| known.digest != part.digest) {
                blobs.push(part.clone());
            }
        }
        blobs
    }
}
