//! What may go from an engine once an image was built: older images of the project, names of bases, and whatever is too much of all projects.
//!
//! An engine takes a second or more to let go of an image with many files, so that this is not done before the new one is used but beside its tests.

use std::time::{SystemTime, UNIX_EPOCH};

use super::bases::{remove_old, remove_old_bases};
use super::surplus::{remove, surplus};
use crate::docker::{Docker, DockerError};

/// Names that a project keeps in an engine.
const KEPT: usize = 3;

/// What is left to do after a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tidying {
    /// The project's repository.
    pub(super) repository: String,
    /// The name of the image that was built.
    pub(super) current: String,
    /// Names of bases that it was built upon.
    pub(super) pinned: Vec<String>,
    /// How many images of all projects stay, if not all of them.
    pub(super) images: Option<u32>,
}

impl Tidying {
    /// Makes room in the engine. What could not be done is left to the next build.
    pub async fn tidy(&self, docker: &Docker) -> Result<(), DockerError> {
        remove_old(&self.repository, &[&self.current], KEPT, docker).await?;
        remove_old_bases(&self.pinned, docker).await?;
        if let Some(most) = self.images {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
            remove(docker, surplus(docker, most as usize, now).await?).await?;
        }
        Ok(())
    }
}
