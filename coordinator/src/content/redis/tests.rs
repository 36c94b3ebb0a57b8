//! Redis itself: a server of its own for each test, and what goes wrong with one.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::content::contract::{self, Change, Vandal, key, noise};

/// A redis-server that ends with the test, on a socket in a directory of its own.
struct Server {
    process: Child,
    directory: TempDir,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = spawn(&directory, options);
        let server = Self { process, directory };
        server.wait();
        server
    }

    fn url(&self, user: &str) -> String {
        format!("redis+unix://{}/socket{user}", self.directory.path().display())
    }

    fn settings(&self) -> RedisSettings {
        RedisSettings::new(&self.url(""), "local")
    }

    fn store(&self) -> RedisStore {
        RedisStore::new(self.settings()).unwrap()
    }

    /// What `redis-cli` would say.
    fn say(&self, words: &[&str]) -> String {
        let mut connection = Client::open(self.url("")).unwrap().get_connection().unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        format!("{:?}", command.query::<Value>(&mut connection))
    }

    fn wait(&self) {
        let started = std::time::Instant::now();
        while Client::open(self.url("")).unwrap().get_connection().is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn spawn(directory: &TempDir, options: &[&str]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(directory.path().join("socket"));
    let started = command.args(options).current_dir(directory).stdout(Stdio::null()).spawn();
    started.unwrap_or_else(|error| panic!("the tests need redis-server: {error}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl Vandal for RedisStore {
    async fn change_blob(&self, digest: Digest, change: Change<'_>) {
        self.change(&Self::blob_key(&self.settings.space, digest), change).await;
    }

    async fn change_record(&self, key: &RecordKey, change: Change<'_>) {
        self.change(&Self::record_key(key), change).await;
    }
}

impl RedisStore {
    async fn change(&self, key: &str, change: Change<'_>) {
        let found = self.find(&[key.to_owned()]).await.unwrap().pop().unwrap();
        let Found::Whole(kept) = self.assemble(key, found).await.unwrap() else { panic!("{key} is not there") };
        self.delete(key).await.unwrap();
        if let Some(changed) = change(kept.into()) {
            self.write("vandal", key, changed.into()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let server = Server::start(&[]);
    let store = server.store();
    contract::check(&store, &store).await;
    assert_eq!(store.stats().errors, 0, "{:?}", store.stats().first_error);
    // Nothing stays for ever, and nothing is larger than it may be.
    let mut connection = Client::open(server.url("")).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(keys.len() > 30);
    for key in keys {
        assert!(key.starts_with("sc:"), "{key}");
        let expires: i64 = redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        let length: usize = redis::cmd("STRLEN").arg(&key).query(&mut connection).unwrap();
        assert!((600_000..=700_000).contains(&expires) && length <= 512 << 10, "{key}: {expires} s, {length} bytes");
    }
}

#[tokio::test]
async fn a_part_that_was_evicted_is_a_miss_and_is_written_again() {
    let server = Server::start(&[]);
    let store = server.store();
    let bytes = noise(1, 3_000_000);
    let digest = Digest::of(&bytes);
    let blob = RedisStore::blob_key("local", digest);
    for lost in 0..6 {
        store.put(digest, bytes.clone()).await.unwrap();
        let mut connection = Client::open(server.url("")).unwrap().get_connection().unwrap();
        let mut parts: Vec<String> = redis::cmd("KEYS").arg(format!("{blob}:*")).query(&mut connection).unwrap();
        parts.sort();
        assert_eq!(parts.len(), 6);
        server.say(&["DEL", &parts[lost]]);
        if lost % 2 == 0 {
            // Who puts it again finds out, too.
            store.put(digest, bytes.clone()).await.unwrap();
            assert!(store.get(digest).await.unwrap() == Some(bytes.clone()));
            server.say(&["SET", &parts[lost], "something else"]);
        }
        assert_eq!(store.get(digest).await.unwrap(), None);
        assert_eq!(store.has(&[digest]).await.unwrap(), [false]);
    }
    assert_eq!((store.stats().blobs.damaged, store.stats().errors), (6, 0));
}

#[tokio::test]
async fn what_is_put_again_lasts_as_long_as_what_is_new() {
    let server = Server::start(&[]);
    let store = server.store();
    for length in [100, 1_500_000] {
        let bytes = noise(1, length);
        store.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
        let written = store.stats().bytes_written;
        let blob = RedisStore::blob_key("local", Digest::of(&bytes));
        server.say(&["EXPIRE", &blob, "100"]);
        store.put(Digest::of(&bytes), bytes).await.unwrap();
        assert!(server.say(&["TTL", &blob]).contains("int(604"), "{}", server.say(&["TTL", &blob]));
        assert_eq!(store.stats().bytes_written, written, "it was sent again");
    }
}

#[tokio::test]
async fn something_of_another_type_is_a_miss_and_is_replaced() {
    let server = Server::start(&[]);
    let store = server.store();
    let bytes = noise(1, 3000);
    let digest = Digest::of(&bytes);
    let (blob, record) = (RedisStore::blob_key("local", digest), RedisStore::record_key(&key("local", 1)));
    for key in [&blob, &record] {
        server.say(&["LPUSH", key, "a list"]);
    }
    assert_eq!(store.get(digest).await.unwrap(), None);
    assert_eq!(store.record(&key("local", 1)).await.unwrap(), None);
    store.put(digest, bytes.clone()).await.unwrap();
    store.put_record(&key("local", 1), bytes.clone()).await.unwrap();
    assert!(store.get(digest).await.unwrap() == Some(bytes.clone()) && store.record(&key("local", 1)).await.unwrap() == Some(bytes));
    assert_eq!(store.stats().errors, 0);
}

#[tokio::test]
async fn above_its_part_of_the_memory_nothing_is_written() {
    let server = Server::start(&["--maxmemory", "40mb", "--maxmemory-policy", "noeviction"]);
    let store = server.store();
    let memory = store.memory().await.unwrap();
    assert_eq!((memory.most, memory.limited, &*memory.policy), (40 << 20, true, "noeviction"));
    for seed in 0..60 {
        let bytes = noise(seed, 1 << 20);
        store.put(Digest::of(&bytes), bytes).await.unwrap();
    }
    let stats = store.stats();
    assert!(stats.written > 10 && stats.skipped > 30 && stats.errors == 0, "{stats:?}");
    let used = store.memory().await.unwrap().used;
    assert!((18 << 20..=26 << 20).contains(&used), "{used} bytes in use");
}

#[tokio::test]
async fn a_full_server_is_left_alone() {
    let server = Server::start(&["--maxmemory", "40mb", "--maxmemory-policy", "noeviction"]);
    let store = server.store();
    assert!(store.has_room("local", 1).await.unwrap());
    // Somebody else fills it between our question and our write.
    for length in [1 << 20, 1 << 12] {
        let full = (0..10_000).any(|number| server.say(&["SET", &format!("queue:{length}:{number}"), &"x".repeat(length)]).contains("OOM"));
        assert!(full);
    }
    let bytes = noise(1, 600_000);
    store.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
    store.put_record(&key("local", 1), bytes.clone()).await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.written, stats.skipped, stats.errors), (0, 2, 0), "{stats:?}");
    assert_eq!(store.get(Digest::of(&bytes)).await.unwrap(), None);
}

#[tokio::test]
async fn a_space_has_its_limit_and_leaves_others_theirs() {
    let server = Server::start(&[]);
    let store = RedisStore::new(RedisSettings { most: 5_000_000, ..server.settings() }).unwrap();
    for seed in 0..20 {
        let bytes = noise(seed, 900_000);
        store.put(Digest::of(&bytes), bytes).await.unwrap();
    }
    assert_eq!((store.stats().written, store.stats().skipped), (5, 15));
    store.put_record(&key("protected", 1), noise(30, 900_000)).await.unwrap();
    assert!(store.record(&key("protected", 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn rights_of_redis_keep_levels_apart() {
    let server = Server::start(&[]);
    let rights = ["on", "+@read", "+@write", "+@connection", "+info"];
    let user = |name: &str, keys: &[&str]| {
        let made = server.say(&[&["ACL", "SETUSER", name, ">word"], &rights[..], keys].concat());
        assert!(made == "Ok(ok)", "{made}");
    };
    user("protected", &["~sc:protected:*"]);
    user("pull", &["~sc:pull:*", "~sc:pull%2f*", "%R~sc:protected:*"]);
    let store = |user: &str, space: &str| {
        let settings = RedisSettings::new(&server.url(&format!("?user={user}&pass=word")), space);
        RedisStore::new(RedisSettings { trusted: vec!["protected".to_owned()], ..settings }).unwrap()
    };
    let (protected, pull) = (store("protected", "protected"), store("pull", "pull/7"));
    let good = noise(1, 2000);
    let digest = Digest::of(&good);
    protected.put(digest, good.clone()).await.unwrap();
    protected.put_record(&key("protected", 1), good.clone()).await.unwrap();
    // Reads what is trusted more, and writes its own.
    assert!(pull.get(digest).await.unwrap() == Some(good.clone()));
    assert!(pull.record(&key("protected", 1)).await.unwrap() == Some(good.clone()));
    pull.put_record(&key("pull/7", 1), good.clone()).await.unwrap();
    assert!(pull.record(&key("pull/7", 1)).await.unwrap() == Some(good.clone()));
    // Neither forges, nor deletes, nor spoils.
    let forged = pull.put_record(&key("protected", 1), Bytes::from_static(b"forged")).await;
    assert!(matches!(forged, Err(StoreError::Refused { .. })), "{forged:?}");
    assert!(forged.unwrap_err().hint().unwrap().contains("+info"));
    assert!(matches!(pull.remove_record(&key("protected", 1)).await, Err(StoreError::Refused { .. })));
    pull.remove(digest).await.unwrap();
    assert!(protected.get(digest).await.unwrap() == Some(good.clone()));
    assert!(protected.record(&key("protected", 1)).await.unwrap() == Some(good.clone()));
    // What it wrote itself the more trusted one does not even see.
    let own = noise(2, 2000);
    pull.put(Digest::of(&own), own.clone()).await.unwrap();
    assert_eq!(protected.get(Digest::of(&own)).await.unwrap(), None);
    assert!(matches!(protected.record(&key("pull/7", 1)).await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn who_gives_the_wrong_password_is_refused_and_it_is_shown_nowhere() {
    let server = Server::start(&["--requirepass", "secret"]);
    let wrong = RedisStore::new(RedisSettings::new(&server.url("?pass=mistaken"), "local"));
    let store = wrong.unwrap();
    let refused = store.record(&key("local", 1)).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    let told = format!("{:?} {store:?} {:?}", store.settings, store.stats());
    assert!(!told.contains("mistaken"), "{told}");
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_empty_and_no_error() {
    let mut server = Server::start(&[]);
    let store = server.store();
    let bytes = noise(1, 3000);
    store.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
    server.stop();
    let gone = store.get(Digest::of(&bytes)).await;
    assert!(matches!(gone, Err(StoreError::Remote { tier: "redis", .. })), "{gone:?}");
    server.process = spawn(&server.directory, &[]);
    server.wait();
    assert_eq!(store.get(Digest::of(&bytes)).await.unwrap(), None);
    store.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
    assert!(store.get(Digest::of(&bytes)).await.unwrap() == Some(bytes));
    assert_eq!(store.stats().errors, 1);
}

#[tokio::test]
async fn a_connection_that_was_cut_is_made_again_for_those_who_read() {
    let server = Server::start(&[]);
    let store = server.store();
    store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
    server.say(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(store.record(&key("local", 1)).await.unwrap().is_some());
    assert_eq!(store.stats().errors, 0);
}

#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for_for_ever() {
    let server = Server::start(&[]);
    let store = server.store();
    store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
    let process = rustix::process::Pid::from_child(&server.process);
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let started = std::time::Instant::now();
    let late = store.record(&key("local", 1)).await;
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    assert!(matches!(late, Err(StoreError::Remote { .. })) && started.elapsed() < Duration::from_secs(5), "{late:?}");
    assert!(store.record(&key("local", 1)).await.unwrap().is_some(), "an answer that came late was taken for another's");
}

static NEXT: AtomicU64 = AtomicU64::new(0);

#[tokio::test]
async fn many_at_once_share_a_connection() {
    let server = Server::start(&[]);
    let store = Arc::new(server.store());
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = Arc::clone(&store);
        users.spawn(async move {
            for _ in 0..10 {
                let bytes = noise(NEXT.fetch_add(1, Ordering::Relaxed), 30_000);
                store.put(Digest::of(&bytes), bytes.clone()).await.unwrap();
                assert!(store.get(Digest::of(&bytes)).await.unwrap() == Some(bytes));
            }
        });
    }
    users.join_all().await;
    assert_eq!(store.stats().errors, 0);
}
