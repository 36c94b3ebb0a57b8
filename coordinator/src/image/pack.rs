//! Sends a context as a tar: one file after the other, never all of it in memory.
//!
//! The stream is made on a thread of its own and waits for whoever reads it. Every file must be what was hashed for the key: one that changed since
//! breaks the stream off, so that no image is ever found under the key of other content. Owners are 0, names of owners are not sent.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::context::{Context, ContextError, Entry, EntryKind};
use super::key::{ContextItem, ItemContent};

/// Bytes that travel in one piece.
const PIECE: usize = 256 << 10;
/// Pieces that wait to be read.
const WAITING: usize = 4;

/// Why a stream broke off, for whoever finds that it did.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<ContextError>>>);

impl Fault {
    pub(super) fn take(&self) -> Option<ContextError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, error: ContextError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// The context as a stream of a tar's pieces. `items` are its entries as they were hashed.
pub(super) fn stream(context: Arc<Context>, items: Arc<Vec<ContextItem>>) -> (impl Stream<Item = std::io::Result<Bytes>> + Send, Fault) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let fault = Fault::default();
    let told = fault.clone();
    let broken_off = sender.clone();
    let thread = tokio::task::spawn_blocking(move || {
        if let Err(error) = pack(&context, &items, Pieces { sender, piece: BytesMut::with_capacity(PIECE) }) {
            told.put(error);
            // The reader may have gone; then nobody needs to be told.
            let _told = broken_off.blocking_send(Err(std::io::Error::other("the build context cannot be read")));
        }
    });
    let pieces = stream::unfold((receiver, thread), |(mut receiver, thread)| async move {
        let piece = receiver.recv().await?;
        Some((piece, (receiver, thread)))
    });
    (pieces.fuse(), fault)
}

fn pack(context: &Context, items: &[ContextItem], pieces: Pieces) -> Result<(), ContextError> {
    let mut tar = tar::Builder::new(pieces);
    tar.sparse(false);
    for (entry, item) in context.entries.iter().zip(items) {
        append(&mut tar, context, entry, item)?;
    }
    if !context.holds_dockerfile() {
        let entry = Entry {
            path: context.dockerfile.name.clone(),
            mode: 0o644,
            mtime: 0,
            kind: EntryKind::File(context.dockerfile.text.len() as u64),
        };
        let mut header = header(&entry);
        tar.append_data(&mut header, path(&entry.path), context.dockerfile.text.as_slice()).map_err(ContextError::Read)?;
    }
    let mut pieces = tar.into_inner().map_err(ContextError::Read)?;
    pieces.flush().map_err(ContextError::Read)
}

fn append(tar: &mut tar::Builder<Pieces>, context: &Context, entry: &Entry, item: &ContextItem) -> Result<(), ContextError> {
    let mut header = header(entry);
    let name = path(&entry.path);
    match &entry.kind {
        EntryKind::File(length) => return append_file(tar, &mut header, context.place(entry), (name, *length, item)),
        EntryKind::Link(target) => tar.append_link(&mut header, name, path(target)),
        _ => tar.append_data(&mut header, name, std::io::empty()),
    }
    .map_err(ContextError::Read)
}

fn append_file(
    tar: &mut tar::Builder<Pieces>,
    header: &mut tar::Header,
    place: PathBuf,
    (name, length, item): (&Path, u64, &ContextItem),
) -> Result<(), ContextError> {
    let file = fs_err::File::open(&place).map_err(ContextError::Read)?;
    let mut hashed = Hashed { file: file.take(length), hasher: blake3::Hasher::new(), left: length };
    tar.append_data(header, name, &mut hashed).map_err(ContextError::Read)?;
    let mut more = [0; 1];
    let longer = hashed.file.into_inner().read(&mut more).map_err(ContextError::Read)? > 0;
    if longer || item.content != ItemContent::File(*hashed.hasher.finalize().as_bytes()) {
        return Err(ContextError::Changed(place));
    }
    Ok(())
}

/// A file, hashed while it is read. One that became shorter is filled up, so that the tar stays whole until the hash tells.
struct Hashed {
    file: std::io::Take<fs_err::File>,
    hasher: blake3::Hasher,
    left: u64,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        if read > 0 || self.left == 0 {
            return Ok(read);
        }
        let filled = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer[..filled].fill(0);
        self.hasher.update(b"shorter");
        self.left -= filled as u64;
        Ok(filled)
    }
}

fn path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn header(entry: &Entry) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_mtime(entry.mtime);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(entry.bytes());
    header.set_entry_type(match &entry.kind {
        EntryKind::Directory => tar::EntryType::Directory,
        EntryKind::File(_) => tar::EntryType::Regular,
        EntryKind::Link(_) => tar::EntryType::Symlink,
        EntryKind::Pipe => tar::EntryType::Fifo,
        EntryKind::Device { block: true, .. } => tar::EntryType::Block,
        EntryKind::Device { block: false, .. } => tar::EntryType::Char,
    });
    if let EntryKind::Device { number, .. } = entry.kind {
        // GNU headers have room for both numbers.
        let _infallible = header.set_device_major(rustix::fs::major(number));
        let _infallible = header.set_device_minor(rustix::fs::minor(number));
    }
    header
}

/// Collects what is written into pieces, and waits when nobody reads them.
struct Pieces {
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    piece: BytesMut,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.sender.blocking_send(Ok(piece)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    async fn packed(root: &Path, meanwhile: impl FnOnce()) -> Result<Vec<u8>, ContextError> {
        let context = Arc::new(Context::walk(root, &root.join("Dockerfile")).expect("walkable"));
        let items = Arc::new(context.items().expect("readable"));
        meanwhile();
        let (stream, fault) = stream(context, items);
        let bytes: Result<Vec<Bytes>, _> = stream.try_collect().await;
        match bytes {
            Ok(bytes) => Ok(bytes.concat()),
            Err(_) => Err(fault.take().expect("a reason")),
        }
    }

    #[tokio::test]
    async fn a_tar_holds_everything_under_its_own_name() {
        let root = tempfile::tempdir().expect("a folder");
        let long = "d".repeat(90);
        fs_err::create_dir_all(root.path().join(&long).join(&long)).expect("made");
        fs_err::write(root.path().join(&long).join(&long).join("f"), vec![3; 600_000]).expect("written");
        fs_err::write(root.path().join("Dockerfile"), "FROM a").expect("written");
        std::os::unix::fs::symlink("l".repeat(150), root.path().join("link")).expect("linked");
        let bytes = packed(root.path(), || {}).await.expect("packed");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen: Vec<_> = Vec::new();
        for entry in archive.entries().expect("a tar") {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!((header.uid().ok(), header.gid().ok(), header.username().ok()), (Some(0), Some(0), Some(Some(""))));
            seen.push((
                entry.path().expect("a path").display().to_string(),
                entry.size(),
                entry.link_name().expect("fine").map(|link| link.display().to_string()),
            ));
        }
        let expected = [
            ("Dockerfile".to_owned(), 6, None),
            (long.clone(), 0, None),
            (format!("{long}/{long}"), 0, None),
            (format!("{long}/{long}/f"), 600_000, None),
            ("link".to_owned(), 0, Some("l".repeat(150))),
        ];
        assert_eq!(seen, expected);
        assert_eq!(packed(root.path(), || {}).await.expect("packed"), bytes, "the same context is the same tar");
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_was_hashed_breaks_the_stream_off() {
        for text in ["two", "on", "longer", ""] {
            let root = tempfile::tempdir().expect("a folder");
            fs_err::write(root.path().join("Dockerfile"), "FROM a").expect("written");
            let file = root.path().join("file");
            fs_err::write(&file, "one").expect("written");
            let error = packed(root.path(), || fs_err::write(&file, text).expect("written")).await.expect_err("it changed");
            assert!(matches!(error, ContextError::Changed(path) if path == file), "{text}");
        }
    }
}
