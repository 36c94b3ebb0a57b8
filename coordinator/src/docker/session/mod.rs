//! A session: while a build goes on, the builder asks us for what it needs, and gets only that.
//!
//! | file | is |
//! |---|---|
//! | `wire` | the connection that is turned around: the only thing that depends on how an engine offers sessions |
//! | `sources` | what may be asked for, and why it could not be given |
//! | `files` | the Dockerfile and the context, of which only what changed travels |
//! | `packet` | the messages in which files travel |
//! | `services` | health, credentials, secrets, SSH agents |
//! | `steps` | the same build once more, for what a build cannot be asked for |
//!
//! A session has a thread of its own: an engine asks every second whether we are well, and old ones give the build up at the first late answer, however
//! busy the rest of the process is. It ends when it is dropped. Invariant: what was not named in its `Sources` is never given.

mod files;
mod packet;
mod services;
mod sources;
mod steps;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard::errors::Error as Cause;
use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;

use super::{Docker, DockerError, SHORT};
use files::{DIFF_COPY, Files, Tree};
use services::{Agents, Pulse, Registries, Vault};
use sources::Told;
pub use sources::{SentEntry, SentKind, SourceError, Sources};
use wire::hijack;

/// Small frames are counted against half the connection's window, as a defence; a builder's requests for files are many and small.
const CONNECTION_WINDOW: u32 = 64 << 20;
const STREAM_WINDOW: u32 = 32 << 20;
/// What may be asked of us, besides files.
const METHODS: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
];
/// Stands where the builder looks for an ignore file: what is excluded has been left out already.
const NO_PATTERNS: &[u8] = b"# What is excluded is not sent.\n";
/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;
/// A time for files that no image holds: only its nanoseconds count.
const ANY_TIME: i64 = 1_000_000_000 * SECOND;

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    told: Told,
    _ending: DropGuard,
}

impl Session {
    /// Opens a session under this id. `dockerfile` is the name under which the builder asks for it.
    pub(super) async fn open(docker: &Arc<Docker>, id: &str, dockerfile: &str, sources: Sources) -> Result<Self, DockerError> {
        let told = Told::new();
        let headers = headers(id, &sources.shared_key);
        let routes = routes(docker, dockerfile, sources, &told);
        let ending = CancellationToken::new();
        let (ready, opened) = oneshot::channel();
        let (docker_of_thread, ended) = (Arc::clone(docker), ending.clone());
        let thread = std::thread::Builder::new().name("build session".to_owned());
        let thread = thread.spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            let session = async {
                match hijack(&docker_of_thread.near, "/session", &headers).await {
                    Ok(wire) => {
                        drop(ready.send(Ok(())));
                        serve(wire, routes).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            };
            runtime.block_on(ended.run_until_cancelled(session));
            // A file may be being read; nobody waits for it.
            runtime.shutdown_background();
        });
        let guard = ending.drop_guard();
        let opening = async {
            let _thread = thread?;
            opened.await.unwrap_or_else(|_| Err(Cause::from(std::io::Error::other("the session's thread ended"))))
        };
        docker.call(|| "open a session with the builder".to_owned(), SHORT, opening).await?;
        Ok(Self { told, _ending: guard })
    }

    /// The first thing that went wrong on our side.
    pub(super) fn fault(&self) -> Option<SourceError> {
        self.told.take()
    }

    /// Bytes of files sent so far.
    pub(super) fn sent(&self) -> watch::Receiver<u64> {
        self.told.sent()
    }
}

fn headers(id: &str, shared_key: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("X-Docker-Expose-Session-Uuid", id.to_owned()),
        ("X-Docker-Expose-Session-Name", "splitci".to_owned()),
        ("X-Docker-Expose-Session-Sharedkey", shared_key.to_owned()),
    ];
    headers.extend(METHODS.iter().chain([&DIFF_COPY]).map(|method| ("X-Docker-Expose-Session-Grpc-Method", (*method).to_owned())));
    headers
}

fn routes(docker: &Arc<Docker>, dockerfile: &str, sources: Sources, told: &Told) -> Routes {
    let Sources { dockerfile: text, root, context, secrets, ssh, .. } = sources;
    let beside = [(format!("{dockerfile}.dockerignore"), NO_PATTERNS.into()), (dockerfile.to_owned(), text)];
    let mut beside: Vec<_> = beside.into_iter().map(|(name, text)| small_file(name, text)).collect();
    beside.sort_by(|a, b| a.path.cmp(&b.path));
    let files = Files {
        dockerfile: Arc::new(Tree { entries: beside, ..Tree::default() }),
        context: Arc::new(Tree { root, entries: context }),
        told: told.clone(),
    };
    Routes::new(files)
        .add_service(HealthServer::new(Pulse))
        .add_service(AuthServer::new(Registries { docker: Arc::clone(docker), told: told.clone() }))
        .add_service(SecretsServer::new(Vault { secrets, told: told.clone() }))
        .add_service(SshServer::new(Agents { agents: ssh, told: told.clone() }))
        .prepare()
}

/// The same text always has the same time, and another text of the same length another one.
fn small_file(name: String, text: Vec<u8>) -> SentEntry {
    let modified = ANY_TIME + nanoseconds(blake3::hash(&text).as_bytes());
    SentEntry {
        path: name.into_bytes(),
        origin: None,
        mode: 0o644,
        modified,
        dated: false,
        attributes: BTreeMap::new(),
        kind: SentKind::Text(Bytes::from(text)),
    }
}

/// Nanoseconds of a second, off a hash: a builder that compares times sees every change of content.
pub fn nanoseconds(hash: &[u8; 32]) -> i64 {
    // Seven bytes never make a negative number.
    let mut bytes = [0; 8];
    bytes[..7].copy_from_slice(&hash[..7]);
    i64::from_le_bytes(bytes) % SECOND
}

/// Answers until the engine hangs up. How it ends is of no interest: the build tells.
async fn serve(wire: Upgraded, routes: Routes) {
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.initial_connection_window_size(CONNECTION_WINDOW).initial_stream_window_size(STREAM_WINDOW);
    let _ended = server.serve_connection(wire, TowerToHyperService::new(routes)).await;
}
