//! Tools without a driver of ours: `generic`, of which the user says everything, and presets for the common ones. The worker drives them.
//!
//! A preset is a command, a list of units and a kind of results, as data; what is proven by them is the worker's business (`splitci_worker::generic`).
//! A unit is what the tool runs at a time, a file mostly, and is never cut: of a part of it the tool would have to be told by name.

mod presets;

use super::{Framework, LaunchRequest, ProjectFacts, shard_environment};
use crate::model::{Launch, Listing, Naming, Nothing, Recipe, Results};

pub use presets::{BATS, CARGO, CTEST, EXUNIT, GO, JEST, JUNIT, MOCHA, PHPUNIT};

/// A tool that splitci knows how to drive.
pub struct Preset {
    name: &'static str,
    looked_for: &'static str,
    texts: &'static [&'static str],
    evidence: fn(&ProjectFacts) -> Option<String>,
    command: fn(&ProjectFacts) -> Vec<String>,
    /// What builds what all shards of one directory share.
    prepare: &'static [&'static str],
    units: fn() -> Listing,
    results: Results,
    naming: Naming,
    report: Option<&'static str>,
    /// Its exit status and its words when a unit has no tests.
    nothing: Option<(i32, &'static str)>,
    batch: u32,
    /// Reporters of ours that it loads: name and text.
    files: &'static [(&'static str, &'static str)],
    /// Words that choose tests within units.
    picking: &'static [&'static str],
}

/// What is said of no tool in particular.
pub const GENERIC: Preset = Preset {
    name: "generic",
    looked_for: "",
    texts: &[],
    evidence: |_| None,
    command: |_| Vec::new(),
    prepare: &[],
    units: || Listing::Files(Vec::new()),
    results: Results::Exit,
    naming: Naming::Alone,
    report: None,
    nothing: None,
    batch: 1,
    files: &[],
    picking: &[],
};

impl Framework for Preset {
    fn name(&self) -> &'static str {
        self.name
    }

    fn looked_for(&self) -> &'static str {
        self.looked_for
    }

    fn texts_wanted(&self) -> &'static [&'static str] {
        self.texts
    }

    fn evidence(&self, facts: &ProjectFacts) -> Option<String> {
        (self.evidence)(facts)
    }

    fn command(&self, facts: &ProjectFacts) -> Vec<String> {
        (self.command)(facts)
    }

    fn launch(&self, request: &LaunchRequest<'_>) -> Launch {
        let mut env = shard_environment(request);
        env.push(("SPLITCI_DRIVER_RECIPE".to_owned(), format!("{{run}}/{RECIPE}")));
        let recipe = request.suite.recipe.clone().or_else(|| self.recipe());
        let text = serde_json::to_vec(&recipe).unwrap_or_default();
        let own = ["{worker}", "generic"].map(str::to_owned).into_iter();
        let shipped = self.files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        Launch {
            argv: own.chain(request.suite.command.iter().cloned()).collect(),
            cwd: request.cwd.map(str::to_owned),
            env,
            env_prepend: Vec::new(),
            env_remove: Vec::new(),
            files: shipped.chain([(RECIPE.to_owned(), text)]).collect(),
            dump_signal: None,
        }
    }

    fn picks_tests(&self, command: &[String]) -> bool {
        command.iter().any(|word| self.picking.iter().any(|option| word == option || word.starts_with(&format!("{option}="))))
    }

    fn recipe(&self) -> Option<Recipe> {
        Some(Recipe {
            tool: self.name.to_owned(),
            prepare: self.prepare.iter().map(ToString::to_string).collect(),
            units: (self.units)(),
            only: Vec::new(),
            results: self.results,
            report: self.report.map(str::to_owned),
            nothing: self.nothing.map(|(status, words)| Nothing { status, words: words.to_owned() }),
            batch: self.batch,
            naming: self.naming,
        })
    }

    fn group(&self) -> Option<fn(&str) -> &str> {
        None
    }
}

/// Name of the file that tells the worker how.
const RECIPE: &str = splitci_worker::protocol::recipe::FILE;

#[cfg(test)]
mod tests;
