//! What was edited lately is a layer of its own: the image holds what it would hold without, and nothing of what was there before.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;
#[expect(dead_code, reason = "others need more of it")]
mod project;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use project::Project;
use splitci_coordinator::image::{BuildFrom, ReadyImage};
use splitci_coordinator::model::event::ImageSource;
use splitci_tests::engine::{self, docker_says};

const FILES: usize = 1_020;

/// A project of many files, and what else may be in one.
async fn project(name: &str, dockerfile: &str) -> Project {
    let project = Project::new(name, dockerfile).await;
    project.write("requirements", "one");
    for file in 0..FILES {
        project.write(&format!("src/{}/f{file}", file % 7), format!("{file}"));
    }
    let at = |path: &str| project.root.path().join("src").join(path);
    fs_err::create_dir_all(at("empty/below")).expect("made");
    symlink("3/f3", at("link")).expect("linked");
    symlink("nowhere", at("3/lost")).expect("linked");
    for (path, mode) in [("1", 0o700), ("2", 0o2755), ("3/f3", 0o600), ("4/f4", 0o4755)] {
        fs_err::set_permissions(at(path), std::fs::Permissions::from_mode(mode)).expect("set");
    }
    project
}

async fn built(project: &Project, state: &Path, split_copies: bool) -> ReadyImage {
    let from = BuildFrom { state: Some(state.to_owned()), split_copies, ..project.from() };
    let image = project.ensure(from).await.0.expect("an image");
    assert_eq!(image.how, ImageSource::Built);
    image
}

/// Everything below `/app` of an image.
fn held(image: &ReadyImage) -> BTreeMap<String, String> {
    engine::held(&image.identity.config, "app", |entry, about| {
        // What the build itself makes has the time of the build.
        let time = if about.is_dir() || entry.file_name() == "seen" { 0 } else { about.mtime() };
        format!("{:o} {}:{} {time}", about.mode(), about.uid(), about.gid())
    })
}

fn layers(image: &ReadyImage) -> Vec<String> {
    let said = docker_says(&format!("image inspect --format {{{{.RootFS.Layers}}}} {}", image.identity.config));
    said.trim_matches(['[', ']']).split(' ').map(str::to_owned).collect()
}

/// Each with how many of its layers but the last one are new after an edit.
const DOCKERFILES: &[(&str, usize)] = &[
    ("FROM debian:bookworm-slim\nWORKDIR /app\nCOPY . .\nRUN cat src/5/f5 > /app/seen\n", 1),
    ("FROM scratch\nCOPY requirements /app/r\nCOPY --chown=7:8 src /app/src\n", 0),
    // What is copied from another stage is copied whole.
    ("FROM scratch AS one\nCOPY src /all/\nFROM scratch\nCOPY --from=one /all /app/\nCOPY . /app/more/\n", 2),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_an_image_in_parts_are_those_of_one_that_is_not() {
    for (dockerfile, new) in DOCKERFILES {
        let project = project("parts", dockerfile).await;
        let (split, whole) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = built(&project, split.path(), true).await;
        let mut before = layers(&first);
        for edit in 0..2 {
            project.write("src/5/f5", format!("edited {edit}"));
            project.write(&format!("src/new/f{edit}"), "new");
            let image = built(&project, split.path(), true).await;
            let now = layers(&image);
            if edit > 0 {
                let changed = now[..now.len() - 1].iter().filter(|layer| !before.contains(layer)).count();
                assert_eq!(changed, *new, "{dockerfile}");
            }
            before = now;
            // Another name, so that it is built and not found.
            let plain =
                Project { root: tempfile::tempdir().expect("a folder"), name: ground::unique("whole"), docker: project.docker.clone() };
            let from = BuildFrom { project: plain.name.clone(), state: Some(whole.path().to_owned()), ..project.from() };
            let plain_image = plain.ensure(from).await.0.expect("an image");
            assert!(layers(&plain_image).len() < before.len(), "{dockerfile}");
            let (held, holds) = (held(&image), held(&plain_image));
            let differ = held.iter().filter(|(path, row)| holds.get(*path) != Some(row)).collect::<Vec<_>>();
            assert_eq!((differ, held.len()), (Vec::new(), holds.len()), "{dockerfile}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_or_replaced_is_in_no_layer() {
    let project = project("gone", "FROM scratch\nCOPY . /app\n").await;
    let state = tempfile::tempdir().expect("a folder");
    built(&project, state.path(), true).await;
    project.write("src/1/f1", "a password");
    project.write("src/new", "a password");
    built(&project, state.path(), true).await;
    project.write("src/1/f1", "none");
    fs_err::remove_file(project.root.path().join("src/new")).expect("removed");
    let image = built(&project, state.path(), true).await;
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "docker save {} | tar --extract && for layer in */layer.tar; do tar --extract --to-stdout --file $layer; done",
        image.identity.config
    );
    let all = std::process::Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().expect("start a shell");
    assert!(all.status.success() && !all.stdout.is_empty(), "{}", String::from_utf8_lossy(&all.stderr));
    assert!(!all.stdout.windows(10).any(|window| window == b"a password"));
    assert_eq!(held(&image)["app/src/1/f1"].rsplit(' ').next(), Some("none"));
}
