//! Layers of the image that travel: which repository and branches they are of, and the parcel that is sent while tests run.
//!
//! It is sent only after the first file of tests was given out, beside the run, and a run that is over waits no longer for it than the build took, two minutes at most. How it
//! ends is told in a sentence, and changes no verdict.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::checkout::branches;
use super::tellers::Tellers;
use super::{World, images};
use crate::config::Project;
use crate::docker::{Docker, DockerError};
use crate::image::layers::{Delivered, Layers, PAYS_FROM, Parcel};
use crate::model::chain;
use crate::model::event::EventKind;
use crate::model::trust::Level;
use crate::run::Outcome;

/// How long a parcel that is given up may take to leave nothing behind.
const TIDY_UP: Duration = Duration::from_secs(5);

/// Where layers of a project's image travel, if they do.
pub(super) async fn of(project: &Project, level: Option<Level>, world: &World) -> Option<Layers> {
    let repository = project.cache.layers.clone()?;
    let level = level.unwrap_or(Level::Local);
    let branches = branches(&project.root, &world.env, project.trust.partition.as_ref()).await;
    Some(Layers { repository, level, sends: !project.cache.read_only, pays_from: PAYS_FROM, branches })
}

/// How it ended.
pub(super) struct Arrived {
    /// Where the image can be pulled from, by digest.
    pub(super) remote: Option<String>,
    /// How long that took.
    pub(super) took: Duration,
    /// What the user should know.
    pub(super) note: String,
}

type Sent = (Result<Delivered, DockerError>, Duration);

/// A parcel on its way.
pub(super) struct Sending {
    parcel: Parcel,
    stop: CancellationToken,
    future: Pin<Box<dyn Future<Output = Sent> + Send>>,
    sent: Option<Sent>,
}

impl Sending {
    /// Nothing happens before somebody waits, and nothing before tests have started.
    /// Others hear of it the moment that it has arrived: they may be waiting, and tests may go on for long.
    pub(super) fn of((parcel, docker): (Parcel, Arc<Docker>), told: &Arc<Tellers>, others: Option<(Arc<Cache>, EventKind)>) -> Self {
        let stop = CancellationToken::new();
        let (told, stopped, sent) = (Arc::clone(told), stop.clone(), parcel.clone());
        let future = Box::pin(async move {
            tokio::select! {
                () = told.tests_started() => {}
                () = stopped.cancelled() => return (Err(DockerError::GivenUp { attempt: "send layers".to_owned() }), Duration::ZERO),
            }
            let began = Instant::now();
            let (sent, took) = (sent.send(&docker, &stopped).await, began.elapsed());
            if let Some((cache, image)) = others {
                // Counted by the store: what is not remembered is built again elsewhere.
                let _counted = images::was_sent(&cache, &image, sent.as_ref().ok().and_then(|sent| sent.remote.clone())).await;
            }
            (sent, took)
        });
        Self { parcel, stop, future, sent: None }
    }

    /// Carries the run out, and sends meanwhile.
    pub(super) async fn beside<E>(&mut self, run: impl Future<Output = Result<Outcome, E>>) -> Result<Outcome, E> {
        let mut run = Box::pin(run);
        tokio::select! {
            biased;
            outcome = &mut run => return outcome,
            sent = &mut self.future => self.sent = Some(sent),
        }
        run.await
    }

    /// Waits until it has arrived, but not for long; not at all for a user who wants to go.
    pub(super) async fn arrived(mut self, in_a_hurry: bool) -> Arrived {
        let patience = if in_a_hurry { Duration::ZERO } else { self.parcel.patience() };
        let mut sent = self.sent.take();
        if sent.is_none() {
            sent = tokio::time::timeout(patience, &mut self.future).await.ok();
        }
        if sent.is_none() {
            self.stop.cancel();
            // The image's name goes with it.
            sent = tokio::time::timeout(TIDY_UP, &mut self.future).await.ok();
        }
        told(&self.parcel.repository, sent)
    }
}

/// Sends a parcel, and waits for it: nothing else is to be done.
pub(super) async fn send(parcel: &Parcel, docker: &Arc<Docker>) -> Arrived {
    let began = Instant::now();
    let sent = parcel.send(docker, &CancellationToken::new()).await;
    told(&parcel.repository, Some((sent, began.elapsed())))
}

fn told(to: &str, sent: Option<Sent>) -> Arrived {
    let (remote, took, note) = match sent {
        Some((Ok(Delivered { remote, without_steps }), took)) => {
            let but = without_steps.map(|why| format!("; steps of its other stages were not: {why}")).unwrap_or_default();
            (remote, took, format!("layers of the image were sent to {to} in {:.1} s{but}", took.as_secs_f64()))
        }
        Some((Err(DockerError::GivenUp { .. }), _)) | None => {
            let why = format!("layers of the image were not all sent to {to} in time; the next push goes on where this one ended");
            (None, Duration::ZERO, why)
        }
        Some((Err(error), took)) => (None, took, format!("layers of the image were not sent to {to}: {}", chain(&error))),
    };
    Arrived { remote, took, note }
}
