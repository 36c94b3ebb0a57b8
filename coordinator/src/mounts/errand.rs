//! A build that is nothing but our worker, once in each mount, and the talk with each of them.
//!
//! The steps are never the builder's remembered ones: each has a word of its own. `--no-cache` would not do, since a step that is done so gets
//! an empty mount. They have no network, no image to start from, and leave nothing but their records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use splitci_worker::protocol::VERSION;
use splitci_worker::protocol::frame::{Decoder, encode};
use splitci_worker::protocol::mounts::{Answer, Order};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::{MountError, Needs};
use crate::docker::Docker;
use crate::docker::build::{BuildRequest, SentEntry, SentKind, Sources, nanoseconds};
use crate::image::travel::{Journey, Stop};
use crate::model::SshAgent;

/// The builder takes us for this agent.
const AGENT: &str = "splitci";
/// Where a step finds the worker.
const PLACE: &str = "/.splitci-worker";
const PROGRAM: &str = "splitci-worker";
/// Any time will do for the worker's file, as long as its content decides the nanoseconds.
const TIME: i64 = 1_000_000_000_000_000_000;

/// What a worker found when it came into its mount.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hello {
    /// Which mount, by its place among those that were asked for.
    pub(super) number: usize,
    pub(super) empty: bool,
    pub(super) unfinished: bool,
    /// Its clock, in nanoseconds since 1970.
    pub(super) now: i64,
}

/// Whoever talks with the workers.
#[async_trait]
pub(super) trait Visitor: Send {
    /// In a mount. The worker goes when this returns.
    async fn visit(&mut self, hello: Hello, talk: &mut Talk) -> Result<(), MountError>;
}

/// Has the visitor visit these mounts, one after the other.
pub(super) async fn run(
    needs: &Needs,
    journey: &Journey,
    stops: &[&Stop],
    docker: &Arc<Docker>,
    visitor: &mut dyn Visitor,
) -> Result<(), MountError> {
    let arch = docker.facts().await?.arch.clone();
    let program = (needs.program)(&arch).ok_or(MountError::NoWorker(arch))?;
    let id = ulid::Ulid::generate().to_string();
    let folder = Folder::make(needs.scratch.join(format!("m{id}")))?;
    let socket = folder.0.join("s");
    let listener = UnixListener::bind(&socket)?;
    let hash = blake3::hash(&program);
    let worker = SentEntry {
        path: PROGRAM.into(),
        origin: None,
        mode: 0o755,
        modified: TIME + nanoseconds(hash.as_bytes()),
        dated: false,
        attributes: BTreeMap::new(),
        kind: SentKind::Text(bytes::Bytes::copy_from_slice(&program)),
    };
    let sources = Sources {
        dockerfile: dockerfile(stops, &id).into_bytes(),
        root: folder.0.clone(),
        context: vec![worker],
        shared_key: format!("splitci-worker-{}", &hash.to_hex()[..16]),
        ssh: vec![SshAgent { id: AGENT.to_owned(), socket }],
        ..Sources::default()
    };
    let (name, value) = journey.space.clone();
    let request = BuildRequest {
        id: format!("splitci-mounts-{id}"),
        dockerfile: "Dockerfile".to_owned(),
        args: [(name, value)].into(),
        network: Some("none".to_owned()),
        ..BuildRequest::default()
    };
    tokio::select! {
        built = docker.work(&request, sources) => built.map_err(MountError::Build),
        error = serve(&listener, visitor) => Err(error),
    }
}

/// Every mount is written as the project's own step writes it, so that the builder takes it for the same.
fn dockerfile(stops: &[&Stop], id: &str) -> String {
    use std::fmt::Write;
    let mut text = "FROM scratch\n".to_owned();
    for (number, stop) in stops.iter().enumerate() {
        let target = &stop.mount.target;
        let mut options = vec![format!("target={target}")];
        options.extend(stop.mount.id.iter().map(|id| format!("id={id}")));
        options.extend(stop.mount.options.iter().cloned());
        let place = if target.starts_with('/') { target.clone() } else { format!("/{target}") };
        let _infallible = writeln!(
            text,
            "RUN --mount=type=bind,target={PLACE} --mount=type=ssh,id={AGENT},required=true --mount=type=cache,{} [\"{PLACE}/{PROGRAM}\", \"mount\", \"{number}\", \"{place}\", \"{id}\"]",
            options.join(",")
        );
    }
    text
}

/// Talks with whoever comes, until something goes wrong. The builder also comes to see whether we are there, and says nothing.
async fn serve(listener: &UnixListener, visitor: &mut dyn Visitor) -> MountError {
    loop {
        let visited = async {
            let (stream, _) = listener.accept().await?;
            let mut talk = Talk { stream, decoder: Decoder::default(), out: Vec::new() };
            match talk.hello().await? {
                Some(hello) => visitor.visit(hello, &mut talk).await,
                None => Ok(()),
            }
        };
        if let Err(error) = visited.await {
            return error;
        }
    }
}

/// The talk with a worker.
pub(super) struct Talk {
    stream: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
}

impl Talk {
    async fn hello(&mut self) -> Result<Option<Hello>, MountError> {
        match self.next().await? {
            None => Ok(None),
            Some((Answer::Hello { version, number, empty, unfinished, now }, _)) if version.major == VERSION.major => {
                Ok(Some(Hello { number, empty, unfinished, now }))
            }
            Some((answer, _)) => Err(unexpected(&answer)),
        }
    }

    /// Gives an order.
    pub(super) async fn order(&mut self, order: &Order, blob: &[u8]) -> Result<(), MountError> {
        self.out.clear();
        encode(order, blob, &mut self.out);
        Ok(self.stream.write_all(&self.out).await?)
    }

    /// Waits for an answer.
    pub(super) async fn answer(&mut self) -> Result<(Answer, Vec<u8>), MountError> {
        let gone = || MountError::Worker("nothing more".to_owned());
        self.next().await?.ok_or_else(gone)
    }

    /// Has everything that was put settled.
    pub(super) async fn settle(&mut self) -> Result<(), MountError> {
        self.order(&Order::Settle, &[]).await?;
        match self.answer().await?.0 {
            Answer::Settled => Ok(()),
            Answer::Failed { why } => Err(MountError::Worker(why)),
            other => Err(unexpected(&other)),
        }
    }

    async fn next(&mut self) -> Result<Option<(Answer, Vec<u8>)>, MountError> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let frame = self.decoder.next::<Answer>().map_err(|error| MountError::Worker(error.to_string()))?;
            if let Some(frame) = frame {
                return Ok(Some((frame.message, frame.blob)));
            }
            match self.stream.read(&mut bytes).await? {
                0 => return Ok(None),
                read => self.decoder.push(&bytes[..read]),
            }
        }
    }
}

/// Something that does not belong here.
pub(super) fn unexpected(answer: &Answer) -> MountError {
    MountError::Worker(format!("something unexpected: {answer:?}").chars().take(200).collect())
}

/// A folder that goes with this value.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn make(path: PathBuf) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs_err::remove_dir_all(&self.0).ok();
    }
}
