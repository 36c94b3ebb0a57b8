//! Entries have names, and can be forgotten.

use bytes::Bytes;

use super::*;
use crate::content::{Record, RecordKey, Store};

async fn filled(root: &std::path::Path) -> (LocalStore, Digest) {
    let store = LocalStore::open(root, Access::ReadWrite).expect("a store");
    let blob = Bytes::from_static(b"a blob that is compressed and kept");
    let digest = Digest::of(&blob);
    store.put(digest, blob).await.expect("put");
    let key = |space: &str, key| RecordKey { layer: "image", space: space.into(), key: [key; 32] };
    let naming = Record { payload: "built".into(), blobs: vec![digest] };
    store.put_entry(&key("pull/17", 1), naming).await.expect("put");
    store.put_record(&key("protected", 2), "alone".into()).await.expect("put");
    (store, digest)
}

async fn find(store: &LocalStore, space: Option<&str>) -> Entry {
    let entries = store.entries().await.expect("listed");
    entries.into_iter().find(|entry| entry.space().as_deref() == space).expect("an entry")
}

#[tokio::test]
async fn entries_are_called_as_they_were_put() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, digest) = filled(root.path()).await;
    let record = find(&store, Some("pull/17")).await;
    assert_eq!((record.layer(), record.level(), record.digest()), (Some("image"), Some("pull"), Digest::from_bytes([1; 32])));
    let blob = find(&store, None).await;
    assert_eq!((blob.layer(), blob.level(), blob.digest()), (None, None, digest));
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_forgetting_again_is_no_error() {
    let root = tempfile::tempdir().expect("a directory");
    let (store, _) = filled(root.path()).await;
    let all = store.entries().await.expect("listed");
    assert_eq!(LocalStore::open(root.path(), Access::ReadOnly).expect("a store").forget(all.clone()).await.expect("nothing"), 0);
    assert_eq!(store.forget(all.clone()).await.expect("forgotten"), 3);
    assert_eq!(store.forget(all).await.expect("nothing left"), 0);
    assert!(store.entries().await.expect("listed").is_empty());
}
