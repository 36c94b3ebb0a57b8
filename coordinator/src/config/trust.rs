//! `[trust]` and `[cache]`: whose entries are believed, with which key this run writes, and where the cache is. Keys are not looked into here.
//!
//! The private key is named, not written down: a file, or `SPLITCI_KEY` with the key itself, as CI systems hand secrets on. Written into `splitci.toml` or onto a
//! command line it would be everybody's, so there it is refused. It is never shown, not even in a message about itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::fault::{FaultKind, Faults, Place};
use super::hooks::Program;
use super::paths::Bases;
use super::resolve::{state_base, value};
use super::schema::{CacheSection, Given, TrustSection};
use super::setting::{Raw, Setting, texts};
use super::{CacheSettings, RecordSettings};
use crate::model::SecretText;
use crate::model::trust::{KeySource, Level, Partition, SignerSettings, TrustSettings, TrustedKey};

/// Where a private key is, or in a variable the key itself.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl Setting for KeyText {
    const EXPECTED: &'static str = "the file of a private key";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        match raw {
            Raw::Toml(value) => value.as_str().map(|text| Self(text.to_owned())),
            // Nothing is refused here, for what is refused is shown.
            Raw::Flag(text) | Raw::Variable(text) => Some(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}

/// The URL of a Redis. It may hold a password, so nothing is refused here: what is refused is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl(pub SecretText);

impl Setting for RedisUrl {
    const EXPECTED: &'static str = "`redis://`, `rediss://` or `redis+unix://` with what follows";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        String::parse(raw, place).map(|url| Self(SecretText(url)))
    }
}

/// A bucket, and what stands before all names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket(pub String, pub String);

impl Setting for Bucket {
    const EXPECTED: &'static str = "`s3://BUCKET` or `s3://BUCKET/PREFIX`";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let url = String::parse(raw, place)?;
        let (name, prefix) = url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        (!name.is_empty()).then(|| Self(name.to_owned(), prefix.trim_matches('/').to_owned()))
    }
}

impl Setting for Partition {
    const EXPECTED: &'static str = "a name of at most 255 bytes";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        String::parse(raw, place).and_then(|name| Self::new(&name))
    }
}

/// Public keys of one level: files, or the keys themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys(pub Vec<(String, Option<Partition>)>);

impl Setting for PublicKeys {
    const EXPECTED: &'static str = "a list of public keys: files, PEM, or `{ key = \"...\", partition = \"...\" }`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        match raw {
            Raw::Toml(value) => value.as_array()?.iter().map(|entry| public_key(entry.get_ref())).collect::<Option<_>>().map(Self),
            // PEM has blanks of its own.
            Raw::Variable(text) if KeySource::is_pem(text) => Some(Self(vec![(text.to_owned(), None)])),
            Raw::Flag(_) | Raw::Variable(_) => Some(Self(texts(raw)?.into_iter().map(|text| (text, None)).collect())),
        }
    }
}

fn public_key(value: &DeValue<'_>) -> Option<(String, Option<Partition>)> {
    let Some(table) = value.as_table() else {
        return value.as_str().filter(|text| !text.is_empty()).map(|text| (text.to_owned(), None));
    };
    let known = table.keys().all(|name| matches!(name.get_ref().as_ref(), "key" | "partition"));
    let text = |name: &str| table.get(name).map(|value| value.get_ref().as_str());
    let partition = match text("partition") {
        None => None,
        Some(name) => Some(Partition::new(name?)?),
    };
    let key = text("key")??;
    known.then(|| (key.to_owned(), partition))
}

/// What `[trust]` comes to.
pub(super) fn trust(section: TrustSection, bases: &Bases, faults: &mut Faults) -> TrustSettings {
    let key = section.key.and_then(|Given { value: KeyText(text), place }| match (KeySource::is_pem(&text), &place) {
        (true, Place::Variable(_)) => Some(KeySource::Text(text)),
        (true, _) => {
            faults.push(place, FaultKind::KeyInTheOpen);
            None
        }
        (false, _) => Some(KeySource::File(bases.absolute(&place, &text))),
    });
    let levels = [
        (Level::Release, section.release),
        (Level::Protected, section.protected),
        (Level::Branch, section.branch),
        (Level::Pull, section.pull),
        (Level::Fork, section.fork),
    ];
    let of = |(level, given): (Level, Option<Given<PublicKeys>>)| -> Vec<_> {
        let keys = partitioned(given, bases).into_iter();
        keys.map(|(key, partition)| TrustedKey { level, partition, key }).collect()
    };
    let signer =
        section.signer.map(|Given { value: Program(words), place }| SignerSettings { words, directory: bases.of(&place).to_owned() });
    TrustSettings { key, partition: value(section.partition), trusted: levels.into_iter().flat_map(of).collect(), signer }
}

/// Keys, where a partition means nothing.
pub(super) fn sources(given: Option<Given<PublicKeys>>, bases: &Bases) -> Vec<KeySource> {
    partitioned(given, bases).into_iter().map(|(key, _)| key).collect()
}

fn partitioned(given: Option<Given<PublicKeys>>, bases: &Bases) -> Vec<(KeySource, Option<Partition>)> {
    let Some(Given { value: PublicKeys(keys), place }) = given else { return Vec::new() };
    let source =
        |text: String| if KeySource::is_pem(&text) { KeySource::Text(text) } else { KeySource::File(bases.absolute(&place, &text)) };
    keys.into_iter().map(|(text, partition)| (source(text), partition)).collect()
}

/// What `[cache]` comes to.
pub(super) fn cache(section: &CacheSection, bases: &Bases, env: &BTreeMap<String, String>) -> CacheSettings {
    let dir = match &section.dir {
        Some(Given { value, place }) => Some(bases.absolute(place, value)),
        None => default_cache(env),
    };
    let read_only = value(section.read_only.clone()).unwrap_or(false);
    CacheSettings {
        dir,
        read_only,
        size: value(section.size.clone()).map(|size| size.0),
        images: value(section.images.clone()).map_or(IMAGES, |count| count.0),
        redis: value(section.redis.clone()).map(|url| url.0),
        s3: value(section.s3.clone()).map(|Bucket(name, prefix)| (name, prefix)),
        layers: value(section.layers.clone()).map(|repository| repository.0),
        ..CacheSettings::default()
    }
}

/// How many images stay where nothing is said, which is nowhere: the defaults say it.
const IMAGES: u32 = 20;

/// `$XDG_CACHE_HOME/splitci`, or the same below `~/.cache`.
fn default_cache(env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("splitci"))
}

/// Where this machine keeps its own key. A state directory inside the project is no place for it: it may be saved with the project, restored for others, and is
/// in the image unless somebody thought of it.
pub(super) fn home(records: &RecordSettings, chosen: bool, root: &Path, env: &BTreeMap<String, String>) -> PathBuf {
    let fits = chosen && !records.state.starts_with(root);
    let base = if fits { None } else { state_base(env) };
    base.unwrap_or_else(|| records.state.clone())
}
