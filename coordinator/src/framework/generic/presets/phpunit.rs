//! `PHPUnit`: a unit is a test file by its own convention; JUnit's XML, closed only at an orderly end. A file goes in alone: `PHPUnit` takes one.

use super::{files, words};
use crate::framework::generic::{GENERIC, Preset};
use crate::framework::{Place, ProjectFacts};
use crate::model::{Naming, Results};

const CONFIGURATIONS: &[&str] = &["phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"];

/// See the module.
pub const PHPUNIT: Preset = Preset {
    name: "phpunit",
    looked_for: "`phpunit.xml`, `phpunit.xml.dist` (phpunit)",
    evidence: |facts| CONFIGURATIONS.iter().find(|file| facts.has(file)).map(|file| format!("`{file}`")),
    command,
    units: || files(&["tests/**/*Test.php", "test/**/*Test.php"]),
    results: Results::Junit,
    naming: Naming::File,
    // In a directory it passes over abstract classes, of a file that it is given it says so.
    nothing: Some((1, "{units} is abstract")),
    picking: &["--filter", "--group", "--exclude-group"],
    ..GENERIC
};

fn command(facts: &ProjectFacts) -> Vec<String> {
    // Composer puts it there; a system's package into the path.
    let composed = facts.has("composer.json") && !matches!(&facts.place, Place::Here { programs, .. } if programs.contains("phpunit"));
    words(if composed { "vendor/bin/phpunit --log-junit {report} {units}" } else { "phpunit --log-junit {report} {units}" })
}
