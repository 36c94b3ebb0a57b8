//! Images that the engine has: inspect, pull, tag, untag, list.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters as query;

use super::{Docker, DockerError, LONG, SHORT, answers};
use crate::model::{EntryPoint, ImageContent, ImageIdentity};

/// How long a pull may be silent.
const PULL_SILENCE: Duration = Duration::from_mins(5);

/// An image of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// Which one it is.
    pub identity: ImageIdentity,
    /// Architecture in Docker's words.
    pub arch: String,
    /// What it wants to be started as.
    pub entry: EntryPoint,
    /// Its default command.
    pub command: Vec<String>,
    /// Its environment, as `NAME=value`.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970, if it says.
    pub created: Option<i64>,
    /// Instructions that a build upon it carries out (`ONBUILD`).
    pub triggers: Vec<String>,
    /// Its names, `name:tag`.
    pub names: Vec<String>,
    /// Names with digests under which registries have it, e.g. `debian@sha256:…`.
    pub digests: Vec<String>,
    /// Digests of its layers' contents, lowest first.
    pub layers: Vec<String>,
    /// The shell of its Dockerfile's commands.
    pub shell: Vec<String>,
    /// Paths that are volumes in its containers.
    pub volumes: Vec<String>,
}

impl LocalImage {
    /// What of it its tests can see.
    pub fn content(&self) -> ImageContent {
        ImageContent {
            platform: self.identity.platform.clone(),
            layers: self.layers.clone(),
            env: self.env.clone(),
            entry: self.entry.clone(),
            command: self.command.clone(),
            shell: self.shell.clone(),
            volumes: self.volumes.clone(),
        }
    }
}

/// A tag of ours, for deciding which to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedImage {
    /// The image's id.
    pub id: String,
    /// `name:tag`.
    pub reference: String,
    /// When the image was last given a name, in seconds since 1970. When it was made says little: a builder dates an image like its youngest
    /// cached step.
    pub tagged: i64,
}

/// An image of ours, for deciding whether it may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    /// Its id.
    pub id: String,
    /// Its names, `name:tag`.
    pub names: Vec<String>,
    /// Whether a registry has it, under a name that the engine knows.
    pub has_digest: bool,
    /// Its bytes, those included that it shares with others.
    pub bytes: u64,
    /// When it was last given a name, in seconds since 1970; 0 if never.
    pub tagged: i64,
}

impl Docker {
    /// The image of this name or id, if the engine has it.
    pub async fn image(&self, reference: &str) -> Result<Option<LocalImage>, DockerError> {
        let attempt = || format!("inspect the image `{reference}`");
        match self.call(attempt, SHORT, self.client.inspect_image(reference)).await {
            Ok(found) => Ok(Some(local_image(found))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image; `heard` is told what the engine says on the way.
    pub async fn pull(&self, reference: &str, platform: Option<&str>, mut heard: impl FnMut(String)) -> Result<(), DockerError> {
        let attempt = || format!("pull the image `{reference}`");
        let credentials = self.credentials_for(reference).await?;
        let options = query::CreateImageOptionsBuilder::new().from_image(&tagged(reference)).platform(platform.unwrap_or_default()).build();
        let mut stream = self.client.create_image(Some(options), None, credentials);
        loop {
            let next = async { Ok(answers::next(&mut stream).await) };
            match self.call(attempt, PULL_SILENCE, next).await? {
                None => return Ok(()),
                Some(Ok(info)) => {
                    if let Some(text) = pull_news(&info) {
                        heard(text);
                    }
                }
                Some(Err(error)) => return Err(DockerError::of(attempt(), error, self.endpoint())),
            }
        }
    }

    /// Gives an image another name, `name:tag`.
    pub async fn tag(&self, image: &str, reference: &str) -> Result<(), DockerError> {
        let (repo, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
        let options = query::TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
        self.call(|| format!("tag the image `{image}` as `{reference}`"), SHORT, self.client.tag_image(image, Some(options))).await
    }

    /// Takes a name from an image, and removes the image when it was its last one and nothing uses it. Says whether it did.
    pub async fn untag(&self, reference: &str) -> Result<bool, DockerError> {
        let attempt = || format!("remove the image `{reference}`");
        match self.call(attempt, LONG, self.client.remove_image(reference, None::<query::RemoveImageOptions>, None)).await {
            Ok(_) => Ok(true),
            Err(DockerError::Conflict { .. } | DockerError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names under `repository` (without tag), the one given last first.
    pub async fn tags_of(&self, repository: &str) -> Result<Vec<TaggedImage>, DockerError> {
        let filters = HashMap::from([("reference", vec![repository])]);
        let options = query::ListImagesOptionsBuilder::new().filters(&filters).build();
        let images = self.call(|| format!("list the images of `{repository}`"), SHORT, self.client.list_images(Some(options))).await?;
        let mut tags = Vec::new();
        for image in images {
            let tagged = self.last_tagged(&image.id).await?;
            let names = image.repo_tags.into_iter().filter(|name| name.strip_prefix(repository).is_some_and(|rest| rest.starts_with(':')));
            tags.extend(names.map(|reference| TaggedImage { id: image.id.clone(), reference, tagged }));
        }
        tags.sort_by(|a, b| b.tagged.cmp(&a.tagged).then_with(|| a.reference.cmp(&b.reference)));
        Ok(tags)
    }

    /// Names under `repository` that are digests, `repository@sha256:...`, with the ids of their images.
    pub async fn digests_of(&self, repository: &str) -> Result<Vec<(String, String)>, DockerError> {
        let options = query::ListImagesOptionsBuilder::new().digests(true).build();
        let images = self.call(|| format!("list the images of `{repository}`"), SHORT, self.client.list_images(Some(options))).await?;
        let ours = |name: &String| name.strip_prefix(repository).is_some_and(|rest| rest.starts_with('@'));
        let named =
            images.into_iter().flat_map(|image| image.repo_digests.into_iter().filter(ours).map(move |name| (name, image.id.clone())));
        Ok(named.collect())
    }

    /// Images with this label, whatever its value.
    pub async fn images_labelled(&self, label: &str) -> Result<Vec<LabelledImage>, DockerError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = query::ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed =
            self.call(|| format!("list the images with the label `{label}`"), SHORT, self.client.list_images(Some(options))).await?;
        let mut images = Vec::new();
        for image in listed {
            let tagged = self.last_tagged(&image.id).await?;
            let is_name = |name: &String| !name.starts_with("<none>");
            images.push(LabelledImage {
                names: image.repo_tags.into_iter().filter(is_name).collect(),
                has_digest: image.repo_digests.iter().any(is_name),
                bytes: u64::try_from(image.size).unwrap_or(0),
                tagged,
                id: image.id,
            });
        }
        Ok(images)
    }

    /// When an image was last given a name; the beginning of time for one that is gone meanwhile.
    async fn last_tagged(&self, id: &str) -> Result<i64, DockerError> {
        match self.call(|| format!("inspect the image `{id}`"), SHORT, self.client.inspect_image(id)).await {
            Ok(found) => Ok(found.metadata.and_then(|known| known.last_tag_time).map_or(0, time::OffsetDateTime::unix_timestamp)),
            Err(error) if error.is_missing() => Ok(0),
            // Nobody has any use for it.
            Err(error) if error.is_damage() => Ok(1),
            Err(error) => Err(error),
        }
    }
}

fn local_image(found: ImageInspect) -> LocalImage {
    let config = found.config.unwrap_or_default();
    let arch = found.architecture.unwrap_or_default();
    let mut platform = format!("{}/{arch}", found.os.unwrap_or_default());
    if let Some(variant) = found.variant.filter(|variant| !variant.is_empty()) {
        platform.push('/');
        platform.push_str(&variant);
    }
    let digests = found.repo_digests.unwrap_or_default();
    let id = found.id.unwrap_or_default();
    // Where containerd keeps the images, a name brings a digest that is the id: an image is the same with and without a name.
    let of_manifest = |named: &String| Some(named.split_once('@')?.1.to_owned()).filter(|digest| *digest != id);
    let manifest = digests.iter().find_map(of_manifest);
    LocalImage {
        identity: ImageIdentity { platform, config: id, manifest },
        arch,
        entry: EntryPoint {
            entrypoint: config.entrypoint.unwrap_or_default(),
            workdir: config.working_dir.filter(|path| !path.is_empty()),
            user: config.user.filter(|user| !user.is_empty()),
        },
        command: config.cmd.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        created: found.created.map(time::OffsetDateTime::unix_timestamp),
        triggers: config.on_build.unwrap_or_default(),
        names: found.repo_tags.unwrap_or_default(),
        digests,
        layers: found.root_fs.and_then(|root| root.layers).unwrap_or_default(),
        shell: config.shell.unwrap_or_default(),
        volumes: sorted(config.volumes.unwrap_or_default()),
    }
}

fn sorted(mut paths: Vec<String>) -> Vec<String> {
    paths.sort_unstable();
    paths
}

fn pull_news(info: &CreateImageInfo) -> Option<String> {
    let status = info.status.as_deref()?;
    let id = info.id.as_deref().unwrap_or_default();
    let progress = info.progress_detail.as_ref();
    match progress.and_then(|progress| Some((progress.current?, progress.total?))) {
        Some((current, total)) if total > 0 => Some(format!("{id} {status} {}%", current.saturating_mul(100) / total)),
        _ if id.is_empty() => Some(status.to_owned()),
        _ => Some(format!("{id} {status}")),
    }
}

/// A reference without tag and digest would pull every tag there is.
fn tagged(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains(':') || reference.contains('@') { reference.to_owned() } else { format!("{reference}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_tag_means_the_latest() {
        assert_eq!(tagged("python"), "python:latest");
        assert_eq!(tagged("ci:5000/python"), "ci:5000/python:latest");
        assert_eq!(tagged("python:3.12"), "python:3.12");
        assert_eq!(tagged("python@sha256:00"), "python@sha256:00");
    }
}
