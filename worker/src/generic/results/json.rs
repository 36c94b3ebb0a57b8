//! The JSON of `jest --json`, which Vitest writes too: files, and in each its tests. A file that could not be run is a trouble with that file.

use serde::Deserialize;

use super::{Case, Report, first_line, micros};
use crate::protocol::driver::Outcome;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    num_total_tests: usize,
    #[serde(default)]
    num_runtime_error_test_suites: usize,
    #[serde(default)]
    unhandled_errors: Vec<serde_json::Value>,
    test_results: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    test_exec_error: Option<serde_json::Value>,
    assertion_results: Vec<Assertion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    full_name: String,
    status: String,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    failure_messages: Option<Vec<String>>,
    #[serde(default)]
    location: Option<Location>,
}

#[derive(Deserialize)]
struct Location {
    #[serde(default)]
    line: u32,
}

pub(super) fn read(text: &str) -> Result<Report, String> {
    if text.trim().is_empty() {
        return Err("its report is empty".to_owned());
    }
    let written: Written =
        serde_json::from_str(text).map_err(|error| format!("its report is not Jest's JSON, or ends in the middle: {error}"))?;
    let mut report = Report::default();
    for file in written.test_results {
        let failed = file.status == "failed" && !file.assertion_results.iter().any(|test| test.status == "failed");
        if failed || file.test_exec_error.is_some_and(|error| !error.is_null()) {
            let message = if file.message.trim().is_empty() { "the file could not be run".to_owned() } else { first_line(&file.message) };
            let trouble = Case::of_unit(Outcome::Errored, message);
            report.troubles.push(Case { file: Some(file.name.clone()), details: file.message.clone(), ..trouble });
        }
        report.cases.extend(file.assertion_results.into_iter().map(|test| case(&file.name, test)));
    }
    if written.num_total_tests > report.cases.len() {
        return Err(format!("its report says that there are {} tests and shows {}", written.num_total_tests, report.cases.len()));
    }
    if (written.num_runtime_error_test_suites > 0 || !written.unhandled_errors.is_empty()) && report.troubles.is_empty() {
        report.troubles.push(Case::of_unit(Outcome::Errored, "an error outside of any test".to_owned()));
    }
    Ok(report)
}

fn case(file: &str, test: Assertion) -> Case {
    let details = test.failure_messages.unwrap_or_default().join("\n");
    let outcome = match test.status.as_str() {
        "passed" => Outcome::Passed,
        "pending" | "skipped" | "todo" | "disabled" => Outcome::Skipped,
        "failed" => Outcome::Failed,
        // A word that nobody knows is no pass.
        _ => Outcome::Errored,
    };
    let bad = outcome.is_bad();
    let message = if bad && details.is_empty() { format!("the tool calls it `{}`", test.status) } else { first_line(&details) };
    Case {
        file: Some(file.to_owned()),
        micros: micros(test.duration.unwrap_or(0.0) / 1e3),
        at_file: if bad { file.to_owned() } else { String::new() },
        at_line: if bad { test.location.map_or(0, |at| at.line) } else { 0 },
        message,
        details,
        ..Case::named(test.full_name, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"numTotalTests":2,"success":false,"testResults":[
        {"name":"/app/a.test.js","status":"failed","message":"","assertionResults":[
            {"fullName":"cart adds","status":"passed","duration":3,"failureMessages":[],"location":null},
            {"fullName":"cart pays","status":"failed","failureMessages":["Error: no\n  at a.test.js:9"],"location":{"line":8,"column":3}}]},
        {"name":"/app/b.test.js","status":"failed","message":"SyntaxError: x","assertionResults":[]}]}"#;

    #[test]
    fn files_and_tests_are_read() {
        let report = read(WHOLE).expect("a report");
        assert_eq!(report.cases.iter().map(|case| case.outcome).collect::<Vec<_>>(), [Outcome::Passed, Outcome::Failed]);
        assert_eq!((report.cases[0].micros, report.cases[1].message.as_str(), report.cases[1].at_line), (3_000, "Error: no", 8));
        assert_eq!((report.troubles[0].file.as_deref(), report.troubles[0].message.as_str()), (Some("/app/b.test.js"), "SyntaxError: x"));
    }

    #[test]
    fn half_a_report_is_none() {
        for cut in 0..WHOLE.len() {
            assert!(read(&WHOLE[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(r#"{"numTotalTests":1,"testResults":[]}"#).is_err());
        let hidden = read(r#"{"numRuntimeErrorTestSuites":1,"testResults":[]}"#).expect("a report");
        assert_eq!(hidden.troubles.len(), 1);
    }
}
