//! What a run was of, so that it can be attested later: facts that are there while it begins and that nobody can find out afterwards.
//!
//! They stand in the record's first event. A record without them is older than they are, or of local processes, and is attested to nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Sha256;
use super::trust::Level;

/// What a run in containers was of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The commit that the tree stood at, by its id in git, if the image was built from that tree.
    pub commit: Option<String>,
    /// The tree had changes that no commit has, or nobody knows.
    pub dirty: bool,
    /// Digests of what decides how tests are run, by name: `config` for the configuration file, `dockerfile`, `base NAME`.
    pub configuration: BTreeMap<String, Sha256>,
    /// What left tests out without standing in the configuration file: paths, arguments, variables.
    pub filters: Vec<String>,
    /// The engine keeps its images as containerd does: what it calls an image is the digest of a manifest.
    pub containerd: bool,
    /// How far the run was trusted, by its own list: what it took from caches was written at this level or above.
    pub level: Level,
    /// The level of the run that built the image, if another one did and that is known.
    pub image_level: Option<Level>,
    /// The lowest level that something was kept at of which the run could reuse results, if there was anything.
    pub reused_level: Option<Level>,
}
