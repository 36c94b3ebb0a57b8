//! Why an image could not be had, whose fault that is, and what to do about it.

use super::context::ContextError;
use crate::docker::DockerError;
use crate::docker::build::{FailedStep, SourceError};

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
            Self::Build { .. } => 5,
            Self::NotThere { .. }
            | Self::Context(ContextError::NoDockerfile(_) | ContextError::Ignore { .. })
            | Self::Source(SourceError::Secret { .. } | SourceError::Agent { .. }) => 2,
            Self::Source(_) | Self::Docker(_) | Self::Context(_) | Self::NoImage => 3,
            Self::Lost => 70,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Docker(error) => error.hint().map(str::to_owned),
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Build { odd, .. } => odd.first().cloned(),
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
