//! The journal of an environment: what was intended, what came of it and what was decided, one row after the other, each holding the hash of the one before.
//!
//! A row is one line of JSON, in exactly one form: what does not read as it would be written is refused, so that no byte can be changed without breaking the chain. Rows of
//! several deploys follow each other in one chain; fences never go down in it. Of several copies the longest valid chain counts, and reality is reconciled with it.
//!
//! Not here: where copies lie, and how they get to disk. A row says that something *is to happen* before it does, and that it *did* afterwards, never the other way round.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::words::{Course, Decision, Effect, Outcome};
use crate::model::Fence;
use crate::model::environment::{DeployId, Release};

/// Longest line that is read, in bytes.
pub const LONGEST_ROW: usize = 1 << 20;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its place, from 0.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970; never before the one before it.
    pub time: u64,
    /// Of which deploy.
    pub deploy: DeployId,
    /// Under which fence.
    pub fence: Fence,
    /// Who wrote it.
    pub actor: String,
    /// About what.
    pub step: Step,
    /// Before or after.
    pub phase: Phase,
    /// What shows it.
    pub evidence: Evidence,
    /// Hash of the line before it, blake3 in hex; 64 zeros in the first.
    pub previous: String,
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Something that is done.
    Effect(Effect),
    /// Something that was decided.
    Decision(Decision),
}

/// Before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is to happen.
    Intent,
    /// It did, or failed to. Decisions have this row only.
    Outcome,
}

/// What shows that something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Nothing yet, or nothing more than the row.
    Nothing,
    /// What the engine or the balancer answered.
    Seen(String),
    /// It was refused, and would be again: what was said.
    Refused(String),
    /// It failed, or its answer was lost: it may have happened or not, and is tried again if it is still due.
    Failed(String),
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of which deploy.
    pub deploy: DeployId,
    /// Under which fence.
    pub fence: Fence,
    /// Who writes it.
    pub actor: String,
    /// About what.
    pub step: Step,
    /// Before or after.
    pub phase: Phase,
    /// What shows it.
    pub evidence: Evidence,
}

/// A chain of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    rows: Vec<Row>,
    head: String,
}

impl Default for Journal {
    fn default() -> Self {
        Self { rows: Vec::new(), head: "0".repeat(64) }
    }
}

/// What is wrong with a copy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {seq} of the journal {fault}")]
pub struct JournalError {
    /// The place of the row, from 0.
    pub seq: u64,
    /// What is wrong with it.
    pub fault: RowFault,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// Its line has no end: it was being written.
    #[error("is cut off")]
    CutOff,
    /// It is not a row, or not in the one form that rows have.
    #[error("is no row of a journal")]
    Malformed,
    /// It has another number than its place.
    #[error("is out of order")]
    OutOfOrder,
    /// It does not hold the hash of the row before it.
    #[error("does not follow the row before it")]
    Unchained,
    /// Its fence is lower than that of the row before it: somebody wrote who must not any more.
    #[error("was written under a fence that was over")]
    OldFence,
    /// Its time is before that of the row before it.
    #[error("is older than the row before it")]
    Older,
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self.fault {
            RowFault::CutOff => "resume the deploy: what came before the row counts",
            _ => "compare the copies on the environment's engines: the longest valid one counts",
        }
    }
}

/// What several copies come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The longest valid chain.
    pub journal: Journal,
    /// Copies, by place, that have to be brought up to it: shorter ones, and those that hold something else.
    pub behind: Vec<usize>,
    /// Some valid row of another copy is not in it.
    pub forked: bool,
}

impl Journal {
    /// Its rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The hash of its last line, blake3 in hex.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// The highest fence that anybody wrote under.
    pub fn fence(&self) -> Fence {
        self.rows.last().map_or(Fence(0), |row| row.fence)
    }

    /// Writes a row, and gives its line without the end of the line. A clock that went back counts as one that stood still. An entry under an old fence is refused.
    pub fn append(&mut self, now_ms: u64, entry: Entry) -> Result<String, JournalError> {
        let Entry { deploy, fence, actor, step, phase, evidence } = entry;
        let (seq, time) = (self.rows.len() as u64, self.rows.last().map_or(now_ms, |last| last.time.max(now_ms)));
        let row = Row { seq, time, deploy, fence, actor, step, phase, evidence, previous: self.head.clone() };
        let line = written(&row).ok_or(JournalError { seq, fault: RowFault::Malformed })?;
        self.take(&line)?;
        Ok(line)
    }

    /// Reads a whole journal, and refuses it if anything is wrong with it.
    pub fn parse(text: &str) -> Result<Self, JournalError> {
        match Self::longest_prefix(text) {
            (journal, None) => Ok(journal),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads as much of a copy as is valid, and says what is wrong with the rest.
    pub fn longest_prefix(text: &str) -> (Self, Option<JournalError>) {
        let mut journal = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let read = match rest.split_once('\n') {
                Some((line, after)) => {
                    rest = after;
                    journal.take(line)
                }
                None => Err(JournalError { seq: journal.rows.len() as u64, fault: RowFault::CutOff }),
            };
            if let Err(error) = read {
                return (journal, Some(error));
            }
        }
        (journal, None)
    }

    /// The longest valid chain of several copies. Of two that are equally long the one with the higher fence counts, then the one with the greater hash: everybody
    /// comes to the same.
    pub fn agree<T: AsRef<str>>(copies: &[T]) -> Agreed {
        let chains: Vec<_> = copies.iter().map(|copy| Self::longest_prefix(copy.as_ref())).collect();
        let rank = |journal: &Self| (journal.rows.len(), journal.fence(), journal.head.clone());
        let journal = chains.iter().map(|(journal, _)| journal).max_by_key(|journal| rank(journal)).cloned().unwrap_or_default();
        let behind = (0..).zip(&chains).filter(|(_, (chain, error))| error.is_some() || *chain != journal).map(|(at, _)| at).collect();
        let forked = chains.iter().any(|(chain, _)| !journal.rows.starts_with(&chain.rows));
        Agreed { journal, behind, forked }
    }

    /// Its lines, each with its end.
    pub fn text(&self) -> String {
        self.rows.iter().filter_map(written).map(|line| line + "\n").collect()
    }

    /// What a deploy began with.
    pub fn course(&self, deploy: &DeployId) -> Option<&Course> {
        self.rows.iter().filter(|row| row.deploy == *deploy).find_map(|row| match &row.step {
            Step::Decision(Decision::Began(course)) => Some(&**course),
            _ => None,
        })
    }

    /// The last deploy, if it is not over.
    pub fn unfinished(&self) -> Option<&DeployId> {
        let last = &self.rows.last()?.deploy;
        let over = |row: &&Row| row.deploy == *last && matches!(row.step, Step::Decision(Decision::Finished(_)));
        self.rows.iter().find(over).is_none().then_some(last)
    }

    /// The last release that finished its soak here (R3, I16): what serves before it has is not stable, however long it is what serves.
    pub fn stable(&self) -> Option<&Release> {
        self.stable_course().map(|course| &course.target)
    }

    /// How it came to be the one.
    pub fn stable_course(&self) -> Option<&Course> {
        self.finished().next()
    }

    /// The release that finished its soak before the stable one, if there was another: what a person goes back to.
    pub fn previous(&self) -> Option<&Course> {
        let stable = self.stable()?;
        self.finished().find(|course| course.target != *stable)
    }

    /// Images that are gone back to, or may be: no others are kept.
    pub fn images_to_keep(&self) -> BTreeSet<String> {
        let unfinished = self.unfinished().and_then(|deploy| self.course(deploy)).into_iter();
        let begun = unfinished.flat_map(|course| [Some(&course.target), course.current.as_ref()]).flatten();
        let settled = self.stable().into_iter().chain(self.previous().map(|course| &course.target));
        begun.chain(settled).map(|release| release.image.clone()).collect()
    }

    /// A release in the release repository, by the digest of its manifest, if it was ever deployed from there.
    pub fn manifest(&self, release: &Release) -> Option<&str> {
        let courses = self.rows.iter().rev().filter_map(|row| match &row.step {
            Step::Decision(Decision::Began(course)) => Some(course),
            _ => None,
        });
        courses.filter(|course| course.target == *release && !course.manifest.is_empty()).map(|course| course.manifest.as_str()).next()
    }

    /// Every deploy that finished its soak, the latest first. One that had nothing to do watched nothing.
    fn finished(&self) -> impl Iterator<Item = &Course> {
        let ended = |row: &Row| matches!(&row.step, Step::Decision(Decision::Finished(Outcome::Done | Outcome::Degraded(_))));
        let rows = self.rows.iter().rev().filter(move |row| ended(row));
        rows.filter_map(|row| self.course(&row.deploy)).filter(|course| course.leg.is_some())
    }

    /// Takes in one line, if it follows.
    fn take(&mut self, line: &str) -> Result<(), JournalError> {
        let fault = |fault| JournalError { seq: self.rows.len() as u64, fault };
        if line.len() > LONGEST_ROW {
            return Err(fault(RowFault::Malformed));
        }
        let row: Row = serde_json::from_str(line).map_err(|_| fault(RowFault::Malformed))?;
        if written(&row).as_deref() != Some(line) {
            return Err(fault(RowFault::Malformed));
        }
        if row.seq != self.rows.len() as u64 {
            return Err(fault(RowFault::OutOfOrder));
        }
        if row.previous != self.head {
            return Err(fault(RowFault::Unchained));
        }
        if row.fence < self.fence() {
            return Err(fault(RowFault::OldFence));
        }
        if self.rows.last().is_some_and(|last| row.time < last.time) {
            return Err(fault(RowFault::Older));
        }
        self.head = blake3::hash(line.as_bytes()).to_hex().to_string();
        self.rows.push(row);
        Ok(())
    }
}

/// The one form of a row. Rows are plain data and can always be written; one that could not would not be taken.
fn written(row: &Row) -> Option<String> {
    serde_json::to_string(row).ok()
}
