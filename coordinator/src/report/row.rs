//! A run in one line of the list of runs.
//!
//! Kept beside its record once it is worked out, hence serialisable; what is kept is never taken for proof.

use serde::{Deserialize, Serialize};

use super::account::{Account, Depth};
use crate::history::{HistoryError, RecordFile};
use crate::model::RunId;
use crate::model::settings::{EngineKind, RunSettings};
use crate::model::verdict::Verdict;
use crate::proof::Counts;

/// What is listed of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Wall clock at its start, RFC 3339 in UTC.
    pub started: String,
    /// From its start to its end in milliseconds.
    pub wall_ms: u64,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its exit status; absent when it was killed or is still going on.
    pub exit: Option<u8>,
    /// Its tests.
    pub counts: Counts,
    /// Where its shards ran.
    pub engine: EngineKind,
    /// How many shards it had at most.
    pub shards: u32,
    /// The framework's command; where there are several suites, their names.
    pub command: Vec<String>,
    /// The run that it reproduces, or whose failures it ran.
    pub of: Option<RunId>,
}

/// The command; where there are several suites, their names.
fn command(settings: &RunSettings) -> Vec<String> {
    match &settings.suites[..] {
        [only] => only.command.clone(),
        several => several.iter().map(|suite| suite.name.clone()).collect(),
    }
}

/// The row of a record; nothing for a run that was killed before it began. Made for `History::list`.
pub fn row(record: &mut RecordFile) -> Result<Option<RunRow>, HistoryError> {
    Ok(of(&Account::replay(record, Depth::Messages)?))
}

/// The row of an account.
pub fn of(account: &Account) -> Option<RunRow> {
    let started = account.started()?;
    Some(RunRow {
        started: started.started.clone(),
        wall_ms: account.wall_ms(),
        verdict: account.verdict(),
        exit: account.exit(),
        counts: account.proof().counts(),
        engine: started.settings.engine,
        shards: started.settings.shards,
        command: command(&started.settings),
        of: started.of.clone(),
    })
}
