//! Results as tools write them, read into one shape. Pure: a text in, cases out.
//!
//! A reader decides one thing: whether the text is whole. One that ends before it should, or that counts more than it shows, is an error and
//! gives no cases: half a report proves nothing. What cases mean for units is `judge`'s.

mod go;
mod json;
mod junit;
mod libtest;
mod tap;

use crate::protocol::driver::Outcome;
use crate::protocol::recipe::Results;

/// One test as a tool tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// The file that it is of, as the tool says it.
    pub(super) file: Option<String>,
    /// What groups it: a class, a package.
    pub(super) class: String,
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// 0 if the tool does not say.
    pub(super) micros: u64,
    pub(super) at_file: String,
    pub(super) at_line: u32,
    /// One line of reason.
    pub(super) message: String,
    pub(super) output: String,
    pub(super) details: String,
}

impl Case {
    /// The one case of a unit that is a test itself, or could not be run.
    pub(super) fn of_unit(outcome: Outcome, message: String) -> Self {
        Self {
            file: None,
            class: String::new(),
            name: String::new(),
            outcome,
            micros: 0,
            at_file: String::new(),
            at_line: 0,
            message,
            output: String::new(),
            details: String::new(),
        }
    }

    /// One of a unit's tests, of which nothing else is known yet.
    fn named(name: impl Into<String>, outcome: Outcome) -> Self {
        Self { name: name.into(), ..Self::of_unit(outcome, String::new()) }
    }

    /// Its id: the unit, and what names it there.
    pub(super) fn id(&self, unit: &str) -> String {
        let stem = |name: &str| name.trim_start_matches("./").to_owned();
        let named = !self.class.is_empty() && stem(&self.class) != stem(unit) && !self.name.starts_with(&self.class);
        match (named, self.name.as_str()) {
            (_, "") => unit.to_owned(),
            (false, name) if name == unit => unit.to_owned(),
            (false, name) => format!("{unit}::{name}"),
            (true, name) => format!("{unit}::{}::{name}", self.class),
        }
    }
}

/// What a text says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Report {
    pub(super) cases: Vec<Case>,
    /// Failures that belong to no case: a file that cannot be loaded, a hook. With the unit's file or class, if the tool names it.
    pub(super) troubles: Vec<Case>,
    /// Groups of which the tool itself says that they have no tests to run; an empty name is the whole command. Silence is something else.
    pub(super) empty: Vec<String>,
}

/// Reads a text.
pub(super) fn read(results: Results, text: &str) -> Result<Report, String> {
    match results {
        Results::Exit => Ok(Report::default()),
        Results::Junit => junit::read(text),
        Results::Tap => tap::read(text),
        Results::Json => json::read(text),
        Results::Go => go::read(text),
        Results::Libtest => libtest::read(text),
    }
}

/// The first line that says something.
fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a duration: never negative here, and a float's conversion saturates"
)]
fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6) as u64
}
