//! What Rust's test harness prints: `running N tests`, a line a test, the failures' output, and a line that sums up.
//!
//! A part is whole if it has as many lines as it announced and its sum; a process that exits in a test prints neither. Doctests print several parts.

use std::collections::BTreeMap;

use super::{Case, Report, first_line, micros};
use crate::protocol::driver::Outcome;

pub(super) fn read(text: &str) -> Result<Report, String> {
    let mut report = Report::default();
    let mut part: Option<Part> = None;
    for line in text.lines() {
        if let Some(count) = announced(line) {
            if part.is_some() {
                return Err("a part of its report has no end".to_owned());
            }
            part = Some(Part { count, ..Part::default() });
        } else if let Some(open) = &mut part {
            if let Some(sum) = line.strip_prefix("test result: ") {
                let Some(done) = part.take() else { continue };
                report.cases.extend(done.finish(sum)?);
            } else {
                open.line(line);
            }
        }
    }
    if part.is_some() {
        return Err("its report ends in the middle: a test may have ended the process".to_owned());
    }
    if report.cases.is_empty() && !text.contains("test result: ") {
        return Err("it printed nothing that Rust's test harness prints; a target with `harness = false` is a suite of its own".to_owned());
    }
    if report.cases.is_empty() {
        report.empty.push(String::new());
    }
    Ok(report)
}

fn announced(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
}

#[derive(Debug, Default)]
struct Part {
    count: usize,
    cases: Vec<Case>,
    outputs: BTreeMap<String, String>,
    of: Option<String>,
}

impl Part {
    fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            let name = name.strip_suffix(" stdout").or_else(|| name.strip_suffix(" stderr")).unwrap_or(name);
            self.of = Some(name.to_owned());
        } else if line == "failures:" {
            self.of = None;
        } else if let Some(name) = &self.of {
            let output = self.outputs.entry(name.clone()).or_default();
            output.push_str(line);
            output.push('\n');
        } else if let Some((name, ended)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
            && self.cases.len() < self.count
        {
            self.cases.extend(case(name, ended));
        }
    }

    fn finish(mut self, sum: &str) -> Result<Vec<Case>, String> {
        if self.cases.len() != self.count {
            return Err(format!("its report announces {} tests and shows {}", self.count, self.cases.len()));
        }
        let failed = self.cases.iter().filter(|case| case.outcome.is_bad()).count();
        let says = sum.split(';').find_map(|part| part.trim().strip_suffix(" failed")?.parse::<usize>().ok());
        if says != Some(failed) {
            return Err(format!("its report shows {failed} failures and sums up: {sum}"));
        }
        for case in &mut self.cases {
            let plain = case.name.trim_end_matches(" - should panic");
            let Some(output) = self.outputs.remove(&case.name).or_else(|| self.outputs.remove(plain)) else { continue };
            let told = output.lines().skip_while(|line| !line.contains("panicked at")).collect::<Vec<_>>();
            let (at_file, at_line) = told.first().map_or_else(Default::default, |line| place(line));
            case.message =
                told.iter().skip(1).find(|line| !line.trim().is_empty()).map_or_else(|| first_line(&output), ToString::to_string);
            (case.at_file, case.at_line, case.details) = (at_file, at_line, output);
        }
        Ok(self.cases)
    }
}

/// `ok`, `FAILED`, `ignored, why`, `ok <0.1s>`.
fn case(name: &str, ended: &str) -> Option<Case> {
    let (word, rest) = ended.split_once([',', ' ']).unwrap_or((ended, ""));
    let outcome = match word {
        "ok" | "bench:" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Skipped,
        _ => return None,
    };
    let seconds = rest.trim().strip_prefix('<').and_then(|rest| rest.strip_suffix("s>")).and_then(|seconds| seconds.parse().ok());
    let message = if outcome == Outcome::Skipped { rest.trim().to_owned() } else { String::new() };
    Some(Case { message, micros: micros(seconds.unwrap_or(0.0)), ..Case::named(name, outcome) })
}

/// `thread 'a' panicked at src/lib.rs:9:5:`, and the older `panicked at 'why', src/lib.rs:9:5`.
fn place(line: &str) -> (String, u32) {
    let at = line.rsplit_once(", ").filter(|_| !line.trim_end().ends_with(':')).map(|(_, at)| at);
    let at = at.or_else(|| line.split_once("panicked at ").map(|(_, at)| at)).unwrap_or_default();
    let mut parts = at.split(':');
    match (parts.next(), parts.next().and_then(|line| line.parse().ok())) {
        (Some(file), Some(line)) => (file.trim().to_owned(), line),
        _ => (String::new(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: &str = "\nrunning 4 tests\ntest a::adds ... ok\ntest a::panics - should panic ... ok\ntest a::slow ... ignored, takes long\n\
        test a::pays ... FAILED\n\nfailures:\n\n---- a::pays stdout ----\nhello\nthread 'a::pays' panicked at src/lib.rs:9:5:\nno money\n\n\n\
        failures:\n    a::pays\n\ntest result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\n";

    #[test]
    fn tests_and_failures_are_read() {
        let report = read(RED).expect("a report");
        let all: Vec<_> = report.cases.iter().map(|case| (case.name.as_str(), case.outcome)).collect();
        let rest = [("a::slow", Outcome::Skipped), ("a::pays", Outcome::Failed)];
        assert_eq!(all, [&[("a::adds", Outcome::Passed), ("a::panics - should panic", Outcome::Passed)], &rest[..]].concat());
        let pays = &report.cases[3];
        assert_eq!((pays.message.as_str(), pays.at_file.as_str(), pays.at_line), ("no money", "src/lib.rs", 9));
        assert!(pays.details.contains("hello"));
        assert_eq!(place("thread 'x' panicked at 'no, really', src/a.rs:3:1"), ("src/a.rs".to_owned(), 3));
    }

    #[test]
    fn a_process_that_ends_in_a_test_proves_nothing() {
        for cut in (0..RED.find("test result").unwrap_or_default()).filter(|cut| RED.is_char_boundary(*cut)) {
            assert!(read(&RED[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read("all good\n").is_err());
        assert!(read("running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n").is_err());
        let empty = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let empty = read(empty).expect("an empty report");
        assert_eq!((empty.cases, empty.empty), (Vec::new(), vec![String::new()]));
    }
}
