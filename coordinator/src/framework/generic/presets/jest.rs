//! Jest: a unit is a file of its own list, since only Jest knows what its configuration calls a test; the JSON that it writes at an orderly end.
//!
//! One worker a shard: the shards are as many as there are processors. A threshold of coverage is not checked, as a shard sees only a part. A global Jest
//! hands over to the project's own.

use super::words;
use crate::framework::generic::{GENERIC, Preset};
use crate::framework::{Place, ProjectFacts};
use crate::model::{Listing, Naming, Results};

const CONFIGURATIONS: &[&str] = &["jest.config.js", "jest.config.cjs", "jest.config.mjs", "jest.config.ts", "jest.config.json"];

/// See the module.
pub const JEST: Preset = Preset {
    name: "jest",
    looked_for: "`jest.config.*`, `jest` in `package.json` (jest)",
    texts: &["package.json"],
    evidence,
    command,
    // Jest lists in the order in which it finds, which is another one each time.
    units: || {
        Listing::Lines(
            ["sh", "-c", "PATH=./node_modules/.bin:$PATH; all=$(jest --listTests) && echo \"$all\" | sort"].map(str::to_owned).to_vec(),
        )
    },
    results: Results::Json,
    naming: Naming::File,
    batch: 32,
    picking: &["-t", "--testNamePattern", "-o", "--onlyChanged", "--changedSince", "--onlyFailures"],
    ..GENERIC
};

fn evidence(facts: &ProjectFacts) -> Option<String> {
    let configured = CONFIGURATIONS.iter().find(|file| facts.has(file)).map(|file| format!("`{file}`"));
    let asked = || facts.texts.get("package.json").filter(|text| text.contains("\"jest\"")).map(|_| "`jest` in `package.json`".to_owned());
    configured.or_else(asked)
}

fn command(facts: &ProjectFacts) -> Vec<String> {
    let called: &[&str] = match &facts.place {
        Place::Here { programs, .. } if programs.contains("jest") => &["jest"],
        Place::Here { .. } => &["node_modules/.bin/jest"],
        // Whose it is, only the image knows.
        Place::Image => &["sh", "-c", "PATH=./node_modules/.bin:$PATH; exec jest \"$@\"", "jest"],
    };
    let options = words("--runInBand --json --outputFile={report} --coverageThreshold={} --runTestsByPath {units}");
    called.iter().map(ToString::to_string).chain(options).collect()
}
