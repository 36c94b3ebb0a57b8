//! What is kept of all files of one key, as one piece of bytes.
//!
//! `{"splitci-results":2,"key":"…","files":{"tests/test_a.py":{"of":"01J…","at":"2026-…","at_ms":…,"tests":[["tests/test_a.py::test_x",false,12000]]}},"gone":{}}`:
//! of each test its id, whether it skipped itself, and its microseconds. The key is inside, so that a pack under another's name is none. A pack of another
//! version, or with anything in it that no run would have kept, is not there.
//!
//! Several machines write packs of one key, and none waits for another: packs are put together when they are read. So what is taken back leaves a mark with its
//! time, or an older pack would bring it in again. Who may write one is not known here: packs come out of sealed records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::model::event::{Proven, ProvenTest};
use crate::model::{Outcome, RunId, SuiteId};

/// Another number is another format.
const VERSION: u16 = 2;
/// What is kept this long is not believed any more: what no key holds has changed too often.
pub const EXPIRES_MS: u64 = 14 * 24 * 3_600_000;
/// A clock may be wrong by so much; what is kept from a later time is not believed.
const AHEAD_MS: u64 = 24 * 3_600_000;

/// What is kept under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// By file, as the run names it.
    pub files: BTreeMap<String, Entry>,
    /// What was taken back, and when, in milliseconds since 1970: nothing that is not younger counts.
    pub gone: BTreeMap<String, u64>,
}

/// What is kept of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The run that ran it.
    pub of: RunId,
    /// Wall clock at that run's start, RFC 3339 in UTC.
    pub at: String,
    /// The same in milliseconds since 1970.
    pub at_ms: u64,
    /// Id, whether it skipped itself, microseconds.
    tests: Vec<(String, bool, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(rename = "splitci-results")]
    version: u16,
    key: String,
    files: BTreeMap<String, Entry>,
    gone: BTreeMap<String, u64>,
}

impl Entry {
    /// Of tests that all passed or skipped themselves, one at least the former; nothing of others. An expected failure is not kept: that it is there is
    /// what somebody wants to see. A file without a test shows nothing.
    pub fn of(run: &RunId, at: &str, at_ms: u64, tests: &[ProvenTest]) -> Option<Self> {
        let kept = |test: &ProvenTest| match test.outcome {
            Outcome::Passed | Outcome::Skipped => Some((test.id.clone(), test.outcome == Outcome::Skipped, test.micros)),
            Outcome::Failed | Outcome::Errored | Outcome::ExpectedFailure | Outcome::UnexpectedPass => None,
        };
        let tests = tests.iter().map(kept).collect::<Option<Vec<_>>>()?;
        let entry = Self { of: run.clone(), at: at.to_owned(), at_ms, tests };
        entry.is_sound().then_some(entry)
    }

    fn is_sound(&self) -> bool {
        !self.of.0.is_empty() && !self.at.is_empty() && self.tests.iter().any(|(_, skipped, _)| !skipped)
    }

    /// Whether it is still believed.
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.at_ms) <= EXPIRES_MS && self.at_ms <= now_ms.saturating_add(AHEAD_MS)
    }

    /// Whether these are its tests and outcomes, in whatever order.
    pub fn says(&self, tests: &[ProvenTest]) -> bool {
        let skipped = |test: &ProvenTest| test.outcome == Outcome::Skipped;
        let mut now: Vec<_> = tests.iter().map(|test| (&*test.id, skipped(test))).collect();
        let mut kept: Vec<_> = self.tests.iter().map(|(id, skipped, _)| (&**id, *skipped)).collect();
        now.sort_unstable();
        kept.sort_unstable();
        now == kept
    }

    /// As evidence for a run.
    pub fn proven(&self, suite: SuiteId, file: &str, key: Key, record: bool) -> Proven {
        let outcome = |skipped: bool| if skipped { Outcome::Skipped } else { Outcome::Passed };
        let test = |(id, skipped, micros): &(String, bool, u64)| ProvenTest { id: id.clone(), outcome: outcome(*skipped), micros: *micros };
        Proven {
            suite,
            file: file.to_owned(),
            of: self.of.clone(),
            key: key.to_hex(),
            at: self.at.clone(),
            record,
            tests: self.tests.iter().map(test).collect(),
        }
    }
}

impl Pack {
    /// The pack in these bytes, if it is one of this key.
    pub fn read(bytes: &[u8], key: Key) -> Option<Self> {
        let body: Body = serde_json::from_slice(bytes).ok()?;
        let ours = body.version == VERSION && body.key == key.to_hex() && body.files.values().all(Entry::is_sound);
        ours.then_some(Self { files: body.files, gone: body.gone })
    }

    /// What both say: the younger entry of each file, unless it was taken back since.
    pub fn join(&mut self, other: Self) {
        for (file, at_ms) in other.gone {
            let since = self.gone.entry(file).or_default();
            *since = at_ms.max(*since);
        }
        for (file, entry) in other.files {
            if self.files.get(&file).is_none_or(|ours| ours.at_ms < entry.at_ms) {
                self.files.insert(file, entry);
            }
        }
        let gone = &self.gone;
        self.files.retain(|file, entry| gone.get(file).is_none_or(|since| entry.at_ms > *since));
    }

    /// Takes back what is kept of a file.
    pub fn take_back(&mut self, file: &str, at_ms: u64) {
        self.files.remove(file);
        self.gone.insert(file.to_owned(), at_ms);
    }

    /// Forgets what is too old to be believed, and marks that nothing can be younger than.
    pub fn expire(&mut self, now_ms: u64) {
        self.files.retain(|_, entry| entry.is_fresh(now_ms));
        self.gone.retain(|_, since| now_ms.saturating_sub(*since) <= EXPIRES_MS);
    }

    /// It as bytes.
    ///
    /// # Panics
    /// Never: it is plain data with string keys, which always serialises.
    pub fn write(&self, key: Key) -> Vec<u8> {
        let body = Body { version: VERSION, key: key.to_hex(), files: self.files.clone(), gone: self.gone.clone() };
        #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
        serde_json::to_vec(&body).expect("a pack serialises")
    }
}
