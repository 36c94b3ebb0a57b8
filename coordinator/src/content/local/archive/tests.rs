//! Archives that come from anywhere: what is whole comes in, and nothing else gets a name, whatever it calls itself.

use std::io::Write as _;
use std::path::PathBuf;

use tar::{Builder, EntryType, Header};

use super::*;
use crate::content::local::Access;
use crate::content::{RecordKey, Store};

const MOST: u64 = 1 << 30;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn store(&self) -> LocalStore {
        LocalStore::open(&self.0.path().join("cache"), Access::ReadWrite).expect("a store")
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("archive")
    }

    /// Files below the store that are entries, by their paths.
    fn entries(&self) -> Vec<String> {
        let root = self.store().path().to_owned();
        let below = ["cas", "rec"].map(|part| walkdir::WalkDir::new(root.join(part)));
        let files = below.into_iter().flatten().filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
        files.map(|entry| entry.path().strip_prefix(&root).expect("below").display().to_string()).collect()
    }
}

fn key(space: &str) -> RecordKey {
    RecordKey { layer: "results", space: space.into(), key: [3; 32] }
}

async fn filled() -> (Place, Digest) {
    let place = Place::new();
    let store = place.store();
    let blob = Bytes::from(vec![7; 3_000_000]);
    let digest = Digest::of(&blob);
    store.put(digest, blob).await.expect("put");
    let record = Record { payload: "passed".into(), blobs: vec![digest] };
    store.put_entry(&key("pull/../protected"), record).await.expect("put");
    store.put_record(&key("local"), "local".into()).await.expect("put");
    (place, digest)
}

fn all() -> Box<Judge> {
    Box::new(|_| Ok(()))
}

async fn import(place: &Place) -> Result<Imported, ArchiveError> {
    place.store().import(&place.file(), MOST, all()).await
}

/// An archive of ours up to what a test puts in.
fn archive(place: &Place, fill: impl FnOnce(&mut Builder<fs::File>)) {
    let mut builder = Builder::new(fs::File::create(place.file()).expect("made"));
    append(&mut builder, HEAD, 0, &mut std::io::empty()).expect("appended");
    fill(&mut builder);
    builder.finish().expect("finished");
}

fn put(builder: &mut Builder<fs::File>, kind: EntryType, name: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    // The crate refuses names that lead out; whoever attacks does not use it.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.set_link_name("/etc/passwd").expect("a name");
    }
    header.set_cksum();
    builder.append(&header, content).expect("appended");
}

#[tokio::test]
async fn what_goes_out_comes_in_elsewhere() {
    let (here, digest) = filled().await;
    let exported = here.store().export(&here.file()).await.expect("exported");
    assert_eq!(exported.entries, 3);
    let there = Place::new();
    let imported = there.store().import(&here.file(), MOST, all()).await.expect("imported");
    assert_eq!((imported.new, imported.known, imported.bytes), (3, 0, exported.bytes));
    let store = there.store();
    assert_eq!(store.get(digest).await.expect("read"), Some(vec![7; 3_000_000].into()));
    assert_eq!(store.record(&key("pull/../protected")).await.expect("read"), Some("passed".into()));
    assert_eq!(there.entries(), here.entries());
    let again = there.store().import(&here.file(), MOST, all()).await.expect("imported");
    assert_eq!((again.new, again.known), (0, 3));
}

#[tokio::test]
async fn what_is_there_is_never_replaced() {
    let (here, _) = filled().await;
    here.store().export(&here.file()).await.expect("exported");
    let there = Place::new();
    there.store().put_record(&key("local"), "ours".into()).await.expect("put");
    there.store().import(&here.file(), MOST, all()).await.expect("imported");
    assert_eq!(there.store().record(&key("local")).await.expect("read"), Some("ours".into()));
}

#[tokio::test]
async fn records_that_nobody_believes_stay_outside() {
    let (here, _) = filled().await;
    here.store().export(&here.file()).await.expect("exported");
    let there = Place::new();
    let judge = |record: &Candidate<'_>| if record.space == "local" { Err("a stranger's".to_owned()) } else { Ok(()) };
    let imported = there.store().import(&here.file(), MOST, Box::new(judge)).await.expect("imported");
    assert_eq!((imported.new, imported.refused), (2, vec![("local".to_owned(), "a stranger's".to_owned())]));
    assert_eq!(there.store().record(&key("local")).await.expect("read"), None);
}

#[tokio::test]
async fn names_that_lead_out_links_and_devices_are_refused() {
    let digest = "ab".repeat(32);
    for (kind, name) in [
        (EntryType::Regular, "../../escaped".to_owned()),
        (EntryType::Regular, "/etc/cron.d/escaped".to_owned()),
        (EntryType::Regular, format!("cas/../../{digest}")),
        (EntryType::Regular, "cas/..".to_owned()),
        (EntryType::Regular, format!("cas/{}", "zz".repeat(32))),
        (EntryType::Regular, "v1/FORMAT".to_owned()),
        (EntryType::Regular, format!("rec/../local/{digest}")),
        (EntryType::Regular, format!("rec/image/../{digest}")),
        (EntryType::Regular, format!("rec/image/./{digest}")),
        (EntryType::Regular, format!("rec/image//{digest}")),
        (EntryType::Regular, "rec/image/local/..".to_owned()),
        (EntryType::Symlink, format!("cas/{digest}")),
        (EntryType::Link, format!("cas/{digest}")),
        (EntryType::Char, format!("cas/{digest}")),
        (EntryType::Block, format!("cas/{digest}")),
        (EntryType::Fifo, format!("cas/{digest}")),
        (EntryType::Directory, format!("cas/{digest}")),
    ] {
        let place = Place::new();
        archive(&place, |builder| put(builder, kind, &name, b""));
        let error = import(&place).await.expect_err(&name);
        assert!(matches!(error, ArchiveError::Unexpected { .. }), "{kind:?} {name}: {error}");
        assert_eq!(place.entries(), [""; 0], "{kind:?} {name}");
        let outside = walkdir::WalkDir::new(place.0.path()).into_iter().filter_map(Result::ok);
        assert!(!outside.map(|entry| entry.file_name().to_owned()).any(|name| name == "escaped"), "{name}");
    }
}

#[tokio::test]
async fn a_blob_that_is_not_what_it_is_called_is_refused() {
    let (here, digest) = filled().await;
    here.store().export(&here.file()).await.expect("exported");
    let kept = fs::read(here.store().path().join(format!("cas/{}/{}", &digest.to_hex()[..2], &digest.to_hex()[2..]))).expect("kept");
    let other = Digest::of(b"something else");
    for (name, content) in [(other, &kept[..]), (digest, &kept[..kept.len() - 1]), (digest, &b"garbage"[..]), (digest, &b""[..])] {
        let place = Place::new();
        archive(&place, |builder| put(builder, EntryType::Regular, &format!("cas/{name}"), content));
        assert!(matches!(import(&place).await, Err(ArchiveError::Damaged { .. })));
        assert_eq!(place.entries(), [""; 0]);
    }
}

#[tokio::test]
async fn every_bit_of_a_record_counts() {
    let (here, _) = filled().await;
    let hex = Digest::from_bytes([3; 32]).to_hex();
    let kept = fs::read(here.store().path().join(format!("rec/results/local/{}/{}", &hex[..2], &hex[2..]))).expect("kept");
    for bit in 0..kept.len() * 8 {
        let mut bent = kept.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let place = Place::new();
        archive(&place, |builder| put(builder, EntryType::Regular, &format!("rec/results/local/{hex}"), &bent));
        match import(&place).await {
            Err(ArchiveError::Damaged { .. }) => {}
            // The bits of the version: somebody else's record, left out.
            Ok(imported) => assert_eq!((imported.new, imported.other_version), (0, 1), "bit {bit}"),
            Err(other) => panic!("bit {bit}: {other}"),
        }
        assert_eq!(place.entries(), [""; 0]);
    }
    // And under another's name.
    for name in [format!("rec/results/protected/{hex}"), format!("rec/image/local/{hex}"), format!("rec/results/local/{}", "ab".repeat(32))]
    {
        let place = Place::new();
        archive(&place, |builder| put(builder, EntryType::Regular, &name, &kept));
        assert!(matches!(import(&place).await, Err(ArchiveError::Damaged { .. })), "{name}");
    }
}

#[tokio::test]
async fn sizes_are_bounded_before_anything_is_written() {
    let (here, _) = filled().await;
    here.store().export(&here.file()).await.expect("exported");
    let there = Place::new();
    let small = there.store().import(&here.file(), 100, all()).await;
    assert!(matches!(small, Err(ArchiveError::TooLarge { most: 100 })));
    assert_eq!(there.entries(), [""; 0]);
    // A header that promises a terabyte, and nothing behind it.
    let place = Place::new();
    let mut file = fs::File::create(place.file()).expect("made");
    for (name, size) in [(HEAD.to_owned(), 0), (format!("cas/{}", "ab".repeat(32)), 1 << 40)] {
        let mut header = Header::new_gnu();
        header.set_path(&name).expect("a name");
        header.set_size(size);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        file.write_all(header.as_bytes()).expect("written");
    }
    assert!(matches!(import(&place).await, Err(ArchiveError::TooLarge { .. })));
    // A record that is larger than any.
    let place = Place::new();
    archive(&place, |builder| put(builder, EntryType::Regular, &format!("rec/image/local/{}", "ab".repeat(32)), &vec![0; 3 << 20]));
    assert!(matches!(import(&place).await, Err(ArchiveError::Damaged { .. })));
}

#[tokio::test]
async fn an_archive_that_is_cut_off_or_none_brings_nothing_wrong() {
    let (here, digest) = filled().await;
    here.store().export(&here.file()).await.expect("exported");
    let whole = fs::read(here.file()).expect("read");
    for length in (0..whole.len()).step_by(512 * 3).chain([whole.len() - 1025]) {
        let place = Place::new();
        fs::write(place.file(), &whole[..length]).expect("written");
        let imported = import(&place).await;
        let found = place.store().get(digest).await.expect("read");
        assert!(found.is_none() || found == Some(vec![7; 3_000_000].into()));
        let record = place.store().record(&key("pull/../protected")).await.expect("read");
        assert!(record.is_none() || found.is_some(), "no record without its blobs: {imported:?}");
    }
    let place = Place::new();
    for text in [&b""[..], b"not an archive", &[0; 4096], b"\x1f\x8b\x08"] {
        fs::write(place.file(), text).expect("written");
        assert!(matches!(import(&place).await, Err(ArchiveError::NotOurs)), "{text:?}");
    }
    let mut builder = Builder::new(fs::File::create(place.file()).expect("made"));
    put(&mut builder, EntryType::Regular, "project/main.py", b"print()");
    builder.finish().expect("finished");
    assert!(matches!(import(&place).await, Err(ArchiveError::NotOurs)));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_not_half_there() {
    let (here, _) = filled().await;
    assert!(here.store().export(&here.0.path().join("no/such/directory")).await.is_err());
    fs::write(here.file(), "old").expect("written");
    here.store().export(&here.file()).await.expect("exported");
    let beside: Vec<_> = fs::read_dir(here.0.path()).expect("read").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(beside.len(), 2, "the cache and the archive: {beside:?}");
}
