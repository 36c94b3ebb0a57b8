//! Layers that travel, by the program as people use it: sent while tests run, taken by a machine that could not have made them, and never in the way. And machines that wait for
//! what another one is building.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use splitci_coordinator::content::{Login, Record, RecordKey, RegistrySettings, RegistryStore, Store as _, StoreError};
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
        let [protected, fork] = ["key.pem", "fork.pem"].map(|key| {
            let made = sandbox.splitci(&format!("keys new --out {}", sandbox.outside(key).display())).run();
            made.expect_exit(0);
            made.stdout
        });
        let trust = format!("[trust]\nprotected = [\"\"\"\n{protected}\"\"\"]\nfork = [\"\"\"\n{fork}\"\"\"]\npartition = \"main\"\n");
        // What it is built of is the same on every machine.
        sandbox.write("splitci.toml", &trust);
        sandbox.write(".dockerignore", "Dockerfile\n.dockerignore\nsplitci.toml\n**/__pycache__\n**/.pytest_cache\n");
        sandbox.write("tests/test_one.py", "def test_one():\n    pass\n");
        Self { sandbox, layers: format!("{host}/{name}") }
    }

    /// Another one with the same project, and the same keys.
    fn beside(&self) -> Self {
        let beside = Self { sandbox: Sandbox::empty(), layers: self.layers.clone() };
        for file in ["Dockerfile", ".dockerignore", "splitci.toml", "tests/test_one.py"] {
            beside.sandbox.write(file, &fs_err::read_to_string(self.sandbox.project().join(file)).expect("readable"));
        }
        for key in ["key.pem", "fork.pem"] {
            fs_err::copy(self.sandbox.outside(key), beside.sandbox.outside(key)).expect("copied");
        }
        beside
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

/// Tags of layers. Records of images have some, too.
fn layers(registry: &Registry, name: &str) -> Vec<String> {
    registry.tags(name).into_iter().filter(|tag| !tag.starts_with("sc-")).collect()
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
    while layers(&registry, &name).is_empty() {
        assert!(began.elapsed() < Duration::from_mins(4), "nothing arrives");
        std::thread::sleep(Duration::from_millis(100));
    }
    fs_err::write(signal.join("arrived"), "").expect("written");
    let done = running.wait();
    done.expect_exit(0).expect_says("layers of the image were sent to 127.0.0.1");
    assert_eq!(one.names(), "", "no name is left");
    assert_eq!(layers(&registry, &name).len(), 1);

    second.load("debian:bookworm-slim");
    let other = Machine::new(&name, &registry.host());
    other.sandbox.write("tests/test_two.py", "def test_two():\n    pass\n");
    let done = other.run("").env("DOCKER_HOST", second.address()).run();
    done.expect_exit(0);
    assert_eq!(image(&done), (ImageSource::Built, Some(BuiltSteps { cached: 3, all: 4 })));
    assert_eq!(done.facts().count("passed"), 2, "{done}");
    assert_eq!(layers(&registry, &name).len(), 1, "who has no key sends nothing");
    let summary = other.sandbox.splitci("report last").run();
    assert!(summary.stdout.contains("layers 3/4 reused"), "{summary}");

    // What is the same as a whole is not built at all, for who can believe the one that built it. The registry itself says which image it is.
    let whole = || {
        let third = Machine::new(&name, &registry.host());
        for file in ["splitci.toml", "tests/test_one.py"] {
            third.sandbox.write(file, &fs_err::read_to_string(one.sandbox.project().join(file)).expect("readable"));
        }
        third
    };
    let run = |machine: &Machine| {
        let run = machine.run("").args(["--volume", &volume]).env("DOCKER_HOST", second.address());
        run.env("SPLITCI_KEY", one.sandbox.outside("key.pem"))
    };
    let third = whole();
    let done = run(&third).run();
    done.expect_exit(0).expect_says("pulling 127.0.0.1");
    assert_eq!(image(&done).0, ImageSource::Found, "{done}");
    let fourth = whole();
    let done = run(&fourth).env("SPLITCI_CACHE_LAYERS", "").env("SPLITCI_CACHE_REDIS", redis.url("")).run();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Found, "so does any other store that they share: {done}");

    // Whoever may write there can say what he likes, and is not believed.
    let stranger = Machine::new(&name, &registry.host());
    stranger.sandbox.write("tests/test_one.py", WAITS);
    let done = stranger.with_key().env("DOCKER_HOST", second.address()).args(["--volume", &volume]).run();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Built, "{done}");
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

/// A store in this repository, for somebody with this name and password.
fn records(repository: &str, who: Option<(&str, &str)>) -> RegistryStore {
    let who = who.map(|(name, password)| (name.to_owned(), password.to_owned()));
    let login: Login = Box::new(move || {
        let who = who.clone();
        Box::pin(async move { Ok(who) })
    });
    RegistryStore::new(RegistrySettings { repository: repository.to_owned(), plain: true, login }).expect("a store")
}

#[tokio::test]
async fn a_registry_keeps_records_for_those_who_may() {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let registry = Registry::for_user("ci", "secret");
    let key = |space: &str| RecordKey { layer: "image", space: space.to_owned(), key: [7; 32] };
    let record = |text: &'static str| Record::from(bytes::Bytes::from_static(text.as_bytes()));
    let shop = format!("{}/shop/{{level}}/cache", registry.host());
    let store = records(&shop, Some(("ci", "secret")));
    assert_eq!(store.entry(&key("protected")).await.expect("it answers"), None, "a repository that is not there yet");
    store.put_entry(&key("protected"), record("one")).await.expect("kept");
    store.put_entry(&key("protected"), record("two")).await.expect("kept");
    store.put_entry(&key("pull/17"), record("three")).await.expect("kept");
    let again = records(&shop, Some(("ci", "secret")));
    assert_eq!(again.entry(&key("protected")).await.expect("it answers"), Some(record("two")), "the last writer wins");
    assert_eq!(again.entry(&key("pull/17")).await.expect("it answers"), Some(record("three")));
    assert_eq!(again.entry(&key("pull/18")).await.expect("it answers"), None);
    assert_eq!(again.entry(&RecordKey { key: [8; 32], ..key("protected") }).await.expect("it answers"), None);
    let tag = registry.tags("shop/protected/cache").pop().expect("a tag");
    assert!(tag.len() == 43 && tag.starts_with("sc-"), "{tag}");
    assert_eq!(registry.tags("shop/pull/cache").len(), 1, "rights are given to repositories");

    again.remove_record(&key("protected")).await.expect("removed");
    assert_eq!(again.entry(&key("protected")).await.expect("it answers"), None);
    let stats = again.stats();
    let lookups = stats.records.get("image").expect("look-ups");
    assert_eq!((lookups.hits, lookups.absent, lookups.damaged), (3, 2, 1));

    // What lies under another's name is nothing.
    let flat = records(&format!("{}/flat", registry.host()), Some(("ci", "secret")));
    for space in ["protected", "pull"] {
        flat.put_entry(&key(space), record("five")).await.expect("kept");
    }
    let [one, other] = registry.tags("flat").try_into().expect("two tags");
    fs_err::copy(registry.link("flat", &one), registry.link("flat", &other)).expect("copied");
    let (mut there, mut damaged) = (0, 0);
    for space in ["protected", "pull"] {
        let found = flat.entry(&key(space)).await.expect("it answers");
        *(if found.is_some() { &mut there } else { &mut damaged }) += 1;
    }
    assert_eq!((there, damaged), (1, 1));

    for who in [None, Some(("ci", "wrong"))] {
        let stranger = records(&shop, who);
        for answer in [stranger.entry(&key("protected")).await.map(drop), stranger.put_entry(&key("protected"), record("four")).await] {
            assert!(matches!(answer, Err(StoreError::Refused { tier: "registry", .. })), "{who:?}: {answer:?}");
        }
    }
    let gone = records(instead(Instead::Nobody).address(), None);
    assert!(matches!(gone.entry(&key("protected")).await, Err(StoreError::Remote { tier: "registry", .. })));
}

/// A run with a shared store, at the level of this key.
fn sharing(machine: &Machine, key: &str, redis: &Redis) -> Splitci {
    machine.run("").env("SPLITCI_KEY", machine.sandbox.outside(key)).env("SPLITCI_CACHE_REDIS", redis.url(""))
}

/// Waits until somebody says that it builds.
fn claimed(redis: &Redis, level: &str) {
    let began = Instant::now();
    while redis.keys(&format!("sc:{level}*:rec:claim:*")).is_empty() {
        assert!(began.elapsed() < Duration::from_mins(1), "nobody says that it builds");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_second_machine_waits_for_what_the_first_one_builds() {
    let (mut registry, second, redis, name) = (Registry::start(), SecondEngine::start(), Redis::start(&[]), name("awaited"));
    registry.beside(&second);
    second.load("debian:bookworm-slim");
    let one = Machine::new(&name, &registry.host());
    // Its tests go on until others have the image.
    one.sandbox.write("tests/test_one.py", WAITS);
    let other = one.beside();
    let signal = one.sandbox.outside("signal");
    fs_err::create_dir_all(&signal).expect("made");
    let volume = format!("{}:/signal:ro", signal.display());
    let first = sharing(&one, "key.pem", &redis).args(["--volume", &volume]).start();
    claimed(&redis, "protected");
    // Nothing leads out of there: it could not install what the first one does.
    let mut waits = sharing(&other, "key.pem", &redis).args(["--volume", &volume]).env("DOCKER_HOST", second.address()).start();
    waits.wait_until_says("waiting for run ");
    waits.wait_for("its image", |event| matches!(event, EventKind::ImageReady { how: ImageSource::Found, .. }).then_some(()));
    let found = Instant::now();
    while !redis.keys("sc:*:rec:claim:*").is_empty() {
        assert!(found.elapsed() < Duration::from_secs(5), "it was sent, so nobody is to be waited for any more");
        std::thread::sleep(Duration::from_millis(100));
    }
    fs_err::write(signal.join("arrived"), "").expect("written");
    let done = first.wait();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Built);
    let done = waits.wait();
    done.expect_exit(0).expect_says(", which builds splitci/").expect_says(" on ");
    assert_eq!(done.facts().count("passed"), 1, "{done}");
}

#[test]
fn who_waits_for_a_machine_that_dies_builds() {
    let (registry, redis, name) = (Registry::start(), Redis::start(&[]), name("dies"));
    let one = Machine::new(&name, &registry.host());
    let [other, third] = [one.beside(), one.beside()];
    let first = sharing(&one, "key.pem", &redis).start();
    claimed(&redis, "protected");
    let [mut waits, mut leaves] = [&other, &third].map(|machine| sharing(machine, "key.pem", &redis).start());
    waits.wait_until_says("waiting for run ");
    leaves.wait_until_says("waiting for run ");
    first.signal(Signal::KILL);
    let killed = Instant::now();
    leaves.signal(Signal::INT);
    leaves.wait().expect_exit(130);
    assert!(killed.elapsed() < Duration::from_secs(8), "an interrupted wait ends: {:?}", killed.elapsed());
    let done = waits.wait();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Built);
    assert!(done.facts().notices.iter().any(|notice| notice.contains("was waited for, and nothing was heard of it for 12 s")), "{done}");
    assert!(killed.elapsed() < Duration::from_secs(75), "{:?}", killed.elapsed());
}

#[test]
fn a_run_of_a_fork_holds_up_no_protected_one() {
    let (registry, redis, name) = (Registry::start(), Redis::start(&[]), name("fork"));
    let one = Machine::new(&name, &registry.host());
    let [beside, protected] = [one.beside(), one.beside()];
    let first = sharing(&one, "fork.pem", &redis).start();
    claimed(&redis, "fork");
    let mut waits = sharing(&beside, "fork.pem", &redis).start();
    waits.wait_until_says("waiting for run ");
    let done = sharing(&protected, "key.pem", &redis).run();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Built);
    assert!(!done.stderr.contains("waiting for"), "{done}");
    first.wait().expect_exit(0);
    let done = waits.wait();
    done.expect_exit(0);
    assert_eq!(image(&done).0, ImageSource::Found, "its equal waits, and finds the image in the engine that both use: {done}");
}

#[test]
fn who_waits_by_a_store_that_goes_away_builds() {
    let (registry, mut redis, name) = (Registry::start(), Redis::start(&[]), name("store"));
    let one = Machine::new(&name, &registry.host());
    let other = one.beside();
    let first = sharing(&one, "key.pem", &redis).start();
    claimed(&redis, "protected");
    let mut waits = sharing(&other, "key.pem", &redis).start();
    waits.wait_until_says("waiting for run ");
    redis.kill();
    let gone = Instant::now();
    waits.wait_until_says("building the image from");
    assert!(gone.elapsed() < Duration::from_secs(30), "{:?}", gone.elapsed());
    for done in [first.wait(), waits.wait()] {
        done.expect_exit(0);
        assert_eq!(image(&done).0, ImageSource::Built);
    }
}
