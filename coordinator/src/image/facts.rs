//! What `doctor` wants to know of a build: how large its context is and what makes it so, which images it starts from, how much room is left.

use std::path::{Path, PathBuf};

use super::context::{Context, ContextError};
use super::dockerfile::{Base, Choices, outside};
use crate::docker::{Docker, DockerError};

/// How large a context is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextFacts {
    /// Files in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is directly below the context, the largest first: path and bytes.
    pub largest: Vec<(PathBuf, u64)>,
    /// An ignore file is in force.
    pub has_ignore_file: bool,
    /// The history of the version control is in it: the image's key changes with every commit.
    pub has_history: bool,
}

/// Looks at a context. Blocks.
pub fn context_facts(root: &Path, dockerfile: &Path) -> Result<ContextFacts, ContextError> {
    let context = Context::walk(root, dockerfile)?;
    let mut largest: Vec<(PathBuf, u64)> = Vec::new();
    for entry in &context.entries {
        let top = entry.path.split(|byte| *byte == b'/').next().unwrap_or_default();
        let top = PathBuf::from(String::from_utf8_lossy(top).into_owned());
        match largest.last_mut() {
            Some((last, bytes)) if *last == top => *bytes += entry.bytes(),
            _ => largest.push((top, entry.bytes())),
        }
    }
    largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    largest.truncate(10);
    Ok(ContextFacts {
        files: context.entries.iter().filter(|entry| matches!(entry.kind, super::context::EntryKind::File(_))).count(),
        bytes: context.bytes(),
        largest,
        has_ignore_file: context.ignore.is_some(),
        has_history: context.entries.iter().any(|entry| entry.path == b".git/HEAD"),
    })
}

/// The images that a Dockerfile starts from, and whether the engine has each.
pub async fn base_images(docker: &Docker, dockerfile: &[u8], choices: &Choices<'_>) -> Result<Vec<(Base, bool)>, DockerError> {
    let mut bases = Vec::new();
    for base in outside(dockerfile, choices).images {
        let there = docker.image(&base.reference).await?.is_some();
        bases.push((base, there));
    }
    Ok(bases)
}

/// Bytes that an unprivileged user may still write where `path` is.
pub fn room_left(path: &Path) -> std::io::Result<u64> {
    let room = rustix::fs::statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_entries_come_first() {
        let root = tempfile::tempdir().expect("a folder");
        for (path, bytes) in [("Dockerfile", 1), ("b/one", 100), ("b/two", 200), ("a", 250)] {
            let place = root.path().join(path);
            fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
            fs_err::write(place, vec![0; bytes]).expect("written");
        }
        let facts = context_facts(root.path(), &root.path().join("Dockerfile")).expect("walkable");
        assert_eq!((facts.files, facts.bytes, facts.has_ignore_file), (4, 551, false));
        assert_eq!(facts.largest, [("b".into(), 300), ("a".into(), 250), ("Dockerfile".into(), 1)]);
        assert!(room_left(root.path()).expect("some") > 0);
    }
}
