//! The record's format: JSON Lines in zstd frames.
//!
//! A record is a sequence of zstd frames with checksums; `zstdcat` shows it. Each frame holds whole lines, at most [`MAX_FRAME`] bytes of them. The
//! first line is the header, `{"splitci-record":{"major":2,"minor":1}}`; every other line is one event as `model::event` has it, in the order of
//! their numbers, which begin at 0 and have no gaps:
//!
//! ```json
//! {"seq":17,"at_ms":2041,"event":{"unit_finished":{"unit":3,"fence":9}}}
//! ```
//!
//! A record that ends within a frame, or whose last event is not `run_finished`, is that of a run that was killed: what was flushed counts.
//! 2.1 has files that are reused and canaries. Whoever knows 2.0 alone finds files that are in no plan, and no proof.
//!
//! A reader refuses another major. A newer minor may add fields, which are ignored, and kinds of events, which become notices with the same number.

use serde::{Deserialize, Serialize};

use crate::model::event::{EventKind, RunEvent};

/// The version that is written.
pub const VERSION: RecordVersion = RecordVersion { major: 2, minor: 1 };

/// How names of records end.
pub const EXTENSION: &str = "splitci";

/// Most bytes of lines in a frame. A writer stays far below; a reader takes more for an attack.
pub const MAX_FRAME: usize = 128 << 20;

/// Version of a record: another major cannot be read, another minor can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordVersion {
    /// Changes when an old reader would misunderstand.
    pub major: u16,
    /// Changes when something is added.
    pub minor: u16,
}

impl std::fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    #[serde(rename = "splitci-record")]
    version: RecordVersion,
}

/// As much of an event as every version has.
#[derive(Debug, Deserialize)]
struct Outline {
    seq: u64,
    at_ms: u64,
}

/// The header's line, with its end.
pub fn header() -> Vec<u8> {
    let mut line = Vec::new();
    put(&Header { version: VERSION }, &mut line);
    line
}

/// The version that a header's line names; nothing if it is no header.
pub fn read_header(line: &[u8]) -> Option<RecordVersion> {
    serde_json::from_slice::<Header>(line).ok().map(|header| header.version)
}

/// Appends an event's line, with its end. The same bytes stand in the record and come out of `--json`.
pub fn put_event(event: &RunEvent, out: &mut Vec<u8>) {
    put(event, out);
}

/// The event on a line of a record of this version.
pub fn read_event(line: &[u8], version: RecordVersion) -> Result<RunEvent, serde_json::Error> {
    serde_json::from_slice(line).or_else(|wrong| {
        if version <= VERSION {
            return Err(wrong);
        }
        let Outline { seq, at_ms } = serde_json::from_slice(line).map_err(|_| wrong)?;
        let text = format!("an event of record format {version} was skipped: this splitci knows {VERSION}");
        Ok(RunEvent { seq, at_ms, kind: EventKind::Notice { session: None, text } })
    })
}

fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    #[expect(clippy::expect_used, reason = "plain data with string keys, written to memory, always serialises")]
    serde_json::to_writer(&mut *out, value).expect("events serialise");
    out.push(b'\n');
}
