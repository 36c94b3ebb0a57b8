//! Build mounts across machines, with a real BuildKit: what one machine's steps gathered is there on another one, with its times, and only what is new moves.
//!
//! Two directories are two machines to the builder: each has mounts of its own. Where it matters, the other machine has an engine of its own, too.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use splitci_coordinator::content::local::Sweep;
use splitci_coordinator::content::{
    Access, Counters, Digest, Limit, LocalStore, Record, RecordKey, RedisSettings, RedisStore, S3Store, Store, StoreError, StoreStats,
};
use splitci_coordinator::model::RunId;
use splitci_coordinator::model::event::ImageSource;
use splitci_coordinator::model::trust::Level;
use splitci_coordinator::mounts::manifest::{Item, Manifest};
use splitci_coordinator::mounts::{LAYER, Saved};
use splitci_coordinator::trust::{Life, SecretKey};
use splitci_tests::bucket::Bucket;
use splitci_tests::engine::{docker, docker_says};
use splitci_tests::machine::{Machine, Team, near_and_far, store, with_near};
use splitci_tests::redis::Redis;
use splitci_tests::second::SecondEngine;
use splitci_tests::{Sandbox, Splitci};
use splitci_worker::protocol::mounts::{Entry, Kind};

const BASE: &str = "debian:bookworm-slim";

/// A tool with a cache: what it has not, it gets slowly, a third of a megabyte each.
fn gathering(names: &str) -> String {
    format!(
        "FROM {BASE}\nRUN --mount=type=cache,target=/cache for name in {names}; do \\\n\
           if [ -f /cache/$name ]; then echo have $name; else echo get $name; sleep 1; head -c 300000 /dev/urandom > /cache/$name; fi; \\\n\
         done; ls /cache | wc -l > /count\n"
    )
}

/// A name that no other test has.
fn unique(name: &str) -> String {
    format!("mounts-{}-{name}", std::process::id())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_has_what_was_gathered_and_a_change_moves_what_changed() {
    let (team, shared, name) = (Team::default(), folder(), unique("gather"));
    let names: Vec<_> = (0..12).map(|number| format!("p{number}")).collect();
    let names = names.join(" ");
    let (chain, far_of_a) = near_and_far(shared.path());
    let a = Machine::new(&name, Level::Protected, &team, chain, None).await;
    a.write("Dockerfile", gathering(&names));
    let built = a.build().await;
    assert!(built.log.contains("get p0") && built.notes.is_empty(), "{} {}", built.log, built.notes);
    let all = far_of_a.stats().bytes_written;
    assert!(all > 3_600_000, "{all}");

    // The other one begins with the same, and then both want one more.
    let (chain, far_of_b) = near_and_far(shared.path());
    let b = Machine::new(&name, Level::Protected, &team, Arc::clone(&chain), None).await;
    b.write("Dockerfile", gathering(&names));
    let built = b.build().await;
    assert!(!built.log.contains("get ") && built.log.contains("have p11") && built.notes.is_empty(), "{} {}", built.log, built.notes);
    let all_down = far_of_b.stats().bytes_read;
    assert!(all_down > 3_600_000, "{all_down}");

    let more = format!("{names} new");
    a.write("Dockerfile", gathering(&more));
    let built = a.build().await;
    assert!(built.log.contains("have p0") && built.log.contains("get new"), "{}", built.log);
    let up = far_of_a.stats().bytes_written - all;
    assert!((300_000..400_000).contains(&up), "{up} bytes up, of {all}");

    let c = Machine::new(&name, Level::Protected, &team, chain, None).await;
    c.write("Dockerfile", gathering(&more));
    let before = far_of_b.stats().bytes_read;
    let built = c.build().await;
    assert!(!built.log.contains("get ") && built.log.contains("have new") && built.notes.is_empty(), "{} {}", built.log, built.notes);
    let down = far_of_b.stats().bytes_read - before;
    assert!((300_000..400_000).contains(&down), "{down} bytes down, of {all_down}");
}

/// Two machines, each with its own way to a store that is far from both: what the one gathered the other has. What the second one counted.
async fn another_machine_has_it(far: impl Fn() -> Arc<dyn Store>, name: &str) -> StoreStats {
    let team = Team::default();
    // A pack of small files, and large ones: more blobs than a far store is asked for at a time.
    let make = "sleep 1; for n in $(seq 100); do head -c 1100000 /dev/urandom > /cache/large$n; head -c 100000 /dev/urandom > /cache/small$n; done; \
                sha256sum /cache/*l* > /cache/sums";
    let text = format!(
        "FROM {BASE}\nRUN --mount=type=cache,target=/cache if [ -f /cache/sums ]; then echo have it; else {make}; fi; sha256sum --quiet -c /cache/sums && echo whole\n"
    );
    let mut far_of_last = far();
    for word in ["whole", "have it\nwhole"] {
        far_of_last = far();
        let machine = Machine::new(name, Level::Protected, &team, with_near(&far_of_last), None).await;
        machine.write("Dockerfile", &text);
        let built = machine.build().await;
        assert!(built.log.contains(word) && built.notes.is_empty(), "{} {} {:?}", built.log, built.notes, far_of_last.stats());
    }
    far_of_last.stats()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_gathered_travels_by_way_of_redis() {
    let redis = Redis::start(&[]);
    let far = || -> Arc<dyn Store> { Arc::new(RedisStore::new(RedisSettings::new(&redis.url(""), "protected")).expect("a store")) };
    let stats = Box::pin(another_machine_has_it(far, &unique("redis"))).await;
    assert!(stats.bytes_read > 120_000_000 && stats.errors == 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_gathered_travels_by_way_of_a_bucket() {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let (bucket, scratch) = (Bucket::start(), folder());
    let far = || -> Arc<dyn Store> { Arc::new(S3Store::new(&bucket.settings(), scratch.path().to_owned()).expect("a store")) };
    let stats = Box::pin(another_machine_has_it(far, &unique("bucket"))).await;
    assert!(stats.bytes_read > 120_000_000 && stats.errors == 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_times_owners_links_and_empty_things_are_kept() {
    let (team, shared, name) = (Team::default(), folder(), unique("kept"));
    let make = "if [ ! -e d ]; then sleep 1; mkdir -p d/e; echo x > d/f; : > d/empty; ln -s ../d/f d/e/up; ln -s /etc/passwd d/out; \
                chmod 640 d/f; chown 7:8 d/f; chmod 1750 d/e; touch -d '2001-02-03 04:05:06.789012345' d/f d/e; mkfifo d/pipe; echo s > d/.netrc; fi";
    let text = format!(
        "FROM {BASE}\nRUN --mount=type=cache,id=things,target=/mnt/c,uid=5,gid=6,mode=0711,sharing=locked cd /mnt/c && {make}; \\\n\
         stat -c '%n %a %u:%g %F' . >&2; find d | sort | xargs stat -c 'is %n %a %u:%g %s %Y %y %N %F' | grep -v 'pipe\\|out\\|netrc\\|is d '\n"
    );
    let mut listings = Vec::new();
    for _ in 0..2 {
        let machine = Machine::new(&name, Level::Protected, &team, store(shared.path()), None).await;
        machine.write("Dockerfile", &text);
        let built = machine.build().await;
        assert_eq!(built.notes, "");
        assert!(built.log.contains(". 711 5:6 directory"), "{}", built.log);
        let mut lines: Vec<String> = built.log.lines().filter(|line| line.starts_with("is ")).map(str::to_owned).collect();
        // A link's own time, and a directory's size, are the filesystem's.
        lines.iter_mut().filter(|line| line.contains("symbolic link")).for_each(|line| *line = line[..12].to_owned());
        lines.sort();
        listings.push(lines);
    }
    assert_eq!(listings[0].len(), 4, "{listings:#?}");
    assert_eq!(listings[0], listings[1]);
    assert!(listings[1].iter().any(|line| line.contains("d/f 640 7:8 2 ") && line.contains("04:05:06.789012345")), "{listings:#?}");
}

/// Builds with make and with Python's byte code, both of which judge by time.
const JUDGING: &str = "FROM debian:bookworm-slim\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends make python3-minimal >/dev/null\n\
     COPY . /src\nRUN --mount=type=cache,target=/made [ -f /made/slow ] || { sleep 4; touch /made/slow; }; cd /src && make -s && cp /made/out /out && \\\n\
     PYTHONPYCACHEPREFIX=/made/code python3 -c 'import word; print(word.WORD)' > /word && ls /made/code/src > /code\n";

#[tokio::test(flavor = "multi_thread")]
async fn new_code_is_tested_before_and_after_a_mount_travelled() {
    let (team, shared, name) = (Team::default(), folder(), unique("judge"));
    let new = async || {
        let machine = Machine::new(&name, Level::Protected, &team, store(shared.path()), None).await;
        machine.write("Dockerfile", JUDGING);
        machine.write("Makefile", "/made/out: in\n\t@echo making; sleep 1; cp in /made/out\n");
        machine
    };
    let says = async |machine: &Machine, word: &str| {
        // Same length: what is looked at is the time.
        machine.write("in", format!("{word}\n"));
        machine.write("word.py", format!("WORD = '{word}'\n"));
        let built = machine.build().await;
        let image = &built.image.reference;
        let said = docker_says(&format!("run --rm {image} cat /out /word"));
        assert_eq!(said, format!("{word}\n{word}"), "{} {}", built.log, built.notes);
        assert_ne!(docker_says(&format!("run --rm {image} cat /code")), "", "byte code is kept in the mount");
        assert_eq!(built.notes, "", "the mount travels");
        built
    };
    let a = new().await;
    says(&a, "one").await;
    says(&a, "two").await;
    let mut b = new().await;
    // What A made of `two` is newer than anything that B has.
    let built = says(&b, "one").await;
    assert!(built.log.contains("making"), "{}", built.log);
    says(&b, "two").await;
    says(&b, "one").await;
    says(&a, "two").await;
    // B sent `one` before A made `two`. Its builder loses the mount: another namespace is as good as that, and what A made comes into it.
    b.level = Level::Release;
    let built = says(&b, "one").await;
    assert!(built.log.contains("making"), "{}", built.log);
    let c = new().await;
    says(&c, "one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_finds_the_packages_that_another_machine_downloaded() {
    let (team, shared, name) = (Team::default(), folder(), unique("apt"));
    let text = format!(
        "FROM {BASE}\nRUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \\\n\
         rm /etc/apt/apt.conf.d/docker-clean; apt-get update && apt-get -o Binary::apt-get::APT::Keep-Downloaded-Packages=true \\\n\
         -o APT::Keep-Downloaded-Packages=true install -y --no-install-recommends make && make --version\n"
    );
    let mut logs = Vec::new();
    for _ in 0..2 {
        let machine = Machine::new(&name, Level::Protected, &team, store(shared.path()), None).await;
        machine.write("Dockerfile", &text);
        let built = machine.build().await;
        assert_eq!(built.notes, "", "{}", built.log);
        logs.push(built.log);
    }
    let needs_nothing = |log: &str| log.contains("Need to get 0 B/");
    assert!(!needs_nothing(&logs[0]) && needs_nothing(&logs[1]), "{}\n---\n{}", logs[0], logs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_build_sees_nothing_that_a_pull_request_wrote() {
    let (team, shared, name) = (Team::default(), folder(), unique("levels"));
    let text = gathering("one two");
    let at = async |level| {
        let machine = Machine::new(&name, level, &team, store(shared.path()), None).await;
        machine.write("Dockerfile", &text);
        machine
    };
    let pull = at(Level::Pull).await;
    assert!(pull.build().await.log.contains("get one"));
    // The same directory, the same engine: the builder keeps the mounts of levels apart.
    let protected = at(Level::Protected).await;
    let built = protected.build_at(pull.root.path()).await;
    assert!(built.log.contains("get one") && !built.log.contains("have"), "{}", built.log);
    assert!(at(Level::Pull).await.build().await.log.contains("have one"), "another pull request's run of the same partition");
    assert!(at(Level::Protected).await.build().await.log.contains("have one"));
    fs_err::remove_dir_all(shared.path().join("v1/rec").join(LAYER).join("pull")).expect("removed");
    assert!(at(Level::Pull).await.build().await.log.contains("have one"), "a pull request reads what is protected");
}

/// Keys of the records that a store has of mounts.
fn keys(shared: &Path) -> Vec<[u8; 32]> {
    let rows = walkdir::WalkDir::new(shared.join("v1/rec").join(LAYER)).into_iter().filter_map(Result::ok);
    let files = rows.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
    files
        .map(|file| {
            let part = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
            let hex = part(file.parent().expect("a folder")) + &part(&file);
            *Digest::parse(&hex).expect("a key").as_bytes()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_mount_is_refused_as_a_whole_and_the_build_goes_on() {
    let (team, shared, name) = (Team::default(), folder(), unique("hostile"));
    let a = Machine::new(&name, Level::Protected, &team, store(shared.path()), None).await;
    a.write("Dockerfile", gathering("one"));
    a.build().await;
    let keys = keys(shared.path());
    assert_eq!(keys.len(), 2);
    let entry = |path: &str, mode, kind| Item { entry: Entry { path: path.into(), mode, uid: 0, gid: 0, modified: 0, kind }, bytes: None };
    let file = |path: &str, mode| entry(path, mode, Kind::File { length: 0 });
    let hostile = [
        (file("../../etc/cron.d/x", 0o644), "does not stay"),
        (file("setuid", 0o4755), "change its user"),
        (entry("link", 0o777, Kind::Link { to: "/etc".into() }), "leads out"),
        (entry("bomb", 0o644, Kind::File { length: u64::MAX }), "has no bytes"),
    ];
    let store = store(shared.path());
    for (item, why) in hostile {
        let manifest = Manifest::new(vec![file("one", 0o644), item]).encode().expect("plain data");
        let digest = Digest::of(&manifest);
        store.put(digest, manifest.into()).await.expect("put");
        let saved = Saved { manifest: digest, bytes: 1, lock: digest, empty_ms: None, filled_ms: None };
        // Signed by who may: a key that was stolen, or a builder that was taken over.
        let vault = team.vault(Level::Protected, Arc::clone(&store));
        for key in &keys {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
            let life = Life { written_at: u64::try_from(now).expect("small"), keep: Duration::from_hours(1) };
            let sealed = vault.seal().seal(LAYER, *key, life, &serde_json::to_vec(&saved).expect("plain data"));
            let name = RecordKey { layer: LAYER, space: "protected".into(), key: *key };
            store.put_entry(&name, Record { payload: sealed, blobs: vec![digest] }).await.expect("put");
        }
        let b = Machine::new(&name, Level::Protected, &team, Arc::clone(&store), None).await;
        b.write("Dockerfile", gathering("one"));
        let (built, log) = b.build_only().await;
        assert!(log.contains("get one"), "nothing of it is there: {log}");
        assert!(built.notes.iter().any(|note| note.contains("is refused") && note.contains(why)), "{why}: {:?}", built.notes);
        b.forget().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pay_or_cannot_travel_stays_and_that_is_said() {
    let (team, shared, name) = (Team::default(), folder(), unique("stay"));
    let text = format!(
        "FROM {BASE}\nRUN --mount=type=cache,target=/quick head -c 100000 /dev/urandom > /quick/$(date +%N); ls /quick | wc -l\n\
         RUN --mount=type=cache,target=/etc/copy,from={BASE},source=/etc true\n"
    );
    let a = Machine::new(&name, Level::Protected, &team, store(shared.path()), None).await;
    a.write("Dockerfile", &text);
    let notes = a.build().await.notes;
    assert!(notes.contains("`/etc/copy` does not travel") && !notes.contains("/quick"), "{notes}");
    let b = Machine::new(&name, Level::Protected, &team, store(shared.path()), None).await;
    b.write("Dockerfile", &text);
    // A way on which a byte takes a millisecond, as it was measured before.
    fs_err::create_dir_all(b.state.path().join("mounts")).expect("made");
    fs_err::write(b.state.path().join("mounts/speed.json"), r#"{"bytes_per_ms":1.0}"#).expect("written");
    let notes = b.build().await.notes;
    assert!(notes.contains("the build mount `/quick` is not restored: to bring 100000 bytes takes 100400 ms and saves "), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_in_the_middle_leaves_nothing_broken() {
    let (team, shared, name) = (Team::default(), folder(), unique("killed"));
    let text = format!(
        "FROM {BASE}\nRUN --mount=type=cache,target=/cache if [ -f /cache/sum ]; then echo have it; sha256sum -c /cache/sum; else echo get it; sleep 2; \
         for n in $(seq 200); do head -c 500000 /dev/urandom > /cache/$n; done; sha256sum /cache/[0-9]* > /cache/sum; fi\n"
    );
    let mut engine = SecondEngine::start();
    engine.load(BASE);
    let address = engine.address();
    let a = Machine::new(&name, Level::Protected, &team, store(shared.path()), Some(&address)).await;
    a.write("Dockerfile", &text);
    // Killed while it is saved.
    let (built, log) = a.build_only().await;
    assert!(log.contains("get it"), "{log}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    engine.kill();
    let said = a.carrier.finish(Duration::from_mins(1)).await.join("\n");
    assert!(said.contains("not saved"), "it was saved before it was killed: {said} {:?}", built.notes);
    engine.restart();
    a.write("more", "x");
    a.write("Dockerfile", format!("{text}COPY more /\nRUN --mount=type=cache,target=/cache echo $(ls /cache | wc -l) files\n"));
    let built = a.build().await;
    assert!(built.log.contains("201 files") && built.notes.is_empty(), "{} {}", built.log, built.notes);

    // Killed while it is restored, again and again, at other moments.
    let b = Machine::new(&name, Level::Protected, &team, store(shared.path()), Some(&address)).await;
    b.write("more", "x");
    b.write("Dockerfile", fs_err::read(a.root.path().join("Dockerfile")).expect("read"));
    for milliseconds in [0, 150, 400] {
        let (failed, ()) = tokio::join!(b.try_build(), async {
            b.heard("restoring the build mount").await;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            engine.kill();
        });
        assert!(failed.0.is_err(), "there is no engine");
        engine.restart();
    }
    let built = b.build().await;
    let bad = built.log.contains("FAILED") || built.log.contains("get it");
    assert!(built.log.contains("have it") && !bad && built.log.contains("200: OK"), "{} {}", built.log, built.notes);
    assert_eq!((built.image.how, built.notes.as_str()), (ImageSource::Built, ""));
}

/// A directory store on a disk that is full: whenever something is asked of it, all room is made that can be made.
#[derive(Debug)]
struct Crowded {
    store: LocalStore,
    gone: std::sync::atomic::AtomicUsize,
}

impl Crowded {
    async fn make_room(&self) -> Result<(), StoreError> {
        let collected = self.store.collect(Limit::of(1), Sweep::Delete).await?;
        // Nothing where somebody else is about it.
        let gone = collected.map_or(0, |collected| collected.gone.len());
        self.gone.fetch_add(gone, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl Store for Crowded {
    fn name(&self) -> &str {
        self.store.name()
    }
    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        self.make_room().await?;
        self.store.has(digests).await
    }
    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.make_room().await?;
        self.store.get(digest).await
    }
    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        self.make_room().await?;
        self.store.get_to(digest, file, most).await
    }
    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        self.make_room().await?;
        self.store.put(digest, bytes).await
    }
    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        self.make_room().await?;
        self.store.put_file(file).await
    }
    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.store.entry(key).await
    }
    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        self.make_room().await?;
        self.store.put_entry(key, record).await
    }
    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.store.remove(digest).await
    }
    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        self.store.remove_record(key).await
    }
    async fn flush(&self) -> Result<(), StoreError> {
        self.store.flush().await
    }
    fn counters(&self) -> &Counters {
        self.store.counters()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_room_of_what_a_run_saves_or_restores() {
    let (team, shared, name) = (Team::default(), folder(), unique("crowded"));
    let unused = Bytes::from_static(b"nobody uses this");
    // Two packs, and two files that have blobs of their own, one of which goes over the disk.
    let large = "sleep 1; for n in $(seq 20); do head -c 500000 /dev/urandom > /cache/$n; done; head -c 2000000 /dev/urandom > /cache/large; \
                 head -c 40000000 /dev/urandom > /cache/huge";
    let text = format!(
        "FROM {BASE}\nRUN --mount=type=cache,target=/cache if [ -f /cache/huge ]; then echo have it; else echo get it; {large}; fi; ls /cache | wc -l\n"
    );
    for word in ["get", "have"] {
        let store = LocalStore::open(shared.path(), Access::ReadWrite).expect("a store");
        let lease = store.lease(&RunId("RUN".into())).await.expect("a lease");
        store.put(Digest::of(&unused), unused.clone()).await.expect("put");
        let store = Arc::new(Crowded { store, gone: std::sync::atomic::AtomicUsize::default() });
        let shown: Arc<dyn Store> = Arc::<Crowded>::clone(&store);
        let machine = Machine::holding(&name, Level::Protected, &team, (shown, Some(Arc::new(lease))), None).await;
        machine.write("Dockerfile", &text);
        let built = machine.build().await;
        assert!(built.log.contains(word) && built.notes.is_empty(), "{} {}", built.log, built.notes);
        assert!(store.gone.load(std::sync::atomic::Ordering::Relaxed) > 0, "room was made of what nobody holds");
    }
}

/// Another machine's checkout of the same project.
fn checkout(name: &str, shared: &Path, key: &SecretKey) -> (Sandbox, Splitci) {
    let public = key.public().to_pem().expect("PEM");
    let suite = "[suite]\nframework = \"generic\"\ncommand = \"sh tool.sh {units}\"\nfiles = [\"test/*.t\"]\nresults = \"tap\"\n";
    let config = format!("[project]\nname = \"{name}\"\n\n{suite}\n[trust]\nprotected = [\"\"\"{public}\"\"\"]\n");
    let tool = "#!/bin/sh\nprintf 'TAP version 13\\n1..1\\n'; . \"$1\"\n";
    let dockerfile = format!("{}COPY . /app\nWORKDIR /app\n", gathering("one two"));
    let sandbox = Sandbox::empty().file("Dockerfile", &dockerfile).file("tool.sh", tool).file("splitci.toml", &config);
    let sandbox = sandbox.file("test/a.t", "echo ok 1 - $(cat /count)\n").file(".dockerignore", ".git\n");
    sandbox.write(".git/config", "[remote \"origin\"]\n\turl = https://git.example/shop/web\n");
    let run = sandbox.splitci("run --engine docker --shards 1").env("SPLITCI_CACHE_DIR", shared);
    let run = run.env("SPLITCI_KEY", &**key.to_pem(None).expect("PEM"));
    (sandbox, run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_carries_the_mounts_of_its_build() {
    splitci_tests::engine::require();
    let (shared, name, key) = (folder(), unique("run"), SecretKey::generate().expect("a key"));
    let (one, run) = checkout(&name, shared.path(), &key);
    let worth = |machine: &Sandbox| {
        let told = machine.splitci("cache stats --json").env("SPLITCI_CACHE_DIR", shared.path()).run();
        let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
        told.pointer("/used/layers/mounts").cloned().unwrap_or_else(|| panic!("no mounts: {told}"))
    };
    let done = run.run();
    done.expect_exit(0);
    assert!(!format!("{done}").contains("build mount"), "{done}");
    let first = worth(&one);
    assert!(first["reused"] == 0 && first["saved_ms"] == 0 && first["cost_ms"].as_u64() > Some(0), "{first}");
    // A source of its own makes another image of it.
    let (two, run) = checkout(&name, shared.path(), &key);
    two.write("source", "another");
    let began = std::time::Instant::now();
    let done = run.run();
    done.expect_exit(0);
    let restored = format!("{done}").contains("restoring the build mount /cache, 600000 bytes");
    assert!(restored, "{:?} {done}", began.elapsed());
    // Each of the two took a second to get.
    let both = worth(&two);
    let more = |name: &str| both[name].as_u64() > first[name].as_u64();
    assert!(both["reused"] == 1 && both["saved_ms"].as_u64() > Some(1_000) && more("cost_ms"), "{both}");
    for image in docker_says(&format!("images -q splitci/{name}")).lines() {
        docker(&format!("rmi -f {image}"));
    }
}
