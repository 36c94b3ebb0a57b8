//! Builds an image with the engine's BuildKit. The one door to it: how the context travels is a matter of `session`.
//!
//! A build is two things at once: a request whose answer is the builder's trace, and a session on which the builder asks for files, credentials and
//! secrets. The trace comes back as news; the answer is the image's id. Nothing is uploaded, so that nothing stays in the engine but what was built.
//! Dropping the future tells the engine to stop the build. What went wrong on our side of the session is the error that is shown: the builder only
//! sees that something was cancelled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters as query;
use futures_util::StreamExt;
use tokio::time::Instant;

use super::answers;
use super::imports::Imports;
use super::raw::{Method, encoded};
use super::session::Session;
pub use super::session::{SentEntry, SentKind, SourceError, Sources, nanoseconds};
use super::trace::Trace;
pub use super::trace::{FailedStep, imported_from};
use super::{Docker, DockerError, SHORT};
use crate::model::Progress;

/// How long a build may say nothing at all. A step that prints nothing is no reason: BuildKit itself is silent then, so this is long.
const BUILD_SILENCE: Duration = Duration::from_hours(6);
/// Bytes of context between two pieces of news.
const NEWS_EVERY: u64 = 1 << 20;

/// How long the builder may take to stop a build.
const LET_GO: Duration = Duration::from_secs(10);

/// What to build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildRequest {
    /// Unique name of this build, and of its session.
    pub id: String,
    /// Name of the Dockerfile, for messages.
    pub dockerfile: String,
    /// Stage to build; the last one when absent.
    pub target: Option<String>,
    /// Build arguments, proxies included.
    pub args: BTreeMap<String, String>,
    /// Labels for the image.
    pub labels: BTreeMap<String, String>,
    /// Platform; the engine's when absent.
    pub platform: Option<String>,
    /// Network of `RUN` steps.
    pub network: Option<String>,
    /// Extra hosts, `name:address`.
    pub add_hosts: Vec<String>,
    /// Size of `/dev/shm` in `RUN` steps, in bytes.
    pub shm_size: Option<u64>,
    /// Do every step anew.
    pub no_cache: bool,
    /// Images in registries whose steps need not be done again.
    pub cache_from: Vec<String>,
    /// The steps are what is wanted: no image is to come of them.
    pub no_image: bool,
}

/// A build did not give an image.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    /// The build itself failed: what is built has to change.
    #[error("{error}")]
    Failed {
        /// Where, if the builder said.
        step: Option<FailedStep>,
        /// The builder's error.
        error: String,
    },
    /// The builder asked for something that could not be given.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The engine could not be talked to.
    #[error(transparent)]
    Engine(#[from] DockerError),
    /// The build ended without an image and without an error.
    #[error("the engine ended the build without an image")]
    NoImage,
    /// Layers that were to come from a registry do not come. The build was stopped: without them it may well succeed.
    #[error("{0}")]
    Imports(String),
}

impl Docker {
    /// Builds an image, and gives its id.
    pub async fn build(
        self: &Arc<Self>,
        request: &BuildRequest,
        sources: Sources,
        mut heard: impl FnMut(Progress),
    ) -> Result<String, BuildFailure> {
        sources.check()?;
        let session = Session::open(self, &request.id, &request.dockerfile, sources).await?;
        let guard = CancelOnDrop::of(self, &request.id);
        let built = self.built(request, &session, &mut heard).await;
        if !matches!(built, Err(BuildFailure::Engine(_))) {
            guard.disarm();
        }
        match session.fault() {
            Some(fault) => Err(fault.into()),
            None => built,
        }
    }

    /// Has the builder do steps of which no image comes, and nothing stays but their records.
    pub async fn work(self: &Arc<Self>, request: &BuildRequest, sources: Sources) -> Result<(), BuildFailure> {
        let request = BuildRequest { no_image: true, ..request.clone() };
        match self.build(&request, sources, |_| {}).await {
            Ok(_) | Err(BuildFailure::NoImage) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Does the request and listens until its end.
    async fn built(&self, request: &BuildRequest, session: &Session, heard: &mut impl FnMut(Progress)) -> Result<String, BuildFailure> {
        let client = self.client_for(request);
        let mut stream = std::pin::pin!(client.build_image(options(request), None, Some(bollard::body_full(bytes::Bytes::new()))));
        let mut sent = session.sent();
        let mut known = Known::default();
        let mut told = 0;
        loop {
            let next = self.call(|| "build the image".to_owned(), BUILD_SILENCE, async { Ok(answers::next(&mut stream).await) });
            let worth_telling = told + NEWS_EVERY;
            let info = tokio::select! {
                info = next => info?,
                Ok(bytes) = sent.wait_for(move |bytes| *bytes >= worth_telling) => {
                    told = *bytes;
                    heard(Progress::ContextSent(told));
                    continue;
                }
                why = known.imports_are_late() => {
                    known.given_up = Some(why);
                    None
                }
            };
            match info {
                None => break,
                Some(Ok(info)) => known.take(info, heard),
                Some(Err(bollard::errors::Error::DockerStreamError { error })) => {
                    return Err(BuildFailure::Failed { step: known.trace.failed(), error });
                }
                Some(Err(error)) => return Err(self.refusal(error, &known.trace)),
            }
            if known.given_up.is_some() {
                break;
            }
        }
        let sent = *sent.borrow();
        if sent > told {
            heard(Progress::ContextSent(sent));
        }
        if let Some(why) = known.given_up {
            let _told = self.cancel_build(&request.id).await;
            // Its steps are shared with whatever is built next, until the builder has let go of them.
            let _ended = tokio::time::timeout(LET_GO, async { while stream.next().await.is_some() {} }).await;
            return Err(BuildFailure::Imports(why));
        }
        known.image.ok_or(BuildFailure::NoImage)
    }

    /// An error before the build began is the builder's when the engine calls the request bad (a Dockerfile that cannot be parsed), else the engine's.
    fn refusal(&self, error: bollard::errors::Error, trace: &Trace) -> BuildFailure {
        match DockerError::of("build the image".to_owned(), error, self.endpoint()) {
            DockerError::Refused { status: 400, message, .. } => BuildFailure::Failed { step: trace.failed(), error: message },
            other => BuildFailure::Engine(other),
        }
    }

    /// `bollard` knows one extra host, no build id, and no session but its own, which it opens for every build of version 2: the query is completed here.
    fn client_for(&self, request: &BuildRequest) -> bollard::Docker {
        let mut extra = format!("&buildid={}", encoded(&request.id));
        if request.no_image {
            extra.push_str("&outputs=");
            extra.push_str(&encoded(r#"[{"Type":"cacheonly"}]"#));
        }
        for host in &request.add_hosts {
            extra.push_str("&extrahosts=");
            extra.push_str(&encoded(host));
        }
        self.client.clone().with_request_modifier(move |mut request| {
            let address = request.uri().to_string();
            if let Some((path, query)) = address.split_once("/build?") {
                // Values are encoded, so that none of them has an equals sign.
                let query = query.replacen("version=1", "version=2", 1);
                if let Ok(uri) = format!("{path}/build?{query}{extra}").parse() {
                    *request.uri_mut() = uri;
                }
            }
            request
        })
    }

    /// Stops a build.
    async fn cancel_build(&self, id: &str) -> Result<(), DockerError> {
        self.raw(Method::Post, &format!("/build/cancel?id={}", encoded(id)), SHORT).await.map(|_| ())
    }
}

fn options(request: &BuildRequest) -> query::BuildImageOptions {
    let map = |values: &BTreeMap<String, String>| values.clone().into_iter().collect::<HashMap<_, _>>();
    query::BuildImageOptions {
        dockerfile: request.dockerfile.clone(),
        buildargs: Some(map(&request.args)),
        labels: Some(map(&request.labels)),
        platform: request.platform.clone().unwrap_or_default(),
        target: request.target.clone().unwrap_or_default(),
        nocache: request.no_cache,
        cachefrom: (!request.cache_from.is_empty()).then(|| request.cache_from.clone()),
        networkmode: request.network.clone(),
        shmsize: request.shm_size.map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX)),
        remote: Some("client-session".to_owned()),
        session: Some(request.id.clone()),
        ..query::BuildImageOptions::default()
    }
}

/// What is known of a build that goes on.
#[derive(Default)]
struct Known {
    trace: Trace,
    imports: Imports,
    image: Option<String>,
    given_up: Option<String>,
}

impl Known {
    fn take(&mut self, info: BuildInfo, heard: &mut impl FnMut(Progress)) {
        match info.aux {
            Some(BuildInfoAux::BuildKit(piece)) => {
                self.given_up = self.imports.take(&piece, Instant::now());
                self.trace.take(piece).into_iter().for_each(heard);
            }
            Some(BuildInfoAux::Default(image)) => self.image = image.id.or(self.image.take()),
            None => {}
        }
    }

    /// Waits until imports are to be given up if nothing more is heard, and says why; for ever if none is waited for.
    async fn imports_are_late(&self) -> String {
        match self.imports.deadline() {
            Some((until, why)) => {
                tokio::time::sleep_until(until).await;
                why
            }
            None => std::future::pending().await,
        }
    }
}

/// Cancels the build when its future is dropped before its end.
struct CancelOnDrop {
    docker: Option<Arc<Docker>>,
    id: String,
}

impl CancelOnDrop {
    fn of(docker: &Arc<Docker>, id: &str) -> Self {
        Self { docker: Some(Arc::clone(docker)), id: id.to_owned() }
    }

    fn disarm(mut self) {
        self.docker = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let (Some(docker), Ok(runtime)) = (self.docker.take(), tokio::runtime::Handle::try_current()) else { return };
        let id = std::mem::take(&mut self.id);
        // Nobody can wait for this in a drop. When the process ends before it is through, the engine stops the build for want of its session.
        let cancelling = async move {
            let _told = docker.cancel_build(&id).await;
        };
        drop(runtime.spawn(cancelling));
    }
}
