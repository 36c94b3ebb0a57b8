//! Gives the builder its files: tells of all that there are, sends those that it asks for, and nothing else.
//!
//! The builder compares what it is told (length, time, mode) with what it had under the same shared key, so that only what differs travels. A build
//! asks twice, for the Dockerfile and for the context; both are known before it begins and nothing is walked here. A file is read when it is
//! asked for and must still be what was hashed for the image's key: one that is not breaks the build off before its end is sent, so that no image is
//! ever found under the key of other content. Reading and hashing happen off the session's thread, which has to answer the engine's health checks.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::packet::{Kind, Packet};
use super::sources::{SentEntry, SentKind, SourceError, Told};

/// The only way of sending files that we know, and that every engine knows.
pub(super) const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// Bytes of a file that travel in one packet.
const PIECE: usize = 64 << 10;
/// Packets that wait to be sent.
const WAITING: usize = 256;

/// What may be asked for under one name.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) entries: Vec<SentEntry>,
}

/// The service that gives files.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) dockerfile: Arc<Tree>,
    pub(super) context: Arc<Tree>,
    pub(super) told: Told,
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

impl NamedService for Files {
    const NAME: &'static str = "moby.filesync.v1.FileSync";
}

// The generated service has messages that cannot carry every name; see `packet`.
impl Service<http::Request<tonic::body::Body>> for Files {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let files = self.clone();
        Box::pin(async move {
            if request.uri().path() != DIFF_COPY {
                return Ok(Status::unimplemented("files are sent by DiffCopy").into_http());
            }
            Ok(Grpc::new(ProstCodec::<Packet, Packet>::default()).streaming(files, request).await)
        })
    }
}

impl StreamingService<Packet> for Files {
    type Response = Packet;
    type ResponseStream = Packets;
    type Future = Ready<Result<Response<Packets>, Status>>;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Self::Future {
        ready(self.tree(&request).map(|tree| Response::new(conversation(tree, self.told.clone(), request.into_inner()))))
    }
}

impl Files {
    fn tree(&self, request: &Request<Streaming<Packet>>) -> Result<Arc<Tree>, Status> {
        let only = |name: &str| request.metadata().get_all("followpaths").iter().all(|path| path == name);
        match request.metadata().get("dir-name").map(MetadataValue::as_bytes) {
            Some(b"dockerfile") => Ok(Arc::clone(&self.dockerfile)),
            // A look for an ignore file, which would make the builder keep the whole context once more. It found ours beside the Dockerfile.
            Some(b"context") if request.metadata().contains_key("followpaths") && only(".dockerignore") => Ok(Arc::default()),
            Some(b"context") => Ok(Arc::clone(&self.context)),
            _ => Err(Status::not_found("no such directory")),
        }
    }
}

/// What the builder wants next.
enum Asked {
    File(u32),
    Nothing,
}

fn conversation(tree: Arc<Tree>, told: Told, inbound: Streaming<Packet>) -> Packets {
    let (out, packets) = mpsc::channel(WAITING);
    // At most one entry for each file. The builder's requests are taken in at once: many small frames that wait are an attack to the HTTP/2 library.
    let (asks, asked) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    tasks.spawn(take_in(inbound, asks));
    let mut sender = Sender { tree, told, out, asked };
    tasks.spawn_blocking(move || {
        if let Err(Stop::Fault(error)) = sender.run() {
            let status = Status::aborted(error.to_string());
            sender.told.fail(error);
            // The builder may have gone; then nobody needs to be told.
            let _told = sender.out.blocking_send(Err(status));
        }
    });
    stream::unfold((packets, tasks), |(mut packets, tasks)| async move { Some((packets.recv().await?, (packets, tasks))) }).boxed()
}

async fn take_in(mut inbound: Streaming<Packet>, asks: mpsc::UnboundedSender<Asked>) {
    while let Ok(Some(packet)) = inbound.message().await {
        let asked = match Kind::try_from(packet.kind) {
            Ok(Kind::Request) => Asked::File(packet.id),
            Ok(Kind::Finished) => Asked::Nothing,
            _ => continue,
        };
        if asks.send(asked).is_err() {
            return;
        }
    }
}

/// Why sending stopped.
enum Stop {
    /// The builder went away.
    Gone,
    /// It is our fault.
    Fault(SourceError),
}

struct Sender {
    tree: Arc<Tree>,
    told: Told,
    out: mpsc::Sender<Result<Packet, Status>>,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Sender {
    fn run(&mut self) -> Result<(), Stop> {
        let tree = Arc::clone(&self.tree);
        let mut more = true;
        for entry in &tree.entries {
            self.send(Packet::stat(entry))?;
            // What is asked for already is sent between: the builder writes while it compares.
            while let Ok(asked) = self.asked.try_recv() {
                more &= self.answer(&asked)?;
            }
        }
        self.send(Packet::of(Kind::Stat))?;
        while more {
            let asked = self.asked.blocking_recv().ok_or(Stop::Gone)?;
            more = self.answer(&asked)?;
        }
        self.send(Packet::of(Kind::Finished))
    }

    /// Whether more may be asked.
    fn answer(&self, asked: &Asked) -> Result<bool, Stop> {
        match asked {
            Asked::File(id) => self.content(*id).map(|()| true),
            Asked::Nothing => Ok(false),
        }
    }

    fn send(&self, packet: Packet) -> Result<(), Stop> {
        self.out.blocking_send(Ok(packet)).map_err(|_| Stop::Gone)
    }

    fn content(&self, id: u32) -> Result<(), Stop> {
        let entry = usize::try_from(id).ok().and_then(|at| self.tree.entries.get(at));
        match entry.map(|entry| (entry, &entry.kind)) {
            Some((entry, SentKind::File { length, hash })) => {
                let place = self.tree.root.join(std::ffi::OsStr::from_bytes(entry.origin.as_ref().unwrap_or(&entry.path)));
                self.file(id, &place, *length, hash)?;
            }
            Some((_, SentKind::Text(text))) => {
                for piece in text.chunks(PIECE) {
                    self.data(id, text.slice_ref(piece))?;
                }
            }
            // Nothing else has content, and what does not exist was not told of.
            _ => {}
        }
        self.send(Packet::data(id, Bytes::new()))
    }

    fn data(&self, id: u32, piece: Bytes) -> Result<(), Stop> {
        self.told.count(piece.len());
        self.send(Packet::data(id, piece))
    }

    fn file(&self, id: u32, place: &Path, length: u64, hash: &[u8; 32]) -> Result<(), Stop> {
        let mut file = open(place).map_err(Stop::Fault)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = length;
        while left > 0 {
            let mut piece = BytesMut::zeroed(PIECE.min(usize::try_from(left).unwrap_or(PIECE)));
            let read = file.read(&mut piece).map_err(|error| Stop::Fault(SourceError::Read(error)))?;
            if read == 0 {
                return Err(Stop::Fault(SourceError::Changed(place.to_owned())));
            }
            piece.truncate(read);
            hasher.update(&piece);
            left -= read as u64;
            self.data(id, piece.freeze())?;
        }
        // A file that has grown is another one.
        let longer = file.read(&mut [0]).map_err(|error| Stop::Fault(SourceError::Read(error)))? > 0;
        if longer || hasher.finalize() != *hash {
            return Err(Stop::Fault(SourceError::Changed(place.to_owned())));
        }
        Ok(())
    }
}

/// Opens a file that was one when the context was walked. Something that took its place is not followed and not waited for.
fn open(place: &Path) -> Result<fs_err::File, SourceError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(place, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO => SourceError::Changed(place.to_owned()),
        other => {
            let error = std::io::Error::from(other);
            SourceError::Read(std::io::Error::new(error.kind(), format!("cannot open `{}`: {error}", place.display())))
        }
    })?;
    let file = fs_err::File::from_parts(std::fs::File::from(opened), place);
    let metadata = file.metadata().map_err(SourceError::Read)?;
    if metadata.is_file() { Ok(file) } else { Err(SourceError::Changed(place.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Asks for these files as a builder would, and gives what came.
    fn asked(tree: Tree, wanted: &[u32]) -> (Vec<Packet>, Option<SourceError>, u64) {
        let told = Told::new();
        let (out, mut packets) = mpsc::channel(WAITING);
        let (asks, asked) = mpsc::unbounded_channel();
        for id in wanted {
            asks.send(Asked::File(*id)).expect("open");
        }
        asks.send(Asked::Nothing).expect("open");
        let mut sender = Sender { tree: Arc::new(tree), told: told.clone(), out, asked };
        let sending = std::thread::spawn(move || match sender.run() {
            Err(Stop::Fault(error)) => sender.told.fail(error),
            Err(Stop::Gone) => panic!("nobody went"),
            Ok(()) => {}
        });
        let mut got = Vec::new();
        while let Some(packet) = packets.blocking_recv() {
            got.push(packet.expect("a packet"));
        }
        sending.join().expect("it ends");
        let sent = *told.sent().borrow();
        (got, told.take(), sent)
    }

    fn entry(path: &str, kind: SentKind) -> SentEntry {
        SentEntry {
            path: path.into(),
            origin: None,
            mode: 0o644,
            modified: 1,
            dated: false,
            attributes: std::collections::BTreeMap::new(),
            kind,
        }
    }

    fn on_disk(root: &Path, path: &str, text: &[u8]) -> SentEntry {
        fs_err::write(root.join(path), text).expect("written");
        entry(path, SentKind::File { length: text.len() as u64, hash: *blake3::hash(text).as_bytes() })
    }

    fn content(packets: &[Packet], id: u32) -> Vec<u8> {
        packets
            .iter()
            .filter(|packet| packet.kind == i32::from(Kind::Data) && packet.id == id)
            .flat_map(|packet| packet.data.clone())
            .collect()
    }

    #[test]
    fn everything_is_told_of_and_only_what_is_asked_for_is_sent() {
        let root = tempfile::tempdir().expect("a folder");
        let long = vec![7; 3 * PIECE + 1];
        let entries = vec![
            on_disk(root.path(), "a", b"one"),
            entry("d", SentKind::Directory),
            on_disk(root.path(), "long", &long),
            entry("text", SentKind::Text(Bytes::from_static(b"FROM scratch"))),
        ];
        let (got, fault, sent) = asked(Tree { root: root.path().to_owned(), entries }, &[2, 3, 99]);
        assert!(fault.is_none());
        let stats = got
            .iter()
            .filter(|packet| packet.kind == i32::from(Kind::Stat))
            .map(|packet| packet.stat.as_ref().map(|stat| stat.path.clone()));
        assert_eq!(
            stats.collect::<Vec<_>>(),
            [Some(b"a".to_vec()), Some(b"d".to_vec()), Some(b"long".to_vec()), Some(b"text".to_vec()), None]
        );
        assert_eq!((content(&got, 2), content(&got, 3), content(&got, 0)), (long.clone(), b"FROM scratch".to_vec(), Vec::new()));
        assert_eq!(sent, long.len() as u64 + 12);
        assert_eq!(got.last().map(|packet| packet.kind), Some(Kind::Finished.into()));
    }

    #[test]
    fn a_file_that_is_not_what_was_hashed_is_never_finished() {
        type Meddling = fn(&Path);
        let meddlers: [(&str, Meddling); 6] = [
            ("same length", |file| fs_err::write(file, "two").expect("written")),
            ("shorter", |file| fs_err::write(file, "on").expect("written")),
            ("longer", |file| fs_err::write(file, "ones").expect("written")),
            ("gone", |file| fs_err::remove_file(file).expect("removed")),
            ("a link", |file| {
                fs_err::rename(file, file.with_extension("away")).expect("renamed");
                fs_err::os::unix::fs::symlink(file.with_extension("away"), file).expect("linked");
            }),
            ("a pipe", |file| {
                fs_err::remove_file(file).expect("removed");
                assert!(std::process::Command::new("mkfifo").arg(file).status().expect("mkfifo").success());
            }),
        ];
        for (what, meddle) in meddlers {
            let root = tempfile::tempdir().expect("a folder");
            let entries = vec![on_disk(root.path(), "file", b"one")];
            let file = root.path().join("file");
            meddle(&file);
            let (got, fault, _) = asked(Tree { root: root.path().to_owned(), entries }, &[0]);
            assert!(matches!(fault, Some(SourceError::Changed(path)) if path == file), "{what}");
            assert!(!got.iter().any(|packet| packet.kind == i32::from(Kind::Data) && packet.data.is_empty()), "{what}");
        }
    }
}
