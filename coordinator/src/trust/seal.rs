//! Seals: what a run writes for others is signed, and what it reads is opened only if somebody it trusts wrote exactly this, for exactly this place.
//!
//! A store keeps bytes for whoever can write to it. So everything that gives an entry its meaning is under the signature: layer and key (or an honest
//! entry could be served as the answer to another question), level and partition (or it could be moved up), both times (or it could be kept for
//! ever), and the payload's digest. An entry that does not open is a miss, with its reason; it is never an error and never removed here, for a
//! reader with another list may open it.
//!
//! Clocks differ. An entry from the near future is taken; one from more than [`CLOCK_SLACK`] ahead is not, since its end would be as far off. What a clock that
//! is wrong costs is time.

use std::time::Duration;

use bytes::Bytes;

use super::envelope::{self, Head, Parts};
use super::key::{KeyId, SecretKey};
use super::list::TrustList;
use super::mac::MacKey;
use crate::model::trust::{Level, Partition, Space};

/// How far clocks of honest machines may differ.
pub const CLOCK_SLACK: Duration = Duration::from_mins(5);

/// The question that an entry is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    /// Layer of the cache.
    pub layer: &'a str,
    /// Key in that layer.
    pub key: [u8; 32],
    /// Where it was looked for.
    pub space: Space,
}

/// From when until when an entry counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it is written, in milliseconds since 1970.
    pub written_at: u64,
    /// How long it counts.
    pub keep: Duration,
}

/// An entry that can be believed, as far as its level goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was sealed.
    pub payload: Bytes,
    /// Who wrote it, by what the reader's list says: level, and partition.
    pub space: Space,
    /// With which key.
    pub writer: KeyId,
    /// When, in milliseconds since 1970.
    pub written_at: u64,
    /// Until when it counts.
    pub expires_at: u64,
}

/// Why an entry is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an envelope: unsigned, or something else altogether.
    #[error("it is not sealed")]
    NotSealed,
    /// Another splitci wrote it.
    #[error("it has version {found}, and this splitci reads {}", envelope::VERSION)]
    OtherVersion {
        /// Its version.
        found: u16,
    },
    /// It ends too early.
    #[error("it is cut off")]
    Truncated,
    /// It is not of the one form that an envelope has.
    #[error("it is not put together as an envelope is")]
    Malformed,
    /// Signed with a key that the reader does not have in its list.
    #[error("key {}, which is not trusted here, signed it", writer.short())]
    Stranger {
        /// Which.
        writer: KeyId,
    },
    /// Not signed by the key it names.
    #[error("its signature does not fit")]
    Signature,
    /// Not what was signed.
    #[error("its payload is not the one that was signed")]
    Payload,
    /// An honest answer to another question.
    #[error("it belongs to another key, of layer `{}`", layer.escape_debug())]
    Replayed {
        /// The layer it belongs to.
        layer: String,
    },
    /// It says of itself more, or less, than the reader's list says of its writer.
    #[error("it says `{claimed}`, and its key is trusted as `{trusted}`")]
    Level {
        /// What it says.
        claimed: Space,
        /// What the list says.
        trusted: Space,
    },
    /// It was found where another level's or partition's entries lie.
    #[error("it belongs to `{found}`")]
    Misplaced {
        /// Where it belongs.
        found: Space,
    },
    /// Less trusted than the reader.
    #[error("it was written at level `{level}`, which is not enough here")]
    TooLow {
        /// Its level.
        level: Level,
    },
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it was written in the future: a clock is wrong, here or there")]
    Future,
}

impl Refusal {
    /// One word, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotSealed => "unsigned",
            Self::OtherVersion { .. } => "version",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Stranger { .. } => "stranger",
            Self::Signature => "signature",
            Self::Payload => "payload",
            Self::Replayed { .. } => "replayed",
            Self::Level { .. } | Self::TooLow { .. } => "level",
            Self::Misplaced { .. } => "misplaced",
            Self::Expired => "expired",
            Self::Future => "future",
        }
    }
}

/// Signs what a run writes and opens what it reads.
#[derive(Debug, Clone)]
pub struct Seal {
    key: SecretKey,
    list: TrustList,
    space: Space,
}

impl Seal {
    /// A run with this key, that trusts this list. Its level is what the list says of its key; a key that is not in it is local, and trusted by itself.
    /// A partition of the list comes before one that is asked for, which readers would refuse.
    pub fn new(key: SecretKey, list: TrustList, partition: Option<Partition>) -> Self {
        let listed = list.get(&key.id()).map(|(_, space)| space.clone());
        let mut list = list;
        let space = match listed {
            Some(Space { level, partition: own }) => Space { level, partition: own.or(partition) },
            None => Space::of(Level::Local),
        };
        if space.level == Level::Local {
            // It fails for a key that is there with another level, and that one is not.
            let _added = list.add(key.public().clone(), space.clone());
        }
        Self { key, list, space }
    }

    /// Where this run writes.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The name of its key.
    pub fn writer(&self) -> KeyId {
        self.key.id()
    }

    /// What hides secret values in its keys of caches.
    pub fn mac_key(&self) -> MacKey {
        self.key.mac_key()
    }

    /// Where this run reads, its own place first, then level by level upwards. Levels that no key of the list has are left out. `branches` are partitions to
    /// look into beside those that the list names: the branch a pull request goes to, say. Their names decide where is looked, not what is believed.
    pub fn reads(&self, branches: &[Partition]) -> Vec<Space> {
        let mut out = vec![self.space.clone()];
        for level in Level::ALL.into_iter().rev().filter(|level| *level >= self.space.level) {
            let listed = self.list.places(level);
            let named = branches.iter().filter(|_| listed.contains(&None)).cloned().map(Some);
            let places: Vec<_> = listed.iter().cloned().chain(named).map(|partition| Space { level, partition }).collect();
            for space in places {
                if !out.contains(&space) && (level > self.space.level || space.partition.is_none()) {
                    out.push(space);
                }
            }
        }
        out
    }

    /// Seals a payload as the answer to a question, in the place where this run writes.
    pub fn seal(&self, layer: &str, key: [u8; 32], life: Life, payload: &[u8]) -> Bytes {
        let head = Head {
            layer: layer.to_owned(),
            key,
            space: self.space.clone(),
            written_at: life.written_at,
            expires_at: life.written_at.saturating_add(millis(life.keep)),
            writer: self.key.id(),
            digest: *blake3::hash(payload).as_bytes(),
            length: payload.len() as u64,
        };
        let mut out = envelope::encode(&head);
        let signature = self.key.sign(&out);
        out.extend_from_slice(&signature);
        out.extend_from_slice(payload);
        out.into()
    }

    /// Opens an envelope that was found at an address, `now` in milliseconds since 1970.
    pub fn open(&self, at: &Address<'_>, sealed: &Bytes, now: u64) -> Result<Opened, Refusal> {
        let Parts { head, signed, signature, payload } = envelope::decode(sealed)?;
        let (key, trusted) = self.list.get(&head.writer).ok_or(Refusal::Stranger { writer: head.writer })?;
        if !key.verifies(signed, signature) {
            return Err(Refusal::Signature);
        }
        if blake3::hash(payload) != blake3::Hash::from_bytes(head.digest) {
            return Err(Refusal::Payload);
        }
        // From here on it is true that the writer wrote this; what remains is whether that is of use.
        self.fits(at, &head, trusted)?;
        in_time(&head, now)?;
        let payload = sealed.slice(sealed.len() - payload.len()..);
        let Head { space, writer, written_at, expires_at, .. } = head;
        Ok(Opened { payload, space, writer, written_at, expires_at })
    }

    fn fits(&self, at: &Address<'_>, head: &Head, trusted: &Space) -> Result<(), Refusal> {
        if head.layer != at.layer || head.key != at.key {
            return Err(Refusal::Replayed { layer: head.layer.clone() });
        }
        let foreign = trusted.partition.is_some() && trusted.partition != head.space.partition;
        if head.space.level != trusted.level || foreign {
            return Err(Refusal::Level { claimed: head.space.clone(), trusted: trusted.clone() });
        }
        if head.space != at.space {
            return Err(Refusal::Misplaced { found: head.space.clone() });
        }
        if trusted.level < self.space.level {
            return Err(Refusal::TooLow { level: trusted.level });
        }
        Ok(())
    }
}

fn in_time(head: &Head, now: u64) -> Result<(), Refusal> {
    if head.written_at > now.saturating_add(millis(CLOCK_SLACK)) {
        return Err(Refusal::Future);
    }
    if head.expires_at <= now { Err(Refusal::Expired) } else { Ok(()) }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
