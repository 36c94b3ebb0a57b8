//! The candidate and the release repository, with their logins. A login is asked for when a registry wants one, never before.
//!
//! The account that tests need not be the one that releases: that is why there are two.

use super::{DeliveryError, Outside};
use crate::candidate::login::login;
use crate::config::{Delivery, RegistrySettings};
use crate::registry::{Name, Patience, RegistryError, Repository, Settings};

/// What a repository is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Images that are to be tested, or were.
    Candidate,
    /// Images that passed.
    Release,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Candidate => "candidate",
            Self::Release => "release",
        })
    }
}

/// The repository of a role.
///
/// # Errors
/// None is configured; its name is none; its registry would be spoken to in plain text, and is not on this machine.
pub fn repository(delivery: &Delivery, role: Role, outside: &Outside) -> Result<Repository, DeliveryError> {
    let settings = of(delivery, role).ok_or(DeliveryError::NoRepository { role })?;
    Ok(open(settings, outside)?)
}

/// What is configured for a role.
pub fn of(delivery: &Delivery, role: Role) -> Option<&RegistrySettings> {
    match role {
        Role::Candidate => delivery.candidate.as_ref(),
        Role::Release => delivery.release.as_ref(),
    }
}

/// A repository that connects when it is first asked.
///
/// # Errors
/// As for [`repository`].
pub fn open(settings: &RegistrySettings, outside: &Outside) -> Result<Repository, RegistryError> {
    let name: Name = settings.repository.parse()?;
    let plain = name.is_on_loopback();
    let login = login(&name, settings.auth.as_ref(), &outside.env);
    Repository::new(Settings { repository: name, plain, login, authorities: Vec::new(), patience: Patience::default() })
}
