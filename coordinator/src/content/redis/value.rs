//! How bytes lie under a key: whole, or as a list of parts where they are large, for Redis answers nobody else while it moves a large value.
//!
//! Whole: a byte 0 and the bytes. In parts: a byte 1, the number of parts and the length (32 bits each, little endian), and 16 bytes of the
//! blake3 of all, which stand in the parts' names as well. Parts are written first. So two writers of one key do not mix, and a part
//! that is lost is a loss of all. Other first bytes are another version's.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis::{RedisResult, Value};

use super::{RedisStore, commands, failure};
use crate::content::{Digest, StoreError};

/// Most bytes under one name: with what Redis adds it still fits into half a mebibyte, the next larger piece of memory has a quarter more.
const PART: usize = (512 << 10) - 1024;
/// Most bytes of a value; what is larger is for another store.
pub(super) const MOST: usize = 16 << 20;
/// Parts that are on their way at a time.
const AT_A_TIME: usize = 4;

const WHOLE: u8 = 0;
const IN_PARTS: u8 = 1;

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// These bytes.
    Whole(Bytes),
    /// Bytes that are still to be fetched.
    Parts(Parts),
    /// Something that another version wrote.
    OtherVersion,
    /// Something that cannot be what was written.
    Broken,
}

/// A value in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    count: usize,
    length: usize,
    hash: [u8; 16],
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&Digest::of(bytes).as_bytes()[..16]);
        Self { count: bytes.len().div_ceil(PART), length: bytes.len(), hash }
    }

    fn names(&self, key: &str) -> Vec<String> {
        let hash = u128::from_be_bytes(self.hash);
        (0..self.count).map(|number| format!("{key}:{hash:032x}:{number}")).collect()
    }

    fn write(&self) -> Option<Bytes> {
        let mut list = BytesMut::with_capacity(25);
        list.put_u8(IN_PARTS);
        list.put_u32_le(u32::try_from(self.count).ok()?);
        list.put_u32_le(u32::try_from(self.length).ok()?);
        list.put_slice(&self.hash);
        Some(list.freeze())
    }

    fn read(mut list: &[u8]) -> Option<Self> {
        let count = usize::try_from(list.try_get_u32_le().ok()?).ok()?;
        let length = usize::try_from(list.try_get_u32_le().ok()?).ok()?;
        let parts = Self { count, length, hash: list.try_into().ok()? };
        (length <= MOST && count == length.div_ceil(PART)).then_some(parts)
    }
}

impl RedisStore {
    /// What is under each of these keys.
    pub(super) async fn find(&self, keys: &[String]) -> Result<Vec<Found>, StoreError> {
        let mut commands = commands();
        for key in keys {
            commands.cmd("GET").arg(key);
        }
        self.look(&commands).await?.into_iter().map(found).collect()
    }

    /// Fetches parts, if there are any.
    pub(super) async fn assemble(&self, key: &str, found: Found) -> Result<Found, StoreError> {
        let Found::Parts(parts) = found else { return Ok(found) };
        let mut whole = BytesMut::with_capacity(parts.length);
        for names in parts.names(key).chunks(AT_A_TIME) {
            let mut commands = commands();
            for name in names {
                commands.cmd("GET").arg(name);
            }
            for answer in self.look(&commands).await? {
                let Value::BulkString(part) = answer.or_else(wrong_type)? else { return Ok(Found::Broken) };
                self.counters.arrived(part.len());
                whole.put_slice(&part);
            }
        }
        Ok(if Parts::of(&whole) == parts { Found::Whole(whole.freeze()) } else { Found::Broken })
    }

    /// Makes a value that is there already last as long as a new one. Says whether all of it is there.
    pub(super) async fn keep_on(&self, key: &str, bytes: &Bytes) -> Result<bool, StoreError> {
        let mut names = if bytes.len() < PART { Vec::new() } else { Parts::of(bytes).names(key) };
        names.push(key.to_owned());
        let mut commands = commands();
        for name in &names {
            commands.cmd("EXPIRE").arg(name).arg(self.settings.keep.as_secs());
        }
        let answers: RedisResult<Vec<Value>> = self.send(&commands).await?.into_iter().collect();
        Ok(answers.map_err(failure)?.iter().all(|answer| *answer == Value::Int(1)))
    }

    /// Writes a value, if there is room for it. Room that there is not is no error.
    pub(super) async fn write(&self, space: &str, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let length = bytes.len();
        if length > MOST || !self.has_room(space, length as u64).await? {
            self.counters.skipped();
            return Ok(());
        }
        let mut first = Bytes::from([&[WHOLE], &*bytes].concat());
        if length >= PART {
            let parts = Parts::of(&bytes);
            let named: Vec<(String, Bytes)> = parts.names(key).into_iter().zip(cut(bytes)).collect();
            for some in named.chunks(AT_A_TIME) {
                if !self.set(some, None).await? {
                    return Ok(());
                }
            }
            let Some(list) = parts.write() else { return Ok(()) };
            first = list;
        }
        if self.set(&[(key.to_owned(), first)], Some((space, length as u64))).await? {
            self.counters.written(length as u64);
        }
        Ok(())
    }

    /// Sets keys that expire, and adds to a space's sum. Says whether there was room for it.
    async fn set(&self, named: &[(String, Bytes)], sum: Option<(&str, u64)>) -> Result<bool, StoreError> {
        let mut commands = commands();
        for (name, bytes) in named {
            commands.cmd("SET").arg(name).arg(&**bytes).arg("EX").arg(self.settings.keep.as_secs());
        }
        if let Some((space, length)) = sum {
            self.gate.count(space, length, &mut commands);
        }
        for answer in self.send(&commands).await? {
            match answer {
                Ok(_) => {}
                Err(error) if error.code() == Some("OOM") => {
                    self.gate.shut();
                    self.counters.skipped();
                    return Ok(false);
                }
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(true)
    }
}

fn found(answer: RedisResult<Value>) -> Result<Found, StoreError> {
    Ok(match answer.or_else(wrong_type)? {
        Value::Nil => Found::Absent,
        Value::BulkString(bytes) => {
            let mut bytes = Bytes::from(bytes);
            match bytes.try_get_u8() {
                Ok(WHOLE) => Found::Whole(bytes),
                Ok(IN_PARTS) => Parts::read(&bytes).map_or(Found::Broken, Found::Parts),
                Ok(_) => Found::OtherVersion,
                Err(_) => Found::Broken,
            }
        }
        _ => Found::Broken,
    })
}

/// Somebody put a list or a hash there: that is no failure of the server.
fn wrong_type(error: redis::RedisError) -> Result<Value, StoreError> {
    if error.code() == Some("WRONGTYPE") { Ok(Value::Okay) } else { Err(failure(error)) }
}

fn cut(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(PART.min(bytes.len()))))
}
