//! The driver protocol: what a shim inside the framework's process and the worker say to each other over a Unix socket.
//!
//! This page is the whole specification; a driver needs nothing of ours but a socket, a mapped file and these bytes.
//!
//! # Start
//! The worker starts the framework's real command with three variables set; the driver reads them, removes them, restores every
//! variable `X` for which `SPLITCI_SAVED_X` exists (and removes that one; a variable that the worker only added, it deletes), and connects once:
//! - `SPLITCI_DRIVER_SOCKET`: path of a Unix stream socket. One connection is accepted, from a descendant of the worker.
//! - `SPLITCI_DRIVER_SLOT`: path of a 16-byte file, to be mapped shared (or written with `pwrite`).
//! - `SPLITCI_DRIVER_SEED`: decimal u64; the seed of the run, for frameworks that take one.
//!
//! Where the worker added a variable to inject the driver, the names are in `SPLITCI_DRIVER_ADDED`, separated by commas.
//!
//! # Messages
//! `u32 length, u8 kind, payload`, little endian; `length` counts kind and payload. `bytes` is `u32 length` and that many bytes. Text is UTF-8;
//! invalid sequences are replaced by the reader. Unknown kinds are skipped.
//!
//! | kind | from | name | payload |
//! |---|---|---|---|
//! | 0x01 | driver | hello | u16 major, u16 minor, u32 pid, u64 seed, bytes framework, bytes version, u32 appetite (since 1.1) |
//! | 0x02 | driver | units | u32 n, n × bytes name |
//! | 0x03 | driver | declared | u32 unit, u32 n, n × bytes id, u32 m or 0xFFFFFFFF for all, m × u32 ordinal (ascending) |
//! | 0x04 | driver | started | u32 unit, u32 ordinal (only for a driver without a slot) |
//! | 0x05 | driver | finished | u32 unit, u32 ordinal, u8 outcome, u64 microseconds, bytes file, u32 line, bytes message, bytes output, bytes details |
//! | 0x06 | driver | unit end | u32 unit, u32 number of finished messages sent for it |
//! | 0x07 | driver | bye | u64 number of finished messages sent in all, i32 framework's exit status, bytes errors outside of any test |
//! | 0x08 | driver | notice | bytes text |
//! | 0x81 | worker | run | u32 n, n × (u32 unit, bytes name, u8 mode, u32 k, k × bytes id, u32 from, u32 until) |
//! | 0x82 | worker | stop | - |
//!
//! `mode`: 0 all tests of the file, 1 only those with the k ids, 2 all but those. Of these, ordinals below `from` and from `until` on (0xFFFFFFFF: no bound)
//! do not run. With bit 7 (0x80) of `mode` set, every finished message of the unit is sent at once: it holds a suspect. An ordinal is the test's place in the list of *all* ids of the file, in the order in which they would run.
//!
//! # Order
//! hello, units, then for each unit given, in order: declared, its finished messages in ascending ordinal, unit end. After stop: bye, and the process
//! ends with the status it named. Finished messages may be buffered: sent at 32 KiB, when the last sending is 50 ms ago, at a unit's end, and
//! at once on a failure. A file that cannot be loaded declares one test, named after the file, with outcome errored and the reason.
//! A name that is not there any more is treated the same way. The driver falls silent in any process whose pid is not that of hello.
//!
//! Bye may come instead of units (nothing can be collected: the errors say why) and before stop (the framework ends itself); what comes after it is
//! not read. One unit is given at a time, the next at its unit end; a driver with an appetite above 1 is given up to as many in one message, when it
//! has none, and works through them in their order. A unit that holds a suspect comes alone. A driver that breaks this order, finishes a test that was not declared and selected, names
//! another sum than arrived, or closes its connection before bye and lives on, is lost: the process is ended.
//!
//! # Slot
//! `u32 unit, u32 ordinal, u64 changes`. Written before each test (its unit and ordinal), before each loading (unit, 0xFFFFFFFF), when there is nothing to run
//! (0xFFFFFFFF, 0xFFFFFFFF) and when the session closes (0xFFFFFFFF, 0xFFFFFFFD); `changes` goes up by one each time. It outlives the process: it is how a culprit is named.

mod codec;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::Version;
use super::message::Slot;
pub use codec::{Decoder, DriverError, Wire};

/// "No bound", "all", "nothing": the largest u32.
pub const NONE: u32 = u32::MAX;
/// Ordinal of a slot whose session closes.
pub const CLOSING: u32 = u32::MAX - 2;
/// Size of the slot file in bytes.
pub const SLOT_SIZE: usize = 16;
/// Longest message accepted from a driver, in bytes.
pub const MAX_MESSAGE: usize = 32 << 20;

/// How a test ended, as the framework says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// Its own assertion or body failed.
    Failed,
    /// Its set-up, tear-down or loading failed.
    Errored,
    /// It was not run, and said so.
    Skipped,
    /// It failed, as expected.
    ExpectedFailure,
    /// It passed though a failure was expected, and that is tolerated.
    UnexpectedPass,
}

impl Outcome {
    const ALL: [Self; 6] = [Self::Passed, Self::Failed, Self::Errored, Self::Skipped, Self::ExpectedFailure, Self::UnexpectedPass];

    /// Its code on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The outcome with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Whether it makes the verdict red.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Errored)
    }
}

/// From the driver to the worker.
#[derive(Debug, Clone, PartialEq)]
pub enum FromDriver {
    /// First message.
    Hello {
        /// Protocol the driver speaks.
        version: Version,
        /// Its process.
        pid: u32,
        /// Seed the framework uses.
        seed: u64,
        /// Framework's name.
        framework: String,
        /// Framework's version.
        framework_version: String,
        /// How many units it takes at a time.
        appetite: u32,
    },
    /// What can be run, in order.
    Units(Vec<String>),
    /// A unit's tests.
    Declared {
        /// Which unit.
        unit: u32,
        /// All ids of its file.
        ids: Vec<String>,
        /// Ordinals that run, or all.
        selected: Option<Vec<u32>>,
    },
    /// A test starts (drivers without a slot).
    Started {
        /// Which unit.
        unit: u32,
        /// Which test.
        ordinal: u32,
    },
    /// A test ended.
    Finished(Finished),
    /// A unit ended.
    UnitEnd {
        /// Which unit.
        unit: u32,
        /// Finished messages sent for it.
        count: u32,
    },
    /// The session ended in order.
    Bye {
        /// Finished messages sent in all.
        count: u64,
        /// Exit status that the process will have.
        status: i32,
        /// Errors outside of any test.
        errors: String,
    },
    /// Something to tell the user.
    Notice(String),
}

/// A finished test on the driver's wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Which unit.
    pub unit: u32,
    /// Which test.
    pub ordinal: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Its duration.
    pub micros: u64,
    /// Where it failed; empty if unknown.
    pub file: String,
    /// Line there, from 1; 0 if unknown.
    pub line: u32,
    /// One line of reason.
    pub message: String,
    /// What it printed.
    pub output: Vec<u8>,
    /// Its trace.
    pub details: Vec<u8>,
}

/// From the worker to the driver.
#[derive(Debug, Clone, PartialEq)]
pub enum ToDriver {
    /// Run these, after those already given.
    Run(Vec<DriverUnit>),
    /// Close the session.
    Stop,
}

/// A unit as the driver sees it: no fence, that is the worker's business.
#[derive(Debug, Clone, PartialEq)]
pub struct DriverUnit {
    /// Its number.
    pub unit: u32,
    /// Its file.
    pub name: String,
    /// Which tests.
    pub select: super::message::Select,
    /// Lowest ordinal.
    pub from: u32,
    /// First ordinal that does not run.
    pub until: Option<u32>,
    /// Send every finished message at once.
    pub careful: bool,
}

/// What the slot's bytes mean.
pub fn read_slot(bytes: &[u8; SLOT_SIZE]) -> (Slot, u64) {
    let [u0, u1, u2, u3, o0, o1, o2, o3, changes @ ..] = *bytes;
    let unit = u32::from_le_bytes([u0, u1, u2, u3]);
    let ordinal = u32::from_le_bytes([o0, o1, o2, o3]);
    let slot = match (unit, ordinal) {
        (NONE, CLOSING) => Slot::Closing,
        (NONE, _) => Slot::Idle,
        (unit, NONE) => Slot::Loading { unit },
        (unit, ordinal) => Slot::Test { unit, ordinal },
    };
    (slot, u64::from_le_bytes(changes))
}
