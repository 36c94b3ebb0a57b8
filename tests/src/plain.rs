//! A suite under its framework alone, and what we made of the same suite: test by test.
//!
//! A small plugin of `fixtures/` writes down each test's id and outcome. It knows nothing of our drivers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Facts;

/// Outcomes by test id; several where an id occurs more than once.
pub type Outcomes = BTreeMap<String, Vec<String>>;

/// Directory of a framework's plugin.
pub fn plugins(framework: &str) -> PathBuf {
    crate::root().join("fixtures").join(if framework == "pytest" { "python" } else { "ruby" })
}

/// The command that runs the same suite without us, with the plugin, which lies in this directory. `None` if nobody knows how.
pub fn command(framework: &str, ours: &[String], plugins: &Path) -> Option<Vec<String>> {
    let mut words = ours.to_vec();
    let plugin = plugins.join("plain_outcomes.rb").display().to_string();
    match framework {
        "pytest" => words.extend(["-p", "plain_outcomes"].map(str::to_owned)),
        "rspec" => words.extend(["--require".to_owned(), plugin]),
        "minitest" => {
            // Minitest has no program that finds files: the plugin does, where our driver would.
            let end = words.iter().position(|word| word == "--").filter(|_| words.iter().any(|word| word == "-e"))?;
            words.splice(end..end, ["-e".to_owned(), format!("require \"{plugin}\"; PlainOutcomes.load_tests")]);
        }
        _ => return None,
    }
    Some(words)
}

/// What the plugin wrote. `None` if it did not: the framework never came to its end.
pub fn read(file: &Path) -> Option<Outcomes> {
    let text = fs_err::read_to_string(file).ok()?;
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let (id, outcome): (String, String) = serde_json::from_str(line).expect("an id and an outcome");
        outcomes.entry(id).or_default().push(outcome);
    }
    for outcomes in outcomes.values_mut() {
        outcomes.sort();
    }
    Some(outcomes)
}

/// How many tests.
pub fn count(outcomes: &Outcomes) -> usize {
    outcomes.values().map(Vec::len).sum()
}

/// A line for each id that did not come to the same.
pub fn differences(plain: &Outcomes, ours: &Facts) -> Vec<String> {
    let told = |outcomes: Option<&Vec<String>>| outcomes.map_or("none".to_owned(), |outcomes| outcomes.join(", "));
    let ids: std::collections::BTreeSet<&String> = plain.keys().chain(ours.outcomes.keys()).collect();
    ids.into_iter()
        .map(|id| (id, plain.get(id), ours.outcomes.get(id)))
        .filter(|(_, plain, ours)| plain != ours)
        .map(|(id, plain, ours)| format!("{id}: plain {}, splitci {}", told(plain), told(ours)))
        .collect()
}

/// Takes away what belongs to the harness, and would not be there in a shell.
pub fn as_in_a_shell(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| crate::program::is_of_the_harness(name)) {
        command.env_remove(name);
    }
    command
}
