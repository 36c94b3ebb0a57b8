//! Two machines that share a cache: each with a state, a directory and keys of its own, on one project; what one proved, the other need not run, if it believes it.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::time::Duration;

use splitci_coordinator::model::event::{EventKind, ImageSource};
use splitci_tests::engine::require;
use splitci_tests::redis::Redis;
use splitci_tests::registry::{Instead, Registry, credentials, instead};
use splitci_tests::{Done, Facts, Sandbox, Splitci};

const PURE: &str = "def test_one():\n    assert 1 + 1 == 2\n\n\ndef test_two():\n    assert 2 + 2 == 4\n";

/// Private keys by level, and the section that trusts their public halves.
struct Keys {
    home: Sandbox,
    section: String,
}

impl Keys {
    fn new() -> Self {
        let home = Sandbox::empty();
        let trusted = ["protected", "pull"].map(|level| {
            let made = home.splitci(&format!("keys new --out {}", home.outside(level).display())).run();
            made.expect_exit(0);
            format!("{level} = [\"\"\"\n{}\"\"\"]\n", made.stdout)
        });
        let section = format!("[trust]\n{}", trusted.concat());
        home.splitci(&format!("keys new --out {}", home.outside("stranger").display())).run().expect_exit(0);
        Self { home, section }
    }

    fn private(&self, level: &str) -> String {
        fs_err::read_to_string(self.home.outside(level)).expect("a key")
    }
}

/// Another machine: the same project, and nothing else of the first.
fn machine(keys: &Keys) -> Sandbox {
    require();
    let sandbox = Sandbox::empty().dockerfile().file("splitci.toml", &keys.section).file(".dockerignore", ".git\n");
    sandbox.write(".git/config", "[remote \"origin\"]\n\turl = https://git.example/shop/web\n");
    for name in ["a", "b", "c", "d"] {
        sandbox.write(&format!("tests/test_{name}.py"), PURE);
    }
    sandbox
}

fn command(machine: &Sandbox, keys: &Keys, level: &str) -> Splitci {
    let run = machine.splitci("run --engine docker --shards 2 --reuse --json").env("SPLITCI_CACHE_CANARIES", "0");
    let run = if level == "none" { run } else { run.env("SPLITCI_KEY", keys.private(level)) };
    run.patience(Duration::from_mins(5))
}

fn facts(done: &Done) -> Facts {
    done.expect_exit(0);
    done.facts()
}

/// How many of the four files a run reuses, by way of a Redis.
fn reused(machine: &Sandbox, (keys, level): (&Keys, &str), redis: &str) -> usize {
    facts(&command(machine, keys, level).env("SPLITCI_CACHE_REDIS", redis).run()).reused.len()
}

#[test]
fn what_one_machine_proved_another_need_not_run() {
    let (keys, redis) = (Keys::new(), Redis::start(&[]));
    let [one, other] = [machine(&keys), machine(&keys)];
    assert_eq!(reused(&one, (&keys, "protected"), &redis.url("")), 0);
    assert_eq!(reused(&other, (&keys, "protected"), &redis.url("")), 4);
    let told = other.splitci("cache stats --json").run();
    assert!(told.stdout.contains("\"redis\""), "{told}");

    // It runs on what it has when the server is gone, and says so.
    drop(redis);
    let [one, third] = [one, machine(&keys)];
    assert_eq!(reused(&one, (&keys, "protected"), "redis://127.0.0.1:1/0"), 4, "what is near is enough");
    let done = command(&third, &keys, "protected").env("SPLITCI_CACHE_REDIS", "redis://127.0.0.1:1/0").run();
    assert_eq!(facts(&done).reused.len(), 0);
    assert!(
        done.stdout.contains("the shared cache `redis` was left alone") || done.stderr.contains("the shared cache `redis` was left alone"),
        "{done}"
    );
}

#[test]
fn what_nobody_vouches_for_is_not_believed_elsewhere() {
    let (keys, redis) = (Keys::new(), Redis::start(&[]));
    let url = redis.url("");
    // A job without a key, one with a key of its own, one of a pull request: each writes what it can, the last one for pull requests.
    for level in ["none", "stranger", "pull"] {
        assert_eq!(reused(&machine(&keys), (&keys, level), &url), 0, "{level}");
    }
    assert_eq!(reused(&machine(&keys), (&keys, "protected"), &url), 0, "a protected run believes no pull request");
    assert_eq!(reused(&machine(&keys), (&keys, "pull"), &url), 4);
    assert_eq!(reused(&machine(&keys), (&keys, "none"), &url), 0, "who has no key asks nobody");
}

#[test]
fn a_saved_directory_is_as_good_as_its_key() {
    let keys = Keys::new();
    let [one, other, stranger] = [machine(&keys), machine(&keys), machine(&keys)];
    facts(&command(&one, &keys, "protected").run());
    for restored in [&other, &stranger] {
        let copied = std::process::Command::new("cp").arg("-a").arg(one.cache()).arg(restored.cache()).status();
        assert!(copied.expect("cp runs").success());
    }
    assert_eq!(facts(&command(&other, &keys, "protected").run()).reused.len(), 4);
    assert_eq!(facts(&command(&stranger, &keys, "none").run()).reused.len(), 4, "protected is above local: whoever lists its key reads it");
    let sealed = machine(&Keys { home: Sandbox::empty(), section: String::new() });
    let copied = std::process::Command::new("cp").arg("-a").arg(one.cache()).arg(sealed.cache()).status();
    assert!(copied.expect("cp runs").success());
    assert_eq!(facts(&command(&sealed, &keys, "none").run()).reused.len(), 0, "who lists nobody believes nobody");
}

#[test]
fn a_machine_that_lives_for_one_job_plans_by_what_others_took() {
    let (keys, redis) = (Keys::new(), Redis::start(&[]));
    let slow = "import time\n\n\ndef test_slow():\n    time.sleep(1.5)\n";
    let project = || machine(&keys).file("tests/test_z.py", slow);
    let first = |sandbox: &Sandbox| {
        let done = command(sandbox, &keys, "protected").env("SPLITCI_CACHE_REDIS", redis.url("")).arg("--fresh").run();
        done.expect_exit(0);
        let planned = done.events().into_iter().find_map(|event| match event.kind {
            EventKind::PlanMade { manifest, .. } => manifest.iter().next().map(|(_, unit)| unit.file.clone()),
            _ => None,
        });
        planned.expect("a plan")
    };
    assert_ne!(first(&project()), "tests/test_z.py", "nobody knows that it takes long");
    assert_eq!(first(&project()), "tests/test_z.py", "the longest one comes first");
}

#[test]
fn a_cache_that_is_only_read_stays_as_it_is() {
    let (keys, redis) = (Keys::new(), Redis::start(&[]));
    let [one, other, third] = [machine(&keys), machine(&keys), machine(&keys)];
    let read_only = command(&one, &keys, "protected").arg("--cache-read-only").env("SPLITCI_CACHE_REDIS", redis.url(""));
    facts(&read_only.run());
    assert!(!one.cache().exists(), "nothing is written");
    assert_eq!(reused(&other, (&keys, "protected"), &redis.url("")), 0, "nor anywhere else");
    let reads = command(&third, &keys, "protected").arg("--cache-read-only").env("SPLITCI_CACHE_REDIS", redis.url(""));
    assert_eq!(facts(&reads.run()).reused.len(), 4);
    assert!(!third.cache().exists());
}

#[test]
fn a_key_that_cannot_be_used_is_an_error_and_a_cache_that_cannot_is_none() {
    let keys = Keys::new();
    let one = machine(&keys);
    let done = command(&one, &keys, "none").env("SPLITCI_KEY", "/nowhere/key.pem").run();
    done.expect_exit(2).expect_says("cannot use the key to sign with");
    fs_err::write(one.cache(), "a file").expect("written");
    let done = command(&one, &keys, "protected").run();
    assert_eq!(facts(&done).reused.len(), 0);
    assert!(done.facts().notices.iter().any(|notice| notice.starts_with("nothing is remembered beside")), "{done}");
}

#[test]
fn the_doctor_says_what_a_shared_store_lets_a_run_do() {
    let keys = Keys::new();
    let one = machine(&keys);
    let rights = ["--user", "pull", "on", ">word", "~sc:pull:*", "+@read", "+@write", "+@connection", "+info"];
    let redis = Redis::start(&rights);
    let says = |url: String, level: &str| {
        let asked = one.splitci("cache doctor").env("SPLITCI_CACHE_REDIS", url);
        let done = if level == "none" { asked.run() } else { asked.env("SPLITCI_KEY", keys.private(level)).run() };
        done.expect_exit(0);
        done
    };
    let open = says(redis.url(""), "pull");
    open.expect_says("this run could delete what a more trusted one wrote").expect_says("noeviction");
    let own = says(redis.url("pull:word@"), "pull");
    own.expect_says("ok  shared   redis: a record written and read in");
    says(redis.url("pull:word@"), "protected").expect_says("look  shared   redis: the store `redis` refuses us");
    says("redis://127.0.0.1:1/0".to_owned(), "pull").expect_says("look  shared   redis: the store `redis` failed");
    says(redis.url(""), "none").expect_says("not used: a run here is of level local");
}

#[test]
fn the_doctor_says_what_the_repository_of_layers_lets_a_run_do() {
    let (keys, home) = (Keys::new(), tempfile::tempdir().expect("a folder"));
    let one = machine(&keys);
    let says = |repository: String, level: &str| {
        let asked = one.splitci("cache doctor").env("SPLITCI_CACHE_LAYERS", repository).env("DOCKER_CONFIG", home.path());
        let done = if level == "none" { asked.run() } else { asked.env("SPLITCI_KEY", keys.private(level)).run() };
        done.expect_exit(0);
        done
    };
    let (open, locked, closed, rights) =
        (Registry::start(), Registry::for_user("ann", "secret"), Registry::read_only(), instead(Instead::Rights));
    let cache = |host: &str| format!("{host}/shop/cache");
    says(cache(&open.host()), "protected").expect_says("ok  layers ").expect_says("/shop/cache: read and written without credentials\n");
    says(cache(&open.host()), "pull").expect_says("look  layers ").expect_says("this run could overwrite what level protected builds upon");
    says(cache(&open.host()), "none").expect_says("runs of level local send nothing there").expect_says("could overwrite what level");
    assert_eq!((open.uploads(), open.tags("shop/cache").len()), (0, 0), "nothing is left there");

    says(cache(&locked.host()), "protected").expect_says("look  layers ").expect_says("cannot be read without credentials");
    credentials(home.path(), &locked.host(), "YW5uOnNlY3JldA==");
    says(cache(&locked.host()), "protected").expect_says("ok  layers ").expect_says("read and written as ann");
    assert_eq!(locked.uploads(), 0);
    credentials(home.path(), &locked.host(), "YW5uOndyb25n");
    says(cache(&locked.host()), "protected").expect_says("cannot be read as ann");

    says(cache(&closed.host()), "protected").expect_says("look  layers ").expect_says("and not written: it answers 405");
    let own = cache(rights.address()) + "-{level}";
    says(own.clone(), "pull").expect_says("ok  layers ").expect_says("/shop/cache-pull: read and written");
    says(own, "protected").expect_says("look  layers ").expect_says("and not written: it answers 403 Forbidden: DENIED");
    says("127.0.0.1:1/shop/cache".to_owned(), "pull").expect_says("look  layers ").expect_says("cannot be read");
}

#[test]
fn a_protected_run_takes_no_image_that_a_pull_request_built() {
    let keys = Keys::new();
    let one = machine(&keys);
    one.write("tests/test_e.py", &format!("{PURE}\n\n# {}\n", one.project().display()));
    let built = |level: &str| {
        let done = command(&one, &keys, level).run();
        done.expect_exit(0);
        let how = done.events().into_iter().find_map(|event| match event.kind {
            EventKind::ImageReady { how, .. } => Some(how),
            _ => None,
        });
        how.expect("an image") == ImageSource::Built
    };
    assert!(built("pull"), "nobody built this yet");
    assert!(!built("pull"), "its own it finds again");
    let why = one.splitci("cache why --engine docker").env("SPLITCI_KEY", keys.private("protected")).run();
    why.expect_exit(0).expect_says("a run builds splitci/");
    assert!(built("protected"), "what the engine has is a pull request's word");
    assert!(!built("protected"));
    assert!(!built("pull"), "what a protected run built is believed below");
}
