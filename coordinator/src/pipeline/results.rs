//! Results of earlier runs, as far as they touch the outside: what their key is made of, what a run is offered, and what it leaves in the cache.
//!
//! What may be kept and reused is `reuse`'s decision. Everything here may fail, or be lost, at any moment: then more is run, that is all, and the user is told.
//!
//! | in the cache | is |
//! |---|---|
//! | layer `results`, by the key of results | a pack: what is kept under that key |
//! | layer `standings`, by the project | the standing of each file |
//! | layer `inputs`, by the project | what the keys of the last run were made of |
//! | layer `suite`, by the key of results | the suite's list |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{Cache, milliseconds};
use super::ground::Ground;
use super::launches::{canonical_launch, variables};
use super::plans::offering;
use super::run::Job;
use super::{PipelineError, World};
use crate::content::StoreError;
use crate::history::{History, lock};
use crate::model::chain;
use crate::model::event::Recalled;
use crate::model::settings::EngineKind;
use crate::model::trust::Level;
use crate::model::{ImageContent, RunId, SuiteId};
use crate::proof::Proof;
use crate::reuse::inputs::Inputs;
use crate::reuse::key::{Key, KeyInputs, key};
use crate::reuse::lessons::Lessons;
use crate::reuse::listing;
use crate::reuse::offer::{Offer, Withheld};
use crate::reuse::pack::{EXPIRES_MS, Pack};
use crate::reuse::standing::Standings;
use crate::tally::Worth;
use crate::trust::MacKey;

const RESULTS: &str = "results";
const STANDINGS: &str = "standings";
const INPUTS: &str = "inputs";
const SUITE: &str = "suite";
/// How long a project's standings are kept after its last run.
const KEEP_STANDINGS: Duration = Duration::from_hours(90 * 24);
/// Files that are named in one sentence.
const MOST_NAMES: usize = 3;

/// What a run has to do with results of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Nothing: it runs parts of files, or none.
    Off,
    /// It only remembers which files were flaky, for the day that results are asked for.
    Watch,
    /// It keeps what it shows.
    Keep,
    /// And it reuses what is kept.
    Use,
}

/// What a run would do with a test file, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFate {
    /// Reuse it, or run it as a canary: this run proved it.
    Reused(RunId),
    /// Run it: it was flaky of late, and is run in so many more runs.
    Flaky(u32),
    /// Run it: what this run proved is too old.
    Old(RunId),
    /// Run it: it has results, and no history is at hand.
    WithoutHistory,
    /// Run it: others passed with all this being the same, and it did not, or was not there.
    NotProven,
    /// Run it: nothing was proven with all this being the same.
    New,
    /// Run it: results of such runs have no key.
    Unkeyed,
}

/// What an image's tests could notice of where they run, besides what they are given.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) content: ImageContent,
    pub(super) engine: Vec<String>,
    pub(super) proxies: BTreeMap<String, String>,
    /// blake3 of the worker's program.
    pub(super) worker: [u8; 32],
}

/// What is known of earlier results, for one run.
pub(super) struct Known {
    cache: Arc<Cache>,
    keys: BTreeMap<SuiteId, Key>,
    /// What the keys are made of, by the suites' names.
    inputs: BTreeMap<String, Inputs>,
    /// Names what is kept of the project as a whole.
    project: [u8; 32],
    /// Held while a run adds what it showed to what others of this machine did.
    lock: PathBuf,
}

impl Known {
    /// Finds out under which keys the run's results are kept; adds a sentence to the job's where there can be none.
    pub(super) fn of(job: &mut Job<'_>, ground: &Ground, world: &World) -> Result<Option<Self>, PipelineError> {
        if job.reuse == Reuse::Off {
            return Ok(None);
        }
        let Some(cache) = job.cache.clone() else {
            let text = "nothing is reused: there is no cache to keep results in";
            job.notices.extend((job.reuse != Reuse::Watch).then(|| text.to_owned()));
            return Ok(None);
        };
        let (mut keys, mut inputs) = (BTreeMap::new(), BTreeMap::new());
        let unkeyed = unkeyed(job);
        if let (None, Reuse::Keep | Reuse::Use, Some(surroundings)) = (&unkeyed, job.reuse, &ground.surroundings)
            && !surroundings.content.layers.is_empty()
        {
            let mac = cache.mac_key();
            for (suite, settings) in job.settings.suites() {
                let of = inputs_of(suite, (job, ground, world), surroundings, &mac)?;
                keys.insert(suite, key(&of));
                inputs.insert(settings.name.clone(), Inputs::of(&of));
            }
        }
        job.notices.extend(unkeyed);
        Ok(Some(Self { cache, keys, inputs, project: job.project_id, lock: job.project.records.state.join("results.lock") }))
    }

    /// The same job, less what it may reuse.
    pub(super) async fn offer_to<'a>(&self, mut job: Job<'a>, run: &RunId, history: &History) -> Job<'a> {
        if job.reuse != Reuse::Use {
            return job;
        }
        let began = Instant::now();
        let Some(standings) = self.standings().await else { return job };
        let mut offer = Offer::default();
        for (suite, key) in &self.keys {
            let (pack, level) = self.pack_with_level(*key).await;
            job.reused_level = job.reused_level.into_iter().chain(level).min();
            offer.add(*suite, (&pack, *key), (&standings, milliseconds(run)), |of| history.record(of).exists());
        }
        self.cost(began);
        job.notices.extend(barred(&standings));
        job.notices.extend(withheld(&offer.withheld));
        for (file, micros) in &mut job.durations {
            // It is not run, and no shard is started for it.
            *micros = if offer.has(file) { 1 } else { *micros };
        }
        let (run, canaries) = (run.clone(), job.project.cache.canaries);
        if canaries == 0 {
            job.recalled = self.lists(job.settings.suites().map(|(suite, _)| suite)).await;
        }
        job.planner = offering(job.planner, move |suites| offer.choose(suites, &run, canaries));
        job
    }

    /// Keeps what a run showed. Returns what the user should know.
    pub(super) async fn learn(&self, proof: &Proof, run: &RunId, started: &str) -> Vec<String> {
        let began = Instant::now();
        let lessons = Lessons::of(proof, run, started, milliseconds(run));
        let taught = match self.teach(&lessons).await {
            Ok(contradicted) => self.keep_lists(proof, run).await.map(|()| contradicted),
            failed => failed,
        };
        self.count(proof);
        self.cost(began);
        match taught {
            Ok(contradicted) => {
                let told: Vec<&str> = proof.canaries().map(|(known, _)| &*known.file).collect();
                let untold = contradicted.iter().filter(|file| !told.contains(&file.as_str()));
                let sentence = |file| {
                    format!(
                        "{file} does not do what it did in an earlier run of the same image, command and environment: what was kept of it is thrown away, and it is run in each of its next 20 runs"
                    )
                };
                untold.map(sentence).collect()
            }
            // Who did not ask for results need not hear that there are none.
            Err(_) if self.keys.is_empty() => Vec::new(),
            Err(error) => vec![format!("what this run showed is not kept for others: {}", chain(&error))],
        }
    }

    /// Without a lock, what another run of this machine shows at the same time may get lost: more is run then.
    async fn teach(&self, lessons: &Lessons) -> Result<Vec<String>, StoreError> {
        let path = self.lock.clone();
        let _lock = tokio::task::spawn_blocking(move || lock(&path).ok()).await;
        let mut standings = self.standings().await.unwrap_or_default();
        let mut packs = BTreeMap::new();
        for (suite, key) in &self.keys {
            packs.insert(*suite, self.pack(*key).await);
        }
        let contradicted = lessons.teach(&self.keys, &mut packs, &mut standings);
        // Standings first: a bar that is known is worth more than a result.
        self.cache.remember(STANDINGS, self.project, standings.write(), KEEP_STANDINGS).await?;
        for (suite, key) in &self.keys {
            if let Some(pack) = packs.get(suite) {
                self.cache.remember(RESULTS, key.0, pack.write(*key), Duration::from_millis(EXPIRES_MS)).await?;
            }
        }
        if !self.inputs.is_empty() {
            let inputs = serde_json::to_vec(&self.inputs).map_err(std::io::Error::from)?;
            self.cache.remember(INPUTS, self.project, inputs, KEEP_STANDINGS).await?;
        }
        Ok(contradicted)
    }

    async fn keep_lists(&self, proof: &Proof, run: &RunId) -> Result<(), StoreError> {
        for (suite, key) in &self.keys {
            let Some(list) = listing::shown(proof, *suite, run) else { continue };
            let bytes = listing::write(&list, *key).map_err(std::io::Error::from)?;
            self.cache.remember(SUITE, key.0, bytes, Duration::from_millis(EXPIRES_MS)).await?;
        }
        Ok(())
    }

    /// What a run would do with a file, and how what its key is made of differs from the last run's where nothing is kept under it.
    pub(super) async fn explain(&self, suite: SuiteId, file: &str, now_ms: u64) -> (FileFate, Vec<String>) {
        let Some(key) = self.keys.get(&suite) else { return (FileFate::Unkeyed, Vec::new()) };
        let standings = self.standings().await.unwrap_or_default();
        let pack = self.pack(*key).await;
        match (pack.files.get(file), standings.of(file)) {
            (_, Some(standing)) if standing.barred() > 0 => (FileFate::Flaky(standing.barred()), Vec::new()),
            (Some(entry), _) if !entry.is_fresh(now_ms) => (FileFate::Old(entry.of.clone()), Vec::new()),
            (Some(_), None) => (FileFate::WithoutHistory, Vec::new()),
            (Some(entry), Some(_)) => (FileFate::Reused(entry.of.clone()), Vec::new()),
            (None, _) if !pack.files.is_empty() => (FileFate::NotProven, Vec::new()),
            (None, _) => (FileFate::New, self.differences().await),
        }
    }

    async fn differences(&self) -> Vec<String> {
        let kept = self.cache.recall(INPUTS, self.project).await;
        let earlier = kept.iter().find_map(|bytes| serde_json::from_slice::<BTreeMap<String, Inputs>>(bytes).ok());
        let earlier = earlier.unwrap_or_default();
        let of = |(suite, inputs): (&String, &Inputs)| earlier.get(suite).map(|earlier| inputs.differences(earlier)).unwrap_or_default();
        self.inputs.iter().flat_map(of).collect()
    }

    /// The lists of these suites, if all of them are known.
    async fn lists(&self, suites: impl Iterator<Item = SuiteId>) -> Vec<Recalled> {
        let mut lists = Vec::new();
        for suite in suites {
            let Some(key) = self.keys.get(&suite) else { return Vec::new() };
            let Some(list) = listing::read(&self.cache.recall(SUITE, key.0).await, *key) else { return Vec::new() };
            lists.push(list);
        }
        lists
    }

    async fn standings(&self) -> Option<Standings> {
        let kept = self.cache.recall(STANDINGS, self.project).await;
        kept.iter().filter_map(|bytes| Standings::read(bytes)).reduce(|mut all, more| {
            all.join(more);
            all
        })
    }

    async fn pack(&self, key: Key) -> Pack {
        self.pack_with_level(key).await.0
    }

    /// The same, with the lowest level that a part of it was kept at.
    async fn pack_with_level(&self, key: Key) -> (Pack, Option<Level>) {
        let kept = self.cache.recall_with_levels(RESULTS, key.0).await;
        let packs: Vec<(Level, Pack)> = kept.iter().filter_map(|(level, bytes)| Some((*level, Pack::read(bytes, key)?))).collect();
        let lowest = packs.iter().map(|(level, _)| *level).min();
        let joined = packs.into_iter().fold(Pack::default(), |mut all, (_, more)| {
            all.join(more);
            all
        });
        (joined, lowest)
    }

    /// Counts what was not run again, by what it took when it was.
    fn count(&self, proof: &Proof) {
        let tests = || proof.reused().flat_map(|known| &known.tests);
        let saved_ms = tests().map(|test| test.micros).sum::<u64>() / 1_000;
        self.cache.count(RESULTS, Worth { reused: tests().count() as u64, saved_ms, cost_ms: 0 });
    }

    fn cost(&self, began: Instant) {
        let cost_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.cache.count(RESULTS, Worth { cost_ms, ..Worth::default() });
    }
}

fn inputs_of(
    suite: SuiteId,
    (job, ground, world): (&Job<'_>, &Ground, &World),
    around: &Surroundings,
    mac: &MacKey,
) -> Result<KeyInputs, PipelineError> {
    let public: Vec<&String> = job.settings.env.iter().map(|(name, _)| name).collect();
    let masked = |name: &str, value: &str| format!("mac:{}", blake3::Hash::from_bytes(mac.mac(name, value.as_bytes())).to_hex());
    let mask = |(name, value): (String, String)| {
        let value = if public.contains(&&name) { value } else { masked(&name, &value) };
        (name, value)
    };
    let given: Vec<_> = variables(job, world).into_iter().map(mask).collect();
    let proxies = around.proxies.iter().map(|(name, value)| (name.clone(), masked(name, value))).collect();
    Ok(KeyInputs {
        image: around.content.clone(),
        launch: canonical_launch(job, ground, suite, &given)?,
        suite: job.settings.suite(suite).cloned().unwrap_or_default(),
        container: job.settings.container.clone(),
        test_ms: job.settings.timeouts.test_ms,
        worker: around.worker,
        engine: around.engine.clone(),
        proxies,
        seed: job.project.cache.seed,
        epoch: job.project.cache.epoch.clone(),
    })
}

/// Why a run that asks for results can neither reuse nor keep any, if so.
fn unkeyed(job: &Job<'_>) -> Option<String> {
    let container = &job.settings.container;
    let profile = container.security_opt.iter().any(|option| option.starts_with("seccomp=") && option != "seccomp=unconfined");
    let why = match job.reuse {
        Reuse::Off | Reuse::Watch => None,
        Reuse::Keep | Reuse::Use => [
            (job.settings.engine == EngineKind::Process, "local processes have no image that results could be of"),
            (!container.volumes.is_empty(), "what is in `shard.volumes` is no part of the image, so results may change with it"),
            (profile, "what is in the seccomp profile of `shard.security_opt` may change"),
        ]
        .into_iter()
        .find(|(holds, _)| *holds),
    };
    why.map(|(_, why)| format!("nothing is reused: {why}"))
}

/// Files that are run since they were flaky, in a sentence.
fn barred(standings: &Standings) -> Option<String> {
    let all: Vec<_> = standings.barred().collect();
    let named: Vec<_> = all.iter().take(MOST_NAMES).map(|(file, runs)| format!("{file} ({runs} more runs)")).collect();
    let more = if all.len() > MOST_NAMES { format!(" and {} more", all.len() - MOST_NAMES) } else { String::new() };
    (!all.is_empty()).then(|| format!("flaky of late, so run and not reused: {}{more}", named.join(", ")))
}

/// What is kept and not offered, in sentences.
fn withheld(withheld: &Withheld) -> Vec<String> {
    let mut sentences = Vec::new();
    if withheld.stale > 0 {
        sentences.push(format!("results of {} files are older than 14 days: they are run", withheld.stale));
    }
    if withheld.unknown > 0 {
        sentences.push(format!("{} files with results have no history here: they are run", withheld.unknown));
    }
    sentences
}
