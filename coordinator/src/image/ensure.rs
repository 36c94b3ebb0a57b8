//! Sees to it that the image is there: named by the user, found by its key, or built.
//!
//! A key is looked up as the tag `splitci/<project>:<12 hex>`, and believed only if the image carries the whole key as its label. Images that a
//! Dockerfile starts from are resolved to what the engine has; one that it has not is pulled first, so that its id can be in the key. Where something
//! cannot be seen (a download without checksum, a base that cannot be pulled), the image is built every time, and that is said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::context::{Context, ContextError};
use super::dockerfile::{Base, Choices, Outside, outside};
use super::key::{ContextItem, Key, KeyInputs, image_key};
use super::sent::{shared_key, sources};
use crate::docker::build::{BuildFailure, BuildRequest, FailedStep, SourceError};
use crate::docker::images::LocalImage;
use crate::docker::{Docker, DockerError};
use crate::model::event::ImageSource;
use crate::model::{BuildSecret, EntryPoint, ImageIdentity, Listener, Progress, SshAgent, Telling};

/// The label with the whole key.
const KEY_LABEL: &str = "splitci.key";
/// Tags kept of a project.
const KEPT: usize = 3;
/// An image that was used more lately is not removed: another run may be about to start its first shard, after which the engine keeps it anyway.
const UNUSED_SECONDS: i64 = 120;
/// How far builds of this machine are trusted: their cache mounts are shared with nobody whose builds are trusted otherwise.
const LEVEL: &str = "local";

/// Which image is wanted.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a run")]
pub enum ImageRequest {
    /// One that exists, by name, digest or id.
    Given {
        /// Its reference.
        reference: String,
        /// Its platform, if not the engine's.
        platform: Option<String>,
    },
    /// The one that is built from a project.
    Build(BuildFrom),
}

/// What is built.
#[derive(Debug, Clone, Default)]
pub struct BuildFrom {
    /// Name of the project, for the tag.
    pub project: String,
    /// Directory that is sent.
    pub context: PathBuf,
    /// The Dockerfile; it may lie outside of the context.
    pub dockerfile: PathBuf,
    /// Target stage.
    pub target: Option<String>,
    /// Build arguments, with their values.
    pub args: BTreeMap<String, String>,
    /// Platform, if not the engine's.
    pub platform: Option<String>,
    /// Network of `RUN` steps.
    pub network: Option<String>,
    /// Extra hosts, `name:address`.
    pub add_hosts: Vec<String>,
    /// Size of `/dev/shm` in `RUN` steps.
    pub shm_size: Option<u64>,
    /// Secrets that steps may ask for.
    pub secrets: Vec<BuildSecret>,
    /// SSH agents that steps may ask for.
    pub ssh: Vec<SshAgent>,
    /// Where things are kept from one build to the next; without it nothing is.
    pub state: Option<PathBuf>,
}

/// An image that is there.
#[derive(Debug, Clone)]
pub struct ReadyImage {
    /// Which one.
    pub identity: ImageIdentity,
    /// What it is called.
    pub reference: String,
    /// How it came.
    pub how: ImageSource,
    /// How long the build took, in milliseconds; 0 without one.
    pub took_ms: u64,
    /// Its key, when it was built from a project and everything that counts could be seen.
    pub key: Option<String>,
    /// Its architecture, in Docker's words.
    pub arch: String,
    /// Platform that was asked for.
    pub platform: Option<String>,
    /// What it wants to be started as.
    pub entry: EntryPoint,
    /// Its default command.
    pub command: Vec<String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// The image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The engine failed.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The named image is not there and cannot be pulled.
    #[error("cannot get the image `{reference}`")]
    NotThere {
        /// Its name.
        reference: String,
        /// Why it cannot be pulled.
        #[source]
        source: DockerError,
    },
    /// The files cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The builder asked for something that could not be given.
    #[error("cannot build the image")]
    Source(#[source] SourceError),
    /// The build failed.
    #[error("cannot build the image: {error}")]
    Build {
        /// The step that failed, with the end of its log.
        step: Option<FailedStep>,
        /// The builder's error.
        error: String,
        /// What was already odd before it.
        odd: Vec<String>,
    },
    /// The build said that it is done, and there is no image.
    #[error("the engine ended the build without an image")]
    NoImage,
    /// Our own thread was lost.
    #[error("cannot go on: a task was lost")]
    Lost,
}

impl ImageError {
    /// The exit status: the project's fault, the invoker's, or the operator's.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Build { .. } => 5,
            Self::NotThere { .. }
            | Self::Context(ContextError::NoDockerfile(_) | ContextError::Ignore { .. })
            | Self::Source(SourceError::Secret { .. } | SourceError::Agent { .. }) => 2,
            Self::Source(_) | Self::Docker(_) | Self::Context(_) | Self::NoImage => 3,
            Self::Lost => 70,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Docker(error) => error.hint().map(str::to_owned),
            Self::Source(error) => error.hint().map(str::to_owned),
            Self::Build { odd, .. } => odd.first().cloned(),
            Self::NotThere { reference, .. } if reference.starts_with("sha256:") => {
                Some("the engine does not have the image any more, and its id alone cannot be pulled; `splitci run` builds anew".to_owned())
            }
            Self::NotThere { source, .. } => source.hint().map(str::to_owned),
            Self::Context(ContextError::NoDockerfile(_)) => {
                Some("name the Dockerfile with `--file`, or run with `--engine process`".to_owned())
            }
            Self::Context(ContextError::Changed(_)) => {
                Some("stop what writes to the file while the image is built, or exclude the file in `.dockerignore`".to_owned())
            }
            Self::Context(ContextError::Read(_)) => Some("make it readable, or exclude it in `.dockerignore`".to_owned()),
            _ => None,
        }
    }
}

/// Sees to it that the image is there.
pub async fn ensure_image(request: &ImageRequest, docker: &Arc<Docker>, listener: &dyn Listener) -> Result<ReadyImage, ImageError> {
    match request {
        ImageRequest::Given { reference, platform } => given(reference, platform.as_deref(), docker, listener).await,
        ImageRequest::Build(from) => of_project(from, docker, listener).await,
    }
}

fn doing(listener: &dyn Listener, what: String) {
    listener.hear(&Telling::Progress(Progress::Doing(what)));
}

async fn given(reference: &str, platform: Option<&str>, docker: &Docker, listener: &dyn Listener) -> Result<ReadyImage, ImageError> {
    let image = match obtain(reference, platform, docker, listener).await {
        Ok(Some(image)) => image,
        Ok(None) => return Err(ImageError::NoImage),
        Err(source) if source.engine_message().is_some() => return Err(ImageError::NotThere { reference: reference.to_owned(), source }),
        Err(error) => return Err(error.into()),
    };
    Ok(ready(image, reference.to_owned(), ImageSource::Given, platform.map(str::to_owned)))
}

/// The engine's image of this name, pulled if it is not there, or there for another platform only.
async fn obtain(
    reference: &str,
    platform: Option<&str>,
    docker: &Docker,
    listener: &dyn Listener,
) -> Result<Option<LocalImage>, DockerError> {
    if let Some(image) = docker.image(reference).await?
        && platform.is_none_or(|platform| fits(&image.identity.platform, platform))
    {
        return Ok(Some(image));
    }
    doing(listener, format!("pulling {reference}"));
    docker.pull(reference, platform, |news| doing(listener, format!("pulling {reference}: {news}"))).await?;
    docker.image(reference).await
}

/// Whether an image's platform is the one asked for; a variant counts only if both name one.
fn fits(image: &str, asked: &str) -> bool {
    let mut both = image.split('/').zip(asked.split('/'));
    both.all(|(own, asked)| own == asked)
}

/// Everything about a build that is known before it.
struct Prepared {
    context: Arc<Context>,
    items: Arc<Vec<ContextItem>>,
    key: Key,
    /// Why an image of this key must not be believed, if it must not.
    unseen: Vec<String>,
}

async fn of_project(from: &BuildFrom, docker: &Arc<Docker>, listener: &dyn Listener) -> Result<ReadyImage, ImageError> {
    doing(listener, "reading the build context".to_owned());
    let prepared = prepare(from, docker, listener).await?;
    let repository = repository(&from.project);
    let reference = format!("{repository}:{}", prepared.key.short());
    if prepared.unseen.is_empty() {
        doing(listener, format!("looking for {reference}"));
        if let Some(image) = docker.image(&reference).await?
            && image.labels.get(KEY_LABEL) == Some(&prepared.key.to_hex())
        {
            // The time of its last use, for those who make room.
            docker.tag(&image.identity.config, &reference).await?;
            return Ok(keyed(ready(image, reference, ImageSource::Found, from.platform.clone()), &prepared));
        }
    }
    let began = Instant::now();
    let image = build(from, &prepared, docker, listener).await?;
    docker.tag(&image.identity.config, &reference).await?;
    let mut built = keyed(ready(image, reference.clone(), ImageSource::Built, from.platform.clone()), &prepared);
    built.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    remove_old(&repository, &reference, docker).await?;
    Ok(built)
}

fn keyed(mut image: ReadyImage, prepared: &Prepared) -> ReadyImage {
    if prepared.unseen.is_empty() {
        image.key = Some(prepared.key.to_hex());
    }
    image.notes.extend(prepared.unseen.iter().map(|why| format!("the image is built in every run: {why}")));
    image
}

fn ready(image: LocalImage, reference: String, how: ImageSource, platform: Option<String>) -> ReadyImage {
    let LocalImage { identity, arch, entry, command, env, .. } = image;
    ReadyImage { identity, reference, how, took_ms: 0, key: None, arch, platform, entry, command, env, notes: Vec::new() }
}

async fn prepare(from: &BuildFrom, docker: &Arc<Docker>, listener: &dyn Listener) -> Result<Prepared, ImageError> {
    let (root, dockerfile) = (from.context.clone(), from.dockerfile.clone());
    let read = tokio::task::spawn_blocking(move || {
        let context = Context::walk(&root, &dockerfile)?;
        let items = context.items()?;
        Ok::<_, ContextError>((context, items))
    });
    let (context, items) = read.await.map_err(|_| ImageError::Lost)??;
    let facts = docker.facts().await?;
    let platform = from.platform.clone().unwrap_or_else(|| facts.platform());
    let choices = Choices { target: from.target.as_deref(), args: from.args.clone(), platform: &platform };
    let Outside { images, mut unseen, .. } = outside(&context.dockerfile.text, &choices);
    let bases = resolve(&images, from.platform.as_deref(), &mut unseen, docker, listener).await?;
    let inputs = KeyInputs {
        platform,
        containerd_store: facts.containerd_store,
        engine_line: facts.line(),
        dockerfile: context.dockerfile.clone(),
        ignore: context.ignore.clone(),
        target: from.target.clone(),
        args: from.args.iter().filter(|(name, _)| !is_proxy(name)).map(|(name, value)| (name.clone(), value.clone())).collect(),
        labels: BTreeMap::new(),
        network: from.network.clone(),
        add_hosts: from.add_hosts.clone(),
        shm_size: from.shm_size,
        bases,
        context: items,
        secrets: from.secrets.iter().map(|secret| secret.id.clone()).collect(),
        ssh: from.ssh.iter().map(|agent| agent.id.clone()).collect(),
    };
    let key = image_key(&inputs);
    Ok(Prepared { context: Arc::new(context), items: Arc::new(inputs.context), key, unseen })
}

/// Reference and id of each image that is built upon. A digest in the reference is as good as an id, and is pulled by BuildKit itself.
async fn resolve(
    images: &std::collections::BTreeSet<Base>,
    platform: Option<&str>,
    unseen: &mut Vec<String>,
    docker: &Docker,
    listener: &dyn Listener,
) -> Result<BTreeMap<String, String>, DockerError> {
    let mut bases = BTreeMap::new();
    for base in images {
        let asked = base.platform.as_deref().or(platform);
        let id = match base.digest() {
            Some(digest) => digest.to_owned(),
            None => match obtain(&base.reference, asked, docker, listener).await {
                Ok(Some(image)) => image.identity.config,
                Err(error) if error.engine_message().is_none() => return Err(error),
                Ok(None) | Err(_) => {
                    unseen.push(format!("the image `{}` is not in the engine and cannot be pulled", base.reference));
                    String::new()
                }
            },
        };
        bases.insert(format!("{} {}", base.reference, asked.unwrap_or_default()), id);
    }
    Ok(bases)
}

async fn build(from: &BuildFrom, prepared: &Prepared, docker: &Arc<Docker>, listener: &dyn Listener) -> Result<LocalImage, ImageError> {
    let context = &prepared.context;
    doing(listener, format!("building the image from {} entries, {} bytes", context.entries.len(), context.bytes()));
    let sources = sources(from, (context, &prepared.items), context.dockerfile.text.clone(), docker).await?;
    let request = build_request(from, prepared, docker);
    match docker.build(&request, sources, |news| listener.hear(&Telling::Progress(news))).await {
        Ok(built) => docker.image(&built).await?.ok_or(ImageError::NoImage),
        Err(failure) => Err(failed(failure, prepared)),
    }
}

fn failed(failure: BuildFailure, prepared: &Prepared) -> ImageError {
    match failure {
        BuildFailure::Source(SourceError::Changed(path)) => ContextError::Changed(path).into(),
        BuildFailure::Source(SourceError::Read(error)) => ContextError::Read(error).into(),
        BuildFailure::Source(error) => ImageError::Source(error),
        BuildFailure::Engine(error) => error.into(),
        BuildFailure::NoImage => ImageError::NoImage,
        BuildFailure::Failed { step, error } => ImageError::Build { step, error, odd: prepared.unseen.clone() },
    }
}

fn build_request(from: &BuildFrom, prepared: &Prepared, docker: &Docker) -> BuildRequest {
    let mut args = docker.config().proxies(&docker.endpoint().to_string());
    args.extend(from.args.clone());
    // Times in a mount are compared with those that one table said: two checkouts on one engine that shared a mount would each call the other's work new.
    let mounts = format!("{LEVEL}/{}/{}", repository(&from.project), &shared_key(&from.context)[..12]);
    args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), mounts);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    BuildRequest {
        id: format!("splitci-{}-{}-{nanos}", prepared.key.short(), std::process::id()),
        dockerfile: from.dockerfile.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        target: from.target.clone(),
        args,
        labels: BTreeMap::from([(KEY_LABEL.to_owned(), prepared.key.to_hex())]),
        platform: from.platform.clone(),
        network: from.network.clone(),
        add_hosts: from.add_hosts.clone(),
        shm_size: from.shm_size,
    }
}

/// BuildKit leaves these out of its own keys, and so do we.
fn is_proxy(name: &str) -> bool {
    ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"].contains(&name.to_ascii_lowercase().as_str())
}

/// Keeps the last tags of a project and those that others may be about to use.
async fn remove_old(repository: &str, current: &str, docker: &Docker) -> Result<(), DockerError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let tags = docker.tags_of(repository).await?;
    let others = tags.into_iter().filter(|tag| tag.reference != current);
    for old in others.skip(KEPT - 1).filter(|tag| now - tag.tagged > UNUSED_SECONDS) {
        docker.untag(&old.reference).await?;
    }
    Ok(())
}

/// A project's name as docker allows it in a reference.
fn repository(project: &str) -> String {
    let plain: String =
        project.to_lowercase().chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' }).collect();
    let parts: Vec<_> = plain.split('-').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "splitci/project".to_owned() } else { format!("splitci/{}", parts.join("-")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projects_name_becomes_one_that_docker_allows() {
        assert_eq!(repository("My App_2"), "splitci/my-app-2");
        assert_eq!(repository("--é--"), "splitci/project");
    }

    #[test]
    fn a_platform_without_variant_fits_any() {
        assert!(fits("linux/arm64/v8", "linux/arm64") && fits("linux/amd64", "linux/amd64"));
        assert!(!fits("linux/arm64", "linux/amd64"));
    }

    #[test]
    fn proxies_do_not_count() {
        assert!(is_proxy("HTTP_PROXY") && is_proxy("no_proxy") && !is_proxy("PROXY"));
    }
}
