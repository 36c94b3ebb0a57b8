//! Mocha: a unit is a file by Mocha's own convention; a reporter of ours says of which file each test is.
//!
//! Mocha adds what `spec` in its configuration names to the files that it is given. Then every command would run every file: the report tells of files that
//! were not asked for, which is red. `--no-exit` is left to the project.

use super::{files, words};
use crate::framework::generic::{GENERIC, Preset};
use crate::framework::{Place, ProjectFacts};
use crate::model::{Naming, Results};

const CONFIGURATIONS: &[&str] = &[".mocharc.js", ".mocharc.cjs", ".mocharc.yaml", ".mocharc.yml", ".mocharc.json", ".mocharc.jsonc"];

/// See the module.
pub const MOCHA: Preset = Preset {
    name: "mocha",
    looked_for: "`.mocharc.*`, `mocha` in `package.json` (mocha)",
    texts: &["package.json"],
    evidence,
    command,
    units: || files(&["test/**/*.{js,cjs,mjs}"]),
    results: Results::Json,
    naming: Naming::File,
    batch: 32,
    files: &[("splitci_mocha.js", include_str!("splitci_mocha.js"))],
    picking: &["-g", "--grep", "-f", "--fgrep"],
    ..GENERIC
};

fn evidence(facts: &ProjectFacts) -> Option<String> {
    let configured = CONFIGURATIONS.iter().find(|file| facts.has(file)).map(|file| format!("`{file}`"));
    let asked =
        || facts.texts.get("package.json").filter(|text| text.contains("\"mocha\"")).map(|_| "`mocha` in `package.json`".to_owned());
    configured.or_else(asked)
}

fn command(facts: &ProjectFacts) -> Vec<String> {
    let here = matches!(&facts.place, Place::Here { programs, .. } if programs.contains("mocha"));
    let called = if here { "mocha" } else { "npx --no-install mocha" };
    words(&format!("{called} --reporter {{run}}/splitci_mocha.js --reporter-option output={{report}} {{units}}"))
}
