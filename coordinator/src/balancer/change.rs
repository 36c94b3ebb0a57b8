//! What a balancer is told. Commands are text and joined by `;`, so names are checked before they become part of one.

use std::str::FromStr;

use super::BalancerError;

/// The name of a backend or a server: letters, digits and `-_.:`, as the balancer itself has it. Nothing in it can end a command or begin another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl FromStr for Name {
    type Err = BalancerError;

    fn from_str(name: &str) -> Result<Self, BalancerError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(BalancerError::Name { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server of a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The backend.
    pub backend: Name,
    /// Its server.
    pub server: Name,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.backend, self.server)
    }
}

/// What a server is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It gets requests as far as its checks say so.
    Ready,
    /// It gets no new ones, and is checked.
    Drain,
    /// It gets none, and is not checked. What it is working on is not cut.
    Maint,
}

impl Target {
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// One thing to be told of one server. `ready` comes of a proof alone, see [`super::Proven`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    place: Place,
    to: Target,
}

impl Change {
    /// No new requests; the checks go on.
    pub fn drain(place: Place) -> Self {
        Self { place, to: Target::Drain }
    }

    /// No requests and no checks.
    pub fn maint(place: Place) -> Self {
        Self { place, to: Target::Maint }
    }

    /// For who holds the proof.
    pub(super) fn ready(place: Place) -> Self {
        Self { place, to: Target::Ready }
    }

    /// Of which server.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What it is to be.
    pub fn to(&self) -> Target {
        self.to
    }

    /// As a balancer is told all of these at once.
    pub fn line(changes: &[Self]) -> String {
        changes.iter().map(Self::command).collect::<Vec<_>>().join("; ")
    }

    /// As the balancer is told.
    pub fn command(&self) -> String {
        format!("set server {} state {}", self.place, self.to.word())
    }
}
