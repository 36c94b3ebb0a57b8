//! Which layers a build takes from a registry: those of tags that are there. It is asked before, so that a registry that is slow, refuses or is not there costs a
//! few seconds at most, and a tag that nobody wrote yet is no error.

use std::time::Duration;

use futures_util::future::join_all;

use super::{IMAGE, Layers, STEPS, names, recipe, repository_of, travels};
use crate::docker::{Docker, DockerError};
use crate::image::ensure::BuildFrom;
use crate::image::prepare::Prepared;

/// How long a registry may take to say what it has.
const ANSWER: Duration = Duration::from_secs(5);

/// What a build takes from a registry, and what the user should know of it.
#[derive(Debug, Default)]
pub(in crate::image) struct Taken {
    pub(in crate::image) references: Vec<String>,
    pub(in crate::image) notes: Vec<String>,
    /// The registry did not answer, or said no: it is not asked to take something either.
    pub(in crate::image) unwell: bool,
}

impl Taken {
    /// The build goes on without, for this reason.
    pub(in crate::image) fn give_up(&mut self, why: &str) {
        let from = std::mem::take(&mut self.references).join(", ");
        self.notes.push(format!("layers of {from} were not used, the image was built without: {why}"));
    }
}

/// Looks for what others built. Every step anew means nothing of others either.
pub(in crate::image) async fn take(from: &BuildFrom, prepared: &Prepared, docker: &Docker) -> Taken {
    let Some(layers) = from.layers.as_ref().filter(|_| !from.no_cache && !from.anew) else { return Taken::default() };
    let mut groups = names::read(layers, &recipe(from, prepared, IMAGE));
    if prepared.inputs.containerd_store {
        groups.extend(names::read(layers, &recipe(from, prepared, STEPS)));
    }
    let asked = groups.iter().map(|group| join_all(group.iter().map(|reference| docker.in_registry(reference, ANSWER))));
    let mut taken = Taken::default();
    let mut first_error = None;
    for (group, answers) in groups.iter().zip(join_all(asked).await) {
        let mut there = None;
        for (reference, answer) in group.iter().zip(answers) {
            match answer {
                Ok(true) => there = there.or(Some(reference)),
                Ok(false) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        taken.references.extend(there.cloned());
    }
    taken.unwell = first_error.is_some();
    taken.notes.extend(first_error.map(|error| warning(layers, &error)));
    taken
}

fn warning(layers: &Layers, error: &DockerError) -> String {
    let why = match (error, error.engine_message()) {
        (_, Some(said)) => said.trim().to_owned(),
        (DockerError::Silent { seconds, .. }, None) => format!("no answer within {seconds} s"),
        (error, None) => error.to_string(),
    };
    let hint = if why.contains("no basic auth") || why.contains("unauthorized") || why.contains("denied") {
        "; `docker login` gives this machine credentials"
    } else {
        ""
    };
    // The first build of a branch at a level that nobody writes is nothing to speak of; this is.
    let name = if travels(layers.level) { repository_of(&layers.repository, layers.level) } else { layers.repository.clone() };
    format!("layers of others are not used (`cache.layers`, `{name}`): {why}{hint}")
}
