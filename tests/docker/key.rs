//! Keys of images with a real engine: what is built, what is not, and what bases come to.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ground::{connect, unique};
use splitci_coordinator::docker::Docker;
use splitci_coordinator::image::explain::{Explained, Fate, explain};
use splitci_coordinator::image::{BuildFrom, ImageRequest, ReadyImage, ensure_image};
use splitci_coordinator::model::event::ImageSource;
use splitci_coordinator::model::{Listener, Progress, Telling};
use splitci_tests::engine::{docker, docker_says};

#[derive(Default)]
struct Ears(Mutex<Vec<String>>);

impl Listener for Ears {
    fn hear(&self, telling: &Telling) {
        if let Telling::Progress(Progress::Doing(what)) = telling {
            self.0.lock().expect("no panic while locked").push(what.clone());
        }
    }
}

impl Ears {
    fn heard(&self, what: &str) -> bool {
        self.0.lock().expect("no panic while locked").iter().any(|said| said.contains(what))
    }
}

/// A project and its state, and its images gone at the end.
struct Project {
    root: tempfile::TempDir,
    state: tempfile::TempDir,
    name: String,
    docker: Arc<Docker>,
}

impl Project {
    async fn new(name: &str, dockerfile: &str) -> Self {
        let folder = || tempfile::tempdir().expect("a folder");
        let project = Self { root: folder(), state: folder(), name: unique(name), docker: connect().await };
        project.write("Dockerfile", dockerfile);
        project
    }

    fn write(&self, path: &str, text: &str) {
        let place = self.root.path().join(path);
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(place, text).expect("written");
    }

    fn from(&self) -> BuildFrom {
        let root = self.root.path().to_owned();
        BuildFrom {
            project: self.name.clone(),
            dockerfile: root.join("Dockerfile"),
            context: root,
            state: Some(self.state.path().to_owned()),
            whom: format!("a run of {}", self.name),
            ..BuildFrom::default()
        }
    }

    async fn ensured(&self, from: BuildFrom) -> (ReadyImage, Ears) {
        let ears = Ears::default();
        let image = ensure_image(&ImageRequest::Build(from), &self.docker, &ears).await.expect("an image");
        (image, ears)
    }

    async fn ready(&self) -> ReadyImage {
        self.ensured(self.from()).await.0
    }

    async fn explained(&self) -> Explained {
        explain(&self.from(), &self.docker, &Ears::default(), 0).await.expect("explained")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        for image in docker_says(&format!("images -q splitci/{}", self.name)).lines() {
            docker(&format!("rmi -f {image}"));
        }
    }
}

fn cat(image: &ReadyImage, path: &str) -> String {
    docker_says(&format!("run --rm --entrypoint cat {} {path}", image.identity.config))
}

/// An image of its own, gone at the end.
struct Base(String);

impl Base {
    fn new(name: &str, more: &str) -> Self {
        let base = Self(format!("{}:1", unique(name)));
        base.make(more);
        base
    }

    fn make(&self, more: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("Dockerfile"), format!("FROM debian:bookworm-slim\n{more}\n")).expect("written");
        docker_says(&format!("build -q -t {} {}", self.0, folder.path().display()));
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        docker(&format!("rmi -f {}", self.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_saved_is_known_the_next_time() {
    // A step that no earlier build has left in the builder's cache.
    let step = format!("RUN sleep 1; echo {}", unique("saved"));
    let project = Project::new("saved", &format!("FROM debian:bookworm-slim\nCOPY code /code\n{step}")).await;
    project.write("code", "one");
    let built = project.ready().await;
    assert_eq!((built.how, built.saved_ms), (ImageSource::Built, 0));
    assert!(built.took_ms >= 1_000, "{}", built.took_ms);
    let found = project.ready().await;
    assert_eq!((found.how, found.saved_ms), (ImageSource::Found, built.took_ms));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let from = BuildFrom { state: Some(elsewhere.path().to_owned()), ..project.from() };
    let (found, _) = project.ensured(from.clone()).await;
    assert_eq!((found.how, found.saved_ms, found.notes.len()), (ImageSource::Found, 0, 0), "another state directory does not know");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_moves_is_another_base() {
    let base = Base::new("moves", "RUN echo one > /what");
    let project = Project::new("moves", &format!("FROM {}\nRUN cp /what /copy", base.0)).await;
    let first = project.ready().await;
    assert_eq!((cat(&first, "/copy"), project.ready().await.how), ("one".to_owned(), ImageSource::Found));
    base.make("RUN echo two > /what");
    let why = project.explained().await;
    assert_eq!((why.fate, why.differences.len()), (Fate::New, 1), "{why:?}");
    assert!(why.differences[0].starts_with(&format!("base `{}` is now sha256:", base.0)), "{why:?}");
    let second = project.ready().await;
    assert_eq!((second.how, cat(&second, "/copy").as_str()), (ImageSource::Built, "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_builder_gets_the_base_that_is_in_the_key() {
    let base = Base::new("pinned", "RUN echo one > /what");
    let id = docker_says(&format!("inspect --format {{{{.Id}}}} {}", base.0));
    // The name is the other one's while the builder works: it must not matter.
    let other = Base::new("pinned-other", "RUN echo two > /what");
    let text =
        format!("FROM {} AS one\nRUN true\nFROM {} AS two\nFROM one\nCOPY --from=two /what /other\nRUN cp /what /copy", base.0, other.0);
    let project = Project::new("pinned", &text).await;
    let image = project.ready().await;
    assert_eq!((cat(&image, "/copy"), cat(&image, "/other")), ("one".to_owned(), "two".to_owned()));
    let pin = format!("splitci-base:{}", &id["sha256:".len()..][..12]);
    assert_eq!(docker_says(&format!("inspect --format {{{{.Id}}}} {pin}")), id, "an image that exists only here has a name made of its id");
    docker(&format!("rmi {pin}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_gone_means_what_it_meant() {
    let base = Base::new("locked", "RUN echo one > /what");
    let project = Project::new("locked", &format!("FROM {}\nRUN cp /what /copy", base.0)).await;
    let first = project.ready().await;
    docker_says(&format!("rmi {}", base.0));
    let (second, ears) = project.ensured(project.from()).await;
    assert_eq!((second.how, &second.key), (ImageSource::Found, &first.key));
    assert!(!ears.heard("pulling"), "nobody need be asked");
    // Without what is remembered, nobody knows what it was.
    let (request, ears) = (ImageRequest::Build(BuildFrom { state: None, ..project.from() }), Ears::default());
    let error = ensure_image(&request, &project.docker, &ears).await.expect_err("nobody has it");
    assert!(ears.heard("pulling") && error.hint().is_some_and(|hint| hint.contains("is not in the engine")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_asked_is_a_note() {
    let base = format!("registry.invalid/{}:1", unique("offline"));
    docker_says(&format!("tag debian:bookworm-slim {base}"));
    let project = Project::new("offline", &format!("FROM {base}\nRUN echo offline > /x")).await;
    let (image, ears) = project.ensured(project.from()).await;
    assert_eq!(image.notes, Vec::<String>::new());
    assert!(!ears.heard("pulling"), "what is there is not asked for");
    let (image, ears) = project.ensured(BuildFrom { pull: true, ..project.from() }).await;
    docker(&format!("rmi {base}"));
    assert!(ears.heard(&format!("pulling {base}")));
    assert_eq!(image.how, ImageSource::Found);
    assert!(image.notes.iter().any(|note| note.starts_with(&format!("the registry cannot be asked for `{base}`"))), "{:?}", image.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_anew_is_everything_anew() {
    let project = Project::new("anew", "FROM debian:bookworm-slim\nRUN head -c 16 /dev/urandom | md5sum > /chance").await;
    let first = project.ready().await;
    let (second, _) = project.ensured(BuildFrom { no_cache: true, ..project.from() }).await;
    assert_eq!((second.how, &second.key), (ImageSource::Built, &first.key));
    assert_ne!(cat(&first, "/chance"), cat(&second, "/chance"));
    let third = project.ready().await;
    assert_eq!((third.how, third.identity), (ImageSource::Found, second.identity), "the last one built is the one of its key");
    let (fourth, _) = project.ensured(BuildFrom { epoch: Some("2".into()), ..project.from() }).await;
    assert_eq!(fourth.how, ImageSource::Built);
    assert_ne!(fourth.key, first.key);
    let aged = |seconds| BuildFrom { max_age: Some(Duration::from_secs(seconds)), ..project.from() };
    let (fifth, _) = project.ensured(aged(1)).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (sixth, _) = project.ensured(aged(1)).await;
    assert_ne!(fifth.key, sixth.key, "it got too old");
    let (seventh, _) = project.ensured(aged(1_000_000_000_000)).await;
    assert_eq!(project.ensured(aged(1_000_000_000_000)).await.0.key, seventh.key);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_copied_builds_nothing() {
    let project = Project::new("reach", "FROM debian:bookworm-slim\nCOPY src /src\nRUN true").await;
    project.write("src/a", "one");
    project.write("docs/a", "one");
    let first = project.ready().await;
    project.write("docs/a", "two");
    project.write("docs/b", "new");
    assert_eq!(project.ready().await.how, ImageSource::Found);
    let why = project.explained().await;
    assert_eq!(why.fate, Fate::Reused);
    assert!(why.advice.iter().any(|said| said.starts_with("2 files are sent and never copied")), "{why:?}");
    project.write("src/a", "two");
    let why = project.explained().await;
    assert_eq!((why.fate, why.differences.as_slice()), (Fate::New, ["`src/a` changed".to_owned()].as_slice()));
    let second = project.ready().await;
    assert_eq!((second.how, cat(&second, "/src/a").as_str()), (ImageSource::Built, "two"));
    assert_ne!(first.key, second.key);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_reuse_unlikely_is_told_from_what_was_built() {
    let project = Project::new("lints", "FROM scratch\nARG GIT_SHA\nARG STEADY\nCOPY . /\n").await;
    project.write("code", "one");
    let with = |sha: &str| {
        let args = [("GIT_SHA", sha), ("STEADY", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        BuildFrom { args: args.into(), ..project.from() }
    };
    let said = async |sha: &str| explain(&with(sha), &project.docker, &Ears::default(), 0).await.expect("explained").advice;
    for sha in ["a", "b", "c"] {
        assert_eq!(said(sha).await, [""; 0], "nothing is known yet");
        project.ensured(with(sha)).await;
    }
    project.write(".git/HEAD", "ref: refs/heads/main");
    let advice = said("d").await;
    assert!(matches!(&advice[..], [git, sha] if git.starts_with("`.git` is in the context") && sha.contains("`GIT_SHA`")), "{advice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_with_triggers_may_copy_anything() {
    let base = Base::new("trigger", "ONBUILD COPY . /all");
    let project = Project::new("trigger", &format!("FROM {}\nRUN true", base.0)).await;
    project.write("docs/a", "one");
    let first = project.ready().await;
    assert_eq!(cat(&first, "/all/docs/a"), "one");
    project.write("docs/a", "two");
    let second = project.ready().await;
    assert_eq!((second.how, cat(&second, "/all/docs/a").as_str()), (ImageSource::Built, "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_same_length_with_the_old_time_is_seen() {
    let project = Project::new("time", "FROM debian:bookworm-slim\nCOPY code /code").await;
    project.write("code", "one");
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    let first = project.ready().await;
    assert_eq!(project.ready().await.key, first.key);
    let place = project.root.path().join("code");
    let before = fs_err::metadata(&place).expect("there").modified().expect("a time");
    project.write("code", "two");
    fs_err::File::options().append(true).open(&place).expect("there").file().set_modified(before).expect("set");
    let second = project.ready().await;
    assert_eq!((second.how, cat(&second, "/code").as_str()), (ImageSource::Built, "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_image_is_built_once_for_two_who_want_it_at_once() {
    let step = format!("RUN sleep 2; echo {}", unique("twice"));
    let project = Project::new("twice", &format!("FROM debian:bookworm-slim\nCOPY code /code\n{step}")).await;
    project.write("code", "one");
    let second = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        project.ensured(BuildFrom { whom: "another run".into(), ..project.from() }).await
    };
    let ((first, _), (second, ears)) = tokio::join!(project.ensured(project.from()), second);
    assert_eq!((first.how, second.how), (ImageSource::Built, ImageSource::Found));
    assert_eq!(first.identity, second.identity);
    assert!(ears.heard(&format!("waiting for a run of {}, which builds", project.name)), "{:?}", ears.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_taken_away_is_built_again() {
    let project = Project::new("pruned", "FROM debian:bookworm-slim\nCOPY code /code").await;
    project.write("code", "one");
    let first = project.ready().await;
    docker_says(&format!("rmi -f {}", first.identity.config));
    let why = project.explained().await;
    assert_eq!(why.fate, Fate::Gone);
    let second = project.ready().await;
    assert_eq!((second.how, &second.key), (ImageSource::Built, &first.key));
    assert_eq!(cat(&second, "/code"), "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_umask_checkout_and_time_is_the_same_image() {
    use std::os::unix::fs::PermissionsExt;
    let text = "FROM debian:bookworm-slim\nCOPY . /code\nRUN true";
    let project = Project::new("umask", text).await;
    project.write("dir/code", "one");
    let first = project.ready().await;
    let other = tempfile::tempdir().expect("a folder");
    for (path, content, mode) in [("Dockerfile", text, 0o664), ("dir/code", "one", 0o664)] {
        let place = other.path().join(path);
        fs_err::create_dir_all(place.parent().expect("a parent")).expect("made");
        fs_err::write(&place, content).expect("written");
        fs_err::set_permissions(&place, std::fs::Permissions::from_mode(mode)).expect("set");
    }
    fs_err::set_permissions(other.path().join("dir"), std::fs::Permissions::from_mode(0o775)).expect("set");
    let from = BuildFrom { context: other.path().to_owned(), dockerfile: other.path().join("Dockerfile"), ..project.from() };
    let (second, _) = project.ensured(from).await;
    assert_eq!((second.how, second.identity), (ImageSource::Found, first.identity));
}
