//! Reads a record, event by event, holding one frame at a time.
//!
//! A record that ends within a frame gives what was whole before it and then says that it is cut off; a frame that is damaged, a line that is no
//! event or a frame that would fill the memory is an error, after which nothing more comes. It does not judge what the events mean.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use zstd::stream::read::Decoder;

use super::HistoryError;
use super::format::{self, MAX_FRAME, RecordVersion};
use crate::model::event::RunEvent;

/// A record in a file.
pub type RecordFile = RecordReader<BufReader<fs::File>>;

/// Largest window that a frame may ask for, as a power of two: 16 MiB, eight times what the writer uses.
const WINDOW_LOG: u32 = 24;

/// A record being read: an iterator over its events.
#[derive(Debug)]
pub struct RecordReader<R> {
    path: PathBuf,
    source: R,
    version: RecordVersion,
    lines: Vec<u8>,
    at: usize,
    frame: u64,
    line: u64,
    cut_off: bool,
    over: bool,
}

impl RecordFile {
    /// Opens a record.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let file = fs::File::open(path).map_err(|e| HistoryError::Read { path: path.to_owned(), cause: Arc::new(e) })?;
        Self::new(path, BufReader::with_capacity(64 << 10, file))
    }
}

impl<R: BufRead> RecordReader<R> {
    /// Reads a record from any source; the path is for messages.
    pub fn new(path: &Path, source: R) -> Result<Self, HistoryError> {
        let mut reader = Self {
            path: path.to_owned(),
            source,
            version: format::VERSION,
            lines: Vec::new(),
            at: 0,
            frame: 0,
            line: 0,
            cut_off: false,
            over: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// Whether it ended in the middle of a frame, as it does when its run was killed. Known at the end.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// The version it was written in.
    pub fn version(&self) -> RecordVersion {
        self.version
    }

    fn read_header(&mut self) -> Result<(), HistoryError> {
        let refused = HistoryError::NotARecord(self.path.clone());
        let first = match self.next_line() {
            Ok(first) => first,
            Err(HistoryError::DamagedFrame { .. }) => return Err(refused),
            Err(other) => return Err(other),
        };
        // Killed before the header was written: a record without any event.
        let Some((from, to)) = first else { return Ok(()) };
        let found = format::read_header(&self.lines[from..to]).ok_or(refused)?;
        if found.major != format::VERSION.major {
            return Err(HistoryError::OtherVersion { path: self.path.clone(), found });
        }
        self.version = found;
        Ok(())
    }

    /// Where the next line is within the frame at hand.
    fn next_line(&mut self) -> Result<Option<(usize, usize)>, HistoryError> {
        while self.at >= self.lines.len() {
            if !self.next_frame()? {
                return Ok(None);
            }
        }
        let from = self.at;
        let rest = &self.lines[from..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.at = from + length + 1;
        self.line += 1;
        Ok(Some((from, from + length)))
    }

    /// Reads the next frame; says whether there was one.
    fn next_frame(&mut self) -> Result<bool, HistoryError> {
        self.at = 0;
        self.lines.clear();
        let read = decode_frame(&mut self.source, &mut self.lines);
        let frame = self.frame;
        self.frame += 1;
        match read {
            Ok(true) if self.lines.len() > MAX_FRAME => Err(HistoryError::HugeFrame { path: self.path.clone(), frame }),
            Ok(more) => Ok(more),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                self.lines.clear();
                self.cut_off = true;
                Ok(false)
            }
            Err(e) => Err(HistoryError::DamagedFrame { path: self.path.clone(), frame, cause: Arc::new(e) }),
        }
    }

    fn next_event(&mut self) -> Result<Option<RunEvent>, HistoryError> {
        let Some((from, to)) = self.next_line()? else { return Ok(None) };
        let event = format::read_event(&self.lines[from..to], self.version).map_err(|cause| HistoryError::BadEvent {
            path: self.path.clone(),
            line: self.line,
            cause: Arc::new(cause),
        })?;
        Ok(Some(event))
    }
}

impl<R: BufRead> Iterator for RecordReader<R> {
    type Item = Result<RunEvent, HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.next_event().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Appends the content of the next frame, at most one byte more than is allowed; false at the end of the source.
fn decode_frame(source: &mut impl BufRead, lines: &mut Vec<u8>) -> std::io::Result<bool> {
    if source.fill_buf()?.is_empty() {
        return Ok(false);
    }
    let mut decoder = Decoder::with_buffer(source)?.single_frame();
    decoder.window_log_max(WINDOW_LOG)?;
    let most = u64::try_from(MAX_FRAME).unwrap_or(u64::MAX);
    (&mut decoder).take(most + 1).read_to_end(lines)?;
    decoder.finish_frame()?;
    Ok(true)
}
