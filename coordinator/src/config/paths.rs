//! Paths in a configuration: what they are relative to, and how the project's directories lie to each other. Pure; nothing is looked up.
//!
//! In the file a path is relative to the file's directory. On the command line and in the environment it is relative to the directory that the
//! command runs in (`-C`), as a shell completes it.

use std::path::{Component, Path, PathBuf};

use super::fault::Place;

/// The directories that relative paths start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bases {
    /// The project.
    pub root: PathBuf,
    /// Where the command runs.
    pub directory: PathBuf,
}

impl Bases {
    /// The directory that a path given there is relative to.
    pub fn of(&self, place: &Place) -> &Path {
        match place {
            Place::File { .. } | Place::Nowhere => &self.root,
            Place::Variable(_) | Place::Flag(_) => &self.directory,
        }
    }

    /// The absolute form of a path given there.
    pub fn absolute(&self, place: &Place, path: &str) -> PathBuf {
        tidy(&self.of(place).join(path))
    }

    /// A test's path as seen from the project; `None` if it lies outside. What follows `::` is left alone.
    pub fn of_test(&self, place: &Place, path: &str) -> Option<String> {
        let (file, rest) = path.find("::").map_or((path, ""), |at| path.split_at(at));
        Some(relative(&self.absolute(place, file), &self.root).map(|file| if file.is_empty() { ".".into() } else { file })? + rest)
    }

    /// A mount whose source is a relative path, with the path made absolute. Names of volumes and absolute paths are left alone.
    pub fn of_volume(&self, place: &Place, volume: &str) -> String {
        match volume.split_once(':') {
            Some((source, rest)) if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") => {
                format!("{}:{rest}", self.absolute(place, source).display())
            }
            _ => volume.to_owned(),
        }
    }
}

/// A path below another one, with `/`; empty when they are the same, `None` when it is not below.
pub(super) fn relative(path: &Path, below: &Path) -> Option<String> {
    let parts = path.strip_prefix(below).ok()?.components().map(|part| part.as_os_str().to_string_lossy());
    Some(parts.collect::<Vec<_>>().join("/"))
}

/// Takes `.` and `..` out of an absolute path, by its letters alone.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases() -> Bases {
        Bases { root: "/src/shop".into(), directory: "/src/shop/tests".into() }
    }

    fn file() -> Place {
        Place::File { file: "/src/shop/splitci.toml".into(), line: 1, key: "suite.paths".into() }
    }

    #[test]
    fn a_path_on_the_command_line_starts_where_the_command_runs() {
        let flag = Place::Flag("PATH".into());
        assert_eq!(bases().of_test(&flag, "unit/test_a.py::test_x[a/../b]").as_deref(), Some("tests/unit/test_a.py::test_x[a/../b]"));
        assert_eq!(bases().of_test(&flag, "..").as_deref(), Some("."));
        assert_eq!(bases().of_test(&flag, "/src/shop/tests").as_deref(), Some("tests"));
        assert_eq!(bases().of_test(&flag, "../../other"), None);
    }

    #[test]
    fn a_path_in_the_file_starts_at_the_file() {
        assert_eq!(bases().of_test(&file(), "tests").as_deref(), Some("tests"));
    }

    #[test]
    fn only_relative_sources_of_mounts_change() {
        for (volume, want) in [
            ("./data:/data:ro", "/src/shop/data:/data:ro"),
            ("cache:/cache", "cache:/cache"),
            ("/a:/b", "/a:/b"),
            ("/anonymous", "/anonymous"),
        ] {
            assert_eq!(bases().of_volume(&file(), volume), want);
        }
    }
}
