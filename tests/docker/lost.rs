//! What happens to images, bases and engines under a run's hands; and files and clocks that are not what they seem.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

mod ground;
mod project;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ground::{environment, unique};
use project::{Ears, Project, cat};
use rustix::fs::XattrFlags;
use splitci_coordinator::docker;
use splitci_coordinator::image::{BuildFrom, ImageRequest, ensure_image};
use splitci_coordinator::model::event::{EventKind, ImageSource};
use splitci_coordinator::model::{Listener, Progress, Telling};
use splitci_tests::engine::{docker, docker_says};
use splitci_tests::second::SecondEngine;
use splitci_tests::{Done, Sandbox, Splitci};

/// A suite that needs nothing but a shell in the image.
const SHELL_SUITE: &str = "[suite]\nframework = \"generic\"\ncommand = \"sh {units}\"\nfiles = [\"checks/*\"]\nresults = \"exit\"\n";
/// A file that is left alone for so long may be remembered.
const TO_REST: Duration = Duration::from_millis(2_200);

/// A project of which all files are in the layer below the uppermost one.
fn in_two_layers() -> Sandbox {
    Sandbox::empty()
        .file("splitci.toml", &format!("[project]\nname = \"{}\"\n{SHELL_SUITE}", unique("layers")))
        .file("Dockerfile", &format!("FROM debian:bookworm-slim\nWORKDIR /app\nCOPY . .\nRUN echo {} > /once\n", unique("layers")))
        .file("checks/one", "grep -q one data\n")
        .file("data", "one")
}

/// The name of its project.
fn name_of(sandbox: &Sandbox) -> String {
    let text = fs_err::read_to_string(sandbox.project().join("splitci.toml")).expect("a configuration");
    text.split('"').nth(1).expect("a name").to_owned()
}

/// How the image of a run came about.
fn source(done: &Done) -> Option<ImageSource> {
    done.events().into_iter().find_map(|event| match event.kind {
        EventKind::ImageReady { how, .. } => Some(how),
        _ => None,
    })
}

/// Directories of an image's layers on this machine's disk, the uppermost first.
fn layers(second: &SecondEngine, image: &str) -> Vec<PathBuf> {
    let said = |what: &str| second.says(&format!("inspect --format {{{{.GraphDriver.Data.{what}}}}} {image}"));
    let all = format!("{}:{}", said("UpperDir"), said("LowerDir"));
    all.split(':').map(|diff| Path::new(diff).parent().expect("a layer's directory").to_owned()).collect()
}

#[test]
fn an_image_of_which_the_engine_has_lost_a_part_is_built_anew() {
    let second = SecondEngine::start();
    second.load("debian:bookworm-slim");
    let sandbox = in_two_layers();
    let run = || sandbox.splitci("run --shards 1 --json").env("DOCKER_HOST", second.address()).run();
    let image = || second.says(&format!("images -q splitci/{}", name_of(&sandbox))).lines().next().expect("an image").to_owned();
    let first = run();
    first.expect_exit(0);
    assert_eq!(source(&first), Some(ImageSource::Built));
    assert_eq!(source(&run()), Some(ImageSource::Found));

    // The engine itself does not find its way to an image without its uppermost layer.
    let lost = image();
    fs_err::remove_dir_all(&layers(&second, &lost)[0]).expect("removed");
    let mended = run();
    mended.expect_exit(0);
    assert_eq!(source(&mended), Some(ImageSource::Built));
    assert_eq!(source(&run()), Some(ImageSource::Found));
    assert!(!second.says("images -aq").contains(&lost), "what is left of it is removed");

    // It does find one without its second layer, and notices when a container is made of it.
    fs_err::remove_dir_all(&layers(&second, &image())[1]).expect("removed");
    let broken = run();
    broken.expect_exit(3).expect_says("what the engine has of the image is damaged, and the next run builds it anew");
    let mended = run();
    mended.expect_exit(0);
    assert_eq!(source(&mended), Some(ImageSource::Built));
    assert_eq!(source(&run()), Some(ImageSource::Found));
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_are_copies_alone_are_made_anew_as_well() {
    let second = SecondEngine::start();
    second.load("debian:bookworm-slim");
    let engine = Arc::new(docker::connect(Some(&second.address()), &environment()).await.expect("an engine"));
    let project = Project::on(engine, "copies", "FROM debian:bookworm-slim\nCOPY data /data\n");
    project.write("data", "one");
    let first = project.built().await;
    fs_err::remove_dir_all(&layers(&second, &first.reference)[0]).expect("removed");
    let (mended, heard) = project.ensure(project.from()).await;
    let mended = mended.expect("an image");
    assert_eq!((mended.how, &mended.key), (ImageSource::Built, &first.key));
    assert!(heard.iter().any(|news| matches!(news, Progress::Doing(what) if what.contains("damaged"))), "{heard:?}");
    assert_eq!(second.says(&format!("run --rm --network none {} cat /data", mended.reference)), "one");
    assert_eq!(project.built().await.how, ImageSource::Found);

    // Nothing can be done about a base but to say what to do.
    fs_err::remove_dir_all(&layers(&second, "debian:bookworm-slim")[0]).unwrap_or_else(|_| panic!("the base has one layer"));
    project.write("data", "two");
    let error = project.ensure(project.from()).await.0.expect_err("the base is damaged");
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("docker rmi -f")), "{error}");
}

/// Does something when it hears something, as somebody else on the machine would; so often as is said.
struct Meddler<F> {
    word: &'static str,
    left: AtomicUsize,
    meddle: F,
}

impl<F: Fn() + Send + Sync> Listener for Meddler<F> {
    fn hear(&self, telling: &Telling) {
        let Telling::Progress(Progress::Doing(what)) = telling else { return };
        let once = |left: usize| left.checked_sub(1);
        if what.contains(self.word) && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, once).is_ok() {
            (self.meddle)();
        }
    }
}

/// Two who do not know of each other.
struct Both<A, B>(A, B);

impl<A: Listener, B: Listener> Listener for Both<A, B> {
    fn hear(&self, telling: &Telling) {
        self.0.hear(telling);
        self.1.hear(telling);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_goes_away_before_it_is_built_upon_is_looked_for_again() {
    let base = format!("{}:1", unique("vanishes"));
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("Dockerfile"), format!("FROM debian:bookworm-slim\nRUN echo {base} > /what\n")).expect("written");
    let build = || docker_says(&format!("build -q -t {base} {}", folder.path().display()));
    let id = build();
    let pin = format!("splitci-base:{}", &id["sha256:".len()..][..12]);
    let project = Project::new("vanishes", &format!("FROM {base}\nRUN cp /what /copy\n")).await;
    let goes = Meddler { word: "building the image from", left: 1.into(), meddle: || drop(docker(&format!("rmi -f {base} {pin}"))) };
    let comes = Meddler { word: "went away", left: 1.into(), meddle: || drop(build()) };
    let ears = Both(goes, comes);
    let image = ensure_image(&ImageRequest::Build(project.from()), &project.docker, &ears).await.expect("an image");
    assert_eq!(ears.1.left.into_inner(), 0, "it went away");
    assert_eq!((image.how, cat(&image.reference, "/copy")), (ImageSource::Built, base.clone()));
    drop(docker(&format!("rmi -f {base} {pin}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_goes_away_or_changes_its_name_while_it_is_looked_up_is_built() {
    let project = Project::new("pruned", &format!("FROM debian:bookworm-slim\nCOPY data /data\nRUN echo {}", unique("once"))).await;
    project.write("data", "one");
    let first = project.built().await;
    for meddling in ["rmi -f", "tag debian:bookworm-slim"] {
        let name = first.reference.clone();
        let ears = Meddler { word: "looking for", left: 1.into(), meddle: || drop(docker(&format!("{meddling} {name}"))) };
        let image = ensure_image(&ImageRequest::Build(project.from()), &project.docker, &ears).await.expect("an image");
        assert_eq!((image.how, &image.key), (ImageSource::Built, &first.key), "{meddling}");
        assert_eq!(cat(&image.reference, "/data"), "one");
        assert_eq!(project.built().await.how, ImageSource::Found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_engine_that_died_the_next_run_builds() {
    let mut second = SecondEngine::start();
    second.load("debian:bookworm-slim");
    let connect = |address: String| async move { Arc::new(docker::connect(Some(&address), &environment()).await.expect("an engine")) };
    let project =
        Project::on(connect(second.address()).await, "dies", "FROM debian:bookworm-slim\nCOPY data /data\nRUN sleep 4\nRUN cp /data /copy");
    project.write("data", "one");
    let state = tempfile::tempdir().expect("a folder");
    let from = BuildFrom { network: Some("none".into()), state: Some(state.path().to_owned()), ..project.from() };
    let (request, ears) = (ImageRequest::Build(from), Ears::default());
    let building = Box::pin(ensure_image(&request, &project.docker, &ears));
    let killing = async {
        while !ears.heard().iter().any(|news| matches!(news, Progress::BuildStep(step) if step.name.contains("sleep 4"))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        second.kill();
    };
    let (killed, ()) =
        Box::pin(tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(building, killing) })).await.expect("it ends");
    let error = killed.expect_err("the engine is gone");
    assert_eq!(error.exit_code(), 3, "{error:?}");
    second.restart();
    let engine = connect(second.address()).await;
    for how in [ImageSource::Built, ImageSource::Found] {
        let image = ensure_image(&request, &engine, &Ears::default()).await.expect("an image");
        assert_eq!(image.how, how);
        assert_eq!(second.says(&format!("run --rm --network none {} cat /copy", image.reference)), "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_arrive_but_for_what_a_umask_makes_of_them() {
    use std::os::unix::fs::PermissionsExt;
    let names = ["600", "640", "644", "664", "666", "755", "775", "4755"];
    let project = Project::new("modes", "FROM debian:bookworm-slim\nCOPY . /x\nRUN cd /x && stat -c '%n=%a' * > /seen").await;
    for name in names {
        project.write(name, "content");
        let mode = u32::from_str_radix(name, 8).expect("a mode");
        fs_err::set_permissions(project.root.path().join(name), std::fs::Permissions::from_mode(mode)).expect("set");
    }
    let seen = cat(&project.built().await.reference, "/seen");
    let expected =
        [("600", "600"), ("640", "640"), ("644", "644"), ("664", "644"), ("666", "644"), ("755", "755"), ("775", "755"), ("4755", "4755")];
    for (name, mode) in expected {
        assert!(seen.lines().any(|line| line == format!("{name}={mode}")), "{name} in {seen}");
    }
}

/// Says an attribute of a file: there is no program for it in the image, but there is Perl, and `getxattr` has a number.
const SAY_ATTRIBUTE: &str = r#"my ($f, $n, $v) = ("/code/file\0", "user.colour\0", "\0" x 64); my $r = syscall(191, $f, $n, $v, 64); print $r < 0 ? "none" : substr($v, 0, $r);"#;

#[tokio::test(flavor = "multi_thread")]
async fn extended_attributes_of_files_reach_the_steps() {
    let project = Project::new("colours", "FROM debian:bookworm-slim\nCOPY . /code/\nRUN perl /code/say.pl > /seen").await;
    project.write("say.pl", SAY_ATTRIBUTE);
    project.write("file", "content");
    let file = project.root.path().join("file");
    let mut keys = Vec::new();
    for colour in [Some("red"), Some("blue"), None] {
        match colour {
            Some(colour) => rustix::fs::lsetxattr(&file, "user.colour", colour.as_bytes(), XattrFlags::empty()).expect("attributes"),
            None => rustix::fs::lremovexattr(&file, "user.colour").expect("attributes"),
        }
        let image = project.built().await;
        assert_eq!((image.how, cat(&image.reference, "/seen").as_str()), (ImageSource::Built, colour.unwrap_or("none")));
        assert_eq!(project.built().await.how, ImageSource::Found);
        assert!(!keys.contains(&image.key));
        keys.push(image.key);
    }
}

/// splitci as it would run a day from now.
fn tomorrow(sandbox: &Sandbox, line: &str) -> Splitci {
    let through = Splitci::through("faketime", ["-m", "--exclude-monotonic", "-f", "+1d"]).arg(splitci_tests::program::binary());
    let through = through.args(line.split_whitespace()).env("NO_FAKE_STAT", "1").env("SPLITCI_CACHE_DIR", sandbox.outside("cache"));
    sandbox.dress(through, splitci_tests::python::Python::with_friends())
}

/// Names of images that `splitci cache gc` tells of.
fn told_of(done: &Done) -> Vec<String> {
    done.expect_exit(0);
    let told: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let mut names: Vec<String> =
        told["images"].as_array().expect("a list").iter().map(|image| image["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_nobody_uses_go_and_others_stay() {
    let second = SecondEngine::start();
    let engine = Arc::new(docker::connect(Some(&second.address()), &environment()).await.expect("an engine"));
    let project = |name: &'static str| {
        let project = Project::on(Arc::clone(&engine), name, "FROM scratch\nCOPY data /data\n");
        project.write("data", name);
        project
    };
    let (named, used, renewed, last) = (project("named"), project("used"), project("renewed"), project("last"));
    let named_image = named.built().await;
    second.says(&format!("tag {} release:1", named_image.reference));
    let used_image = used.built().await;
    second.says(&format!("create --network none {} nothing", used_image.reference));
    let nameless = renewed.built().await;
    let renewed_image = renewed.ensure(BuildFrom { no_cache: true, ..renewed.from() }).await.0.expect("an image");
    assert_ne!(nameless.identity, renewed_image.identity);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let last_image = last.built().await;

    let sandbox = Sandbox::empty();
    let gc = |line: &str| tomorrow(&sandbox, line).env("DOCKER_HOST", second.address()).env("SPLITCI_CACHE_IMAGES", "1");
    let mut all = vec![nameless.identity.config.clone(), renewed_image.reference.clone(), used_image.reference.clone()];
    all.sort();
    assert_eq!(told_of(&gc("cache gc --dry-run --json").run()), all);
    assert_eq!(
        told_of(&gc("cache gc --json").run()),
        all.iter().filter(|name| **name != used_image.reference).cloned().collect::<Vec<_>>()
    );
    for image in [&named_image, &used_image, &last_image] {
        second.says(&format!("inspect {}", image.identity.config));
    }
    assert_eq!(told_of(&gc("cache gc --json").env("SPLITCI_CACHE_IMAGES", "9").run()), [""; 0]);
    // A build makes room, too; but not of what was used a moment ago.
    let more = project("more");
    more.ensure(BuildFrom { images: Some(0), ..more.from() }).await.0.expect("an image");
    second.says(&format!("inspect {}", last_image.identity.config));
    // Where there is no engine, the cache is collected all the same.
    let done = gc("cache gc --json").env("DOCKER_HOST", "unix:///nowhere.sock").run();
    assert_eq!(told_of(&done), [""; 0]);
    done.expect_says("are left as they are");
}

/// splitci, as it would run where the clock is off by this much.
fn with_clock(sandbox: &Sandbox, off: &str) -> Done {
    let line = ["-m", "--exclude-monotonic", "-f", off];
    let through = Splitci::through("faketime", line).arg(splitci_tests::program::binary()).args(["run", "--shards", "1", "--json"]);
    // The times of files stay what they are.
    sandbox.dress(through, splitci_tests::python::Python::with_friends()).env("NO_FAKE_STAT", "1").run()
}

#[test]
fn a_clock_that_is_off_hides_no_edit_and_builds_nothing_twice() {
    splitci_tests::engine::require();
    let sandbox = in_two_layers();
    let edit = |text: &str| {
        let place = sandbox.project().join("data");
        let before = fs_err::metadata(&place).expect("there").modified().expect("a time");
        sandbox.write("checks/one", &format!("grep -q {text} data\n"));
        fs_err::write(&place, text).expect("written");
        fs_err::File::options().append(true).open(&place).expect("there").file().set_modified(before).expect("set");
    };
    let run = |off: &str, expected: ImageSource| {
        let done = with_clock(&sandbox, off);
        done.expect_exit(0);
        assert_eq!(source(&done), Some(expected), "{off}");
    };
    run("+0s", ImageSource::Built);
    std::thread::sleep(TO_REST);
    run("+0s", ImageSource::Found);
    for (off, there, here) in [("+1d", "two", "six"), ("-1d", "ten", "one")] {
        run(off, ImageSource::Found);
        run(off, ImageSource::Found);
        edit(there);
        run(off, ImageSource::Built);
        std::thread::sleep(TO_REST);
        run("+0s", ImageSource::Found);
        edit(here);
        // The last one is as the first was.
        run("+0s", if here == "one" { ImageSource::Found } else { ImageSource::Built });
    }
    for image in docker_says(&format!("images -q splitci/{}", name_of(&sandbox))).lines() {
        docker(&format!("rmi -f {image}"));
    }
}
