//! Cache mounts of a build that travel between machines: what comes before the build, and what is told after it.
//!
//! Who carries them, and whom it believes, is the caller's business. What counts here: nothing comes into a mount before the times of what was sent are
//! forgotten, since tools judge what is in it by times; and a mount that does not travel is said to stay.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::building::{MOUNT_SPACE, mount_space};
use super::dockerfile::CacheMount;
use super::ensure::{BuildFrom, repository};
use super::key::ItemContent;
use super::prepare::Prepared;
use super::sent::forget_times;
use crate::docker::Docker;
use crate::model::progress::BuildStepState;
use crate::model::{Listener, Progress};

/// The cache mounts of a build.
#[derive(Debug, Clone, Default)]
pub struct Journey {
    /// The project, as its images are called.
    pub project: String,
    /// The build argument that keeps mounts of builds apart, and its value.
    pub space: (String, String),
    /// Platform that is built for, in full.
    pub platform: String,
    /// Which mounts, each once.
    pub mounts: Vec<Stop>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The mount, as the first step writes it that has it.
    pub mount: CacheMount,
    /// What its stage is built upon: an id, or nothing.
    pub base: String,
    /// All steps that have it.
    pub steps: Vec<String>,
    /// Of the files that say what its tools get: lock files, or the steps themselves.
    pub lock: [u8; 32],
}

/// What became of the steps that have a mount: how long they took, in milliseconds; nothing if they were not done anew or nobody knows.
pub type StepTimes = BTreeMap<String, u64>;

/// What was brought.
#[derive(Debug, Default)]
pub struct Brought {
    /// Something is in a mount that was not made here.
    pub something: bool,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// Whoever carries contents of mounts.
#[async_trait]
pub trait Travel: Send + Sync + std::fmt::Debug {
    /// Brings what is known elsewhere into mounts that have nothing. `forget` is called before anything comes into a mount; nothing may come if it says no.
    async fn bring(
        &self,
        journey: &Journey,
        docker: &Arc<Docker>,
        listener: &dyn Listener,
        forget: &(dyn Fn() -> bool + Send + Sync),
    ) -> Brought;

    /// The build is done: takes along what is in its mounts, without making anybody wait.
    fn take(&self, journey: Journey, times: StepTimes, docker: &Arc<Docker>);
}

/// What is in the mounts when a build begins.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) something: bool,
    notes: Vec<String>,
    journey: Option<Journey>,
    times: StepTimes,
    /// A step that has a mount was heard of.
    known: bool,
}

impl Arrived {
    /// Listens to the build, for what its steps take.
    pub(super) fn hear(&mut self, news: &Progress) {
        let (Some(journey), Progress::BuildStep(step)) = (&self.journey, news) else { return };
        let name = step.name.split_whitespace().collect::<Vec<_>>().join(" ");
        let ours = journey.mounts.iter().flat_map(|stop| &stop.steps).find(|text| name.ends_with(&format!("RUN {text}")));
        let Some(text) = ours else { return };
        self.known = true;
        if let BuildStepState::Done(took) = step.state {
            self.times.insert(text.clone(), took);
        }
    }
}

/// Has the mounts of a build filled, if somebody carries them.
pub(super) async fn arrive(from: &BuildFrom, prepared: &Prepared, docker: &Arc<Docker>, listener: &dyn Listener) -> Arrived {
    let Some(travel) = &from.mounts else { return Arrived::default() };
    // What is built anew is built with empty mounts.
    if from.no_cache || from.anew || prepared.mounts.is_empty() {
        return Arrived::default();
    }
    let stay: Vec<String> = prepared.mounts.iter().filter_map(|mount| mount.as_ref().err()).cloned().collect();
    let journey = journey(from, prepared);
    let brought =
        if journey.mounts.is_empty() { Brought::default() } else { travel.bring(&journey, docker, listener, &|| forget_times(from)).await };
    let notes = stay.into_iter().chain(brought.notes).collect();
    Arrived { something: brought.something, notes, journey: Some(journey), ..Arrived::default() }
}

/// Has the mounts of a build that is done taken along. What the user should know.
pub(super) fn depart(from: &BuildFrom, arrived: Arrived, docker: &Arc<Docker>) -> Vec<String> {
    // Where no step goes by its name, it may be that all were done.
    let worked = !arrived.times.is_empty() || !arrived.known;
    if let (Some(travel), Some(journey), true) = (&from.mounts, arrived.journey, worked)
        && !journey.mounts.is_empty()
    {
        travel.take(journey, arrived.times, docker);
    }
    arrived.notes
}

fn journey(from: &BuildFrom, prepared: &Prepared) -> Journey {
    let mut stops: BTreeMap<String, Stop> = BTreeMap::new();
    for mount in prepared.mounts.iter().flatten() {
        let base = mount.base.as_ref().map(|base| {
            let platform = base.platform.as_deref().or(from.platform.as_deref()).unwrap_or_default();
            prepared.inputs.bases.get(&format!("{} {platform}", base.reference)).cloned().unwrap_or_default()
        });
        let new = || Stop { mount: mount.clone(), base: base.unwrap_or_default(), steps: Vec::new(), lock: [0; 32] };
        stops.entry(mount.identity()).or_insert_with(new).steps.push(mount.step.clone());
    }
    let mut mounts: Vec<Stop> = stops.into_values().collect();
    for stop in &mut mounts {
        stop.lock = lock(stop, prepared);
    }
    Journey {
        project: repository(&from.project),
        space: (MOUNT_SPACE.to_owned(), mount_space(from)),
        platform: prepared.inputs.platform.clone(),
        mounts,
    }
}

/// Words in the name or the steps of a mount, and the files that lock what its tools get.
const LOCKS: &[(&[&str], &[&str])] = &[
    (&["pip", "poetry", "pdm", "uv"], &["poetry.lock", "Pipfile.lock", "uv.lock", "pdm.lock", "pyproject.toml", "setup.cfg"]),
    (&["bundle", "gem"], &["Gemfile.lock"]),
    (&["npm", "yarn", "pnpm", "node"], &["package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"]),
    (&["cargo", "rust"], &["Cargo.lock"]),
    (&["go"], &["go.sum"]),
    (&["composer"], &["composer.lock"]),
    (&["apt"], &[]),
];

/// The steps, and the lock files of the tools that they use; all of them where no tool is known.
fn lock(stop: &Stop, prepared: &Prepared) -> [u8; 32] {
    let words: Vec<&str> = stop.steps.iter().map(String::as_str).chain([stop.mount.name()]).collect();
    let has = |word: &str| words.iter().any(|text| text.split(|c: char| !c.is_alphanumeric()).any(|part| part == word));
    let tools: Vec<_> = LOCKS.iter().filter(|(names, _)| names.iter().any(|name| has(name))).collect();
    let all = tools.is_empty();
    let python = all || tools.iter().any(|(names, _)| names.contains(&"pip"));
    let counts = |name: &str| {
        let named = LOCKS.iter().filter(|(names, _)| all || tools.iter().any(|(tool, _)| tool == names));
        named.into_iter().any(|(_, files)| files.contains(&name)) || (python && is_requirements(name))
    };
    let mut hasher = blake3::Hasher::new_derive_key("splitci build mount lock v1");
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    stop.steps.iter().for_each(|step| field(step.as_bytes()));
    for item in prepared.items.iter() {
        let name = item.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if let (ItemContent::File(hash), true) = (&item.content, std::str::from_utf8(name).is_ok_and(&counts)) {
            field(&item.path);
            field(hash);
        }
    }
    *hasher.finalize().as_bytes()
}

fn is_requirements(name: &str) -> bool {
    name.strip_suffix(".txt").is_some_and(|stem| stem.starts_with("requirements"))
}
