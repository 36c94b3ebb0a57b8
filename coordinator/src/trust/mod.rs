//! Whose word counts: keys, levels, and the seals that tell a record's writer from somebody who could merely write to the same place.
//!
//! | there | is |
//! |---|---|
//! | [`key`] | ECDSA P-256 keys, PKCS#8 PEM; a key's id is the SHA-256 of its public half |
//! | [`machine`] | the key that a machine makes for itself, trusted nowhere else |
//! | [`list`] | the reader's list: which key has which level |
//! | [`mod@seal`] | a signed envelope around a record, and the reasons to refuse one |
//! | [`dsse`] | a signed envelope around a statement, in the form that others read and make, too |
//! | [`mod@signer`] | a program that signs statements in our place |
//! | [`mac`] | secret values on their way into a key of a cache |
//!
//! Comes in: settings, a private key or none, bytes. Goes out: sealed bytes, or opened ones with the level of who wrote them. The level is never
//! taken from what an entry says of itself: it is what the reader's own list says of the key that signed it. Content addresses alone would not do,
//! for what can be forged is not a blob but the claim that it is the result of something.
//!
//! Not here: where records lie (`content`), what is in them, and what a gate makes of a level. Nothing here prints a private key or keeps a
//! passphrase, and nothing reads the environment.

pub mod dsse;
pub mod key;
pub mod list;
pub mod mac;
pub mod machine;
pub mod seal;
pub mod signer;

mod envelope;
#[cfg(test)]
mod tests;

use std::path::Path;

use zeroize::Zeroizing;

pub use key::{KeyError, KeyId, PublicKey, SecretKey};
pub use list::{ListError, TrustList};
pub use mac::MacKey;
pub use seal::{Address, Life, Opened, Refusal, Seal};
pub use signer::{Signer, SignerError};

use crate::model::Sha256;
use crate::model::trust::{KeySource, Level, Space, TrustSettings};

/// What keys are opened with, besides what the configuration says.
#[derive(Debug)]
pub struct Keys<'a> {
    /// What the configuration says.
    pub settings: &'a TrustSettings,
    /// What the private key is encrypted with.
    pub passphrase: Option<Zeroizing<String>>,
    /// Where this machine keeps its own key.
    pub home: &'a Path,
}

/// Why there is no seal.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The private key.
    #[error("cannot use the key to sign with")]
    Key(#[source] KeyError),
    /// A key of the list.
    #[error("cannot use a key of `[trust]`, level `{level}`")]
    Trusted {
        /// Of which level.
        level: Level,
        /// Why.
        #[source]
        cause: KeyError,
    },
    /// The list as a whole.
    #[error("cannot use the list of trusted keys")]
    List(#[from] ListError),
}

impl TrustError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key(cause) | Self::Trusted { cause, .. } => cause.hint(),
            Self::List(cause) => Some(cause.hint()),
        }
    }
}

/// Who this run is.
#[derive(Debug)]
pub struct Identity {
    /// Signs and opens.
    pub seal: Seal,
    /// Whether the key was given; else it is this machine's own.
    pub given: bool,
}

impl Identity {
    /// What a user should know: a key that nobody trusts writes for nobody.
    pub fn notice(&self) -> Option<String> {
        let unlisted = self.given && self.seal.space().level == Level::Local;
        unlisted.then(|| {
            let id = self.seal.writer().short();
            format!(
                "key {id} is not in `[trust]`: what is written with it is of no use elsewhere; `splitci keys show` prints its public half"
            )
        })
    }
}

/// The key that was given, or this machine's own, with the list that says what it and others may do.
pub fn identify(keys: &Keys<'_>) -> Result<Identity, TrustError> {
    let (key, given) = signer(keys)?;
    let list = trusted(keys.settings)?;
    let seal = Seal::new(key, list, keys.settings.partition.clone());
    Ok(Identity { seal, given })
}

/// The private key alone: the one that was given, or this machine's own; and which of them it is.
pub fn signer(keys: &Keys<'_>) -> Result<(SecretKey, bool), TrustError> {
    let key = match &keys.settings.key {
        Some(source) => secret(source, keys.passphrase.as_deref().map(String::as_str)),
        None => machine::own(keys.home),
    };
    key.map(|key| (key, keys.settings.key.is_some())).map_err(TrustError::Key)
}

/// The list of a configuration, files of keys read.
pub fn trusted(settings: &TrustSettings) -> Result<TrustList, TrustError> {
    let mut list = TrustList::default();
    for trusted in &settings.trusted {
        let key = public(&trusted.key).map_err(|cause| TrustError::Trusted { level: trusted.level, cause })?;
        list.add(key, Space { level: trusted.level, partition: trusted.partition.clone() })?;
    }
    Ok(list)
}

/// Reads a private key from where it is said to be.
pub fn secret(source: &KeySource, passphrase: Option<&str>) -> Result<SecretKey, KeyError> {
    match source {
        KeySource::Text(text) => SecretKey::from_pem(text, passphrase),
        KeySource::File(path) => {
            let text = Zeroizing::new(fs_err::read_to_string(path).map_err(KeyError::File)?);
            SecretKey::from_pem(&text, passphrase).map_err(|cause| KeyError::In { path: path.clone(), cause: Box::new(cause) })
        }
    }
}

/// The SHA-256 of some bytes: what names something to others.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    use sha2::Digest as _;
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// Reads a public key from where it is said to be.
pub fn public(source: &KeySource) -> Result<PublicKey, KeyError> {
    match source {
        KeySource::Text(text) => PublicKey::from_pem(text),
        KeySource::File(path) => {
            let text = fs_err::read_to_string(path).map_err(KeyError::File)?;
            PublicKey::from_pem(&text).map_err(|cause| KeyError::In { path: path.clone(), cause: Box::new(cause) })
        }
    }
}
