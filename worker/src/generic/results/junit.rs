//! JUnit's XML, in the dialects there are: suites may be nested, `testcase` is a test, its `failure`, `error` or `skipped` is its outcome.
//!
//! There is no standard; what all writers share is read. The document must be closed, and a suite may not count more tests than it shows.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::{Case, Report, first_line, micros};
use crate::protocol::driver::Outcome;

/// Deepest nesting that is read.
const DEPTH: usize = 64;

pub(super) fn read(text: &str) -> Result<Report, String> {
    let mut document = Document::default();
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    loop {
        let at = reader.buffer_position();
        match reader.read_event().map_err(|error| format!("its report is no XML at byte {at}: {error}"))? {
            Event::Start(element) => document.open(&element)?,
            Event::Empty(element) => {
                document.open(&element)?;
                document.close()?;
            }
            Event::End(_) => document.close()?,
            Event::Text(piece) => document.text(&piece.decode().map_err(|error| error.to_string())?),
            Event::CData(piece) => document.text(&piece.decode().map_err(|error| error.to_string())?),
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| error.to_string())?;
                let replaced = quick_xml::escape::unescape(&format!("&{name};")).map(std::borrow::Cow::into_owned);
                document.text(&replaced.unwrap_or_else(|_| format!("&{name};")));
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    document.finish()
}

#[derive(Debug, Default)]
struct Document {
    open: Vec<Element>,
    suites: Vec<Suite>,
    case: Option<Case>,
    report: Report,
    rooted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Suite,
    Case,
    Failure(Outcome),
    /// A failure of an attempt that was repeated; the last attempt's counts.
    Printed,
    Other,
}

#[derive(Debug, Default)]
struct Suite {
    file: Option<String>,
    name: String,
    says: usize,
    failing: usize,
    shown: usize,
    shown_failing: usize,
}

impl Document {
    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        if self.open.len() >= DEPTH {
            return Err(format!("its report is nested more than {DEPTH} deep"));
        }
        let name = element.local_name();
        if self.open.is_empty() {
            let root = matches!(name.as_ref(), b"testsuites" | b"testsuite");
            if !root || self.rooted {
                return Err(format!("its report is no JUnit report: it has the root `{}`", String::from_utf8_lossy(name.as_ref())));
            }
            self.rooted = true;
        }
        let opened = match name.as_ref() {
            b"testsuite" => {
                self.suites.push(self.suite(element)?);
                Element::Suite
            }
            b"testcase" => {
                self.case = Some(self.begin_case(element)?);
                Element::Case
            }
            b"failure" => self.failure(element, Outcome::Failed)?,
            b"error" => self.failure(element, Outcome::Errored)?,
            b"skipped" => self.failure(element, Outcome::Skipped)?,
            b"system-out" | b"system-err" => Element::Printed,
            _ => Element::Other,
        };
        self.open.push(opened);
        Ok(())
    }

    fn suite(&self, element: &BytesStart<'_>) -> Result<Suite, String> {
        let count = |name| Ok::<_, String>(attribute(element, name)?.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0));
        let outer = self.suites.last().and_then(|suite| suite.file.clone());
        Ok(Suite {
            file: file_of(element)?.or(outer),
            name: attribute(element, "name")?.unwrap_or_default(),
            says: count("tests")?,
            failing: count("failures")? + count("errors")?,
            shown: 0,
            shown_failing: 0,
        })
    }

    fn begin_case(&self, element: &BytesStart<'_>) -> Result<Case, String> {
        let seconds = attribute(element, "time")?.and_then(|text| text.trim().replace(',', "").parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Case {
            file: file_of(element)?.or_else(|| self.suites.last().and_then(|suite| suite.file.clone())),
            class: attribute(element, "classname")?.or(attribute(element, "class")?).unwrap_or_default(),
            micros: micros(seconds),
            at_line: attribute(element, "line")?.and_then(|text| text.trim().parse().ok()).unwrap_or(0),
            ..Case::named(attribute(element, "name")?.unwrap_or_default(), Outcome::Passed)
        })
    }

    /// The worst of several counts: a test may fail, and then fail to tidy up.
    fn failure(&mut self, element: &BytesStart<'_>, outcome: Outcome) -> Result<Element, String> {
        let message = attribute(element, "message")?.or(attribute(element, "type")?).unwrap_or_default();
        let suite = self.suites.last();
        if self.case.is_none() && outcome != Outcome::Skipped {
            let (file, class) = suite.map(|suite| (suite.file.clone(), suite.name.clone())).unwrap_or_default();
            self.report.troubles.push(Case { file, class, ..Case::of_unit(Outcome::Errored, first_line(&message)) });
            return Ok(Element::Other);
        }
        let Some(case) = &mut self.case else { return Ok(Element::Other) };
        if !case.outcome.is_bad() {
            case.outcome = outcome;
            case.message = first_line(&message);
            case.details = message;
        }
        Ok(Element::Failure(outcome))
    }

    fn text(&mut self, piece: &str) {
        let Some(case) = &mut self.case else { return };
        match self.open.last() {
            Some(Element::Failure(outcome)) if *outcome == case.outcome => case.details.push_str(piece),
            Some(Element::Printed) => case.output.push_str(piece),
            _ => {}
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match self.open.pop() {
            Some(Element::Case) => self.end_case(),
            Some(Element::Suite) => self.end_suite()?,
            _ => {}
        }
        Ok(())
    }

    fn end_case(&mut self) {
        let Some(mut case) = self.case.take() else { return };
        let details = std::mem::take(&mut case.details);
        case.details.push_str(details.trim());
        if case.message.is_empty() {
            case.message = first_line(&case.details);
        }
        if case.outcome.is_bad() {
            case.at_file = case.file.clone().unwrap_or_default();
        } else {
            case.at_line = 0;
        }
        if let Some(suite) = self.suites.last_mut() {
            suite.shown += 1;
            suite.shown_failing += usize::from(case.outcome.is_bad());
        }
        self.report.cases.push(case);
    }

    fn end_suite(&mut self) -> Result<(), String> {
        let Some(suite) = self.suites.pop() else { return Ok(()) };
        if suite.says > suite.shown {
            return Err(format!("its report says that `{}` has {} tests and shows {}", suite.name, suite.says, suite.shown));
        }
        if suite.failing > suite.shown_failing {
            let message = format!("the report counts {} failures in `{}` and shows {}", suite.failing, suite.name, suite.shown_failing);
            let (file, class) = (suite.file.clone(), suite.name.clone());
            self.report.troubles.push(Case { file, class, ..Case::of_unit(Outcome::Errored, message) });
        }
        if let Some(outer) = self.suites.last_mut() {
            outer.shown += suite.shown;
            // What was told of the inner suite is not told of the outer one again.
            outer.shown_failing += suite.failing.max(suite.shown_failing);
        }
        Ok(())
    }

    fn finish(self) -> Result<Report, String> {
        if !self.rooted {
            return Err("its report is empty".to_owned());
        }
        if !self.open.is_empty() {
            return Err("its report ends in the middle".to_owned());
        }
        Ok(self.report)
    }
}

fn file_of(element: &BytesStart<'_>) -> Result<Option<String>, String> {
    for name in ["file", "filepath"] {
        if let Some(file) = attribute(element, name)?.filter(|file| !file.is_empty()) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = element.try_get_attribute(name).map_err(|error| format!("its report is no XML: {error}"))?;
    let read = found.map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0).map(std::borrow::Cow::into_owned));
    read.transpose().map_err(|error| format!("its report is no XML: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(text: &str) -> Vec<(String, Outcome)> {
        read(text).expect("a report").cases.into_iter().map(|case| (case.name, case.outcome)).collect()
    }

    #[test]
    fn cases_and_their_outcomes_are_read() {
        let report = read(
            r#"<?xml version="1.0"?><testsuites tests="4" failures="1"><testsuite name="s" file="t/a.js" tests="4" failures="1" errors="1">
            <testcase name="one" classname="C" time="1,000.5"/>
            <testcase name="two" line="7"><failure message="a &lt; b" type="T"><![CDATA[at line 7]]> &amp;c&#10;</failure><system-out>hi</system-out></testcase>
            <testcase name="three"><skipped/></testcase>
            <testcase name="four"><error type="E">boom</error><failure>too</failure></testcase></testsuite></testsuites>"#,
        )
        .expect("a report");
        assert_eq!(report.troubles, []);
        let all: Vec<_> = report.cases.iter().map(|case| (case.name.as_str(), case.outcome, case.message.as_str())).collect();
        let bad = [("two", Outcome::Failed, "a < b"), ("three", Outcome::Skipped, ""), ("four", Outcome::Errored, "E")];
        assert_eq!(all, [&[("one", Outcome::Passed, "")], &bad[..]].concat());
        let two = &report.cases[1];
        assert_eq!((two.details.as_str(), two.output.as_str(), two.at_line), ("a < bat line 7 &c", "hi", 7));
        assert_eq!((report.cases[0].micros, report.cases[0].file.as_deref()), (1_000_500_000, Some("t/a.js")));
    }

    #[test]
    fn half_a_report_is_none() {
        let whole = r#"<testsuite name="s" tests="2"><testcase name="a"/><testcase name="b"/></testsuite>"#;
        assert_eq!(outcomes(whole).len(), 2);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&format!("{whole}{whole}")).is_err(), "two roots");
        assert!(read("<html></html>").is_err());
        assert!(read(&"<testsuite>".repeat(100)).is_err());
    }

    #[test]
    fn what_is_counted_and_not_shown_is_no_proof() {
        assert!(read(r#"<testsuite tests="2"><testcase name="a"/></testsuite>"#).is_err());
        let hidden = read(r#"<testsuites><testsuite name="s" tests="1" errors="1"><testcase name="a"/></testsuite></testsuites>"#);
        assert_eq!(hidden.expect("a report").troubles.len(), 1);
        let load = read(r#"<testsuite name="s" errors="1"><error message="cannot load"/></testsuite>"#).expect("a report");
        assert_eq!(load.troubles[0].message, "cannot load");
    }

    #[test]
    fn a_repeated_attempt_does_not_count() {
        let text = r#"<testsuite tests="1"><testcase name="a"><flakyFailure message="once">x</flakyFailure></testcase></testsuite>"#;
        assert_eq!(outcomes(text), [("a".to_owned(), Outcome::Passed)]);
    }
}
