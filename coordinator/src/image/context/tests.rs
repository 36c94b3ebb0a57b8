//! The walk against trees made for it, and against what docker's own clients send.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let place = root.path().join(path);
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(place, text).expect("written");
    }
    root
}

fn walked(root: &tempfile::TempDir) -> Context {
    Context::walk(root.path(), &root.path().join("Dockerfile")).expect("walkable")
}

fn paths_of(context: &Context) -> Vec<String> {
    context.entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

#[test]
fn what_is_excluded_stays_out_and_what_is_included_again_brings_its_directories() {
    let root = tree(&[
        ("Dockerfile", "FROM a"),
        (".dockerignore", "**\n!src/deep/keep"),
        ("src/deep/keep", ""),
        ("src/deep/drop", ""),
        ("src/other/x", ""),
        ("z", ""),
    ]);
    assert_eq!(paths_of(&walked(&root)), ["src", "src/deep", "src/deep/keep"]);
}

#[test]
fn the_dockerfiles_own_ignore_file_wins() {
    let root = tree(&[("Dockerfile", ""), ("Dockerfile.dockerignore", "a"), (".dockerignore", "b"), ("a", ""), ("b", "")]);
    let context = walked(&root);
    assert_eq!(paths_of(&context), [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "b"]);
    assert_eq!(context.ignore.expect("one").name, b"Dockerfile.dockerignore");
}

#[test]
fn a_dockerfile_may_lie_outside() {
    let root = tree(&[("app/a", "")]);
    fs_err::write(root.path().join("D"), "FROM a").expect("written");
    let context = Context::walk(&root.path().join("app"), &root.path().join("D")).expect("walkable");
    assert_eq!(paths_of(&context), ["a"]);
    assert!(context.dockerfile.name.starts_with(b".dockerfile."));
}

#[test]
fn odd_files_are_kept_as_what_they_are() {
    let root = tree(&[("Dockerfile", ""), ("x", "")]);
    symlink("../out", root.path().join("link")).expect("linked");
    fs_err::hard_link(root.path().join("x"), root.path().join("y")).expect("linked");
    let strange = OsStr::from_bytes(b"\xff\xfe");
    fs_err::write(root.path().join(strange), "").expect("written");
    fs_err::set_permissions(root.path().join("x"), std::fs::Permissions::from_mode(0o4777)).expect("set");
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("sock")).expect("bound");
    let context = walked(&root);
    let kinds: Vec<_> = context.entries.iter().map(|entry| (entry.path.as_slice(), entry.mode, entry.kind.clone())).collect();
    assert!(kinds.contains(&(b"link", 0o777, EntryKind::Link(b"../out".to_vec()))));
    assert!(kinds.contains(&(b"x", 0o4755, EntryKind::File(0))) && kinds.contains(&(b"y", 0o4755, EntryKind::File(0))));
    assert!(kinds.iter().any(|(path, ..)| *path == b"\xff\xfe"));
    assert!(!kinds.iter().any(|(path, ..)| *path == b"sock"));
}

#[test]
fn a_file_that_changes_is_named() {
    let root = tree(&[("Dockerfile", ""), ("log", "one")]);
    let context = walked(&root);
    fs_err::write(root.path().join("log"), "one two").expect("written");
    let error = context.items().expect_err("it changed");
    assert!(matches!(error, ContextError::Changed(path) if path.ends_with("log")));
}

#[test]
fn a_missing_dockerfile_is_said() {
    let root = tree(&[("a", "")]);
    let error = Context::walk(root.path(), &root.path().join("Dockerfile")).expect_err("there is none");
    assert!(matches!(error, ContextError::NoDockerfile(_)));
}

/// Random ignore files and trees, judged by the library of docker's own clients: see `fixtures/captures/dockerignore`.
#[test]
fn ignore_files_mean_what_they_mean_to_docker() {
    let cases = include_str!("../../../../fixtures/captures/dockerignore/cases.txt");
    let mut wrong = Vec::new();
    for case in cases.trim_end().split("\n\n") {
        let (quoted, paths) = case.split_once('\n').expect("a case");
        let text: String = serde_json::from_str(quoted).expect("a quoted string");
        if outcome(&text, paths) != expected(paths) {
            wrong.push(format!("{quoted}\n{paths}\ngives {:?}", outcome(&text, paths)));
        }
    }
    assert!(wrong.is_empty(), "{} cases, the first:\n{}", wrong.len(), wrong[0]);
}

/// What is sent; nothing when the ignore file is refused.
fn expected(paths: &str) -> Option<Vec<String>> {
    let sent = paths.lines().filter_map(|line| line.strip_prefix('+')).map(|path| path.trim_end_matches('/').to_owned());
    let mut sent: Vec<_> = sent.collect();
    sent.sort();
    (paths != "!").then_some(sent)
}

fn outcome(ignore: &str, paths: &str) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("context");
    fs_err::create_dir(&root).expect("made");
    for path in paths.lines().filter(|line| *line != "!").map(|line| &line[1..]) {
        if path.ends_with('/') {
            fs_err::create_dir(root.join(path)).expect("made");
        } else {
            fs_err::write(root.join(path), "").expect("written");
        }
    }
    let dockerfile = folder.path().join("Dockerfile");
    fs_err::write(&dockerfile, "").expect("written");
    fs_err::write(folder.path().join("Dockerfile.dockerignore"), ignore).expect("written");
    match Context::walk(&root, &dockerfile) {
        Ok(context) => {
            let mut sent = paths_of(&context);
            sent.sort();
            Some(sent)
        }
        Err(ContextError::Ignore { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
