//! The driver for tools that have none: it runs a command for some units, reads what the tool says of them, and speaks the driver protocol.
//!
//! It is the framework's process of its session: the worker starts `splitci-worker generic COMMAND` as it would start pytest, and what is written in
//! `recipe.json` says the rest. `units` lists, `template` makes a command's words, `command` runs it, `results` reads reports, `judge` decides what was
//! proven; only this file and `link` talk to the worker.
//!
//! It believes no exit status: a unit is through if the tool's own report, written during this command, names it. A report that is missing, cut
//! off, from an earlier run, or silent about a unit is an error of that unit. Where a command for several units leaves any doubt, each doubtful
//! unit runs alone. A command that dies by a signal takes the session with it, so that the unit gets a second chance as any other would.

mod command;
mod judge;
mod link;
mod results;
mod template;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use self::command::{Ran, Runner};
use self::judge::{Judged, judge};
use self::link::{Link, LinkError};
use self::results::Case;
use crate::protocol::driver::{DriverUnit, Finished, FromDriver, NONE, Outcome, ToDriver};
use crate::protocol::message::Select;
use crate::protocol::recipe::{Listing, Recipe, VARIABLE};

/// The program cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum GenericError {
    /// It was not started by a worker.
    #[error("`{0}` is not set: this program is started by splitci's worker")]
    Variable(&'static str),
    /// The recipe is missing or damaged.
    #[error("cannot read the recipe `{}`", path.display())]
    Recipe {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The worker is gone, or the line to it is broken.
    #[error("the line to the worker is broken")]
    Link(#[from] LinkError),
}

/// Serves one session with a command whose words may hold placeholders; the exit status is that of a framework: 1 if a test failed.
pub fn run(command: Vec<String>) -> Result<ExitCode, GenericError> {
    let recipe = read_recipe()?;
    let mut link = Link::open(&recipe.tool, recipe.batch)?;
    let listed = match units::prepare(&recipe).and_then(|()| units::list(&recipe)) {
        Ok(listed) => listed,
        Err(error) => {
            let text = units::account(&error);
            link.send(&FromDriver::Bye { count: 0, status: 2, errors: text })?;
            return Ok(ExitCode::from(2));
        }
    };
    link.send(&FromDriver::Units(listed.clone()))?;
    let runner = Runner::new(&recipe, command, link.seed());
    let mut session = Session { recipe, listed, runner, link, finished: 0, bad: false };
    session.serve()
}

fn read_recipe() -> Result<Recipe, GenericError> {
    let path = PathBuf::from(link::variable(VARIABLE)?);
    let read = fs_err::read(&path).and_then(|text| serde_json::from_slice(&text).map_err(std::io::Error::other));
    read.map_err(|cause| GenericError::Recipe { path, cause })
}

struct Session {
    recipe: Recipe,
    listed: Vec<String>,
    runner: Runner,
    link: Link,
    finished: u64,
    bad: bool,
}

impl Session {
    fn serve(&mut self) -> Result<ExitCode, GenericError> {
        loop {
            match self.link.next()? {
                ToDriver::Run(units) => self.run(&units)?,
                ToDriver::Stop => {
                    self.link.closing()?;
                    let status = i32::from(self.bad);
                    self.link.send(&FromDriver::Bye { count: self.finished, status, errors: String::new() })?;
                    return Ok(ExitCode::from(u8::from(self.bad)));
                }
            }
        }
    }

    /// Units that came together go into one command; those of which it leaves a doubt run again, alone.
    fn run(&mut self, units: &[DriverUnit]) -> Result<(), GenericError> {
        if let [unit] = units {
            return self.run_alone(unit);
        }
        let (_, judged) = self.perform(units)?;
        for (unit, judged) in units.iter().zip(judged) {
            if judged.doubt && !judged.is_bad() { self.run_alone(unit)? } else { self.report(unit, judged.cases)? }
        }
        Ok(())
    }

    fn run_alone(&mut self, unit: &DriverUnit) -> Result<(), GenericError> {
        if let Some(reason) = self.is_missing(&unit.name) {
            return self.report(unit, vec![Case::of_unit(Outcome::Errored, reason)]);
        }
        let (ran, mut judged) = self.perform(std::slice::from_ref(unit))?;
        if let command::End::Signal(signal) = ran.end {
            link::die_by(signal);
        }
        let cases = judged.pop().map(|judged| judged.cases).unwrap_or_default();
        self.report(unit, cases)
    }

    fn perform(&mut self, units: &[DriverUnit]) -> Result<(Ran, Vec<Judged>), GenericError> {
        if let Some(first) = units.first() {
            self.link.loading(first.unit)?;
        }
        let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
        let ran = self.runner.run(&names);
        let judged = judge(&self.recipe, &names, &self.listed, &ran);
        Ok((ran, judged))
    }

    /// A unit that was listed and is not there any more.
    fn is_missing(&self, name: &str) -> Option<String> {
        let file = matches!(self.recipe.units, Listing::Files(_));
        let gone = if file { !std::path::Path::new(name).is_file() } else { !self.listed.iter().any(|listed| listed == name) };
        gone.then(|| format!("`{name}` is not there any more"))
    }

    /// Tells the worker of a unit. The tool ran it whole; what is reported is what was asked for.
    fn report(&mut self, unit: &DriverUnit, cases: Vec<Case>) -> Result<(), GenericError> {
        let ids: Vec<String> = cases.iter().map(|case| case.id(&unit.name)).collect();
        if let Select::Only(only) = &unit.select {
            for gone in only.iter().filter(|id| !ids.contains(id)) {
                self.link.queue(&FromDriver::Notice(format!("asked for, and not there any more: {gone}")));
            }
        }
        let selected = selected(unit, &ids);
        let chosen = |ordinal: u32| selected.as_ref().is_none_or(|selected| selected.binary_search(&ordinal).is_ok());
        self.link.queue(&FromDriver::Declared { unit: unit.unit, ids, selected: selected.clone() });
        let mut count = 0;
        for (ordinal, case) in (0..).zip(cases) {
            if chosen(ordinal) {
                count += 1;
                self.bad |= case.outcome.is_bad();
                self.link.queue(&FromDriver::Finished(finished(unit.unit, ordinal, case)));
            }
        }
        self.finished += u64::from(count);
        self.link.send(&FromDriver::UnitEnd { unit: unit.unit, count })?;
        Ok(self.link.idle()?)
    }
}

/// Which of a unit's tests were asked for; nothing for all of them. Of one that could not be run there is but one test, and that is told whatever was asked for.
fn selected(unit: &DriverUnit, ids: &[String]) -> Option<Vec<u32>> {
    let whole = unit.select == Select::All && unit.from == 0 && unit.until.is_none();
    if whole || ids.iter().all(|id| *id == unit.name) {
        return None;
    }
    let wanted = |id: &String| match &unit.select {
        Select::All => true,
        Select::Only(only) => only.contains(id),
        Select::Except(except) => !except.contains(id),
    };
    let bounds = unit.from..unit.until.unwrap_or(NONE);
    Some((0..).zip(ids).filter(|(ordinal, id)| bounds.contains(ordinal) && wanted(id)).map(|(ordinal, _)| ordinal).collect())
}

fn finished(unit: u32, ordinal: u32, case: Case) -> Finished {
    let Case { outcome, micros, at_file, at_line, message, output, details, .. } = case;
    Finished {
        unit,
        ordinal,
        outcome,
        micros,
        file: at_file,
        line: at_line,
        message,
        output: output.into_bytes(),
        details: details.into_bytes(),
    }
}
