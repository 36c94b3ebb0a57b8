//! Redis as a store: for records and small blobs that many machines share within milliseconds.
//!
//! | key | is |
//! |---|---|
//! | `sc:<space>:1:rec:<layer>:<64 digits>` | a record, see [`mod@super::envelope`] |
//! | `sc:<space>:1:cas:<64 digits>` | a blob, see [`mod@super::frames`] |
//! | `<key>:<32 digits>:<number>` | a part of either, where it is large, see [`mod@value`] |
//! | `sc:<space>:1:sum:<day>` | bytes written there on that day, see [`mod@gate`] |
//!
//! Spaces stand first, so that `~sc:pull:*` and `~sc:pull%2f*` give a user of Redis the rights of a level: then who may not write a level can neither
//! delete nor spoil what it has. Blobs are written to the store's own space and looked for in those it trusts, too; wherever they come from, they are
//! verified. Everything expires. Nothing is written that would take room that a queue on the same server may need.

mod gate;
mod value;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fs_err as fs;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Mutex;

use self::gate::Gate;
pub use self::gate::RedisMemory;
use self::value::Found;
use super::counters::End;
use super::envelope::{self, Opened};
use super::frames::{self, Unreadable};
use super::{Counters, Digest, MOST_IN_MEMORY, Record, RecordKey, Store, StoreError, name, place};

/// The version of the keys and of what is in them.
const VERSION: u32 = 1;
/// What one answer may take; for a record the chain waits less.
const PATIENCE: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(1);
/// Questions that are asked in one go.
const AT_A_TIME: usize = 1000;
/// Files beyond that are not read to see how small they get: a blob in Redis has at most [`value::MOST`].
const LARGEST_FILE: u64 = 64 << 20;

/// Which Redis, and what of it.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` or `redis+unix://`, with user and password if there are any.
    pub url: String,
    /// Where blobs are written: the level of this run, and what partitions that.
    pub space: String,
    /// Where else blobs are looked for.
    pub trusted: Vec<String>,
    /// How long an entry is kept after it was last put.
    pub keep: Duration,
    /// Most bytes of a space.
    pub most: u64,
}

impl RedisSettings {
    /// With the usual limits: a week, and 1 GiB.
    pub fn new(url: &str, space: &str) -> Self {
        let (url, space) = (url.to_owned(), space.to_owned());
        Self { url, space, trusted: Vec::new(), keep: Duration::from_hours(7 * 24), most: 1 << 30 }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisSettings").field("space", &self.space).field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

/// A store in Redis.
#[derive(Debug)]
pub struct RedisStore {
    settings: RedisSettings,
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    gate: Gate,
    counters: Counters,
}

impl RedisStore {
    /// A store that connects when it is first asked.
    pub fn new(settings: RedisSettings) -> Result<Self, StoreError> {
        let client = Client::open(settings.url.as_str()).map_err(failure)?;
        let gate = Gate::new(settings.most, settings.keep);
        Ok(Self { settings, client, connection: Mutex::new(None), gate, counters: Counters::default() })
    }

    fn record_key(key: &RecordKey) -> String {
        format!("{}:rec:{}:{}", prefix(&key.space), name::space(key.layer), Digest::from_bytes(key.key))
    }

    fn blob_key(space: &str, digest: Digest) -> String {
        format!("{}:cas:{digest}", prefix(space))
    }

    fn spaces(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.settings.space).chain(&self.settings.trusted)
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(PATIENCE));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(held.insert(connection).clone())
    }

    /// Sends commands and gives back an answer to each.
    async fn send(&self, commands: &Pipeline) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let mut connection = self.connection().await.map_err(failure)?;
        let answers = commands.query_async::<Vec<RedisResult<Value>>>(&mut connection).await;
        if answers.is_err() {
            // The next one gets a new connection: this one is gone, or its answers come too late.
            *self.connection.lock().await = None;
        }
        answers.map_err(failure)
    }

    /// The same for commands that change nothing: they may be sent again if the server went away meanwhile.
    async fn look(&self, commands: &Pipeline) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let was_connected = self.connection.lock().await.is_some();
        match self.send(commands).await {
            Err(StoreError::Remote { cause, .. }) if was_connected && is_lost(&*cause) => self.send(commands).await,
            answers => answers,
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let mut commands = commands();
        commands.cmd("DEL").arg(key);
        for answer in self.send(&commands).await? {
            answer.map_err(failure)?;
        }
        Ok(())
    }

    /// A blob, wherever it may be.
    async fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let keys: Vec<String> = self.spaces().map(|space| Self::blob_key(space, digest)).collect();
        let mut end = End::Absent;
        for (key, found) in keys.iter().zip(self.find(&keys).await?) {
            match self.assemble(key, found).await? {
                Found::Absent => continue,
                Found::OtherVersion => {
                    end = End::OtherVersion;
                    continue;
                }
                Found::Whole(kept) => {
                    let length = kept.len();
                    match aside(move || frames::decode_bytes(&&*kept, length as u64, MOST_IN_MEMORY)).await? {
                        Ok((found, bytes)) if found == digest => {
                            self.counters.blob(End::Hit, length);
                            return Ok(Some(bytes));
                        }
                        Ok(_) | Err(Unreadable::Damaged) => {}
                        Err(Unreadable::TooLarge { bytes, most }) => return Err(StoreError::TooLarge { what: "a blob", bytes, most }),
                        Err(Unreadable::Files(error)) => return Err(error.into()),
                    }
                }
                Found::Broken | Found::Parts(_) => {}
            }
            end = End::Damaged;
            self.forget(key).await;
        }
        self.counters.blob(end, 0);
        Ok(None)
    }

    /// Deletes what is damaged, where that is allowed.
    async fn forget(&self, key: &str) {
        let _kept = self.delete(key).await;
    }

    async fn put_kept(&self, digest: Digest, kept: Vec<u8>) -> Result<(), StoreError> {
        let key = Self::blob_key(&self.settings.space, digest);
        let kept = Bytes::from(kept);
        if self.keep_on(&key, &kept).await? {
            return Ok(());
        }
        self.write(&self.settings.space, &key, kept).await
    }

    fn told<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.inspect_err(|error| self.counters.failed(error))
    }
}

/// Commands that are sent in one go, each of which may fail alone.
fn commands() -> Pipeline {
    let mut commands = Pipeline::new();
    commands.ignore_errors();
    commands
}

fn prefix(space: &str) -> String {
    format!("sc:{}:{VERSION}", name::space(space))
}

/// A failure of Redis, or of the way there.
fn failure(error: RedisError) -> StoreError {
    let refused = error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"));
    let cause = Arc::new(error);
    if refused { StoreError::Refused { tier: "redis", cause } } else { StoreError::Remote { tier: "redis", cause } }
}

/// Whether the connection ended, as it does when the server is started anew.
fn is_lost(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause.downcast_ref::<RedisError>().is_some_and(|error| error.is_connection_dropped() || error.is_io_error() && !error.is_timeout())
}

/// Work for the processor, where it holds up nobody.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, std::io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

#[async_trait]
impl Store for RedisStore {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        let mut there = Vec::with_capacity(digests.len());
        for some in digests.chunks(AT_A_TIME) {
            let mut commands = commands();
            for digest in some {
                let keys: Vec<String> = self.spaces().map(|space| Self::blob_key(space, *digest)).collect();
                commands.cmd("EXISTS").arg(keys);
            }
            let answers = self.told(self.look(&commands).await)?;
            let counts: RedisResult<Vec<bool>> = answers.into_iter().map(|answer| Ok(answer? != Value::Int(0))).collect();
            there.extend(self.told(counts.map_err(failure))?);
        }
        Ok(there)
    }

    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let found = self.told(self.blob(digest).await).inspect_err(|_| self.counters.blob(End::Failed, 0))?;
        Ok(found.map(Bytes::from))
    }

    async fn get_to(&self, digest: Digest, file: &Path, most: u64) -> Result<bool, StoreError> {
        let found = self.told(self.blob(digest).await).inspect_err(|_| self.counters.blob(End::Failed, 0))?;
        let Some(bytes) = found else { return Ok(false) };
        if bytes.len() as u64 > most {
            return Err(StoreError::TooLarge { what: "a blob", bytes: bytes.len() as u64, most });
        }
        place::whole(file, |aside| fs::write(aside, &bytes).map_err(StoreError::from).map(|()| true))
    }

    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        let encoded = aside(move || (Digest::of(&bytes), frames::encode_bytes(&bytes, frames::FAR))).await?;
        let (found, kept) = encoded;
        if found != digest {
            return Err(StoreError::NotTheDigest { wanted: digest, found });
        }
        self.told(self.put_kept(digest, kept?).await)
    }

    async fn put_file(&self, file: &Path) -> Result<Digest, StoreError> {
        let file = file.to_owned();
        let encoded = aside(move || -> std::io::Result<(Digest, Option<Vec<u8>>)> {
            let file = fs::File::open(file)?;
            let length = file.metadata()?.len();
            if length > LARGEST_FILE {
                return Ok((frames::digest(&file, length)?, None));
            }
            let mut kept = Vec::new();
            Ok((frames::encode(&file, length, frames::FAR, &mut kept)?, Some(kept)))
        });
        let (digest, kept) = encoded.await??;
        match kept {
            Some(kept) => self.told(self.put_kept(digest, kept).await)?,
            None => self.counters.skipped(),
        }
        Ok(digest)
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let name = Self::record_key(key);
        let read = async {
            let found = self.find(std::slice::from_ref(&name)).await?.pop().unwrap_or(Found::Absent);
            self.assemble(&name, found).await
        };
        let found = self.told(read.await).inspect_err(|_| self.counters.record(key.layer, End::Failed, 0))?;
        let opened = match found {
            Found::Absent => {
                self.counters.record(key.layer, End::Absent, 0);
                return Ok(None);
            }
            Found::OtherVersion => Opened::OtherVersion,
            Found::Whole(kept) => envelope::open(key, &kept),
            Found::Broken | Found::Parts(_) => Opened::Damaged,
        };
        self.counters.record(key.layer, opened.end(), 0);
        if opened == Opened::Damaged {
            self.forget(&name).await;
        }
        Ok(opened.whole())
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        let kept = envelope::seal(key, &record)?;
        self.told(self.write(&key.space, &Self::record_key(key), kept).await)
    }

    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.told(self.delete(&Self::blob_key(&self.settings.space, digest)).await)
    }

    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        self.told(self.delete(&Self::record_key(key)).await)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
