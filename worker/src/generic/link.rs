//! The line to the worker: its socket, its slot, and the variables that name them. See `protocol::driver`.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::{Signal, getpid, kill_process};

use super::GenericError;
use crate::protocol::VERSION;
use crate::protocol::driver::{CLOSING, Decoder, DriverError, FromDriver, NONE, ToDriver, Wire};

/// The line is broken.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket or the slot fails.
    #[error("cannot speak to the worker")]
    Io(#[from] std::io::Error),
    /// The worker hung up.
    #[error("the worker hung up")]
    Closed,
    /// It sends something else.
    #[error("the worker does not speak the driver protocol")]
    Bytes(#[from] DriverError),
}

/// The variables of `protocol::driver`, which no command inherits.
pub(super) const OWN: &[&str] = &["SPLITCI_DRIVER_", "SPLITCI_SAVED_"];

/// A variable that the worker sets.
pub(super) fn variable(name: &'static str) -> Result<std::ffi::OsString, GenericError> {
    std::env::vars_os().find(|(found, _)| found == name).map(|(_, value)| value).ok_or(GenericError::Variable(name))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    slot: fs_err::File,
    changes: u64,
    decoder: Decoder,
    outgoing: Vec<u8>,
    seed: u64,
}

impl Link {
    /// Dials the worker and says hello.
    pub(super) fn open(tool: &str, appetite: u32) -> Result<Self, GenericError> {
        let socket = UnixStream::connect(PathBuf::from(variable("SPLITCI_DRIVER_SOCKET")?)).map_err(LinkError::from)?;
        let slot = fs_err::OpenOptions::new().write(true).open(PathBuf::from(variable("SPLITCI_DRIVER_SLOT")?)).map_err(LinkError::from)?;
        let seed = variable("SPLITCI_DRIVER_SEED")?.to_string_lossy().parse().unwrap_or(0);
        let mut link = Self { socket, slot, changes: 0, decoder: Decoder::default(), outgoing: Vec::new(), seed };
        let hello = FromDriver::Hello {
            version: VERSION,
            pid: std::process::id(),
            seed,
            framework: tool.to_owned(),
            framework_version: String::new(),
            appetite,
        };
        link.send(&hello)?;
        Ok(link)
    }

    /// The seed of the run.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The worker's next word.
    pub(super) fn next(&mut self) -> Result<ToDriver, LinkError> {
        let mut buffer = [0; 1 << 14];
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(message);
            }
            match self.socket.read(&mut buffer)? {
                0 => return Err(LinkError::Closed),
                n => self.decoder.push(&buffer[..n]),
            }
        }
    }

    /// Keeps a message for the next sending.
    pub(super) fn queue(&mut self, message: &FromDriver) {
        message.encode(&mut self.outgoing);
    }

    /// Sends what was kept, and this.
    pub(super) fn send(&mut self, message: &FromDriver) -> Result<(), LinkError> {
        message.encode(&mut self.outgoing);
        self.socket.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// What runs now is this unit; of its tests nothing is known before the command's end.
    pub(super) fn loading(&mut self, unit: u32) -> Result<(), LinkError> {
        self.mark(unit, NONE)
    }

    /// Nothing runs now.
    pub(super) fn idle(&mut self) -> Result<(), LinkError> {
        self.mark(NONE, NONE)
    }

    /// The session closes.
    pub(super) fn closing(&mut self) -> Result<(), LinkError> {
        self.mark(NONE, CLOSING)
    }

    fn mark(&mut self, unit: u32, ordinal: u32) -> Result<(), LinkError> {
        self.changes += 1;
        let bytes = [&unit.to_le_bytes()[..], &ordinal.to_le_bytes(), &self.changes.to_le_bytes()].concat();
        Ok(self.slot.file().write_all_at(&bytes, 0)?)
    }
}

/// Ends this process as its command ended: by a signal. What was said before has been sent.
pub(super) fn die_by(signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // Twice: Rust's runtime hears a segmentation fault first, finds that it is none of its own, and leaves the next one to the system.
        kill_process(getpid(), signal).and_then(|()| kill_process(getpid(), signal)).ok();
    }
    // One that does not end a process: nothing but this ends as surely.
    kill_process(getpid(), Signal::KILL).ok();
}
