//! The blobs of a repository: whether they are there, read, mounted from a repository beside, sent part by part.
//!
//! What is sent is counted on its way, and the upload is given up when it turns out to be something else than it is called. At most one part of a blob is in memory.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use super::digest::Counting;
use super::line::{self, Answer, Question};
use super::proof::Rights;
use super::repository::{CONTENT_RANGE, text};
use super::{Descriptor, Digest, Name, RegistryError, Repository};

/// How much of a blob is sent at once, in bytes.
const PART: usize = 8 << 20;
/// The largest part that a registry may insist on, in bytes.
const LARGEST_PART: usize = 64 << 20;
/// The most that is read of an answer that has nothing to say.
const LITTLE: u64 = 64 << 10;

/// What became of a mount.
#[derive(Debug)]
pub enum Mounted {
    /// The blob is there.
    Yes,
    /// It has to be sent: the registry began an upload instead.
    No(Upload),
    /// It has to be sent: the registry does not mount this.
    Refused,
}

/// An upload that was begun. To be [filled](Repository::fill) or [given up](Repository::give_up).
#[derive(Debug)]
pub struct Upload {
    place: Url,
    /// How much is sent at once, in bytes.
    part: usize,
}

impl Repository {
    /// Whether a blob is there.
    ///
    /// # Errors
    /// The registry cannot be asked, or refuses.
    pub async fn has_blob(&self, digest: Digest) -> Result<bool, RegistryError> {
        let url = self.line.url(&format!("blobs/{digest}"))?;
        let question = Question::read(Method::HEAD, url, format!("look for the blob `{digest}` in `{}`", self.name()));
        let answer = self.line.ask(&question, LITTLE).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.line.unexpected(&question, &answer)),
        }
    }

    /// Reads a small blob. `most` is how large it may be, in bytes.
    ///
    /// # Errors
    /// There is none; it is larger, or another one than it is called; the registry cannot be asked, or refuses.
    pub async fn read_blob(&self, blob: &Descriptor, most: u64) -> Result<Bytes, RegistryError> {
        let what = || format!("the blob `{}` of `{}`", blob.digest, self.name());
        if blob.size > most {
            return Err(RegistryError::TooLarge { what: what(), most });
        }
        let question = self.about_blob(blob)?;
        let answer = self.line.ask(&question, blob.size).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(RegistryError::Missing { what: format!("blob `{}` in `{}`", blob.digest, self.name()) }),
            _ => return Err(self.line.unexpected(&question, &answer)),
        }
        let found = Digest::of(&answer.body);
        if found == blob.digest { Ok(answer.body) } else { Err(RegistryError::Digest { what: what(), wanted: blob.digest, found }) }
    }

    /// Opens a blob of any size. Its bytes are not looked at: who takes them counts.
    ///
    /// # Errors
    /// There is none; the registry cannot be asked, or refuses. The stream ends with an error if the answer breaks off, or stands still for too long.
    pub async fn open_blob(&self, blob: &Descriptor) -> Result<impl Stream<Item = Result<Bytes, RegistryError>> + use<>, RegistryError> {
        let question = self.about_blob(blob)?;
        let within = self.line.patience.answer;
        let opening = tokio::time::timeout(within, self.line.open(&question)).await;
        let response = opening.map_err(|_| RegistryError::Late { what: format!("our question, to {},", question.asked), within })??;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(RegistryError::Missing { what: format!("blob `{}` in `{}`", blob.digest, self.name()) }),
            status => {
                let body = line::read(response, LITTLE, &question.asked).await.unwrap_or_default();
                return Err(self.line.refusal(question.asked, status, &body));
            }
        }
        let asked = question.asked;
        Ok(stream::try_unfold(response, move |mut response| {
            let asked = asked.clone();
            async move {
                let broken = |cause: reqwest::Error| RegistryError::Unreachable { asked, cause: cause.without_url() };
                Ok(response.chunk().await.map_err(broken)?.map(|piece| (piece, response)))
            }
        }))
    }

    fn about_blob(&self, blob: &Descriptor) -> Result<Question, RegistryError> {
        let url = self.line.url(&format!("blobs/{}", blob.digest))?;
        Ok(Question::read(Method::GET, url, format!("read the blob `{}` of `{}`", blob.digest, self.name())))
    }

    /// Makes a blob of another repository of the same registry one of this one, without sending it. One token needs rights in both, so it is this repository's login
    /// that must be able to read the other.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub async fn mount_blob(&self, digest: Digest, from: &Name) -> Result<Mounted, RegistryError> {
        let mut url = self.line.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", &from.path);
        let mut question = Question::write(Method::POST, url, format!("mount the blob `{digest}` of `{from}` in `{}`", self.name()));
        question.rights = Rights::Mount { from: from.path.clone() };
        match self.line.ask(&question, LITTLE).await {
            Ok(answer) if answer.status == StatusCode::CREATED => Ok(Mounted::Yes),
            Ok(answer) if answer.status == StatusCode::ACCEPTED => Ok(Mounted::No(self.begun(&answer, &question.asked)?)),
            // Not everybody mounts, and who may read there by another login may not by this one.
            Ok(answer) if answer.status.is_client_error() && !self.line.unexpected(&question, &answer).is_passing() => Ok(Mounted::Refused),
            Ok(answer) => Err(self.line.unexpected(&question, &answer)),
            Err(RegistryError::Refused { .. }) => Ok(Mounted::Refused),
            Err(error) => Err(error),
        }
    }

    /// Sends a blob.
    ///
    /// # Errors
    /// The content is another one than it is called, or breaks off; the registry cannot be asked, or refuses. Nothing is left of the upload then.
    pub async fn put_blob(
        &self,
        blob: &Descriptor,
        content: impl Stream<Item = Result<Bytes, RegistryError>>,
    ) -> Result<(), RegistryError> {
        let upload = self.begin().await?;
        self.fill(upload, blob, content).await
    }

    /// Sends a blob that is in memory, unless it is there.
    ///
    /// # Errors
    /// As [`put_blob`](Self::put_blob).
    pub async fn put_bytes(&self, media_type: &str, bytes: Bytes) -> Result<Descriptor, RegistryError> {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let blob = Descriptor { media_type: media_type.to_owned(), digest, size, artifact_type: None, urls: Vec::new() };
        if !self.has_blob(digest).await? {
            self.put_blob(&blob, stream::iter([Ok(bytes)])).await?;
        }
        Ok(blob)
    }

    /// Begins an upload.
    ///
    /// # Errors
    /// The registry cannot be asked, or refuses.
    pub async fn begin(&self) -> Result<Upload, RegistryError> {
        let url = self.line.url("blobs/uploads/")?;
        let question = Question::write(Method::POST, url, format!("begin an upload to `{}`", self.name()));
        let answer = self.line.ask(&question, LITTLE).await?;
        if answer.status == StatusCode::ACCEPTED {
            self.begun(&answer, &question.asked)
        } else {
            Err(self.line.unexpected(&question, &answer))
        }
    }

    fn begun(&self, answer: &Answer, asked: &str) -> Result<Upload, RegistryError> {
        let least = answer.header("oci-chunk-min-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let part = PART.max(least);
        if part > LARGEST_PART {
            return Err(RegistryError::Strange { asked: asked.to_owned(), why: "the registry insists on parts that are too large" });
        }
        Ok(Upload { place: self.line.next(answer, asked)?, part })
    }

    /// Sends a blob into an upload that was begun.
    ///
    /// # Errors
    /// As [`put_blob`](Self::put_blob).
    pub async fn fill(
        &self,
        mut upload: Upload,
        blob: &Descriptor,
        content: impl Stream<Item = Result<Bytes, RegistryError>>,
    ) -> Result<(), RegistryError> {
        let sent = self.send_all(&mut upload, blob, content).await;
        if sent.is_err() {
            self.give_up(upload).await;
        }
        sent
    }

    /// Gives an upload up. A registry that cannot do that forgets it by itself, as it does with uploads that broke off.
    pub async fn give_up(&self, upload: Upload) {
        let question = Question::write(Method::DELETE, upload.place, "give an upload up".to_owned());
        let _given_up = self.line.ask(&question, LITTLE).await.is_ok();
    }

    async fn send_all(
        &self,
        upload: &mut Upload,
        blob: &Descriptor,
        content: impl Stream<Item = Result<Bytes, RegistryError>>,
    ) -> Result<(), RegistryError> {
        let mut content = std::pin::pin!(content);
        let (mut counting, mut seen, mut sent) = (Counting::default(), 0, 0);
        let mut waiting = BytesMut::new();
        let length = |found| RegistryError::Length { what: format!("the blob `{}`", blob.digest), wanted: blob.size, found };
        while let Some(piece) = content.next().await.transpose()? {
            seen += piece.len() as u64;
            if seen > blob.size {
                return Err(length(seen));
            }
            counting.add(&piece);
            waiting.extend_from_slice(&piece);
            while waiting.len() > upload.part {
                let part = waiting.split_to(upload.part).freeze();
                sent = self.send_part(upload, part, sent).await?;
            }
        }
        if seen != blob.size {
            return Err(length(seen));
        }
        let found = counting.end();
        if found != blob.digest {
            return Err(RegistryError::Digest { what: "what was to be sent".to_owned(), wanted: blob.digest, found });
        }
        // What fits into one part goes with the end, as all registries take it; else all parts go alike.
        let mut rest = waiting.freeze();
        if sent > 0 {
            self.send_part(upload, std::mem::take(&mut rest), sent).await?;
        }
        self.end(upload, blob.digest, rest).await
    }

    /// Sends a part. How much was sent so far comes in and goes out.
    async fn send_part(&self, upload: &mut Upload, part: Bytes, sent: u64) -> Result<u64, RegistryError> {
        let all = sent + part.len() as u64;
        let mut question = Question::write(Method::PATCH, upload.place.clone(), format!("send a part of a blob to `{}`", self.name()));
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        question.headers.insert(CONTENT_RANGE, text(&format!("{sent}-{}", all.saturating_sub(1)), &question.asked)?);
        question.body = part;
        let answer = self.line.ask(&question, LITTLE).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(self.line.unexpected(&question, &answer));
        }
        upload.place = self.line.next(&answer, &question.asked)?;
        Ok(all)
    }

    async fn end(&self, upload: &Upload, digest: Digest, rest: Bytes) -> Result<(), RegistryError> {
        let mut url = upload.place.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut question = Question::write(Method::PUT, url, format!("send the blob `{digest}` to `{}`", self.name()));
        question.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        question.body = rest;
        let answer = self.line.ask(&question, LITTLE).await?;
        if answer.status == StatusCode::CREATED { Ok(()) } else { Err(self.line.unexpected(&question, &answer)) }
    }
}
