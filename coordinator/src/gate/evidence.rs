//! What the gate is shown: envelopes, and where they were found. "There is none" and "it could not be asked" are two answers, and only the first is one.

use crate::model::Sha256;
use crate::model::trust::Level;
use crate::trust::KeyId;
use crate::trust::dsse::Refusal;

/// What was found about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Every place that had to be asked has answered. Nothing in it: there is nothing.
    Asked(Vec<Found>),
    /// A place that had to be asked did not answer. Whatever others gave, the newest statement may be missing.
    Unanswered {
        /// Which.
        place: String,
        /// What it said instead.
        why: String,
        /// What others gave.
        given: Vec<Found>,
    },
}

impl Evidence {
    /// Everything that was found.
    pub fn found(&self) -> &[Found] {
        match self {
            Self::Asked(found) | Self::Unanswered { given: found, .. } => found,
        }
    }
}

/// An envelope, nothing of it believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its bytes.
    pub envelope: Vec<u8>,
    /// Where it was, for people.
    pub at: String,
}

/// What the gate made of something that it was shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Where it was.
    pub at: String,
    /// Digest of the statement, if somebody known signed it.
    pub statement: Option<Sha256>,
    /// Who signed it, if that is somebody known.
    pub writer: Option<KeyId>,
    /// What it is.
    pub sight: Sight,
}

/// What a thing is to the gate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// It does not open: why.
    Closed(String),
    /// Signed with a key that was revoked.
    RevokedKey,
    /// A statement about tests of this image, by somebody who may make it.
    Tests {
        /// The run.
        run: String,
    },
    /// The same by somebody who is not trusted enough, or whom the policy does not name.
    NotEnough {
        /// How far the writer is trusted.
        level: Option<Level>,
    },
    /// Something else about this image, by somebody who may not say it.
    NoAuthority,
    /// A claim about this image.
    Claim {
        /// Its name.
        name: String,
    },
    /// A person's word about this image.
    BreakGlass,
    /// About something else.
    OtherSubject,
    /// About something that the gate does not ask for.
    OtherKind,
    /// Signed, and not to be understood.
    Unreadable,
}

impl Seen {
    pub(super) fn closed(at: &str, refusal: &Refusal) -> Self {
        Self { at: at.to_owned(), statement: None, writer: None, sight: Sight::Closed(refusal.to_string()) }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.sight)?;
        match &self.writer {
            Some(writer) => write!(f, " (key {})", writer.short()),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Sight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(why) => f.write_str(why),
            Self::RevokedKey => f.write_str("its key was revoked"),
            Self::Tests { run } => write!(f, "run {}", run.escape_debug()),
            Self::NotEnough { level: Some(level) } => write!(f, "level `{level}` is not enough, or its key is not in the policy"),
            Self::NotEnough { level: None } => f.write_str("its key says nothing about tests"),
            Self::NoAuthority => f.write_str("its key may not say that"),
            Self::Claim { name } => write!(f, "claim `{}`", name.escape_debug()),
            Self::BreakGlass => f.write_str("break-glass"),
            Self::OtherSubject => f.write_str("it is about another image"),
            Self::OtherKind => f.write_str("it is of a kind that nobody asked for"),
            Self::Unreadable => f.write_str("it is signed, and does not say what a statement has to"),
        }
    }
}
