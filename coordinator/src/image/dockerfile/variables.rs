//! Variables that may stand in `FROM`: `ARG`s before the first stage, overridden by build arguments, and those that name platforms.

use std::collections::BTreeMap;

/// Variables that the builder sets by itself. It builds where it runs: both platforms are the same here.
pub(super) fn of_platform(platform: &str) -> BTreeMap<String, String> {
    let mut parts = platform.split('/');
    let (os, arch, variant) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let named = |side: &str| {
        [("PLATFORM", platform), ("OS", os), ("ARCH", arch), ("VARIANT", variant)]
            .map(|(name, value)| (format!("{side}{name}"), value.to_owned()))
    };
    named("TARGET").into_iter().chain(named("BUILD")).collect()
}

/// `ARG NAME=default OTHER`.
pub(super) fn declare<'a>(
    words: impl IntoIterator<Item = &'a str>,
    args: &BTreeMap<String, String>,
    variables: &mut BTreeMap<String, String>,
) {
    for word in words {
        let (name, default) = match word.split_once('=') {
            Some((name, default)) => (name, expand(default.trim_matches(['"', '\'']), variables)),
            None => (word, None),
        };
        if let Some(value) = args.get(name).cloned().or(default) {
            variables.insert(name.to_owned(), value);
        }
    }
}

/// Fills in variables; nothing if one has no value or a form that is not known here.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let text = text.trim_matches(['"', '\'']);
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}')?;
            out.push_str(&braced(&inside[..end], variables)?);
            rest = &inside[end + 1..];
        } else {
            let end = rest.find(|character: char| !is_name(character)).unwrap_or(rest.len());
            out.push_str(variables.get(&rest[..end])?);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Some(out)
}

/// `NAME`, `NAME:-default`, `NAME-default`, `NAME:+other`, `NAME+other`.
fn braced(inside: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let end = inside.find(|character: char| !is_name(character)).unwrap_or(inside.len());
    let (name, form) = inside.split_at(end);
    let value = variables.get(name);
    let filled = value.filter(|value| !value.is_empty());
    if form.is_empty() {
        value.cloned()
    } else if let Some(default) = form.strip_prefix(":-") {
        Some(filled.map_or(default, String::as_str).to_owned())
    } else if let Some(default) = form.strip_prefix('-') {
        Some(value.map_or(default, String::as_str).to_owned())
    } else if let Some(other) = form.strip_prefix(":+") {
        Some(filled.map_or("", |_| other).to_owned())
    } else {
        form.strip_prefix('+').map(|other| value.map_or("", |_| other).to_owned())
    }
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}
