//! What happens to a directory: lost power, full and foreign disks, and neighbours who put there what they like.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::content::contract::{self, key};
use crate::content::local::{Kept, Limit, Repair, Sweep};
use crate::content::{Record, Store, StoreError};
use crate::model::RunId;

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    contract::check(&store, &store).await;
    assert_eq!(fs::read_dir(store.path().join("trash")).unwrap().count(), 0, "what was damaged is not deleted");
    let unfinished =
        walkdir::WalkDir::new(store.path().join("tmp")).into_iter().filter(|entry| entry.as_ref().unwrap().file_type().is_file());
    assert_eq!(unfinished.count(), 0);
}

#[tokio::test]
async fn several_processes_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (store(directory.path()), store(directory.path()));
    let digest = put(&one, 1, 5000).await;
    assert!(other.get(digest).await.unwrap().is_some());
    other.remove(digest).await.unwrap();
    assert!(one.get(digest).await.unwrap().is_none());
    drop(one);
    put(&other, 2, 10).await;
}

#[tokio::test]
async fn who_may_only_read_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (whole, damaged, key) = {
        let store = store(directory.path());
        store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
        (put(&store, 1, 5000).await, put(&store, 2, 5000).await, key("local", 1))
    };
    let reader = LocalStore::open(directory.path(), Access::ReadOnly).unwrap();
    reader.change_blob(damaged, &|bytes| Some(bytes[1..].to_vec())).await;
    for path in [reader.files.blob(whole), reader.files.record(&key)] {
        set_used(&path, SystemTime::now() - 2 * HOUR);
    }
    let before = snapshot(directory.path());
    assert!(reader.get(whole).await.unwrap().is_some());
    assert_eq!(reader.get(damaged).await.unwrap(), None);
    assert!(reader.record(&key).await.unwrap().is_some());
    put(&reader, 3, 100).await;
    reader.put_record(&key, Bytes::from_static(b"another")).await.unwrap();
    assert_eq!(reader.put_file(&before[1].0.parent().unwrap().join("v1/FORMAT")).await.unwrap(), Digest::of(b"splitci content store 1\n"));
    reader.remove(whole).await.unwrap();
    reader.remove_record(&key).await.unwrap();
    let _lease = reader.lease(&RunId("RUN".into())).await.unwrap();
    let collected = reader.collect(Limit { bytes: 0, grace: HOUR }, Sweep::Delete).await.unwrap().unwrap();
    assert_eq!(collected.gone.len(), 3, "what would go");
    reader.flush().await.unwrap();
    assert!(snapshot(directory.path()) == before, "something was changed");
    assert_eq!(reader.stats().skipped, 5);
    let nowhere = LocalStore::open(&directory.path().join("missing"), Access::ReadOnly).unwrap();
    assert_eq!((nowhere.get(whole).await.unwrap(), nowhere.record(&key).await.unwrap()), (None, None));
    assert!(!directory.path().join("missing").exists());
}

#[tokio::test]
async fn after_a_loss_of_power_what_was_not_written_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let digest = put(&store, 1, 5000).await;
    let record = Record { payload: Bytes::from_static(b"record"), blobs: vec![digest] };
    store.put_entry(&key("local", 1), record.clone()).await.unwrap();
    // A file system may keep a name whose bytes it lost, and the record's name but not the blob's.
    for lost in [true, false] {
        let blob = store.files.blob(digest);
        fs::remove_file(&blob).unwrap();
        if !lost {
            fs::write(&blob, "").unwrap();
        }
        assert_eq!(store.get(digest).await.unwrap(), None);
        assert_eq!(store.record(&key("local", 1)).await.unwrap(), None);
        put(&store, 1, 5000).await;
        assert_eq!(store.record(&key("local", 1)).await.unwrap(), Some(record.payload.clone()));
    }
    fs::remove_file(store.path().join("FORMAT")).unwrap();
    fs::write(store.path().join("FORMAT"), "").unwrap();
    let again = super::store(directory.path());
    assert_eq!(fs::read_to_string(again.path().join("FORMAT")).unwrap(), "splitci content store 1\n");
    assert!(again.get(digest).await.unwrap().is_some());
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = store(directory.path()).path().to_owned();
    fs::remove_file(root.join("FORMAT")).unwrap();
    fs::write(root.join("FORMAT"), "splitci content store 2\n").unwrap();
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let refused = LocalStore::open(directory.path(), access);
        assert!(matches!(refused, Err(StoreError::OtherFormat { found: 2, .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_no_entry() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let digest = put(&store, 1, 5000).await;
    store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
    let (blob, record) = (store.files.blob(digest), store.files.record(&key("local", 1)));
    for fifo in [false, true] {
        for path in [&blob, &record] {
            fs::remove_file(path).unwrap();
            if fifo {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
            } else {
                fs::create_dir_all(path.join("below")).unwrap();
            }
        }
        assert_eq!(store.get(digest).await.unwrap(), None);
        assert_eq!(store.record(&key("local", 1)).await.unwrap(), None);
        assert!(!blob.exists() && !record.exists());
        put(&store, 1, 5000).await;
        store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
        assert!(store.get(digest).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_store_that_is_emptied_under_its_users_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let digest = put(&store, 1, 5000).await;
    fs::remove_dir_all(store.path()).unwrap();
    assert_eq!(store.get(digest).await.unwrap(), None);
    put(&store, 1, 5000).await;
    assert!(store.get(digest).await.unwrap().is_some());
    assert!(store.collect(Limit::of(1 << 30), Sweep::Delete).await.unwrap().is_some());
}

/// A small disk of its own.
struct Disk(TempDir);

impl Disk {
    fn of(options: &str) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        as_root("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &disk.path().to_string_lossy()]);
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        as_root("umount", &["--lazy", &self.path().to_string_lossy()]);
    }
}

fn as_root(program: &str, arguments: &[&str]) {
    let mut command = if rustix::process::geteuid().is_root() { Command::new(program) } else { Command::new("sudo") };
    if !rustix::process::geteuid().is_root() {
        command.arg(program);
    }
    assert!(command.args(arguments).status().unwrap().success(), "{program} {arguments:?} needs root");
}

#[tokio::test]
async fn on_a_full_disk_the_oldest_make_room() {
    let disk = Disk::of("size=1m,mode=1777");
    let store = store(disk.path());
    let mut digests = Vec::new();
    for seed in 0..30 {
        digests.push(put(&store, seed, 90_000).await);
    }
    let there = store.has(&digests).await.unwrap();
    assert!(!there[0] && there[29], "{there:?}");
    assert_eq!((store.stats().errors, store.stats().skipped), (0, 0));
    assert!(store.get(digests[29]).await.unwrap().is_some());
}

#[tokio::test]
async fn what_does_not_fit_on_the_disk_is_one_error_and_no_more_writes() {
    let disk = Disk::of("size=1m,mode=1777");
    let store = store(disk.path());
    let kept = put(&store, 1, 10_000).await;
    let _lease = store.lease(&RunId("RUN".into())).await.map(|lease| lease.add(&[kept]).map(|()| lease)).unwrap().unwrap();
    let huge = noise(2, 2 << 20);
    let refused = store.put(Digest::of(&huge), huge.clone()).await;
    assert!(matches!(&refused, Err(StoreError::Files(error)) if error.kind() == std::io::ErrorKind::StorageFull), "{refused:?}");
    assert!(refused.unwrap_err().hint().unwrap().contains("make room"));
    store.put(Digest::of(&huge), huge.clone()).await.unwrap();
    store.put_record(&key("local", 1), Bytes::from_static(b"record")).await.unwrap();
    assert_eq!((store.stats().errors, store.stats().skipped), (1, 2));
    assert!(store.get(kept).await.unwrap().is_some());
    assert_eq!(store.has(&[Digest::of(&huge)]).await.unwrap(), [false]);
    assert!(rustix::fs::statvfs(disk.path()).unwrap().f_bavail > 200, "the rest of it takes the room");
    // To where the caller wants it there may be no room, either.
    let large = noise(3, 600_000);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = super::store(elsewhere.path());
    other.put(Digest::of(&large), large.clone()).await.unwrap();
    fs::write(disk.path().join("rest"), vec![1; 700_000]).unwrap();
    let refused = other.get_to(Digest::of(&large), &disk.path().join("target"), 1 << 20).await;
    assert!(matches!(&refused, Err(StoreError::Files(error)) if error.kind() == std::io::ErrorKind::StorageFull), "{refused:?}");
    assert!(other.has(&[Digest::of(&large)]).await.unwrap()[0], "a good blob was thrown away");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 2, "something was left");
}

#[tokio::test]
async fn without_inodes_nothing_is_written_and_all_is_read() {
    let disk = Disk::of("size=10m,nr_inodes=60,mode=1777");
    let store = store(disk.path());
    let lease = store.lease(&RunId("RUN".into())).await.unwrap();
    let mut kept = Vec::new();
    let refused = loop {
        let bytes = noise(kept.len() as u64, 100);
        let digest = Digest::of(&bytes);
        lease.add(&[digest]).unwrap();
        if let Err(refused) = store.put(digest, bytes).await {
            break refused;
        }
        kept.push(digest);
    };
    assert!(matches!(&refused, StoreError::Files(error) if error.kind() == std::io::ErrorKind::StorageFull), "{refused:?}");
    assert!(kept.len() > 10);
    for digest in kept {
        assert!(store.get(digest).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_disk_that_turns_read_only_is_still_read() {
    let disk = Disk::of("size=1m,mode=1777");
    let digest = put(&store(disk.path()), 1, 5000).await;
    let store = store(disk.path());
    as_root("mount", &["-o", "remount,ro", &disk.path().to_string_lossy()]);
    set_aside(&store, digest).await;
    as_root("mount", &["-o", "remount,rw", &disk.path().to_string_lossy()]);
}

/// Reads and cannot write: one error, then silence.
async fn set_aside(store: &LocalStore, digest: Digest) {
    assert!(store.get(digest).await.unwrap().is_some());
    let refused = store.put(Digest::of(b"new"), Bytes::from_static(b"new")).await;
    assert!(matches!(refused, Err(StoreError::Files(_))), "{refused:?}");
    put(store, 2, 10).await;
    assert!(store.get(digest).await.unwrap().is_some());
    assert_eq!(store.stats().errors, 1);
}

#[test]
fn another_users_directory_is_read_and_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let digest = tokio::runtime::Runtime::new().unwrap().block_on(async { put(&store(directory.path()), 1, 5000).await });
    let open = |path: &Path| fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    open(directory.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            become_nobody();
            let store = store(directory.path());
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(set_aside(&store, digest));
            let unmade = LocalStore::open(&directory.path().join("another"), Access::ReadWrite);
            assert!(matches!(unmade, Err(StoreError::Files(_))), "{unmade:?}");
        });
    });
    // What may not be read at all is an error to be counted, and no panic.
    fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            become_nobody();
            assert!(matches!(LocalStore::open(directory.path(), Access::ReadOnly), Err(StoreError::Files(_))));
        });
    });
}

/// For this thread and those that it starts.
fn become_nobody() {
    rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).expect("this test needs root");
}

#[tokio::test]
async fn who_looks_at_everything_finds_what_is_damaged_and_repairs_it_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let digests = [put(&store, 1, 5000).await, put(&store, 2, 3 << 20).await, put(&store, 3, 0).await];
    let spaces = ["local", "pull/../1", &"long/".repeat(100), "lost", "other"];
    for space in spaces {
        let blobs = if space == "lost" { vec![digests[0], Digest::of(b"nobody has it")] } else { vec![digests[0]] };
        store.put_entry(&key(space, 1), Record { payload: Bytes::from_static(b"record"), blobs }).await.unwrap();
    }
    let newer = |_| Some(b"splitrec\x02\x00".to_vec());
    store.change_record(&key("other", 1), &newer).await;
    let fine = store.verify(Repair::No).await.unwrap();
    assert_eq!((fine.whole, fine.damaged.len(), fine.without_blobs.len(), fine.other_version), (6, 0, 1, 1), "{fine:?}");
    store.change_blob(digests[1], &|kept| Some(kept[..kept.len() - 1].to_vec())).await;
    store.change_record(&key("local", 1), &|kept| Some([kept, vec![0]].concat())).await;
    let before = snapshot(directory.path());
    let looked = store.verify(Repair::No).await.unwrap();
    assert!(snapshot(directory.path()) == before, "looking changed something");
    assert_eq!(store.verify(Repair::Delete).await.unwrap(), looked);
    assert_eq!((looked.whole, looked.damaged.len(), looked.unreadable), (4, 2, 0), "{looked:?}");
    assert!(looked.damaged.iter().any(|entry| entry.what == Kept::Blob(digests[1])));
    let after = store.verify(Repair::No).await.unwrap();
    assert_eq!((after.whole, after.damaged.len(), after.without_blobs.len()), (4, 0, 0), "{after:?}");
}
