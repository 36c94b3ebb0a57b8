//! Counts the steps of a build, and those that were taken from a cache: the engine's own, or one that came from a registry.

use std::collections::BTreeMap;

use crate::docker::build::imported_from;
use crate::model::Progress;
use crate::model::event::BuiltSteps;
use crate::model::progress::BuildStepState;

/// What was heard of a build's steps.
#[derive(Debug, Default)]
pub(in crate::image) struct Counter {
    /// Whether each step came from a cache.
    cached: BTreeMap<String, bool>,
    /// Caches that could not be read, and why.
    pub(in crate::image) refused: Vec<(String, String)>,
}

impl Counter {
    /// Takes note.
    pub(in crate::image) fn hear(&mut self, news: &Progress) {
        let Progress::BuildStep(step) = news else { return };
        if let (Some(reference), BuildStepState::Failed(why)) = (imported_from(&step.name), &step.state) {
            self.refused.push((reference.to_owned(), why.clone()));
        }
        match step.state {
            BuildStepState::Cached if counts(&step.name) => drop(self.cached.insert(step.id.clone(), true)),
            BuildStepState::Done(_) if counts(&step.name) => drop(self.cached.insert(step.id.clone(), false)),
            BuildStepState::Started | BuildStepState::Cached | BuildStepState::Done(_) | BuildStepState::Failed(_) => {}
        }
    }

    /// What it came to, if there was any.
    pub(in crate::image) fn steps(&self) -> Option<BuiltSteps> {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let cached = self.cached.values().filter(|cached| **cached).count();
        (!self.cached.is_empty()).then(|| BuiltSteps { cached: number(cached), all: number(self.cached.len()) })
    }
}

/// A line of the Dockerfile that does something: `[2/5] RUN make`, `[build 3/4] COPY . .`. What it starts from is done by nobody.
fn counts(name: &str) -> bool {
    let Some((place, line)) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { return false };
    let number = place.rsplit(' ').next().and_then(|number| number.split_once('/'));
    number.is_some_and(|(n, of)| n.parse::<u32>().is_ok() && of.parse::<u32>().is_ok()) && !line.starts_with("FROM ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::progress::BuildStep;

    #[test]
    fn lines_of_the_dockerfile_count_once() {
        let mut counter = Counter::default();
        let step = |name: &str, state| Progress::BuildStep(BuildStep { id: name.into(), name: name.into(), state });
        for news in [
            step("[internal] load build context", BuildStepState::Done(1)),
            step("[1/4] FROM docker.io/library/debian", BuildStepState::Cached),
            step("[2/4] RUN make", BuildStepState::Cached),
            step("[2/4] RUN make", BuildStepState::Cached),
            step("[build 3/4] COPY . .", BuildStepState::Started),
            step("[build 3/4] COPY . .", BuildStepState::Done(7)),
            step("[4/4] RUN [ -d /app 1/2] || true", BuildStepState::Done(7)),
            step("exporting to image", BuildStepState::Done(7)),
            step("importing cache manifest from registry.example/a:b", BuildStepState::Failed("no".into())),
        ] {
            counter.hear(&news);
        }
        assert_eq!(counter.steps(), Some(BuiltSteps { cached: 1, all: 3 }));
        assert_eq!(counter.refused, [("registry.example/a:b".to_owned(), "no".to_owned())]);
        assert_eq!(Counter::default().steps(), None);
    }
}
