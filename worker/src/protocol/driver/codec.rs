//! The bytes of the driver protocol: messages to bytes and back, for both directions.
//!
//! The decoder is a buffer and no I/O. What it reads may come from the code under test, so it trusts no length: nothing is
//! reserved before the bytes are there, a message is at most `MAX_MESSAGE` long, and arbitrary bytes give an error, never a panic.
//! Bytes behind the known fields of a message are ignored (a newer minor may add fields), and so are unknown kinds.

use super::super::Version;
use super::super::message::Select;
use super::{DriverUnit, Finished, FromDriver, MAX_MESSAGE, NONE, Outcome, ToDriver};

const HELLO: u8 = 0x01;
const UNITS: u8 = 0x02;
const DECLARED: u8 = 0x03;
const STARTED: u8 = 0x04;
const FINISHED: u8 = 0x05;
const UNIT_END: u8 = 0x06;
const BYE: u8 = 0x07;
const NOTICE: u8 = 0x08;
const RUN: u8 = 0x81;
const STOP: u8 = 0x82;

/// Bit of a run's mode: send every finished message at once.
const CAREFUL: u8 = 0x80;

/// Why bytes are not a driver's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The length is impossible: the stream carries something else.
    #[error("a message claims {0} bytes; the connection does not carry the driver protocol")]
    Length(u32),
    /// The payload ends before its fields do.
    #[error("a message of kind {0:#04x} ends before its fields do")]
    Short(u8),
    /// An outcome that nobody knows.
    #[error("a finished message has the unknown outcome {0}")]
    Outcome(u8),
    /// A selection mode that nobody knows.
    #[error("a run message has the unknown mode {0}")]
    Mode(u8),
}

/// One direction of the protocol.
pub trait Wire: Sized {
    /// Appends the message to `out`.
    fn encode(&self, out: &mut Vec<u8>);
    /// The message of this kind and payload; `None` for a kind that is not known.
    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, DriverError>;
}

/// Cuts messages out of a byte stream.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes in bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            // Whole messages have been taken out before more is read, so what moves is at most one begun message.
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one. After an error the stream is lost: it cannot be found again.
    #[expect(clippy::should_implement_trait, reason = "it is generic in what it gives and can fail, which no iterator can be")]
    pub fn next<M: Wire>(&mut self) -> Result<Option<M>, DriverError> {
        loop {
            let rest = &self.buffer[self.start..];
            let Some((head, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_le_bytes(*head);
            let whole = usize::try_from(length).unwrap_or(usize::MAX);
            if length == 0 || whole > MAX_MESSAGE {
                return Err(DriverError::Length(length));
            }
            let Some((kind, payload)) = rest.get(..whole).and_then(<[u8]>::split_first) else { return Ok(None) };
            self.start += 4 + whole;
            if let Some(message) = M::decode(*kind, payload)? {
                return Ok(Some(message));
            }
        }
    }
}

impl Wire for FromDriver {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version, pid, seed, framework, framework_version, appetite } => Writer::begin(out, HELLO)
                .raw(&version.major.to_le_bytes())
                .raw(&version.minor.to_le_bytes())
                .u32(*pid)
                .raw(&seed.to_le_bytes())
                .bytes(framework.as_bytes())
                .bytes(framework_version.as_bytes())
                .u32(*appetite),
            Self::Units(names) => Writer::begin(out, UNITS).list(names),
            Self::Declared { unit, ids, selected } => {
                let writer = Writer::begin(out, DECLARED).u32(*unit).list(ids);
                match selected {
                    None => writer.u32(NONE),
                    Some(ordinals) => ordinals.iter().fold(writer.u32(count(ordinals.len())), |writer, ordinal| writer.u32(*ordinal)),
                }
            }
            Self::Started { unit, ordinal } => Writer::begin(out, STARTED).u32(*unit).u32(*ordinal),
            Self::Finished(test) => Writer::begin(out, FINISHED)
                .u32(test.unit)
                .u32(test.ordinal)
                .raw(&[test.outcome.code()])
                .raw(&test.micros.to_le_bytes())
                .bytes(test.file.as_bytes())
                .u32(test.line)
                .bytes(test.message.as_bytes())
                .bytes(&test.output)
                .bytes(&test.details),
            Self::UnitEnd { unit, count } => Writer::begin(out, UNIT_END).u32(*unit).u32(*count),
            Self::Bye { count, status, errors } => {
                Writer::begin(out, BYE).raw(&count.to_le_bytes()).raw(&status.to_le_bytes()).bytes(errors.as_bytes())
            }
            Self::Notice(text) => Writer::begin(out, NOTICE).bytes(text.as_bytes()),
        }
        .end();
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, DriverError> {
        let mut read = Reader { kind, rest: payload };
        Ok(Some(match kind {
            HELLO => Self::Hello {
                version: Version { major: u16::from_le_bytes(read.array()?), minor: u16::from_le_bytes(read.array()?) },
                pid: read.u32()?,
                seed: read.u64()?,
                framework: read.text()?,
                framework_version: read.text()?,
                // Drivers of 1.0 do not say.
                appetite: if read.rest.is_empty() { 1 } else { read.u32()? },
            },
            UNITS => Self::Units(read.list()?),
            DECLARED => Self::Declared { unit: read.u32()?, ids: read.list()?, selected: read.ordinals()? },
            STARTED => Self::Started { unit: read.u32()?, ordinal: read.u32()? },
            FINISHED => Self::Finished(read.finished()?),
            UNIT_END => Self::UnitEnd { unit: read.u32()?, count: read.u32()? },
            BYE => Self::Bye { count: read.u64()?, status: i32::from_le_bytes(read.array()?), errors: read.text()? },
            NOTICE => Self::Notice(read.text()?),
            _ => return Ok(None),
        }))
    }
}

impl Wire for ToDriver {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Run(units) => units.iter().fold(Writer::begin(out, RUN).u32(count(units.len())), Writer::unit),
            Self::Stop => Writer::begin(out, STOP),
        }
        .end();
    }

    fn decode(kind: u8, payload: &[u8]) -> Result<Option<Self>, DriverError> {
        let mut read = Reader { kind, rest: payload };
        match kind {
            RUN => {
                let n = read.u32()?;
                let units: Result<_, _> = (0..n).map(|_| read.unit()).collect();
                Ok(Some(Self::Run(units?)))
            }
            STOP => Ok(Some(Self::Stop)),
            _ => Ok(None),
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Appends one message; `end` writes its length in front.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self { out, start }
    }

    fn raw(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    fn u32(self, n: u32) -> Self {
        self.raw(&n.to_le_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.u32(count(bytes.len())).raw(bytes)
    }

    fn list(self, items: &[String]) -> Self {
        items.iter().fold(self.u32(count(items.len())), |writer, item| writer.bytes(item.as_bytes()))
    }

    fn unit(self, unit: &DriverUnit) -> Self {
        let (mode, ids): (u8, &[String]) = match &unit.select {
            Select::All => (0, &[]),
            Select::Only(ids) => (1, ids),
            Select::Except(ids) => (2, ids),
        };
        let mode = if unit.careful { mode | CAREFUL } else { mode };
        self.u32(unit.unit).bytes(unit.name.as_bytes()).raw(&[mode]).list(ids).u32(unit.from).u32(unit.until.unwrap_or(NONE))
    }

    fn end(self) {
        let length = count(self.out.len() - self.start - 4);
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Takes fields off the front of a payload.
struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DriverError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(DriverError::Short(self.kind))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, DriverError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DriverError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&[u8], DriverError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(DriverError::Short(self.kind))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String, DriverError> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    // Collecting through `Result` reserves nothing for the claimed number: the first missing item ends it.
    fn list(&mut self) -> Result<Vec<String>, DriverError> {
        let n = self.u32()?;
        (0..n).map(|_| self.text()).collect()
    }

    fn ordinals(&mut self) -> Result<Option<Vec<u32>>, DriverError> {
        match self.u32()? {
            NONE => Ok(None),
            n => (0..n).map(|_| self.u32()).collect::<Result<_, _>>().map(Some),
        }
    }

    fn finished(&mut self) -> Result<Finished, DriverError> {
        Ok(Finished {
            unit: self.u32()?,
            ordinal: self.u32()?,
            outcome: {
                let [code] = self.array()?;
                Outcome::from_code(code).ok_or(DriverError::Outcome(code))?
            },
            micros: self.u64()?,
            file: self.text()?,
            line: self.u32()?,
            message: self.text()?,
            output: self.bytes()?.to_vec(),
            details: self.bytes()?.to_vec(),
        })
    }

    fn unit(&mut self) -> Result<DriverUnit, DriverError> {
        let (unit, name, [mode], ids) = (self.u32()?, self.text()?, self.array()?, self.list()?);
        let select = match mode & !CAREFUL {
            0 => Select::All,
            1 => Select::Only(ids),
            2 => Select::Except(ids),
            unknown => return Err(DriverError::Mode(unknown)),
        };
        let (from, until) = (self.u32()?, Some(self.u32()?).filter(|until| *until != NONE));
        Ok(DriverUnit { unit, name, select, from, until, careful: mode & CAREFUL != 0 })
    }
}
