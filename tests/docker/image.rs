//! Building images with a real BuildKit: found again, failing well, cancelled, and what the engine is left with.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;
mod project;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ground::{connect, unique};
use project::{Ears, Project, cat};
use splitci_coordinator::image::{BuildFrom, ImageError, ImageRequest, ensure_image};
use splitci_coordinator::model::Progress;
use splitci_coordinator::model::event::ImageSource;
use splitci_coordinator::model::progress::BuildStepState;
use splitci_tests::engine::docker_says;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_inputs_are_built_once() {
    // A step that no earlier build has left in the builder's cache.
    let said = unique("said by a step");
    let text = "FROM debian:bookworm-slim\nENV A=1\nUSER 12\nWORKDIR /app\nENTRYPOINT [\"/e\"]\nCMD [\"c\"]\nCOPY . .\nRUN echo";
    let project = Project::new("once", &format!("{text} {said}")).await;
    project.write("code", "one");
    let (first, heard) = project.ensure(project.from()).await;
    let first = first.expect("an image");
    assert_eq!(first.how, ImageSource::Built);
    assert!(heard.iter().any(|news| matches!(news, Progress::BuildLog { text, .. } if text.contains(&said))));
    assert!(heard.iter().any(
        |news| matches!(news, Progress::BuildStep(step) if step.name.contains(&said) && matches!(step.state, BuildStepState::Done(_)))
    ));
    assert_eq!((first.entry.user.as_deref(), first.entry.workdir.as_deref()), (Some("12"), Some("/app")));
    assert_eq!((first.entry.entrypoint.as_slice(), first.command.as_slice()), (["/e".to_owned()].as_slice(), ["c".to_owned()].as_slice()));
    assert!(first.env.contains(&"A=1".to_owned()));
    assert_eq!(first.notes, Vec::<String>::new());

    let (second, heard) = project.ensure(project.from()).await;
    let second = second.expect("an image");
    assert_eq!((second.how, &second.identity, &second.key), (ImageSource::Found, &first.identity, &first.key));
    assert!(!heard.iter().any(|news| matches!(news, Progress::BuildStep(_))));

    project.write("code", "two");
    let third = project.built().await;
    assert_eq!(third.how, ImageSource::Built);
    assert_ne!(third.key, first.key);
    assert_eq!(cat(&third.reference, "/app/code"), "two");
    project.write("code", "one");
    assert_eq!(project.built().await.identity, first.identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_without_the_whole_key_is_not_believed() {
    let project = Project::new("forged", "FROM debian:bookworm-slim\nRUN echo real > /what").await;
    let first = project.built().await;
    docker_says(&format!("tag debian:bookworm-slim {}", first.reference));
    let second = project.built().await;
    assert_eq!((second.how, &second.identity), (ImageSource::Built, &first.identity));
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_reach_the_builder() {
    let text = "FROM debian:bookworm-slim AS base\nARG WHO\nARG HTTP_PROXY\nRUN echo $WHO > /who; cat /etc/hosts > /hosts; cat /proc/net/dev > /net\nFROM base AS wanted\nRUN echo wanted > /stage\nFROM no/such/image";
    let project = Project::new("choices", text).await;
    let args = [("WHO", "me & you=1"), ("HTTP_PROXY", "http://one")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let from = BuildFrom {
        target: Some("wanted".into()),
        args: args.into(),
        network: Some("none".into()),
        add_hosts: vec!["a.test:10.0.0.1".into(), "b.test:10.0.0.2".into()],
        platform: Some("linux/amd64".into()),
        ..project.from()
    };
    let image = project.ensure(from.clone()).await.0.expect("an image");
    assert_eq!(cat(&image.reference, "/who"), "me & you=1");
    assert_eq!(cat(&image.reference, "/stage"), "wanted");
    let hosts = cat(&image.reference, "/hosts");
    assert!(hosts.contains("10.0.0.1\ta.test") && hosts.contains("10.0.0.2\tb.test"), "{hosts}");
    assert!(!cat(&image.reference, "/net").contains("eth0"));
    let mut other = from;
    other.args.insert("HTTP_PROXY".into(), "http://two".into());
    assert_eq!(project.ensure(other.clone()).await.0.expect("an image").how, ImageSource::Found, "a proxy does not count");
    other.args.insert("WHO".into(), "you".into());
    assert_ne!(project.ensure(other).await.0.expect("an image").key, image.key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_step_is_shown_with_its_log() {
    let project = Project::new("fail", "FROM debian:bookworm-slim\nRUN echo before && echo the reason >&2 && exit 7\nRUN echo after").await;
    let error = project.ensure(project.from()).await.0.expect_err("it fails");
    assert_eq!(error.exit_code(), 5);
    let ImageError::Build { step: Some(step), error, .. } = error else { panic!("{error:?}") };
    assert!(step.name.contains("RUN echo before"), "{}", step.name);
    assert!(step.log.contains("the reason") && error.contains('7'), "{} {error}", step.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerfile_that_cannot_be_read_is_the_builders_error() {
    for text in
        ["", "NONSENSE a b\n", "FROM debian:bookworm-slim\nCOPY missing /x", "FROM debian:bookworm-slim AS a\nCOPY --from=nope /x /x"]
    {
        let project = Project::new("bad", text).await;
        let error = project.ensure(project.from()).await.0.expect_err("it fails");
        assert_eq!(error.exit_code(), 5, "{text:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_nobody_has_is_named() {
    let project = Project::new("nobase", "FROM registry.invalid/no/such:1\n").await;
    let error = project.ensure(project.from()).await.0.expect_err("it fails");
    assert!(error.hint().expect("a hint").contains("`registry.invalid/no/such:1` is not in the engine"), "{error}");
    let given = ImageRequest::Given { reference: "registry.invalid/no/such:1".into(), platform: None };
    let error = ensure_image(&given, &project.docker, &Ears::default()).await.expect_err("it is not there");
    assert!(matches!(error, ImageError::NotThere { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_named_is_taken_as_it_is() {
    let docker = connect().await;
    let given = ImageRequest::Given { reference: "debian:bookworm-slim".into(), platform: None };
    let image = ensure_image(&given, &docker, &Ears::default()).await.expect("an image");
    assert_eq!((image.how, image.key), (ImageSource::Given, None));
    assert!(image.identity.config.starts_with("sha256:") && image.identity.platform == "linux/amd64");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_files_arrive_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::new(
        "odd",
        "FROM debian:bookworm-slim\nCOPY . /ctx\nRUN cd /ctx && find . -printf '%p %y %m %U %l|' > /list && md5sum big > /sum",
    )
    .await;
    let root = project.root.path();
    project.write("big", vec![5_u8; 3 << 20]);
    project.write(&format!("{}/{}", "d".repeat(120), "e".repeat(120)), "deep");
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).expect("linked");
    fs_err::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "strange").expect("written");
    let pipe = root.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let sparse = fs_err::File::create(root.join("sparse")).expect("made");
    sparse.set_len(5 << 20).expect("long");
    let image = project.built().await;
    let list = cat(&image.reference, "/list");
    for expected in ["./link l 777 0 /etc/passwd", "./sparse f 644 0", &format!("./{}/{} f 644 0", "d".repeat(120), "e".repeat(120))] {
        assert!(list.contains(expected), "{expected} in {list}");
    }
    let sum = std::process::Command::new("md5sum").arg(root.join("big")).output().expect("md5sum");
    assert_eq!(cat(&image.reference, "/sum")[..32], String::from_utf8_lossy(&sum.stdout)[..32]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_waits_for_stops() {
    // A length that no other process sleeps.
    let length = format!("600.{}", std::process::id());
    let project = Project::new("cancel", &format!("FROM debian:bookworm-slim\nRUN sleep {length}")).await;
    {
        let ears = Ears::default();
        let request = ImageRequest::Build(project.from());
        tokio::select! {
            _ = ensure_image(&request, &project.docker, &ears) => panic!("it cannot end"),
            () = until(|| sleeping(&length)) => {}
        }
    }
    let dropped = Instant::now();
    until(|| !sleeping(&length)).await;
    println!("stopped after {:?}", dropped.elapsed());
    assert!(dropped.elapsed() < Duration::from_secs(10));
}

async fn until(happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !happened() {
        assert!(Instant::now() < deadline, "it does not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn sleeping(length: &str) -> bool {
    let listed = fs_err::read_dir("/proc").expect("processes").flatten();
    let line = format!("sleep\0{length}\0");
    listed.filter_map(|entry| fs_err::read(entry.path().join("cmdline")).ok()).any(|command| command == line.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_tags_of_a_project_are_kept() {
    let project = Project::new("tags", "FROM scratch\nCOPY data /").await;
    for round in 0..5 {
        project.write("data", format!("{round}"));
        project.built().await;
    }
    let tags = docker_says(&format!("images -q splitci/{}", project.name));
    assert_eq!(tags.lines().count(), 5, "young ones stay: other runs may be about to use them");
}

/// What a build without change costs, for the curious: `--nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn finding_is_much_faster_than_building() {
    let project = Project::new("speed", "FROM debian:bookworm-slim\nCOPY . /x").await;
    for number in 0..2000 {
        project.write(&format!("src/{}/{number}", number % 50), format!("{number}").repeat(1000));
    }
    let first = timed(&project).await;
    let found = timed(&project).await;
    let image = project.built().await;
    docker_says(&format!("rmi {}", image.reference));
    let again = timed(&project).await;
    println!("built {first:?}, found {found:?}, built without change {again:?}");
    assert!(found < again);
}

async fn timed(project: &Project) -> Duration {
    let started = Instant::now();
    project.built().await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_under_the_build_is_named() {
    let project = Project::new("moving", "FROM debian:bookworm-slim\nCOPY . /x").await;
    project.write("a", vec![1; 64 << 20]);
    project.write("log", "x");
    let log = project.root.path().join("log");
    let stop = Arc::<std::sync::atomic::AtomicBool>::default();
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut round = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                append(&log, round);
            }
        }
    });
    let error = project.ensure(project.from()).await.0.expect_err("it changes");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("the writer ends");
    assert!(error.to_string().contains("log"), "{error}");
}

fn append(path: &Path, round: u64) {
    use std::io::Write;
    let mut file = fs_err::OpenOptions::new().append(true).open(path).expect("open");
    writeln!(file, "{round}").expect("written");
}
