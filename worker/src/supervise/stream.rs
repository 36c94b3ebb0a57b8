//! Non-blocking reading and writing: what was read from one descriptor, and bytes on their way to another.
//!
//! `Outbox` is the bound on memory: who fills it asks `is_full` and stops reading its own sources until `has_room`. Bytes once put in are
//! never dropped, so it may exceed its mark by what one input brought.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Stop reading other sources when so much waits.
const HIGH: usize = 1 << 20;
/// Go on once no more than this waits.
const LOW: usize = 256 << 10;

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Some(usize),
    /// Nothing for now.
    Nothing,
    /// Nothing any more.
    End,
}

/// Reads once.
pub(super) fn read(from: impl AsFd, buffer: &mut [u8]) -> Read {
    match rustix::io::read(from, buffer) {
        Ok(0) => Read::End,
        Ok(n) => Read::Some(n),
        Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
        Err(_) => Read::End,
    }
}

/// Bytes that wait for their reader.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    full: bool,
}

/// The reader is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReaderGone;

impl Outbox {
    /// Where to append.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Whether to stop filling: from the high mark on until it has fallen to the low one.
    pub(super) fn is_full(&mut self) -> bool {
        let waiting = self.bytes.len() - self.sent;
        self.full = if self.full { waiting > LOW } else { waiting > HIGH };
        self.full
    }

    /// Writes what the descriptor takes.
    pub(super) fn flush(&mut self, to: impl AsFd) -> Result<(), ReaderGone> {
        while self.sent < self.bytes.len() {
            match rustix::io::write(&to, &self.bytes[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(ReaderGone),
            }
        }
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(HIGH);
            self.sent = 0;
        } else if self.sent > HIGH {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

/// When a pipe that brings little is read again: a framework that prints a dot a test must not cost a wake-up and a frame a test.
///
/// The first piece after a quiet time is read at once; the more small pieces follow, the longer the rest. Much at once ends it, since a pipe that
/// fills up while we rest would hold the framework up.
#[derive(Debug, Default)]
pub(super) struct Rest {
    due: u64,
    ms: u64,
}

impl Rest {
    const SHORTEST: u64 = 5;
    const LONGEST: u64 = 50;
    const MUCH: usize = 4 << 10;

    /// Not to be read before this time.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    /// So many bytes were read; `more` says that the buffer was too small for all there was.
    pub(super) fn after(&mut self, now: u64, bytes: usize, more: bool) {
        let quiet = now > self.due + Self::LONGEST;
        self.ms = if quiet || bytes >= Self::MUCH { Self::SHORTEST } else { (self.ms * 2).clamp(Self::SHORTEST, Self::LONGEST) };
        self.due = if more { now } else { now + self.ms };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_reader_does_not_take_waits_in_order() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("non-blocking");
        rustix::io::ioctl_fionbio(&reader, true).expect("non-blocking");
        let mut outbox = Outbox::default();
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        outbox.tail().extend_from_slice(&sent);
        assert!(outbox.is_full());
        let mut seen = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while !outbox.is_empty() {
            outbox.flush(&writer).expect("a reader");
            while let Read::Some(n) = read(&reader, &mut buffer) {
                seen.extend_from_slice(&buffer[..n]);
            }
        }
        assert!(!outbox.is_full());
        assert!(seen == sent);
    }

    #[test]
    fn a_reader_that_left_is_told_of() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let mut outbox = Outbox::default();
        outbox.tail().push(1);
        assert_eq!(outbox.flush(&writer), Err(ReaderGone));
    }

    #[test]
    fn small_pieces_are_read_ever_less_often_and_much_at_once() {
        let mut rest = Rest::default();
        let mut now = 1000;
        let mut dues = Vec::new();
        for _ in 0..6 {
            rest.after(now, 1, false);
            dues.push(rest.due() - now);
            now = rest.due();
        }
        assert_eq!(dues, [5, 10, 20, 40, 50, 50]);
        rest.after(now, 1 << 16, true);
        assert_eq!(rest.due(), now);
        rest.after(now, 5000, false);
        assert_eq!(rest.due(), now + 5);
        rest.after(now + 500, 1, false);
        assert_eq!(rest.due(), now + 505, "a quiet time starts anew");
    }
}
