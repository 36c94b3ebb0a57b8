//! Whether Redis has room for a cache entry. A queue may live on the same server, and for it a full one is the end of a run.
//!
//! Nothing is written above 60 % of the server's memory, as `INFO memory` tells it, nor beyond the limit of its space. What a space took is summed up by
//! days: entries expire, and so do the sums. Overwritten entries are counted twice, so that the limit is kept and not quite reached.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use redis::{Pipeline, Value};

use super::{RedisStore, commands, failure, prefix};
use crate::content::StoreError;

/// Part of the server's memory that caches leave alone: the rest is the queue's.
const UP_TO: (u64, u64) = (6, 10);
const DAY: u64 = 24 * 3600;
/// How long the server's word counts, with what was written since.
const FRESH: Duration = Duration::from_secs(1);
/// How long nothing is tried after the server said that it is full.
const SHUT: Duration = Duration::from_secs(10);

/// What is known of the room.
#[derive(Debug)]
pub(super) struct Gate {
    most: u64,
    keep: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The space that was asked for, when, and how much more it may take.
    room: Option<(String, Instant, u64)>,
    shut: Option<Instant>,
}

/// How a server is set up and filled, for those who look after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisMemory {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that it may use: its limit, or else the machine's memory.
    pub most: u64,
    /// Whether that is a limit of its own.
    pub limited: bool,
    /// What it does when it is full: `noeviction` where a queue lives.
    pub policy: String,
}

impl Gate {
    pub(super) fn new(most: u64, keep: Duration) -> Self {
        Self { most, keep, known: Mutex::default() }
    }

    /// The server said that it is full.
    pub(super) fn shut(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).shut = Some(Instant::now());
    }

    /// Adds the commands that count so many bytes.
    pub(super) fn count(&self, space: &str, bytes: u64, commands: &mut Pipeline) {
        let today = self.sums(space).pop().unwrap_or_default();
        commands.cmd("INCRBY").arg(&today).arg(bytes).ignore();
        commands.cmd("EXPIRE").arg(&today).arg(self.keep.as_secs() + DAY).ignore();
    }

    /// The keys of the sums that count, today's last.
    fn sums(&self, space: &str) -> Vec<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let today = now.as_secs() / DAY;
        let first = today.saturating_sub(self.keep.as_secs() / DAY);
        (first..=today).map(|day| format!("{}:sum:{day}", prefix(space))).collect()
    }

    /// What is known without asking: whether so much fits. It then counts as taken.
    fn take(&self, space: &str, bytes: u64) -> Option<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.shut.is_some_and(|when| when.elapsed() < SHUT) {
            return Some(false);
        }
        let (of, when, room) = known.room.as_mut()?;
        if of != space || when.elapsed() > FRESH {
            return None;
        }
        let fits = bytes <= *room;
        if fits {
            *room -= bytes;
        }
        Some(fits)
    }

    fn learn(&self, space: &str, room: u64) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).room = Some((space.to_owned(), Instant::now(), room));
    }
}

impl RedisStore {
    /// How the server is set up and filled.
    pub async fn memory(&self) -> Result<RedisMemory, StoreError> {
        let mut commands = commands();
        commands.cmd("INFO").arg("memory");
        let answer = self.look(&commands).await?.pop().transpose().map_err(failure)?;
        Ok(memory(&text(answer.unwrap_or(Value::Nil))))
    }

    /// Whether so many bytes more may be written to a space.
    pub(super) async fn has_room(&self, space: &str, bytes: u64) -> Result<bool, StoreError> {
        if let Some(fits) = self.gate.take(space, bytes) {
            return Ok(fits);
        }
        let mut commands = commands();
        commands.cmd("INFO").arg("memory");
        commands.cmd("MGET").arg(self.gate.sums(space));
        let mut answers = self.look(&commands).await?.into_iter();
        let mut next = || answers.next().transpose().map_err(failure).map(|answer| answer.unwrap_or(Value::Nil));
        let memory = memory(&text(next()?));
        let sums = next()?;
        let taken: u64 = sums.into_sequence().unwrap_or_default().into_iter().filter_map(|sum| text(sum).parse::<u64>().ok()).sum();
        let up_to = memory.most / UP_TO.1 * UP_TO.0;
        self.gate.learn(space, up_to.saturating_sub(memory.used).min(self.gate.most.saturating_sub(taken)));
        Ok(self.gate.take(space, bytes).unwrap_or_default())
    }
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
        _ => String::new(),
    }
}

/// What `INFO memory` says. A server that says nothing has no room.
fn memory(info: &str) -> RedisMemory {
    let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':')).unwrap_or_default();
    let number = |name: &str| field(name).parse::<u64>().unwrap_or_default();
    let limit = number("maxmemory");
    let most = if limit == 0 { number("total_system_memory") } else { limit };
    RedisMemory { used: number("used_memory"), most, limited: limit != 0, policy: field("maxmemory_policy").to_owned() }
}
