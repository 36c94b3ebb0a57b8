//! Bases that come from a registry: moved, forbidden, gone, or in a registry that has had enough; and what a run makes of it.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;
mod project;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ground::{connect, environment, unique};
use project::{Project, cat};
use splitci_coordinator::docker::{self, Docker};
use splitci_coordinator::image::{BuildFrom, ImageError, ReadyImage};
use splitci_coordinator::model::Progress;
use splitci_coordinator::model::event::ImageSource;
use splitci_tests::engine::{docker, docker_says};

/// How long a registry may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// Debian's registry, ended with this value.
struct Registry {
    folder: tempfile::TempDir,
    process: Child,
    address: String,
}

impl Registry {
    /// For everybody.
    fn open() -> Self {
        Self::with("")
    }

    /// For `me` with the password `secret`.
    fn locked() -> Self {
        Self::with("auth: {htpasswd: {realm: tests, path: htpasswd}}\n")
    }

    fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let htpasswd = Command::new("htpasswd").args(["-Bbn", "me", "secret"]).output();
        let htpasswd = htpasswd.expect("start htpasswd; on Debian: apt-get install apache2-utils");
        fs_err::write(folder.path().join("htpasswd"), htpasswd.stdout).expect("written");
        let address = free_address();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: data}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{address}'}}\n{more}"
        );
        fs_err::write(folder.path().join("config.yml"), config).expect("written");
        let mut command = Command::new("docker-registry");
        command.args(["serve", "config.yml"]).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("start docker-registry; on Debian: apt-get install docker-registry");
        let started = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < UP_WITHIN, "the registry does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { folder, process, address }
    }

    /// A reference in it that nobody else has.
    fn reference(&self) -> String {
        format!("{}/{}:1", self.address, unique("base"))
    }

    /// A client that says it is `me` with this password.
    async fn client(&self, password: &str) -> Arc<Docker> {
        Arc::new(docker::connect(None, &self.client_environment(password)).await.expect("an engine"))
    }

    fn client_environment(&self, password: &str) -> BTreeMap<String, String> {
        let folder = self.folder.path().join(format!("client-{password}"));
        fs_err::create_dir_all(&folder).expect("made");
        let said = Command::new("sh").args(["-c", &format!("printf me:{password} | base64")]).output().expect("start sh");
        let auth = String::from_utf8(said.stdout).expect("text").trim().to_owned();
        let config = serde_json::json!({ "auths": { &self.address: { "auth": auth } } });
        fs_err::write(folder.join("config.json"), config.to_string()).expect("written");
        let mut env = environment();
        env.insert("DOCKER_CONFIG".into(), folder.display().to_string());
        env
    }

    fn push(&self, reference: &str) {
        let config = self.client_environment("secret")["DOCKER_CONFIG"].clone();
        docker_says(&format!("--config {config} push -q {reference}"));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string()
}

/// What answers every question for an image with this status. It lives as long as the test.
fn refusing(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut guest in listener.incoming().map_while(Result::ok) {
            let mut asked = [0; 4096];
            let length = guest.read(&mut asked).unwrap_or(0);
            let hello = asked[..length].starts_with(b"GET /v2/ ");
            let (status, body) = if hello { ("200 OK", "{}") } else { (status, r#"{"errors":[{"code":"UNKNOWN","message":"not now"}]}"#) };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}", body.len());
            // Whoever has gone asks for nothing.
            guest.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).ok();
        }
    });
    address
}

/// An image with this in the file `/what` under this name, known to the engine alone. What no other test says makes it one that no other test has.
fn make(reference: &str, what: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("Dockerfile"), format!("FROM debian:bookworm-slim\nRUN echo {what} > /what\n")).expect("written");
    docker_says(&format!("build -q -t {reference} {}", folder.path().display()));
}

fn dockerfile(base: &str) -> String {
    format!("FROM {base}\nRUN cat /what /etc/debian_version > /copy # {}\n", unique("once"))
}

fn forget(reference: &str) {
    docker(&format!("rmi -f {reference}"));
}

/// A project upon this base, with a state directory.
struct Upon {
    project: Project,
    state: tempfile::TempDir,
}

impl Upon {
    async fn new(base: &str) -> Self {
        Self::of(Project::new("upon", &dockerfile(base)).await)
    }

    fn on(docker: Arc<Docker>, base: &str) -> Self {
        Self::of(Project::on(docker, "upon", &dockerfile(base)))
    }

    fn of(project: Project) -> Self {
        Self { project, state: tempfile::tempdir().expect("a folder") }
    }

    fn from(&self) -> BuildFrom {
        BuildFrom { state: Some(self.state.path().to_owned()), ..self.project.from() }
    }

    async fn ensure(&self, pull: bool) -> (Result<ReadyImage, ImageError>, Vec<Progress>) {
        self.project.ensure(BuildFrom { pull, ..self.from() }).await
    }

    async fn ready(&self, pull: bool) -> ReadyImage {
        self.ensure(pull).await.0.expect("an image")
    }
}

fn what(image: &ReadyImage) -> String {
    cat(&image.reference, "/copy").lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_moved_is_the_old_one_until_somebody_pulls() {
    let registry = Registry::open();
    let base = registry.reference();
    let (old, new) = (unique("old"), unique("new"));
    make(&base, &new);
    registry.push(&base);
    make(&base, &old);
    // The engine has the old one under the name that means the new one in the registry.
    let upon = Upon::new(&base).await;
    let first = upon.ready(false).await;
    assert_eq!((first.how, what(&first)), (ImageSource::Built, old));
    assert_eq!(upon.ready(false).await.how, ImageSource::Found);
    let second = upon.ready(true).await;
    assert_eq!((second.how, what(&second)), (ImageSource::Built, new));
    assert_ne!(second.key, first.key);
    let third = upon.ready(false).await;
    assert_eq!((third.how, &third.identity), (ImageSource::Found, &second.identity), "it is the one that the engine has from then on");
    // A name that is not there any more means the image that it meant, if the engine has that under another one, and nobody is asked.
    let kept = format!("{}:1", unique("kept"));
    docker_says(&format!("tag {base} {kept}"));
    forget(&base);
    drop(registry);
    let (fourth, heard) = upon.ensure(false).await;
    assert_eq!(fourth.expect("an image").identity, second.identity);
    assert!(!pulled(&heard), "{heard:?}");
    forget(&kept);
}

fn pulled(heard: &[Progress]) -> bool {
    heard.iter().any(|news| matches!(news, Progress::Doing(what) if what.starts_with("pulling")))
}

/// Registries that give nothing: address, engine to ask by, and a word of the reason.
async fn refusals(locked: &Registry, nothing_there: &Registry) -> [(String, Arc<Docker>, &'static str); 4] {
    [
        (locked.address.clone(), locked.client("wrong").await, "authoriz"),
        (nothing_there.address.clone(), connect().await, "unknown"),
        (refusing("429 Too Many Requests"), connect().await, "not now"),
        (free_address(), connect().await, "refused"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_is_a_note_where_the_engine_has_the_base() {
    let (locked, nothing_there) = (Registry::locked(), Registry::open());
    for (address, docker, word) in refusals(&locked, &nothing_there).await {
        let base = format!("{address}/{}:1", unique("base"));
        make(&base, &unique("refused"));
        let upon = Upon::on(docker, &base);
        let first = upon.ready(true).await;
        let told = first.notes.iter().find(|note| note.starts_with(&format!("the registry cannot be asked for `{base}`")));
        assert!(told.is_some_and(|note| note.contains(word)), "{word}: {:?}", first.notes);
        let (second, heard) = upon.ensure(false).await;
        let second = second.expect("an image");
        assert_eq!((second.how, second.notes.len(), pulled(&heard)), (ImageSource::Found, 0, false), "what is there is enough");
        forget(&base);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_what_nobody_has_is_named_with_its_reason() {
    let (locked, nothing_there) = (Registry::locked(), Registry::open());
    for (address, docker, word) in refusals(&locked, &nothing_there).await {
        let base = format!("{address}/{}:1", unique("base"));
        let error = Upon::on(docker, &base).ensure(false).await.0.expect_err("nobody has it");
        assert_eq!(error.exit_code(), 5, "{error}");
        let hint = error.hint().expect("a hint");
        assert!(hint.contains(&base) && hint.contains(word), "{word}: {hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_behind_a_password_is_pulled_with_it() {
    let registry = Registry::locked();
    let base = registry.reference();
    let guarded = unique("guarded");
    make(&base, &guarded);
    registry.push(&base);
    forget(&base);
    let upon = Upon::on(registry.client("secret").await, &base);
    let (image, heard) = upon.ensure(false).await;
    let image = image.expect("an image");
    assert_eq!((image.how, what(&image), pulled(&heard)), (ImageSource::Built, guarded, true));
    assert_eq!(upon.project.built().await.how, ImageSource::Found, "without what is remembered, too");
    forget(&base);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_the_registry_has_deleted_is_named() {
    let registry = Registry::open();
    let base = registry.reference();
    make(&base, &unique("deleted"));
    registry.push(&base);
    // `[name@digest]`
    let named = docker_says(&format!("inspect --format {{{{.RepoDigests}}}} {base}"));
    let pinned = named.trim_matches(['[', ']']).to_owned();
    forget(&base);
    fs_err::remove_dir_all(registry.folder.path().join("data")).expect("removed");
    let error = Upon::new(&pinned).await.ensure(false).await.0.expect_err("nobody has it");
    assert_eq!(error.exit_code(), 5);
    let told = format!("{error} {}", error.hint().expect("a hint"));
    assert!(told.contains(&pinned) && told.contains("`--pull`"), "{told}");
}
