//! What stands between a run and green, one by one, with its place: for reports whose readers jump to a line (CI systems).
//!
//! Tests that failed, sessions that ended wrongly, and one for everything that is not proven, so that no list is empty unless the run is green. Behind
//! them stand files that do not do what they were proven to do, and tests that passed only when they were tried again, which are in nobody's way.

use super::account::Account;
use super::words::{crash, harmless, one_line, repro, session_error};
use crate::model::verdict::Verdict;
use crate::proof::{Canary, Failing, TestState, TestView};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A test's id, a session, or the run.
    pub what: String,
    /// File, relative to the project; empty when there is none to point at.
    pub file: String,
    /// Line there, from 1; 0 when unknown.
    pub line: u32,
    /// Why, in a line.
    pub reason: String,
    /// The command that runs it again; empty when there is none.
    pub command: String,
    /// It stands in nobody's way: a test that passed when it was tried again.
    pub mild: bool,
}

/// All of them, in the manifest's order.
pub fn findings(account: &Account) -> Vec<Finding> {
    let run = account.started().map_or("RUN", |started| &started.run.0);
    let tests = account.proof().failures().map(|failure| {
        let texts = failure.fence.and_then(|fence| account.texts(failure.test, fence));
        let reason = match failure.how {
            Failing::Crash(how) => crash(how),
            Failing::Outcome(_) => texts.map(|texts| one_line(&texts.message, usize::MAX)).unwrap_or_default(),
        };
        // A place outside of the project is nothing that a CI system could show.
        let place = failure.place.filter(|(file, _)| !file.starts_with('/'));
        let (file, line) = place.map_or_else(|| (account.path_of(failure.test.unit), 0), |(file, line)| (file.to_owned(), line));
        let command = repro(run, failure.session, Some(failure.id));
        let reason = if failure.flaky { flaky(&reason) } else { reason };
        Finding { what: harmless(failure.id), file: harmless(&file), line, reason, command, mild: false }
    });
    let sessions = account.proof().session_errors().iter().map(|ended| Finding {
        what: format!("session {}", ended.session),
        file: String::new(),
        line: 0,
        reason: session_error(ended),
        command: repro(run, ended.session, None),
        mild: false,
    });
    let unproven = matches!(account.verdict(), Verdict::None | Verdict::Empty | Verdict::Failed { complete: false } | Verdict::Interrupted);
    let stopped = unproven.then(|| Finding {
        what: "the run".to_owned(),
        file: String::new(),
        line: 0,
        reason: if account.verdict() == Verdict::Empty { "no test ran" } else { "not everything is proven" }.to_owned(),
        command: format!("splitci report {run}"),
        mild: false,
    });
    tests.chain(sessions).chain(stopped).chain(differing_files(account)).chain(flaky_tests(account, run)).collect()
}

/// Files that do not do what they were proven to do. Where that is a failure it stands among the others too.
fn differing_files(account: &Account) -> impl Iterator<Item = Finding> + '_ {
    let differing = account.proof().canaries().filter(|(_, canary)| *canary == Canary::Differs);
    differing.map(|(proven, _)| {
        let suite = account.started().and_then(|started| started.settings.suite(proven.suite));
        let path = suite.map_or_else(|| proven.file.clone(), |suite| suite.path(suite.plain(&proven.file)));
        let reason = format!("it does not do what it did in run {}, on the same image, command and environment", proven.of);
        Finding { what: harmless(&proven.file), file: harmless(&path), line: 0, reason, command: String::new(), mild: true }
    })
}

/// Tests that passed when they were tried again, with their first failures.
fn flaky_tests<'a>(account: &'a Account, run: &'a str) -> impl Iterator<Item = Finding> + 'a {
    let all = account.proof().tests().filter(|view| view.flaky && !is_bad(view));
    all.filter_map(move |view| {
        let first = *account.proof().tries(view.test).first()?;
        let texts = account.texts(view.test, first.fence).cloned().unwrap_or_default();
        let elsewhere = texts.file.is_empty() || texts.file.starts_with('/');
        let (file, line) = if elsewhere { (account.path_of(view.test.unit), 0) } else { (texts.file.clone(), texts.line) };
        Some(Finding {
            what: harmless(view.id),
            file: harmless(&file),
            line,
            reason: flaky(&one_line(&texts.message, usize::MAX)),
            command: repro(run, first.session, Some(view.id)),
            mild: true,
        })
    })
}

fn is_bad(view: &TestView<'_>) -> bool {
    matches!(view.state, TestState::Final(result) if result.outcome.is_bad())
}

fn flaky(first: &str) -> String {
    let colon = if first.is_empty() { "" } else { ": " };
    format!("flaky: it failed, and passed when it was tried again{colon}{first}")
}
