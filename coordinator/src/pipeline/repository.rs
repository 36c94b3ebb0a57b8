//! What a project is called where memory is shared: by its origin and its place in it, which are the same on every machine; without one, by its name and where it lies.
//!
//! Only what is kept of a project as a whole goes by this name: how long its files took, and which were flaky. Two projects that had the same one would plan by each
//! other's times, and no more; what was proven goes by what is in an image.

use std::path::{Path, PathBuf};

use crate::config::Project;
use crate::model::encoding::Encoding;

/// Names the derivation.
const CONTEXT: &str = "splitci project v1";

/// What the project is called.
pub(super) fn identity(project: &Project) -> [u8; 32] {
    let mut out = Encoding::default();
    let place = match origin(&project.root) {
        Some((url, top)) => {
            out.field(1, url.as_bytes());
            project.root.strip_prefix(&top).unwrap_or(Path::new("")).to_owned()
        }
        None => project.root.clone(),
    };
    out.field(2, place.as_os_str().as_encoded_bytes());
    out.field(3, project.name.as_bytes());
    *blake3::Hasher::new_derive_key(CONTEXT).update(out.bytes()).finalize().as_bytes()
}

/// Where the repository around a directory comes from, without who may fetch it, and the repository's own directory.
fn origin(root: &Path) -> Option<(String, PathBuf)> {
    let top = root.ancestors().find(|directory| directory.join(".git").exists())?;
    let text = fs_err::read_to_string(common(&top.join(".git"))?.join("config")).ok()?;
    Some((address(&url_of_origin(&text)?), top.to_owned()))
}

/// The directory with the configuration: a work tree or submodule has a file that names another one.
fn common(git: &Path) -> Option<PathBuf> {
    if git.is_dir() {
        return Some(git.to_owned());
    }
    let text = fs_err::read_to_string(git).ok()?;
    let own = git.parent()?.join(text.strip_prefix("gitdir:")?.trim());
    match fs_err::read_to_string(own.join("commondir")) {
        Ok(shared) => Some(own.join(shared.trim())),
        Err(_) => Some(own),
    }
}

fn url_of_origin(config: &str) -> Option<String> {
    let lines = config.lines().map(str::trim).skip_while(|line| *line != "[remote \"origin\"]").skip(1);
    let mut section = lines.take_while(|line| !line.starts_with('['));
    section.find_map(|line| Some(line.strip_prefix("url")?.trim_start().strip_prefix('=')?.trim().to_owned()))
}

/// One form of the ways to write it: jobs fetch over HTTPS with a token, people over SSH.
fn address(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = &rest[..rest.find('/').unwrap_or(rest.len())];
    let rest = host.rfind('@').map_or(rest, |at| &rest[at + 1..]);
    let plain = rest.replacen(':', "/", 1);
    plain.trim_end_matches('/').trim_end_matches(".git").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_name_however_it_is_written() {
        let all = [
            "https://git.example/shop/web.git",
            "https://token:x@git.example/shop/web",
            "git@git.example:shop/web.git",
            "ssh://git@git.example/Shop/web/",
        ];
        assert!(all.iter().all(|url| address(url) == "git.example/shop/web"), "{:?}", all.map(address));
        assert_ne!(address("https://git.example/shop/api"), address(all[0]));
    }

    #[test]
    fn the_origin_of_a_repository_and_of_its_work_trees_is_found() {
        let place = tempfile::tempdir().expect("a folder");
        let git = place.path().join("main/.git");
        fs_err::create_dir_all(git.join("worktrees/other")).expect("made");
        let config = "[core]\n\tbare = false\n[remote \"fork\"]\n\turl = x\n[remote \"origin\"]\n\tfetch = +refs\n\turl = git@git.example:shop/web\n";
        fs_err::write(git.join("config"), config).expect("written");
        fs_err::write(git.join("worktrees/other/commondir"), "../..\n").expect("written");
        let other = place.path().join("other");
        fs_err::create_dir_all(&other).expect("made");
        fs_err::write(other.join(".git"), format!("gitdir: {}\n", git.join("worktrees/other").display())).expect("written");
        let found = |root: &str| origin(&place.path().join(root)).map(|(url, _)| url);
        assert_eq!(found("main/sub").as_deref(), Some("git.example/shop/web"));
        assert_eq!(found("other").as_deref(), Some("git.example/shop/web"));
        assert_eq!(found("nowhere"), None);
    }
}
