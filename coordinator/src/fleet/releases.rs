//! Images of releases on an engine. Those that nobody goes back to may go, once another release has settled in.

use std::collections::BTreeSet;

use crate::docker::{Docker, DockerError};

/// Takes the names of a repository's digests from all images of an engine but these, and removes the images that have no other name. One that a container is made
/// of, running or not, stays whatever happens: another environment may go back to it. Given back are the names that are gone.
///
/// # Errors
/// The engine does not answer or refuses; what was removed by then is gone.
pub async fn prune(docker: &Docker, repository: &str, keep: &BTreeSet<String>) -> Result<Vec<String>, DockerError> {
    let mut used: BTreeSet<String> = keep.clone();
    // Looked at before the images: what is made later is made of what is kept.
    for image in docker.images_in_use().await? {
        used.insert(image);
    }
    let mut gone = Vec::new();
    for (name, id) in docker.digests_of(repository).await? {
        if !used.contains(&id) && docker.untag(&name).await? {
            gone.push(name);
        }
    }
    Ok(gone)
}
