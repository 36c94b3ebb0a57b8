//! How a record is kept: one frame that says what it is, and that it is whole.
//!
//! | bytes | are |
//! |---|---|
//! | 8 | `splitrec` |
//! | 2 | version, little endian as all numbers |
//! | 2 | nothing yet: 0 |
//! | 4 | number of blobs |
//! | 4 | length of the payload |
//! | 32 each | the blobs' digests |
//! | | the payload |
//! | 32 | blake3 over all before, and over the key |
//!
//! The key is hashed but not kept: a record that lies under another's name is damaged. Whatever a version writes, magic and version stay where they are.

use bytes::{BufMut, Bytes, BytesMut};

use super::counters::End;
use super::{Digest, MOST_OF_A_RECORD, Record, RecordKey, StoreError, name};

const MAGIC: &[u8; 8] = b"splitrec";
/// The version that is written, and the only one that is read.
const VERSION: u16 = 1;
const HEAD: usize = 20;
const HASH: usize = 32;

/// Most bytes of a record as it is kept.
pub(super) const MOST_KEPT: usize = HEAD + MOST_OF_A_RECORD + HASH;

/// Layer, space as it is written, and key of a record.
pub(super) type Place<'a> = (&'a str, &'a str, &'a [u8; 32]);

/// What some bytes are, read as a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opened {
    /// A record of this key.
    Whole(Record),
    /// Another version's; nothing more is known of it.
    OtherVersion,
    /// Nothing that can be believed.
    Damaged,
}

impl Opened {
    /// The record, if there is one.
    pub(super) fn whole(self) -> Option<Record> {
        match self {
            Self::Whole(record) => Some(record),
            Self::OtherVersion | Self::Damaged => None,
        }
    }

    /// What it is counted as.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Whole(_) => End::Hit,
            Self::OtherVersion => End::OtherVersion,
            Self::Damaged => End::Damaged,
        }
    }
}

/// A record as it is kept.
pub(super) fn seal(key: &RecordKey, record: &Record) -> Result<Bytes, StoreError> {
    let size = record.payload.len() + record.blobs.len() * HASH;
    let too_large = || StoreError::TooLarge { what: "a record", bytes: size as u64, most: MOST_OF_A_RECORD as u64 };
    if size > MOST_OF_A_RECORD {
        return Err(too_large());
    }
    let number = |length: usize| u32::try_from(length).map_err(|_| too_large());
    let mut kept = BytesMut::with_capacity(HEAD + size + HASH);
    kept.put_slice(MAGIC);
    kept.put_u16_le(VERSION);
    kept.put_u16_le(0);
    kept.put_u32_le(number(record.blobs.len())?);
    kept.put_u32_le(number(record.payload.len())?);
    for digest in &record.blobs {
        kept.put_slice(digest.as_bytes());
    }
    kept.put_slice(&record.payload);
    let hash = hash((key.layer, &name::space(&key.space), &key.key), &kept);
    kept.put_slice(&hash);
    Ok(kept.freeze())
}

/// Reads what was kept for a key.
pub(super) fn open(key: &RecordKey, kept: &Bytes) -> Opened {
    open_at((key.layer, &name::space(&key.space), &key.key), kept)
}

/// Reads what was kept at a place: layer, space as it is written, and key.
pub(super) fn open_at(place: Place<'_>, kept: &Bytes) -> Opened {
    if let Some(version) = version(kept)
        && version != VERSION
    {
        return Opened::OtherVersion;
    }
    whole(place, kept).map_or(Opened::Damaged, Opened::Whole)
}

/// The blobs that a kept record names, without its key: for those who look over all of them. Nothing if it is no record of this version.
pub(super) fn named_blobs(kept: &[u8]) -> Option<Vec<Digest>> {
    let (blobs, _) = parts(kept)?;
    let digests = blobs.chunks_exact(HASH).filter_map(|digest| digest.try_into().ok());
    Some(digests.map(Digest::from_bytes).collect())
}

fn version(kept: &[u8]) -> Option<u16> {
    let rest = kept.strip_prefix(MAGIC)?;
    Some(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]))
}

fn whole(place: Place<'_>, kept: &Bytes) -> Option<Record> {
    let (before, found) = kept.split_at_checked(kept.len().checked_sub(HASH)?)?;
    if hash(place, before) != found {
        return None;
    }
    let (_, payload) = parts(kept)?;
    Some(Record { payload: kept.slice_ref(payload), blobs: named_blobs(kept)? })
}

/// The digests and the payload, if the lengths fit.
fn parts(kept: &[u8]) -> Option<(&[u8], &[u8])> {
    if version(kept)? != VERSION || kept.len() > MOST_KEPT {
        return None;
    }
    let number = |at: usize| kept.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes).and_then(|number| usize::try_from(number).ok());
    let (blobs, payload) = (number(12)?.checked_mul(HASH)?, number(16)?);
    let (_, rest) = kept.split_at_checked(HEAD)?;
    let (blobs, rest) = rest.split_at_checked(blobs)?;
    let (payload, hash) = rest.split_at_checked(payload)?;
    (hash.len() == HASH).then_some((blobs, payload))
}

fn hash((layer, space, key): Place<'_>, kept: &[u8]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new_derive_key("splitci content record v1");
    for field in [layer.as_bytes(), space.as_bytes(), key] {
        hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
    }
    *hasher.update(kept).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(space: &str) -> RecordKey {
        RecordKey { layer: "image", space: space.to_owned(), key: [7; 32] }
    }

    fn record(payload: &[u8], blobs: u8) -> Record {
        Record { payload: Bytes::copy_from_slice(payload), blobs: (0..blobs).map(|one| Digest::of(&[one])).collect() }
    }

    #[test]
    fn the_format_stays_as_it_is() {
        let kept = seal(&key("local"), &record(b"payload", 1)).unwrap();
        let hex = kept.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        insta::assert_snapshot!(hex, @"73706c69747265630100000001000000070000002d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e2137061796c6f61641598363250cad666bb1edff7b8789a36c1588a3a2d6ee83e3013db88e2b11cab");
    }

    #[test]
    fn a_record_of_another_version_is_not_called_damaged() {
        let mut newer = seal(&key("local"), &record(b"payload", 2)).unwrap().to_vec();
        newer[8] = 2;
        newer.truncate(15);
        assert_eq!(open(&key("local"), &newer.into()), Opened::OtherVersion);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let full = Record { payload: vec![0; MOST_OF_A_RECORD - 32].into(), blobs: vec![Digest::of(b"")] };
        let kept = seal(&key("local"), &full).unwrap();
        assert_eq!(kept.len(), MOST_KEPT);
        assert_eq!(open(&key("local"), &kept), Opened::Whole(full.clone()));
        let more = Record { payload: vec![0; MOST_OF_A_RECORD - 31].into(), ..full };
        assert!(matches!(seal(&key("local"), &more), Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn fields_of_a_key_do_not_run_into_each_other() {
        let kept = seal(&RecordKey { layer: "suite", space: "s".into(), key: [1; 32] }, &record(b"", 0)).unwrap();
        assert_eq!(open(&RecordKey { layer: "suites", space: String::new(), key: [1; 32] }, &kept), Opened::Damaged);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(payload: Vec<u8>, blobs in 0..20_u8, space: String) {
            let record = record(&payload, blobs);
            let kept = seal(&key(&space), &record).unwrap();
            prop_assert_eq!(named_blobs(&kept), Some(record.blobs.clone()));
            prop_assert_eq!(open(&key(&space), &kept), Opened::Whole(record));
        }

        #[test]
        fn a_record_that_was_touched_is_never_whole(
            payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8, length: prop::sample::Index, others: String
        ) {
            let kept = seal(&key("local"), &record(&payload, 2)).unwrap();
            let mut flipped = kept.to_vec();
            flipped[at.index(kept.len())] ^= 1 << bit;
            prop_assert!(!matches!(open(&key("local"), &flipped.into()), Opened::Whole(_)));
            prop_assert!(!matches!(open(&key("local"), &kept.slice(..length.index(kept.len()))), Opened::Whole(_)));
            prop_assert!(others == "local" || open(&key(&others), &kept) == Opened::Damaged);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let bytes = [&MAGIC[..], &1_u16.to_le_bytes(), &bytes].concat();
            drop(named_blobs(&bytes));
            prop_assert!(!matches!(open(&key("local"), &bytes.into()), Opened::Whole(_)));
        }
    }
}
