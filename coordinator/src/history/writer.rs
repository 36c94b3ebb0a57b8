//! Writes a run's record while it happens.
//!
//! Listeners hand in events; a thread of its own compresses them and writes a frame every second, or sooner when much has come in, so that a
//! killed run loses a second at most. The first error ends the writing and is kept: whoever wants a verdict asks [`RecordWriter::flush`]
//! before, for a run whose record could not be written proves nothing. The bytes that wait are bounded; then `hear` waits for the disk.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fs_err as fs;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use super::{HistoryError, format};
use crate::model::event::RunEvent;
use crate::model::{Listener, Telling};

/// How long an event may wait to be written.
const FRAME_EVERY: Duration = Duration::from_secs(1);
/// Bytes of lines that make a frame at once.
const FULL_FRAME: usize = 1 << 20;
/// Bytes of lines that may wait.
const MOST_WAITING: usize = 8 << 20;
/// zstd's own default; higher ones cost the time of test processes.
const LEVEL: i32 = 3;

/// A record being written.
#[derive(Debug)]
pub struct RecordWriter {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For the others: something was done.
    done: Condvar,
}

/// What lies between listeners and the thread.
#[derive(Debug, Default)]
struct Desk {
    lines: Vec<u8>,
    /// Flushes asked for, and flushes done.
    asked: u64,
    synced: u64,
    closing: bool,
    /// The thread is no more.
    gone: bool,
    error: Option<HistoryError>,
}

impl RecordWriter {
    /// Begins a record; its header is on disk when this returns.
    pub(super) fn create(path: PathBuf) -> Result<Self, HistoryError> {
        let file = fs::OpenOptions::new().create_new(true).write(true).open(&path).map_err(|e| failed(&path, e))?;
        if let Some(directory) = path.parent() {
            // So that the name survives a loss of power as well; not every file system can.
            let _unsynced = fs::File::open(directory).and_then(|directory| directory.sync_all());
        }
        Self::on(file, path)
    }

    /// Begins a record in this file, which nobody else writes.
    pub(super) fn on(file: fs::File, path: PathBuf) -> Result<Self, HistoryError> {
        let output = Output::new(file).map_err(|e| failed(&path, e))?;
        let shared = Arc::<Shared>::default();
        let for_thread = (Arc::clone(&shared), path.clone());
        let write = move || write_until_closed(&for_thread.0, output, &for_thread.1);
        let thread = std::thread::Builder::new().name("record".to_owned()).spawn(write).map_err(|e| failed(&path, e))?;
        Ok(Self { path, shared, thread: Mutex::new(Some(thread)) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an event.
    pub fn add(&self, event: &RunEvent) {
        let mut desk = self.shared.desk();
        while desk.lines.len() > MOST_WAITING && desk.is_served() {
            desk = self.shared.done.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        if !desk.is_served() {
            return;
        }
        let first = desk.lines.is_empty();
        format::put_event(event, &mut desk.lines);
        if first || desk.lines.len() >= FULL_FRAME {
            self.shared.work.notify_one();
        }
    }

    /// Waits until everything added so far is on the disk, and says whether it is. Blocks: not for an async task.
    pub fn flush(&self) -> Result<(), HistoryError> {
        let mut desk = self.shared.desk();
        desk.asked += 1;
        let asked = desk.asked;
        self.shared.work.notify_one();
        while desk.synced < asked && desk.is_served() {
            desk = self.shared.done.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        match &desk.error {
            Some(error) => Err(error.clone()),
            None if desk.synced < asked => Err(failed(&self.path, std::io::ErrorKind::BrokenPipe.into())),
            None => Ok(()),
        }
    }

    /// Ends the record. What is added later is lost.
    pub fn finish(&self) -> Result<(), HistoryError> {
        let flushed = self.flush();
        self.close();
        flushed
    }

    /// Whether something could not be written. Cheap.
    pub fn error(&self) -> Option<HistoryError> {
        self.shared.desk().error.clone()
    }

    fn close(&self) {
        self.shared.desk().closing = true;
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has nothing to tell that a missing end of the record does not.
            let _ended = thread.join();
        }
    }
}

impl Listener for RecordWriter {
    fn hear(&self, telling: &Telling) {
        match telling {
            Telling::Event(event) => self.add(event),
            Telling::Progress(_) => (),
        }
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        self.close();
    }
}

impl Desk {
    /// Whether what lies here will still be written.
    fn is_served(&self) -> bool {
        self.error.is_none() && !self.gone
    }
}

/// Tells those who wait that the thread has ended, however it did.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.desk().gone = true;
        self.0.done.notify_all();
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Plain data: a panic elsewhere leaves nothing half done in it.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a frame's worth of lines: much, or a second old, or asked for. Says also what was asked for.
    fn next(&self) -> (Vec<u8>, u64, bool) {
        let mut desk = self.desk();
        while desk.lines.is_empty() && desk.asked == desk.synced && !desk.closing {
            desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        let wait = |desk: &mut Desk| desk.lines.len() < FULL_FRAME && desk.asked == desk.synced && !desk.closing;
        let waited = self.work.wait_timeout_while(desk, FRAME_EVERY, wait);
        let (mut desk, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut desk.lines), desk.asked, desk.closing)
    }
}

fn write_until_closed(shared: &Shared, mut output: Output, path: &Path) {
    let _leaving = Leaving(shared);
    loop {
        let (lines, asked, closing) = shared.next();
        let asked_anew = asked > shared.desk().synced;
        let written = output.frame(&lines).and_then(|()| if asked_anew { output.sync() } else { Ok(()) });
        let mut desk = shared.desk();
        match written {
            Ok(()) => desk.synced = asked,
            Err(cause) => desk.error = Some(failed(path, cause)),
        }
        let over = desk.error.is_some() || (closing && desk.lines.is_empty());
        drop(desk);
        shared.done.notify_all();
        if over {
            return;
        }
    }
}

fn failed(path: &Path, cause: std::io::Error) -> HistoryError {
    HistoryError::Write { path: path.to_owned(), cause: Arc::new(cause) }
}

/// The file and its compressor.
struct Output {
    file: fs::File,
    compressor: Compressor<'static>,
}

impl Output {
    fn new(file: fs::File) -> std::io::Result<Self> {
        // The lock says that the run lives. A file system without locks has nothing to say.
        let _lockless = file.lock();
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let mut output = Self { file, compressor };
        output.frame(&format::header())?;
        Ok(output)
    }

    fn frame(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if lines.len() > format::MAX_FRAME {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let frame = self.compressor.compress(lines)?;
        self.file.write_all(&frame)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.file.sync_data()
    }
}
