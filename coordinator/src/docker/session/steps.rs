//! Has the builder send what it knows of a build to a registry: every step of every stage (`mode=max`), where a build itself can only write those of the
//! last stage into its image.
//!
//! `POST /build` has no word for it, so the same build is asked for once more by `Control.Solve`, on a connection that is turned into gRPC; every step is there
//! already, and nothing comes of it but what is sent. An engine whose images a graph driver keeps knows no such cache, and is not to be asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error as Cause;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptions, CacheOptionsEntry, SolveRequest};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use super::{Session, Sources, hijack};
use crate::docker::Docker;
use crate::docker::build::{BuildFailure, BuildRequest};

/// How long sending may take in all.
const LONGEST: Duration = Duration::from_mins(10);
/// The language of Dockerfiles, as every builder has it built in.
const FRONTEND: &str = "dockerfile.v0";

impl Docker {
    /// Sends the steps of this build, which the engine has done, to this reference. Dropped, it is stopped.
    pub async fn send_steps(self: &Arc<Self>, request: &BuildRequest, sources: Sources, to: &str) -> Result<(), BuildFailure> {
        let id = format!("{}-steps", request.id);
        let session = Session::open(self, &id, &request.dockerfile, sources).await?;
        let solve = SolveRequest {
            r#ref: id.clone(),
            session: id,
            frontend: FRONTEND.to_owned(),
            frontend_attrs: attributes(request),
            cache: Some(CacheOptions { exports: vec![everything(to)], ..CacheOptions::default() }),
            ..SolveRequest::default()
        };
        let sent = self.call(|| format!("send all steps of the build to `{to}`"), LONGEST, solved(self, solve)).await;
        match session.fault() {
            Some(fault) => Err(fault.into()),
            None => Ok(sent?),
        }
    }
}

async fn solved(docker: &Docker, request: SolveRequest) -> Result<(), Cause> {
    let wire = hijack(&docker.near, "/grpc", &[]).await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), wire).await?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let mut control = ControlClient::with_origin(Channel(sender), http::Uri::from_static("http://docker"));
    let refused = |status: tonic::Status| Cause::DockerResponseServerError { status_code: 500, message: status.message().to_owned() };
    control.solve(request).await.map(|_| ()).map_err(refused)
}

/// What the engine itself makes of the request of a build: with anything else it would be another build.
fn attributes(request: &BuildRequest) -> HashMap<String, String> {
    let mut attributes =
        HashMap::from([("filename".to_owned(), request.dockerfile.clone()), ("image-resolve-mode".to_owned(), "default".to_owned())]);
    let hosts: Vec<_> = request.add_hosts.iter().filter_map(|host| host.split_once(':')).map(|(name, at)| format!("{name}={at}")).collect();
    let network = request.network.clone().filter(|network| network != "default");
    let single = [
        ("target", request.target.clone()),
        ("platform", request.platform.clone()),
        ("force-network-mode", network),
        ("shm-size", request.shm_size.map(|bytes| bytes.to_string())),
        ("add-hosts", (!hosts.is_empty()).then(|| hosts.join(","))),
    ];
    attributes.extend(single.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    attributes.extend(request.args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    attributes.extend(request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    attributes
}

/// Every step, as something that looks like an image: registries that know nothing else take it, too.
fn everything(to: &str) -> CacheOptionsEntry {
    let attributes = [("ref", to), ("mode", "max"), ("image-manifest", "true"), ("oci-mediatypes", "true")];
    CacheOptionsEntry {
        r#type: "registry".to_owned(),
        attrs: attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

/// The connection, on which the engine answers.
struct Channel(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_the_same_build() {
        let request = BuildRequest {
            dockerfile: "Dockerfile".into(),
            target: Some("test".into()),
            args: BTreeMap::from([("A".into(), "1".into())]),
            labels: BTreeMap::from([("splitci.key".into(), "k".into())]),
            network: Some("default".into()),
            add_hosts: vec!["a:::1".into(), "b:1.2.3.4".into()],
            shm_size: Some(7),
            ..BuildRequest::default()
        };
        let told: BTreeMap<_, _> = attributes(&request).into_iter().collect();
        let told: Vec<_> = told.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let wanted = [
            "add-hosts=a=::1,b=1.2.3.4",
            "build-arg:A=1",
            "filename=Dockerfile",
            "image-resolve-mode=default",
            "label:splitci.key=k",
            "shm-size=7",
            "target=test",
        ];
        assert_eq!(told, wanted);
    }
}
