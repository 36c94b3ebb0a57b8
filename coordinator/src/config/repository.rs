//! A repository in a registry, as docker writes it, without tag: `registry.example/shop/cache`. `{level}` in its path stands for a word that is known later.
//!
//! Only the form is looked at; whether it is there, and who may write to it, is the registry's to say.

use super::fault::Place;
use super::setting::{Raw, Setting};
use crate::model::trust::LEVEL;

/// As much as registries take.
const LONGEST: usize = 200;

/// The repository's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository(pub String);

impl Setting for Repository {
    const EXPECTED: &'static str = "a repository in a registry, in small letters and without tag, such as `registry.example/shop/cache`";

    fn parse(raw: Raw<'_>, place: &Place) -> Option<Self> {
        let text = String::parse(raw, place)?;
        let filled = text.replace(LEVEL, "level");
        (filled.len() <= LONGEST && is_repository(&filled)).then_some(Self(text))
    }
}

fn is_repository(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    host.is_none_or(is_host) && path.split('/').all(is_component)
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Letters and digits, with one dot, one or two underscores, or any dashes between them.
fn is_component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.as_bytes().first().is_some_and(&plain) && text.as_bytes().last().is_some_and(&plain);
    let separators = text
        .split(|c: char| plain(&(u8::try_from(c).unwrap_or(0))))
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'));
    ends && separators
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_no_tag_and_no_digest() {
        for good in [
            "registry.example/shop/cache",
            "127.0.0.1:5000/cache",
            "localhost/a",
            "shop/cache",
            "ghcr.io/a/b-{level}",
            "x/a.b_c__d--e/f.example",
        ] {
            assert!(Repository::parse(Raw::Flag(good), &Place::Nowhere).is_some(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "registry.example/",
            "registry.example/shop:latest",
            "shop:1",
            "shop@sha256:00",
            "Shop/cache",
            "a b",
            "a/../b",
            "-a",
            "a..b",
            "a___b",
            "host:port/a",
            "https://registry.example/a",
            "registry.example/{branch}",
            "é/a",
        ] {
            assert!(Repository::parse(Raw::Flag(bad), &Place::Nowhere).is_none(), "{bad}");
        }
        assert!(Repository::parse(Raw::Flag(&"a".repeat(201)), &Place::Nowhere).is_none());
    }
}
