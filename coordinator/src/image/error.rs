//! Why an image could not be had, whose fault that is, and what to do about it.

use super::context::ContextError;
use crate::docker::build::{FailedStep, SourceError};
use crate::docker::{DockerError, tells_damage};

/// The image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The engine failed.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The named image is not there and cannot be pulled.
    #[error("cannot get the image `{reference}`")]
    NotThere {
        /// Its name.
        reference: String,
        /// Why it cannot be pulled.
        #[source]
        source: DockerError,
    },
    /// The files cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The builder asked for something that could not be given.
    #[error("cannot build the image")]
    Source(#[source] SourceError),
    /// The build failed.
    #[error("cannot build the image: {error}")]
    Build {
        /// The step that failed, with the end of its log.
        step: Option<FailedStep>,
        /// The builder's error.
        error: String,
        /// What was already odd before it.
        odd: Vec<String>,
    },
    /// The build said that it is done, and there is no image.
    #[error("the engine ended the build without an image")]
    NoImage,
    /// Our own thread was lost.
    #[error("cannot go on: a task was lost")]
    Lost,
}

impl ImageError {
    /// The exit status: the project's fault, the invoker's, or the operator's.
    pub fn exit_code(&self) -> u8 {
        match self {
            // Not what is built is at fault.
            Self::Build { .. } if self.is_damage() => 3,
            Self::Build { .. } => 5,
            Self::NotThere { .. }
            | Self::Context(ContextError::NoDockerfile(_) | ContextError::Ignore { .. })
            | Self::Source(SourceError::Secret { .. } | SourceError::Agent { .. }) => 2,
            Self::Source(_) | Self::Docker(_) | Self::Context(_) | Self::NoImage => 3,
            Self::Lost => 70,
        }
    }

    /// Whether the engine has lost a part of what it would build upon, or of what it built.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Docker(error) => error.is_damage(),
            Self::Build { error, .. } => tells_damage(error),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Docker(error) => error.hint().map(str::to_owned),
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Build { error, .. } if tells_damage(error) => Some(
                "files of the engine's own are gone: remove what it has of the base images with `docker rmi -f IMAGE` and of builds with \
                 `docker builder prune -af`"
                    .to_owned(),
            ),
            Self::Build { odd, error, .. } => odd.first().cloned().or_else(|| deleted(error)),
            Self::NotThere { reference, .. } if reference.starts_with("sha256:") => {
                Some("the engine does not have the image any more, and its id alone cannot be pulled; `splitci run` builds anew".to_owned())
            }
            Self::NotThere { source, .. } => source.hint().map(str::to_owned),
            Self::Context(ContextError::NoDockerfile(_)) => {
                Some("name the Dockerfile with `--file`, or run with `--engine process`".to_owned())
            }
            Self::Context(ContextError::Changed(_)) => {
                Some("stop what writes to the file while the image is built, or exclude the file in `.dockerignore`".to_owned())
            }
            Self::Context(ContextError::Read(_)) => Some("make it readable, or exclude it in `.dockerignore`".to_owned()),
            _ => None,
        }
    }
}

/// A registry does not have the digest that a Dockerfile names.
fn deleted(error: &str) -> Option<String> {
    let word = error.split_whitespace().find(|word| word.contains("@sha256:"))?;
    let name = word.trim_matches([':', ',', '"', '`']);
    error.contains("not found").then(|| {
        format!(
            "neither the engine nor the registry has `{name}` any more: name another digest, or a tag, which `--pull` brings up to date"
        )
    })
}
