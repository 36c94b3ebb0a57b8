//! Kinds of values that only the gate and the registries behind it have: levels, digests, revocations, logins.

use std::path::PathBuf;

use toml::de::DeValue;

use super::fault::Place;
use super::setting::{Raw, Setting, choose, texts};
use crate::model::policy::{ReusedRule, Revocation, Revoked};
use crate::model::trust::Level;
use crate::model::{SecretText, Sha256};

impl Setting for Level {
    const EXPECTED: &'static str = "`release`, `protected`, `branch`, `pull` or `fork`";
    const CHOICES: &'static [&'static str] = &["release", "protected", "branch", "pull", "fork"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Release, Self::Protected, Self::Branch, Self::Pull, Self::Fork])
    }
}

impl Setting for ReusedRule {
    const EXPECTED: &'static str = "`deny` or `protected`";
    const CHOICES: &'static [&'static str] = &["deny", "protected"];

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        choose(raw, Self::CHOICES, &[Self::Deny, Self::Protected])
    }
}

impl Setting for u64 {
    const EXPECTED: &'static str = "a whole number from 0 on";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        raw.number()
    }
}

/// Digests of configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests(pub Vec<Sha256>);

impl Setting for Digests {
    const EXPECTED: &'static str = "a list of digests, `sha256:` and 64 digits of hex each";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        texts(raw)?.iter().map(|text| Sha256::parse(text)).collect::<Option<_>>().map(Self)
    }
}

/// What does not count any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations(pub Vec<Revocation>);

impl Setting for Revocations {
    const EXPECTED: &'static str =
        "a list of `{ image = \"sha256:...\", reason = \"...\" }`; instead of `image` also `run`, `key` or `commit`";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let Raw::Toml(value) = raw else { return None };
        value.as_array()?.iter().map(|entry| revocation(entry.get_ref(), place)).collect::<Option<_>>().map(Self)
    }
}

fn revocation(value: &DeValue<'_>, place: &Place) -> Option<Revocation> {
    let table = value.as_table()?;
    let text = |key: &str| String::parse(Raw::Toml(table.get(key)?.get_ref()), place);
    let reason = text("reason")?;
    let mut others = table.keys().map(|key| key.get_ref().as_ref()).filter(|key| *key != "reason");
    let (key, None) = (others.next()?, others.next()) else { return None };
    let said = text(key)?;
    let what = match key {
        "image" => Revoked::Image(Sha256::parse(&said)?),
        "run" => Revoked::Run(said),
        "key" => Revoked::Key(Sha256::of_hex(&said).or_else(|| Sha256::parse(&said))?),
        "commit" => Revoked::Commit(said),
        _ => return None,
    };
    Some(Revocation { what, reason })
}

/// Where a registry's login is, or in a variable the login itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthSource {
    /// In a file: `user:password` in its only line. Absolute once resolved.
    File(PathBuf),
    /// A program prints it: its command, words between blanks.
    Exec(String),
    /// `user:password`, as a variable had it.
    Login(SecretText),
}

impl Setting for AuthSource {
    const EXPECTED: &'static str = "`file:` and the name of a file, or `exec:` and a command";

    fn parse(raw: Raw<'_>, _: &Place) -> Option<Self> {
        let text = raw.text()?;
        match (text.split_once(':'), raw) {
            (Some(("file", path)), _) if !path.is_empty() => Some(Self::File(path.into())),
            (Some(("exec", command)), _) if !command.trim().is_empty() => Some(Self::Exec(command.to_owned())),
            // Nothing is refused here, for what is refused is shown.
            (_, Raw::Variable(text)) => Some(Self::Login(SecretText(text.to_owned()))),
            _ => None,
        }
    }
}
