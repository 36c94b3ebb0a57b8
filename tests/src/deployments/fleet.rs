//! The simulated environment: what is true in it. Engines, containers, balancers as `HAProxy` 2.6 is, requests, and what goes wrong by itself.

use std::collections::{BTreeMap, BTreeSet};

use splitci_coordinator::deployment::{
    Admin, Balancer, CheckResult, Container, ContainerId, ContainerState, Effect, Evidence, Gate, Lock, MigrationView, Server, SlotView,
    Traffic, Turn, World,
};
use splitci_coordinator::model::Fence;
use splitci_coordinator::model::environment::{DeployId, Environment, Release, Role, SlotName};

use super::judge::Judge;
use super::prober::Prober;

/// From one check of a balancer to the next.
const CHECK_MS: u64 = 300;
const RISE: u32 = 2;
const FALL: u32 = 2;
/// A balancer that forgot everything is seen, and told again, within this time.
const FORGETFUL_MS: u64 = 3_000;
/// What an effect takes.
const EFFECT_MS: u64 = 10;
/// What a request takes: less than any drain waits for.
const REQUEST_MS: u64 = 400;

/// The image of containers that nobody asked for.
pub const ANOTHER: &str = "sha256:another";

/// How a release behaves at a slot, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It answers after so long.
    Good(u64),
    /// It never answers well.
    Sick,
    /// It ends after so long, with status 1.
    Crashes(u64),
    /// It ends after so long, and its engine starts it again.
    Flaps(u64),
    /// It answers, and so long after its start not any more.
    Sickens(u64),
    /// Its engine will not make a container of it.
    Refused,
    /// Its engine makes a container of another image, which nobody asked for.
    Another,
}

/// What becomes of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It ends after so long, with this status.
    Ends(u64, i64),
    /// It does not end.
    Hangs,
}

/// Something that happens by itself, at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A slot's engine does not answer for so long; its containers go on.
    EngineAway(usize, u64),
    /// A balancer's socket does not answer for so long; it goes on.
    BalancerAway(usize, u64),
    /// A balancer is loaded anew without its state: every server is ready, and taken to be up.
    Reload(usize),
    /// What runs at a slot ends.
    Dies(usize),
    /// The target is revoked.
    Revoked,
    /// Somebody wants the deploy to end.
    Abort,
}

/// A container, as it is.
#[derive(Debug, Clone)]
pub struct Unit {
    /// As its engine tells it.
    pub seen: Container,
    /// When it was last started.
    pub started: u64,
    /// It was well at some time.
    pub was_well: bool,
    /// It was stopped by an effect, not by itself.
    pub stopped: bool,
}

/// A slot, as it is.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Until then its engine does not answer.
    pub away_until: u64,
    /// Images that its engine has.
    pub images: BTreeSet<String>,
    /// Its containers.
    pub units: Vec<Unit>,
}

/// A server of a balancer, as it is.
#[derive(Debug, Clone)]
pub struct Post {
    /// As its balancer tells it.
    pub seen: Server,
    next_check: u64,
    /// When requests in flight end.
    flights: Vec<u64>,
}

/// A balancer, as it is.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    /// Until then its socket does not answer.
    pub away_until: u64,
    /// Its servers.
    pub posts: BTreeMap<SlotName, Post>,
}

/// A migration's container, as it is.
#[derive(Debug, Clone)]
struct Job {
    id: ContainerId,
    state: ContainerState,
    started: u64,
}

/// Everything that is true.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The time, in milliseconds.
    pub now: u64,
    /// All slots.
    pub names: Vec<SlotName>,
    /// The slots.
    pub places: BTreeMap<SlotName, Place>,
    /// The balancers.
    pub desks: Vec<Desk>,
    /// How images behave at slots; the others are good.
    pub natures: BTreeMap<(String, SlotName), Nature>,
    /// What becomes of migrations.
    pub fate: Fate,
    /// What is going to happen, and when.
    pub troubles: Vec<(u64, Trouble)>,
    /// What has happened, and when.
    pub befell: Vec<(u64, Trouble)>,
    /// Who holds the lock.
    pub lock: Option<DeployId>,
    /// The last fence that was given out.
    pub fence: u64,
    /// What the gate says.
    pub gate: Gate,
    /// Somebody wants the deploy to end, and it was not told yet.
    pub abort: bool,
    /// How often the migration was started, over all deploys.
    pub runs: u32,
    /// Until then a balancer may do what nobody asked it to: it forgot everything, and could not be told.
    pub forgot_until: u64,
    /// Effects that were carried out.
    pub effects: u32,
    /// Effects of a thousand whose answer is lost, before they happen or after.
    pub lost: u32,
    jobs: BTreeMap<DeployId, Job>,
    ids: u64,
}

impl Fleet {
    /// Nothing runs yet, and every server is ready, as a configuration has it.
    pub fn new(environment: &Environment) -> Self {
        let names = environment.names();
        let seen = Server {
            admin: Admin::Ready,
            checked: true,
            check: CheckResult::Unknown,
            health: 0,
            rise: RISE,
            fall: FALL,
            in_flight: 0,
            traffic: Traffic::default(),
        };
        let post = Post { seen, next_check: 0, flights: Vec::new() };
        let posts: BTreeMap<_, _> = environment.of(Role::Web).iter().map(|name| (name.clone(), post.clone())).collect();
        let desk = Desk { posts, ..Desk::default() };
        Self {
            now: 1_000_000,
            places: names.iter().map(|name| (name.clone(), Place::default())).collect(),
            names,
            desks: vec![desk; environment.balancers.len()],
            natures: BTreeMap::new(),
            fate: Fate::Ends(300, 0),
            troubles: Vec::new(),
            befell: Vec::new(),
            lock: None,
            fence: 0,
            gate: Gate::default(),
            abort: false,
            runs: 0,
            forgot_until: 0,
            effects: 0,
            lost: 0,
            jobs: BTreeMap::new(),
            ids: 0,
        }
    }

    fn nature(&self, release: &Release, slot: &SlotName) -> Nature {
        self.natures.get(&(release.image.clone(), slot.clone())).copied().unwrap_or(Nature::Good(200))
    }

    /// What runs at a slot.
    pub fn runs_at(&self, slot: &SlotName) -> Option<&Unit> {
        self.places.get(slot)?.units.iter().find(|unit| unit.seen.state == ContainerState::Running)
    }

    /// What was well at a slot and ended by itself, as long as nobody can know: its engine does not answer, and every balancer still takes it to be up. It is seen by the
    /// next check of a balancer that fails, and of a deploy that is over by then nobody asks any more.
    pub fn ended_unseen(&self, slot: &SlotName) -> Option<&Unit> {
        let place = self.places.get(slot).filter(|place| place.away_until > self.now)?;
        let noticed = self.desks.iter().filter_map(|desk| desk.posts.get(slot)).any(|post| !post.seen.is_up());
        let last = place.units.iter().filter(|unit| unit.seen.aside.is_none()).max_by_key(|unit| unit.started)?;
        let by_itself = matches!(last.seen.state, ContainerState::Exited(_)) && last.was_well && !last.stopped;
        (by_itself && !noticed).then_some(last)
    }

    /// Whether a slot answers well.
    pub fn well(&self, slot: &SlotName) -> bool {
        self.runs_at(slot).is_some_and(|unit| {
            let age = self.now - unit.started;
            match self.nature(&unit.seen.release, slot) {
                Nature::Good(boot) => age >= boot,
                Nature::Sick | Nature::Refused | Nature::Another => false,
                Nature::Crashes(_) | Nature::Flaps(_) => age >= 100,
                Nature::Sickens(after) => age >= 200 && age < after,
            }
        })
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64, prober: &mut Prober, judge: &mut Judge) {
        self.now += ms;
        let due: Vec<_> = self.troubles.iter().filter(|(at, _)| *at <= self.now).map(|(_, trouble)| trouble.clone()).collect();
        self.troubles.retain(|(at, _)| *at > self.now);
        for trouble in due {
            self.befall(&trouble);
        }
        self.age();
        self.check();
        prober.ask(self);
        self.requests(judge);
    }

    fn befall(&mut self, trouble: &Trouble) {
        self.befell.push((self.now, trouble.clone()));
        let name = |at: usize| self.names.get(at % self.names.len()).cloned();
        let now = self.now;
        match trouble {
            Trouble::EngineAway(at, ms) => {
                let place = name(*at).and_then(|name| self.places.get_mut(&name));
                place.expect("a slot").away_until = now.saturating_add(*ms);
            }
            Trouble::BalancerAway(at, ms) => {
                let at = at % self.desks.len();
                self.desks.get_mut(at).expect("a balancer").away_until = now.saturating_add(*ms);
                if self.forgot_until > now {
                    self.forgot_until = self.forgot_until.saturating_add(*ms);
                }
            }
            Trouble::Reload(at) => {
                let at = at % self.desks.len();
                let away = self.desks.iter().map(|desk| desk.away_until).max().unwrap_or(0);
                self.forgot_until = away.max(now).saturating_add(FORGETFUL_MS);
                let desk = self.desks.get_mut(at).expect("a balancer");
                for post in desk.posts.values_mut() {
                    let traffic = Traffic::default();
                    post.seen = Server { admin: Admin::Ready, check: CheckResult::Unknown, health: RISE, traffic, ..post.seen };
                }
            }
            Trouble::Dies(at) => {
                let place = name(*at).and_then(|name| self.places.get_mut(&name)).expect("a slot");
                for unit in place.units.iter_mut().filter(|unit| unit.seen.state == ContainerState::Running) {
                    unit.seen.state = ContainerState::Exited(137);
                }
            }
            Trouble::Revoked => self.gate.target_revoked = true,
            Trouble::Abort => self.abort = true,
        }
    }

    fn age(&mut self) {
        let now = self.now;
        for name in self.names.clone() {
            let well = self.well(&name);
            let Some(unit) = self.runs_at(&name) else { continue };
            let nature = self.nature(&unit.seen.release, &name);
            let place = self.places.get_mut(&name).expect("a slot");
            for unit in place.units.iter_mut().filter(|unit| unit.seen.state == ContainerState::Running) {
                unit.was_well |= well;
                match nature {
                    Nature::Crashes(after) if now - unit.started >= after => unit.seen.state = ContainerState::Exited(1),
                    Nature::Flaps(after) if now - unit.started >= after => {
                        unit.seen.restarts += 1;
                        unit.started = now;
                    }
                    _ => {}
                }
            }
        }
        let fate = self.fate;
        for job in self.jobs.values_mut().filter(|job| job.state == ContainerState::Running) {
            if let Fate::Ends(after, status) = fate
                && now - job.started >= after
            {
                job.state = ContainerState::Exited(status);
            }
        }
    }

    /// Balancers check what is not in maintenance. One good check of many makes a server that was down one that is up, and full; one bad check of a server that is up on
    /// trust makes it one that is down.
    fn check(&mut self) {
        let (now, well): (u64, BTreeMap<_, _>) = (self.now, self.names.iter().map(|name| (name.clone(), self.well(name))).collect());
        for desk in &mut self.desks {
            for (name, post) in &mut desk.posts {
                post.flights.retain(|end| *end > now);
                post.seen.in_flight = u32::try_from(post.flights.len()).expect("few");
                if post.seen.admin == Admin::Maint || post.next_check > now {
                    continue;
                }
                post.next_check = now + CHECK_MS;
                let server = &mut post.seen;
                if well.get(name).copied().unwrap_or(false) {
                    server.check = CheckResult::Passed;
                    server.health = if server.health + 1 >= RISE { RISE + FALL - 1 } else { server.health + 1 };
                } else {
                    server.check = CheckResult::Failed;
                    server.health = if server.health > RISE { server.health - 1 } else { 0 };
                }
            }
        }
    }

    /// Every balancer sends a request to every server that it may.
    pub fn requests(&mut self, judge: &mut Judge) {
        let mut desks = std::mem::take(&mut self.desks);
        for desk in &mut desks {
            let mut releases = BTreeSet::new();
            for (name, post) in desk.posts.iter_mut().filter(|(_, post)| post.seen.admin == Admin::Ready && post.seen.is_up()) {
                let (unit, well) = (self.runs_at(name), self.well(name));
                post.seen.traffic.requests += 1;
                post.seen.traffic.errors += u64::from(!well);
                if well {
                    post.flights.push(self.now + REQUEST_MS);
                    releases.extend(unit.map(|unit| unit.seen.release.image.clone()));
                }
                post.seen.in_flight = u32::try_from(post.flights.len()).expect("few");
                judge.request(self, name, well);
            }
            judge.mixed(self, &releases);
        }
        self.desks = desks;
    }

    /// How many slots serve at the balancer that has the fewest: really, and as far as can be seen.
    pub fn capacity(&self) -> (u32, u32) {
        let up = |desk: &Desk| {
            let up = desk.posts.iter().filter(|(_, post)| post.seen.admin == Admin::Ready && post.seen.is_up());
            up.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let least = |counts: &dyn Fn(&Desk) -> usize| u32::try_from(self.desks.iter().map(counts).min().unwrap_or(0)).expect("few");
        let really = least(&|desk| up(desk).iter().filter(|name| self.well(name)).count());
        (really, least(&|desk| up(desk).len()))
    }

    /// What a process sees.
    pub fn observe(&self, deploy: &DeployId, prober: &Prober) -> World {
        let slot = |(name, place): (&SlotName, &Place)| {
            let view = SlotView {
                reachable: true,
                images: place.images.clone(),
                containers: place.units.iter().map(|unit| unit.seen.clone()).collect(),
                probe: prober.of(name, self),
            };
            (name.clone(), if place.away_until > self.now { SlotView::default() } else { view })
        };
        let balancer = |desk: &Desk| {
            if desk.away_until > self.now {
                return Balancer::Unreachable;
            }
            Balancer::Servers { servers: desk.posts.iter().map(|(name, post)| (name.clone(), post.seen)).collect(), foreign: Vec::new() }
        };
        let migration = match self.jobs.get(deploy) {
            Some(job) => MigrationView::There { container: job.id.clone(), state: job.state },
            None => MigrationView::Absent,
        };
        World {
            slots: self.places.iter().map(slot).collect(),
            balancers: self.desks.iter().map(balancer).collect(),
            migration,
            lock: self.lock.clone().map_or(Lock::Free, Lock::Held),
            fence: Fence(self.fence),
            gate: self.gate,
        }
    }

    /// Carries out an effect.
    pub fn carry_out(&mut self, effect: &Effect, by: (&DeployId, Fence), judge: &mut Judge) -> Evidence {
        self.effects += 1;
        self.now += EFFECT_MS;
        judge.before(self);
        let failed = |text: &str| Evidence::Failed(text.to_owned());
        let evidence = match effect {
            Effect::Balance(turns) | Effect::Swap(turns) => {
                judge.turns(self, turns);
                let away = self.desks.iter().any(|desk| desk.away_until > self.now);
                let now = self.now;
                for desk in self.desks.iter_mut().filter(|desk| desk.away_until <= now) {
                    for turn in turns {
                        desk.told(turn, now);
                    }
                }
                if away { failed("no answer") } else { Evidence::Nothing }
            }
            Effect::CreateMigration { slot, .. } if self.away(slot) => failed("no answer"),
            Effect::CreateMigration { .. } => {
                let id = self.id();
                self.jobs.entry(by.0.clone()).or_insert(Job { id, state: ContainerState::Created, started: 0 });
                Evidence::Nothing
            }
            Effect::StartMigration { container } => {
                let now = self.now;
                let job = self.jobs.values_mut().find(|job| job.id == *container).expect("it is there");
                (job.state, job.started) = (ContainerState::Running, now);
                self.runs += 1;
                Evidence::Nothing
            }
            _ => self.at_engine(effect, by, judge),
        };
        self.requests(judge);
        judge.after(self, effect);
        evidence
    }

    fn away(&self, slot: &SlotName) -> bool {
        self.places.get(slot).is_none_or(|place| place.away_until > self.now)
    }

    fn id(&mut self) -> ContainerId {
        self.ids += 1;
        ContainerId(format!("c{}", self.ids))
    }

    fn at_engine(&mut self, effect: &Effect, by: (&DeployId, Fence), judge: &mut Judge) -> Evidence {
        let slot = effect.slot().expect("it is done somewhere").clone();
        if self.away(&slot) {
            return Evidence::Failed("no answer".to_owned());
        }
        let (id, now) = (self.id(), self.now);
        let refused = matches!(effect, Effect::Create { release, .. } if self.nature(release, &slot) == Nature::Refused);
        if refused {
            return Evidence::Refused("the port is taken".to_owned());
        }
        if let Effect::Stop { .. } = effect {
            let flights = self.desks.iter().filter_map(|desk| desk.posts.get(&slot)).flat_map(|post| &post.flights);
            let waiting = flights.filter(|end| **end > now).count();
            judge.stopped(self, &slot, waiting);
        }
        let another = matches!(effect, Effect::Create { release, .. } if self.nature(release, &slot) == Nature::Another);
        let place = self.places.get_mut(&slot).expect("a slot");
        match effect {
            Effect::Prefetch { release, .. } => {
                place.images.insert(release.image.clone());
            }
            Effect::Create { release, .. } => {
                judge.expect(place.images.contains(&release.image), "a container of an image that is not there");
                let (mut release, deploy) = (release.clone(), by.0.clone());
                if another {
                    ANOTHER.clone_into(&mut release.image);
                }
                return place.create(Container {
                    id,
                    release,
                    deploy,
                    fence: by.1,
                    state: ContainerState::Created,
                    restarts: 0,
                    aside: None,
                });
            }
            Effect::Start { container, .. } => {
                let other = place.units.iter().any(|unit| unit.seen.id != *container && unit.seen.state == ContainerState::Running);
                judge.expect(!other, "two containers at one port");
                let unit = place.unit(container);
                (unit.seen.state, unit.started, unit.stopped, unit.was_well) = (ContainerState::Running, now, false, false);
            }
            Effect::Stop { container, .. } => {
                let unit = place.unit(container);
                unit.stopped = true;
                if unit.seen.state == ContainerState::Running {
                    unit.seen.state = ContainerState::Exited(143);
                }
            }
            Effect::SetAside { container, .. } | Effect::TakeBack { container, .. } => {
                let aside = matches!(effect, Effect::SetAside { .. }).then(|| by.0.clone());
                let unit = place.unit(container);
                judge.expect(unit.seen.state != ContainerState::Running, "a container that runs is renamed");
                unit.seen.aside = aside;
            }
            Effect::Remove { container, .. } => place.units.retain(|unit| unit.seen.id != *container),
            Effect::Balance(_) | Effect::Swap(_) | Effect::CreateMigration { .. } | Effect::StartMigration { .. } => {}
        }
        Evidence::Nothing
    }
}

impl Place {
    fn unit(&mut self, id: &ContainerId) -> &mut Unit {
        self.units.iter_mut().find(|unit| unit.seen.id == *id).expect("it is there")
    }

    /// A name is a slot's and a release's: of two that would have the same there is one.
    fn create(&mut self, seen: Container) -> Evidence {
        match self.units.iter().find(|unit| unit.seen.release == seen.release && unit.seen.aside.is_none()) {
            Some(taken) if taken.seen.deploy != seen.deploy => return Evidence::Refused("the name is taken".to_owned()),
            Some(_) => {}
            None => self.units.push(Unit { seen, started: 0, was_well: false, stopped: false }),
        }
        Evidence::Nothing
    }
}

impl Desk {
    /// Out of maintenance a server is taken to be up, before anything was checked.
    fn told(&mut self, turn: &Turn, now: u64) {
        let Some(post) = self.posts.get_mut(&turn.slot) else { return };
        if post.seen.admin == Admin::Maint && turn.to != Admin::Maint {
            (post.seen.health, post.seen.check, post.next_check) = (RISE, CheckResult::Unknown, now + CHECK_MS);
        }
        post.seen.admin = turn.to;
    }
}
