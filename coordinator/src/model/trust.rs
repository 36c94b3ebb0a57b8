//! How far a writer is trusted, and the part of its level that it writes to. Words only: who has which level is decided by keys, in `trust`.
//!
//! A level is authority. A partition is a name and nothing more: that of a branch or a pull request, chosen by whoever opened it. It keeps entries of one
//! level apart and can never lift anything to another level, whatever it is called.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How far a writer of cache entries and statements is trusted; more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Whoever has no key that others know: trusted on its own machine only.
    Local,
    /// Pull requests from elsewhere.
    Fork,
    /// Pull requests.
    Pull,
    /// Branches that anybody may push to.
    Branch,
    /// The default branch, the merge queue.
    Protected,
    /// What makes releases.
    Release,
}

/// What stands for the word of a level in a name that each level has of its own.
pub const LEVEL: &str = "{level}";

impl Level {
    /// All of them, the most trusted first.
    pub const ALL: [Self; 6] = [Self::Release, Self::Protected, Self::Branch, Self::Pull, Self::Fork, Self::Local];

    /// Its word, the same in configuration, names of entries, and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Fork => "fork",
            Self::Pull => "pull",
            Self::Branch => "branch",
            Self::Protected => "protected",
            Self::Release => "release",
        }
    }

    /// The level of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }

    /// Whether what is written at this level is of any use elsewhere: a local entry is trusted by its own machine alone.
    pub fn travels(self) -> bool {
        self != Self::Local
    }
}

/// By its word, in records and wherever else it is written down.
impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Self::of_word(&word).ok_or_else(|| serde::de::Error::custom("not a level"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A part of a level, by the name of a branch or a pull request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(String);

impl Partition {
    /// Longest name, in bytes: as much as git takes for one part of a reference.
    pub const LONGEST: usize = 255;

    /// A name that is neither empty nor longer than any branch's.
    pub fn new(name: &str) -> Option<Self> {
        (!name.is_empty() && name.len() <= Self::LONGEST).then(|| Self(name.to_owned()))
    }

    /// The name, as it was given.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Where entries of one level lie: the level, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    /// The level.
    pub level: Level,
    /// Its partition.
    pub partition: Option<Partition>,
}

impl Space {
    /// The whole of a level.
    pub fn of(level: Level) -> Self {
        Self { level, partition: None }
    }

    /// Its name among entries: the level, and the partition after a slash. Everything after the first slash is somebody's free choice (`pull/../protected` is one),
    /// so whoever makes a path or a key of it writes it in letters that lead nowhere.
    pub fn name(&self) -> String {
        match &self.partition {
            None => self.level.word().into(),
            Some(partition) => format!("{}/{}", self.level, partition.name()),
        }
    }

    /// The space of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        match name.split_once('/') {
            None => Level::of_word(name).map(Self::of),
            Some((level, partition)) => Some(Self { level: Level::of_word(level)?, partition: Some(Partition::new(partition)?) }),
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.partition {
            None => write!(f, "{}", self.level),
            Some(partition) => write!(f, "{} ({})", self.level, partition.name().escape_debug()),
        }
    }
}

/// What a configuration says about keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustSettings {
    /// The private key to write with.
    pub key: Option<KeySource>,
    /// The partition to write to.
    pub partition: Option<Partition>,
    /// The public keys that are trusted.
    pub trusted: Vec<TrustedKey>,
    /// What signs statements about images instead of the private key.
    pub signer: Option<SignerSettings>,
}

/// A program that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerSettings {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where it runs, and what its path is relative to.
    pub directory: PathBuf,
}

/// A public key with what it is trusted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// How far.
    pub level: Level,
    /// For this partition only.
    pub partition: Option<Partition>,
    /// The key.
    pub key: KeySource,
}

/// A key as text, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// PEM.
    Text(String),
    /// A file of PEM.
    File(PathBuf),
}

impl KeySource {
    /// Whether a text is PEM rather than the name of a file.
    pub fn is_pem(text: &str) -> bool {
        text.trim_start().starts_with("-----BEGIN ")
    }
}

/// A text may be a private key's: it is never shown.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn space(level: Level, name: &str) -> Space {
        Space { level, partition: Partition::new(name) }
    }

    #[test]
    fn levels_are_ordered_by_trust_and_keep_their_words() {
        assert!(Level::ALL.is_sorted_by(|more, less| more > less));
        assert!(Level::ALL.into_iter().all(|level| Level::of_word(level.word()) == Some(level)));
        assert_eq!(Level::of_word("Release"), None);
        assert!(!Level::Local.travels() && Level::Fork.travels());
    }

    #[test]
    fn a_text_that_may_be_a_key_is_not_shown() {
        let settings = TrustSettings { key: Some(KeySource::Text("-----BEGIN PRIVATE KEY-----\nMIGH".into())), ..TrustSettings::default() };
        assert!(!format!("{settings:?}").contains("MIGH"));
    }

    proptest! {
        #[test]
        fn a_name_stays_in_its_level_and_apart_from_others(level in 0_usize..6, a in "\\PC{1,40}", b in "\\PC{1,40}") {
            let level = Level::ALL[level];
            let one = space(level, &a);
            prop_assert_eq!(Space::of_name(&one.name()), Some(one.clone()));
            prop_assert_eq!(one.name() == space(level, &b).name(), a == b);
            prop_assert_ne!(one.name(), Space::of(level).name());
        }
    }

    #[test]
    fn a_partition_called_like_a_level_is_not_that_level() {
        for name in ["protected", "pr/../protected", "../protected", "release", "protected\0", "/"] {
            let forged = space(Level::Pull, name);
            assert!(forged.name().starts_with("pull/"), "{name:?}");
            assert_eq!(Space::of_name(&forged.name()).map(|space| space.level), Some(Level::Pull));
        }
        assert_eq!(Partition::new(""), None);
        assert_eq!(Partition::new(&"x".repeat(256)), None);
    }
}
