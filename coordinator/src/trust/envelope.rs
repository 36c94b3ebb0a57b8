//! The envelope as bytes. Pure; knows nothing of keys beyond the place of a signature.
//!
//! | bytes | is |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 2 | [`VERSION`] |
//! | 2 | length of the head |
//! | | the head: layer, key, level, partition, written at, expires at, writer, digest and length of the payload |
//! | 64 | signature over everything before it |
//! | | the payload |
//!
//! Numbers are little-endian, texts have their length (u16) before them, the order is fixed and nothing may be left over: an envelope has one form.
//! Another meaning of any of it is another version, and a version that is not ours is left alone: somebody else can read it.

use super::key::{KeyId, SIGNATURE};
use super::seal::Refusal;
use crate::model::trust::{Level, Partition, Space};

/// How an envelope begins.
pub(super) const MAGIC: &[u8; 8] = b"scsealed";
/// The form that this splitci writes and reads.
pub(super) const VERSION: u16 = 1;

/// What is signed about a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Layer of the cache.
    pub(super) layer: String,
    /// Key in that layer.
    pub(super) key: [u8; 32],
    /// Where the writer says it writes.
    pub(super) space: Space,
    /// When, in milliseconds since 1970.
    pub(super) written_at: u64,
    /// Until when it counts.
    pub(super) expires_at: u64,
    /// Whose signature it is.
    pub(super) writer: KeyId,
    /// blake3 of the payload.
    pub(super) digest: [u8; 32],
    /// Bytes of the payload.
    pub(super) length: u64,
}

/// An envelope taken apart, nothing of it believed yet.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) head: Head,
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8; SIGNATURE],
    pub(super) payload: &'a [u8],
}

/// A level's number in an envelope.
fn code(level: Level) -> u8 {
    match level {
        Level::Local => 0,
        Level::Fork => 1,
        Level::Pull => 2,
        Level::Branch => 3,
        Level::Protected => 4,
        Level::Release => 5,
    }
}

/// What is signed: the envelope up to its signature.
pub(super) fn encode(head: &Head) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    put_text(&mut body, head.layer.as_bytes());
    body.extend_from_slice(&head.key);
    body.push(code(head.space.level));
    put_text(&mut body, head.space.partition.as_ref().map_or(b"", |partition| partition.name().as_bytes()));
    body.extend_from_slice(&head.written_at.to_le_bytes());
    body.extend_from_slice(&head.expires_at.to_le_bytes());
    body.extend_from_slice(head.writer.bytes());
    body.extend_from_slice(&head.digest);
    body.extend_from_slice(&head.length.to_le_bytes());
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    put_text(&mut out, &body);
    out
}

fn put_text(out: &mut Vec<u8>, bytes: &[u8]) {
    // Names of layers are ours and partitions have 255 bytes at most; a length that did not fit would end in an envelope that nobody opens.
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Takes an envelope apart.
pub(super) fn decode(bytes: &[u8]) -> Result<Parts<'_>, Refusal> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(if MAGIC.starts_with(bytes) { Refusal::Truncated } else { Refusal::NotSealed });
    };
    let mut reader = Reader(rest);
    let version = reader.u16().ok_or(Refusal::Truncated)?;
    if version != VERSION {
        return Err(Refusal::OtherVersion { found: version });
    }
    let body = reader.text().ok_or(Refusal::Truncated)?;
    let signed = &bytes[..bytes.len() - reader.0.len()];
    let signature = reader.array::<SIGNATURE>().ok_or(Refusal::Truncated)?;
    let head = head(body).ok_or(Refusal::Malformed)?;
    let payload = reader.0;
    match (payload.len() as u64).cmp(&head.length) {
        std::cmp::Ordering::Less => Err(Refusal::Truncated),
        std::cmp::Ordering::Greater => Err(Refusal::Malformed),
        std::cmp::Ordering::Equal => Ok(Parts { head, signed, signature, payload }),
    }
}

fn head(body: &[u8]) -> Option<Head> {
    let mut reader = Reader(body);
    let layer = reader.text().and_then(text)?;
    let key = *reader.array()?;
    let code_found = reader.array::<1>()?[0];
    let level = Level::ALL.into_iter().find(|level| code(*level) == code_found)?;
    let partition = match reader.text().and_then(text)? {
        name if name.is_empty() => None,
        name => Some(Partition::new(&name)?),
    };
    let head = Head {
        layer,
        key,
        space: Space { level, partition },
        written_at: reader.u64()?,
        expires_at: reader.u64()?,
        writer: KeyId::from_bytes(*reader.array()?),
        digest: *reader.array()?,
        length: reader.u64()?,
    };
    reader.0.is_empty().then_some(head)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}
