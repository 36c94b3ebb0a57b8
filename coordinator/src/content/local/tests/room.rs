//! How room is made: by use, by leases, one at a time, and in nobody's way; and what wrong clocks do to that.

use bytes::Bytes;

use super::*;
use crate::content::contract::key;
use crate::content::local::{Kept, Limit, Sweep};
use crate::content::{Record, Store};
use crate::model::RunId;

#[tokio::test]
async fn what_is_used_is_noted_once_an_hour_whatever_the_clock_said() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let digest = put(&store, 1, 5000).await;
    store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
    let (blob, record) = (store.files.blob(digest), store.files.record(&key("local", 1)));
    let now = SystemTime::now();
    for (then, noted) in [(now - 30 * HOUR / 60, false), (now - 25 * HOUR, true), (now + 25 * HOUR, true)] {
        for look in 0..3 {
            for path in [&blob, &record] {
                set_used(path, then);
            }
            match look {
                0 => assert!(store.get(digest).await.unwrap().is_some()),
                1 => assert_eq!(store.has(&[digest]).await.unwrap(), [true]),
                _ => assert!(store.record(&key("local", 1)).await.unwrap().is_some()),
            }
            let path = if look == 2 { &record } else { &blob };
            assert_eq!(used(path) != then, noted, "{look} at {then:?}");
            assert!(used(path) == then || used(path) >= now - HOUR / 60);
        }
    }
}

#[tokio::test]
async fn a_record_that_is_held_holds_what_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let lease = store.lease(&RunId("RUN".into())).await.unwrap();
    let [held, loose] = [put(&store, 1, 100_000).await, put(&store, 2, 100_000).await];
    for (number, blob) in [(1, held), (2, loose)] {
        let record = Record { payload: Bytes::from_static(b"record"), blobs: vec![blob] };
        store.put_entry(&key("local", number), record).await.unwrap();
    }
    lease.add(&[Digest::from_bytes(key("local", 1).key)]).unwrap();
    store.collect(Limit::of(1), Sweep::Delete).await.unwrap().unwrap();
    assert_eq!(store.has(&[held, loose]).await.unwrap(), [true, false]);
    assert!(store.entry(&key("local", 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn room_is_made_of_what_was_not_used_and_is_not_leased() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let mut digests = Vec::new();
    for seed in 0..10_u32 {
        let digest = put(&store, seed.into(), 100_000).await;
        set_used(&store.files.blob(digest), SystemTime::now() - (20 - seed) * HOUR);
        digests.push(digest);
    }
    let lease = store.lease(&RunId("RUN".into())).await.unwrap();
    lease.add(&digests[..1]).unwrap();
    assert!(store.get(digests[1]).await.unwrap().is_some());
    let record = Record { payload: Bytes::from_static(b"record"), blobs: vec![digests[2]] };
    store.put_entry(&key("local", 1), record).await.unwrap();
    let limit = Limit::of(600_000);
    let before = snapshot(directory.path());
    let told = store.collect(limit, Sweep::DryRun).await.unwrap().unwrap();
    assert!(snapshot(directory.path()) == before, "a dry run changed something");
    let done = store.collect(limit, Sweep::Delete).await.unwrap().unwrap();
    assert_eq!((&told.gone, told.freed, &told.levels), (&done.gone, done.freed, &done.levels));
    assert_eq!((done.entries, done.bytes, done.freed), (11, 10 * 102_400 + 4096, 5 * 102_400));
    // The first is leased, the second was used, and the third is of a level that has less than its share.
    assert_eq!(store.has(&digests).await.unwrap(), [true, true, true, false, false, false, false, false, true, true]);
    assert!(done.coldest.unwrap() >= 19 * HOUR, "{done:?}");
    drop(lease);
    let rest = store.collect(Limit { bytes: 0, ..limit }, Sweep::Delete).await.unwrap().unwrap();
    assert!(matches!(&rest.gone[0], (entry, _) if matches!(entry.what, Kept::Record { .. })), "{rest:?}");
    assert_eq!((rest.gone.len(), rest.coldest), (6, None));
    assert_eq!(store.entries().await.unwrap(), []);
}

#[tokio::test]
async fn one_makes_room_at_a_time_and_cleans_up_after_the_dead_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    put(&store, 1, 100).await;
    let own: Vec<_> = fs::read_dir(store.path().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let dead = [store.path().join("tmp/DEAD/1"), store.path().join("leases/DEAD"), store.path().join("trash/DEAD")];
    fs::create_dir_all(store.path().join("tmp/DEAD")).unwrap();
    for path in &dead {
        fs::write(path, "left").unwrap();
    }
    let lock = fs::OpenOptions::new().create(true).append(true).open(store.path().join("gc.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(store.collect(Limit::of(0), Sweep::Delete).await.unwrap(), None);
    drop(lock);
    let lease = store.lease(&RunId("RUN".into())).await.unwrap();
    store.collect(Limit::of(1 << 30), Sweep::Delete).await.unwrap().unwrap();
    assert_eq!(dead.map(|path| path.exists()), [false; 3]);
    assert_eq!(fs::read_dir(store.path().join("leases")).unwrap().count(), 1);
    assert!(own.len() == 1 && own[0].exists(), "the living one's directory was deleted");
    drop(lease);
    assert_eq!(fs::read_dir(store.path().join("leases")).unwrap().count(), 0);
    put(&store, 2, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_writers_do_not_mind_who_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let collector = store(directory.path());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    let mut users = tokio::task::JoinSet::new();
    for user in 0..4 {
        let store = store(directory.path());
        users.spawn(async move {
            let (mut hits, mut misses) = (0, 0);
            let lease = store.lease(&RunId(format!("RUN{user}"))).await.unwrap();
            for round in 0_u64.. {
                let bytes = noise(round % 7, 300_000 + 1000 * usize::try_from(round % 7).unwrap());
                let digest = Digest::of(&bytes);
                store.put(digest, bytes.clone()).await.unwrap();
                match store.get(digest).await.unwrap() {
                    Some(found) => assert!(found == bytes),
                    None => misses += 1,
                }
                lease.add(&[Digest::of(&[user])]).unwrap();
                let own = Bytes::from(vec![user]);
                store.put(Digest::of(&own), own.clone()).await.unwrap();
                // It is leased, so that it is there once it was seen.
                if store.has(&[Digest::of(&own)]).await.unwrap()[0] {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    hits += usize::from(store.get(Digest::of(&own)).await.unwrap().is_some());
                }
                if tokio::time::Instant::now() > deadline {
                    break;
                }
            }
            assert_eq!(store.stats().blobs.damaged, 0);
            (hits, misses)
        });
    }
    let mut gone = 0;
    while tokio::time::Instant::now() < deadline {
        let collected = collector.collect(Limit { bytes: 400_000, grace: Duration::ZERO }, Sweep::Delete).await.unwrap();
        gone += collected.map_or(0, |collected| collected.gone.len());
    }
    let counted = users.join_all().await;
    assert!(gone > 10 && counted.iter().all(|(hits, _)| *hits > 10), "nothing was tried: {gone} gone, {counted:?}");
}
