//! What deployments are tried on: containers behind a real HAProxy, on one engine or two, with requests coming all the time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splitci_coordinator::balancer::{Balancer, Endpoint};
use splitci_coordinator::deployment::{Cause, Outcome, Plan, Row, Sickness, Waiting, World};
use splitci_coordinator::docker;
use splitci_coordinator::engine::WorkerBinaries;
use splitci_coordinator::fleet::lock;
use splitci_coordinator::fleet::{Fleet, Place};
use splitci_coordinator::gate::statement::Answer;
use splitci_coordinator::gate::{Identity, Mode};
use splitci_coordinator::hooks::Hooks;
use splitci_coordinator::model::environment::{DeployId, Environment, Health, Migration, MigrationClass, Role, Share, Slot, SlotName};
use splitci_coordinator::promotion::{Promotion, gather, recall};
use splitci_coordinator::registry::Repository;
use splitci_coordinator::rollout::{Actor, Options, Order, RolloutError, Site, Watcher, carry_out};
use tokio::sync::Notify;

use crate::attested::{Signer, put_config, repository};
use crate::engine::{docker, docker_says};
use crate::haproxy::{Haproxy, Setup};
use crate::load::{Load, Plan as LoadPlan, Report};
use crate::network::Network;
use crate::registry::Registry;
use crate::sandbox::GONE_WITHIN;

/// The port that the application listens at.
const PORT: u16 = 8000;
/// The same in a network: one that no other test has a use for on this machine.
pub const INSIDE: u16 = 8473;
/// A machine that is busy with other tests answers late; that is no sickness.
const PATIENT: &str = "  timeout check 3s\n";

/// An image of the application, by what makes it special: `VERSION=2 UP=500`.
pub fn image(arguments: &str) -> String {
    crate::engine::require();
    let folder = crate::root().join("fixtures/service");
    let words = arguments.split_whitespace().flat_map(|argument| ["--build-arg", argument]);
    let built = Command::new("docker").args(["build", "--quiet"]).args(words).arg(folder).output().expect("start docker");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8_lossy(&built.stdout).trim().to_owned()
}

/// The configuration of an image, byte for byte: what its id is the digest of.
fn configuration(image: &str) -> Vec<u8> {
    static READ: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().expect("no panic while locked");
    let id = image.strip_prefix("sha256:").expect("an image id");
    let save = format!("docker save {image} | tar --extract --to-stdout --wildcards '*{id}*'");
    let saved = || Command::new("sh").args(["-c", &save]).output().expect("start sh").stdout;
    read.entry(image.to_owned()).or_insert_with(saved).clone()
}

/// An environment of an application that no other test has.
pub struct Rig {
    /// The environment.
    pub site: Site,
    /// What stands before it.
    pub haproxy: Haproxy,
    /// The network that both are in, if there is one.
    pub network: Option<Network>,
    /// Where releases are.
    pub registry: Registry,
    signer: Signer,
    state: tempfile::TempDir,
}

impl Rig {
    /// So many slots on this machine's engine, with nothing in them.
    pub async fn new(name: &str, slots: usize) -> Self {
        let ports: Vec<u16> = (0..slots).map(|_| port()).collect();
        let haproxy = Haproxy::start(&Setup { backend: PATIENT.into(), ..Setup::of(&ports) });
        let slot = |(number, port): (usize, &u16)| slot(number, *port, None);
        Self::of(name, haproxy, ((1..).zip(&ports).map(slot).collect(), PORT), None).await
    }

    /// So many slots in a network on this machine's engine, none of which publishes a port: HAProxy is in that network, too.
    pub async fn networked(name: &str, slots: u8) -> Self {
        Self::networked_at(name, slots, "").await
    }

    /// The same on the engine that `docker` speaks to with this option, and that has the images.
    pub async fn networked_at(name: &str, slots: u8, engine: &str) -> Self {
        let network = Network::make(engine);
        let places: Vec<SocketAddr> = (1..=slots).map(|number| (network.address(number), INSIDE).into()).collect();
        let haproxy = Haproxy::start_in(&network, &Setup { backend: PATIENT.into(), ..Setup::at(&places) });
        let slot = |number| slot(usize::from(number), INSIDE, Some(network.address(number)));
        Self::of(name, haproxy, ((1..=slots).map(slot).collect(), INSIDE), Some(network)).await
    }

    async fn of(name: &str, haproxy: Haproxy, (slots, port): (Vec<Slot>, u16), network: Option<Network>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let app = format!("t{}-{}-{name}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        shut_all(&haproxy, &slots);
        let environment = serde_json::json!({"app": app, "name": "production", "slots": [], "balancers": []});
        let mut environment: Environment = serde_json::from_value(environment).expect("an environment");
        environment.slots = slots;
        environment.network = network.as_ref().map(|network| network.name.clone());
        environment.balancers =
            serde_json::from_value(serde_json::json!([{"endpoint": "unix:///x", "backend": "app"}])).expect("balancers");
        environment.health = Health { path: "/up".into(), successes: 3, interval_ms: 100, boot_ms: 15_000, min_healthy_ms: 400 };
        environment.floor = Share::Percent(50);
        (environment.drain_ms, environment.grace_ms, environment.soak_ms) = (10_000, 10_000, 0);
        crate::engine::require();
        let state = tempfile::tempdir().expect("a folder");
        let site = Site {
            environment,
            place: Place { app, environment: "production".into() },
            fleet: fleet().await,
            balancers: vec![(Balancer::new(Endpoint::Unix(haproxy.socket())), "app".parse().expect("a name"))],
            workers: WorkerBinaries::new([(std::env::consts::ARCH.to_owned(), crate::worker::program().to_vec())]),
            variables: Vec::new(),
            settings: "s1".into(),
            port,
            ansible: None,
            hooks: Hooks::default(),
            journal: state.path().join("journal"),
        };
        Self { site, haproxy, network, registry: Registry::start(), signer: Signer::default(), state }
    }

    /// What has `docker` speak to the engine of the slots.
    fn engine(&self) -> &str {
        self.network.as_ref().map_or("", |network| &network.engine)
    }

    /// What `docker` says there, which must succeed.
    pub fn docker_says(&self, line: &str) -> String {
        docker_says(&format!("{} {line}", self.engine()))
    }

    /// The release repository.
    pub fn release(&self) -> Repository {
        repository(&self.registry.host(), "shop/release")
    }

    /// The configuration of this environment as its owner writes it, for an app that is a project of that name; and the policy in the same file.
    pub fn toml(&self, key: &str) -> String {
        let Site { environment, port, .. } = &self.site;
        let slots = environment.slots.iter().map(|slot| match slot.address {
            Some(address) => format!("{{ name = \"{}\", address = \"{address}\" }}", slot.name),
            None => format!("{{ name = \"{}\", port = {} }}", slot.name, slot.port),
        });
        let network = environment.network.as_ref().map(|network| format!("network = \"{network}\"\n")).unwrap_or_default();
        format!(
            "[project]\nname = \"{}\"\n[registry.release]\nrepository = \"{}/shop/release\"\n[trust]\nprotected = [\"{key}\"]\n[policy.production]\n\
             [environment.production]\nslots = [{}]\nlb = [\"unix://{}\"]\nbackend = \"app\"\n{network}port = {port}\nsoak = 0\ndrain = \"10s\"\ngrace = \"10s\"\n\
             [environment.production.health]\npath = \"/up\"\ninterval = \"100ms\"\nboot = \"8s\"\nmin_healthy = \"400ms\"\n",
            environment.app,
            self.registry.host(),
            slots.collect::<Vec<_>>().join(", "),
            self.haproxy.socket().display(),
        )
    }

    /// The public half of the key whose word counts, as PEM.
    pub fn public(&self) -> String {
        self.signer.public()
    }

    /// An image in the release repository with what is said about it, under the name of what was promoted last.
    pub async fn release_it(&self, image: &str, answer: Answer) -> String {
        let release = self.release();
        let identity = put_config(&release, &configuration(image)).await;
        self.signer.attest(&release, &identity, answer, 5_000).await;
        let manifest = release.manifest(identity.manifest.into()).await.expect("there");
        release.put_tag(&manifest, &"current-production".parse().expect("a tag")).await.expect("tagged");
        identity.manifest.to_string()
    }

    /// An image as it was tested, approved and promoted. Its layers are where the engine has them.
    pub async fn promoted(&self, image: &str) -> Promotion {
        let identity = put_config(&self.release(), &configuration(image)).await;
        assert_eq!(identity.config.to_string(), image, "that is not its configuration");
        self.approved(identity).await
    }

    /// An image of the release repository with what is said about it.
    pub async fn approved(&self, identity: Identity) -> Promotion {
        let release = self.release();
        self.signer.attest(&release, &identity, Answer::Passed, 5_000).await;
        let evidence = gather(identity.manifest, Vec::new(), &[&release]).await;
        let approval = self.signer.ask(identity, Mode::Deploy, &evidence).expect("approved");
        recall(&approval, &release).await.expect("promoted")
    }

    /// Deploys an image.
    pub async fn deploy(&self, image: &str) -> Result<Outcome, RolloutError> {
        carry_out(&self.site, &self.promoted(image).await, begin(), &actor(), &Seen::default()).await
    }

    /// Deploys an image, dies at a moment, and goes on as another machine would, after a person has broken the lock. How it ended, and whether it died at all.
    pub async fn deploy_and_die(&self, image: &str, moment: Moment) -> (Outcome, bool) {
        let (seen, anna, promotion) = (Seen::dying_at(moment), actor(), self.promoted(image).await);
        let ended = tokio::select! {
            outcome = carry_out(&self.site, &promotion, begin(), &anna, &seen) => Some(outcome.expect("an outcome")),
            () = seen.death() => None,
        };
        if let Some(outcome) = ended {
            return (outcome, false);
        }
        let other = self.elsewhere("another").await;
        let refused = carry_out(&other, &promotion, Order::Resume, &anna, &Seen::default()).await;
        assert!(matches!(&refused, Err(RolloutError::Locked(held)) if held.holder == anna.name), "{refused:?}");
        self.break_lock().await;
        (carry_out(&other, &promotion, Order::Resume, &anna, &Seen::default()).await.expect("an outcome"), true)
    }

    /// The same environment as another machine has it at hand.
    pub async fn elsewhere(&self, machine: &str) -> Site {
        let Site { environment, place, balancers, workers, variables, settings, port, .. } = &self.site;
        Site {
            environment: environment.clone(),
            place: place.clone(),
            fleet: fleet().await,
            balancers: balancers.clone(),
            workers: workers.clone(),
            variables: variables.clone(),
            settings: settings.clone(),
            port: *port,
            ansible: None,
            hooks: Hooks::default(),
            journal: self.state.path().join(machine).join("journal"),
        }
    }

    /// From now on a reload of the balancer loads what was written with `write_state`. Every server is in maintenance after it, as at the beginning.
    pub fn keep_state(&mut self) {
        let ports: Vec<u16> = self.site.environment.slots.iter().map(|slot| slot.port).collect();
        self.haproxy.rewrite(&Setup { state_file: true, backend: PATIENT.into(), ..Setup::of(&ports) });
        self.haproxy.reload();
        shut_all(&self.haproxy, &self.site.environment.slots);
    }

    /// Takes the lock away from whoever has it, as a person may.
    pub async fn break_lock(&self) {
        let held = lock::held_on(&self.site.fleet, &self.site.place).await.expect("asked");
        assert!(!held.is_empty(), "nobody has it");
        lock::break_parts(&self.site.fleet, &held).await.expect("broken");
    }

    /// Requests from now on.
    pub fn load(&self, per_second: u32) -> Load {
        Load::start(LoadPlan::new(self.haproxy.address(), per_second))
    }

    /// Images of the containers that run, by slot.
    pub fn running(&self) -> BTreeMap<String, String> {
        let format = "{{.Label \"splitci.slot\"}} {{.ID}}";
        let filter = format!("label={}", self.site.place.filter());
        let listed = Command::new("docker")
            .args(self.engine().split_whitespace())
            .args(["ps", "--no-trunc", "--format", format, "--filter", &filter, "--filter", "label=splitci.role=instance"])
            .output()
            .expect("start docker");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(slot, id)| (slot.to_owned(), self.docker_says(&format!("inspect --format {{{{.Image}}}} {id}"))))
            .collect()
    }

    /// Deploys a sick image over this one, with requests all the time: it answers nobody, and the one before it is put back.
    pub async fn expect_to_go_back(&mut self, sick: &str, one: &str) {
        self.site.environment.health.boot_ms = 10_000;
        let load = self.load(60);
        moment().await;
        let outcome = self.deploy(sick).await.expect("an outcome");
        moment().await;
        let report = load.finish();
        let Outcome::RolledBack { cause: Cause::FirstHalf { sickness, .. }, out } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((sickness, out.len()), (&Sickness::Status(500), 0));
        expect_all_good(&report);
        assert_eq!(report.by_version().keys().copied().collect::<Vec<_>>(), ["1"], "the sick release answered nobody");
        assert!(self.running().values().all(|image| image == one) && self.running().len() == 4, "{:?}", self.running());
    }

    /// The containers that run, with when they were started.
    pub fn containers(&self) -> BTreeMap<String, String> {
        let filter = format!("--filter label={} --filter label=splitci.role=instance", self.site.place.filter());
        let listed = self.docker_says(&format!("ps --quiet --no-trunc {filter}"));
        let started = |id: &str| self.docker_says(&format!("inspect --format {{{{.State.StartedAt}}}} {id}"));
        listed.split_whitespace().map(|id| (id.to_owned(), started(id))).collect()
    }

    /// Containers of the environment of this role, running or not.
    pub fn of_role(&self, role: &str) -> Vec<String> {
        let filters = format!("--filter label={} --filter label=splitci.role={role}", self.site.place.filter());
        self.docker_says(&format!("ps --all --no-trunc --quiet {filters}")).lines().map(str::to_owned).collect()
    }

    /// From now on a release migrates with this command.
    pub fn migrate_with(&mut self, command: &str) {
        let command = command.split_whitespace().map(str::to_owned).collect();
        self.site.environment.migration = Some(Migration { command, class: MigrationClass::Compatible, timeout_ms: 20_000 });
    }

    /// What each migration that there was has printed.
    pub fn migrations(&self) -> Vec<String> {
        self.of_role("migration").iter().map(|container| self.docker_says(&format!("logs {container}")) + "\n").collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let began = std::time::Instant::now();
        while began.elapsed() < GONE_WITHIN {
            let listed = self.docker_says(&format!("ps --all --quiet --filter label={}", self.site.place.filter()));
            if listed.is_empty() {
                return;
            }
            // One that is on its way out by itself is not taken out by another.
            listed.lines().for_each(|container| drop(docker(&format!("{} rm --force --volumes {container}", self.engine()))));
        }
    }
}

/// A slot with a number, in the network if it has an address.
fn slot(number: usize, port: u16, address: Option<Ipv4Addr>) -> Slot {
    Slot {
        name: SlotName(format!("web{number}")),
        engine: "here".into(),
        port,
        zone: None,
        side: None,
        role: Role::Web,
        publish: None,
        address,
    }
}

fn shut_all(haproxy: &Haproxy, slots: &[Slot]) {
    for slot in slots {
        haproxy.tell(&format!("set server app/{} state maint", slot.name));
    }
}

async fn fleet() -> Fleet {
    let engine = docker::connect(None, &variables()).await.expect("an engine");
    Fleet::new([("here".to_owned(), Arc::new(engine))])
}

/// A port of loopback for a container: none that an outgoing connection may have by the time it is started.
fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let port = 12_000 + (std::process::id() % 1_000 * 20 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = u16::try_from(port).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A new deployment.
pub fn begin() -> Order {
    Order::Begin { deploy: DeployId(ulid()), options: Options::default() }
}

/// Who deploys in tests.
pub fn actor() -> Actor {
    Actor { name: "anna@laptop".into(), message: "a test".into() }
}

#[expect(clippy::disallowed_methods, reason = "a test program has to start somewhere")]
fn variables() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

fn ulid() -> String {
    use std::time::{SystemTime, UNIX_EPOCH};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    format!("{now:013}X{:04}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Which row is the last that a deployment writes.
pub type Moment = Box<dyn Fn(&Row) -> bool + Send + Sync>;

/// Watches a deployment, and may have it die.
#[derive(Default)]
pub struct Seen {
    dies_at: Option<Moment>,
    death: Notify,
}

impl Seen {
    /// It dies after the first row that is like this.
    pub fn dying_at(moment: Moment) -> Self {
        Self { dies_at: Some(moment), death: Notify::new() }
    }

    /// When it does.
    pub async fn death(&self) {
        self.death.notified().await;
    }
}

impl Watcher for Seen {
    fn sees(&self, _: &Plan, _: &World, _: Option<&Waiting>) {}

    fn reads(&self, row: &Row) {
        if self.dies_at.as_ref().is_some_and(|dies| dies(row)) {
            self.death.notify_one();
        }
    }

    fn stops(&self) -> Option<String> {
        None
    }
}

/// Fails unless every request was answered well.
pub fn expect_all_good(report: &Report) {
    assert!(report.failed().is_empty(), "{report}");
    assert!(report.requests.len() > 50, "too few requests to say anything: {report}");
}

/// A moment, for requests before and after.
pub async fn moment() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}
