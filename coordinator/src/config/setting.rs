//! The kinds of values that a key can have, and how each is read: from TOML, from one option of the command line, from one environment variable.
//!
//! A kind says in words what it expects; what does not fit is refused by returning nothing, and the caller writes the message. There is one
//! parser a kind, so that `--memory 512m`, `memory = "512m"` and `SPLITCI_SHARD_MEMORY=512m` cannot differ.

use std::time::Duration;

use toml::de::DeValue;

use super::fault::Place;
use crate::model::Results;
use crate::model::settings::{Flaky, Order};

/// A value as written.
#[derive(Debug, Clone, Copy)]
pub enum Raw<'a> {
    /// In a file.
    Toml(&'a DeValue<'a>),
    /// In one option of the command line.
    Flag(&'a str),
    /// In a variable: lists are separated by blanks.
    Variable(&'a str),
}

impl Raw<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Flag(text) | Self::Variable(text) => Some(text),
        }
    }

    /// Whole numbers, from a TOML integer or from text.
    pub(super) fn number<N: std::str::FromStr>(&self) -> Option<N> {
        match self {
            Self::Toml(DeValue::Integer(n)) => i128::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok()?.to_string().parse().ok(),
            Self::Toml(_) => None,
            Self::Flag(text) | Self::Variable(text) => text.trim().parse().ok(),
        }
    }

    /// The value as a person would recognise it in a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Flag(text) | Self::Variable(text) => format!("`{text}`"),
            Self::Toml(value) => match value {
                DeValue::String(text) => format!("`{text}`"),
                DeValue::Integer(n) => format!("`{}`", n.as_str()),
                DeValue::Float(n) => format!("`{}`", n.as_str()),
                DeValue::Boolean(b) => format!("`{b}`"),
                DeValue::Datetime(_) => "a date".into(),
                DeValue::Array(_) => "a list with something else in it".into(),
                DeValue::Table(_) => "a table".into(),
            },
        }
    }
}

/// A kind of value.
pub(super) trait Setting: Sized {
    /// What would do, for "expected ..., found ...".
    const EXPECTED: &'static str;

    /// The words that would do, where they can be counted.
    const CHOICES: &'static [&'static str] = &[];

    /// Reads it.
    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self>;

    /// Lies over a weaker layer's value. Most replace it; lists of things to add are added.
    fn over(self, _weaker: Self) -> Self {
        self
    }

    /// Follows an earlier value of the same source: an option given twice.
    fn again(self, earlier: Self) -> Self {
        self.over(earlier)
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a text that is not empty";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.text().filter(|text| !text.trim().is_empty()).map(str::to_owned)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Flag(text) | Raw::Variable(text) => match text {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
        }
    }
}

/// A number of things of which there is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl Setting for Count {
    const EXPECTED: &'static str = "a whole number from 1 on";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number().filter(|n| *n > 0).map(Self)
    }
}

/// A part of a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u32);

impl Setting for Percent {
    const EXPECTED: &'static str = "a whole number from 0 to 100";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number().filter(|n| *n <= 100).map(Self)
    }
}

/// A suite's name: fit to stand before a colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteName(pub String);

impl Setting for SuiteName {
    const EXPECTED: &'static str = "a name of letters, digits, `-`, `_` and `.`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let fit = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        raw.text().filter(fit).map(|text| Self(text.to_owned()))
    }
}

/// A number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards(pub u32);

impl Setting for Shards {
    const EXPECTED: &'static str = "a whole number from 1 to 1000";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number().filter(|n| (1..=1000).contains(n)).map(Self)
    }
}

impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number from 0 on";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number()
    }
}

/// A seed. Frameworks keep seeds in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u32);

impl Setting for Seed {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number().map(Self)
    }
}

/// A limit of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pids(pub i64);

impl Setting for Pids {
    const EXPECTED: &'static str = "a whole number from 1 on, or -1 for no limit";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number().filter(|n| *n > 0 || *n == -1).map(Self)
    }
}

/// CPUs, in fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpus(pub f64);

impl Setting for Cpus {
    const EXPECTED: &'static str = "a number of CPUs above 0, such as `2` or `0.5`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let number: f64 = match raw {
            Raw::Toml(DeValue::Float(n)) => n.as_str().replace('_', "").parse().ok()?,
            Raw::Toml(_) => f64::from(raw.number::<u32>()?),
            Raw::Flag(text) | Raw::Variable(text) => text.trim().parse().ok()?,
        };
        (number.is_finite() && number > 0.0).then_some(Self(number))
    }
}

/// A time span. A bare number is seconds, as for `timeout` and `sleep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// In milliseconds.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Setting for Span {
    const EXPECTED: &'static str = "a duration above zero, such as `90s`, `10m` or `1h 30m`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let seconds = raw.number::<u32>().map(|seconds| Duration::from_secs(seconds.into()));
        let span = seconds.or_else(|| humantime::parse_duration(raw.text()?).ok())?;
        (span >= Duration::from_millis(1)).then_some(Self(span))
    }
}

/// A time as it is written everywhere: `90s`, `10m`, a bare number for seconds. Nothing if it is none.
pub fn duration(text: &str) -> Option<Duration> {
    Span::parse(Raw::Flag(text), &Place::Flag(String::new())).map(|span| span.0)
}

/// A number of bytes. Units are powers of 1024 and spelt as docker takes them: `k`, `kb`, `kib`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl Setting for ByteSize {
    const EXPECTED: &'static str = "a size above zero, such as `512m` or `1GiB`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number::<u64>().or_else(|| bytes_of(raw.text()?)).filter(|n| *n > 0).map(Self)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "bounded to 2^53 just before")]
fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    (bytes <= (1_u64 << 53) as f64).then_some(bytes as u64)
}

/// A list that replaces the weaker one. As a text it is words between blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Setting for Words {
    const EXPECTED: &'static str = "a list of texts, or one text with words between blanks";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        match raw {
            Raw::Toml(DeValue::Array(_)) => texts(raw).map(Self),
            _ => Some(Self(raw.text()?.split_whitespace().map(str::to_owned).collect())),
        }
    }
}

/// A list of paths that replaces the weaker one. The command line gives them one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(pub Vec<String>);

impl Setting for Paths {
    const EXPECTED: &'static str = "a list of paths";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        texts(raw).map(Self)
    }

    fn again(self, earlier: Self) -> Self {
        Self(earlier.0.into_iter().chain(self.0).collect())
    }
}

/// A list that is added to the weaker one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items(pub Vec<Item>);

/// An entry, with the place that decides what its relative path is relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The entry.
    pub text: String,
    /// Where it was given.
    pub place: Place,
}

impl Items {
    /// The entries' texts.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|item| item.text.clone()).collect()
    }
}

impl Setting for Items {
    const EXPECTED: &'static str = "a list of texts";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let item = |text: String| Item { text, place: place.clone() };
        texts(raw).map(|texts| Self(texts.into_iter().map(item).collect()))
    }

    fn over(self, weaker: Self) -> Self {
        Self(weaker.0.into_iter().chain(self.0).collect())
    }
}

pub(super) fn texts(raw: Raw<'_>) -> Option<Vec<String>> {
    match raw {
        Raw::Toml(value) => value.as_array()?.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned)).collect(),
        Raw::Flag(text) => Some(vec![text.to_owned()]),
        Raw::Variable(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
    }
}

/// Where shards run; `auto` is decided by whether there is a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// Docker when there is a Dockerfile, else processes.
    Auto,
    /// Containers.
    Docker,
    /// Local processes.
    Process,
}

impl Setting for EngineChoice {
    const EXPECTED: &'static str = "`auto`, `docker` or `process`";
    const CHOICES: &'static [&'static str] = &["auto", "docker", "process"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Auto, Self::Docker, Self::Process])
    }
}

impl Setting for Order {
    const EXPECTED: &'static str = "`scheduled`, `defined` or `random`";
    const CHOICES: &'static [&'static str] = &["scheduled", "defined", "random"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Scheduled, Self::Defined, Self::Random])
    }
}

/// How a tool's results are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultsKind(pub Results);

impl Setting for ResultsKind {
    const EXPECTED: &'static str = "`exit`, `junit`, `tap`, `jest`, `go` or `libtest`";
    const CHOICES: &'static [&'static str] = &["exit", "junit", "tap", "jest", "go", "libtest"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let text = raw.text()?;
        Results::ALL.iter().find(|(name, _)| *name == text).map(|(_, results)| Self(*results))
    }
}

impl Setting for Flaky {
    const EXPECTED: &'static str = "`pass` or `fail`";
    const CHOICES: &'static [&'static str] = &["pass", "fail"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Pass, Self::Fail])
    }
}

/// Who is PID 1 in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// The image's own init where it is one that insists, else the worker.
    Auto,
    /// The image's.
    Image,
    /// The worker.
    Worker,
}

impl Setting for Init {
    const EXPECTED: &'static str = "`auto`, `image` or `worker`";
    const CHOICES: &'static [&'static str] = &["auto", "image", "worker"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Auto, Self::Image, Self::Worker])
    }
}

pub(super) fn choose<T: Copy>(raw: Raw<'_>, words: &[&str], values: &[T]) -> Option<T> {
    let text = raw.text()?;
    words.iter().zip(values).find(|(word, _)| **word == text).map(|(_, value)| *value)
}

/// A platform as docker spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform(pub String);

impl Setting for Platform {
    const EXPECTED: &'static str = "a platform such as `linux/amd64` or `linux/arm/v7`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let text = raw.text()?;
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        ((2..=3).contains(&parts.len()) && parts.iter().all(word)).then(|| Self(text.to_owned()))
    }
}

/// A project's name: part of its images' tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectName(pub String);

impl Setting for ProjectName {
    const EXPECTED: &'static str = "a name of small letters, digits, `-`, `_` and `.`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let text = raw.text()?;
        (!text.is_empty() && Self::from_directory(text).0 == text).then(|| Self(text.to_owned()))
    }
}

impl ProjectName {
    /// The name nearest to a directory's.
    pub fn from_directory(name: &str) -> Self {
        let tame = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { c };
        let mut out = String::new();
        for c in name.chars().map(tame) {
            let separator = !(c.is_ascii_lowercase() || c.is_ascii_digit());
            if !separator {
                out.push(c);
            } else if out.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                out.push(if matches!(c, '.' | '_' | '-') { c } else { '-' });
            }
        }
        let out = out.trim_end_matches(['.', '_', '-']);
        Self(if out.is_empty() { "project".into() } else { out.into() })
    }
}
