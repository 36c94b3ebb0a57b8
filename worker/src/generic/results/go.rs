//! The events of `go test -json`: a test is through if an event says how it ended, a package likewise. <https://pkg.go.dev/cmd/test2json>
//!
//! A package that ends before its tests do has panicked or exited; those tests are errors. What Go prints beside the events is no report.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Case, Report, first_line, micros};
use crate::protocol::driver::Outcome;

/// What Go's own test program says where a pattern chooses none of its tests. One whose `TestMain` leaves early does not say it.
const NO_TESTS: &str = "testing: warning: no tests to run";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    elapsed: f64,
    #[serde(default)]
    output: String,
}

#[derive(Default)]
struct Package {
    tests: Vec<Test>,
    end: Option<String>,
    output: String,
}

struct Test {
    name: String,
    outcome: Option<Outcome>,
    elapsed: f64,
    output: String,
}

pub(super) fn read(text: &str) -> Result<Report, String> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let event: Event =
            serde_json::from_str(line).map_err(|error| format!("it printed an event that is none, or half of one: {error}"))?;
        if !event.package.is_empty() {
            packages.entry(event.package.clone()).or_default().hear(event);
        }
    }
    if packages.is_empty() {
        return Err("it printed no event".to_owned());
    }
    let mut report = Report::default();
    for (name, package) in packages {
        package.conclude(&name, &mut report);
    }
    Ok(report)
}

impl Package {
    fn hear(&mut self, event: Event) {
        if event.test.is_empty() {
            match event.action.as_str() {
                "pass" | "fail" | "skip" => self.end = Some(event.action),
                _ => self.output.push_str(&event.output),
            }
            return;
        }
        if !self.tests.iter().any(|test| test.name == event.test) {
            self.tests.push(Test { name: event.test.clone(), outcome: None, elapsed: 0.0, output: String::new() });
        }
        let Some(test) = self.tests.iter_mut().find(|test| test.name == event.test) else { return };
        let outcome = match event.action.as_str() {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            _ => return test.output.push_str(&event.output),
        };
        test.outcome = Some(outcome);
        test.elapsed = event.elapsed;
    }

    fn conclude(self, name: &str, report: &mut Report) {
        let explained = self.tests.iter().any(|test| test.outcome.is_none_or(Outcome::is_bad));
        let trouble = match self.end.as_deref() {
            None => Some("the package's tests have no end"),
            Some("fail") if !explained => Some("the package failed, and none of its tests"),
            _ => None,
        };
        if let Some(trouble) = trouble {
            let said = first_line(&self.output);
            let message = if said.is_empty() { trouble.to_owned() } else { format!("{trouble}: {said}") };
            report.troubles.push(Case { class: name.to_owned(), details: self.output.clone(), ..Case::of_unit(Outcome::Errored, message) });
        }
        if self.end.as_deref() == Some("pass") && self.tests.is_empty() && self.output.contains(NO_TESTS) {
            report.empty.push(name.to_owned());
        }
        if self.end.as_deref() == Some("skip") && self.tests.is_empty() {
            let skipped = Case::of_unit(Outcome::Skipped, "no test files".to_owned());
            report.cases.push(Case { class: name.to_owned(), ..skipped });
        }
        report.cases.extend(self.tests.into_iter().map(|test| test.case(name, &self.output)));
    }
}

impl Test {
    fn case(self, package: &str, around: &str) -> Case {
        let outcome = self.outcome.unwrap_or(Outcome::Errored);
        let bad = outcome.is_bad();
        let told = |line: &&str| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with("===") && !line.starts_with("---")
        };
        let said = self.output.lines().find(told).map(str::trim).unwrap_or_default().to_owned();
        let message = match self.outcome {
            None => "it began and has no end: its process panicked or exited".to_owned(),
            Some(_) if outcome == Outcome::Passed => String::new(),
            Some(_) => said.clone(),
        };
        let (at_file, at_line) = if bad { place(&said) } else { (String::new(), 0) };
        let details = match (bad, self.outcome) {
            (false, _) => String::new(),
            (true, None) => format!("{}{around}", self.output),
            (true, Some(_)) => self.output,
        };
        let class = package.to_owned();
        Case { class, micros: micros(self.elapsed), at_file, at_line, message, details, ..Case::named(self.name, outcome) }
    }
}

/// `cart_test.go:12: got 3` names a place.
fn place(said: &str) -> (String, u32) {
    let mut parts = said.splitn(3, ':');
    match (parts.next(), parts.next().and_then(|line| line.parse().ok())) {
        (Some(file), Some(line)) if Path::new(file).extension().is_some_and(|end| end == "go") => (file.to_owned(), line),
        _ => (String::new(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSING: &str = r#"{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:5: boom\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.5}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"fail","Package":"p","Elapsed":0.6}
"#;

    #[test]
    fn tests_and_their_ends_are_read() {
        let report = read(PASSING).expect("a report");
        assert_eq!(report.troubles, []);
        let a = &report.cases[0];
        assert_eq!(
            (a.name.as_str(), a.outcome, a.at_file.as_str(), a.at_line, a.micros),
            ("TestA", Outcome::Failed, "a_test.go", 5, 500_000)
        );
        assert_eq!((report.cases[1].outcome, report.cases[1].class.as_str()), (Outcome::Passed, "p"));
    }

    #[test]
    fn what_has_no_end_is_an_error() {
        let lines: Vec<&str> = PASSING.lines().collect();
        let exited = read(&lines[..4].join("\n")).expect("a report");
        assert_eq!(exited.cases[1].outcome, Outcome::Errored);
        assert_eq!(exited.troubles.len(), 1);
        assert!(read("").is_err());
        assert!(read("{\"Action\":\"pass\",\"Pack").is_err());
        let passed = "{\"Action\":\"pass\",\"Package\":\"p\"}";
        assert_eq!(read(passed).expect("a report").empty, [""; 0], "a package that passes without a word of its tests");
        let none = format!("{{\"Action\":\"output\",\"Package\":\"p\",\"Output\":\"{NO_TESTS}\\n\"}}\n{passed}");
        assert_eq!(read(&none).expect("a report").empty, ["p"]);
        let unbuilt = read(
            "{\"Action\":\"output\",\"Package\":\"p\",\"Output\":\"FAIL p [build failed]\\n\"}\n{\"Action\":\"fail\",\"Package\":\"p\"}",
        );
        assert_eq!(unbuilt.expect("a report").troubles[0].message, "the package failed, and none of its tests: FAIL p [build failed]");
    }
}
