//! `JUnit` by Maven's Surefire: a unit is a test class by its own convention, a file in `src/test/java`; JUnit's XML, a file for each class, which Surefire
//! writes when the class is over. A process that leaves with 0 makes Maven's build fail.
//!
//! All of the life cycle up to `test` runs, since plugins take part in it. Shards of one directory share `target`: it is compiled beforehand, after which Maven
//! finds all up to date. A class that has no tests by Surefire's own word (an abstract one) has none; one that Surefire does not find is red.

use super::{files, words};
use crate::framework::ProjectFacts;
use crate::framework::generic::{GENERIC, Preset};
use crate::model::{Naming, Results};

/// See the module.
pub const JUNIT: Preset = Preset {
    name: "junit",
    looked_for: "`pom.xml` (junit)",
    evidence: |facts| facts.has("pom.xml").then(|| "`pom.xml`".to_owned()),
    command,
    prepare: &["sh", "-c", "if [ -x mvnw ]; then mvn=./mvnw; else mvn=mvn; fi; exec $mvn -B -q test-compile"],
    units: || files(&["src/test/java/**/{Test*,*Test,*Tests,*TestCase}.java", "**/src/test/java/**/{Test*,*Test,*Tests,*TestCase}.java"]),
    results: Results::Junit,
    naming: Naming::Class,
    report: Some("**/target/surefire-reports/TEST-{class}{,$*}.xml"),
    nothing: Some((0, "Tests run: 0, Failures: 0, Errors: 0, Skipped: 0")),
    batch: 64,
    picking: &["-Dgroups", "-DexcludedGroups"],
    ..GENERIC
};

fn command(facts: &ProjectFacts) -> Vec<String> {
    let maven = if facts.has("mvnw") { "./mvnw" } else { "mvn" };
    // Names of the property before and since Surefire 3. Not every module has each class.
    let rest = "-B --fail-at-end test -Dtest={nested} -DfailIfNoTests=false -Dsurefire.failIfNoSpecifiedTests=false";
    words(&format!("{maven} {rest}"))
}
