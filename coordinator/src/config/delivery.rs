//! What commands after green need: the environments, the registries, where policies come from; and of a policy's own file, its policies and keys. Pure.
//!
//! Environments and registries may stand in the work tree: whoever changes them there changes what they deploy to. Policies may not, and who reads them from where is
//! not decided here; see `delivery`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fault::{ConfigError, FaultKind, Faults, Place};
use super::paths::Bases;
use super::permits::AuthSource;
use super::resolve::{project_name, value};
use super::schema::{EnvironmentSection, ErrorsSection, Given, Layer, NamedTable};
use super::setting::{Count, Span};
use super::slots::{Pause, ShareChoice, StrategyName, UNSAID};
use super::survey::Where;
use super::{RecordSettings, hooks, read, resolve, trust};
use crate::model::environment::{
    BalancerAddress, Deadlines, Environment, EnvironmentFault, ErrorGate, Health, Migration, MigrationClass, Role, Share, Slot, Strategy,
    Workers,
};
use crate::model::hook::HookSettings;
use crate::model::policy::{BreakGlassRule, PolicySettings};
use crate::model::trust::TrustSettings;

/// The ref in git at which policies are read, if nothing else is said: the default branch of where the checkout came from.
const PROTECTED: &str = "origin/HEAD";

/// What commands after green need of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The app: the project's name.
    pub app: String,
    /// The project's directory, absolute.
    pub root: PathBuf,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// Where images go that are to be tested.
    pub candidate: Option<RegistrySettings>,
    /// Where images are that passed.
    pub release: Option<RegistrySettings>,
    /// The ref in git at which policies are read.
    pub protected: String,
    /// The environments, by name.
    pub environments: BTreeMap<String, EnvironmentSettings>,
    /// Which key signs here, and whose entries in caches are believed. What a policy goes by is in [`Policies`].
    pub trust: TrustSettings,
    /// Where records are kept.
    pub records: RecordSettings,
}

/// A repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Its name, `registry.example/shop/candidate`.
    pub repository: String,
    /// Where its login is; the docker client's if nothing is said.
    pub auth: Option<AuthSource>,
}

/// An environment, with what of it stays where a deployment is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentSettings {
    /// What is written down.
    pub environment: Environment,
    /// The port that the app listens at, in its container.
    pub port: u16,
    /// The file with the app's own variables, absolute.
    pub env_file: Option<PathBuf>,
    /// Who is asked or told while a release is deployed.
    pub hooks: HookSettings,
    /// The playbook that carries deployments out, if one does.
    pub ansible: Option<AnsibleSettings>,
}

/// A playbook, and where its hosts are: both paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsibleSettings {
    /// What is played.
    pub playbook: PathBuf,
    /// Where its hosts are.
    pub inventory: PathBuf,
}

/// Policies, and whose word counts under them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// `[trust]` of the file that they are in.
    pub trust: TrustSettings,
    /// The policies, by name: a policy has the name of the environment that it is for.
    pub policies: BTreeMap<String, PolicySettings>,
}

/// The policies of a file with this path, which the names of key files in it are relative to, and with this text.
///
/// # Errors
/// Whatever is wrong with `[trust]` and `[policy]`; nothing else in the file is looked at.
pub fn policies(path: &Path, text: &str) -> Result<Policies, ConfigError> {
    let (layer, faults) = read::file(path, text);
    let mut faults = faults.about(&["trust", "policy"]);
    let directory = path.parent().unwrap_or(path).to_owned();
    let bases = Bases { root: directory.clone(), directory };
    let trust = trust::trust(layer.trust, &bases, &mut faults);
    let tables = layer.named.into_iter().filter(|(section, _)| *section == "policy");
    let policies = tables.map(|(_, table)| (table.name.clone(), policy(table, &bases))).collect();
    faults.finish(Policies { trust, policies })
}

fn policy(table: NamedTable, bases: &Bases) -> PolicySettings {
    let Layer { policy, break_glass, .. } = *table.layer;
    let strict = PolicySettings::named(&table.name);
    let keys = |given| trust::sources(given, bases);
    let usual = BreakGlassRule::of(Vec::new());
    let glass = break_glass.keys.is_some() || break_glass.ttl.is_some() || break_glass.min_reason.is_some();
    let rule = BreakGlassRule {
        keys: keys(break_glass.keys),
        ttl_ms: value(break_glass.ttl).map_or(usual.ttl_ms, Span::millis),
        min_reason: value(break_glass.min_reason).map_or(usual.min_reason, |least| least as usize),
    };
    PolicySettings {
        name: table.name,
        keys: keys(policy.keys),
        level: value(policy.level).unwrap_or(strict.level),
        repository: value(policy.repository).map(|repository| repository.0),
        max_age_ms: value(policy.max_age).map_or(strict.max_age_ms, Span::millis),
        min_tests: value(policy.min_tests).unwrap_or(strict.min_tests),
        max_warned: value(policy.max_warned).unwrap_or(strict.max_warned),
        reused: value(policy.reused).unwrap_or(strict.reused),
        image_level: value(policy.image_level),
        configs: value(policy.configs).map(|configs| configs.0).unwrap_or_default(),
        dirty: value(policy.dirty).unwrap_or(strict.dirty),
        require: value(policy.require).map(|names| names.texts()).unwrap_or_default(),
        revoked: value(policy.revoked).map(|revoked| revoked.0).unwrap_or_default(),
        break_glass: glass.then_some(rule),
    }
}

/// What is said of the rest of the way.
pub(super) fn delivery(layer: Layer, located: &Where, env: &BTreeMap<String, String>, mut faults: Faults) -> Result<Delivery, ConfigError> {
    let bases = &located.bases;
    let app = project_name(layer.project, &bases.root);
    let mut environments = BTreeMap::new();
    for (_, table) in layer.named.into_iter().filter(|(section, _)| *section == "environment") {
        if let Some(settings) = environment(&app, table.clone(), bases, &mut faults) {
            environments.insert(table.name, settings);
        }
    }
    let found = Delivery {
        records: resolve::record_settings(layer.record, bases, env, &mut faults),
        trust: trust::trust(layer.trust, bases, &mut faults),
        candidate: registry(layer.candidate.repository, layer.candidate.auth, bases),
        release: registry(layer.release.repository, layer.release.auth, bases),
        protected: value(layer.gate.protected).unwrap_or_else(|| PROTECTED.to_owned()),
        root: bases.root.clone(),
        file: located.file.clone(),
        environments,
        app,
    };
    faults.finish(found)
}

/// A repository, if one is named.
pub(super) fn registry(
    repository: Option<Given<super::repository::Repository>>,
    auth: Option<Given<AuthSource>>,
    bases: &Bases,
) -> Option<RegistrySettings> {
    let auth = auth.map(|Given { value, place }| match value {
        AuthSource::File(path) => AuthSource::File(bases.absolute(&place, &path.to_string_lossy())),
        other => other,
    });
    value(repository).map(|repository| RegistrySettings { repository: repository.0, auth })
}

/// An environment, if it says what it cannot be without.
fn environment(app: &str, table: NamedTable, bases: &Bases, faults: &mut Faults) -> Option<EnvironmentSettings> {
    let NamedTable { name, place, layer } = table;
    let Layer { environment: section, health, migration, worker, ansible, errors, deadlines, hooks, .. } = *layer;
    let mut unsaid = |said: bool, what, key| {
        if !said && !faults.tells_of(&format!("environment.{name}.{key}")) {
            faults.push(place.clone(), FaultKind::Unsaid { environment: name.clone(), what, key });
        }
    };
    unsaid(section.slots.is_some(), "slots", "slots");
    unsaid(section.balancers.is_some(), "balancers", "lb");
    unsaid(section.port.is_some(), "app's port", "port");
    let command = value(migration.command);
    let migrates = command.is_some() || migration.class.is_some() || migration.timeout.is_some();
    unsaid(!migrates || command.is_some(), "migration's command", "migration.command");
    let plays = ansible.playbook.is_some() || ansible.inventory.is_some();
    unsaid(!plays || ansible.playbook.is_some(), "playbook", "ansible.playbook");
    unsaid(!plays || ansible.inventory.is_some(), "playbook's inventory", "ansible.inventory");
    let path = |given: &Given<String>| bases.absolute(&given.place, &given.value);
    let ansible = ansible.playbook.as_ref().zip(ansible.inventory.as_ref());
    let ansible = ansible.map(|(playbook, inventory)| AnsibleSettings { playbook: path(playbook), inventory: path(inventory) });
    let env_file = section.env_file.as_ref().map(|file| bases.absolute(&file.place, &file.value));
    let port = section.port.as_ref().map(|port| port.value.0);
    let (slots, balancers) = places(app, &section);
    let said = said_at(&section);
    let pause = |given: Option<Given<Pause>>, usual: u64| value(given).map_or(usual, |Pause(ms)| ms);
    let environment = Environment {
        app: app.to_owned(),
        balancers,
        network: value(section.network.clone()),
        strategy: strategy(&section),
        health: health_of(health),
        drain_ms: pause(section.drain, Environment::default_drain()),
        grace_ms: pause(section.grace, Environment::default_grace()),
        floor: value(section.floor).map_or_else(Environment::default_floor, |floor| floor.0),
        soak_ms: pause(section.soak, Environment::default_soak()),
        errors: error_gate(&errors),
        migration: command.map(|command| Migration {
            command: command.0,
            class: value(migration.class).unwrap_or(MigrationClass::Breaking),
            timeout_ms: value(migration.timeout).map_or(600_000, Span::millis),
        }),
        workers: workers_of(worker, &slots),
        max_failed: value(section.max_failed).unwrap_or(0),
        slots,
        deadlines: deadlines_of(deadlines),
        freeze: value(section.freeze).map(|windows| windows.0).unwrap_or_default(),
        name: name.clone(),
    };
    let (Some(port), true) = (port, section.slots.is_some() && section.balancers.is_some()) else { return None };
    let wrong = wrongs(&environment, port);
    for cause in &wrong {
        let place = cause.key().and_then(|key| said.get(key)).unwrap_or(&place).clone();
        faults.push(place, FaultKind::Environment { environment: name.clone(), cause: cause.clone() });
    }
    wrong.is_empty().then_some(EnvironmentSettings { environment, port, env_file, hooks: hooks::of(hooks), ansible })
}

/// The order of things. How many go at a time means something to those strategies alone that go by it.
fn strategy(section: &EnvironmentSection) -> Strategy {
    let share = |given: &Option<Given<ShareChoice>>| given.as_ref().map_or(Share::Count(1), |given| given.value.0);
    let (first, batch) = (share(&section.canary), share(&section.batch));
    match section.strategy.as_ref().map(|given| given.value).unwrap_or_default() {
        StrategyName::Half => Strategy::Half,
        StrategyName::AllAtOnce => Strategy::AllAtOnce,
        StrategyName::BlueGreen => Strategy::BlueGreen,
        StrategyName::Rolling => Strategy::Rolling { batch },
        StrategyName::Canary => Strategy::Canary { first, batch },
    }
}

/// Where it runs, and what stands before it.
fn places(app: &str, section: &EnvironmentSection) -> (Vec<Slot>, Vec<BalancerAddress>) {
    let backend = value(section.backend.clone()).unwrap_or_else(|| app.to_owned());
    let address = |endpoint: String| BalancerAddress { endpoint, backend: backend.clone() };
    let endpoints = value(section.balancers.clone()).map(|items| items.texts()).unwrap_or_default();
    let mut slots = value(section.slots.clone()).map(|slots| slots.0).unwrap_or_default();
    if let (Some(port), true) = (&section.port, section.network.is_some()) {
        slots.iter_mut().filter(|slot| slot.port == UNSAID && slot.role == Role::Web).for_each(|slot| slot.port = port.value.0);
    }
    (slots, endpoints.into_iter().map(address).collect())
}

fn deadlines_of(section: super::schema::DeadlinesSection) -> Deadlines {
    let usual = Deadlines::default();
    let span = |given: Option<Given<Span>>, usual: u64| value(given).map_or(usual, Span::millis);
    Deadlines {
        step_ms: span(section.step, usual.step_ms),
        batch_ms: span(section.batch, usual.batch_ms),
        total_ms: span(section.total, usual.total_ms),
        mix_ms: span(section.mix, usual.mix_ms),
    }
}

/// How workers run, if there are any or something is said of them.
fn workers_of(section: super::schema::WorkerSection, slots: &[Slot]) -> Option<Workers> {
    let any = slots.iter().any(|slot| slot.role == Role::Worker) || section.command.is_some() || section.grace.is_some();
    let grace_ms = value(section.grace).map_or(600_000, |Pause(ms)| ms);
    any.then(|| Workers { command: value(section.command).map(|command| command.0).unwrap_or_default(), grace_ms })
}

/// What does not go together. In a network a slot is reached at the app's own port, and at no other.
fn wrongs(environment: &Environment, app: u16) -> Vec<EnvironmentFault> {
    let others = environment.slots.iter().filter(|slot| environment.network.is_some() && slot.role == Role::Web && slot.port != app);
    let others = others.map(|slot| EnvironmentFault::OtherPort { slot: slot.name.clone(), port: slot.port, app });
    environment.faults().into_iter().chain(others).collect()
}

/// Where keys are said that go together.
fn said_at(section: &EnvironmentSection) -> BTreeMap<&'static str, Place> {
    let slots = section.slots.as_ref().map(|given| ("slots", given.place.clone()));
    let network = section.network.as_ref().map(|given| ("network", given.place.clone()));
    let balancers = section.balancers.as_ref().map(|given| ("lb", given.place.clone()));
    [slots, network, balancers].into_iter().flatten().collect()
}

fn error_gate(section: &ErrorsSection) -> Option<ErrorGate> {
    let watched = section.min_requests.is_some() || section.tolerance.is_some();
    watched.then(|| ErrorGate {
        min_requests: value(section.min_requests.clone()).unwrap_or(100),
        tolerance_permille: value(section.tolerance.clone()).map_or(5, |part| part.0),
    })
}

fn health_of(section: super::schema::HealthSection) -> Health {
    let usual = Health::default();
    Health {
        path: value(section.path).map_or(usual.path, |path| path.0),
        successes: value(section.successes).map_or(usual.successes, |Count(times)| times),
        interval_ms: value(section.interval).map_or(usual.interval_ms, Span::millis),
        boot_ms: value(section.boot).map_or(usual.boot_ms, Span::millis),
        min_healthy_ms: value(section.min_healthy).map_or(usual.min_healthy_ms, |Pause(ms)| ms),
    }
}
