//! A tested image goes into the candidate repository, with a signed statement of what its run showed beside it.
//!
//! | there | is |
//! |---|---|
//! | [`push`] | the story: record, image, statement, signature, registry |
//! | `record` | a record, read for what a statement says |
//! | `signing` | who signs it |
//! | [`mod@login`] | who asks there |
//! | [`copies`] | signed statements on this machine, found again by their image |
//! | [`PushError`] | why not |
//!
//! Comes in: a record, a key, a repository with who asks there. Goes out: an image in that repository, by the digest that it has there, a statement that lies beside it, and
//! a copy of that. The image is the one that the record names by its id, whatever its tags mean now; what the registry has is read back, and attested only if it is that one.
//!
//! Refused: whatever `gate::attest` refuses, before anything is pushed. A run that failed is attested as failed, so that a pass before it does not stand. Not here: whether an
//! image may be released, which the gate decides by what lies here.

pub mod copies;
mod error;
pub mod login;
mod record;
mod signing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{AuthSource, RegistrySettings};
use crate::docker::{self, Docker};
use crate::gate::statement::{Answer, Statement, TEST_RESULT, TestResult};
use crate::gate::{Identity, StoreKind};
use crate::history::History;
use crate::model::trust::TrustSettings;
use crate::model::{Listener, Progress, RunId, Sha256, Telling};
use crate::registry::evidence::{self, Statement as Beside};
use crate::registry::{Digest, Login, Manifest, Name, Patience, RegistryError, Repository, Settings, Tag, Wanted};
use crate::trust::{KeyId, dsse, sha256};

pub use copies::Copies;
pub use error::PushError;
use login::login;
use record::Record;
use signing::Hand;

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct Order {
    /// The run, as the user names it.
    pub run: String,
    /// The repository, with its host, instead of the one that the configuration names. Nothing is asked for if the image is in one already.
    pub to: Option<String>,
    /// Names that the image gets there beside the run's own, whatever they meant before.
    pub tags: Vec<String>,
    /// A run of a tree with changes that no commit has is attested all the same.
    pub allow_dirty: bool,
}

/// What the outside gives.
#[derive(Debug)]
pub struct Outside<'a> {
    /// The state directory, with the records.
    pub state: &'a Path,
    /// Where this machine keeps its own key.
    pub machine: &'a Path,
    /// The repository that the configuration names, with who asks there.
    pub candidate: Option<&'a RegistrySettings>,
    /// Which key signs.
    pub trust: &'a TrustSettings,
    /// What it is encrypted with.
    pub passphrase: Option<Zeroizing<String>>,
    /// The caller's environment: where the engine is, and the docker client's configuration.
    pub env: &'a BTreeMap<String, String>,
}

/// What was pushed, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The run.
    pub run: RunId,
    /// Where it is.
    pub repository: Name,
    /// By which digest.
    pub manifest: Sha256,
    /// Digest of its configuration.
    pub config: Sha256,
    /// The answer.
    pub result: Answer,
    /// Digest of the statement: what approvals name it by.
    pub statement: Sha256,
    /// The artifact in the registry that it lies in.
    pub artifact: Digest,
    /// Names that it was given.
    pub tags: Vec<String>,
    /// The key that signed.
    pub key: KeyId,
    /// What the user should know of that key, if it is of no use elsewhere.
    pub notice: Option<String>,
    /// The copy on this machine.
    pub copy: PathBuf,
    /// Tests in numbers: all, and those that failed.
    pub tests: (u64, u64),
    /// The tree had changes that no commit has.
    pub dirty: bool,
}

impl Pushed {
    /// What engines fetch it by, and what is verified, promoted and deployed.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.manifest)
    }
}

impl Order {
    /// Whether it could be carried out at all, as far as that can be known before there is a run: for whoever tests first.
    ///
    /// # Errors
    /// A name or a tag that is none.
    pub fn check(&self, candidate: Option<&RegistrySettings>) -> Result<(), PushError> {
        self.names(candidate).map(drop)
    }

    fn names(&self, candidate: Option<&RegistrySettings>) -> Result<(Option<Name>, Vec<Tag>), PushError> {
        let named = candidate.map(|candidate| candidate.repository.as_str());
        let to = self.to.as_deref().or(named).map(str::parse).transpose().map_err(PushError::name)?;
        let tags = self.tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>().map_err(PushError::name)?;
        Ok((to, tags))
    }
}

/// Pushes a run's image, unless a registry has it, and puts beside it what the run showed. Called again, it writes what is missing.
///
/// It may be dropped at any moment: what is missing then is a statement, never the image that one is about.
pub async fn push(order: &Order, outside: &Outside<'_>, listener: &dyn Listener) -> Result<Pushed, PushError> {
    let (to, tags) = order.names(outside.candidate)?;
    let history = History::open(outside.state)?;
    let run = history.resolve(&order.run)?;
    let record = Record::read(&history, &run)?;
    let (tested, store) = record.image()?;
    let target = target(&record, to, order.to.is_some())?;
    let auth = auth_of(&target.name, outside.candidate);
    // Before anything is pushed: what could not be attested is not even sent.
    record.attest(Identity { manifest: tested, config: tested, store }, &target.name, order.allow_dirty)?;
    let hand = Hand::of(outside).await?;
    let failed = |cause| PushError::Registry { run: run.clone(), repository: target.name.clone(), cause: Box::new(cause) };
    let repository = Repository::new(settings(&target.name, login(&target.name, auth, outside.env))).map_err(failed)?;
    let there = Registry { run: &run, repository: &repository, tested, store };
    let manifest = if let Some(digest) = target.digest {
        there.platform(digest).await?
    } else {
        listener.hear(&Telling::Progress(Progress::Doing(format!("pushing the image to {}", target.name))));
        let docker = docker::connect(None, outside.env).await?;
        there.sent(&docker, login(&target.name, auth, outside.env)).await?
    };
    let identity = there.identity(&manifest)?;
    listener.hear(&Telling::Progress(Progress::Doing("attesting what the run showed".to_owned())));
    let said = record.attest(identity, &target.name, order.allow_dirty)?;
    let (copy, artifact) = attached(&said, &hand, identity, &there, &Copies::in_state(outside.state)).await?;
    for tag in &tags {
        repository.put_tag(&manifest, tag).await.map_err(failed)?;
    }
    let counts = said.predicate.splitci.counts;
    Ok(Pushed {
        manifest: identity.manifest,
        config: identity.config,
        result: said.predicate.result,
        statement: sha256(&said.to_bytes()),
        artifact,
        tags: order.tags.clone(),
        notice: hand.notice(&said, outside.trust)?,
        key: hand.id(),
        copy,
        tests: (counts.planned, counts.failed),
        dirty: said.predicate.splitci.dirty,
        repository: target.name,
        run,
    })
}

/// Where the image belongs.
struct Target {
    name: Name,
    /// It is there already, by this digest.
    digest: Option<Digest>,
}

fn target(record: &Record, to: Option<Name>, asked_for: bool) -> Result<Target, PushError> {
    match (record.named(), to) {
        (Some((has, _)), Some(asked)) if asked_for && has != asked => Err(PushError::Elsewhere { run: record.run.clone(), has, asked }),
        (Some((name, digest)), _) => Ok(Target { name, digest: Some(digest) }),
        (None, Some(name)) => Ok(Target { name, digest: None }),
        (None, None) => Err(PushError::NoRepository),
    }
}

/// What the configuration says of who asks, if it says so of this repository: a login is shown to nobody else.
fn auth_of<'a>(name: &Name, candidate: Option<&'a RegistrySettings>) -> Option<&'a AuthSource> {
    candidate.filter(|candidate| candidate.repository.parse().is_ok_and(|named: Name| named == *name))?.auth.as_ref()
}

fn settings(name: &Name, login: Login) -> Settings {
    Settings { repository: name.clone(), plain: name.is_on_loopback(), login, authorities: Vec::new(), patience: Patience::default() }
}

/// A repository, and the image that is to be in it.
struct Registry<'a> {
    run: &'a RunId,
    repository: &'a Repository,
    /// What the engine called the one that was tested.
    tested: Sha256,
    store: StoreKind,
}

impl Registry<'_> {
    fn failed(&self, cause: RegistryError) -> PushError {
        PushError::Registry { run: self.run.clone(), repository: self.repository.name().clone(), cause: Box::new(cause) }
    }

    fn other(&self, found: &str) -> PushError {
        let (repository, tested) = (self.repository.name().clone(), self.tested.to_string());
        PushError::OtherImage { run: self.run.clone(), repository, found: found.to_owned(), tested }
    }

    /// The manifest of an image that a registry has, or the one of an index that was tested.
    async fn platform(&self, digest: Digest) -> Result<Manifest, PushError> {
        let all = self.repository.tree(digest).await.map_err(|cause| self.failed(cause))?;
        all.into_iter().find(|manifest| self.is_it(manifest)).ok_or_else(|| self.other(&digest.to_string()))
    }

    /// Pushes the image by its id, under a name of the run's own: nobody else means anything by it, and what has no name is collected by some registries. What the
    /// registry has by that name then is read back, so it does not matter who else writes it.
    async fn sent(&self, docker: &Docker, login: Login) -> Result<Manifest, PushError> {
        let id = self.tested.to_string();
        let gone = || PushError::Gone { run: self.run.clone(), image: id.clone() };
        let image = docker.image(&id).await?.ok_or_else(gone)?;
        let name = self.repository.name();
        let tag: Tag = format!("run-{}", self.run.0.to_lowercase()).parse().map_err(PushError::name)?;
        let reference = format!("{name}:{tag}");
        let login = login().await.map_err(|cause| PushError::Login { repository: name.clone(), cause })?;
        docker.tag(&id, &reference).await?;
        let pushed = match login {
            Some(login) => docker.push_as(&reference, login).await,
            None => docker.push(&reference).await,
        };
        // The engine need not keep a name that is of use in the registry alone, unless it is the last one: the image would go with it.
        let has_others = image.names.iter().any(|name| *name != reference);
        let untagged = if has_others { docker.untag(&reference).await.map(drop) } else { Ok(()) };
        pushed.map_err(|cause| PushError::Unsent { run: self.run.clone(), repository: name.clone(), cause: Box::new(cause) })?;
        untagged?;
        let found = self.repository.find(&Wanted::from(&tag)).await.map_err(|cause| self.failed(cause))?;
        let manifest = found.ok_or_else(|| self.other(tag.as_str()))?;
        if self.is_it(&manifest) { Ok(manifest) } else { Err(self.other(&manifest.digest().to_string())) }
    }

    fn is_it(&self, manifest: &Manifest) -> bool {
        self.identity(manifest).is_ok()
    }

    /// Which image a manifest is of, if it is the one that was tested.
    fn identity(&self, manifest: &Manifest) -> Result<Identity, PushError> {
        let other = || self.other(&manifest.digest().to_string());
        let config = manifest.config().ok_or_else(other)?;
        let identity = Identity { manifest: manifest.digest().into(), config: config.digest.into(), store: self.store };
        if identity.id_in(self.store) == self.tested { Ok(identity) } else { Err(other()) }
    }
}

/// Signs a statement, keeps a copy, and puts it beside its image. The copy comes first: what failed is to be known even where the registry does not answer.
async fn attached(
    said: &Statement<TestResult>,
    hand: &Hand<'_>,
    identity: Identity,
    there: &Registry<'_>,
    copies: &Copies,
) -> Result<(PathBuf, Digest), PushError> {
    let envelope = hand.sign(&said.to_bytes(), (copies, identity.manifest)).await?;
    let bundle = dsse::bundle(&envelope).ok_or(PushError::Unwrapped { manifest: identity.manifest })?;
    let copy = copies.keep(identity.manifest, &envelope)?;
    // Its time is the run's end, so that what is pushed twice is one artifact.
    let beside =
        Beside { predicate_type: TEST_RESULT.to_owned(), created_at: said.predicate.splitci.finished_on.ms(), bundle: bundle.into() };
    let artifact = evidence::attach(there.repository, identity.manifest.into(), &beside).await.map_err(|cause| there.failed(cause))?;
    let place = copies::Place { repository: there.repository.name().to_string(), manifest: identity.manifest };
    copies.note(there.run, &place)?;
    Ok((copy, artifact))
}
