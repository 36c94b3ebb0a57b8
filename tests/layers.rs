//! Layers that travel, by the program as people use it: sent while tests run, taken by a machine that could not have made them, and never in the way.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use splitci_coordinator::model::event::{BuiltSteps, EventKind, ImageSource};
use splitci_tests::engine::{docker_says, require};
use splitci_tests::redis::Redis;
use splitci_tests::registry::{Instead, Registry, instead};
use splitci_tests::second::SecondEngine;
use splitci_tests::{Done, Sandbox, Splitci};

/// The first step is the one of all our fixtures. The second takes long enough to be worth sending, once on each engine.
const DOCKERFILE: &str = "\
FROM debian:bookworm-slim
RUN apt-get update \\
 && apt-get install -y --no-install-recommends python3 python3-pytest \\
 && rm -rf /var/lib/apt/lists/*
RUN sleep 11 && echo NAME > /made
WORKDIR /app
COPY . .
";

const WAITS: &str = "\
import os, time


def test_one():
    while not os.path.exists('/signal/arrived'):
        time.sleep(0.1)
";

/// A machine with a checkout of the project, and a key for protected branches.
struct Machine {
    sandbox: Sandbox,
    layers: String,
}

impl Machine {
    fn new(name: &str, host: &str) -> Self {
        require();
        let sandbox = Sandbox::empty().dockerfile().file("Dockerfile", &DOCKERFILE.replace("NAME", name));
        let made = sandbox.splitci(&format!("keys new --out {}", sandbox.outside("key.pem").display())).run();
        made.expect_exit(0);
        let trust = format!("[trust]\nprotected = [\"\"\"\n{}\"\"\"]\npartition = \"main\"\n", made.stdout);
        // What it is built of is the same on every machine.
        sandbox.write("splitci.toml", &trust);
        sandbox.write(".dockerignore", "Dockerfile\n.dockerignore\nsplitci.toml\n**/__pycache__\n**/.pytest_cache\n");
        sandbox.write("tests/test_one.py", "def test_one():\n    pass\n");
        Self { sandbox, layers: format!("{host}/{name}") }
    }

    fn run(&self, options: &str) -> Splitci {
        let line = format!("run --engine docker --shards 1 --json {options}");
        self.sandbox.splitci(&line).env("SPLITCI_CACHE_LAYERS", &self.layers).patience(Duration::from_mins(5))
    }

    fn with_key(&self) -> Splitci {
        self.run("").env("SPLITCI_KEY", self.sandbox.outside("key.pem"))
    }

    /// Names in the engine under the repository of layers.
    fn names(&self) -> String {
        docker_says(&format!("images --quiet {}", self.layers))
    }
}

fn name(of: &str) -> String {
    format!("layers-{of}-{}", std::process::id())
}

fn image(done: &Done) -> (ImageSource, Option<BuiltSteps>) {
    let ready = done.events().into_iter().find_map(|event| match event.kind {
        EventKind::ImageReady { how, steps, .. } => Some((how, steps)),
        _ => None,
    });
    ready.expect("an image")
}

#[test]
fn a_machine_without_network_has_what_another_one_installed() {
    let (mut registry, second, name) = (Registry::start(), SecondEngine::start(), name("travel"));
    registry.beside(&second);
    let one = Machine::new(&name, &registry.host());
    // The test ends when the image has arrived: it is sent while tests run.
    let signal = one.sandbox.outside("signal");
    fs_err::create_dir_all(&signal).expect("made");
    one.sandbox.write("tests/test_one.py", WAITS);
    let (redis, volume) = (Redis::start(&[]), format!("{}:/signal:ro", signal.display()));
    let mut running = one.with_key().env("SPLITCI_CACHE_REDIS", redis.url("")).args(["--volume", &volume]).start();
    running.wait_for("a lease", |event| matches!(event, EventKind::UnitLeased { .. }).then_some(()));
    let began = Instant::now();
    while registry.tags(&name).is_empty() {
        assert!(began.elapsed() < Duration::from_mins(4), "nothing arrives");
        std::thread::sleep(Duration::from_millis(100));
    }
    fs_err::write(signal.join("arrived"), "").expect("written");
    let done = running.wait();
    done.expect_exit(0).expect_says("layers of the image were sent to 127.0.0.1");
    assert_eq!(one.names(), "", "no name is left");
    assert_eq!(registry.tags(&name).len(), 1);

    second.load("debian:bookworm-slim");
    let other = Machine::new(&name, &registry.host());
    other.sandbox.write("tests/test_two.py", "def test_two():\n    pass\n");
    let done = other.run("").env("DOCKER_HOST", second.address()).run();
    done.expect_exit(0);
    assert_eq!(image(&done), (ImageSource::Built, Some(BuiltSteps { cached: 3, all: 4 })));
    assert_eq!(done.facts().count("passed"), 2, "{done}");
    assert_eq!(registry.tags(&name).len(), 1, "who has no key sends nothing");
    let summary = other.sandbox.splitci("report last").run();
    assert!(summary.stdout.contains("layers 3/4 reused"), "{summary}");

    // What is the same as a whole is not built at all, for who can believe the one that built it.
    let third = Machine::new(&name, &registry.host());
    for file in ["splitci.toml", "tests/test_one.py"] {
        third.sandbox.write(file, &fs_err::read_to_string(one.sandbox.project().join(file)).expect("readable"));
    }
    let run = third.run("").args(["--volume", &volume]).env("DOCKER_HOST", second.address()).env("SPLITCI_CACHE_REDIS", redis.url(""));
    let done = run.env("SPLITCI_KEY", one.sandbox.outside("key.pem")).run();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Found, "{done}");
}

#[test]
fn a_registry_that_takes_nothing_delays_no_verdict_for_long() {
    let greedy = instead(Instead::Greed);
    let machine = Machine::new(&name("silent"), greedy.address());
    let mut running = machine.with_key().start();
    running.wait_for("the verdict", |event| matches!(event, EventKind::RunFinished { .. }).then_some(()));
    let told = Instant::now();
    let done = running.wait();
    assert!(told.elapsed() < Duration::from_mins(1), "{:?}", told.elapsed());
    done.expect_exit(0).expect_says("were not all sent");
    assert_eq!(machine.names(), "", "no name is left");
}

#[test]
fn an_interrupted_run_leaves_no_name() {
    let greedy = instead(Instead::Greed);
    let machine = Machine::new(&name("interrupted"), greedy.address());
    machine.sandbox.write("tests/test_one.py", "import time\n\n\ndef test_one():\n    time.sleep(600)\n");
    let mut running = machine.with_key().start();
    running.wait_for("a lease", |event| matches!(event, EventKind::UnitLeased { .. }).then_some(()));
    let began = Instant::now();
    while machine.names().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30), "nothing is being sent");
        std::thread::sleep(Duration::from_millis(200));
    }
    running.signal(Signal::INT);
    let told = Instant::now();
    let done = running.wait();
    done.expect_exit(130);
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    assert_eq!(machine.names(), "", "no name is left");
}
