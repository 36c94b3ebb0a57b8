//! Registries: images and what is said about them, read, put and carried from one repository into another.
//!
//! | there | is |
//! |---|---|
//! | [`Repository`] | a repository that is asked: manifests, tags, blobs |
//! | [`evidence`] | signed statements beside an image: attached, listed, carried along |
//! | [`transfer`] | an image with all that is said about it, from one repository into another |
//! | [`Manifest`] | a manifest's bytes, and what is read off them |
//! | `line`, `proof` | HTTP with patience and limits, and who asks |
//!
//! Comes in: names, digests, bytes, a login that is asked when a registry asks for one. Goes out: bytes that are what they are called, which is counted here and never
//! believed; or an error that says whether something is not there or could not be asked.
//!
//! Not here: whether an image may be released. What is put is put as it was given, byte by byte: nothing is ever signed, judged, built or written anew.
//! Nothing is deleted, but uploads of ours that came to nothing. Registries know no "only if nobody else wrote": who writes tags holds a lock elsewhere.

mod blob;
mod digest;
mod error;
pub mod evidence;
mod line;
mod manifest;
mod name;
mod proof;
mod repository;
#[cfg(test)]
mod tests;
pub mod transfer;

use std::fmt;
use std::time::Duration;

pub use blob::{Mounted, Upload};
pub use digest::{Digest, NotADigest};
pub use error::RegistryError;
pub use manifest::{Descriptor, LARGEST, Malformed, Manifest};
pub use name::{Name, Tag, Wanted};
pub use proof::Login;
pub use repository::Repository;

/// Which repository, and who asks.
pub struct Settings {
    /// The repository with its host.
    pub repository: Name,
    /// It speaks HTTP, as engines let those on loopback do. Refused for others.
    pub plain: bool,
    /// Who asks.
    pub login: Login,
    /// Certificates of authorities that are believed besides the machine's own, as PEM; may be empty.
    pub authorities: Vec<u8>,
    /// How long and how often.
    pub patience: Patience,
}

/// How long a registry is waited for, and how often it is asked again.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For a whole answer, but for blobs.
    pub answer: Duration,
    /// For a part of a blob, or a manifest, to be taken.
    pub part: Duration,
    /// For the next bytes of a blob.
    pub silence: Duration,
    /// How long to wait before asking again, each time: so many times is asked again.
    pub pauses: Vec<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            part: Duration::from_mins(2),
            silence: Duration::from_secs(30),
            pauses: vec![Duration::from_millis(300), Duration::from_millis(1500)],
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("repository", &self.repository).field("plain", &self.plain).finish_non_exhaustive()
    }
}
