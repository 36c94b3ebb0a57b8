//! An environment as data: the places an app runs at, the balancers before them, and how much may go wrong on the way from one release to the next.
//!
//! Words only: what is observed of an environment is in `deployment::world`, what is done to it in `deployment::machine`. Times are milliseconds.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::freeze::Freeze;
pub use super::strategy::{Share, Side, Strategy};

/// The name of a slot: also that of its server in the balancers, and part of the names of its containers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotName(pub String);

impl std::fmt::Display for SlotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A deploy: one execution of a plan, however many processes it takes. Unique in its environment; a ULID, so that names sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeployId(pub String);

impl std::fmt::Display for DeployId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a container was made from. Two containers with the same release are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The image id, which is the digest of its configuration: `sha256:` and 64 hex digits.
    pub image: String,
    /// Digest of the app's own configuration (the environment's env file) that goes with it; empty if there is none.
    pub settings: String,
}

/// What the container of a slot is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It answers requests, which balancers send to it.
    #[default]
    Web,
    /// It takes jobs from somewhere by itself. No balancer knows of it; asked to stop, it finishes the job that it has in hand.
    Worker,
}

impl Role {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this form")]
    fn is_web(&self) -> bool {
        *self == Self::Web
    }
}

/// How the slots of workers run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    /// The command, as a list of words; empty for the image's own.
    pub command: Vec<String>,
    /// Time from asking one to stop until it is killed: no shorter than the longest job.
    pub grace_ms: u64,
}

/// A stable place for one container at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Its name, unique in the environment.
    pub name: SlotName,
    /// The engine that runs its containers: `unix:///path`, `ssh://user@host`, `tcp://host:port`.
    pub engine: String,
    /// What its container is for.
    #[serde(default, skip_serializing_if = "Role::is_web")]
    pub role: Role,
    /// The port that the balancers' server points at, 1 to 65535: one of its engine's machine, or in a network the one that the app listens at; 0 for a worker, which has none.
    pub port: u16,
    /// What fails together with others of the same zone: they are not all taken out first.
    pub zone: Option<String>,
    /// The side that it is of, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The address of its engine's machine at which the port is given out, for balancers on other machines. Default: loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<IpAddr>,
    /// The address that its container has in the environment's network, where the balancers' server points at. Nothing of it is given out then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
}

impl Slot {
    /// Where its app is reached: in the environment's network, or where its port is given out.
    pub fn reached_at(&self) -> IpAddr {
        self.address.map(IpAddr::from).or(self.publish).unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

/// A balancer's runtime socket and the backend in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalancerAddress {
    /// `unix:///path`, `ssh://user@host/path`, or `tcp://` on loopback.
    pub endpoint: String,
    /// The backend, whose servers are exactly the environment's slots.
    pub backend: String,
}

/// When a container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// What is asked for over HTTP, from `/` on.
    pub path: String,
    /// Good answers in a row that it takes, at least 1; so many bad ones in a row make a serving container sick.
    pub successes: u32,
    /// Time from one question to the next, at least 1 ms.
    pub interval_ms: u64,
    /// Time from its start by which a container has to be well.
    pub boot_ms: u64,
    /// For so long it has to have been well without a break: what dies soon after it was up is found out before it serves.
    pub min_healthy_ms: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self { path: "/".to_owned(), successes: 3, interval_ms: 1_000, boot_ms: 60_000, min_healthy_ms: 5_000 }
    }
}

/// Whether a release that serves works on with what a migration leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationClass {
    /// It does.
    Compatible,
    /// It does not, or nobody knows: nothing of the old release may serve meanwhile, and there is no way back by itself.
    Breaking,
}

/// What is run once from a new image before it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// The command, as a list of words; at least one.
    pub command: Vec<String>,
    /// What it does to those that serve.
    pub class: MigrationClass,
    /// For so long it may run. It is not killed then: the deploy is held.
    pub timeout_ms: u64,
}

/// How many requests may fail while a release settles in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorGate {
    /// With fewer requests than this nothing is known, and the deploy is held.
    pub min_requests: u64,
    /// Failed requests of a thousand that the new release may have beyond what the old one had, 0 to 1000.
    pub tolerance_permille: u64,
}

/// Until when things have to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// An engine or a balancer that does not answer may hold up everything for so long. Default 1 minute.
    pub step_ms: u64,
    /// One half or batch, from its first drain until it is checked. Default 10 minutes.
    pub batch_ms: u64,
    /// The way there, and once more the way back. Default 1 hour.
    pub total_ms: u64,
    /// On the way there requests meet both releases for no longer, where they do by design. Default 30 minutes.
    pub mix_ms: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { step_ms: 60_000, batch_ms: 600_000, total_ms: 3_600_000, mix_ms: 1_800_000 }
    }
}

/// An environment of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The app.
    pub app: String,
    /// The environment: `staging`, `production`.
    pub name: String,
    /// Its slots, in any order.
    pub slots: Vec<Slot>,
    /// The network of their engines in which slots have addresses, and which the balancers are in: slots publish no port then. Default: none, slots publish ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What stands before them; at least one.
    pub balancers: Vec<BalancerAddress>,
    /// The order of things.
    #[serde(default)]
    pub strategy: Strategy,
    /// When a container is well.
    #[serde(default)]
    pub health: Health,
    /// For so long requests in flight are waited for before a container is stopped. Default 30 seconds.
    #[serde(default = "Environment::default_drain")]
    pub drain_ms: u64,
    /// Time from asking a container to stop until it is killed: no shorter than the longest request. Default 30 seconds.
    #[serde(default = "Environment::default_grace")]
    pub grace_ms: u64,
    /// How many serve at any time during a deploy, at the least. Default half of them, which `half` can keep for any number.
    #[serde(default = "Environment::default_floor")]
    pub floor: Share,
    /// For so long what was let in first, and in the end all, is watched before anything else happens. Default 10 seconds.
    #[serde(default = "Environment::default_soak")]
    pub soak_ms: u64,
    /// Failed requests that are watched meanwhile.
    #[serde(default)]
    pub errors: Option<ErrorGate>,
    /// How workers run, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// What is run once.
    #[serde(default)]
    pub migration: Option<Migration>,
    /// Slots that may fail and stay out without an end of the deploy, once the first ones were watched; over the whole deploy. Default 0.
    #[serde(default)]
    pub max_failed: u32,
    /// Until when things have to be done.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// When nobody deploys there. Not written down: a deploy that has begun is gone on with, whatever the time.
    #[serde(skip)]
    pub freeze: Vec<Freeze>,
}

impl Environment {
    pub(crate) fn default_drain() -> u64 {
        30_000
    }

    pub(crate) fn default_grace() -> u64 {
        30_000
    }

    pub(crate) fn default_soak() -> u64 {
        10_000
    }

    pub(crate) fn default_floor() -> Share {
        Share::Percent(50)
    }

    /// How many slots serve when all is well: all of the web, or one side of them.
    pub fn size(&self) -> u32 {
        match self.strategy {
            Strategy::BlueGreen => self.on(Side::Blue),
            _ => u32::try_from(self.of(Role::Web).len()).unwrap_or(u32::MAX),
        }
    }

    /// How many slots there are on a side.
    fn on(&self, side: Side) -> u32 {
        u32::try_from(self.slots.iter().filter(|slot| slot.side == Some(side)).count()).unwrap_or(u32::MAX)
    }

    /// The names of its slots, sorted.
    pub fn names(&self) -> Vec<SlotName> {
        let mut names: Vec<_> = self.slots.iter().map(|slot| slot.name.clone()).collect();
        names.sort();
        names
    }

    /// The names of those of a role, sorted.
    pub fn of(&self, role: Role) -> Vec<SlotName> {
        let mut names: Vec<_> = self.slots.iter().filter(|slot| slot.role == role).map(|slot| slot.name.clone()).collect();
        names.sort();
        names
    }

    /// Time from asking a slot's container to stop until it is killed.
    pub fn grace_of(&self, slot: &Slot) -> u64 {
        let workers = self.workers.as_ref().filter(|_| slot.role == Role::Worker);
        workers.map_or(self.grace_ms, |workers| workers.grace_ms)
    }

    /// Everything that is wrong with it, in a fixed order.
    pub fn faults(&self) -> Vec<EnvironmentFault> {
        let mut faults = Vec::new();
        let mut fault = |wrong: bool, fault: EnvironmentFault| {
            if wrong {
                faults.push(fault);
            }
        };
        fault(self.of(Role::Web).is_empty(), EnvironmentFault::NoSlots);
        fault(self.balancers.is_empty(), EnvironmentFault::NoBalancers);
        let names = self.names();
        for pair in names.windows(2) {
            if let [one, other] = pair {
                fault(one == other, EnvironmentFault::SameName(one.clone()));
            }
        }
        for slot in &self.slots {
            fault(!is_name(&slot.name.0), EnvironmentFault::BadName(slot.name.clone()));
            let web = slot.role == Role::Web;
            // In no network it is the address that is too much.
            fault(web && slot.port == 0 && (self.network.is_some() || slot.address.is_none()), EnvironmentFault::NoPort(slot.name.clone()));
            let reached = slot.port != 0 || slot.publish.is_some() || slot.address.is_some();
            fault(!web && reached, EnvironmentFault::NeedlessPort(slot.name.clone()));
        }
        self.network_faults(&mut fault);
        fault(self.workers.is_some() && self.of(Role::Worker).is_empty(), EnvironmentFault::NoWorkers);
        fault(self.health.successes == 0, EnvironmentFault::Zero("health.successes"));
        fault(self.health.interval_ms == 0, EnvironmentFault::Zero("health.interval"));
        fault(self.deadlines.step_ms == 0, EnvironmentFault::Zero("deadlines.step"));
        let two_sides = self.strategy == Strategy::BlueGreen;
        let misplaced = |slot: &&Slot| slot.side.is_some() != (two_sides && slot.role == Role::Web);
        let astray = self.slots.iter().find(misplaced).map(|slot| (slot.name.clone(), slot.side.is_some()));
        if let Some((slot, of_a_side)) = astray.clone() {
            faults.push(if of_a_side { EnvironmentFault::NeedlessSide(slot) } else { EnvironmentFault::NoSide(slot) });
        }
        let (blue, green) = (self.on(Side::Blue), self.on(Side::Green));
        if two_sides && astray.is_none() && blue != green {
            faults.push(EnvironmentFault::Uneven { blue, green });
        }
        let mut fault = |wrong: bool, fault: EnvironmentFault| {
            if wrong {
                faults.push(fault);
            }
        };
        let (first, batch) = match self.strategy {
            Strategy::Rolling { batch } => (None, Some(batch)),
            Strategy::Canary { first, batch } => (Some(first), Some(batch)),
            Strategy::Half | Strategy::AllAtOnce | Strategy::BlueGreen => (None, None),
        };
        for (share, name) in [(batch, "batch"), (first, "canary"), (Some(self.floor), "floor")] {
            fault(name != "floor" && matches!(share, Some(Share::Count(0) | Share::Percent(0))), EnvironmentFault::Zero(name));
            fault(matches!(share, Some(Share::Percent(101..))), EnvironmentFault::Beyond(name));
        }
        fault(self.errors.is_some_and(|gate| gate.tolerance_permille > 1_000), EnvironmentFault::Beyond("errors.tolerance"));
        fault(self.migration.as_ref().is_some_and(|migration| migration.command.is_empty()), EnvironmentFault::Zero("migration.command"));
        faults
    }

    /// What is wrong with its network, and with how its slots are reached by it or without one.
    fn network_faults(&self, fault: &mut impl FnMut(bool, EnvironmentFault)) {
        if let Some(network) = &self.network {
            fault(!is_name(network) || OWN_NETWORKS.contains(&network.as_str()), EnvironmentFault::BadNetwork(network.clone()));
        }
        let networked = self.network.is_some();
        let mut taken: BTreeMap<Ipv4Addr, &SlotName> = BTreeMap::new();
        for slot in &self.slots {
            fault(networked && slot.role == Role::Web && slot.address.is_none(), EnvironmentFault::NoAddress(slot.name.clone()));
            fault(networked && slot.publish.is_some(), EnvironmentFault::Published(slot.name.clone()));
            fault(!networked && slot.address.is_some(), EnvironmentFault::NoNetwork(slot.name.clone()));
            if let Some(address) = slot.address
                && let Some(other) = taken.insert(address, &slot.name)
            {
                fault(true, EnvironmentFault::SameAddress { one: other.clone(), other: slot.name.clone(), address });
            }
        }
    }
}

/// Networks that every engine has by itself, in which nothing has an address of its choice.
const OWN_NETWORKS: &[&str] = &["bridge", "default", "host", "none"];

/// Whether a name can be part of a container's name and of a balancer's command: letters, digits, `-`, `_` and `.`, with a letter or digit first.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// What is wrong with an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentFault {
    /// There is nowhere to deploy to.
    #[error("it has no slots that serve")]
    NoSlots,
    /// Nothing sends requests.
    #[error("it has no balancers")]
    NoBalancers,
    /// Two slots are called the same.
    #[error("two slots are called `{0}`")]
    SameName(SlotName),
    /// A name that does not do for a container and a server.
    #[error("`{0}` is no name for a slot")]
    BadName(SlotName),
    /// A slot without a port.
    #[error("slot `{0}` has no port")]
    NoPort(SlotName),
    /// It says how workers run.
    #[error("it says how workers run, and has no slot of that role")]
    NoWorkers,
    /// A worker that should answer somewhere.
    #[error("slot `{0}` is a worker, and has a port or an address")]
    NeedlessPort(SlotName),
    /// A slot of no side, where there are two.
    #[error("slot `{0}` is of no side")]
    NoSide(SlotName),
    /// A slot of a side, where there are none.
    #[error("slot `{0}` is of a side, and belongs to none")]
    NeedlessSide(SlotName),
    /// A slot has no twin.
    #[error("{blue} slots are blue and {green} are green")]
    Uneven {
        /// So many.
        blue: u32,
        /// So many.
        green: u32,
    },
    /// A name that does not do for a network.
    #[error("`{0}` is no network in which a container can have an address of its choice")]
    BadNetwork(String),
    /// A slot that nobody in the network would find.
    #[error("slot `{0}` has no address in the network")]
    NoAddress(SlotName),
    /// A slot of a network that would be reached around it.
    #[error("slot `{0}` is in a network and cannot publish a port, too")]
    Published(SlotName),
    /// An address in no network.
    #[error("slot `{0}` has an address, and the environment has no network")]
    NoNetwork(SlotName),
    /// Between the balancer's server and the app nothing leads from one port to another.
    #[error("slot `{slot}` has the port {port}, and in a network it is reached at the app's own, {app}")]
    OtherPort {
        /// Which slot.
        slot: SlotName,
        /// What it says.
        port: u16,
        /// What the app listens at.
        app: u16,
    },
    /// Two slots at one address, which no balancer could tell apart.
    #[error("slots `{one}` and `{other}` have one address, {address}")]
    SameAddress {
        /// One.
        one: SlotName,
        /// The other.
        other: SlotName,
        /// Both have it.
        address: Ipv4Addr,
    },
    /// Something is zero or empty that must not be.
    #[error("`{0}` must not be zero or empty")]
    Zero(&'static str),
    /// Something is more than all.
    #[error("`{0}` is more than all")]
    Beyond(&'static str),
}

impl EnvironmentFault {
    /// The key that says it, if it is one alone.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::BadNetwork(_) => Some("network"),
            Self::NoSlots
            | Self::SameName(_)
            | Self::BadName(_)
            | Self::NoPort(_)
            | Self::NeedlessPort(_)
            | Self::NoWorkers
            | Self::NoSide(_)
            | Self::NeedlessSide(_)
            | Self::Uneven { .. }
            | Self::NoAddress(_)
            | Self::Published(_)
            | Self::NoNetwork(_)
            | Self::OtherPort { .. }
            | Self::SameAddress { .. } => Some("slots"),
            Self::NoBalancers => Some("lb"),
            Self::Zero(_) | Self::Beyond(_) => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSlots => "name at least one slot, with its engine and port",
            Self::NoBalancers => "name at least one balancer, with its socket and backend",
            Self::SameName(_) => "give each slot a name of its own",
            Self::BadName(_) => "use letters, digits, `-`, `_` and `.`, with a letter or digit first",
            Self::NoPort(_) => "name the port that the balancers' server points at",
            Self::NoWorkers => "give a slot `role = \"worker\"`, or drop the section",
            Self::NeedlessPort(_) => "leave `port`, `publish` and `address` out: no balancer sends anything to a worker",
            Self::NoSide(_) => "with `bluegreen` each slot says `side = \"blue\"` or `side = \"green\"`",
            Self::NeedlessSide(_) => "leave `side` out: web slots have one with `strategy = \"bluegreen\"`, and workers never",
            Self::Uneven { .. } => "give each slot a twin on the other side",
            Self::BadNetwork(_) => "name one that you made with a subnet: `docker network create --subnet ... --ip-range ... NAME`",
            Self::NoAddress(_) => "give it the address of the balancers' server, such as `address = \"172.30.0.11\"`",
            Self::Published(_) => "drop `publish` of the slot, or `network` of the environment",
            Self::NoNetwork(_) => "name the environment's `network`, or publish the port with `publish`",
            Self::OtherPort { .. } => "drop `port` of the slot: the balancers' server points at its address and the environment's `port`",
            Self::SameAddress { .. } => "give each slot an address of its own",
            Self::Zero(_) => "give it a value, or leave it out for the default",
            Self::Beyond(_) => "a percentage is at most 100, a share of a thousand at most 1000",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(slots: &[&str]) -> Environment {
        let slot = |name: &&str| serde_json::json!({"name": name, "engine": "unix:///run/docker.sock", "port": 8001, "zone": null});
        let balancers = serde_json::json!([{"endpoint": "unix:///run/haproxy.sock", "backend": "web"}]);
        let slots: Vec<_> = slots.iter().map(slot).collect();
        serde_json::from_value(serde_json::json!({"app": "shop", "name": "production", "slots": slots, "balancers": balancers})).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_unknown_is_refused() {
        let plain = environment(&["a", "b"]);
        assert_eq!((plain.drain_ms, plain.grace_ms, plain.soak_ms, plain.max_failed), (30_000, 30_000, 10_000, 0));
        assert_eq!((plain.floor, plain.strategy, plain.migration.as_ref()), (Share::Percent(50), Strategy::Half, None));
        assert_eq!(plain.faults(), []);
        let mut value = serde_json::to_value(&plain).unwrap();
        value["sok_ms"] = 1.into();
        assert!(serde_json::from_value::<Environment>(value).is_err());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let mut wrong = environment(&["a", "a", "-x"]);
        wrong.floor = Share::Percent(101);
        wrong.health.successes = 0;
        let faults = wrong.faults();
        let (a, x) = (SlotName("a".into()), SlotName("-x".into()));
        let expected = [
            EnvironmentFault::SameName(a),
            EnvironmentFault::BadName(x),
            EnvironmentFault::Zero("health.successes"),
            EnvironmentFault::Beyond("floor"),
        ];
        assert_eq!(faults, expected);
        assert!(faults.iter().all(|fault| !fault.hint().is_empty()));
        assert_eq!(environment(&[]).faults(), [EnvironmentFault::NoSlots]);
    }

    #[test]
    fn a_network_and_addresses_in_it_go_together() {
        let mut networked = environment(&["a", "b"]);
        networked.network = Some("shop-net".into());
        let at = |last| Some(Ipv4Addr::new(172, 30, 0, last));
        (networked.slots[0].address, networked.slots[1].address) = (at(11), at(12));
        assert_eq!(networked.faults(), []);
        assert_eq!(networked.slots[0].reached_at(), IpAddr::from([172, 30, 0, 11]));
        let (a, b) = (SlotName("a".into()), SlotName("b".into()));
        let mut wrong = networked.clone();
        (wrong.slots[0].address, wrong.slots[1].address, wrong.slots[1].publish) = (None, at(11), Some([10, 0, 0, 5].into()));
        assert_eq!(wrong.faults(), [EnvironmentFault::NoAddress(a.clone()), EnvironmentFault::Published(b.clone())]);
        wrong.slots[0].address = at(11);
        wrong.slots[1].publish = None;
        wrong.slots[1].engine = "ssh://deploy@elsewhere".into();
        let same = EnvironmentFault::SameAddress { one: a.clone(), other: b.clone(), address: Ipv4Addr::new(172, 30, 0, 11) };
        assert_eq!(wrong.faults(), [same]);
        for own in ["host", "bridge", "container:web", ""] {
            let faults = Environment { network: Some(own.into()), ..networked.clone() }.faults();
            assert_eq!(faults, [EnvironmentFault::BadNetwork(own.into())]);
        }
        let without = Environment { network: None, ..networked }.faults();
        assert_eq!(without, [EnvironmentFault::NoNetwork(a), EnvironmentFault::NoNetwork(b)]);
        assert!(without.iter().all(|fault| !fault.hint().is_empty() && fault.key() == Some("slots")));
    }

    #[test]
    fn an_environment_without_a_network_is_written_as_it_always_was() {
        // Its digest is in journals: a deploy that has begun is gone on with.
        let text = serde_json::to_string(&environment(&["a"])).unwrap();
        assert!(!text.contains("network") && !text.contains("address"), "{text}");
    }
}
