//! The content store: a gibibyte put into the local store and got out of it again, beside `zstd -1 -T2` piped through `b3sum`; and the results of 10,000
//! files looked up in the one signed pack that holds them, in a directory and in Redis.
//!
//! What is put is text of which zstd makes about a third, as it does of sources. Both sides read a file and write a file, and know its hash at the end. The rival hashes what it
//! writes when it puts, a third of what we hash, and all of what comes out when it gets. b3sum is `cargo install b3sum`'s or Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use splitci_coordinator::content::{Access, Digest, LocalStore, RedisSettings, RedisStore, Store};
use splitci_coordinator::model::event::ProvenTest;
use splitci_coordinator::model::{Outcome, RunId, SuiteId};
use splitci_coordinator::reuse::key::Key;
use splitci_coordinator::reuse::offer::Offer;
use splitci_coordinator::reuse::pack::{Entry, Pack};
use splitci_coordinator::reuse::standing::Standings;
use splitci_coordinator::trust::{Life, Seal, SecretKey, TrustList};
use splitci_coordinator::vault::{Memory, Recall, Vault};
use splitci_tests::redis::Redis;
use tokio::runtime::Runtime;

use crate::framework::Framework;
use crate::measure::{Bar, median, wait_for_idle};
use crate::rivals::Contest;

const BYTES: u64 = 1 << 30;
const ROUNDS: usize = 5;
const FILES: usize = 10_000;
const LOOK_UPS: usize = 21;
/// When results were kept, in milliseconds since 1970.
const THEN: u64 = 1_764_000_000_000;
const MEBIBYTE: f64 = (1 << 20) as f64;

/// Prints the tables; returns their bars.
pub(crate) fn measure(_contest: &Contest, rounds: Option<usize>) -> Vec<Bar> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut bars = throughput(&runtime, rounds.unwrap_or(ROUNDS));
    bars.extend(look_ups(&runtime));
    bars
}

/// Text that looks like sources: few words, never in the same order.
fn grow(file: &Path) {
    const WORDS: [&str; 16] = [
        "self",
        "return",
        "result",
        "    ",
        "if value is None:",
        "(",
        ")",
        "import",
        "test_",
        "assert",
        " = ",
        "\n",
        "def ",
        "lambda: ",
        "name",
        ", ",
    ];
    let mut state = 88_172_645_463_325_252_u64;
    let mut text = Vec::with_capacity(usize::try_from(BYTES).expect("64 bits"));
    while (text.len() as u64) < BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend_from_slice(WORDS[usize::try_from(state >> 60).expect("four bits")].as_bytes());
        if state.is_multiple_of(7) {
            text.extend_from_slice(format!("{:x}", state & 0xff_ffff).as_bytes());
        }
    }
    text.truncate(usize::try_from(BYTES).expect("64 bits"));
    fs_err::write(file, text).expect("written");
}

/// Seconds that a script takes.
fn theirs(directory: &Path, script: &str) -> f64 {
    wait_for_idle();
    let started = Instant::now();
    let output = Command::new("bash").args(["-o", "pipefail", "-c", script]).current_dir(directory).output().expect("start bash");
    assert!(output.status.success(), "zstd and b3sum must be in the path: {}", String::from_utf8_lossy(&output.stderr));
    started.elapsed().as_secs_f64()
}

/// Seconds to put a file into a store that has nothing, and to get it out again.
fn ours(runtime: &Runtime, directory: &Path) -> (f64, f64) {
    let root = directory.join("store");
    let copy: PathBuf = directory.join("ours");
    let store = LocalStore::open(&root, Access::ReadWrite).expect("a store");
    wait_for_idle();
    let started = Instant::now();
    let digest = runtime.block_on(store.put_file(&directory.join("text"))).expect("put");
    let put = started.elapsed().as_secs_f64();
    wait_for_idle();
    let started = Instant::now();
    assert!(runtime.block_on(store.get_to(digest, &copy, BYTES)).expect("got"), "it is there");
    let got = started.elapsed().as_secs_f64();
    assert_eq!(fs_err::metadata(&copy).expect("there").len(), BYTES);
    for left in [&root, &copy] {
        if left.is_dir() { fs_err::remove_dir_all(left).expect("removed") } else { fs_err::remove_file(left).expect("removed") }
    }
    (put, got)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a file")]
fn throughput(runtime: &Runtime, rounds: usize) -> Vec<Bar> {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    grow(&directory.join("text"));
    let mut took: [Vec<f64>; 4] = Default::default();
    for round in 0..=rounds {
        let (put, got) = ours(runtime, directory);
        let rows = [
            put,
            theirs(directory, "zstd -q -1 -T2 -c text | tee text.zst | b3sum"),
            got,
            theirs(directory, "zstd -q -d -c text.zst | tee theirs | b3sum; rm theirs"),
        ];
        // The first round warms the page cache.
        for (row, seconds) in took.iter_mut().zip(rows).filter(|_| round > 0) {
            row.push(BYTES as f64 / MEBIBYTE / seconds);
        }
    }
    let medians = took.map(median);
    println!("\n## One GiB of text through the local store, {rounds} rounds\n\n| what | MiB a second |\n|---|---|");
    for (what, median) in ["splitci, put", "`zstd -1 -T2` and b3sum", "splitci, get and verify", "`zstd -d` and b3sum"].iter().zip(&medians)
    {
        println!("| {what} | {median} |");
    }
    vec![
        Bar::at_least("a GiB put: throughput over `zstd -1 -T2` and b3sum", 0.9, medians[0].value / medians[1].value, "x"),
        Bar::at_least("a GiB got and verified: throughput over `zstd -d` and b3sum", 0.9, medians[2].value / medians[3].value, "x"),
    ]
}

fn look_ups(runtime: &Runtime) -> Vec<Bar> {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(&[]);
    let local = LocalStore::open(folder.path(), Access::ReadWrite).expect("a store");
    let remote = RedisStore::new(RedisSettings::new(&redis.url(""), "local")).expect("a store");
    let stores: [(&str, Arc<dyn Store>, f64); 2] = [("a directory", Arc::new(local), 50.0), ("Redis", Arc::new(remote), 250.0)];
    println!("\n## Results of {FILES} files in one signed pack, {LOOK_UPS} rounds\n\n| where | ms |\n|---|---|");
    let mut bars = Vec::new();
    for (what, store, limit) in stores {
        let vault = Vault::new(store, Seal::new(SecretKey::generate().expect("a key"), TrustList::default(), None), &[]);
        let names: Vec<String> = (0..FILES).map(|file| Framework::Pytest.path(file)).collect();
        runtime.block_on(keep(&vault, &names));
        wait_for_idle();
        let took = median((0..LOOK_UPS).map(|_| look_up(runtime, &vault, &names)));
        println!("| {what} | {took} |");
        bars.push(Bar::at_most(&format!("{FILES} results looked up in {what}"), limit, took.value, "ms"));
    }
    bars
}

const KEY: Key = Key([1; 32]);

/// Keeps a result of each file, as a run does: a blob, and a record that names it.
async fn keep(vault: &Vault, names: &[String]) {
    let test = |name: &str| ProvenTest { id: format!("{name}::test_one"), outcome: Outcome::Passed, micros: 1_000 };
    let entry = |name: &str| Entry::of(&RunId("01J".to_owned()), "2025-11-24T16:00:00Z", THEN, &[test(name)]).expect("an entry");
    let pack = Pack { files: names.iter().map(|name| (name.clone(), entry(name))).collect(), ..Pack::default() };
    let bytes = pack.write(KEY);
    let digest = Digest::of(&bytes);
    vault.store().put(digest, bytes.into()).await.expect("put");
    let life = Life { written_at: THEN, keep: Duration::from_hours(24) };
    let memory = Memory { payload: digest.as_bytes().to_vec().into(), blobs: vec![digest], life };
    vault.remember("results", KEY.0, memory).await.expect("remembered");
}

/// Milliseconds until it is known of each file whether it is reused.
fn look_up(runtime: &Runtime, vault: &Vault, names: &[String]) -> f64 {
    let mut standings = Standings::default();
    for name in names {
        standings.passed(name, Some(KEY));
    }
    let suites = [names.to_vec()];
    let began = Instant::now();
    let bytes = runtime.block_on(async {
        let Recall::Found(opened) = vault.recall("results", KEY.0, THEN).await else { panic!("it is there") };
        let digest = Digest::from_bytes((*opened.payload).try_into().expect("a digest"));
        vault.store().get(digest).await.expect("got").expect("it is there")
    });
    let pack = Pack::read(&bytes, KEY).expect("a pack");
    let mut offer = Offer::default();
    offer.add(SuiteId(0), (&pack, KEY), (&standings, THEN), |_| true);
    let choice = offer.choose(&suites, &RunId("01K".to_owned()), 0);
    let took = began.elapsed().as_secs_f64() * 1e3;
    assert_eq!(choice.reused.len(), FILES);
    took
}
