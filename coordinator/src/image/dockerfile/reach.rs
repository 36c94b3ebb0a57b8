//! What a build can reach of its context: what it copies, adds and mounts. Files that it cannot reach do not count.
//!
//! In any doubt it is everything: a variable or a quote in a path, a pattern in its first part, an instruction or an option that is not known here, a
//! trigger, a frontend that is not docker's, a symbolic link on the way.

use super::lines::{Instruction, document};
use crate::image::key::{ContextItem, ItemContent};

/// What can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// All of it, for all that is known.
    #[default]
    Everything,
    /// These, and what is below them.
    Paths(Vec<Source>),
}

/// A path below the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    path: Vec<u8>,
    /// It stands for a pattern that may match anything in it.
    pattern: bool,
}

/// Options of `COPY` and `ADD` that take nothing else from the context.
const KNOWN: &[&str] = &["from", "chown", "chmod", "link", "parents", "exclude", "checksum", "keep-git-dir", "unpack"];

impl Reach {
    /// Nothing at all.
    pub(super) fn nothing() -> Self {
        Self::Paths(Vec::new())
    }

    /// This, and what is below it.
    pub(super) fn of(path: Vec<u8>) -> Self {
        Self::Paths(vec![Source { path, pattern: false }])
    }

    /// And what else can be reached.
    pub fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Paths(all), Self::Paths(more)) => all.extend(more),
            _ => *self = Self::Everything,
        }
    }

    /// What it comes to in a context: a link on the way to a path, or among what a pattern matches, may lead anywhere.
    #[must_use]
    pub fn within(self, items: &[ContextItem]) -> Self {
        let Self::Paths(paths) = &self else { return self };
        let links = items.iter().filter(|item| matches!(item.content, ItemContent::Link(_))).map(|item| item.path.as_slice());
        let misleads = |link: &[u8]| {
            paths.iter().any(|source| is_at_or_below(&source.path, link) || (source.pattern && is_at_or_below(link, &source.path)))
        };
        if links.into_iter().any(misleads) { Self::Everything } else { self }
    }

    /// Whether a path, or something below it, can be reached.
    pub fn touches(&self, path: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Paths(paths) => self.covers(path) || paths.iter().any(|source| is_at_or_below(&source.path, path)),
        }
    }

    /// Whether a path can be reached.
    pub fn covers(&self, path: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Paths(paths) => paths.iter().any(|source| is_at_or_below(path, &source.path)),
        }
    }
}

/// Whether a path is that, or below it; everything is below the context, which has no name.
pub fn is_at_or_below(path: &[u8], above: &[u8]) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What a `COPY` or `ADD` takes.
pub(super) fn of_copy(instruction: &Instruction) -> Reach {
    if !instruction.option_names().all(|name| KNOWN.contains(&name)) {
        return Reach::Everything;
    }
    if instruction.flag("from").is_some() {
        return Reach::nothing();
    }
    let mut reach = Reach::nothing();
    for source in sources(instruction) {
        reach.add(path(&source));
    }
    reach
}

/// What a `RUN --mount` takes.
pub(super) fn of_mount(mount: &str) -> Reach {
    let value = |name: &str| mount.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    if mount.contains(['$', '"', '\'']) {
        return Reach::Everything;
    }
    match (value("type").unwrap_or("bind"), value("from")) {
        ("bind", None) => value("source").or_else(|| value("src")).map_or(Reach::Everything, path),
        ("bind", Some(_)) | ("cache" | "tmpfs" | "secret" | "ssh", _) => Reach::nothing(),
        _ => Reach::Everything,
    }
}

/// What is copied or added, without where it goes to: words, or a list of texts. Here-documents are in the Dockerfile itself.
pub(super) fn sources(instruction: &Instruction) -> Vec<String> {
    let mut all = match serde_json::from_str::<Vec<String>>(&instruction.rest) {
        Ok(list) => list,
        Err(_) => instruction.words.iter().map(|word| word.text.clone()).collect(),
    };
    all.pop();
    all.retain(|source| document(source).is_none());
    all
}

/// The path that a source names without doubt; empty for the whole context.
pub(super) fn plain(source: &str) -> Option<Vec<u8>> {
    if source.is_empty() || source.contains(['$', '"', '\'', '\\', '`', '<', '*', '?', '[']) || source.contains("://") {
        return None;
    }
    let parts: Vec<&str> = source.split('/').filter(|part| !["", "."].contains(part)).collect();
    if parts.contains(&"..") { None } else { Some(parts.join("/").into_bytes()) }
}

fn path(source: &str) -> Reach {
    if source.contains(['$', '"', '\'', '\\']) || source.contains("://") || source.starts_with("<<") {
        return Reach::Everything;
    }
    let mut parts: Vec<&str> = Vec::new();
    let mut pattern = false;
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." if pattern => return Reach::Everything,
            ".." => drop(parts.pop()),
            part if part.contains(['*', '?', '[']) => pattern = true,
            part if !pattern => parts.push(part),
            _ => {}
        }
    }
    if parts.is_empty() { Reach::Everything } else { Reach::Paths(vec![Source { path: parts.join("/").into_bytes(), pattern }]) }
}
