//! What stands between a run and green, one by one, with its place: for reports whose readers jump to a line (CI systems).
//!
//! Tests that failed, sessions that ended wrongly, and one for everything that is not proven, so that no list is empty unless the run is green.

use super::account::Account;
use super::words::{crash, harmless, one_line, repro, session_error};
use crate::model::verdict::Verdict;
use crate::proof::Failing;

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
        let (file, line) = failure.place.unwrap_or((failure.unit_file, 0));
        // A place outside of the project is nothing that a CI system could show.
        let (file, line) = if file.starts_with('/') { (failure.unit_file, 0) } else { (file, line) };
        let command = repro(run, failure.session, Some(failure.id));
        Finding { what: harmless(failure.id), file: harmless(file), line, reason, command }
    });
    let sessions = account.proof().session_errors().iter().map(|ended| Finding {
        what: format!("session {}", ended.session),
        file: String::new(),
        line: 0,
        reason: session_error(ended),
        command: repro(run, ended.session, None),
    });
    let unproven = matches!(account.verdict(), Verdict::None | Verdict::Empty | Verdict::Failed { complete: false } | Verdict::Interrupted);
    let run = unproven.then(|| Finding {
        what: "the run".to_owned(),
        file: String::new(),
        line: 0,
        reason: if account.verdict() == Verdict::Empty { "no test ran" } else { "not everything is proven" }.to_owned(),
        command: format!("splitci report {run}"),
    });
    tests.chain(sessions).chain(run).collect()
}
