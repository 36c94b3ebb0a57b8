//! Sends an image to the repository of layers, through the engine, while tests run.
//!
//! An engine pushes only what has a name there, so the image gets one for as long as that takes. What is left by a run that was killed is taken away by the next
//! one that sends: a name under this repository that is older than any push.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::names;
use crate::docker::build::{BuildRequest, Sources};
use crate::docker::{Docker, DockerError};
use crate::model::chain;

/// How long a push may take in all. An older name is nobody's any more.
const LONGEST: Duration = Duration::from_mins(10);
/// How long a run that is over waits for it, at most, and never longer than the build took that it saves.
const PATIENCE: Duration = Duration::from_mins(2);

/// What there is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The image's id.
    pub image: String,
    /// Where it goes.
    pub repository: String,
    /// Its names there.
    pub references: Vec<String>,
    /// How long the build took.
    pub took: Duration,
    /// All its steps, where an engine can send them.
    pub steps: Option<AllSteps>,
}

/// A build, as it was asked for, and where its steps go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllSteps {
    pub(in crate::image) request: BuildRequest,
    pub(in crate::image) sources: Sources,
    pub(in crate::image) to: String,
}

/// What has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Where the image can be pulled from, by digest.
    pub remote: Option<String>,
    /// Why its steps did not arrive, if they were to.
    pub without_steps: Option<String>,
}

impl Parcel {
    /// How long a run that is over waits until it has arrived.
    pub fn patience(&self) -> Duration {
        self.took.min(PATIENCE)
    }

    /// Sends it, and says where it can be pulled from by digest. Stopped, it takes the names away and gives up; dropped, names go away by themselves or with the next
    /// parcel.
    pub async fn send(&self, docker: &Arc<Docker>, stop: &CancellationToken) -> Result<Delivered, DockerError> {
        self.sweep(docker).await?;
        let mut remote = None;
        for reference in &self.references {
            docker.tag(&self.image, reference).await?;
            let name = Name { docker: Some(Arc::clone(docker)), reference: reference.clone() };
            let sent = tokio::select! {
                sent = tokio::time::timeout(LONGEST, docker.push(reference)) => sent.ok(),
                () = stop.cancelled() => None,
            };
            let image = docker.image(reference).await;
            name.take_away().await?;
            sent.unwrap_or_else(|| Err(DockerError::GivenUp { attempt: format!("push `{reference}`") }))?;
            let here = format!("{}@", self.repository);
            remote = image?.into_iter().flat_map(|image| image.digests).find(|digest| digest.starts_with(&here)).or(remote);
        }
        let Some(AllSteps { request, sources, to }) = &self.steps else { return Ok(Delivered { remote, without_steps: None }) };
        let without_steps = tokio::select! {
            sent = docker.send_steps(request, sources.clone(), to) => sent.err().map(|error| chain(&error)),
            () = stop.cancelled() => Some("there was no time left".to_owned()),
        };
        Ok(Delivered { remote, without_steps })
    }

    async fn sweep(&self, docker: &Docker) -> Result<(), DockerError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for left in docker.tags_of(&self.repository).await? {
            let age = now.saturating_sub(u64::try_from(left.tagged).unwrap_or(0));
            let ours = left.reference.rsplit_once(':').is_some_and(|(_, tag)| names::is_ours(tag));
            if ours && age > LONGEST.as_secs() {
                docker.untag(&left.reference).await?;
            }
        }
        Ok(())
    }
}

/// A name that an image has for a while.
struct Name {
    docker: Option<Arc<Docker>>,
    reference: String,
}

impl Name {
    async fn take_away(mut self) -> Result<(), DockerError> {
        let Some(docker) = self.docker.take() else { return Ok(()) };
        docker.untag(&self.reference).await.map(|_| ())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let (Some(docker), Ok(runtime)) = (self.docker.take(), tokio::runtime::Handle::try_current()) else { return };
        let reference = std::mem::take(&mut self.reference);
        // Nobody can wait for this in a drop. When the process ends before it is through, the next parcel takes it away.
        drop(runtime.spawn(async move {
            let _gone = docker.untag(&reference).await;
        }));
    }
}
