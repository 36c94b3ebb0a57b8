//! Secret values in keys of caches: as a MAC under a key that only the writer has, never as they are and never as a plain hash.
//!
//! A plain hash of a password is a password for whoever can guess. The key is derived from the private key, so that runs with the same key agree, and
//! others learn nothing, not even that two values are the same.

use std::fmt;

use zeroize::Zeroizing;

/// Names the derivation; another meaning of a MAC is another name.
const CONTEXT: &str = "splitci mac of secret values v1";

/// What secret values are hidden with.
#[derive(Clone)]
pub struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    pub(super) fn derive(private: &[u8]) -> Self {
        Self(Zeroizing::new(blake3::derive_key(CONTEXT, private)))
    }

    /// What stands for a value of this name. The name is part of it: the same password in two variables looks like two.
    pub fn mac(&self, name: &str, value: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(value);
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}
