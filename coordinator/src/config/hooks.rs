//! Kinds of values that hooks have: a program that is there, which signers have too, and who is told how a deployment goes.

use toml::de::DeValue;

use super::fault::Place;
use super::resolve::value;
use super::schema::HooksSection;
use super::setting::{Raw, Setting, Span, Words};
use crate::model::SecretText;
use crate::model::hook::{HookSettings, StatusTarget};

/// A program with its arguments. It is never empty: a hook that is none must not look like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(pub Vec<String>);

impl Setting for Program {
    const EXPECTED: &'static str = "a program and its arguments: a list of texts, or one text with words between blanks";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let Words(words) = Words::parse(raw, place)?;
        words.first().is_some_and(|program| !program.is_empty()).then_some(Self(words))
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChoice(pub StatusTarget);

impl Setting for StatusChoice {
    const EXPECTED: &'static str =
        "an address, `https://...` (`http://` on loopback alone), `env:` and the variable that has it, or a program as a list of texts";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        if let Raw::Toml(DeValue::Array(_)) = raw {
            return Program::parse(raw, place).map(|Program(words)| Self(StatusTarget::Program(words)));
        }
        let text = raw.text()?;
        let target = match text.strip_prefix("env:") {
            Some(name) => (!name.is_empty()).then(|| StatusTarget::Variable(name.to_owned())),
            None => is_safe(text).then(|| StatusTarget::Address(SecretText(text.to_owned()))),
        };
        target.map(Self)
    }
}

/// Whether an address is spoken to over TLS, or is on this machine. Who opens it looks again at what it means.
fn is_safe(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    match scheme {
        "https" => !authority.is_empty(),
        // Before an `@` stands a name and a password, and the host after it.
        "http" => !authority.contains('@') && matches!(host, "127.0.0.1" | "localhost" | "[::1]"),
        _ => false,
    }
}

/// The hooks of an environment.
pub(super) fn of(section: HooksSection) -> HookSettings {
    let usual = HookSettings::default();
    let program = |given| value(given).map(|Program(words)| words).unwrap_or_default();
    HookSettings {
        before_deploy: program(section.before_deploy),
        before_switch: program(section.before_switch),
        status: value(section.status).map(|StatusChoice(target)| target),
        timeout_ms: value(section.timeout).map_or(usual.timeout_ms, Span::millis),
    }
}
