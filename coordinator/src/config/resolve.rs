//! The last pass: one merged layer and the facts of the place in, a `Project` out, with nothing left open. Pure.
//!
//! Decisions made here: which engine, what the build context is and where in it the project lies, where the state is; which frameworks and commands,
//! on which paths, is decided in `suites`. Whatever is wrong is noted and the rest is looked at all the same, so that all faults come at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::assignment::Arguments;
use super::environment::{self, EnvFile};
use super::fault::{ConfigError, FaultKind, Faults, Place};
use super::paths::{Bases, relative};
use super::schema::{CacheSection, Given, ImageSection, Layer, ProjectSection, RecordSection, ShardSection, TimeoutSection};
use super::secrets;
use super::setting::{Count, EngineChoice, Init, Items, Percent, ProjectName, Shards, Span};
use super::suites::Wholes;
use super::survey::Where;
use super::{BuildSettings, CacheSettings, Caches, Candidate, ImageSettings, Project, RecordSettings, delivery, trust};
use crate::model::Volume;
use crate::model::settings::{ContainerSettings, EngineKind, Order, RunSettings, Timeouts};

/// What was found around the project; see `survey`.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The project's directory and the one that the command runs in.
    pub bases: Bases,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The Dockerfile found in the project's directory or above it.
    pub dockerfile: Option<PathBuf>,
    /// The env files that are named.
    pub env_files: Vec<EnvFile>,
    /// The frameworks there are, and what speaks for each.
    pub frameworks: Vec<Candidate>,
    /// The same for directories of suites, by their paths from the project's directory.
    pub elsewhere: BTreeMap<String, Vec<Candidate>>,
    /// The caller's environment.
    pub env: BTreeMap<String, String>,
    /// CPUs of this machine.
    pub cpus: u32,
    /// A fresh seed.
    pub seed: u32,
}

/// Decides everything. `faults` are those of the passes before.
pub fn resolve(layer: Layer, facts: Facts, faults: Faults) -> Result<Project, ConfigError> {
    let mut resolver = Resolver { facts, faults, notices: Vec::new() };
    let project = resolver.project(layer);
    resolver.faults.finish(project)
}

pub(super) struct Resolver {
    pub(super) facts: Facts,
    pub(super) faults: Faults,
    pub(super) notices: Vec<String>,
}

impl Resolver {
    fn project(&mut self, layer: Layer) -> Project {
        let Layer {
            project, image, suite, suites, pytest, unittest, ruby, run, timeout, shard, record, cache, trust: keys, candidate, ..
        } = layer;
        let root = self.facts.bases.root.clone();
        let kind = self.engine(value(run.engine), &image);
        if kind == EngineKind::Process {
            self.notices.extend(idle_options(&image, &shard));
        }
        let seed_asked = run.seed.as_ref().map(|seed| u64::from(seed.value.0));
        let cache_settings = CacheSettings {
            results: value(cache.results.clone()).unwrap_or(false),
            fresh: false,
            canaries: value(cache.canaries.clone()).map_or(2, |Percent(n)| n),
            epoch: value(cache.epoch.clone()),
            seed: seed_asked,
            ..self.cache(&cache)
        };
        let built = self.image(kind, image, cache);
        let suites = self.suites((suite, suites), run.suites, kind);
        let wholes = Wholes { pytest: value(pytest.whole), unittest: value(unittest.whole), ruby: value(ruby.whole) };
        let env = environment::resolve(value(run.env), &self.facts.env_files, &self.facts.env, &mut self.faults);
        self.notices
            .extend(env.missing.iter().map(|name| format!("variable `{name}` is asked for and not set here: tests run without it")));
        let settings = RunSettings {
            engine: kind,
            shards: value(run.shards).map_or(self.facts.cpus.max(1), |Shards(n)| n),
            suites: suites.into_iter().map(|suite| wholes.of(suite)).collect(),
            directory: built.as_ref().map(|(_, directory)| directory.clone()).unwrap_or_default(),
            seed: value(run.seed).map_or(self.facts.seed, |seed| seed.0).into(),
            order: value(run.order).unwrap_or(Order::Scheduled),
            fail_fast: value(run.fail_fast).unwrap_or(false),
            allow_empty: value(run.allow_empty).unwrap_or(false),
            retries: value(run.retries).unwrap_or(0),
            flaky: value(run.flaky).unwrap_or_default(),
            reuse: cache_settings.results && kind == EngineKind::Docker,
            timeouts: timeouts(timeout),
            container: self.container(shard),
            env: env.env,
            env_names: env.names,
        };
        Project {
            name: project_name(project, &root),
            candidate: delivery::registry(candidate.repository, candidate.auth, &self.facts.bases),
            records: self.records(record),
            cache: cache_settings,
            trust: trust::trust(keys, &self.facts.bases, &mut self.faults),
            file: self.facts.file.clone(),
            image: built.map(|(image, _)| image),
            environment: env.values,
            notices: std::mem::take(&mut self.notices),
            settings,
            root,
        }
    }

    fn engine(&mut self, choice: Option<EngineChoice>, image: &ImageSection) -> EngineKind {
        let named = image.reference.is_some() || image.dockerfile.is_some();
        match choice.unwrap_or(EngineChoice::Auto) {
            EngineChoice::Docker => EngineKind::Docker,
            EngineChoice::Auto if named || self.facts.dockerfile.is_some() => EngineKind::Docker,
            EngineChoice::Auto | EngineChoice::Process => EngineKind::Process,
        }
    }

    /// The image, and where the project lies in its context.
    fn image(&mut self, kind: EngineKind, image: ImageSection, cache: CacheSection) -> Option<(ImageSettings, String)> {
        if kind == EngineKind::Process {
            // A file may well name an image for its docker runs; an option is for this run.
            if let Some(Given { place: place @ Place::Flag(_), .. }) = image.reference {
                self.faults.push(place, FaultKind::ImageForProcesses);
            }
            return None;
        }
        let platform = value(image.platform.clone()).map(|platform| platform.0);
        let place = self.context(&image);
        let directory = place.as_ref().and_then(|(_, context)| relative(&self.facts.bases.root, context)).unwrap_or_default();
        if let Some(Given { value: reference, place }) = image.reference.clone() {
            if let Some(built) = build_key_beside(&place, &image) {
                self.faults.push(built, FaultKind::NamedAndBuilt);
            }
            return Some((ImageSettings::Given { reference, platform }, directory));
        }
        let Some((dockerfile, context)) = place else {
            self.faults.push(Place::Nowhere, FaultKind::NothingToBuild(self.facts.bases.root.clone()));
            return None;
        };
        let target = value(image.target);
        let items = |items: Option<Given<Items>>| value(items).map(|items| items.0).unwrap_or_default();
        let (secrets, agents) = (items(image.secrets), items(image.ssh));
        let args = self.arguments(image.args);
        let Facts { bases, env, .. } = &self.facts;
        let mut reader = secrets::Reader { bases, env, faults: &mut self.faults, notices: &mut self.notices };
        let (secrets, ssh) = (reader.secrets(&secrets), reader.agents(&agents));
        let build = BuildSettings {
            context,
            dockerfile,
            target,
            args,
            platform,
            secrets,
            ssh,
            pull: value(image.pull).unwrap_or(false),
            no_cache: value(image.no_cache).unwrap_or(false),
            split_copies: value(image.split_copies).unwrap_or(true),
            epoch: value(cache.epoch),
            max_age: value(cache.max_age).map(|age| age.0),
        };
        Some((ImageSettings::Build(build), directory))
    }

    /// Dockerfile and context.
    fn context(&self, image: &ImageSection) -> Option<(PathBuf, PathBuf)> {
        let bases = &self.facts.bases;
        let named = image.dockerfile.as_ref().map(|given| bases.absolute(&given.place, &given.value));
        let dockerfile = named.or_else(|| self.facts.dockerfile.clone())?;
        let context = match &image.context {
            Some(given) => bases.absolute(&given.place, &given.value),
            None if dockerfile.starts_with(&bases.root) => bases.root.clone(),
            None => dockerfile.parent().map(Path::to_owned)?,
        };
        Some((dockerfile, context))
    }

    fn arguments(&mut self, args: Option<Given<Arguments>>) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for (name, value) in value(args).map(|args| args.0).unwrap_or_default() {
            match value.or_else(|| self.facts.env.get(&name).cloned()) {
                Some(value) => drop(out.insert(name, value)),
                None => self.notices.push(format!("build argument `{name}` has no value: it is not set here, and left out")),
            }
        }
        out
    }

    fn container(&self, shard: ShardSection) -> ContainerSettings {
        let texts = |items: Option<Given<Items>>| value(items).map(|items| items.texts()).unwrap_or_default();
        let volumes = value(shard.volumes).map(|items| items.0).unwrap_or_default();
        let bases = &self.facts.bases;
        ContainerSettings {
            memory: value(shard.memory).map(|size| size.0),
            cpus: value(shard.cpus).map(|cpus| cpus.0),
            shm_size: value(shard.shm_size).map(|size| size.0),
            add_hosts: texts(shard.add_host),
            volumes: volumes.iter().map(|item| Volume(bases.of_volume(&item.place, &item.text))).collect(),
            network: value(shard.network),
            entrypoint: value(shard.entrypoint).map(|words| words.0),
            init_image: match value(shard.init) {
                Some(Init::Image) => Some(true),
                Some(Init::Worker) => Some(false),
                Some(Init::Auto) | None => None,
            },
            workdir: value(shard.workdir),
            read_only: value(shard.read_only).unwrap_or(false),
            user: value(shard.user),
            cap_add: texts(shard.cap_add),
            security_opt: texts(shard.security_opt),
            pids_limit: value(shard.pids_limit).map(|pids| pids.0),
        }
    }

    fn records(&mut self, record: RecordSection) -> RecordSettings {
        let found = record_settings(record, &self.facts.bases, &self.facts.env, &mut self.faults);
        if found.state.starts_with(&self.facts.bases.root) {
            let state = found.state.display();
            self.notices
                .push(format!("records are kept inside the project: exclude `{state}` in .dockerignore, or each run changes the image"));
        }
        found
    }

    fn cache(&mut self, cache: &CacheSection) -> CacheSettings {
        let found = trust::cache(cache, &self.facts.bases, &self.facts.env);
        if let Some(dir) = found.dir.as_ref().filter(|dir| dir.starts_with(&self.facts.bases.root)) {
            let dir = dir.display();
            self.notices
                .push(format!("the cache is kept inside the project: exclude `{dir}` in .dockerignore, or each run changes the image"));
        }
        found
    }
}

/// What one source after the other says of the cache, and nothing else of a project.
pub(super) fn caches(layer: Layer, located: &Where, env: &BTreeMap<String, String>, mut faults: Faults) -> Result<Caches, ConfigError> {
    let records = record_settings(layer.record, &located.bases, env, &mut faults);
    let cache = trust::cache(&layer.cache, &located.bases, env);
    let trust = trust::trust(layer.trust, &located.bases, &mut faults);
    faults.finish(Caches { cache, trust, machine: records.machine, file: None })
}

/// Options of the command line that mean nothing to local processes. A file may well have them for its runs in containers.
fn idle_options(image: &ImageSection, shard: &ShardSection) -> Option<String> {
    fn option<T>(given: Option<&Given<T>>) -> Option<String> {
        match given.map(|given| &given.place) {
            Some(Place::Flag(option)) => Some(format!("`{option}`")),
            _ => None,
        }
    }
    let given = [
        option(image.target.as_ref()),
        option(image.args.as_ref()),
        option(image.platform.as_ref()),
        option(image.secrets.as_ref()),
        option(image.ssh.as_ref()),
        option(image.pull.as_ref()),
        option(image.no_cache.as_ref()),
        option(shard.memory.as_ref()),
        option(shard.cpus.as_ref()),
        option(shard.shm_size.as_ref()),
        option(shard.add_host.as_ref()),
        option(shard.volumes.as_ref()),
        option(shard.network.as_ref()),
        option(shard.entrypoint.as_ref()),
        option(shard.init.as_ref()),
        option(shard.workdir.as_ref()),
        option(shard.read_only.as_ref()),
        option(shard.user.as_ref()),
        option(shard.cap_add.as_ref()),
        option(shard.security_opt.as_ref()),
        option(shard.pids_limit.as_ref()),
    ];
    let named: Vec<_> = given.into_iter().flatten().collect();
    (!named.is_empty()).then(|| format!("means nothing to local processes: {}", named.join(", ")))
}

/// Where the records are, and nothing else of a project.
pub(super) fn records(
    record: RecordSection,
    bases: &Bases,
    env: &BTreeMap<String, String>,
    mut faults: Faults,
) -> Result<RecordSettings, ConfigError> {
    let found = record_settings(record, bases, env, &mut faults);
    faults.finish(found)
}

/// What a project is called.
pub(super) fn project_name(section: ProjectSection, root: &Path) -> String {
    let named = || ProjectName::from_directory(&root.file_name().unwrap_or_default().to_string_lossy());
    value(section.name).unwrap_or_else(named).0
}

pub(super) fn record_settings(record: RecordSection, bases: &Bases, env: &BTreeMap<String, String>, faults: &mut Faults) -> RecordSettings {
    let chosen = record.state.is_some();
    let state = match record.state {
        Some(Given { value, place }) => Some(bases.absolute(&place, &value)),
        None => default_state(env, &bases.root),
    };
    if state.is_none() {
        faults.push(Place::Nowhere, FaultKind::NoStateDirectory);
    }
    let found = RecordSettings {
        state: state.unwrap_or_default(),
        keep: value(record.keep).map_or(50, |Count(n)| n),
        keep_bytes: value(record.keep_size).map_or(1 << 30, |size| size.0),
        machine: PathBuf::new(),
    };
    RecordSettings { machine: trust::home(&found, chosen, &bases.root, env), ..found }
}

pub(super) fn value<T>(given: Option<Given<T>>) -> Option<T> {
    given.map(|given| given.value)
}

/// The first key of the same source that would build an image.
fn build_key_beside(named: &Place, image: &ImageSection) -> Option<Place> {
    let places = [image.dockerfile.as_ref().map(|given| &given.place), image.target.as_ref().map(|given| &given.place)];
    places.into_iter().flatten().find(|place| std::mem::discriminant(*place) == std::mem::discriminant(named)).cloned()
}

fn timeouts(timeout: TimeoutSection) -> Timeouts {
    let millis = |given: Option<Given<Span>>, seconds: u64| value(given).map_or(seconds * 1000, Span::millis);
    Timeouts {
        test_ms: millis(timeout.test, 600),
        boot_ms: millis(timeout.boot, 300),
        run_ms: millis(timeout.run, 3600),
        grace_ms: millis(timeout.grace, 5),
    }
}

/// `$XDG_STATE_HOME/splitci/<hash of the root>`, or the same below `~/.local/state`.
pub fn default_state(env: &BTreeMap<String, String>, root: &Path) -> Option<PathBuf> {
    let hash = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
    Some(state_base(env)?.join(&hash[..12]))
}

/// The same for all projects of a user.
pub(super) fn state_base(env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(base.join("splitci"))
}
