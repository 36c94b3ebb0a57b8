//! The line to one registry: questions out, answers in, with who asks, for how long, and how often.
//!
//! A question is asked again only where asking twice is like asking once, and only when the registry did not say no. What comes back has a
//! largest size. Redirections are followed to where registries keep their blobs, never from TLS to plain HTTP, and who asks is told to nobody but the
//! registry.
//!
//! `oci-client`, which has names and forms for this room, is not asked to carry it: its calls read whatever is sent, however large; take an error for "nothing refers to
//! this"; lose the upload that a refused mount opens; ask for rights in one repository alone; and go on as nobody when no token is to be had.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use oci_client::errors::OciEnvelope;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, StatusCode, Url};
use tokio::sync::OnceCell;

use super::error::is_passing;
use super::proof::{self, Challenge, Known, Login, Proof, Rights, Token};
use super::{Name, RegistryError, Settings};

/// The most that is read of a refusal.
const WORDS: u64 = 16 << 10;
/// The most that is read of an answer with a token.
const LARGEST_TOKEN: u64 = 256 << 10;
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How many times a registry may send us elsewhere.
const REDIRECTIONS: usize = 5;

/// One question.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) rights: Rights,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Asking it twice is like asking it once.
    pub(super) repeats: bool,
    /// In words, after "cannot".
    pub(super) asked: String,
}

/// What came back, read to the end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// From where, after all redirections.
    pub(super) url: Url,
}

/// A line to the registry of a repository.
pub(super) struct Line {
    client: Client,
    /// The registry, with a slash at the end.
    pub(super) origin: Url,
    name: Name,
    login: Login,
    credentials: OnceCell<Option<(String, String)>>,
    pub(super) patience: super::Patience,
    known: Mutex<Known>,
    writes: AtomicU64,
}

impl Question {
    /// One that only reads.
    pub(super) fn read(method: Method, url: Url, asked: String) -> Self {
        Self { method, url, rights: Rights::Pull, headers: HeaderMap::new(), body: Bytes::new(), repeats: true, asked }
    }

    /// One that writes.
    pub(super) fn write(method: Method, url: Url, asked: String) -> Self {
        Self { rights: Rights::Push, repeats: false, ..Self::read(method, url, asked) }
    }

    fn is_write(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD
    }
}

impl Answer {
    /// A header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Line {
    pub(super) fn new(name: Name, settings: Settings) -> Result<Self, RegistryError> {
        if settings.plain && !name.is_on_loopback() {
            return Err(RegistryError::Plain { host: name.host });
        }
        let scheme = if settings.plain { "http" } else { "https" };
        let origin = Url::parse(&format!("{scheme}://{}/", name.host)).map_err(|_| RegistryError::Name { text: name.to_string() })?;
        let authorities = Certificate::from_pem_bundle(&settings.authorities).map_err(RegistryError::Client)?;
        let client = Client::builder()
            .user_agent(concat!("splitci/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.patience.connect)
            .read_timeout(settings.patience.silence)
            .redirect(redirections())
            .tls_certs_merge(authorities);
        // What is on this machine is behind no proxy.
        let client = if settings.plain { client.no_proxy() } else { client }.build().map_err(RegistryError::Client)?;
        let (login, patience) = (settings.login, settings.patience);
        let (credentials, known, writes) = (OnceCell::new(), Mutex::default(), AtomicU64::new(0));
        Ok(Self { client, origin, name, login, credentials, patience, known, writes })
    }

    /// Requests that could change something there, those that failed included.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// An address of the repository's.
    pub(super) fn url(&self, rest: &str) -> Result<Url, RegistryError> {
        let path = format!("v2/{}/{rest}", self.name.path);
        self.origin.join(&path).map_err(|_| RegistryError::Name { text: self.name.to_string() })
    }

    /// Whether an address is the registry's own: who asks is told to nobody else.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }

    /// Asks, and reads the answer to its end. Any status is an answer.
    pub(super) async fn ask(&self, question: &Question, most: u64) -> Result<Answer, RegistryError> {
        let mut pauses = self.patience.pauses.iter();
        loop {
            let answer = self.ask_once(question, most).await;
            let again = match &answer {
                Ok(answer) => is_passing(answer.status.as_u16()),
                // Who said nothing for so long is not given as long again.
                Err(error) => error.is_passing() && !error.is_silence(),
            };
            let pause = pauses.next().filter(|_| again && question.repeats);
            let Some(pause) = pause else { return answer };
            let told = answer.ok().and_then(|answer| Some(Duration::from_secs(answer.header(RETRY_AFTER.as_str())?.parse().ok()?)));
            tokio::time::sleep(told.map_or(*pause, |told| told.clamp(*pause, LONGEST_PAUSE.max(*pause)))).await;
        }
    }

    async fn ask_once(&self, question: &Question, most: u64) -> Result<Answer, RegistryError> {
        let asking = async {
            let response = self.open(question).await?;
            let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
            let most = if status.is_success() { most } else { most.min(WORDS) };
            // Of a refusal the beginning is enough.
            let body = match read(response, most, &question.asked).await {
                Err(RegistryError::TooLarge { .. }) if !status.is_success() => Bytes::new(),
                body => body?,
            };
            Ok(Answer { status, headers, body, url })
        };
        let within = if question.body.is_empty() { self.patience.answer } else { self.patience.part };
        let late = |_| RegistryError::Late { what: format!("our question, to {},", question.asked), within };
        tokio::time::timeout(within, asking).await.map_err(late)?
    }

    /// Asks, and leaves the body of the answer to be read.
    pub(super) async fn open(&self, question: &Question) -> Result<Response, RegistryError> {
        let proof = self.proof(question).await?;
        let response = self.send(question, &proof).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(response.url()) {
            return Ok(response);
        }
        let Some(challenge) = proof::challenge(response.headers()) else { return Ok(response) };
        let told_already = matches!((&challenge, &proof), (Challenge::Basic, Proof::Password(..)));
        if told_already {
            return Ok(response);
        }
        // Asked for the first time, or the token is too old.
        self.learn(challenge, &question.rights.scopes(&self.name.path));
        match self.proof(question).await? {
            Proof::Nothing => Ok(response),
            proof => self.send(question, &proof).await,
        }
    }

    async fn send(&self, question: &Question, proof: &Proof) -> Result<Response, RegistryError> {
        if question.is_write() {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        let request = self.client.request(question.method.clone(), question.url.clone()).headers(question.headers.clone());
        let request = if question.is_write() { request.body(question.body.clone()) } else { request };
        let sent = proof.give(request).send().await;
        // Addresses of uploads hold secrets of the registry's.
        sent.map_err(|cause| RegistryError::Unreachable { asked: question.asked.clone(), cause: cause.without_url() })
    }

    fn learn(&self, challenge: Challenge, scopes: &[String]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.tokens.remove(scopes);
        known.challenge = Some(challenge);
    }

    /// What the registry is to be told with a question.
    async fn proof(&self, question: &Question) -> Result<Proof, RegistryError> {
        if !self.is_own(&question.url) {
            return Ok(Proof::Nothing);
        }
        let scopes = question.rights.scopes(&self.name.path);
        let (challenge, token) = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            (known.challenge.clone(), known.tokens.get(&scopes).cloned())
        };
        match (challenge, token) {
            (None, _) => Ok(Proof::Nothing),
            (Some(Challenge::Basic), _) => self.password().await,
            (Some(Challenge::Bearer { .. }), Some(token)) => Ok(Proof::Token(token)),
            (Some(Challenge::Bearer { realm, service }), None) => {
                let token = self.token(&realm, service.as_deref(), &scopes).await?;
                self.known.lock().unwrap_or_else(PoisonError::into_inner).tokens.insert(scopes, token.clone());
                Ok(Proof::Token(token))
            }
        }
    }

    async fn password(&self) -> Result<Proof, RegistryError> {
        let failed = |cause| RegistryError::Login { host: self.name.host.clone(), cause };
        let found = self.credentials.get_or_try_init(async || (self.login)().await.map_err(failed)).await?;
        Ok(found.clone().map_or(Proof::Nothing, |(user, password)| Proof::Password(user, password)))
    }

    /// Asks for a token. That is a part of a question, and is asked again with it.
    async fn token(&self, realm: &str, service: Option<&str>, scopes: &[String]) -> Result<String, RegistryError> {
        let asked = format!("get a token for `{}`", self.name);
        let url = proof::place(realm, service, scopes);
        let url = url.ok_or(RegistryError::Strange { asked: asked.clone(), why: "the registry names no safe place that gives one" })?;
        let password = self.password().await?;
        let request = match proof::exchange(&url, &password) {
            Some(form) => {
                // Where it is asked goes into the form.
                let mut place = url;
                place.set_query(None);
                self.client.post(place).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            None => password.give(self.client.get(url)),
        };
        let sent = request.send().await;
        let response = sent.map_err(|cause| RegistryError::Unreachable { asked: asked.clone(), cause: cause.without_url() })?;
        let status = response.status();
        let body = read(response, LARGEST_TOKEN, &asked).await?;
        if status != StatusCode::OK {
            return Err(self.refusal(asked, status, &body));
        }
        Token::read(&body).ok_or(RegistryError::Strange { asked, why: "the answer has none" })
    }

    /// What an answer means that is none of those that were expected.
    pub(super) fn unexpected(&self, question: &Question, answer: &Answer) -> RegistryError {
        self.refusal(question.asked.clone(), answer.status, &answer.body)
    }

    pub(super) fn refusal(&self, asked: String, status: StatusCode, body: &[u8]) -> RegistryError {
        let (status, said) = (status.as_u16(), words(body));
        if matches!(status, 401 | 403) {
            return RegistryError::Refused { asked, host: self.name.host.clone(), status, said };
        }
        RegistryError::Answer { asked, status, said }
    }

    /// Where an upload goes on. Never from TLS to plain HTTP.
    pub(super) fn next(&self, answer: &Answer, asked: &str) -> Result<Url, RegistryError> {
        let strange = |why| RegistryError::Strange { asked: asked.to_owned(), why };
        let place = answer.header("location").ok_or_else(|| strange("the answer does not say where to go on"))?;
        let url = answer.url.join(place).map_err(|_| strange("the answer says to go on at something that is no address"))?;
        let safe = url.scheme() == "https" || (url.scheme() == "http" && self.origin.scheme() == "http");
        if safe { Ok(url) } else { Err(strange("the answer says to go on without TLS")) }
    }
}

fn redirections() -> Policy {
    Policy::custom(|attempt| {
        let downwards = attempt.previous().last().is_some_and(|from| from.scheme() == "https") && attempt.url().scheme() != "https";
        if downwards {
            attempt.error("the registry sends us from TLS to plain HTTP")
        } else if attempt.previous().len() > REDIRECTIONS {
            attempt.error("the registry sends us from one place to the next")
        } else {
            attempt.follow()
        }
    })
}

/// Reads what is left of an answer, if it is not too much.
pub(super) async fn read(mut response: Response, most: u64, asked: &str) -> Result<Bytes, RegistryError> {
    let too_large = || RegistryError::TooLarge { what: format!("the answer when we {asked}"), most };
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    let broken = |cause: reqwest::Error| RegistryError::Unreachable { asked: asked.to_owned(), cause: cause.without_url() };
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&piece);
        if body.len() as u64 > most {
            return Err(too_large());
        }
    }
    Ok(body.freeze())
}

/// The registry's words, after a colon and made harmless.
fn words(body: &[u8]) -> String {
    let first = serde_json::from_slice::<OciEnvelope>(body).ok().and_then(|envelope| envelope.errors.into_iter().next());
    let words = first.map(|first| if first.message.is_empty() { format!("{:?}", first.code) } else { first.message });
    words.map(|words| format!(": {}", words.chars().take(300).collect::<String>().escape_debug())).unwrap_or_default()
}
