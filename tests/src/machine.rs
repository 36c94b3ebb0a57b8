//! A machine that builds a project, with its own directory, engine and memory, and a store that it may share with others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splitci_coordinator::content::{Access, Lease, LocalStore, Patience, Store, Tiered};
use splitci_coordinator::docker::{self, Docker};
use splitci_coordinator::image::{BuildFrom, ImageError, ImageRequest, ReadyImage, ensure_image};
use splitci_coordinator::model::trust::{Level, Space};
use splitci_coordinator::model::{Listener, Progress, Telling};
use splitci_coordinator::mounts::{Carrier, Needs};
use splitci_coordinator::trust::{Seal, SecretKey, TrustList};
use splitci_coordinator::vault::Vault;

use crate::engine::{docker as command, require};

/// Hears everything.
#[derive(Debug, Default)]
struct Ears(Mutex<Vec<Progress>>);

impl Listener for Ears {
    fn hear(&self, telling: &Telling) {
        if let Telling::Progress(progress) = telling {
            self.0.lock().expect("no panic while locked").push(progress.clone());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test program has to start somewhere")]
fn environment() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

/// A machine's own store with a shared one behind it, and the shared one as this machine sees it.
pub fn near_and_far(shared: &Path) -> (Arc<dyn Store>, Arc<dyn Store>) {
    let far = store(shared);
    (with_near(&far), far)
}

/// A machine's own store before this one.
pub fn with_near(far: &Arc<dyn Store>) -> Arc<dyn Store> {
    let near = tempfile::tempdir().expect("a folder").keep();
    let tiered = Tiered::new(store(&near), vec![Arc::clone(far)], near.join("scratch"), Patience::default());
    fs_err::create_dir_all(near.join("scratch")).expect("made");
    Arc::new(tiered)
}

/// Keys of a team, and who has which level.
#[derive(Debug)]
pub struct Team {
    protected: SecretKey,
    pull: SecretKey,
}

impl Default for Team {
    fn default() -> Self {
        let key = || SecretKey::generate().expect("a key");
        Self { protected: key(), pull: key() }
    }
}

impl Team {
    /// What somebody of this level reads and writes.
    pub fn vault(&self, level: Level, store: Arc<dyn Store>) -> Vault {
        let mut list = TrustList::default();
        list.add(self.protected.public().clone(), Space::of(Level::Protected)).expect("added");
        list.add(self.pull.public().clone(), Space::of(Level::Pull)).expect("added");
        let key = if level == Level::Pull { &self.pull } else { &self.protected };
        Vault::new(store, Seal::new(key.clone(), list, None), &[])
    }
}

/// A store in a directory.
pub fn store(directory: &Path) -> Arc<dyn Store> {
    Arc::new(LocalStore::open(directory, Access::ReadWrite).expect("a store"))
}

/// A machine with a project.
#[derive(Debug)]
pub struct Machine {
    /// The project.
    pub root: tempfile::TempDir,
    /// What the machine remembers.
    pub state: tempfile::TempDir,
    /// The project's name.
    pub name: String,
    /// How far its builds are trusted.
    pub level: Level,
    /// Its engine.
    pub docker: Arc<Docker>,
    /// Who carries its mounts.
    pub carrier: Carrier,
    store: Arc<dyn Store>,
    ears: Ears,
}

/// What came of a build.
#[derive(Debug)]
pub struct Outcome {
    /// The image.
    pub image: ReadyImage,
    /// What steps printed.
    pub log: String,
    /// What was said of it, while it was saved too.
    pub notes: String,
}

impl Machine {
    /// On this machine's engine, or another one.
    pub async fn new(name: &str, level: Level, team: &Team, store: Arc<dyn Store>, engine: Option<&str>) -> Self {
        Self::holding(name, level, team, (store, None), engine).await
    }

    /// The same, with a hold on what it uses of its store.
    pub async fn holding(
        name: &str,
        level: Level,
        team: &Team,
        (store, lease): (Arc<dyn Store>, Option<Arc<Lease>>),
        engine: Option<&str>,
    ) -> Self {
        if engine.is_none() {
            require();
        }
        let docker = Arc::new(docker::connect(engine, &environment()).await.expect("an engine"));
        let state = tempfile::tempdir().expect("a folder");
        let program = crate::worker::program();
        let needs = Needs {
            vault: Arc::new(team.vault(level, Arc::clone(&store))),
            lease,
            project: [7; 32],
            program: Arc::new(move |_| Some(Arc::clone(&program))),
            scratch: state.path().join("s"),
            state: state.path().to_owned(),
            saves: true,
        };
        let carrier = Carrier::new(needs);
        let root = tempfile::tempdir().expect("a folder");
        Self { root, state, name: name.to_owned(), level, docker, carrier, store, ears: Ears::default() }
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let place = self.root.path().join(path);
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(place, text).expect("written");
    }

    fn from(&self, root: &Path) -> BuildFrom {
        BuildFrom {
            project: self.name.clone(),
            dockerfile: root.join("Dockerfile"),
            context: root.to_owned(),
            state: Some(self.state.path().to_owned()),
            level: Some(self.level),
            mounts: Some(Arc::new(self.carrier.clone())),
            ..BuildFrom::default()
        }
    }

    /// Builds from a directory. The image is gone before, so that it is built. What steps print is told.
    async fn at(&self, root: &Path) -> (Result<ReadyImage, ImageError>, String) {
        self.forget().await;
        self.ears.0.lock().expect("no panic while locked").clear();
        let built = ensure_image(&ImageRequest::Build(self.from(root)), &self.docker, &self.ears).await;
        let heard = self.ears.0.lock().expect("no panic while locked").clone();
        let log = heard.iter().filter_map(|news| if let Progress::BuildLog { text, .. } = news { Some(text.as_str()) } else { None });
        (built, log.collect())
    }

    /// Builds, or does not. What steps print is told.
    pub async fn try_build(&self) -> (Result<ReadyImage, ImageError>, String) {
        self.at(self.root.path()).await
    }

    /// Builds, and does not wait until everything is saved.
    pub async fn build_only(&self) -> (ReadyImage, String) {
        let (image, log) = self.try_build().await;
        (image.expect("an image"), log)
    }

    /// Builds, and waits until everything is saved.
    pub async fn build(&self) -> Outcome {
        self.build_at(self.root.path()).await
    }

    /// The same from another machine's directory.
    pub async fn build_at(&self, root: &Path) -> Outcome {
        let (image, log) = self.at(root).await;
        let image = image.expect("an image");
        let saved = self.carrier.finish(Duration::from_mins(1)).await;
        self.store.flush().await.expect("flushed");
        let notes = image.notes.iter().cloned().chain(saved).collect::<Vec<_>>().join("\n");
        Outcome { image, log, notes }
    }

    /// Waits until something was heard.
    pub async fn heard(&self, beginning: &str) {
        let said = |news: &Progress| matches!(news, Progress::Doing(what) if what.starts_with(beginning));
        while !self.ears.0.lock().expect("no panic while locked").iter().any(said) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Removes the names of the project's images.
    pub async fn forget(&self) {
        for image in self.docker.tags_of(&format!("splitci/{}", self.name)).await.expect("tags") {
            self.docker.untag(&image.reference).await.expect("untagged");
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let address = self.docker.endpoint();
        let images = command(&format!("-H {address} images -q splitci/{}", self.name));
        for image in String::from_utf8_lossy(&images.stdout).lines() {
            command(&format!("-H {address} rmi -f {image}"));
        }
    }
}
