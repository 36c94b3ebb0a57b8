//! Projects for tests of builds: a directory of its own, and what is heard while its image is built.

use std::sync::{Arc, Mutex};

use crate::ground::{connect, unique};
use splitci_coordinator::docker::Docker;
use splitci_coordinator::image::{BuildFrom, ImageError, ImageRequest, ReadyImage, ensure_image};
use splitci_coordinator::model::{Listener, Progress, Telling};
use splitci_tests::engine::{docker, docker_says};

/// Hears everything.
#[derive(Default)]
pub(crate) struct Ears(Mutex<Vec<Progress>>);

impl Listener for Ears {
    fn hear(&self, telling: &Telling) {
        if let Telling::Progress(progress) = telling {
            self.0.lock().expect("no panic while locked").push(progress.clone());
        }
    }
}

impl Ears {
    pub(crate) fn heard(&self) -> Vec<Progress> {
        self.0.lock().expect("no panic while locked").clone()
    }
}

/// A project of its own, and its images gone at the end.
pub(crate) struct Project {
    pub(crate) root: tempfile::TempDir,
    pub(crate) name: String,
    pub(crate) docker: Arc<Docker>,
}

impl Project {
    pub(crate) async fn new(name: &str, dockerfile: &str) -> Self {
        Self::on(connect().await, name, dockerfile)
    }

    /// On this engine, or by this way to it.
    pub(crate) fn on(docker: Arc<Docker>, name: &str, dockerfile: &str) -> Self {
        let project = Self { root: tempfile::tempdir().expect("a folder"), name: unique(name), docker };
        project.write("Dockerfile", dockerfile);
        project
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let place = self.root.path().join(path);
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(place, text).expect("written");
    }

    pub(crate) fn from(&self) -> BuildFrom {
        let root = self.root.path().to_owned();
        BuildFrom { project: self.name.clone(), dockerfile: root.join("Dockerfile"), context: root, ..BuildFrom::default() }
    }

    pub(crate) async fn ensure(&self, from: BuildFrom) -> (Result<ReadyImage, ImageError>, Vec<Progress>) {
        let ears = Ears::default();
        let ready = ensure_image(&ImageRequest::Build(from), &self.docker, &ears).await;
        (ready, ears.heard())
    }

    pub(crate) async fn built(&self) -> ReadyImage {
        self.ensure(self.from()).await.0.expect("an image")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let images = docker_says(&format!("images -q splitci/{}", self.name));
        for image in images.lines() {
            docker(&format!("rmi -f {image}"));
        }
    }
}

pub(crate) fn cat(image: &str, path: &str) -> String {
    docker_says(&format!("run --rm --entrypoint cat {image} {path}"))
}
