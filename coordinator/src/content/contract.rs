//! What every store keeps to, as one suite: run over each of them, and over the chain of them.
//!
//! A store under test comes with its vandal, who changes what is kept behind its back. Whatever he does, a store gives back what was put, or nothing.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Digest, MOST_OF_A_RECORD, Record, RecordKey, Store, StoreError};

/// Changes kept bytes; nothing means that they are gone.
pub(super) type Change<'a> = &'a (dyn Fn(Vec<u8>) -> Option<Vec<u8>> + Sync);

/// Reaches what a store keeps, past the store.
#[async_trait]
pub(super) trait Vandal: Sync {
    /// Changes a blob as it is kept.
    async fn change_blob(&self, digest: Digest, change: Change<'_>);

    /// Changes a record as it is kept.
    async fn change_record(&self, key: &RecordKey, change: Change<'_>);
}

/// The whole contract.
pub(super) async fn check(store: &dyn Store, vandal: &dyn Vandal) {
    check_answers(store).await;
    damaged_blobs_are_gone(store, vandal).await;
    damaged_records_are_gone(store, vandal).await;
    other_versions_are_left_alone(store, vandal).await;
}

/// As much of it as can be checked from outside.
pub(super) async fn check_answers(store: &dyn Store) {
    blobs_come_back(store).await;
    files_come_back(store).await;
    records_come_back(store).await;
    spaces_are_apart(store).await;
    records_need_their_blobs(store).await;
    limits_are_kept(store).await;
    writers_of_one_record_do_not_mix(store).await;
    store.flush().await.unwrap();
}

/// Bytes that hardly compress, another sequence for each seed.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub(super) fn key(space: &str, number: u8) -> RecordKey {
    RecordKey { layer: "image", space: space.to_owned(), key: [number; 32] }
}

async fn put(store: &dyn Store, seed: u64, length: usize) -> (Digest, Bytes) {
    let bytes = noise(seed, length);
    let digest = Digest::of(&bytes);
    store.put(digest, bytes.clone()).await.unwrap();
    (digest, bytes)
}

async fn blobs_come_back(store: &dyn Store) {
    let before = store.stats();
    for (seed, length) in [(1, 0), (2, 1), (3, 4096), (4, (1 << 20) - 1), (5, 1 << 20), (6, (3 << 20) + 77)] {
        let bytes = noise(seed, length);
        let digest = Digest::of(&bytes);
        assert_eq!(store.has(&[digest]).await.unwrap(), [false], "{length} bytes");
        assert_eq!(store.get(digest).await.unwrap(), None, "{length} bytes");
        for _twice in 0..2 {
            store.put(digest, bytes.clone()).await.unwrap();
        }
        assert_eq!(store.has(&[digest, Digest::of(b"nobody's"), digest]).await.unwrap(), [true, false, true]);
        assert!(store.get(digest).await.unwrap().unwrap() == bytes, "{length} bytes");
    }
    let after = store.stats();
    assert_eq!((after.blobs.hits - before.blobs.hits, after.blobs.absent - before.blobs.absent), (6, 6));
    let (digest, _) = put(store, 7, 100).await;
    for _twice in 0..2 {
        store.remove(digest).await.unwrap();
        assert_eq!(store.get(digest).await.unwrap(), None);
    }
    let refused = store.put(digest, Bytes::from_static(b"something else")).await;
    assert!(matches!(refused, Err(StoreError::NotTheDigest { .. })), "{refused:?}");
    assert_eq!(store.has(&[digest]).await.unwrap(), [false]);
    assert_eq!(store.has(&[]).await.unwrap(), [false; 0]);
}

async fn files_come_back(store: &dyn Store) {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    for (seed, length) in [(20, 7), (21, 5000), (22, (2 << 20) + 5)] {
        let bytes = noise(seed, length);
        fs_err::write(&from, &bytes).unwrap();
        fs_err::write(&to, "what was there").unwrap();
        let absent = store.get_to(Digest::of(&bytes), &to, 4 << 20).await.unwrap();
        assert!(!absent && fs_err::read(&to).unwrap() == b"what was there");
        let digest = store.put_file(&from).await.unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert!(store.get_to(digest, &to, 4 << 20).await.unwrap());
        assert!(fs_err::read(&to).unwrap() == bytes, "{length} bytes");
        assert!(store.get(digest).await.unwrap().unwrap() == bytes, "{length} bytes");
    }
    let large = Digest::of(&noise(22, (2 << 20) + 5));
    fs_err::remove_file(&to).unwrap();
    let refused = store.get_to(large, &to, 2 << 20).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    assert_eq!(names(directory.path()), ["from"], "something was left");
    assert!(matches!(store.put_file(&directory.path().join("missing")).await, Err(StoreError::Files(_))));
}

fn names(directory: &Path) -> Vec<String> {
    fs_err::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn records_come_back(store: &dyn Store) {
    let key = key("local", 1);
    assert_eq!(store.record(&key).await.unwrap(), None);
    for payload in [&b"first"[..], b"", b"third"] {
        store.put_record(&key, Bytes::from_static(payload)).await.unwrap();
        assert_eq!(store.record(&key).await.unwrap().as_deref(), Some(payload));
    }
    for _twice in 0..2 {
        store.remove_record(&key).await.unwrap();
        assert_eq!(store.record(&key).await.unwrap(), None);
    }
    let lookups = store.stats().records["image"];
    assert_eq!((lookups.hits, lookups.absent), (3, 3), "{lookups:?}");
}

async fn spaces_are_apart(store: &dyn Store) {
    let spaces =
        ["protected", "pull/../protected", "pull/1", "pull%2f1", "pull:1", "", "..", "*", "é/ü", &"x/".repeat(300), &"x/".repeat(301)];
    let mut keys: Vec<_> = spaces.iter().map(|space| key(space, 2)).collect();
    keys.push(RecordKey { layer: "suite", ..key("protected", 2) });
    keys.push(key("protected", 3));
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(store.record(key).await.unwrap(), None, "{key:?}");
        store.put_record(key, number.to_string().into()).await.unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(store.record(key).await.unwrap(), Some(number.to_string().into()), "{key:?}");
    }
}

async fn records_need_their_blobs(store: &dyn Store) {
    let key = RecordKey { layer: "mounts", ..key("local", 4) };
    let (one, two) = (put(store, 30, 10).await.0, put(store, 31, 2000).await.0);
    let record = Record { payload: Bytes::from_static(b"two blobs"), blobs: vec![one, two] };
    store.put_entry(&key, record.clone()).await.unwrap();
    assert_eq!(store.record(&key).await.unwrap().unwrap(), record.payload);
    store.remove(two).await.unwrap();
    assert_eq!(store.record(&key).await.unwrap(), None);
    let lookups = store.stats().records["mounts"];
    assert_eq!((lookups.hits, lookups.without_blobs, lookups.misses()), (1, 1, 1), "{lookups:?}");
    put(store, 31, 2000).await;
    assert_eq!(store.entry(&key).await.unwrap(), Some(record));
}

async fn limits_are_kept(store: &dyn Store) {
    let key = key("local", 5);
    let full = noise(40, MOST_OF_A_RECORD);
    store.put_record(&key, full.clone()).await.unwrap();
    assert!(store.record(&key).await.unwrap() == Some(full));
    let refused = store.put_record(&key, noise(40, MOST_OF_A_RECORD + 1)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
}

/// Short and long ones in turn, so that a mixture would not be whole.
async fn writers_of_one_record_do_not_mix(store: &dyn Store) {
    let key = key("local", 6);
    let payloads = [noise(50, 900_000), noise(51, 5), noise(52, 700_000)];
    store.put_record(&key, payloads[0].clone()).await.unwrap();
    let write = |payload: Bytes| {
        let key = &key;
        async move {
            for _ in 0..10 {
                // A server may be too busy for that, and say so.
                let told = store.put_record(key, payload.clone()).await;
                assert!(matches!(told, Ok(()) | Err(StoreError::Remote { .. })), "{told:?}");
            }
        }
    };
    let read = async {
        for _ in 0..20 {
            match store.record(&key).await {
                Err(StoreError::Remote { .. }) => {}
                found => assert!(payloads.contains(&found.unwrap().expect("one of them is always there")), "a mixture"),
            }
        }
    };
    futures_util::future::join4(write(payloads[0].clone()), write(payloads[1].clone()), write(payloads[2].clone()), read).await;
}

type Damage = Box<dyn Fn(Vec<u8>) -> Option<Vec<u8>> + Sync>;

/// What disks, networks and people do to bytes.
fn damages(other: Vec<u8>) -> Vec<(String, Damage)> {
    let mut damages: Vec<(String, Damage)> = vec![
        ("gone".into(), Box::new(|_| None)),
        ("empty".into(), Box::new(|_| Some(Vec::new()))),
        ("zeroed".into(), Box::new(|bytes| Some(vec![0; bytes.len()]))),
        ("swapped".into(), Box::new(move |_| Some(other.clone()))),
        ("longer".into(), Box::new(|bytes| Some([bytes, vec![0; 5]].concat()))),
    ];
    for length in (0..40).map(|pages| pages * 4096) {
        // A copy that is shorter anyway is cut by a byte.
        let cut = move |mut bytes: Vec<u8>| {
            bytes.truncate(length.min(bytes.len().saturating_sub(1)));
            Some(bytes)
        };
        damages.push((format!("truncated to {length}"), Box::new(cut)));
    }
    for part in 0..16 {
        let flip = move |mut bytes: Vec<u8>| {
            let at = bytes.len() * part / 16 + usize::from(part == 0) * 12;
            *bytes.get_mut(at)? ^= 1 << (part % 8);
            Some(bytes)
        };
        damages.push((format!("a bit flipped after {part}/16"), Box::new(flip)));
    }
    damages
}

async fn damaged_blobs_are_gone(store: &dyn Store, vandal: &dyn Vandal) {
    let (digest, bytes) = put(store, 60, 150_000).await;
    let other = std::sync::Mutex::new(Vec::new());
    let (another, _) = put(store, 61, 150_000).await;
    let keep = |kept: Vec<u8>| {
        other.lock().unwrap().clone_from(&kept);
        Some(kept)
    };
    vandal.change_blob(another, &keep).await;
    let other = other.into_inner().unwrap();
    for (what, damage) in damages(other) {
        vandal.change_blob(digest, &*damage).await;
        let damaged = store.stats().blobs.damaged;
        assert_eq!(store.get(digest).await.unwrap(), None, "{what}");
        assert_eq!(store.has(&[digest]).await.unwrap(), [false], "{what}: it was left");
        assert_eq!(store.stats().blobs.damaged - damaged, u64::from(what != "gone"), "{what}");
        store.put(digest, bytes.clone()).await.unwrap();
        assert!(store.get(digest).await.unwrap().unwrap() == bytes, "{what}: it was not made again");
    }
}

async fn damaged_records_are_gone(store: &dyn Store, vandal: &dyn Vandal) {
    let (key, another) = (RecordKey { layer: "results", ..key("local", 7) }, RecordKey { layer: "results", ..key("local", 8) });
    let payload = noise(70, 150_000);
    let other = std::sync::Mutex::new(Vec::new());
    store.put_record(&another, noise(71, 150_000)).await.unwrap();
    let keep = |kept: Vec<u8>| {
        other.lock().unwrap().clone_from(&kept);
        Some(kept)
    };
    vandal.change_record(&another, &keep).await;
    store.put_record(&key, payload.clone()).await.unwrap();
    let other = other.into_inner().unwrap();
    for (what, damage) in damages(other) {
        vandal.change_record(&key, &*damage).await;
        let damaged = store.stats().records.get("results").map_or(0, |lookups| lookups.damaged);
        assert_eq!(store.record(&key).await.unwrap(), None, "{what}");
        assert_eq!(store.stats().records["results"].damaged - damaged, u64::from(what != "gone"), "{what}");
        store.put_record(&key, payload.clone()).await.unwrap();
        assert!(store.record(&key).await.unwrap() == Some(payload.clone()), "{what}: it was not made again");
    }
}

async fn other_versions_are_left_alone(store: &dyn Store, vandal: &dyn Vandal) {
    let key = RecordKey { layer: "future", ..key("local", 9) };
    store.put_record(&key, Bytes::from_static(b"ours")).await.unwrap();
    let newer = |_| Some(b"splitrec\x02\x00 and whatever comes".to_vec());
    vandal.change_record(&key, &newer).await;
    for _twice in 0..2 {
        assert_eq!(store.record(&key).await.unwrap(), None);
    }
    let seen = std::sync::Mutex::new(Vec::new());
    let look = |kept: Vec<u8>| {
        seen.lock().unwrap().clone_from(&kept);
        Some(kept)
    };
    vandal.change_record(&key, &look).await;
    assert!(seen.lock().unwrap().starts_with(b"splitrec\x02"), "another version's record was deleted");
    assert_eq!(store.stats().records["future"].other_version, 2);
    store.put_record(&key, Bytes::from_static(b"ours again")).await.unwrap();
    assert_eq!(store.record(&key).await.unwrap().as_deref(), Some(&b"ours again"[..]));
}
