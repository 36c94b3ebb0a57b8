//! What a build may be given besides its context: secrets and SSH agents, by id. Their ids are inputs of the image; their values never leave the build.

use std::fmt;
use std::path::PathBuf;

/// A secret that `RUN --mount=type=secret` may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSecret {
    /// What the Dockerfile calls it.
    pub id: String,
    /// Where its value is.
    pub source: SecretSource,
}

/// Where a secret's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, which is read when the builder asks.
    File(PathBuf),
    /// It came with the caller's environment.
    Text(SecretText),
}

/// A value that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// An SSH agent that `RUN --mount=type=ssh` may talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAgent {
    /// What the Dockerfile calls it; `default` when it does not.
    pub id: String,
    /// The agent's socket.
    pub socket: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = BuildSecret { id: "token".into(), source: SecretSource::Text(SecretText("hunter2".into())) };
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
