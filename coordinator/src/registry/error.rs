//! Why a registry did not do what it was asked. One enum for the room; what a caller may treat differently is a variant.

use std::time::Duration;

use super::{Digest, Malformed};

/// A registry cannot be asked, does not answer as it should, or holds something else than it should.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not the name of a repository.
    #[error("`{text}` is not the name of a repository, without tag and digest")]
    Name {
        /// As it was given.
        text: String,
    },
    /// Not a tag.
    #[error("`{text}` is not a tag")]
    Tag {
        /// As it was given.
        text: String,
    },
    /// Plain HTTP to another machine.
    #[error("cannot use `{host}` without TLS: only a registry on loopback may do without")]
    Plain {
        /// Which.
        host: String,
    },
    /// There is no TLS here, or the certificates of authorities cannot be read.
    #[error("cannot get ready to speak with registries")]
    Client(#[source] reqwest::Error),
    /// Whose login it would be cannot be found out.
    #[error("cannot get credentials for `{host}`")]
    Login {
        /// For which registry.
        host: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody answers, or the answer broke off.
    #[error("cannot {asked}")]
    Unreachable {
        /// What was asked.
        asked: String,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// Who asks may not.
    #[error("cannot {asked}: `{host}` refuses it with {status}{said}")]
    Refused {
        /// What was asked.
        asked: String,
        /// Who refuses.
        host: String,
        /// 401 or 403.
        status: u16,
        /// Its words, after a colon.
        said: String,
    },
    /// It answers, but not with what was asked for.
    #[error("cannot {asked}: the registry answers {status}{said}")]
    Answer {
        /// What was asked.
        asked: String,
        /// The answer's status.
        status: u16,
        /// Its words, after a colon.
        said: String,
    },
    /// Its answer is not what the protocol has.
    #[error("cannot {asked}: {why}")]
    Strange {
        /// What was asked.
        asked: String,
        /// What is strange.
        why: &'static str,
    },
    /// Something is not there.
    #[error("there is no {what}")]
    Missing {
        /// What.
        what: String,
    },
    /// An answer is larger than anything that could be meant.
    #[error("{what} is larger than {most} bytes")]
    TooLarge {
        /// What.
        what: String,
        /// How large it may be.
        most: u64,
    },
    /// There is more than anybody would put there.
    #[error("there are more than {most} {what}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many there may be.
        most: usize,
    },
    /// The bytes are others than those that were asked for.
    #[error("{what} is not what it is called: its bytes are {found}, and {wanted} was asked for")]
    Digest {
        /// What.
        what: String,
        /// What was asked for.
        wanted: Digest,
        /// What came, or what the registry says it took.
        found: Digest,
    },
    /// The length is another one than the manifest says.
    #[error("{what} has {found} bytes and not {wanted}, as is said of it")]
    Length {
        /// What.
        what: String,
        /// What is said of it, in bytes.
        wanted: u64,
        /// What came, in bytes.
        found: u64,
    },
    /// A manifest cannot be worked with.
    #[error("cannot work with the manifest `{name}` of `{repository}`")]
    Manifest {
        /// Its tag or digest.
        name: String,
        /// Where.
        repository: String,
        /// Why.
        #[source]
        cause: Malformed,
    },
    /// A tag that is given once means something else already.
    #[error("the tag `{tag}` of `{repository}` is given once, and is {found} already, not {wanted}")]
    Taken {
        /// Which.
        tag: String,
        /// Where.
        repository: String,
        /// What it was to mean.
        wanted: Digest,
        /// What it means.
        found: Digest,
    },
    /// Somebody else wrote at the same time.
    #[error("somebody else writes the tag `{tag}` of `{repository}` at the same time")]
    Raced {
        /// Which.
        tag: String,
        /// Where.
        repository: String,
    },
    /// It took too long altogether.
    #[error("{what} was not done within {}", humantime::format_duration(*.within))]
    Late {
        /// What.
        what: String,
        /// How long it had.
        within: Duration,
    },
}

impl RegistryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { host, .. } => {
                Some(format!("log in with `docker login {host}` as somebody who may pull from the one repository and push to the other"))
            }
            Self::Login { host, .. } => Some(format!("log in with `docker login {host}`")),
            Self::Name { .. } => Some("name the repository like `registry.example/shop/app`".to_owned()),
            Self::Tag { .. } => Some("use letters, digits, `_`, `.` and `-`, at most 128 of them".to_owned()),
            Self::Plain { host } => Some(format!("put a certificate on `{host}`")),
            Self::Taken { .. } => Some("give this digest another tag; what was released under one is not replaced".to_owned()),
            Self::Raced { .. } => Some("find out who else promotes, then promote again".to_owned()),
            _ => None,
        }
    }

    /// Whether the question has no answer, so that nothing is known of what is there. An answer that cannot be right is one.
    pub fn is_no_answer(&self) -> bool {
        match self {
            Self::Client(_)
            | Self::Login { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Late { .. } => true,
            Self::Name { .. }
            | Self::Tag { .. }
            | Self::Plain { .. }
            | Self::Strange { .. }
            | Self::Missing { .. }
            | Self::TooLarge { .. }
            | Self::TooMany { .. }
            | Self::Digest { .. }
            | Self::Length { .. }
            | Self::Manifest { .. }
            | Self::Taken { .. }
            | Self::Raced { .. } => false,
        }
    }

    /// Whether it took us in, and said nothing more until we had waited long enough.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { cause, .. } if cause.is_timeout() && !cause.is_connect())
    }

    /// Whether it is worth asking again in a moment: the registry did not say no.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answer { status, .. } => is_passing(*status),
            _ => false,
        }
    }
}

/// Whether an answer says that another one may come later.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}
