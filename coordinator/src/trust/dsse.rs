//! Envelopes that others read: DSSE around an in-toto statement, signed over its exact bytes. OpenSSL and securesystemslib make and check the same.
//!
//! What is signed is the payload as it is, with its type and both lengths before it; it is parsed by whoever asked, and only after its signature was
//! found good. So no form of JSON has to be the canonical one. The algorithm is that of the key, never one that an envelope names.
//!
//! Strict where the standard is lenient: one signature, a key that is named, no field that we do not know, none twice, one form of base64. An envelope is
//! taken whole or refused; for an approval by two people there are two statements.
//!
//! Beside an image an envelope lies in a bundle, the form of Sigstore. Nothing of that is signed but the envelope in it, so nothing else of it is believed.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{KeyId, PublicKey, SecretKey};

/// The one type of payload: an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The type of a bundle, as Sigstore calls it.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Most bytes of an envelope. A statement with ten thousand names of tests has one.
pub const MOST_BYTES: usize = 8 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow)]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    signatures: [Signed<'a>; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed<'a> {
    #[serde(borrow)]
    keyid: Cow<'a, str>,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

/// A payload that somebody known signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was signed, byte for byte.
    pub payload: Vec<u8>,
    /// By whom.
    pub writer: KeyId,
}

/// Why an envelope does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too large to be looked at.
    #[error("it has {bytes} bytes, and {MOST_BYTES} are the most that are looked at")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not an envelope, or one with more or less in it than there may be.
    #[error("it is not an envelope with one signature, and nothing else in it")]
    Malformed,
    /// Around something else than a statement.
    #[error("it is around `{}`, and not around an in-toto statement", found.escape_debug())]
    OtherType {
        /// What it says that it is around.
        found: String,
    },
    /// It does not say who signed it.
    #[error("it does not name a key by the SHA-256 of its public half")]
    Unnamed,
    /// Signed with a key that the reader does not know.
    #[error("key {}, which is not known here, signed it", writer.short())]
    Stranger {
        /// Which.
        writer: KeyId,
    },
    /// Not signed by the key it names.
    #[error("its signature does not fit")]
    Signature,
}

/// Signs a payload, and puts it into an envelope. The same payload has the same envelope.
pub fn sign(key: &SecretKey, payload: &[u8]) -> Vec<u8> {
    envelope(payload, &key.id(), &key.sign_der(&signed_bytes(payload)))
}

/// Puts a payload into an envelope with somebody's signature over its [`signed_bytes`], in DER.
pub fn envelope(payload: &[u8], writer: &KeyId, signature: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        payload: BASE64_STANDARD.encode(payload).into(),
        payload_type: PAYLOAD_TYPE.into(),
        signatures: [Signed { keyid: writer.to_string().into(), sig: BASE64_STANDARD.encode(signature).into() }],
    };
    // Texts always serialise; an empty envelope would open for nobody.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

/// Opens an envelope if a key that `known` has signed it.
pub fn open<'k>(envelope: &[u8], known: impl FnOnce(&KeyId) -> Option<&'k PublicKey>) -> Result<Opened, Refusal> {
    if envelope.len() > MOST_BYTES {
        return Err(Refusal::TooLarge { bytes: envelope.len() });
    }
    let Envelope { payload, payload_type, signatures: [Signed { keyid, sig }] } =
        serde_json::from_slice(envelope).map_err(|_| Refusal::Malformed)?;
    if payload_type != PAYLOAD_TYPE {
        return Err(Refusal::OtherType { found: payload_type.chars().take(80).collect() });
    }
    let writer = KeyId::of_text(&keyid).ok_or(Refusal::Unnamed)?;
    let key = known(&writer).filter(|key| key.id() == writer).ok_or(Refusal::Stranger { writer })?;
    let payload = BASE64_STANDARD.decode(&*payload).map_err(|_| Refusal::Malformed)?;
    let signature = BASE64_STANDARD.decode(&*sig).map_err(|_| Refusal::Malformed)?;
    if key.verifies_der(&signed_bytes(&payload), &signature) { Ok(Opened { payload, writer }) } else { Err(Refusal::Signature) }
}

/// What is stored beside an image.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle<'a> {
    #[serde(borrow)]
    media_type: Cow<'a, str>,
    /// Others have more in it, certificates say.
    #[serde(default)]
    verification_material: Material,
    #[serde(borrow)]
    dsse_envelope: Envelope<'a>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default)]
    public_key: Hint,
}

/// By convention the bytes of the key's id in base64.
#[derive(Default, Serialize, Deserialize)]
struct Hint {
    #[serde(default)]
    hint: String,
}

/// Puts an envelope into a bundle; nothing if it is none, or names no key.
pub fn bundle(envelope: &[u8]) -> Option<Vec<u8>> {
    let envelope: Envelope<'_> = serde_json::from_slice(envelope).ok()?;
    let [Signed { keyid, .. }] = &envelope.signatures;
    let hint = BASE64_STANDARD.encode(KeyId::of_text(keyid)?.bytes());
    let verification_material = Material { public_key: Hint { hint } };
    serde_json::to_vec(&Bundle { media_type: BUNDLE_TYPE.into(), verification_material, dsse_envelope: envelope }).ok()
}

/// Takes the envelope out of a bundle; nothing if there is none in it, or one that is not as it has to be.
pub fn unbundle(bundle: &[u8]) -> Option<Vec<u8>> {
    if bundle.len() > MOST_BYTES {
        return None;
    }
    let bundle: Bundle<'_> = serde_json::from_slice(bundle).ok()?;
    if bundle.media_type != BUNDLE_TYPE {
        return None;
    }
    serde_json::to_vec(&bundle.dsse_envelope).ok()
}

/// What a signature is over, by the standard its pre-authentication encoding: both lengths are under it, so that type and payload cannot flow into each other.
pub fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
