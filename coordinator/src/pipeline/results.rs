//! Results of earlier runs, as far as they touch the outside: where they are kept, what their key is made of, what a run is offered, and what it leaves.
//!
//! What may be kept and reused is `reuse`'s decision. Everything here may fail, or be lost, at any moment: then more is run, that is all, and the user is told.
//!
//! | in the state directory | is |
//! |---|---|
//! | `results/secret` | 32 bytes of chance, for this user's eyes: it seals what follows, and stands for values that nobody is to guess |
//! | `results/standings` | the standing of each file |
//! | `results/<key>.pack` | what is kept under a key |
//! | `results/lock` | held while a run adds what it showed to what others did |

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::ground::Ground;
use super::launches::{canonical_launch, variables};
use super::run::{Job, offering};
use super::{PipelineError, World};
use crate::history::{History, lock, replace};
use crate::model::settings::EngineKind;
use crate::model::{ImageContent, RunId, SuiteId};
use crate::proof::Proof;
use crate::reuse::key::{Key, KeyInputs, key, masked};
use crate::reuse::lessons::Lessons;
use crate::reuse::offer::{Offer, Withheld};
use crate::reuse::pack::Pack;
use crate::reuse::standing::Standings;
use crate::run::chain;

/// Packs that are kept of a project: those that were written last.
const MOST_PACKS: usize = 32;
/// A file that is larger is none of ours.
const MOST_BYTES: u64 = 256 << 20;
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
    shelf: Shelf,
    secret: [u8; 32],
    keys: BTreeMap<SuiteId, Key>,
}

impl Known {
    /// Finds out under which keys the run's results are kept; adds a sentence to the job's where there can be none.
    pub(super) fn of(job: &mut Job<'_>, ground: &Ground, world: &World) -> Result<Option<Self>, PipelineError> {
        if job.reuse == Reuse::Off {
            return Ok(None);
        }
        let shelf = Shelf { directory: job.project.records.state.join("results") };
        let secret = match shelf.secret() {
            Ok(secret) => secret,
            Err(error) => {
                let text = format!("nothing is reused: results cannot be kept: {}", chain(&error));
                job.notices.extend((job.reuse != Reuse::Watch).then_some(text));
                return Ok(None);
            }
        };
        let mut known = Self { shelf, secret, keys: BTreeMap::new() };
        let unkeyed = unkeyed(job);
        if let (None, Reuse::Keep | Reuse::Use, Some(surroundings)) = (&unkeyed, job.reuse, &ground.surroundings)
            && !surroundings.content.layers.is_empty()
        {
            for (suite, _) in job.settings.suites() {
                known.keys.insert(suite, known.key(suite, (job, ground, world), surroundings)?);
            }
        }
        job.notices.extend(unkeyed);
        Ok(Some(known))
    }

    fn key(&self, suite: SuiteId, (job, ground, world): (&Job<'_>, &Ground, &World), around: &Surroundings) -> Result<Key, PipelineError> {
        let public: Vec<&String> = job.settings.env.iter().map(|(name, _)| name).collect();
        let mask = |(name, value): (String, String)| {
            let value = if public.contains(&&name) { value } else { masked(&self.secret, &name, &value) };
            (name, value)
        };
        let given: Vec<_> = variables(job, world).into_iter().map(mask).collect();
        let proxies = around.proxies.iter().map(|(name, value)| (name.clone(), masked(&self.secret, name, value))).collect();
        Ok(key(&KeyInputs {
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
        }))
    }

    /// The same job, less what it may reuse.
    pub(super) fn offer_to<'a>(&self, mut job: Job<'a>, run: &RunId, history: &History) -> Job<'a> {
        if job.reuse != Reuse::Use {
            return job;
        }
        let Some(standings) = self.standings() else { return job };
        let mut offer = Offer::default();
        for (suite, key) in &self.keys {
            if let Some(pack) = self.pack(*key) {
                offer.add(*suite, (&pack, *key), (&standings, milliseconds(run)), |of| history.record(of).exists());
            }
        }
        job.notices.extend(barred(&standings));
        job.notices.extend(withheld(&offer.withheld));
        for (file, micros) in &mut job.durations {
            // It is not run, and no shard is started for it.
            *micros = if offer.has(file) { 1 } else { *micros };
        }
        let (run, canaries) = (run.clone(), job.project.cache.canaries);
        job.planner = offering(job.planner, move |suites| offer.choose(suites, &run, canaries));
        job
    }

    /// Keeps what a run showed. Returns what the user should know.
    pub(super) fn learn(&self, proof: &Proof, run: &RunId, started: &str) -> Vec<String> {
        let lessons = Lessons::of(proof, run, started, milliseconds(run));
        match self.teach(&lessons) {
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

    fn teach(&self, lessons: &Lessons) -> std::io::Result<Vec<String>> {
        let _lock = self.shelf.lock()?;
        let mut standings = self.standings().unwrap_or_default();
        let read = |(suite, key): (&SuiteId, &Key)| (*suite, self.pack(*key).unwrap_or_default());
        let mut packs = self.keys.iter().map(read).collect();
        let contradicted = lessons.teach(&self.keys, &mut packs, &mut standings);
        // Standings first: a bar that is known is worth more than a result.
        self.shelf.write(STANDINGS, &standings.write(&self.secret))?;
        for (suite, key) in &self.keys {
            if let Some(pack) = packs.get(suite) {
                self.shelf.write(&name_of(*key), &pack.write(*key, &self.secret))?;
            }
        }
        self.shelf.make_room();
        Ok(contradicted)
    }

    fn standings(&self) -> Option<Standings> {
        Standings::read(&self.shelf.read(STANDINGS)?, &self.secret)
    }

    fn pack(&self, key: Key) -> Option<Pack> {
        Pack::read(&self.shelf.read(&name_of(key))?, key, &self.secret)
    }
}

const STANDINGS: &str = "standings";

fn name_of(key: Key) -> String {
    format!("{}.pack", key.to_hex())
}

/// When a run began, by its name, in milliseconds since 1970.
fn milliseconds(run: &RunId) -> u64 {
    ulid::Ulid::from_string(&run.0).map_or(0, |ulid| ulid.timestamp_ms())
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

/// Where results are kept: what a content store takes the place of.
struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    /// What is kept under a name; nothing if it cannot be read.
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.directory.join(name)).ok()?;
        let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes).ok()?;
        (read as u64 <= MOST_BYTES).then_some(bytes)
    }

    /// Keeps bytes under a name, whole or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        replace(&self.directory.join(name), bytes)
    }

    fn lock(&self) -> std::io::Result<fs::File> {
        lock(&self.directory.join("lock")).map_err(std::io::Error::other)
    }

    /// The secret; made if there is none, or one that others could have seen.
    fn secret(&self) -> std::io::Result<[u8; 32]> {
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join("secret");
        if let Some(secret) = secret_in(&path) {
            return Ok(secret);
        }
        let _lock = self.lock()?;
        if let Some(secret) = secret_in(&path) {
            return Ok(secret);
        }
        let mut secret = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let fresh = self.directory.join(format!("secret.{}.new", std::process::id()));
        fs::remove_file(&fresh).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(&secret)?;
        fs::rename(&fresh, &path)?;
        Ok(secret)
    }

    /// Removes what was written longest ago. What cannot be removed is in nobody's way.
    fn make_room(&self) {
        let Ok(found) = fs::read_dir(&self.directory) else { return };
        let packs = found.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"));
        let mut packs: Vec<_> = packs.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
        packs.sort_unstable_by(|a, b| b.cmp(a));
        for (_, path) in packs.into_iter().skip(MOST_PACKS) {
            let _kept = fs::remove_file(path);
        }
    }
}

fn secret_in(path: &Path) -> Option<[u8; 32]> {
    let file = fs::File::open(path).ok()?;
    // Nobody else may read or write it.
    let private = file.metadata().ok()?.permissions().mode().trailing_zeros() >= 6;
    let mut bytes = Vec::new();
    file.take(33).read_to_end(&mut bytes).ok()?;
    bytes.try_into().ok().filter(|_| private)
}
