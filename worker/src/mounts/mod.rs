//! `splitci-worker mount NUMBER PATH`: the worker inside a build step, where it tells, sends and restores what is in a build mount.
//!
//! It speaks with splitci over the socket that the builder forwards for the step (`SSH_AUTH_SOCK`: to a builder, it is an SSH agent), in the words of
//! `protocol::mounts`. It opens nothing outside of the mount, follows no link, runs nothing, and decides nothing: what comes in was looked over by whoever sends
//! it, and is looked over here again.

mod listing;
mod restoring;

use std::io::{self, Read, Write};

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use crate::protocol::frame::{Decoder, encode};
use crate::protocol::mounts::{ASIDE, Answer, Order, PIECE, is_below};
use crate::protocol::{VERSION, frame::FrameError};
use restoring::Restoring;

/// Why the worker gave up.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The stream or the mount.
    #[error("cannot go on with the build mount")]
    Io(#[from] io::Error),
    /// What came over the stream.
    #[error("cannot understand what is ordered")]
    Frame(#[from] FrameError),
}

/// Serves the mount at `root` until the stream ends.
pub fn serve(number: usize, root: &Path, socket: &Path) -> Result<(), MountError> {
    let stream = UnixStream::connect(socket)?;
    Server { root: root.to_owned(), stream, out: Vec::new(), restoring: None }.run(number)
}

struct Server<S> {
    root: PathBuf,
    stream: S,
    out: Vec<u8>,
    restoring: Option<Restoring>,
}

impl<S: Read + Write> Server<S> {
    fn run(mut self, number: usize) -> Result<(), MountError> {
        let hello = self.hello(number)?;
        self.say(&hello, &[])?;
        let mut decoder = Decoder::default();
        let mut bytes = vec![0; 64 << 10];
        loop {
            while let Some(frame) = decoder.next::<Order>()? {
                self.obey(frame.message, &frame.blob)?;
            }
            match self.stream.read(&mut bytes)? {
                0 => return Ok(()),
                read => decoder.push(&bytes[..read]),
            }
        }
    }

    fn hello(&self, number: usize) -> io::Result<Answer> {
        let mut empty = true;
        for entry in fs::read_dir(&self.root)? {
            empty &= entry?.file_name() == ASIDE;
        }
        let unfinished = fs::symlink_metadata(self.root.join(ASIDE)).is_ok();
        Ok(Answer::Hello { version: VERSION, number, empty, unfinished, now: now() })
    }

    fn say(&mut self, answer: &Answer, blob: &[u8]) -> io::Result<()> {
        self.out.clear();
        encode(answer, blob, &mut self.out);
        self.stream.write_all(&self.out)
    }

    fn obey(&mut self, order: Order, blob: &[u8]) -> io::Result<()> {
        match order {
            Order::List => {
                let root = self.root.clone();
                let left_out = listing::list(&root, &mut |entries| self.say(&Answer::Entries(entries), &[]))?;
                self.say(&Answer::Listed { left_out }, &[])
            }
            Order::Send { paths } => paths.iter().try_for_each(|path| self.send(path)),
            Order::Begin => {
                self.restoring = Some(Restoring::begin(&self.root));
                Ok(())
            }
            Order::Put(entry) => {
                self.restoring().put(entry);
                Ok(())
            }
            Order::Piece => {
                self.restoring().piece(blob);
                Ok(())
            }
            Order::Settle => {
                let settled = match self.restoring.take() {
                    Some(restoring) => restoring.settle(),
                    None => restoring::finish(&self.root),
                };
                match settled {
                    Ok(()) => self.say(&Answer::Settled, &[]),
                    Err(error) => self.say(&Answer::Failed { why: error.to_string() }, &[]),
                }
            }
        }
    }

    fn restoring(&mut self) -> &mut Restoring {
        self.restoring.get_or_insert_with(|| Restoring::begin(&self.root))
    }

    /// One that cannot be read is not whole, and the next one's turn has come.
    fn send(&mut self, path: &str) -> io::Result<()> {
        let opened = is_below(path).then(|| open(&self.root.join(path)).ok()).flatten();
        let Some(mut file) = opened else { return self.say(&Answer::Sent { whole: false }, &[]) };
        let before = stamp(&file)?;
        let mut bytes = vec![0; PIECE];
        loop {
            let read = file.read(&mut bytes)?;
            if read == 0 {
                break;
            }
            self.say(&Answer::Piece, &bytes[..read])?;
        }
        let whole = stamp(&file)? == before;
        self.say(&Answer::Sent { whole }, &[])
    }
}

/// Never through a link, and never waiting for whoever would write into a pipe.
fn open(path: &Path) -> io::Result<fs::File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("no file")) }
}

/// What changes when a file is written to.
fn stamp(file: &fs::File) -> io::Result<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata()?;
    Ok((
        found.len(),
        found.mtime().wrapping_mul(1_000_000_000) + found.mtime_nsec(),
        found.ctime().wrapping_mul(1_000_000_000) + found.ctime_nsec(),
    ))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
