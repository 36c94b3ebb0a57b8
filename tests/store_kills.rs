//! `kill -9` in every phase of a store's writes: whatever has a name afterwards is whole, and nothing is left behind for ever.
//!
//! `SPLITCI_KILLS=10000` kills that often, for a soak run by hand; a failure names the seed.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use splitci_coordinator::content::local::{Kept, Sweep};
use splitci_coordinator::content::{Access, Limit, LocalStore, RecordKey, Store};
use splitci_tests::schedules::dice::Dice;

const KILLS: u64 = 300;

/// A writer that is at it.
fn writer(directory: &Path, seed: u64) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_store_writer"));
    let mut child = command.arg(directory).arg(seed.to_string()).stdout(Stdio::piped()).spawn().expect("start the writer");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("stdout is piped")).read_line(&mut line).expect("its first line");
    assert_eq!(line, "writing\n", "seed {seed}");
    child
}

/// Everything that has a name is whole: blobs are their digests, records are theirs and have their blobs.
async fn look(directory: &Path, seed: u64) -> usize {
    let store = LocalStore::open(directory, Access::ReadWrite).expect("open");
    let entries = store.entries().await.expect("list");
    for entry in &entries {
        match &entry.what {
            Kept::Blob(digest) => assert!(store.get(*digest).await.expect("get").is_some(), "seed {seed}: {digest} is torn"),
            Kept::Record { key, .. } => {
                let space = entry.what.space().expect("a record has one");
                let key = RecordKey { layer: "image", space, key: *key.as_bytes() };
                assert!(store.record(&key).await.expect("read").is_some(), "seed {seed}: {key:?} is torn, or has lost its blobs");
            }
        }
    }
    entries.len()
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_write_tears_nothing() {
    let kills = std::env::var_os("SPLITCI_KILLS").map_or(KILLS, |kills| kills.to_string_lossy().parse().expect("a number"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    let first = now.as_secs();
    let directory = tempfile::tempdir().expect("a directory");
    let store = directory.path().join("store");
    let mut seen = 0;
    for seed in (first..).step_by(2).take(usize::try_from(kills.div_ceil(2)).expect("a number")) {
        let mut dice = Dice::new(seed);
        let mut writers = [writer(directory.path(), seed), writer(directory.path(), seed + 1)];
        for writer in &mut writers {
            std::thread::sleep(Duration::from_micros(dice.below(15_000).into()));
            writer.kill().expect("kill");
            writer.wait().expect("wait");
        }
        seen += look(&store, seed).await;
    }
    assert!(seen > 1000, "the writers wrote next to nothing");
    let last = LocalStore::open(&store, Access::ReadWrite).expect("open");
    last.collect(Limit::of(0), Sweep::Delete).await.expect("collect").expect("nobody else is there");
    let left = |part: &str| fs_err::read_dir(last.path().join(part)).expect("list").count();
    assert_eq!(["tmp", "leases", "trash"].map(left), [0; 3], "left behind by the dead");
    let limit = Limit { grace: Duration::ZERO, ..Limit::of(0) };
    last.collect(limit, Sweep::Delete).await.expect("collect").expect("nobody else is there");
    assert_eq!(last.entries().await.expect("list"), []);
}
