//! Writes into a content store until it is killed: `store_writer DIRECTORY SEED`. For `store_kills.rs`, which does that.
//!
//! All kinds of writes in turn, large and small, and now and then room is made, so that a kill hits each of them sooner or later.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a program for a test, which stops at what it did not expect")]

use std::path::PathBuf;

use splitci_coordinator::content::local::Sweep;
use splitci_coordinator::content::{Access, Digest, Limit, LocalStore, Record, RecordKey, Store};
use splitci_coordinator::model::RunId;
use splitci_tests::schedules::dice::Dice;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    let seed = arguments.next().and_then(|seed| seed.parse().ok()).expect("a seed");
    let mut dice = Dice::new(seed);
    let store = LocalStore::open(&directory.join("store"), Access::ReadWrite).expect("a store");
    let lease = store.lease(&RunId(format!("RUN{seed}"))).await.expect("a lease");
    let file = directory.join(format!("file-{seed}"));
    println!("writing");
    loop {
        let mut blobs = Vec::new();
        for _ in 0..=dice.below(3) {
            let most = dice.of(&[10, 3000, 70_000, 1_200_000, 3_000_000]).expect("a size");
            let bytes = bytes(&mut dice, most);
            let digest = Digest::of(&bytes);
            lease.add(&[digest]).expect("lease");
            if dice.chance(300) {
                fs_err::write(&file, &bytes).expect("write");
                store.put_file(&file).await.expect("put a file");
            } else {
                store.put(digest, bytes.into()).await.expect("put");
            }
            blobs.push(digest);
        }
        let mut key = [0; 32];
        key[0] = u8::try_from(dice.below(20)).expect("small");
        let space = dice.of(&["local", "pull/1"]).expect("a space").to_owned();
        let payload = bytes(&mut dice, 200_000).into();
        store.put_entry(&RecordKey { layer: "image", space, key }, Record { payload, blobs }).await.expect("put a record");
        match dice.below(8) {
            0 => drop(store.collect(Limit::of(20 << 20), Sweep::Delete).await.expect("make room")),
            1 => store.flush().await.expect("flush"),
            _ => {}
        }
    }
}

/// Less than that many bytes, of which a third can be compressed away.
fn bytes(dice: &mut Dice, most: u32) -> Vec<u8> {
    let length = usize::try_from(dice.below(most)).expect("a length");
    let mut bytes = Vec::with_capacity(length + 12);
    while bytes.len() < length {
        bytes.extend(dice.roll().to_le_bytes());
        bytes.extend(b"fill");
    }
    bytes.truncate(length);
    bytes
}
