//! What is kept of all files of one key, as one piece of bytes.
//!
//! `{"splitci-results":1,"key":"…","files":{"tests/test_a.py":{"of":"01J…","at":"2026-…","at_ms":…,"tests":[["tests/test_a.py::test_x",false,12000]]}}}`: of each
//! test its id, whether it skipped itself, and its microseconds. The key is inside, so that a pack under another's name is none. A pack of another version,
//! or with anything in it that no run would have kept, is not there.
//!
//! It is sealed before it is kept: 32 bytes of a keyed hash stand before it. Who cannot read the secret cannot make a pack that opens, nor change a bit of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::model::event::{Proven, ProvenTest};
use crate::model::{Outcome, RunId, SuiteId};

/// Another number is another format.
const VERSION: u16 = 1;
/// What is kept this long is not believed any more: what no key holds has changed too often.
pub const EXPIRES_MS: u64 = 14 * 24 * 3_600_000;
/// A clock may be wrong by so much; what is kept from a later time is not believed.
const AHEAD_MS: u64 = 24 * 3_600_000;
/// Names the derivation of the key that packs are sealed with.
const SEAL_CONTEXT: &str = "splitci results, seal v1";
const SEAL: usize = 32;

/// What is kept under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// By file, as the run names it.
    pub files: BTreeMap<String, Entry>,
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
    pub fn read(bytes: &[u8], key: Key, secret: &[u8; 32]) -> Option<Self> {
        let body: Body = serde_json::from_slice(open(bytes, secret)?).ok()?;
        let ours = body.version == VERSION && body.key == key.to_hex() && body.files.values().all(Entry::is_sound);
        ours.then_some(Self { files: body.files })
    }

    /// It as bytes.
    ///
    /// # Panics
    /// Never: it is plain data with string keys, which always serialises.
    pub fn write(&self, key: Key, secret: &[u8; 32]) -> Vec<u8> {
        let body = Body { version: VERSION, key: key.to_hex(), files: self.files.clone() };
        #[expect(clippy::expect_used, reason = "plain data with string keys always serialises")]
        let body = serde_json::to_vec(&body).expect("a pack serialises");
        seal(&body, secret)
    }
}

/// Puts a seal before bytes.
pub fn seal(bytes: &[u8], secret: &[u8; 32]) -> Vec<u8> {
    [seal_of(bytes, secret).as_bytes(), bytes].concat()
}

/// Bytes behind a seal, if it is theirs.
pub fn open<'a>(sealed: &'a [u8], secret: &[u8; 32]) -> Option<&'a [u8]> {
    let (seal, bytes) = sealed.split_first_chunk::<SEAL>()?;
    // Compared in constant time.
    (seal_of(bytes, secret) == blake3::Hash::from_bytes(*seal)).then_some(bytes)
}

fn seal_of(bytes: &[u8], secret: &[u8; 32]) -> blake3::Hash {
    blake3::keyed_hash(&blake3::derive_key(SEAL_CONTEXT, secret), bytes)
}
