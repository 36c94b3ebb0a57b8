//! A bucket as a store: for what is large, and for machines that are far from each other. Whatever speaks S3 will do.
//!
//! | object | is |
//! |---|---|
//! | `<prefix>/v1/cas/ab/<62 digits>` | a blob, see [`mod@super::frames`]; made once and never changed |
//! | `<prefix>/v1/rec/<space>/<layer>/ab/<62 digits>` | a record, see [`mod@super::envelope`] |
//!
//! Spaces stand before layers, so that a rule for `rec/pull*` gives a key the rights of a level. Nothing is deleted for being old: give the bucket a
//! lifecycle rule. Blobs are created and not replaced, so that who writes one that is there already costs no more than a question; one that turned
//! out to be damaged and could not be deleted is written over.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use fs_err as fs;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, GetResult, ObjectStore as _, ObjectStoreExt as _, PutMode, RetryConfig, WriteMultipart};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::counters::End;
use super::envelope::{self, Opened};
use super::frames::{self, Unreadable};
use super::{Counters, Digest, MOST_IN_MEMORY, Record, RecordKey, Store, StoreError, name, place};

/// The version of the names and of what is in the objects.
const VERSION: u32 = 1;
const CONNECT: Duration = Duration::from_secs(1);
/// Without a byte; the chain waits less for most things.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects beyond that are sent in parts of that size.
const PART: usize = 8 << 20;
/// Parts, or questions, that are on their way at a time.
const AT_A_TIME: usize = 8;
/// Questions that are asked at a time: the answers weigh nothing.
const QUESTIONS: usize = 32;
/// A question whether a blob is there already costs more than sending one up to that size.
const SMALL: usize = 64 << 10;

/// Which bucket, and the key to it.
#[derive(Clone, Default)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Where it is, unless it is Amazon's: `https://minio.example`.
    pub endpoint: Option<String>,
    /// What stands before all names.
    pub prefix: String,
    /// Id and secret of a key. Without it the machine's own role is used.
    pub key: Option<(String, String)>,
    /// The token of a key that was lent.
    pub token: Option<String>,
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, region, endpoint, prefix, .. } = self;
        let mut shown = f.debug_struct("S3Settings");
        shown.field("bucket", bucket).field("region", region).field("endpoint", endpoint).field("prefix", prefix);
        shown.finish_non_exhaustive()
    }
}

/// A store in a bucket.
#[derive(Debug)]
pub struct S3Store {
    bucket: AmazonS3,
    prefix: String,
    scratch: PathBuf,
    /// Blobs that are damaged and could not be deleted.
    spoiled: Mutex<HashSet<Digest>>,
    counters: Counters,
}

impl S3Store {
    /// A store that connects when it is first asked. Large blobs pass through `scratch`.
    pub fn new(settings: &S3Settings, scratch: PathBuf) -> Result<Self, StoreError> {
        let options = ClientOptions::new().with_connect_timeout(CONNECT).with_timeout_disabled().with_read_timeout(PATIENCE);
        let backoff = BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_millis(500), base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(5) };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_client_options(options.with_allow_http(settings.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"))))
            .with_retry(retry);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((id, secret)) = &settings.key {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        if let Some(token) = &settings.token {
            builder = builder.with_token(token);
        }
        let bucket = builder.build().map_err(failure)?;
        let prefix = settings.prefix.trim_matches('/').to_owned();
        Ok(Self { bucket, prefix, scratch, spoiled: Mutex::default(), counters: Counters::default() })
    }

    fn blob_path(&self, digest: Digest) -> Path {
        let hex = digest.to_hex();
        Path::from(format!("{}/v{VERSION}/cas/{}/{}", self.prefix, &hex[..2], &hex[2..]))
    }

    fn record_path(&self, key: &RecordKey) -> Path {
        let (space, layer, hex) = (name::space(&key.space), name::space(key.layer), Digest::from_bytes(key.key).to_hex());
        // A `%` would be written as `%25` in a request and as itself in a rule; `=` is neither.
        let (space, layer) = (space.replace('%', "="), layer.replace('%', "="));
        Path::from(format!("{}/v{VERSION}/rec/{space}/{layer}/{}/{}", self.prefix, &hex[..2], &hex[2..]))
    }

    async fn find(&self, path: &Path) -> Result<Option<GetResult>, StoreError> {
        match self.bucket.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// All of an object, or nothing if there is none. What is longer than that is not waited for.
    async fn fetch(&self, path: &Path, most: usize) -> Result<Option<Bytes>, StoreError> {
        let Some(found) = self.find(path).await? else { return Ok(None) };
        let mut whole = BytesMut::new();
        let mut parts = found.into_stream();
        while let Some(part) = parts.try_next().await.map_err(failure)? {
            self.counters.arrived(part.len());
            whole.extend_from_slice(&part);
            if whole.len() > most {
                break;
            }
        }
        Ok(Some(whole.freeze()))
    }

    /// The same into a file, whatever its length.
    async fn fetch_to(&self, path: &Path, file: &FilePath) -> Result<bool, StoreError> {
        let Some(found) = self.find(path).await? else { return Ok(false) };
        let mut sink = tokio::fs::File::create_new(file).await?;
        let mut parts = found.into_stream();
        while let Some(part) = parts.try_next().await.map_err(failure)? {
            self.counters.arrived(part.len());
            sink.write_all(&part).await?;
        }
        sink.flush().await?;
        Ok(true)
    }

    async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match self.bucket.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }

    /// Counts how a look-up of a blob ended, and deletes what is damaged.
    async fn judge<T>(&self, digest: Digest, read: Result<(Digest, T), Unreadable>, length: usize) -> Result<Option<T>, StoreError> {
        match read {
            Ok((found, whole)) if found == digest => {
                self.counters.blob(End::Hit, length);
                Ok(Some(whole))
            }
            Ok(_) | Err(Unreadable::Damaged) => {
                self.counters.blob(End::Damaged, length);
                if self.delete(&self.blob_path(digest)).await.is_err() {
                    self.spoiled().insert(digest);
                }
                Ok(None)
            }
            Err(Unreadable::TooLarge { bytes, most }) => Err(StoreError::TooLarge { what: "a blob", bytes, most }),
            Err(Unreadable::Files(error)) => Err(error.into()),
        }
    }

    fn spoiled(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.spoiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a blob as it is kept, unless it is there.
    async fn send(&self, digest: Digest, kept: Kept) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        let spoiled = self.spoiled().contains(&digest);
        let length = kept.length();
        if length > SMALL as u64 && !spoiled && self.has_one(digest).await? {
            return Ok(());
        }
        match kept {
            Kept::Bytes(bytes) if bytes.len() <= PART => {
                let mode = if spoiled { PutMode::Overwrite } else { PutMode::Create };
                match self.bucket.put_opts(&path, bytes.into(), mode.into()).await {
                    Ok(_) => {}
                    // Somebody was faster.
                    Err(object_store::Error::AlreadyExists { .. }) => return Ok(()),
                    Err(error) => return Err(failure(error)),
                }
            }
            kept => self.send_in_parts(&path, kept).await?,
        }
        self.spoiled().remove(&digest);
        self.counters.written(length);
        Ok(())
    }

    async fn send_in_parts(&self, path: &Path, kept: Kept) -> Result<(), StoreError> {
        let upload = self.bucket.put_multipart(path).await.map_err(failure)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let sent = feed(&mut upload, kept).await;
        if let Err(error) = sent {
            // What is left of it a lifecycle rule may take.
            let _left = upload.abort().await;
            return Err(error);
        }
        upload.finish().await.map(drop).map_err(failure)
    }

    async fn has_one(&self, digest: Digest) -> Result<bool, StoreError> {
        match self.bucket.head(&self.blob_path(digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    fn passing(&self) -> Passing {
        Passing(self.scratch.join(format!("splitci-{}", ulid::Ulid::generate())))
    }

    fn told<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.inspect_err(|error| self.counters.failed(error))
    }

    async fn read(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        let Some(kept) = self.fetch(&self.blob_path(digest), MOST_IN_MEMORY).await? else {
            self.counters.blob(End::Absent, 0);
            return Ok(None);
        };
        let length = kept.len();
        let read = aside(move || frames::decode_bytes(&&*kept, length as u64, MOST_IN_MEMORY)).await?;
        Ok(self.judge(digest, read, length).await?.map(Bytes::from))
    }

    async fn read_to(&self, digest: Digest, file: &FilePath, most: u64) -> Result<bool, StoreError> {
        let kept = self.passing();
        if !self.fetch_to(&self.blob_path(digest), &kept.0).await? {
            self.counters.blob(End::Absent, 0);
            return Ok(false);
        }
        let beside = Passing(place::beside(file));
        let (from, to) = (kept.0.clone(), beside.0.clone());
        let read = aside(move || -> Result<(Digest, u64), Unreadable> {
            let kept = fs::File::open(from)?;
            let length = kept.metadata()?.len();
            let sink = fs::OpenOptions::new().create_new(true).write(true).open(to)?;
            Ok((frames::decode(&kept, length, most, &sink)?, length))
        });
        let read = read.await?;
        let length = read.as_ref().map_or(0, |(_, length)| usize::try_from(*length).unwrap_or(usize::MAX));
        let whole = self.judge(digest, read, length).await?.is_some();
        if whole {
            fs::rename(&beside.0, file)?;
        }
        Ok(whole)
    }

    async fn write_file(&self, file: &FilePath) -> Result<Digest, StoreError> {
        let kept = self.passing();
        let (from, to) = (file.to_owned(), kept.0.clone());
        let encoded = aside(move || -> std::io::Result<(Digest, u64)> {
            let file = fs::File::open(from)?;
            let mut sink = fs::OpenOptions::new().create_new(true).write(true).open(to)?;
            let digest = frames::encode(&file, file.metadata()?.len(), frames::FAR, &mut sink)?;
            Ok((digest, sink.metadata()?.len()))
        });
        let (digest, length) = encoded.await??;
        let kept = if length <= PART as u64 { Kept::Bytes(fs::read(&kept.0)?.into()) } else { Kept::File(kept, length) };
        self.send(digest, kept).await.map(|()| digest)
    }
}

/// An encoded blob on its way.
enum Kept {
    Bytes(Bytes),
    File(Passing, u64),
}

impl Kept {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }
}

async fn feed(upload: &mut WriteMultipart, kept: Kept) -> Result<(), StoreError> {
    match kept {
        Kept::Bytes(bytes) => {
            upload.put(bytes);
            Ok(())
        }
        Kept::File(file, _) => {
            let mut file = tokio::fs::File::open(&file.0).await?;
            loop {
                upload.wait_for_capacity(AT_A_TIME).await.map_err(failure)?;
                let mut part = BytesMut::with_capacity(PART);
                while part.len() < PART && file.read_buf(&mut part).await? > 0 {}
                if part.is_empty() {
                    return Ok(());
                }
                upload.put(part.freeze());
            }
        }
    }
}

/// A file that is gone when it has passed.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

/// Work for the processor and the disk, where it holds up nobody.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, std::io::Error> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)
}

fn failure(error: object_store::Error) -> StoreError {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    let refused = matches!(error, PermissionDenied { .. } | Unauthenticated { .. });
    let cause = Arc::new(error);
    if refused { StoreError::Refused { tier: "s3", cause } } else { StoreError::Remote { tier: "s3", cause } }
}

#[async_trait]
impl Store for S3Store {
    fn name(&self) -> &'static str {
        "s3"
    }

    async fn has(&self, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        let questions: Vec<_> = digests.iter().map(|digest| self.has_one(*digest)).collect();
        self.told(futures_util::stream::iter(questions).buffered(QUESTIONS).try_collect().await)
    }

    async fn get(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.told(self.read(digest).await).inspect_err(|_| self.counters.blob(End::Failed, 0))
    }

    async fn get_to(&self, digest: Digest, file: &FilePath, most: u64) -> Result<bool, StoreError> {
        self.told(self.read_to(digest, file, most).await).inspect_err(|_| self.counters.blob(End::Failed, 0))
    }

    async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), StoreError> {
        let (found, kept) = aside(move || (Digest::of(&bytes), frames::encode_bytes(&bytes, frames::FAR))).await?;
        if found != digest {
            return Err(StoreError::NotTheDigest { wanted: digest, found });
        }
        self.told(self.send(digest, Kept::Bytes(kept?.into())).await)
    }

    async fn put_file(&self, file: &FilePath) -> Result<Digest, StoreError> {
        self.told(self.write_file(file).await)
    }

    async fn entry(&self, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(key);
        let fetched = self.told(self.fetch(&path, envelope::MOST_KEPT).await);
        let Some(kept) = fetched.inspect_err(|_| self.counters.record(key.layer, End::Failed, 0))? else {
            self.counters.record(key.layer, End::Absent, 0);
            return Ok(None);
        };
        let opened = envelope::open(key, &kept);
        self.counters.record(key.layer, opened.end(), kept.len());
        if opened == Opened::Damaged {
            // Where that is not allowed it is found again, and is no record then, either.
            let _left = self.delete(&path).await;
        }
        Ok(opened.whole())
    }

    async fn put_entry(&self, key: &RecordKey, record: Record) -> Result<(), StoreError> {
        let kept = envelope::seal(key, &record)?;
        let length = kept.len() as u64;
        let sent = self.bucket.put(&self.record_path(key), kept.into()).await;
        self.told(sent.map_err(failure))?;
        self.counters.written(length);
        Ok(())
    }

    async fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        self.told(self.delete(&self.blob_path(digest)).await)
    }

    async fn remove_record(&self, key: &RecordKey) -> Result<(), StoreError> {
        self.told(self.delete(&self.record_path(key)).await)
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
