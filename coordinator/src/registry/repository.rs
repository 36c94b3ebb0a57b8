//! A repository that is asked: its manifests and tags. Its blobs are in `blob`.

use std::fmt;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::line::{Answer, Line, Question};
use super::manifest::{self, Manifest};
use super::{Descriptor, Digest, Name, RegistryError, Settings, Tag, Wanted};

/// What registries say the digest of an answer is.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// How many indexes may lie in one another.
const DEEPEST: usize = 3;
/// How many manifests an index may have altogether.
const MOST_MANIFESTS: usize = 500;
/// How many tags are read of one repository, and in how many pages they may come.
const MOST_TAGS: usize = 100_000;
const MOST_PAGES: usize = 200;
const LARGEST_PAGE: u64 = 8 << 20;

/// A repository of a registry.
pub struct Repository {
    name: Name,
    pub(super) line: Line,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Repository {
    /// One that connects when it is first asked. The program's TLS must have been chosen.
    ///
    /// # Errors
    /// Plain HTTP to another machine than this one; certificates that are none.
    pub fn new(settings: Settings) -> Result<Self, RegistryError> {
        Ok(Self { name: settings.repository.clone(), line: Line::new(settings.repository.clone(), settings)? })
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Requests so far that could change something there, those that failed included.
    pub fn writes(&self) -> u64 {
        self.line.writes()
    }

    /// The manifest of a digest or a tag; nothing if there is none, or no such repository. Its bytes are those of the digest.
    ///
    /// # Errors
    /// The registry cannot be asked or refuses; the bytes are others than those of the digest, or of the digest that it tells; they are no manifest.
    pub async fn find(&self, wanted: &Wanted) -> Result<Option<Manifest>, RegistryError> {
        let mut question = self.about_manifest(Method::GET, wanted, "read")?;
        question.headers.insert(ACCEPT, text(&manifest::TYPES.join(", "), &question.asked)?);
        let answer = self.line.ask(&question, manifest::LARGEST).await?;
        match answer.status {
            StatusCode::OK => self.received(wanted, &answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.line.unexpected(&question, &answer)),
        }
    }

    /// Whether a manifest is there, as the registry says.
    pub(super) async fn has_manifest(&self, digest: Digest) -> Result<bool, RegistryError> {
        let mut question = self.about_manifest(Method::HEAD, &digest.into(), "look for")?;
        question.headers.insert(ACCEPT, text(&manifest::TYPES.join(", "), &question.asked)?);
        let answer = self.line.ask(&question, manifest::LARGEST).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.line.unexpected(&question, &answer)),
        }
    }

    fn received(&self, wanted: &Wanted, answer: &Answer) -> Result<Manifest, RegistryError> {
        let found = Digest::of(&answer.body);
        let what = || format!("the manifest `{wanted}` of `{}`", self.name);
        let told = answer.header(CONTENT_DIGEST).and_then(|told| told.parse().ok());
        let asked_for = if let Wanted::Digest(digest) = wanted { Some(*digest) } else { None };
        for wanted in [asked_for, told].into_iter().flatten() {
            if wanted != found {
                return Err(RegistryError::Digest { what: what(), wanted, found });
            }
        }
        let read = Manifest::read(answer.header(CONTENT_TYPE.as_str()), answer.body.clone());
        read.map_err(|cause| RegistryError::Manifest { name: wanted.to_string(), repository: self.name.to_string(), cause })
    }

    /// The manifest of a digest.
    ///
    /// # Errors
    /// As [`find`](Self::find), and if there is none.
    pub async fn manifest(&self, digest: Digest) -> Result<Manifest, RegistryError> {
        self.needed(&digest.into()).await
    }

    /// What a tag means now, or whether a digest is there.
    ///
    /// # Errors
    /// As [`find`](Self::find), and if there is none.
    pub async fn resolve(&self, wanted: &Wanted) -> Result<Digest, RegistryError> {
        self.needed(wanted).await.map(|manifest| manifest.digest())
    }

    async fn needed(&self, wanted: &Wanted) -> Result<Manifest, RegistryError> {
        let missing = || RegistryError::Missing { what: format!("manifest `{wanted}` in `{}`", self.name) };
        self.find(wanted).await?.ok_or_else(missing)
    }

    /// A manifest with all that it consists of: the manifests of an index come before it, each once.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest), for each of them; a length that is not the one that the index says; an index that is too deep or too large.
    pub async fn tree(&self, digest: Digest) -> Result<Vec<Manifest>, RegistryError> {
        let mut levels = vec![vec![self.manifest(digest).await?]];
        let mut count = 1;
        while let Some(children) = levels.last().map(|level| level.iter().flat_map(Manifest::children).cloned().collect::<Vec<_>>())
            && !children.is_empty()
        {
            count += children.len();
            if levels.len() > DEEPEST || count > MOST_MANIFESTS {
                return Err(RegistryError::TooMany { what: format!("manifests in `{digest}` of `{}`", self.name), most: MOST_MANIFESTS });
            }
            let mut level = Vec::new();
            for child in &children {
                level.push(self.child(child).await?);
            }
            levels.push(level);
        }
        let mut all: Vec<Manifest> = Vec::new();
        for manifest in levels.into_iter().rev().flatten() {
            if all.iter().all(|known| known.digest() != manifest.digest()) {
                all.push(manifest);
            }
        }
        Ok(all)
    }

    async fn child(&self, child: &Descriptor) -> Result<Manifest, RegistryError> {
        let manifest = self.manifest(child.digest).await?;
        let found = manifest.bytes().len() as u64;
        let what = || format!("the manifest `{}` of `{}`", child.digest, self.name);
        if found == child.size { Ok(manifest) } else { Err(RegistryError::Length { what: what(), wanted: child.size, found }) }
    }

    /// Puts a manifest under its digest. What it names must be there.
    ///
    /// # Errors
    /// The registry cannot be asked, or refuses; it took something else than was put.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<(), RegistryError> {
        self.put(&manifest.digest().into(), manifest).await
    }

    /// Makes a tag mean a manifest, whatever it meant before. The same bytes as [`put_manifest`](Self::put_manifest) puts, which comes first: a crash in between
    /// leaves an image that is whole.
    ///
    /// # Errors
    /// As [`put_manifest`](Self::put_manifest); and if the tag means something else right afterwards.
    pub async fn put_tag(&self, manifest: &Manifest, tag: &Tag) -> Result<(), RegistryError> {
        self.put(&tag.into(), manifest).await?;
        let found = self.resolve(&tag.into()).await?;
        let raced = || RegistryError::Raced { tag: tag.to_string(), repository: self.name.to_string() };
        if found == manifest.digest() { Ok(()) } else { Err(raced()) }
    }

    async fn put(&self, name: &Wanted, manifest: &Manifest) -> Result<(), RegistryError> {
        let mut question = self.about_manifest(Method::PUT, name, "put")?;
        question.headers.insert(CONTENT_TYPE, text(manifest.media_type(), &question.asked)?);
        question.body = manifest.bytes().clone();
        // The same bytes under the same name.
        question.repeats = true;
        let answer = self.line.ask(&question, manifest::LARGEST).await?;
        if answer.status != StatusCode::CREATED {
            return Err(self.line.unexpected(&question, &answer));
        }
        let wanted = manifest.digest();
        match answer.header(CONTENT_DIGEST).and_then(|told| told.parse::<Digest>().ok()) {
            Some(found) if found != wanted => {
                Err(RegistryError::Digest { what: format!("the manifest `{name}` as `{}` took it", self.name), wanted, found })
            }
            Some(_) => Ok(()),
            // Some registries do not say; then it is looked at.
            None => self.manifest(wanted).await.map(drop),
        }
    }

    fn about_manifest(&self, method: Method, wanted: &Wanted, verb: &str) -> Result<Question, RegistryError> {
        let url = self.line.url(&format!("manifests/{wanted}"))?;
        let asked = format!("{verb} the manifest `{wanted}` of `{}`", self.name);
        Ok(if method == Method::PUT { Question::write(method, url, asked) } else { Question::read(method, url, asked) })
    }

    /// All tags; none if there is no such repository.
    ///
    /// # Errors
    /// The registry cannot be asked or refuses, or there are too many.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let asked = format!("list the tags of `{}`", self.name);
        let first = self.line.url("tags/list?n=1000")?;
        let mut all = Vec::new();
        let pages = self.pages(first, &asked, |body| {
            let page: Tags = serde_json::from_slice(body)?;
            all.extend(page.tags.unwrap_or_default());
            Ok(all.len())
        });
        pages.await?;
        Ok(all)
    }

    /// Reads the pages of a list, of which each says where the next one is. Whether there is such a list. `page` takes one, and tells how many entries there are so far.
    pub(super) async fn pages(
        &self,
        first: Url,
        asked: &str,
        mut page: impl FnMut(&[u8]) -> Result<usize, serde_json::Error>,
    ) -> Result<bool, RegistryError> {
        let strange = |why| RegistryError::Strange { asked: asked.to_owned(), why };
        let too_many = || RegistryError::TooMany { what: format!("entries when we {asked}"), most: MOST_TAGS };
        let mut next = Some(first);
        for number in 0..MOST_PAGES {
            let Some(url) = next.take() else { return Ok(true) };
            let question = Question::read(Method::GET, url, asked.to_owned());
            let answer = self.line.ask(&question, LARGEST_PAGE).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if number == 0 => return Ok(false),
                _ => return Err(self.line.unexpected(&question, &answer)),
            }
            let entries = page(&answer.body).map_err(|_| strange("the answer is no such list"))?;
            if entries > MOST_TAGS {
                return Err(too_many());
            }
            next = following(&answer).map_err(|()| strange("the answer does not say properly where the next page is"))?;
        }
        Err(too_many())
    }
}

/// Where the next page of a list is, if there is one: `Link: </v2/...>; rel="next"`, on the same host.
fn following(answer: &Answer) -> Result<Option<Url>, ()> {
    let Some(link) = answer.header("link").filter(|link| link.contains("rel=\"next\"") || link.contains("rel=next")) else {
        return Ok(None);
    };
    let place = link.trim().strip_prefix('<').and_then(|rest| rest.split('>').next()).ok_or(())?;
    let url = answer.url.join(place).map_err(|_| ())?;
    if url.origin() == answer.url.origin() { Ok(Some(url)) } else { Err(()) }
}

/// A header's value.
pub(super) fn text(text: &str, asked: &str) -> Result<HeaderValue, RegistryError> {
    let strange = |_| RegistryError::Strange { asked: asked.to_owned(), why: "a header cannot say it" };
    HeaderValue::from_str(text).map_err(strange)
}

/// The header that says which part of a blob is sent.
pub(super) const CONTENT_RANGE: HeaderName = reqwest::header::CONTENT_RANGE;
