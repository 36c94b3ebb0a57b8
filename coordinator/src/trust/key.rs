//! Keys: ECDSA over P-256 with SHA-256, private ones as PKCS#8 PEM, encrypted if wanted, public ones as SPKI PEM. OpenSSL reads and writes the same.
//!
//! The algorithm belongs to the key and is never taken from what was signed. Signatures have one form: the lower of the two that would do, so that
//! nobody can make another valid envelope out of one. What others are to read is signed in DER, and there both forms are taken, since others make both.
//! Private halves are wiped when dropped and shown by their id alone.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use pkcs8::der::asn1::OctetString;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, EncryptedPrivateKeyInfoOwned, LineEnding,
    SecretDocument,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::mac::MacKey;

/// Bytes of a signature: two numbers of the curve's size.
pub const SIGNATURE: usize = 64;

/// Cost of turning a passphrase into a key, as exponent, block size and lanes: 16 MiB and a fifth of a second, and still below what OpenSSL accepts
/// without being told to (32 MiB).
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// The name of a key: the SHA-256 of its public half in SPKI form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// As it stands in an envelope.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Out of an envelope.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Out of its text: 64 digits of hex, small letters, as it is shown.
    pub fn of_text(text: &str) -> Option<Self> {
        crate::model::Sha256::of_hex(text).map(|digest| Self(*digest.bytes()))
    }

    /// Enough to tell it from others.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Why a key cannot be used. Never says anything of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("cannot use the file of a key")]
    File(#[source] std::io::Error),
    /// Something about the key in a file.
    #[error("cannot use the key in `{}`", path.display())]
    In {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<KeyError>,
    },
    /// Not a key as we take them.
    #[error("this is not a {expected} key of P-256 in PEM")]
    Unreadable {
        /// `private` or `public`.
        expected: &'static str,
    },
    /// A private key where a public one belongs.
    #[error("this is a private key, and a public one belongs here")]
    NotPublic,
    /// Encrypted, and no passphrase.
    #[error("the key is encrypted, and there is no passphrase")]
    NoPassphrase,
    /// Encrypted with another one.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// Others can read a machine's own key.
    #[error("others can read the key in `{}` (mode {mode:o})", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system gives no random numbers.
    #[error("cannot make a key: the system gives no random numbers")]
    Randomness(#[source] getrandom::Error),
    /// The key cannot be written down.
    #[error("cannot write the key down")]
    Encoding,
}

impl KeyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::In { cause, .. } => cause.hint(),
            Self::Unreadable { expected: "public" } => Some("`splitci keys show` prints the public half of a key".into()),
            Self::Unreadable { .. } => {
                Some("`splitci keys new` makes one; one of another form is turned into it with `openssl pkcs8 -topk8`".into())
            }
            Self::NotPublic => Some("take it out at once, and put the public half there: `splitci keys show --key FILE` prints it".into()),
            Self::NoPassphrase | Self::WrongPassphrase => Some("set `SPLITCI_KEY_PASSPHRASE`".into()),
            Self::Exposed { path, .. } => Some(format!("`chmod 600 {0}`; if it was copied, remove it: another is made", path.display())),
            Self::File(_) | Self::Randomness(_) | Self::Encoding => None,
        }
    }
}

/// A private key.
#[derive(Clone)]
pub struct SecretKey {
    signing: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// A new one.
    pub fn generate() -> Result<Self, KeyError> {
        loop {
            let mut scalar = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *scalar).map_err(KeyError::Randomness)?;
            // All but one of 2^32 numbers of this size are keys.
            if let Ok(signing) = SigningKey::from_slice(&*scalar) {
                return Self::new(signing);
            }
        }
    }

    fn new(signing: SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::new(*signing.verifying_key())?;
        Ok(Self { signing, public })
    }

    /// Reads PKCS#8 PEM.
    pub fn from_pem(text: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        let unreadable = || KeyError::Unreadable { expected: "private" };
        let (label, bytes) = pem(text).ok_or_else(unreadable)?;
        let signing = match label {
            "PRIVATE KEY" => SigningKey::from_pkcs8_der(&bytes).map_err(|_| unreadable())?,
            EncryptedPrivateKeyInfoOwned::PEM_LABEL => {
                let passphrase = passphrase.ok_or(KeyError::NoPassphrase)?;
                let sealed = EncryptedPrivateKeyInfoOwned::try_from(&bytes[..]).map_err(|_| unreadable())?;
                let opened = sealed.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
                // What a wrong passphrase makes of a key may look like one to the padding, and then is none.
                SigningKey::from_pkcs8_der(opened.as_bytes()).map_err(|_| KeyError::WrongPassphrase)?
            }
            _ => return Err(unreadable()),
        };
        Self::new(signing)
    }

    /// Writes PKCS#8 PEM, encrypted with AES-256 if there is a passphrase.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, KeyError> {
        let Some(passphrase) = passphrase else { return self.signing.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Encoding) };
        let plain = self.signing.to_pkcs8_der().map_err(|_| KeyError::Encoding)?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(KeyError::Randomness)?;
        let (salt, iv) = random.split_at(16);
        encrypted(plain.as_bytes(), passphrase, (salt, iv)).ok_or(KeyError::Encoding)
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.public.id
    }

    /// Signs a message. The same message has the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let signature: Signature = self.signing.sign(message);
        lower(signature).to_bytes().into()
    }

    /// Signs a message for readers of any kind: the same signature in ASN.1 DER.
    pub fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.signing.sign(message);
        lower(signature).to_der().as_bytes().to_vec()
    }

    /// The key that hides secret values from those who have other keys.
    pub fn mac_key(&self) -> MacKey {
        MacKey::derive(&Zeroizing::new(self.signing.to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({:?})", self.id())
    }
}

fn encrypted(plain: &[u8], passphrase: &str, (salt, iv): (&[u8], &[u8])) -> Option<Zeroizing<String>> {
    let (exponent, block, lanes) = SCRYPT;
    let cost = scrypt::Params::new(exponent, block, lanes).ok()?;
    let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, salt, iv.try_into().ok()?).ok()?;
    let encrypted_data = OctetString::new(scheme.encrypt(passphrase, plain).ok()?).ok()?;
    let sealed = EncryptedPrivateKeyInfoOwned { encryption_algorithm: scheme.into(), encrypted_data };
    SecretDocument::try_from(&sealed).ok()?.to_pem(EncryptedPrivateKeyInfoOwned::PEM_LABEL, LineEnding::LF).ok()
}

/// Label and bytes of a PEM text. Lines may be of any length, and the ends of lines may have been lost or written as `\n`: secrets of CI systems come that way.
fn pem(text: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, end) = rest.split_once("-----END ")?;
    let whole = end.strip_prefix(label)?.starts_with("-----");
    let letters: Zeroizing<String> = Zeroizing::new(body.replace("\\n", "").split_whitespace().collect());
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(letters.as_bytes()).ok()?);
    whole.then_some((label, bytes))
}

/// Of the two signatures that would do, the one with the lower number.
fn lower(signature: Signature) -> Signature {
    signature.normalize_s()
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    verifying: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    fn new(verifying: VerifyingKey) -> Result<Self, KeyError> {
        let spki = verifying.to_public_key_der().map_err(|_| KeyError::Encoding)?;
        Ok(Self { verifying, id: KeyId(Sha256::digest(spki.as_bytes()).into()) })
    }

    /// Reads SPKI PEM.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let unreadable = || KeyError::Unreadable { expected: "public" };
        match pem(text).ok_or_else(unreadable)? {
            ("PUBLIC KEY", bytes) => Self::new(VerifyingKey::from_public_key_der(&bytes).map_err(|_| unreadable())?),
            (label, _) if label.ends_with("PRIVATE KEY") => Err(KeyError::NotPublic),
            _ => Err(unreadable()),
        }
    }

    /// Writes SPKI PEM.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.verifying.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Encoding)
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether its private half signed this message, in the one form that a signature has.
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        lower(signature) == signature && self.verifying.verify(message, &signature).is_ok()
    }

    /// Whether its private half signed this message, by a signature in ASN.1 DER. OpenSSL makes the higher of the two forms as often as the lower.
    pub fn verifies_der(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_der(signature).is_ok_and(|signature| self.verifying.verify(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.id)
    }
}
