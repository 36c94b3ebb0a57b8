//! Names: a repository with its host, and tags. What is not a name is refused before it gets into an address.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use super::{Digest, RegistryError};

/// The longest tag that registries take, in bytes.
const LONGEST_TAG: usize = 128;

/// A repository: where its registry is, and what it is called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Host, and port if there is one.
    pub host: String,
    /// The path in the registry.
    pub path: String,
}

/// A tag, which may mean another digest tomorrow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(String);

/// By what a manifest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By what it is.
    Digest(Digest),
    /// By what it is called.
    Tag(Tag),
}

impl Name {
    /// Whether its registry is on this very machine, where engines let it speak plain HTTP.
    pub fn is_on_loopback(&self) -> bool {
        is_loopback(self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name))
    }
}

/// Whether a host is this very machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl FromStr for Name {
    type Err = RegistryError;

    /// A repository as images are named by, without tag and digest. Without a host it is one of Docker Hub's.
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let wrong = || RegistryError::Name { text: text.to_owned() };
        let last = text.rsplit('/').next().unwrap_or(text);
        if text.contains('@') || (text.contains('/') && last.contains(':')) {
            return Err(wrong());
        }
        let read: Reference = text.parse().map_err(|_| wrong())?;
        Ok(Self { host: read.resolve_registry().to_owned(), path: read.repository().to_owned() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl Tag {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag under which the index of what refers to a digest lies, where a registry cannot be asked for that.
    pub(super) fn of_referrers(subject: Digest) -> Self {
        Self(format!("sha256-{}", subject.hex()))
    }

    /// What the own tags of statements about a digest begin with.
    pub(super) fn of_statements(subject: Digest) -> String {
        format!("sha256-{}.splitci.", subject.hex())
    }

    /// The own tag of a statement. It is made of what the statement is, so that the same one gets the same tag; 112 bytes.
    pub(super) fn of_statement(subject: Digest, artifact: Digest) -> Self {
        let digits: String = artifact.hex().chars().take(32).collect();
        Self(Self::of_statements(subject) + &digits)
    }

    /// The own tag of a manifest that is a part of an index.
    pub(super) fn of_part(part: Digest) -> Self {
        Self(format!("sha256-{}.part", part.hex()))
    }
}

impl FromStr for Tag {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().is_some_and(word);
        let fits = text.len() <= LONGEST_TAG && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if first && fits { Ok(Self(text.to_owned())) } else { Err(RegistryError::Tag { text: text.to_owned() }) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

impl From<Digest> for Wanted {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<&Tag> for Wanted {
    fn from(tag: &Tag) -> Self {
        Self::Tag(tag.clone())
    }
}
