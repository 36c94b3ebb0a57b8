//! Builds an image with the engine's BuildKit. The one door to it: how the context travels may change without anybody outside noticing.
//!
//! Today it travels as a tar in the body of `/build`. BuildKit keeps every such tar in its cache as a record of its own, even if nothing changed, so
//! the records are removed after each build, while its tests run. The trace comes back as news; the answer is the image's id.
//! Dropping the future tells the engine to stop the build.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use super::raw::{Method, encoded};
pub use super::trace::FailedStep;
use super::trace::Trace;
use super::{Docker, DockerError, SHORT};
use crate::model::Progress;

/// How long a build may say nothing at all. A step that prints nothing is no reason: BuildKit itself is silent then, so this is long.
const BUILD_SILENCE: Duration = Duration::from_hours(6);
/// How often, and after which time again, an engine is asked for its disk usage while it counts for somebody else.
const USAGE_ATTEMPTS: u32 = 20;
const USAGE_AGAIN: Duration = Duration::from_millis(100);
/// What BuildKit calls the record of an uploaded context.
const UPLOAD_RECORD: &str = "http url http://build-context-";

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Unique name of this build.
    pub id: String,
    /// Name of the Dockerfile within the context.
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
    /// The engine could not be talked to.
    #[error(transparent)]
    Engine(#[from] DockerError),
    /// The build ended without an image and without an error.
    #[error("the engine ended the build without an image")]
    NoImage,
}

impl Docker {
    /// Builds an image from a streamed tar, and gives its id. What the engine keeps of the upload is for `drop_uploads`.
    pub async fn build(
        self: &Arc<Self>,
        request: &BuildRequest,
        context: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        mut heard: impl FnMut(Progress),
    ) -> Result<String, BuildFailure> {
        let guard = CancelOnDrop::of(self, &request.id);
        let credentials = self.all_credentials().await?;
        let client = self.client_for(request);
        let body = bollard::body_try_stream(context);
        let mut stream = std::pin::pin!(client.build_image(options(request), Some(credentials), Some(body)));
        let mut trace = Trace::default();
        let mut image = None;
        loop {
            let next = async { Ok(stream.next().await) };
            match self.call(|| "build the image".to_owned(), BUILD_SILENCE, next).await? {
                None => break,
                Some(Ok(info)) => {
                    if let Some(id) = take_info(info, &mut trace, &mut heard) {
                        image = Some(id);
                    }
                }
                Some(Err(bollard::errors::Error::DockerStreamError { error })) => {
                    guard.disarm();
                    return Err(BuildFailure::Failed { step: trace.failed(), error });
                }
                Some(Err(error)) => return Err(self.refusal(error, &trace)),
            }
        }
        guard.disarm();
        image.ok_or(BuildFailure::NoImage)
    }

    /// An error before the build began is the builder's when the engine calls the request bad (a Dockerfile that cannot be parsed), else the engine's.
    fn refusal(&self, error: bollard::errors::Error, trace: &Trace) -> BuildFailure {
        match DockerError::of("build the image".to_owned(), error, self.endpoint()) {
            DockerError::Refused { status: 400, message, .. } => BuildFailure::Failed { step: trace.failed(), error: message },
            other => BuildFailure::Engine(other),
        }
    }

    /// `bollard` knows one extra host and no build id: both go into the query by hand.
    fn client_for(&self, request: &BuildRequest) -> bollard::Docker {
        let mut extra = format!("&buildid={}", encoded(&request.id));
        for host in &request.add_hosts {
            extra.push_str("&extrahosts=");
            extra.push_str(&encoded(host));
        }
        self.client.clone().with_request_modifier(move |mut request| {
            let address = request.uri().to_string();
            if address.contains("/build?")
                && let Ok(uri) = format!("{address}{extra}").parse()
            {
                *request.uri_mut() = uri;
            }
            request
        })
    }

    /// Stops a build.
    async fn cancel_build(&self, id: &str) -> Result<(), DockerError> {
        self.raw(Method::Post, &format!("/build/cancel?id={}", encoded(id)), SHORT).await.map(|_| ())
    }

    /// Removes the uploaded contexts that the engine's build cache keeps, and says how many bytes of them stay. Those of other builds that go on
    /// are in use: they survive and do not count. A finished upload is of no use to anybody, since its name is never asked for again.
    ///
    /// Not for the critical path: to tell of its build cache, an old engine measures all that it has, which may take minutes.
    pub async fn drop_uploads(&self) -> Option<u64> {
        let mut dropped = BTreeSet::new();
        for record in self.uploads().await?.into_iter().filter(|record| !record.in_use) {
            let filters = serde_json::json!({ "id": { format!("^{}$", record.id): true } }).to_string();
            self.raw(Method::Post, &format!("/build/prune?filters={}", encoded(&filters)), SHORT).await.ok()?;
            dropped.insert(record.id);
        }
        let left = self.uploads().await?;
        Some(left.iter().filter(|record| dropped.contains(&record.id)).map(|record| record.size).sum())
    }

    /// Old engines count for one asker at a time and send the others away.
    async fn disk_usage(&self) -> Option<Vec<u8>> {
        for _ in 0..USAGE_ATTEMPTS {
            match self.raw(Method::Get, "/system/df?type=build-cache", SHORT).await {
                Ok(body) => return Some(body),
                Err(error) if error.engine_message().is_some_and(|said| said.contains("already running")) => {}
                Err(_) => return None,
            }
            tokio::time::sleep(USAGE_AGAIN).await;
        }
        None
    }

    async fn uploads(&self) -> Option<Vec<CacheRecord>> {
        let body = self.disk_usage().await?;
        let usage: DiskUsage = serde_json::from_slice(&body).ok()?;
        let records = usage.build_cache.or(usage.build_cache_usage.and_then(|usage| usage.items)).unwrap_or_default();
        Some(records.into_iter().filter(|record| record.description.starts_with(UPLOAD_RECORD)).collect())
    }
}

/// `/system/df`, in the words of old engines (`BuildCache`) and new ones (`BuildCacheUsage`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskUsage {
    build_cache: Option<Vec<CacheRecord>>,
    build_cache_usage: Option<CacheUsage>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CacheUsage {
    items: Option<Vec<CacheRecord>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct CacheRecord {
    #[serde(rename = "ID")]
    id: String,
    description: String,
    in_use: bool,
    size: u64,
}

fn options(request: &BuildRequest) -> query::BuildImageOptions {
    let map = |values: &BTreeMap<String, String>| values.clone().into_iter().collect::<HashMap<_, _>>();
    query::BuildImageOptions {
        dockerfile: request.dockerfile.clone(),
        buildargs: Some(map(&request.args)),
        labels: Some(map(&request.labels)),
        platform: request.platform.clone().unwrap_or_default(),
        target: request.target.clone().unwrap_or_default(),
        networkmode: request.network.clone(),
        shmsize: request.shm_size.map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX)),
        version: query::BuilderVersion::BuilderBuildKit,
        session: Some(request.id.clone()),
        ..query::BuildImageOptions::default()
    }
}

fn take_info(info: BuildInfo, trace: &mut Trace, heard: &mut impl FnMut(Progress)) -> Option<String> {
    match info.aux? {
        BuildInfoAux::BuildKit(piece) => {
            trace.take(piece).into_iter().for_each(heard);
            None
        }
        BuildInfoAux::Default(image) => image.id,
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
