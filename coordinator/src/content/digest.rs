//! The name of bytes: blake3 over them, uncompressed.
//!
//! A large blob is cut into [`BLOCK`]s that are hashed on their own, wherever a thread happens to have them, and put together at the end. Blocks
//! are whole subtrees of blake3's own tree, so what comes out is the ordinary hash, the one that `b3sum` prints.

use std::fmt;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};

/// Bytes that are compressed and hashed in one go. A power of two of blake3's chunks: only then is a block a subtree.
pub(super) const BLOCK: usize = 1 << 20;

/// blake3 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// From what [`Digest::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// From 64 lower-case hexadecimal digits; nothing else names bytes, so that one digest has one name.
    pub fn parse(hex: &str) -> Option<Self> {
        let digest = Self(*blake3::Hash::from_hex(hex).ok()?.as_bytes());
        (digest.to_hex() == hex).then_some(digest)
    }

    /// Of bytes whose blocks have these hashes, in their order.
    pub(super) fn of_blocks(blocks: &[BlockHash]) -> Self {
        match blocks {
            [] => Self::of(&[]),
            [BlockHash { whole: Some(whole), .. }] => *whole,
            _ => {
                let values: Vec<ChainingValue> = blocks.iter().map(|block| block.value).collect();
                let (left, right) = values.split_at(left_part(values.len()));
                Self(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
            }
        }
    }
}

/// The hash of one block at its place.
#[derive(Debug, Clone)]
pub(super) struct BlockHash {
    value: ChainingValue,
    /// The digest, if there is no other block.
    whole: Option<Digest>,
}

impl BlockHash {
    /// Of a block; none of them is empty, and all but the last are full.
    pub(super) fn of(place: u64, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(place * BLOCK as u64).update(bytes);
        Self { value: hasher.finalize_non_root(), whole: (place == 0).then(|| Digest::of(bytes)) }
    }
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = values.split_at(left_part(values.len()));
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// The largest power of two below the number: so much of a blake3 tree stands on the left.
fn left_part(blocks: usize) -> usize {
    blocks.next_power_of_two() / 2
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", &self.to_hex()[..12])
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_hex()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(hex: String) -> Result<Self, Self::Error> {
        Self::parse(&hex).ok_or("a digest is 64 lower-case hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_blocks(bytes: &[u8]) -> Digest {
        let blocks: Vec<_> = (0..).zip(bytes.chunks(BLOCK)).map(|(place, block)| BlockHash::of(place, block)).collect();
        Digest::of_blocks(&blocks)
    }

    #[test]
    fn blocks_make_the_ordinary_hash_whatever_the_length() {
        let bytes: Vec<u8> = (0..9 * BLOCK + 17).map(|at| (at * 7 / 3).to_le_bytes()[0]).collect();
        let around = |blocks: usize| [blocks * BLOCK, blocks * BLOCK + 1, (blocks + 1) * BLOCK - 1];
        for length in (0..9).flat_map(around).chain([9 * BLOCK + 17, 1, 1024, 1025]) {
            assert_eq!(in_blocks(&bytes[..length]), Digest::of(&bytes[..length]), "{length} bytes");
        }
    }

    #[test]
    fn a_digest_has_one_name() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_hex(), "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert_eq!(Digest::parse(&digest.to_hex()), Some(digest));
        for wrong in ["", "6437", &digest.to_hex().to_uppercase(), &format!("{digest}0"), &format!("{}g", &digest.to_hex()[..63])] {
            assert_eq!(Digest::parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn json_keeps_a_digest(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }
}
