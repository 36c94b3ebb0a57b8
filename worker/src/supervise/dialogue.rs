//! The conversation with one driver: what it may say when, what of it goes on to the agent, and which unit it is given next.
//!
//! Bytes come in, effects come out. The driver is given one unit at a time, or as many as it asked for, so the rest of the queue stays known to be untouched. Every
//! claim is checked against what was declared and counted here; the first that does not hold is a `Violation`, and the driver is not
//! heard again. Fences are added here: the driver knows none. After bye nothing is read. No clock, no process: see `session`.

use std::collections::VecDeque;

use super::machine::Effect;
use super::output::{cap, shorten};
use crate::protocol::driver::{Decoder, DriverError, DriverUnit, Finished, FromDriver, ToDriver, Wire};
use crate::protocol::frame::MAX_FRAME;
use crate::protocol::message::{FinishedTest, FromWorker, RunUnit, SessionNumber};
use crate::protocol::{VERSION, Version};

/// A batch is sent on when its blob is this long, so that a frame stays far below the limit.
const BATCH: usize = 8 << 20;
/// Longest list of names that goes on, in bytes as JSON writes them: a frame has a limit, and one that exceeds it would end the whole shard.
const MAX_NAMES: usize = MAX_FRAME - (1 << 20);
/// Longest reason, file, or notice that goes on, in bytes.
const MAX_LINE: usize = 16 << 10;
/// Longest text about errors outside of tests that goes on, in bytes.
const MAX_ERRORS: usize = 1 << 20;

/// How a driver broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// Not even messages.
    #[error("the driver sent what is no message")]
    Bytes(#[from] DriverError),
    /// Another major version.
    #[error("the driver speaks protocol {0}, this worker speaks {VERSION}")]
    Version(Version),
    /// A message that has no place here.
    #[error("the driver sent `{0}` where that is not allowed")]
    Order(&'static str),
    /// A list too long to hand on.
    #[error("the driver sent a list of names that needs {0} bytes; {MAX_NAMES} go into a frame")]
    Names(usize),
    /// Something about a unit that does not run.
    #[error("the driver spoke of unit {said} while {current} runs")]
    Unit { said: u32, current: Current },
    /// A selection that is not a subset in order.
    #[error("the driver selected ordinal {ordinal} of unit {unit}, which is out of order or not one of its {tests} tests")]
    Selected { unit: u32, ordinal: u32, tests: usize },
    /// A test that is not one of the unit's.
    #[error("the driver finished test {ordinal} of unit {unit}, which is not among its declared and selected tests")]
    Undeclared { unit: u32, ordinal: u32 },
    /// A test twice, or before an earlier one.
    #[error("the driver finished test {ordinal} of unit {unit} after test {last}")]
    NotAscending { unit: u32, ordinal: u32, last: u32 },
    /// A unit's sum is wrong.
    #[error("the driver says it finished {said} tests of unit {unit}, {seen} arrived")]
    UnitCount { unit: u32, said: u32, seen: u32 },
    /// The session's sum is wrong.
    #[error("the driver says it finished {said} tests in all, {seen} arrived")]
    Count { said: u64, seen: u64 },
}

/// The number of a unit, or that there is none, in a `Violation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Current(Option<u32>);

impl std::fmt::Display for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(unit) => write!(f, "unit {unit}"),
            None => f.write_str("none"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Listing,
    Serving,
    Parted,
}

/// The unit that the driver has.
#[derive(Debug)]
struct Held {
    unit: u32,
    fence: u64,
    declared: Option<Declared>,
    last: Option<u32>,
    count: u32,
}

#[derive(Debug)]
struct Declared {
    tests: usize,
    selected: Option<Vec<u32>>,
}

/// What the driver's words changed that the clocks depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It listed its units.
    Ready,
    /// It was given a unit.
    Given,
    /// It says that it starts this test.
    Started { unit: u32, ordinal: u32 },
    /// It ended its unit and has none.
    Idle,
    /// It said bye.
    Parted,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Dialogue {
    session: SessionNumber,
    born: u64,
    test_output: u64,
    stage: Stage,
    hello: Option<(String, String, u64, u32)>,
    decoder: Decoder,
    appetite: usize,
    waiting: VecDeque<RunUnit>,
    /// What the driver has; it works at the first.
    held: VecDeque<Held>,
    total: u64,
    closing: bool,
    stopped: bool,
    tests: Vec<FinishedTest>,
    blob: Vec<u8>,
}

impl Dialogue {
    pub(super) fn new(session: SessionNumber, born: u64, test_output: u64) -> Self {
        Self {
            session,
            born,
            test_output,
            stage: Stage::Greeting,
            hello: None,
            decoder: Decoder::default(),
            appetite: 1,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            total: 0,
            closing: false,
            stopped: false,
            tests: Vec::new(),
            blob: Vec::new(),
        }
    }

    /// Whether the driver said hello.
    pub(super) fn greeted(&self) -> bool {
        self.stage != Stage::Greeting
    }

    /// Whether it listed its units.
    pub(super) fn ready(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Parted)
    }

    /// Whether it said bye.
    pub(super) fn parted(&self) -> bool {
        self.stage == Stage::Parted
    }

    /// Whether it has a unit to run.
    pub(super) fn busy(&self) -> bool {
        !self.held.is_empty() && self.stage == Stage::Serving
    }

    /// Whether it was told to close, or gets nothing more because it is being ended.
    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// It is being ended: it gets no further unit, and what it still says counts.
    pub(super) fn hold(&mut self) {
        self.stopped = true;
    }

    /// A connection ended before its hello: what it sent is forgotten.
    pub(super) fn forget(&mut self) {
        self.decoder = Decoder::default();
    }

    /// Further units to run. Gives `Turn::Given` if one was handed over at once.
    pub(super) fn queue(&mut self, units: Vec<RunUnit>, out: &mut Vec<Effect>) -> Option<Turn> {
        self.waiting.extend(units);
        self.hand_over(out)
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self, out: &mut Vec<Effect>) {
        self.closing = true;
        self.hand_over(out);
    }

    /// Hears the driver. Whatever was understood before a violation counts.
    pub(super) fn hear(&mut self, now: u64, bytes: &[u8], out: &mut Vec<Effect>, turns: &mut Vec<Turn>) -> Result<(), Violation> {
        if self.parted() {
            return Ok(());
        }
        self.decoder.push(bytes);
        let heard = self.hear_all(now, out, turns);
        self.flush(out);
        heard
    }

    fn hear_all(&mut self, now: u64, out: &mut Vec<Effect>, turns: &mut Vec<Turn>) -> Result<(), Violation> {
        while !self.parted() {
            let Some(message) = self.decoder.next::<FromDriver>()? else { break };
            match message {
                FromDriver::Finished(test) => self.finished(test, out)?,
                other => {
                    // What goes on to the agent keeps the driver's order.
                    self.flush(out);
                    let turn = self.hear_one(now, other, out)?;
                    turns.extend(turn);
                }
            }
        }
        Ok(())
    }

    fn hear_one(&mut self, now: u64, message: FromDriver, out: &mut Vec<Effect>) -> Result<Option<Turn>, Violation> {
        match message {
            FromDriver::Hello { version, pid, seed, framework, framework_version, appetite } => {
                self.expect_stage(Stage::Greeting, "hello")?;
                if version.major != VERSION.major {
                    return Err(Violation::Version(version));
                }
                self.stage = Stage::Listing;
                self.appetite = usize::try_from(appetite).unwrap_or(usize::MAX).max(1);
                self.hello = Some((shorten(framework, MAX_LINE), shorten(framework_version, MAX_LINE), seed, pid));
                Ok(None)
            }
            FromDriver::Units(units) => self.listed(now, units, out).map(Some),
            FromDriver::Declared { unit, ids, selected } => self.declared(unit, ids, selected, out).map(|()| None),
            FromDriver::Started { unit, ordinal } => {
                self.held(unit, "started")?;
                Ok(Some(Turn::Started { unit, ordinal }))
            }
            FromDriver::Finished(test) => self.finished(test, out).map(|()| None),
            FromDriver::UnitEnd { unit, count } => self.unit_end(unit, count, out).map(Some),
            FromDriver::Bye { count, status, errors } => self.bye(count, status, errors, out).map(Some),
            FromDriver::Notice(text) => {
                out.push(Effect::send(FromWorker::Notice { session: self.session, text: shorten(text, MAX_LINE) }));
                Ok(None)
            }
        }
    }

    fn expect_stage(&self, stage: Stage, message: &'static str) -> Result<(), Violation> {
        if self.stage == stage { Ok(()) } else { Err(Violation::Order(message)) }
    }

    fn held(&mut self, unit: u32, message: &'static str) -> Result<&mut Held, Violation> {
        self.expect_stage(Stage::Serving, message)?;
        let current = Current(self.held.front().map(|held| held.unit));
        self.held.front_mut().filter(|held| held.unit == unit).ok_or(Violation::Unit { said: unit, current })
    }

    fn listed(&mut self, now: u64, units: Vec<String>, out: &mut Vec<Effect>) -> Result<Turn, Violation> {
        self.expect_stage(Stage::Listing, "units")?;
        check_size(&units)?;
        let Some((framework, version, seed, pid)) = self.hello.take() else { return Err(Violation::Order("units")) };
        self.stage = Stage::Serving;
        let boot_ms = now.saturating_sub(self.born);
        out.push(Effect::send(FromWorker::Ready { session: self.session, framework, version, seed, pid, boot_ms, units }));
        self.hand_over(out);
        Ok(Turn::Ready)
    }

    fn declared(&mut self, unit: u32, ids: Vec<String>, selected: Option<Vec<u32>>, out: &mut Vec<Effect>) -> Result<(), Violation> {
        let session = self.session;
        check_size(&ids)?;
        let held = self.held(unit, "declared")?;
        if held.declared.is_some() {
            return Err(Violation::Order("declared"));
        }
        check_selected(unit, ids.len(), selected.as_deref().unwrap_or_default())?;
        held.declared = Some(Declared { tests: ids.len(), selected: selected.clone() });
        let fence = held.fence;
        out.push(Effect::send(FromWorker::Declared { session, unit, fence, ids, selected }));
        Ok(())
    }

    fn finished(&mut self, test: Finished, out: &mut Vec<Effect>) -> Result<(), Violation> {
        let held = self.held(test.unit, "finished")?;
        held.finish(test.ordinal)?;
        let fence = held.fence;
        self.total += 1;
        let before = self.blob.len();
        cap(&test.output, self.test_output, &mut self.blob);
        let middle = self.blob.len();
        cap(&test.details, self.test_output, &mut self.blob);
        self.tests.push(FinishedTest {
            unit: test.unit,
            fence,
            ordinal: test.ordinal,
            outcome: test.outcome,
            micros: test.micros,
            file: shorten(test.file, MAX_LINE),
            line: test.line,
            message: shorten(test.message, MAX_LINE),
            output: length(middle - before),
            details: length(self.blob.len() - middle),
        });
        if self.blob.len() >= BATCH {
            self.flush(out);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Effect>) {
        if !self.tests.is_empty() {
            let tests = std::mem::take(&mut self.tests);
            out.push(Effect::Send(FromWorker::Finished { session: self.session, tests }, std::mem::take(&mut self.blob)));
        }
    }

    fn unit_end(&mut self, unit: u32, count: u32, out: &mut Vec<Effect>) -> Result<Turn, Violation> {
        let session = self.session;
        let held = self.held(unit, "unit end")?;
        if held.declared.is_none() {
            return Err(Violation::Order("unit end"));
        }
        if held.count != count {
            return Err(Violation::UnitCount { unit, said: count, seen: held.count });
        }
        let fence = held.fence;
        out.push(Effect::send(FromWorker::UnitEnd { session, unit, fence, count }));
        self.held.pop_front();
        if self.held.is_empty() {
            return Ok(self.hand_over(out).unwrap_or(Turn::Idle));
        }
        Ok(Turn::Given)
    }

    fn bye(&mut self, count: u64, status: i32, errors: String, out: &mut Vec<Effect>) -> Result<Turn, Violation> {
        // Bye instead of a list of units is in order: a framework that cannot collect says so in its errors.
        if self.stage == Stage::Greeting {
            return Err(Violation::Order("bye"));
        }
        if count != self.total {
            return Err(Violation::Count { said: count, seen: self.total });
        }
        self.stage = Stage::Parted;
        out.push(Effect::send(FromWorker::Bye { session: self.session, count, status, errors: shorten(errors, MAX_ERRORS) }));
        Ok(Turn::Parted)
    }

    fn hand_over(&mut self, out: &mut Vec<Effect>) -> Option<Turn> {
        if self.stage != Stage::Serving || !self.held.is_empty() || self.stopped {
            return None;
        }
        let mut bytes = Vec::new();
        let mut given = Vec::new();
        while let Some(next) = self.waiting.pop_front_if(|next| given.is_empty() || !next.careful) {
            self.held.push_back(Held { unit: next.unit, fence: next.fence, declared: None, last: None, count: 0 });
            let RunUnit { unit, name, select, from, until, careful, .. } = next;
            given.push(DriverUnit { unit, name, select, from, until, careful });
            if careful || given.len() >= self.appetite {
                break;
            }
        }
        let turn = if !given.is_empty() {
            ToDriver::Run(given).encode(&mut bytes);
            Some(Turn::Given)
        } else if self.closing {
            self.stopped = true;
            ToDriver::Stop.encode(&mut bytes);
            None
        } else {
            return None;
        };
        out.push(Effect::Write(bytes));
        turn
    }
}

impl Held {
    fn finish(&mut self, ordinal: u32) -> Result<(), Violation> {
        let unit = self.unit;
        let declared = self.declared.as_ref().ok_or(Violation::Order("finished"))?;
        if !declared.has(ordinal) {
            return Err(Violation::Undeclared { unit, ordinal });
        }
        if let Some(last) = self.last.filter(|last| *last >= ordinal) {
            return Err(Violation::NotAscending { unit, ordinal, last });
        }
        self.last = Some(ordinal);
        self.count += 1;
        Ok(())
    }
}

impl Declared {
    fn has(&self, ordinal: u32) -> bool {
        let known = usize::try_from(ordinal).is_ok_and(|ordinal| ordinal < self.tests);
        known && self.selected.as_ref().is_none_or(|selected| selected.binary_search(&ordinal).is_ok())
    }
}

fn check_selected(unit: u32, tests: usize, selected: &[u32]) -> Result<(), Violation> {
    let mut next = 0;
    for &ordinal in selected {
        if ordinal < next || usize::try_from(ordinal).is_ok_and(|ordinal| ordinal >= tests) {
            return Err(Violation::Selected { unit, ordinal, tests });
        }
        next = ordinal + 1;
    }
    Ok(())
}

fn check_size(names: &[String]) -> Result<(), Violation> {
    let size: usize = names.iter().map(|name| name.bytes().map(written).sum::<usize>() + 3).sum();
    if size > MAX_NAMES { Err(Violation::Names(size)) } else { Ok(()) }
}

/// Bytes that JSON needs for one.
fn written(byte: u8) -> usize {
    match byte {
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_names_is_what_json_needs_for_them() {
        let names: Vec<String> = ["plain", "\u{1}\n\t", "a\"b\\c", "é"].map(String::from).to_vec();
        let json = serde_json::to_string(&names).expect("written").len();
        let size: usize = names.iter().map(|name| name.bytes().map(written).sum::<usize>() + 3).sum();
        assert!((json..json + 20).contains(&size), "{size} for {json}");
    }

    #[test]
    fn names_that_fit_into_a_message_but_not_into_a_frame_are_a_violation() {
        assert_eq!(check_size(&["\u{1}".repeat(1 << 20)]), Ok(()));
        assert!(matches!(check_size(&["\u{1}".repeat(11 << 20)]), Err(Violation::Names(_))));
    }
}
