//! Reports: what a run's events say, for people and for machines. Everything here returns text and writes nothing.
//!
//! One fold, the [`Account`], takes the events in, live or from a record; [`summary`], [`junit`], [`json`], [`markdown`] and [`code_quality`] put it into words. The same events give
//! the same bytes, whenever and wherever: no clock, no locale, no width but the one that is given. What has no proof never looks like a pass.

mod account;
pub mod code_quality;
pub mod failed;
pub mod findings;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod row;
pub mod summary;
mod words;

pub use account::{Account, Depth, Image, Shard, Texts};
pub use words::signal;

use crate::history::format;
use crate::model::event::RunEvent;

/// An event as a line, with its end: what `--json` prints, and what stands in the record.
pub fn event_line(event: &RunEvent) -> Vec<u8> {
    let mut line = Vec::new();
    format::put_event(event, &mut line);
    line
}
#[cfg(test)]
mod tests;
