//! Layers that travel through a real registry from one engine to another, what happens when the registry is not what it should be, and who reads what whom wrote.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;
mod project;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ground::{connect, environment, unique};
use project::{Project, cat};
use splitci_coordinator::docker::build::{BuildRequest, Sources};
use splitci_coordinator::docker::{self, Docker};
use splitci_coordinator::image::layers::{Branches, Layers, Parcel};
use splitci_coordinator::image::{BuildFrom, ReadyImage};
use splitci_coordinator::model::event::{BuiltSteps, ImageSource};
use splitci_coordinator::model::trust::Level;
use splitci_tests::registry::{Instead, Registry, credentials, instead};
use splitci_tests::second::SecondEngine;
use tokio_util::sync::CancellationToken;

/// What it makes by chance tells who made it.
const DOCKERFILE: &str = "\
FROM debian:bookworm-slim
COPY requirements /requirements
RUN head -c 3000000 /dev/urandom > /random
COPY code /code
RUN cat /code > /seen
";

fn layers(repository: &str, level: Level, branch: &str) -> Layers {
    let branches = Branches { own: Some(branch.into()), default: vec!["main".into()], ..Branches::default() };
    Layers { repository: repository.into(), level, sends: true, pays_from: Duration::ZERO, branches }
}

/// One project in a checkout of its own, on this engine.
fn checkout(name: &str, docker: &Arc<Docker>) -> Project {
    let mut project = Project::on(Arc::clone(docker), name, DOCKERFILE);
    name.clone_into(&mut project.name);
    project.write("requirements", name);
    project.write("code", "one");
    project
}

async fn build(project: &Project, layers: Layers) -> ReadyImage {
    let (built, _) = project.ensure(BuildFrom { layers: Some(layers), ..project.from() }).await;
    let image = built.expect("a registry fails no build");
    assert_eq!(image.how, ImageSource::Built);
    image
}

async fn send(image: &ReadyImage, docker: &Arc<Docker>) -> Option<String> {
    let parcel = image.parcel.as_ref().expect("something to send");
    let sent = parcel.send(docker, &CancellationToken::new()).await.expect("sent").remote;
    assert_eq!(docker.tags_of(&parcel.repository).await.expect("tags"), [], "no name is left");
    sent
}

async fn second() -> (SecondEngine, Arc<Docker>) {
    splitci_tests::engine::require();
    let second = SecondEngine::start();
    second.load("debian:bookworm-slim");
    let docker = docker::connect(Some(&second.address()), &environment()).await.expect("an engine");
    (second, Arc::new(docker))
}

fn forget(second: &SecondEngine) {
    for image in second.says("images --quiet --no-trunc").lines() {
        let names = second.says(&format!("image inspect --format {{{{.RepoTags}}}} {image}"));
        if !names.contains("debian:bookworm-slim") {
            second.says(&format!("rmi --force {image}"));
        }
    }
    second.says("builder prune --all --force");
}

fn random(engine: &str, image: &ReadyImage) -> String {
    let line = format!("-H {engine} run --rm --network none --entrypoint sha256sum {} /random", image.reference);
    splitci_tests::engine::docker_says(&line)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_does_only_what_changed() {
    let (mut registry, here, name) = (Registry::start(), connect().await, unique("layers-travel"));
    let (second, there) = second().await;
    registry.beside(&second);
    let repository = format!("{}/{name}/cache", registry.host());
    let one = checkout(&name, &here);
    let first = build(&one, layers(&repository, Level::Protected, "main")).await;
    assert_eq!(first.steps, Some(BuiltSteps { cached: 0, all: 4 }));
    assert_eq!(first.notes, Vec::<String>::new(), "nothing is there yet, and that is nothing to speak of");
    let remote = send(&first, &here).await.expect("a digest");
    assert!(remote.starts_with(&format!("{repository}@sha256:")), "{remote}");
    assert_eq!(registry.tags(&format!("{name}/cache")).len(), 1);

    let other = checkout(&name, &there);
    let same = build(&other, layers(&repository, Level::Branch, "topic/x")).await;
    assert_eq!((same.steps, &same.identity.config), (Some(BuiltSteps { cached: 4, all: 4 }), &first.identity.config));
    assert_eq!(same.parcel, None, "there is nothing new in it");
    forget(&second);

    other.write("code", "two");
    let changed = build(&other, layers(&repository, Level::Branch, "topic/x")).await;
    assert_eq!(changed.steps, Some(BuiltSteps { cached: 2, all: 4 }));
    assert_eq!(random(&second.address(), &changed), random(&here.endpoint().to_string(), &first), "it was made on the first machine");
    send(&changed, &there).await;
    let tags = registry.tags(&format!("{name}/cache"));
    assert!(tags.len() == 2 && tags[0].starts_with("branch-topic-x-") && tags[1].starts_with("protected-main-"), "{tags:?}");
    // The key knows nothing of layers: with or without, the image is found.
    assert_eq!(other.built().await.how, ImageSource::Found);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_worth_it_or_nobody_would_read_is_not_sent() {
    let (registry, nobody) = (Registry::start(), instead(Instead::Nobody));
    let repository = format!("{}/worth", registry.host());
    let of = |level, branch: &str| layers(&repository, level, branch);
    let cases = [
        (true, of(Level::Pull, "topic")),
        (false, of(Level::Local, "topic")),
        (false, of(Level::Fork, "topic")),
        (false, Layers { sends: false, ..of(Level::Pull, "topic") }),
        (false, Layers { pays_from: Duration::from_hours(1), ..of(Level::Pull, "topic") }),
        (false, Layers { branches: Branches::default(), ..of(Level::Pull, "") }),
        (false, Layers { repository: format!("{}/worth", nobody.address()), ..of(Level::Pull, "topic") }),
    ];
    for (number, (sent, layers)) in cases.into_iter().enumerate() {
        let project = Project::new("layers-worth", DOCKERFILE).await;
        project.write("requirements", &project.name);
        project.write("code", "one");
        assert_eq!(build(&project, layers).await.parcel.is_some(), sent, "case {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_what_it_should_be_fails_no_build() {
    let (locked, empty, here) = (Registry::for_user("ann", "secret"), Registry::start(), connect().await);
    let [many, nobody, silent] = [Instead::TooMany, Instead::Nobody, Instead::Silence].map(instead);
    let cases = [
        (empty.host(), None),
        (locked.host(), Some("docker login")),
        (many.address().to_owned(), Some("429")),
        (nobody.address().to_owned(), Some("refused")),
        (silent.address().to_owned(), Some("no answer within 5 s")),
    ];
    for (host, said) in cases {
        let name = unique("layers-faults");
        let began = Instant::now();
        let project = checkout(&name, &here);
        let image = build(&project, layers(&format!("{host}/{name}"), Level::Pull, "topic")).await;
        assert!(began.elapsed() < Duration::from_mins(1), "{:?} with {host}", began.elapsed());
        assert_eq!(image.steps, Some(BuiltSteps { cached: 0, all: 4 }));
        assert_eq!(cat(&image.reference, "/seen"), "one");
        match said {
            Some(said) => assert!(image.notes.len() == 1 && image.notes[0].contains(said), "{:?}", image.notes),
            None => assert_eq!(image.notes, Vec::<String>::new()),
        }
        if host == empty.host() {
            continue;
        }
        assert_eq!(image.parcel, None, "nothing is sent there either");
        let (repository, image) = (format!("{host}/{name}"), image.identity.config);
        let parcel =
            Parcel { image, references: vec![format!("{repository}:pull-topic-00000000")], repository, took: Duration::ZERO, steps: None };
        let stop = CancellationToken::new();
        let sent = tokio::time::timeout(Duration::from_secs(3), parcel.send(&here, &stop)).await;
        assert!(!matches!(sent, Ok(Ok(_))), "it cannot be sent");
        let began = Instant::now();
        while !here.tags_of(&parcel.repository).await.expect("tags").is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10), "a name is left");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_docker_client_are_used() {
    let (registry, name) = (Registry::for_user("ann", "secret"), unique("layers-login"));
    let folder = tempfile::tempdir().expect("a folder");
    credentials(folder.path(), &registry.host(), "YW5uOnNlY3JldA==");
    let config = [("DOCKER_CONFIG".to_owned(), folder.path().display().to_string())];
    let env: BTreeMap<_, _> = environment().into_iter().chain(config).collect();
    splitci_tests::engine::require();
    let here = Arc::new(docker::connect(None, &env).await.expect("an engine"));
    let repository = format!("{}/{name}", registry.host());
    let project = checkout(&name, &here);
    send(&build(&project, layers(&repository, Level::Pull, "topic")).await, &here).await;
    project.write("code", "two");
    let again = build(&project, layers(&repository, Level::Pull, "topic")).await;
    assert_eq!(again.notes, Vec::<String>::new());
}

/// What a builder asks for again and again is given up: it would do so for 75 seconds.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_lost_or_changed_is_built() {
    let (mut registry, here, name) = (Registry::start(), connect().await, unique("layers-broken"));
    let (second, there) = second().await;
    registry.beside(&second);
    let repository = format!("{}/{name}", registry.host());
    let one = checkout(&name, &here);
    let first = build(&one, layers(&repository, Level::Protected, "main")).await;
    send(&first, &here).await;
    let theirs = random(&here.endpoint().to_string(), &first);
    let other = checkout(&name, &there);
    let (blob, size) = registry.blobs().into_iter().find(|(_, size)| (2_900_000..3_100_000).contains(size)).expect("the layer");
    let whole = fs_err::read(&blob).expect("read");
    let mut flipped = whole.clone();
    flipped[2_000_000] ^= 1;
    let half = usize::try_from(size / 2).expect("small");
    for (number, broken) in [&whole[..half], &flipped[..]].into_iter().enumerate() {
        fs_err::write(&blob, broken).expect("written");
        other.write("code", format!("{number}"));
        let began = Instant::now();
        let image = build(&other, layers(&repository, Level::Pull, "topic")).await;
        assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
        assert!(image.notes.len() == 1 && image.notes[0].contains("did not come whole"), "{:?}", image.notes);
        assert_ne!(random(&second.address(), &image), theirs, "it was made here");
        forget(&second);
    }
    fs_err::write(&blob, &whole).expect("written");

    let tag = registry.tags(&name).remove(0);
    let link = registry.link(&name, &tag);
    let right = fs_err::read_to_string(&link).expect("read");
    let digest = right.trim().strip_prefix("sha256:").expect("a digest").to_owned();
    let mut blobs = registry.blobs().into_iter().map(|(path, _)| path);
    let manifest = blobs.find(|path| path.to_string_lossy().contains(&digest)).expect("the manifest");
    let text = fs_err::read_to_string(&manifest).expect("read");
    for (number, (link_says, manifest_says)) in [
        (format!("sha256:{}", "0".repeat(64)), text.clone()),
        (right.clone(), text.replacen("sha256:", "sha256:0", 1)),
        (right.clone(), "{}".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        fs_err::write(&link, link_says).expect("written");
        fs_err::write(&manifest, manifest_says).expect("written");
        other.write("code", format!("again {number}"));
        let image = build(&other, layers(&repository, Level::Pull, "topic")).await;
        assert_eq!(image.steps, Some(BuiltSteps { cached: 0, all: 4 }), "{number}: {:?}", image.notes);
        assert_ne!(random(&second.address(), &image), theirs, "it was made here");
        forget(&second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_builds_upon_what_a_less_trusted_run_built() {
    let (mut registry, here, name) = (Registry::start(), connect().await, unique("layers-levels"));
    let (second, there) = second().await;
    registry.beside(&second);
    let repository = format!("{}/{name}", registry.host());
    // A pull request from a branch that is called like the default one.
    let one = checkout(&name, &here);
    let poisoned = build(&one, layers(&repository, Level::Pull, "main")).await;
    send(&poisoned, &here).await;
    let theirs = random(&here.endpoint().to_string(), &poisoned);
    let other = checkout(&name, &there);
    for (level, believes) in [(Level::Protected, false), (Level::Branch, false), (Level::Pull, true), (Level::Local, true)] {
        let image = build(&other, layers(&repository, level, "main")).await;
        assert_eq!(random(&second.address(), &image) == theirs, believes, "{level}");
        forget(&second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parcel_that_is_given_up_leaves_no_name() {
    let (here, name, greedy) = (connect().await, unique("layers-stop"), instead(Instead::Greed));
    let repository = format!("{}/{name}", greedy.address());
    let project = checkout(&name, &here);
    let image = build(&project, layers(&repository, Level::Pull, "topic")).await;
    let parcel = image.parcel.expect("something to send");
    let stop = CancellationToken::new();
    let sending = parcel.send(&here, &stop);
    tokio::pin!(sending);
    tokio::time::timeout(Duration::from_secs(2), &mut sending).await.expect_err("nobody takes it");
    assert_eq!(here.tags_of(&repository).await.expect("tags").len(), 1);
    stop.cancel();
    sending.await.expect_err("given up");
    assert_eq!(here.tags_of(&repository).await.expect("tags"), []);
    assert!(here.image(&image.reference).await.expect("asked").is_some(), "the image stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_send_all_steps_says_so() {
    let (registry, here) = (Registry::start(), connect().await);
    let dockerfile = b"FROM scratch\nCOPY nothing /\n".to_vec();
    let sources = Sources { dockerfile, shared_key: unique("key"), ..Sources::default() };
    let request = BuildRequest { id: unique("steps"), dockerfile: "Dockerfile".into(), ..BuildRequest::default() };
    let to = format!("{}/{}:branch-main-00000000", registry.host(), unique("steps"));
    assert!(!here.facts().await.expect("facts").containerd_store, "an engine of another kind sends them");
    // The builder was reached: nobody else knows of exporters.
    let error = here.send_steps(&request, sources, &to).await.expect_err("a graph driver keeps its images");
    assert!(error.to_string().contains("unknown cache exporter"), "{error}");
}
