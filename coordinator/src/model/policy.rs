//! What an environment asks of an image before it gets there, as data. What is made of it is `gate`'s business.
//!
//! Defaults are the strict ones: a policy that says nothing takes what the default branch tested, all of it in that run, green at the first attempt, a week ago
//! at most, and knows no way around.

use super::Sha256;
use super::trust::{KeySource, Level};

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// Its name.
    pub name: String,
    /// Keys whose statements count, all of them in `[trust]`. Empty: every key of `[trust]` whose level is enough.
    pub keys: Vec<KeySource>,
    /// The lowest level whose statements count. Default `protected`.
    pub level: Level,
    /// The repository that a statement must name its image by, e.g. `registry.example/lunch/candidate`. Default: any.
    pub repository: Option<String>,
    /// How old the oldest of the evidence may be, in milliseconds. Default 7 days.
    pub max_age_ms: u64,
    /// How many tests the run itself must have run, those that skipped themselves and those that were reused not counted; 0 counts as 1. Default 1.
    pub min_tests: u64,
    /// How many tests may have passed only when they were tried again. Default 0.
    pub max_warned: u64,
    /// Whether results of earlier runs may stand for tests that were not run. Default deny.
    pub reused: ReusedRule,
    /// The lowest level of a run that the image may have been built by. Default: that of the statement is enough.
    pub image_level: Option<Level>,
    /// Digests of the configurations that count. Empty: any, which leaves what is tested to whoever can change that.
    pub configs: Vec<Sha256>,
    /// Whether a run of a tree with uncommitted changes counts. Default no.
    pub dirty: bool,
    /// Names of further statements about the same image that must be there, e.g. `compat`. `tests` is always asked for, whether it is named here or not.
    pub require: Vec<String>,
    /// What does not count any more.
    pub revoked: Vec<Revocation>,
    /// Who may get past the gate, and how. Default: nobody.
    pub break_glass: Option<BreakGlassRule>,
}

impl PolicySettings {
    /// The strictest policy of this name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
            level: Level::Protected,
            repository: None,
            max_age_ms: 7 * 24 * 3_600_000,
            min_tests: 1,
            max_warned: 0,
            reused: ReusedRule::Deny,
            image_level: None,
            configs: Vec::new(),
            dirty: false,
            require: Vec::new(),
            revoked: Vec::new(),
            break_glass: None,
        }
    }
}

/// What results of earlier runs are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReusedRule {
    /// Nothing: all tests of the run were run in it.
    Deny,
    /// As much as new ones, if they were kept at level `protected` or above.
    Protected,
}

/// Something that does not count any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What.
    pub what: Revoked,
    /// Why, for those who are stopped by it.
    pub reason: String,
}

/// What can be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// An image, by the digest of its manifest or of its configuration.
    Image(Sha256),
    /// A run, by its name.
    Run(String),
    /// A key, by its id. Whatever it signed counts no more, for what it says of times is its own word.
    Key(Sha256),
    /// What was built of a commit, by its id in git.
    Commit(String),
}

/// How the gate is got past by a person who signs for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlassRule {
    /// Keys of those who may.
    pub keys: Vec<KeySource>,
    /// How long such a statement counts at most, in milliseconds. Default 4 hours.
    pub ttl_ms: u64,
    /// The shortest reason, in characters, white space at its ends not counted. Default 20.
    pub min_reason: usize,
}

impl BreakGlassRule {
    /// The usual rule for these keys.
    pub fn of(keys: Vec<KeySource>) -> Self {
        Self { keys, ttl_ms: 4 * 3_600_000, min_reason: 20 }
    }
}
