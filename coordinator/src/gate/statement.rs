//! The attestation: what a run showed of an image, as an in-toto statement with the predicate `test-result`.
//!
//! Two subjects: the image, by its manifest's digest, which is the one that our gate goes by, and the commit, which others expect. What the standard has no
//! word for stands below `splitci`, one field that no other tool looks at. Names of tests are cut off at [`MOST_NAMES`] of each kind and the counts are not.
//!
//! To be read, every field has to be there; what has no value is null. A field that is missing is a statement that says less than it should, and the gate does
//! not guess. Fields that we do not know are left alone: a later splitci may say more.

use serde::{Deserialize, Deserializer, Serialize};

use super::moment::Moment;
use crate::model::Sha256;
use crate::model::trust::Level;

/// What every statement says of itself.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate of an attestation.
pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
/// The most names of tests of each kind.
pub const MOST_NAMES: usize = 10_000;
/// The most earlier runs that are named.
pub const MOST_RUNS: usize = 1_000;
/// The name of a configuration that policies pin: that of the configuration file.
pub const CONFIG: &str = "config";

/// A statement about an image, whatever is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<P> {
    /// [`STATEMENT`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of thing is said.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said.
    pub predicate: P,
}

impl<P: Serialize> Statement<P> {
    /// A statement of this kind.
    pub fn about(subject: Vec<Subject>, predicate_type: &str, predicate: P) -> Self {
        Self { kind: STATEMENT.to_owned(), subject, predicate_type: predicate_type.to_owned(), predicate }
    }

    /// Its bytes, to be signed. The same statement has the same ones.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain data with text keys always serialises; no bytes are a statement that nobody can read.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Something that a statement is about, or rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name, for people: a repository, a file.
    pub name: String,
    /// What tells it from all others.
    pub digest: DigestSet,
}

/// Digests of one thing. Others than these are not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSet {
    /// Of its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// A commit's id in git.
    #[serde(default, rename = "gitCommit", skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}

impl Subject {
    /// Something with a SHA-256.
    pub fn of_bytes(name: &str, sha256: Sha256) -> Self {
        Self { name: name.to_owned(), digest: DigestSet { sha256: Some(sha256), git_commit: None } }
    }

    /// A commit.
    pub fn of_commit(name: &str, commit: &str) -> Self {
        Self { name: name.to_owned(), digest: DigestSet { sha256: None, git_commit: Some(commit.to_owned()) } }
    }
}

/// The predicate of an attestation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// The answer.
    pub result: Answer,
    /// What decided which tests ran, and how: digests of the configuration file and of what else the caller knows, of the suites, and of the plan.
    pub configuration: Vec<Subject>,
    /// Tests that passed at the first attempt.
    pub passed_tests: Vec<String>,
    /// Tests that passed when they were tried again.
    pub warned_tests: Vec<String>,
    /// Tests that failed.
    pub failed_tests: Vec<String>,
    /// What the standard has no word for.
    pub splitci: Details,
}

/// The answer of an attestation. What is not known is not attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Answer {
    /// All passed or skipped themselves, at the first attempt.
    Passed,
    /// All passed, some of them when they were tried again.
    Warned,
    /// At least one failed.
    Failed,
}

/// What the gate goes by, beside the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The version of splitci.
    pub version: String,
    /// The run's name.
    pub run: String,
    /// Wall clock at its start.
    pub started_on: Moment,
    /// Wall clock at its end.
    pub finished_on: Moment,
    /// Where shards ran: `docker`.
    pub engine: String,
    /// The level that the run had by its own list. What it took from caches was written at this level or above.
    #[serde(with = "word")]
    pub level: Level,
    /// The image that was tested.
    pub image: ImageFacts,
    /// Every shard.
    pub shards: Vec<ShardFacts>,
    /// Every suite.
    pub suites: Vec<SuiteFacts>,
    /// What left tests out. Nothing, or the run would not have been attested.
    pub filters: Vec<String>,
    /// The tree had changes that no commit has.
    pub dirty: bool,
    /// Tests in numbers.
    pub counts: Counts,
    /// What earlier runs showed.
    pub reused: Reused,
    /// Names that the lists do not have since there are too many.
    pub names_left_out: u64,
    /// The JUnit report's digest, if there is one.
    #[serde(deserialize_with = "told")]
    pub junit_sha256: Option<Sha256>,
}

/// The image that was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Digest of its configuration.
    pub config: Sha256,
    /// What kind of store the engine kept it in.
    pub store: StoreKind,
    /// `os/arch` or `os/arch/variant`.
    pub platform: String,
    /// How it came about.
    pub how: Origin,
    /// The level of the run that built it, as far as that is known.
    #[serde(with = "word::or_none")]
    pub level: Option<Level>,
}

/// What an engine means by an image's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Docker's own store: the digest of the configuration.
    Docker,
    /// containerd's: the digest of the manifest.
    Containerd,
}

/// How an image came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built in the run.
    Built,
    /// Built before, for the same inputs.
    Reused,
    /// Named by whoever started the run.
    Given,
}

/// What became of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardFacts {
    /// Its number, from 1.
    pub index: u32,
    /// The image's id, as the engine calls it.
    pub image_id: Sha256,
    /// Tests whose results stand to its name.
    pub tests: u64,
    /// How its last session ended: a status, 128 and more for a signal as shells have it. The proof has judged it: that of pytest is 1 if a test was tried again.
    #[serde(deserialize_with = "told")]
    pub exit: Option<i32>,
    /// Memory ran out in one of its sessions.
    pub oom_killed: bool,
    /// How often it was lost and started anew.
    pub lost: u32,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteFacts {
    /// Its name; empty for the only one.
    pub name: String,
    /// The framework.
    pub framework: String,
    /// The command.
    pub command: Vec<String>,
}

/// Tests in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All that there are: executed and reused.
    pub planned: u64,
    /// Run in this run, those that skipped themselves included.
    pub executed: u64,
    /// Of those, passed at the first attempt, expected failures and unexpected passes included.
    pub passed: u64,
    /// Of those, passed when they were tried again.
    pub warned: u64,
    /// Of those, failed.
    pub failed: u64,
    /// Of those, skipped themselves.
    pub skipped: u64,
    /// Of those, without a result.
    pub missing: u64,
    /// Of those, tried again, whatever came of it.
    pub retried: u64,
}

/// What earlier runs showed, and this one did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// How many tests.
    pub tests: u64,
    /// In how many files.
    pub files: u64,
    /// When the oldest of those runs began.
    #[serde(deserialize_with = "told")]
    pub oldest: Option<Moment>,
    /// The lowest level that one of them was kept at, as far as that is known.
    #[serde(with = "word::or_none")]
    pub level: Option<Level>,
    /// Those runs, the first [`MOST_RUNS`] by name.
    pub runs: Vec<EarlierRun>,
}

/// An earlier run that something rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EarlierRun {
    /// Its name.
    pub run: String,
    /// How many tests of it stand.
    pub tests: u64,
    /// Its record was there when this run began.
    pub record: bool,
    /// Digest over what it showed: keys, files, tests and outcomes.
    pub sha256: Sha256,
}

/// A value that may be null and must be there.
fn told<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Levels by their words.
pub(super) mod word {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::trust::Level;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(in crate::gate) fn serialize<S: Serializer>(level: &Level, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(level.word())
    }

    pub(in crate::gate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        let word = String::deserialize(deserializer)?;
        Level::of_word(&word).ok_or_else(|| serde::de::Error::custom("not a level"))
    }

    /// A level that may be null and must be there.
    pub(in crate::gate) mod or_none {
        use super::{Deserialize, Deserializer, Level, Serialize, Serializer};

        #[expect(clippy::trivially_copy_pass_by_ref, clippy::ref_option, reason = "serde's signature")]
        pub(in crate::gate) fn serialize<S: Serializer>(level: &Option<Level>, serializer: S) -> Result<S::Ok, S::Error> {
            level.map(Level::word).serialize(serializer)
        }

        pub(in crate::gate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Level>, D::Error> {
            let word = Option::<String>::deserialize(deserializer)?;
            word.map(|word| Level::of_word(&word).ok_or_else(|| serde::de::Error::custom("not a level"))).transpose()
        }
    }
}
