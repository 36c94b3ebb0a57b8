//! The kinds of values that are `NAME=value`: variables of the tests, arguments of the build.
//!
//! A name without a value means the caller's variable of that name; whose value that is, is decided in `resolve`. Layers are merged name by name.

use toml::de::DeValue;

use super::fault::Place;
use super::setting::{Raw, Setting, texts};

/// Variables for the tests: `NAME=value`, or `NAME` to hand on the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variables(pub Vec<(String, Option<String>)>);

impl Setting for Variables {
    const EXPECTED: &'static str = "a list of `NAME=value` and `NAME`";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        texts(raw)?.iter().map(|text| assignment(text)).collect::<Option<_>>().map(Self)
    }

    fn over(self, weaker: Self) -> Self {
        Self(by_name(self.0, weaker.0))
    }
}

/// Arguments of the build: a table in the file, `NAME=value` or `NAME` (the caller's variable) on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments(pub Vec<(String, Option<String>)>);

impl Setting for Arguments {
    const EXPECTED: &'static str = "`NAME = \"value\"` pairs (on the command line `NAME=value`)";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let Raw::Toml(value) = raw else { return texts(raw)?.iter().map(|text| assignment(text)).collect::<Option<_>>().map(Self) };
        let pair = |(name, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(n) => n.as_str().to_owned(),
                DeValue::Float(n) => n.as_str().to_owned(),
                DeValue::Boolean(b) => b.to_string(),
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
            };
            Some((name.to_string(), Some(text)))
        };
        value.as_table()?.iter().map(pair).collect::<Option<_>>().map(Self)
    }

    fn over(self, weaker: Self) -> Self {
        Self(by_name(self.0, weaker.0))
    }
}

/// `NAME=value` or `NAME`.
pub(super) fn assignment(text: &str) -> Option<(String, Option<String>)> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
    let good = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '\0');
    good.then(|| (name.to_owned(), value))
}

type Pairs = Vec<(String, Option<String>)>;

fn by_name(stronger: Pairs, weaker: Pairs) -> Pairs {
    let kept = weaker.into_iter().filter(|(name, _)| !stronger.iter().any(|(other, _)| other == name)).collect::<Vec<_>>();
    kept.into_iter().chain(stronger).collect()
}
