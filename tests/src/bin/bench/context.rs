//! One small file changed of 20,000: the whole build, until the image is ready, beside `docker build` in the same minutes; how much travels for it; and
//! what twenty builds leave in an engine's build cache. On an engine of its own, with its default storage driver, where nobody else builds.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use splitci_coordinator::docker;
use splitci_coordinator::image::{BuildFrom, ImageRequest, ensure_image};
use splitci_coordinator::model::event::{EventKind, ImageSource, RunEvent};
use splitci_coordinator::model::{Listener, Telling};
use splitci_tests::Sandbox;
use splitci_tests::engine::{Door, docker_says};
use splitci_tests::second::SecondEngine;

use crate::measure::{Bar, median, run};
use crate::rivals::Contest;

const FILES: u32 = 20_000;
const CHANGED: usize = 1_000;
const ROUNDS: usize = 9;
const BUILDS: usize = 20;
/// What the project is built upon: the engine that is measured has no network.
const BASE: &str = "splitci-bench-base";
/// Edits of a file that was not edited lately, of which only the time is told.
const ELSEWHERE: usize = 3;

/// Prints the tables; returns their bars.
pub(crate) fn measure(contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    splitci_tests::engine::require();
    let mut bars = changed(contest, rounds.unwrap_or(ROUNDS));
    bars.extend(growth());
    bars
}

/// A project with many files, one of which is new in each build.
struct Shop {
    sandbox: Sandbox,
    edits: usize,
}

impl Shop {
    fn new() -> Self {
        let sandbox = Sandbox::empty()
            .dockerfile()
            .file("Dockerfile", &format!("FROM {BASE}\nWORKDIR /app\nCOPY . .\n"))
            .file("pytest.ini", "[pytest]\ntestpaths = tests\n")
            .file("tests/test_one.py", "def test_one():\n    pass\n");
        for file in 0..FILES {
            sandbox.write(&format!("src/{}/{}/module_{file}.py", file % 20, file % 400), &format!("VALUE = {file}\n").repeat(100));
        }
        Self { sandbox, edits: 0 }
    }

    fn edit(&mut self, path: &str) {
        self.edits += 1;
        let line = format!("{:09}\n", self.edits);
        self.sandbox.write(path, &line.repeat(CHANGED / line.len()));
    }

    fn ours(&self, contest: &Contest, host: &str) -> f64 {
        let mut command = contest.ours("run --engine docker --shards 1 --json", &self.sandbox.project(), &self.sandbox.state());
        until_image(command.env("DOCKER_HOST", host))
    }

    fn theirs(&self, host: &str) -> Command {
        let mut command = Command::new(splitci_tests::ignores::DOCKER);
        command.args(["build", "--quiet", "--tag", "bench-context", "."]).env("DOCKER_BUILDKIT", "1").env("DOCKER_HOST", host);
        command.current_dir(self.sandbox.project());
        command
    }
}

/// An engine with the base.
fn engine() -> SecondEngine {
    let folder = tempfile::tempdir().expect("a folder");
    let packages = "RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pytest && rm -rf /var/lib/apt/lists/*";
    fs_err::write(folder.path().join("Dockerfile"), format!("FROM debian:bookworm-slim\n{packages}\n")).expect("written");
    docker_says(&format!("build --quiet --tag {BASE} {}", folder.path().display()));
    let engine = SecondEngine::start();
    engine.load(BASE);
    docker_says(&format!("rmi {BASE}"));
    engine
}

/// Seconds from the start of a run to its image. The run then goes on to its end, which must be good.
fn until_image(command: &mut Command) -> f64 {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start splitci");
    let mut ready = None;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let event: RunEvent = serde_json::from_str(&line.expect("a line")).expect("an event");
        if let EventKind::ImageReady { how, .. } = event.kind {
            assert_eq!(how, ImageSource::Built, "the image is new");
            ready = Some(started.elapsed().as_secs_f64());
        }
    }
    assert!(child.wait().expect("our own child").success(), "the run failed");
    ready.expect("an image")
}

/// A file that is edited again and again.
const EDITED: &str = "src/7/7/module_7.py";

#[expect(clippy::cast_precision_loss, reason = "bytes of a build")]
fn changed(contest: &Contest, rounds: usize) -> Vec<Bar> {
    let engine = engine();
    let host = engine.address();
    let mut shop = Shop::new();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // It is known what is edited after two builds, and they count no more than the first round.
    for _ in 0..2 {
        shop.edit(EDITED);
        shop.ours(contest, &host);
    }
    for round in 0..=rounds {
        // Each builds an edit that the builder has not seen; who is first changes.
        for turn in [round % 2, (round + 1) % 2] {
            shop.edit(EDITED);
            let (took, row) = match turn {
                0 => (shop.ours(contest, &host), &mut ours),
                _ => (run(&mut [shop.theirs(&host)]).wall, &mut theirs),
            };
            if round > 0 {
                row.push(took);
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let door = Door::before(&engine.socket(), folder.path());
    let carried = |build: &mut dyn FnMut()| {
        let before = door.carried();
        build();
        door.carried() - before
    };
    shop.edit(EDITED);
    let our_bytes = carried(&mut || {
        shop.ours(contest, &door.address());
    });
    shop.edit(EDITED);
    let their_bytes = carried(&mut || {
        run(&mut [shop.theirs(&door.address())]);
    });
    let mut elsewhere = (Vec::new(), Vec::new());
    for other in 0..ELSEWHERE {
        let path = format!("src/{0}/{0}/module_{0}.py", 8 + other);
        shop.edit(&path);
        elsewhere.0.push(shop.ours(contest, &host));
        shop.edit(&path);
        elsewhere.1.push(run(&mut [shop.theirs(&host)]).wall);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let (our_first, their_first) = (median(elsewhere.0), median(elsewhere.1));
    println!("\n## One of {FILES} files changed, {rounds} rounds on {}\n", engine.says("info --format {{.Driver}}"));
    println!("| what | until the image, s | the first edit of a file, s | bytes to the engine |\n|---|---|---|---|");
    println!("| splitci | {ours} | {our_first} | {our_bytes} |\n| `docker build` | {theirs} | {their_first} | {their_bytes} |");
    let limit = CHANGED as f64 + 100.0 * f64::from(FILES);
    vec![
        Bar::at_most("one file changed: whole build over `docker build`", 0.75, ours.value / theirs.value, "x"),
        Bar::at_most("one file changed: bytes over the changed ones and 100 a file", 1.0, our_bytes as f64 / limit, "x"),
    ]
}

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _: &Telling) {}
}

/// What builds leave in an engine that nobody else uses.
#[expect(clippy::cast_precision_loss, reason = "bytes of a cache")]
fn growth() -> Vec<Bar> {
    let second = SecondEngine::start();
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &[u8]| fs_err::write(folder.path().join(path), text).expect("written");
    write("Dockerfile", b"FROM scratch\nCOPY big /\nCOPY small /\n");
    write("big", &vec![7; 20 << 20]);
    let small = |value: usize| write("small", format!("{value:04}").repeat(25_000).as_bytes().get(..100_000).expect("long enough"));
    small(1);
    build(&second, folder.path());
    let before = second.build_cache();
    (0..BUILDS).for_each(|_| build(&second, folder.path()));
    let nothing = second.build_cache() - before;
    for value in 2..2 + BUILDS {
        small(value);
        build(&second, folder.path());
    }
    let one = second.build_cache() - before - nothing;
    println!("\n## Build cache after {BUILDS} builds of 20 MiB\n\n| what changed | grown by, bytes |\n|---|---|");
    println!("| nothing | {nothing} |\n| 100,000 bytes each time | {one} |");
    vec![
        Bar::at_most("build cache after 20 builds with nothing changed", 0.0, nothing as f64, "bytes"),
        Bar::at_most(
            "build cache after 20 builds with one file changed, over that layer",
            1.1,
            one as f64 / (BUILDS as f64 * 100_000.0),
            "x",
        ),
    ]
}

fn build(engine: &SecondEngine, context: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let docker = Arc::new(docker::connect(Some(&engine.address()), &BTreeMap::new()).await.expect("the engine"));
        for image in docker.tags_of("splitci/bench").await.expect("tags") {
            docker.untag(&image.reference).await.expect("untagged");
        }
        let from =
            BuildFrom { project: "bench".into(), context: context.into(), dockerfile: context.join("Dockerfile"), ..BuildFrom::default() };
        ensure_image(&ImageRequest::Build(from), &docker, &Deaf).await.expect("an image");
    });
}
