//! Images that splitci made in an engine and that are too many: of projects that nobody runs any more, and those that lost their name to another of the
//! same key.
//!
//! An image counts as ours by its label. One that somebody else gave a name is left alone, and so is one that was used a moment ago, for another run may be about
//! to start its first shard; after that the engine itself refuses to remove it.

use super::bases::UNUSED_SECONDS;
use super::ensure::KEY_LABEL;
use crate::docker::images::LabelledImage;
use crate::docker::{Docker, DockerError};

/// Repositories of ours begin so.
const OURS: &str = "splitci/";

/// The images that are too many if `most` of those with a name may stay, those first that nobody used for the longest time. `now` is in seconds since 1970.
pub async fn surplus(docker: &Docker, most: usize, now: i64) -> Result<Vec<LabelledImage>, DockerError> {
    Ok(chosen(docker.images_labelled(KEY_LABEL).await?, most, now))
}

fn chosen(mut images: Vec<LabelledImage>, most: usize, now: i64) -> Vec<LabelledImage> {
    images.retain(|image| image.names.iter().all(|name| name.starts_with(OURS)));
    images.sort_by(|a, b| b.tagged.cmp(&a.tagged).then_with(|| a.id.cmp(&b.id)));
    let (named, mut going): (Vec<_>, Vec<_>) = images.into_iter().partition(|image| !image.names.is_empty());
    // What never had a name gets one in a moment, and what only a registry names was pulled by somebody.
    going.retain(|image| image.tagged > 0 && !image.has_digest);
    going.extend(named.into_iter().skip(most));
    going.retain(|image| now - image.tagged > UNUSED_SECONDS);
    going.sort_by_key(|image| image.tagged);
    going
}

/// Removes them, except those that the engine needs. Says which are gone.
pub async fn remove(docker: &Docker, surplus: Vec<LabelledImage>) -> Result<Vec<LabelledImage>, DockerError> {
    let mut gone = Vec::new();
    for image in surplus {
        for name in &image.names {
            docker.untag(name).await?;
        }
        // The last name took it along, unless something uses it or a registry has named it.
        if is_there(docker, &image.id).await? {
            docker.untag(&image.id).await?;
        }
        if !is_there(docker, &image.id).await? {
            gone.push(image);
        }
    }
    Ok(gone)
}

async fn is_there(docker: &Docker, id: &str) -> Result<bool, DockerError> {
    match docker.image(id).await {
        Ok(image) => Ok(image.is_some()),
        Err(error) if error.is_damage() => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, names: &[&str], tagged: i64) -> LabelledImage {
        let names = names.iter().map(ToString::to_string).collect();
        LabelledImage { id: id.to_owned(), names, has_digest: false, bytes: 1, tagged }
    }

    fn ids(images: Vec<LabelledImage>, most: usize) -> Vec<String> {
        chosen(images, most, 10_000).into_iter().map(|image| image.id).collect()
    }

    #[test]
    fn those_go_that_nobody_used_for_the_longest_time() {
        let all =
            || ["d", "a", "c", "b"].iter().zip([400, 100, 300, 200]).map(|(id, at)| image(id, &["splitci/shop:1"], at)).collect::<Vec<_>>();
        assert_eq!(ids(all(), 2), ["a", "b"]);
        assert_eq!(ids(all(), 4), [""; 0]);
        assert_eq!(ids(all(), 0), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_is_somebody_elses_or_young_stays() {
        let pulled = LabelledImage { has_digest: true, ..image("pulled", &[], 100) };
        let all = vec![
            image("theirs", &["splitci/shop:1", "shop:release"], 100),
            image("young", &["splitci/shop:2"], 9_900),
            image("nameless", &[], 100),
            image("coming", &[], 0),
            pulled,
        ];
        assert_eq!(ids(all, 0), ["nameless"]);
    }
}
