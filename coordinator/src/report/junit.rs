//! JUnit XML, as CI systems read it: a test suite for each file, a test case for each test.
//!
//! Failed tests are failures; what errored or crashed is an error; expected failures are skipped, as pytest has them. What is not a test and still
//! keeps the run from being green (sessions that ended wrongly, tests and units that are not proven, contradictions in the record) is an error in a
//! suite called `splitci`, so that a file with nothing but passes can only come of a run that passed. Two tests with one id are two test cases.
//!
//! A test that was not run since it was proven before is a test case that took no time, with the property `splitci.reused`, which names the run that shows
//! it; its suite has that too, with time and key. It is neither a failure nor, if it passed, skipped: those who count have to count it as what it is.
//!
//! A test that was tried again is one test case, with its other failures in it.
//!
//! Any bytes that tests printed give valid XML: escape sequences and what XML has no place for are left out.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{FlakyOrRerun, NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::account::{Account, Texts};
use super::words::{crash, missing, one_line, outcome, session_error};
use crate::model::Outcome;
use crate::model::event::{Crash, Proven};
use crate::model::settings::SuiteSettings;
use crate::model::verdict::Verdict;
use crate::proof::{Fault, TestResult, TestState, TestView};

/// Messages are one line and no longer than this; the whole is in the details.
const MOST_MESSAGE: usize = 2_000;

/// The document cannot be made: the XML library refuses something that it is given.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the JUnit report")]
pub struct JunitError(#[source] SerializeError);

/// The document.
pub fn render(account: &Account) -> Result<String, JunitError> {
    let mut report = Report::new("splitci");
    report.set_time(Duration::from_millis(account.wall_ms()));
    for (file, views) in by_file(account) {
        report.add_test_suite(suite(account, file, &views));
    }
    for proven in account.proof().reused() {
        report.add_test_suite(reused(account, proven));
    }
    let unproven = unproven(account);
    if !unproven.test_cases.is_empty() {
        report.add_test_suite(unproven);
    }
    report.to_string().map_err(JunitError)
}

/// Tests by file, files in the suite's order, tests in the file's.
fn by_file(account: &Account) -> Vec<(&str, Vec<TestView<'_>>)> {
    let places: BTreeMap<_, _> = account.proof().suite().zip(0_usize..).map(|(file, at)| (&**file, at)).collect();
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for view in account.proof().tests() {
        let place = places.get(view.unit_file).copied().unwrap_or(usize::MAX);
        files.entry((place, view.unit_file)).or_default().push(view);
    }
    for views in files.values_mut() {
        views.sort_by_key(|view| (view.test.ordinal, view.test.unit));
    }
    files.into_iter().map(|((_, file), views)| (file, views)).collect()
}

fn suite(account: &Account, file: &str, views: &[TestView<'_>]) -> TestSuite {
    let mut suite = TestSuite::new(clean(file));
    let micros = views.iter().fold(0_u64, |sum, view| sum.saturating_add(micros(view)));
    suite.set_time(Duration::from_micros(micros));
    if let Some(started) = account.started() {
        suite.extra.insert("timestamp".into(), clean(&started.started).into());
    }
    suite.add_test_cases(views.iter().map(|view| test_case(account, view)));
    suite
}

/// A file that was not run.
fn reused(account: &Account, proven: &Proven) -> TestSuite {
    let mut suite = TestSuite::new(clean(&proven.file));
    suite.set_time(Duration::ZERO);
    for (name, value) in [("splitci.reused", &proven.of.0), ("splitci.reused.at", &proven.at), ("splitci.reused.key", &proven.key)] {
        suite.add_property((name.to_owned(), clean(value)));
    }
    let settings = account.started().and_then(|started| started.settings.suite(proven.suite)).cloned().unwrap_or_default();
    let path = settings.path(settings.plain(&proven.file));
    suite.add_test_cases(proven.tests.iter().map(|test| {
        let status = if test.outcome == Outcome::Skipped { TestCaseStatus::skipped() } else { TestCaseStatus::success() };
        let mut case = identified(&settings, (&proven.file, &test.id), status);
        case.set_time(Duration::ZERO);
        case.extra.insert("file".into(), clean(&path).into());
        case.add_property(("splitci.reused".to_owned(), clean(&proven.of.0)));
        case
    }));
    suite
}

/// A test case with the names of a test of this file.
fn identified(suite: &SuiteSettings, (file, id): (&str, &str), status: TestCaseStatus) -> TestCase {
    let (class, name) = class_and_name(suite.plain(file), suite.plain(id));
    let class = if suite.name.is_empty() { class } else { format!("{}.{class}", suite.name) };
    let mut case = TestCase::new(clean(name), status);
    case.set_classname(clean(&class));
    case
}

fn micros(view: &TestView<'_>) -> u64 {
    match view.state {
        TestState::Final(result) => result.micros,
        TestState::Crashed(_) | TestState::Missing => 0,
    }
}

fn test_case(account: &Account, view: &TestView<'_>) -> TestCase {
    let suite = account.suite_of(view.test.unit).cloned().unwrap_or_default();
    let path = account.path_of(view.test.unit);
    let texts = match view.state {
        TestState::Final(result) => account.texts(view.test, result.fence),
        TestState::Crashed(_) | TestState::Missing => None,
    };
    let mut status = status(view, texts);
    add_tries(&mut status, account, view);
    let mut case = identified(&suite, (view.unit_file, view.id), status);
    case.set_time(Duration::from_micros(micros(view)));
    case.extra.insert("file".into(), clean(&path).into());
    let Some(texts) = texts else { return case };
    if texts.line > 0 && texts.file == path {
        case.extra.insert("line".into(), texts.line.to_string().into());
    }
    if texts.left_out {
        case.set_system_out("left out: the outputs of this run are larger than a report may be; its record has them");
    } else if !texts.output.is_empty() {
        case.set_system_out(clean(&texts.output));
    }
    case
}

fn status(view: &TestView<'_>, texts: Option<&Texts>) -> TestCaseStatus {
    match view.state {
        TestState::Final(result) => final_status(result, texts),
        TestState::Crashed(crashed) if crashed.how == Crash::ShardLost => error(&crash(crashed.how), "lost"),
        TestState::Crashed(crashed) => error(&crash(crashed.how), "crashed"),
        TestState::Missing => error("it was not run to its end", "missing"),
    }
}

fn final_status(result: &TestResult, texts: Option<&Texts>) -> TestCaseStatus {
    let mut status = match result.outcome {
        Outcome::Passed | Outcome::UnexpectedPass => return TestCaseStatus::success(),
        Outcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Errored => TestCaseStatus::non_success(NonSuccessKind::Error),
        Outcome::Skipped | Outcome::ExpectedFailure => TestCaseStatus::skipped(),
    };
    status.set_type(outcome(result.outcome));
    let Some(texts) = texts else { return status };
    if !texts.message.is_empty() {
        status.set_message(clean(&one_line(&texts.message, MOST_MESSAGE)));
    }
    if !texts.details.is_empty() {
        status.set_description(clean(&texts.details));
    }
    status
}

/// The failures of a test that was tried again, but for the one that stands: of one that passed they are flaky ones, of others reruns.
fn add_tries(status: &mut TestCaseStatus, account: &Account, view: &TestView<'_>) {
    let standing = match view.state {
        TestState::Final(result) => Some(result.fence),
        TestState::Crashed(_) | TestState::Missing => None,
    };
    if view.flaky {
        status.set_rerun_kind(FlakyOrRerun::Flaky);
    }
    let tries = account.proof().tries(view.test).into_iter();
    let others = tries.filter(|result| result.outcome.is_bad() && Some(result.fence) != standing);
    status.add_reruns(others.map(|result| {
        let kind = if result.outcome == Outcome::Errored { NonSuccessKind::Error } else { NonSuccessKind::Failure };
        let mut rerun = TestRerun::new(kind);
        rerun.set_time(Duration::from_micros(result.micros)).set_type(outcome(result.outcome));
        let Some(texts) = account.texts(view.test, result.fence) else { return rerun };
        rerun.set_message(clean(&one_line(&texts.message, MOST_MESSAGE)));
        if !texts.details.is_empty() {
            rerun.set_stack_trace(clean(&texts.details));
        }
        if !texts.output.is_empty() {
            rerun.set_system_out(clean(&texts.output));
        }
        rerun
    }));
}

fn error(message: &str, kind: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(clean(message)).set_type(kind);
    status
}

/// What is not a test and keeps the run from being green.
fn unproven(account: &Account) -> TestSuite {
    let mut suite = TestSuite::new("splitci");
    let proof = account.proof();
    for ended in proof.session_errors() {
        let mut case = named(&format!("session {}", ended.session), &session_error(ended), "session");
        let said = if ended.errors.is_empty() { account.tail(ended.session).unwrap_or_default() } else { &ended.errors };
        if !said.is_empty() {
            case.status.set_description(clean(said));
        }
        suite.add_test_case(case);
    }
    let sentences = proof.missing().map(|what| missing(&what)).chain(proof.faults().iter().map(Fault::to_string));
    suite.add_test_cases(sentences.map(|sentence| named("proof", &sentence, "missing")));
    let verdict = match account.verdict() {
        Verdict::Passed | Verdict::Empty | Verdict::Failed { complete: true } => return suite,
        Verdict::Failed { complete: false } => "the run failed, and did not get to its end",
        Verdict::None => "the run has no verdict",
        Verdict::Interrupted => "the run was interrupted",
    };
    suite.add_test_case(named("verdict", verdict, "incomplete"));
    suite
}

fn named(name: &str, message: &str, kind: &str) -> TestCase {
    let mut case = TestCase::new(name, error(message, kind));
    case.set_classname("splitci");
    case
}

/// `tests/test_a.py::TestX::test_y[a::b]` is `test_y[a::b]` in `tests.test_a.TestX`, as pytest's own report has it.
fn class_and_name<'a>(file: &str, id: &'a str) -> (String, &'a str) {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let module = stem.replace('/', ".");
    let Some(rest) = id.strip_prefix(file).and_then(|rest| rest.strip_prefix("::")) else { return (module, id) };
    let parameters = rest.find('[').unwrap_or(rest.len());
    match rest[..parameters].rfind("::") {
        Some(at) => (format!("{module}.{}", rest[..at].replace("::", ".")), &rest[at + 2..]),
        None => (module, rest),
    }
}

/// Without the two characters that XML forbids and the library lets through.
fn clean(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "")
}
