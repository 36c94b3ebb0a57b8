//! Digests that others read: of manifests, configurations and statements. What only we read is named by blake3.
//!
//! Words only: nothing is hashed here. There is one way to write a digest, 64 small digits of hex, so that equal digests are equal texts.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256. Shown as `sha256:…`, the way images are named; in a statement it is the digits alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Of its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of `sha256:` and 64 digits of hex, small letters.
    pub fn parse(text: &str) -> Option<Self> {
        Self::of_hex(text.strip_prefix("sha256:")?)
    }

    /// Of 64 digits of hex, small letters.
    pub fn of_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().try_fold(0, |value, digit| Some(value << 4 | nibble(*digit)?))?;
        }
        Some(Self(bytes))
    }

    /// The digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::of_hex(&text).ok_or_else(|| serde::de::Error::custom("not 64 digits of hex, small letters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_digest_has_one_text(bytes: [u8; 32]) {
            let digest = Sha256::from_bytes(bytes);
            prop_assert_eq!(Sha256::parse(&digest.to_string()), Some(digest));
            prop_assert_eq!(serde_json::from_str::<Sha256>(&serde_json::to_string(&digest).expect("text")).expect("read"), digest);
            let loud = digest.hex().to_uppercase();
            prop_assert_eq!(Sha256::of_hex(&loud).is_some(), loud == digest.hex());
        }
    }

    #[test]
    fn what_is_almost_a_digest_is_none() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(Sha256::of_hex(&digits).is_some());
        for bad in
            [&digits[1..], &format!("{digits}0"), &format!(" {}", &digits[1..]), &digits.replace('a', "A"), &digits.replace('a', "g"), ""]
        {
            assert_eq!(Sha256::of_hex(bad), None, "{bad}");
        }
        assert_eq!(Sha256::parse(&digits), None);
        assert_eq!(Sha256::parse(&format!("sha512:{digits}")), None);
    }
}
