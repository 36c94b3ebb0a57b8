//! The cache as people and CI systems handle it: looked at, checked, carried elsewhere, and never believed further than its signatures go.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;
use splitci_coordinator::content::local::{Access, LocalStore};
use splitci_coordinator::content::{Digest, Record, RecordKey, Store};
use splitci_coordinator::model::trust::{Level, Space};
use splitci_coordinator::trust::{Life, Seal, SecretKey, TrustList};
use splitci_tests::{Done, Sandbox, Splitci};

/// Somebody who writes to a cache, believing what it likes of itself.
struct Writer(Seal);

impl Writer {
    fn new(key: &SecretKey, believes: Level) -> Self {
        let mut list = TrustList::default();
        if believes != Level::Local {
            list.add(key.public().clone(), Space::of(believes)).expect("added");
        }
        Self(Seal::new(key.clone(), list, None))
    }

    /// Writes one record, and the blob that it stands for, into the place where this writer's records go.
    fn write(&self, directory: &Path, key: u8) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        let life = Life { written_at: u64::try_from(now).expect("small"), keep: Duration::from_hours(24) };
        let blob = Bytes::from(format!("what {key} came to"));
        let digest = Digest::of(&blob);
        let record = Record { payload: self.0.seal("results", [key; 32], life, b"all passed"), blobs: vec![digest] };
        let address = RecordKey { layer: "results", space: self.0.space().name(), key: [key; 32] };
        let store = LocalStore::open(directory, Access::ReadWrite).expect("a store");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            store.put(digest, blob).await.expect("put");
            store.put_entry(&address, record).await.expect("put");
        });
    }
}

fn key() -> SecretKey {
    SecretKey::generate().expect("a key")
}

/// `splitci cache ...` on a directory of the sandbox.
fn cache(sandbox: &Sandbox, directory: &str, line: &str) -> Splitci {
    sandbox.splitci(&format!("cache {line}")).env("SPLITCI_CACHE_DIR", sandbox.outside(directory))
}

fn json(done: &Done) -> Value {
    done.expect_exit(0);
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("not JSON: {error}: {done}"))
}

fn trusting(sandbox: &Sandbox, protected: &SecretKey, pull: &SecretKey) {
    let pem = |key: &SecretKey| key.public().to_pem().expect("PEM");
    let list = format!("[trust]\nprotected = [\"\"\"{}\"\"\"]\npull = [\"\"\"{}\"\"\"]\n", pem(protected), pem(pull));
    sandbox.write("splitci.toml", &list);
}

#[test]
fn a_poisoned_cache_is_not_believed() {
    let sandbox = Sandbox::empty();
    let (protected, pull, fork) = (key(), key(), key());
    trusting(&sandbox, &protected, &pull);
    let there = sandbox.outside("there");
    Writer::new(&protected, Level::Protected).write(&there, 1);
    Writer::new(&pull, Level::Pull).write(&there, 2);
    // A job of a pull request that calls itself protected, one of a fork that does, and one without any key.
    Writer::new(&pull, Level::Protected).write(&there, 3);
    Writer::new(&fork, Level::Protected).write(&there, 4);
    Writer::new(&fork, Level::Local).write(&there, 5);
    let archive = sandbox.outside("archive");
    cache(&sandbox, "there", &format!("export {}", archive.display())).run().expect_exit(0);
    let refused = |directory: &str, key: &SecretKey| {
        let line = format!("import {} --json", archive.display());
        let told = json(&cache(&sandbox, directory, &line).env("SPLITCI_KEY", &**key.to_pem(None).expect("PEM")).run());
        let why = |entry: &Value| entry["why"].as_str().expect("a reason").to_owned();
        let mut refused: Vec<String> = told["refused"].as_array().expect("a list").iter().map(why).collect();
        refused.sort();
        refused
    };
    let stranger = format!("key {}, which is not trusted here, signed it", fork.id().short());
    let climber = "it says `protected`, and its key is trusted as `pull`".to_owned();
    let below = "it was written at level `pull`, which is not enough here".to_owned();
    assert_eq!(refused("protected", &protected), [climber.clone(), below, stranger.clone(), stranger.clone()]);
    assert_eq!(refused("pull", &pull), [climber, stranger.clone(), stranger]);
    let listed = cache(&sandbox, "protected", "ls").run();
    assert!(listed.stdout.lines().count() == 1 && listed.stdout.starts_with("results  protected"), "{listed}");
}

#[test]
fn a_run_that_ends_in_an_error_closes_its_cache() {
    let sandbox = Sandbox::empty().file("splitci.toml", "[suite]\nframework = \"pytest\"\ncommand = \"no-such-program\"\n");
    sandbox.write("tests/test_one.py", "def test_one():\n    pass\n");
    sandbox.splitci("run --engine process").run().expect_exit(2).expect_says("no-such-program");
    let stats = json(&cache(&sandbox, "cache", "stats --json").run());
    assert_eq!(stats["used"]["runs"].as_u64(), Some(1), "what the cache was good for is noted: {stats}");
    let leases = walkdir::WalkDir::new(sandbox.cache())
        .into_iter()
        .flatten()
        .filter(|entry| entry.path().parent().is_some_and(|folder| folder.ends_with("leases")));
    assert_eq!(
        leases.map(|entry| entry.path().to_owned()).collect::<Vec<_>>(),
        Vec::<std::path::PathBuf>::new(),
        "nothing is held any more"
    );
}

#[test]
fn a_cache_is_looked_at_without_being_changed() {
    let sandbox = Sandbox::empty();
    let before = |directory: &str| walkdir::WalkDir::new(sandbox.outside(directory)).into_iter().flatten().count();
    for line in ["stats", "stats --json", "ls", "ls --json", "verify", "gc --dry-run"] {
        cache(&sandbox, "none", line).run().expect_exit(0);
    }
    assert!(!sandbox.outside("none").exists(), "a look makes no directory");
    let writer = Writer::new(&key(), Level::Local);
    (1..4).for_each(|key| writer.write(&sandbox.outside("cache"), key));
    let count = before("cache");
    let stats = json(&cache(&sandbox, "cache", "stats --json").run());
    assert_eq!((stats["entries"].as_u64(), stats["used"]["runs"].as_u64()), (Some(6), Some(0)));
    assert!(stats["coldest_seconds"].as_u64().is_some_and(|age| age < 600) && stats["levels"]["local"].as_u64() > Some(0));
    assert_eq!(cache(&sandbox, "cache", "ls --json --blobs").run().stdout.lines().count(), 6);
    assert_eq!(cache(&sandbox, "cache", "ls --level protected").run().stdout, "");
    cache(&sandbox, "cache", "ls --level secret").run().expect_exit(2).expect_says("there is no level `secret`");
    let dry = json(&cache(&sandbox, "cache", "gc --dry-run --size 1k --json").run());
    assert_eq!(dry["gone"].as_array().map(Vec::len), Some(6));
    for line in ["rm --all", "verify --repair", "gc", "import x"] {
        cache(&sandbox, "cache", line).arg("--cache-read-only").run().expect_exit(2).expect_says("only to be read");
    }
    assert_eq!(before("cache"), count);
}

#[test]
fn damage_is_found_and_mended() {
    let sandbox = Sandbox::empty();
    let directory = sandbox.outside("cache");
    Writer::new(&key(), Level::Local).write(&directory, 1);
    json(&cache(&sandbox, "cache", "verify --json").run());
    let blob = walkdir::WalkDir::new(directory.join("v1/cas")).into_iter().flatten().find(|entry| entry.file_type().is_file());
    let blob = blob.expect("a blob").into_path();
    fs_err::remove_file(&blob).expect("removed");
    fs_err::write(&blob, "rotten").expect("written");
    cache(&sandbox, "cache", "verify").run().expect_exit(3).expect_says("damaged").expect_says("without blobs").expect_says("--repair");
    cache(&sandbox, "cache", "verify --repair").run().expect_exit(0).expect_says("2 entries of no use deleted");
    cache(&sandbox, "cache", "verify").run().expect_exit(0).expect_says("nothing damaged");
}

#[test]
fn entries_are_deleted_by_name_by_what_they_are_and_all_at_once() {
    let sandbox = Sandbox::empty();
    let directory = sandbox.outside("cache");
    (1..4).for_each(|key| Writer::new(&self::key(), Level::Local).write(&directory, key));
    cache(&sandbox, "cache", "rm").run().expect_exit(2).expect_says("nothing says what to delete");
    cache(&sandbox, "cache", "rm 0101").run().expect_exit(2).expect_says("at least 8 digits");
    assert_eq!(json(&cache(&sandbox, "cache", "rm 0101010101 --json").run())["deleted"], 1);
    assert_eq!(json(&cache(&sandbox, "cache", "rm --layer results --level local --json").run())["deleted"], 2);
    assert_eq!(json(&cache(&sandbox, "cache", "rm --all --json").run())["deleted"], 3);
    assert_eq!(json(&cache(&sandbox, "cache", "rm --all --json").run())["deleted"], 0);
}

#[test]
fn the_doctor_tells_what_keeps_it_from_being_of_use() {
    let sandbox = Sandbox::empty();
    let (protected, pull) = (key(), key());
    trusting(&sandbox, &protected, &pull);
    let well = cache(&sandbox, "cache", "doctor").run();
    well.expect_exit(0).expect_says("one of this machine is made at the first run").expect_says("2 keys trusted");
    assert!(!sandbox.outside("cache").exists(), "a look makes no directory");
    let of = |key: &SecretKey| cache(&sandbox, "cache", "doctor").env("SPLITCI_KEY", &**key.to_pem(None).expect("PEM")).run();
    of(&protected).expect_exit(0).expect_says("level protected");
    of(&key()).expect_exit(0).expect_says("is not in `[trust]`");
    let file = sandbox.outside("key.pem");
    fs_err::write(&file, &**pull.to_pem(None).expect("PEM")).expect("written");
    let mounted = cache(&sandbox, "cache", "doctor").arg("--key").arg(&file).run();
    mounted.expect_exit(0).expect_says("level pull").expect_says("others can read");
    let told = json(&cache(&sandbox, "cache", "doctor --json").run());
    let whats: Vec<&str> = told.as_array().expect("a list").iter().filter_map(|check| check["what"].as_str()).collect();
    for what in ["cache", "disk", "entries", "key", "clock", "engine"] {
        assert!(whats.contains(&what), "{what} in {whats:?}");
    }
    cache(&sandbox, "cache", "doctor").env("SPLITCI_KEY", "nothing/there.pem").run().expect_exit(2).expect_says("nothing/there.pem");
}

#[test]
fn a_cache_of_another_layout_is_left_alone() {
    let sandbox = Sandbox::empty();
    let directory = sandbox.outside("cache");
    fs_err::create_dir_all(directory.join("v1")).expect("made");
    fs_err::write(directory.join("v1/FORMAT"), "splitci content store 7\n").expect("written");
    for line in ["stats", "gc", "rm --all", "verify --repair"] {
        cache(&sandbox, "cache", line).run().expect_exit(3).expect_says("format 7");
    }
    let text = fs_err::read_to_string(directory.join("v1/FORMAT")).expect("read");
    assert_eq!(text, "splitci content store 7\n");
}
