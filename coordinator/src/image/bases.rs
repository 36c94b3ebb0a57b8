//! The images that a build starts from: which they are right now, and by which names the builder gets exactly these.
//!
//! What the engine has under a name is what the name means, as for `docker build`; the registry is asked only for what is not there, or with `--pull`.
//! What a name came to is written into a lock in the state directory, and holds as long as the engine has that image: a name that was taken away, or
//! that another platform has now, still means the same. A base that came from a registry is pinned by its digest there, one that exists only here by
//! a tag made of its id, since an id is no name for a builder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::dockerfile::Base;
use super::kept::replace;
use crate::docker::images::LocalImage;
use crate::docker::{Docker, DockerError};
use crate::model::{Listener, Progress, Telling};

/// Another number is no lock.
const VERSION: u16 = 1;
/// Repository of tags for bases that exist only here.
const ONLY_HERE: &str = "splitci-base";
/// Tags kept there.
const KEPT_BASES: usize = 8;
/// An image that was used more lately is not removed: another run may be about to start its first shard, after which the engine keeps it anyway.
pub(super) const UNUSED_SECONDS: i64 = 120;

/// What the bases of a build come to.
#[derive(Debug, Default)]
pub(super) struct Bases {
    /// For the key: reference as written and platform, and id.
    pub(super) ids: BTreeMap<String, String>,
    /// For the builder: a name that can mean nothing else.
    pub(super) names: BTreeMap<Base, String>,
    /// Why an image must not be believed, a sentence each.
    pub(super) unseen: Vec<String>,
    /// What the user should know, a sentence each.
    pub(super) notes: Vec<String>,
    /// A base has triggers, or nobody knows whether it has: instructions that the Dockerfile does not show.
    pub(super) may_trigger: bool,
}

/// How bases are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    /// Platform that is built for, if not the engine's.
    pub(super) platform: Option<&'a str>,
    /// Ask the registry even for what is there.
    pub(super) pull: bool,
    /// Ask nobody but the engine, and change nothing.
    pub(super) only_look: bool,
    /// The state directory.
    pub(super) state: Option<&'a Path>,
}

/// Finds out what each base is.
pub(super) async fn resolve(
    images: &BTreeSet<Base>,
    search: Search<'_>,
    docker: &Docker,
    listener: &dyn Listener,
) -> Result<Bases, DockerError> {
    let mut lock = Lock::load(search.state);
    let mut bases = Bases::default();
    for base in images {
        let platform = base.platform.as_deref().or(search.platform);
        let name = format!("{} {}", base.reference, platform.unwrap_or_default());
        let mut why_not = None;
        let found = if base.digest().is_some() {
            docker.image(&base.reference).await?
        } else {
            let asking = Asking { base, platform, search, docker, listener };
            let (found, refused) = asking.find(lock.bases.get(&name)).await?;
            why_not = refused;
            found
        };
        if let (Some(why), Some(_)) = (&why_not, &found) {
            let reference = &base.reference;
            bases.notes.push(format!("the registry cannot be asked for `{reference}` ({why}): what the engine has of that name is used"));
        }
        bases.may_trigger |= found.as_ref().is_none_or(|image| !image.triggers.is_empty());
        let id = match (base.digest(), found) {
            (Some(digest), _) => digest.to_owned(),
            (None, Some(image)) => {
                let id = image.identity.config.clone();
                bases.names.insert(base.clone(), pin(base, &image, search.only_look, docker).await?);
                lock.bases.insert(name.clone(), id.clone());
                id
            }
            (None, None) if search.only_look => {
                bases
                    .notes
                    .push(format!("the image `{}` is not in the engine: a run pulls it, and what it is then counts", base.reference));
                String::new()
            }
            (None, None) => {
                let why = why_not.map(|why| format!(": {why}")).unwrap_or_default();
                bases.unseen.push(format!("the image `{}` is not in the engine and cannot be pulled{why}", base.reference));
                String::new()
            }
        };
        bases.ids.insert(name, id);
    }
    if !search.only_look {
        lock.save();
    }
    Ok(bases)
}

struct Asking<'a> {
    base: &'a Base,
    platform: Option<&'a str>,
    search: Search<'a>,
    docker: &'a Docker,
    listener: &'a dyn Listener,
}

impl Asking<'_> {
    /// What it is, and why the registry did not say so, if it was asked and did not.
    async fn find(&self, locked: Option<&String>) -> Result<(Option<LocalImage>, Option<String>), DockerError> {
        let mut refused = None;
        if self.search.pull && !self.search.only_look {
            refused = self.pull().await?;
        }
        let mut found = self.fitting(&self.base.reference).await?;
        if let (None, Some(id), false) = (&found, locked, self.search.pull) {
            found = self.fitting(id).await?;
        }
        if found.is_none() && !self.search.only_look && refused.is_none() {
            refused = self.pull().await?;
            found = self.fitting(&self.base.reference).await?;
        }
        Ok((found, refused))
    }

    /// The engine's image of this name, if it is for the platform.
    async fn fitting(&self, reference: &str) -> Result<Option<LocalImage>, DockerError> {
        let found = self.docker.image(reference).await?;
        Ok(found.filter(|image| self.platform.is_none_or(|platform| fits(&image.identity.platform, platform))))
    }

    /// Pulls it. Why that was refused, if it was; an engine that cannot be talked to is an error.
    async fn pull(&self) -> Result<Option<String>, DockerError> {
        let reference = &self.base.reference;
        let say = |news: String| self.listener.hear(&Telling::Progress(Progress::Doing(news)));
        say(format!("pulling {reference}"));
        match self.docker.pull(reference, self.platform, |news| say(format!("pulling {reference}: {news}"))).await {
            Ok(()) => Ok(None),
            Err(error) => match error.engine_message() {
                Some(message) => Ok(Some(message.to_owned())),
                None => Err(error),
            },
        }
    }
}

/// Whether an image's platform is the one asked for; a variant counts only if both name one.
pub(super) fn fits(image: &str, asked: &str) -> bool {
    let mut both = image.split('/').zip(asked.split('/'));
    both.all(|(own, asked)| own == asked)
}

/// A name that means this image and no other.
async fn pin(base: &Base, image: &LocalImage, only_look: bool, docker: &Docker) -> Result<String, DockerError> {
    let wanted = repository(&base.reference);
    let id = &image.identity.config;
    // An id that is a digest is containerd's.
    let is_it = |named: &&String| named.split_once('@').is_some_and(|(name, digest)| familiar(name) == wanted && digest != id);
    if let Some(digest) = image.digests.iter().find(is_it) {
        return Ok(digest.clone());
    }
    let name = format!("{ONLY_HERE}:{}", id.rsplit(':').next().unwrap_or_default().get(..12).unwrap_or_default());
    if !only_look {
        docker.tag(id, &name).await?;
    }
    Ok(name)
}

/// Keeps the last tags of a repository and those that others may be about to use.
pub(super) async fn remove_old(repository: &str, current: &[&str], kept: usize, docker: &Docker) -> Result<(), DockerError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let tags = docker.tags_of(repository).await?;
    let others = tags.into_iter().filter(|tag| !current.contains(&tag.reference.as_str()));
    for old in others.skip(kept.saturating_sub(current.len())).filter(|tag| now - tag.tagged > UNUSED_SECONDS) {
        docker.untag(&old.reference).await?;
    }
    Ok(())
}

/// Lets go of tags that were made for bases which no build has started from lately.
pub(super) async fn remove_old_bases(pinned: &[String], docker: &Docker) -> Result<(), DockerError> {
    let ours = |name: &&str| name.strip_prefix(ONLY_HERE).is_some_and(|rest| rest.starts_with(':'));
    let current: Vec<&str> = pinned.iter().map(String::as_str).filter(ours).collect();
    if current.is_empty() { Ok(()) } else { remove_old(ONLY_HERE, &current, KEPT_BASES, docker).await }
}

/// A reference without tag and digest, as docker shows it.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    familiar(name)
}

fn familiar(name: &str) -> &str {
    let name = name.strip_prefix("index.docker.io/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// What names came to.
#[derive(Debug, Default)]
struct Lock {
    file: Option<PathBuf>,
    loaded: BTreeMap<String, String>,
    bases: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LockFile {
    #[serde(rename = "splitci-bases")]
    version: u16,
    /// Reference and platform, and id.
    bases: BTreeMap<String, String>,
}

impl Lock {
    fn load(state: Option<&Path>) -> Self {
        let Some(file) = state.map(|state| state.join("bases.json")) else { return Self::default() };
        let read = fs_err::read(&file).ok().and_then(|bytes| serde_json::from_slice::<LockFile>(&bytes).ok());
        let bases = read.filter(|read| read.version == VERSION).map(|read| read.bases).unwrap_or_default();
        Self { file: Some(file), loaded: bases.clone(), bases }
    }

    /// Writes it if something is new. What cannot be written is asked for again.
    fn save(self) {
        if let (Some(file), true) = (self.file, self.bases != self.loaded)
            && let Ok(bytes) = serde_json::to_vec_pretty(&LockFile { version: VERSION, bases: self.bases })
        {
            replace(&file, &bytes).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_variant_fits_any() {
        assert!(fits("linux/arm64/v8", "linux/arm64") && fits("linux/amd64", "linux/amd64"));
        assert!(!fits("linux/arm64", "linux/amd64"));
    }

    #[test]
    fn a_repository_is_known_by_any_of_its_names() {
        for name in [
            "debian",
            "debian:12",
            "library/debian:12",
            "docker.io/library/debian:12",
            "docker.io/debian@sha256:00",
            "index.docker.io/library/debian",
        ] {
            assert_eq!(repository(name), "debian", "{name}");
        }
        assert_eq!(repository("ci:5000/team/app:1"), "ci:5000/team/app");
        assert_eq!(repository("ci:5000/team/app"), "ci:5000/team/app");
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_none() {
        let state = tempfile::tempdir().expect("a folder");
        for text in ["", "{", r#"{"splitci-bases":2,"bases":{"a":"b"}}"#, "[]"] {
            fs_err::write(state.path().join("bases.json"), text).expect("written");
            assert!(Lock::load(Some(state.path())).bases.is_empty(), "{text}");
        }
        let mut lock = Lock::load(Some(state.path()));
        lock.bases.insert("debian linux/amd64".into(), "sha256:00".into());
        lock.save();
        assert_eq!(Lock::load(Some(state.path())).bases["debian linux/amd64"], "sha256:00");
    }
}
