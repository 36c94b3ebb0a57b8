//! What can be observed of an environment: containers, servers, the migration, the lock. Nothing here is remembered or hoped for.
//!
//! Whoever observes makes one [`World`] at a time, as whole as it can; what did not answer is said to be unknown and never left out. Several balancers are taken at their
//! worst: a slot is in rotation healthy if all of them say so, and out of it if none of them sends anything there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::Fence;
use crate::model::environment::{DeployId, Release, SlotName};

/// An engine's id of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

/// Everything that was observed at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// By slot; one that is missing counts as one whose engine does not answer.
    pub slots: BTreeMap<SlotName, SlotView>,
    /// In the environment's order.
    pub balancers: Vec<Balancer>,
    /// The container of this deploy's migration, by its name.
    pub migration: MigrationView,
    /// The environment's lock: the worst of what its engines say.
    pub lock: Lock,
    /// The highest fence on any container, lock or row that was seen.
    pub fence: Fence,
    /// What the gate says now.
    pub gate: Gate,
}

/// What is at a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotView {
    /// Whether its engine answers. If not, the rest is empty and means nothing.
    pub reachable: bool,
    /// Images that its engine has, of those that the deploy may need.
    pub images: BTreeSet<String>,
    /// Containers of this slot, set aside or not, in any order.
    pub containers: Vec<Container>,
    /// What our own questions to its port came to, since the container that runs was started and this process began to ask.
    pub probe: Probe,
}

/// A container of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// What it was made from, as its engine says: the image id, and the label with the digest of the settings.
    pub release: Release,
    /// The deploy that made it, by its label.
    pub deploy: DeployId,
    /// The fence it was made under, by its label.
    pub fence: Fence,
    /// What it does.
    pub state: ContainerState,
    /// How often its engine started it anew by itself.
    pub restarts: u32,
    /// The deploy that set it aside, by its name: it is kept, and out of the way.
    pub aside: Option<DeployId>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It ended, with this status.
    Exited(i64),
}

/// Our own questions to a slot: how the last ones went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Good answers in a row, up to now.
    pub successes: u32,
    /// When the first of them came, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Bad answers in a row, up to now.
    pub failures: u32,
    /// What was wrong the last time something was.
    pub last_failure: Option<Sickness>,
}

/// Why a slot is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Sickness {
    /// Its container ended.
    #[error("its container ended with status {0}")]
    Exited(i64),
    /// There is no container any more.
    #[error("its container is gone")]
    Gone,
    /// Nothing accepts connections at its port.
    #[error("nothing listens at its port")]
    NeverListened,
    /// It answers, with this status.
    #[error("it answers with status {0}")]
    Status(u16),
    /// The health check of its image says so.
    #[error("the health check of its image fails")]
    Unhealthy,
    /// It was not well for as long as it has to be within the time that it has.
    #[error("it has not settled within its time")]
    Unsettled,
    /// It comes and goes.
    #[error("its container ends and is started again")]
    Flapping,
    /// Our questions are answered well and the balancer's are not: another port or path, most likely.
    #[error("it answers us well, and a balancer not")]
    BalancerDisagrees,
    /// Its container is made from something else than it was asked to be.
    #[error("its container is not made from the release it should be")]
    WrongImage,
    /// Its engine does not answer.
    #[error("its engine does not answer")]
    Unreachable,
    /// Its engine refuses what it was asked for.
    #[error("its engine refused: {0}")]
    Refused(String),
}

/// A balancer's backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balancer {
    /// It does not answer.
    Unreachable,
    /// It answers.
    Servers {
        /// Servers that are slots of the environment.
        servers: BTreeMap<SlotName, Server>,
        /// Names of others.
        foreign: Vec<String>,
    },
}

/// What a balancer is told to do with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// Send requests, as long as it is up.
    Ready,
    /// Send none, go on checking.
    Drain,
    /// Send none, do not check.
    Maint,
}

/// What the last check of a server came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// There was none since checks began.
    Unknown,
    /// It failed.
    Failed,
    /// It passed.
    Passed,
}

/// A server of a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// What the balancer is told.
    pub admin: Admin,
    /// Whether it has a check at all: one that has none is up for ever.
    pub checked: bool,
    /// The last check.
    pub check: CheckResult,
    /// The balancer's own count, 0 to `rise + fall - 1`.
    pub health: u32,
    /// Good checks until it is up, at least 1.
    pub rise: u32,
    /// Bad checks until it is down, at least 1.
    pub fall: u32,
    /// Requests and sessions in flight.
    pub in_flight: u32,
    /// Since the balancer began to count.
    pub traffic: Traffic,
}

impl Server {
    /// Whether the balancer takes it to be up. Out of maintenance that is optimistic: nothing needs to have been checked.
    pub fn is_up(&self) -> bool {
        self.health >= self.rise
    }

    /// Whether nothing more can be said for it: its last check passed, and its count is full.
    pub fn is_full(&self) -> bool {
        self.check == CheckResult::Passed && self.health.saturating_add(1) >= self.rise.saturating_add(self.fall)
    }
}

/// Requests that a server got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// All of them.
    pub requests: u64,
    /// Those that ended in a 5xx.
    pub errors: u64,
}

impl Traffic {
    /// What came since. A balancer that was started anew counts from zero again.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        if self.requests < before.requests {
            return self;
        }
        Self { requests: self.requests - before.requests, errors: self.errors.saturating_sub(before.errors) }
    }

    /// With another's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { requests: self.requests.saturating_add(other.requests), errors: self.errors.saturating_add(other.errors) }
    }

    /// Errors of a thousand requests.
    pub fn permille(self) -> u64 {
        self.errors.saturating_mul(1_000) / self.requests.max(1)
    }
}

/// The container of this deploy's migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationView {
    /// There is none of that name.
    Absent,
    /// The engine that would have it does not answer.
    Unknown,
    /// There it is.
    There {
        /// Its id.
        container: ContainerId,
        /// What it does.
        state: ContainerState,
    },
}

/// The environment's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Nobody holds it.
    Free,
    /// This deploy does.
    Held(DeployId),
}

/// What the gate says, asked again each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gate {
    /// The target's approval does not hold any more.
    pub target_revoked: bool,
    /// What would be gone back to is not allowed even as a rollback.
    pub back_revoked: bool,
}

/// What all balancers together do with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// All send requests there and take it to be up.
    Serving,
    /// At least one would send requests there, and not all take it to be up or are told to.
    Partly,
    /// None sends requests, all check, and all find nothing wrong.
    Checked,
    /// None sends requests, and at least one checks or waits.
    Draining,
    /// None sends requests or checks.
    Out,
}

impl World {
    /// A slot, if its engine answers.
    pub fn slot(&self, slot: &SlotName) -> Option<&SlotView> {
        self.slots.get(slot).filter(|view| view.reachable)
    }

    /// Whether all balancers answer.
    pub fn balancers_answer(&self) -> bool {
        self.balancers.iter().all(|balancer| matches!(balancer, Balancer::Servers { .. }))
    }

    /// The slot's server in each balancer that answers and has it.
    pub fn servers<'a>(&'a self, slot: &'a SlotName) -> impl Iterator<Item = &'a Server> {
        self.balancers.iter().filter_map(move |balancer| match balancer {
            Balancer::Unreachable => None,
            Balancer::Servers { servers, .. } => servers.get(slot),
        })
    }

    /// What the balancers do with it. A slot without a server is out.
    pub fn rotation(&self, slot: &SlotName) -> Rotation {
        let all = |what: fn(&Server) -> bool| self.servers(slot).all(what);
        if all(|server| server.admin == Admin::Maint) {
            Rotation::Out
        } else if all(|server| server.admin == Admin::Ready && server.is_up()) {
            Rotation::Serving
        } else if self.servers(slot).any(|server| server.admin == Admin::Ready) {
            Rotation::Partly
        } else if all(|server| server.admin == Admin::Drain && server.is_full()) {
            Rotation::Checked
        } else {
            Rotation::Draining
        }
    }

    /// Requests in flight, all balancers together.
    pub fn in_flight(&self, slot: &SlotName) -> u32 {
        self.servers(slot).map(|server| server.in_flight).fold(0, u32::saturating_add)
    }

    /// What a slot got, all balancers together.
    pub fn traffic(&self, slot: &SlotName) -> Traffic {
        self.servers(slot).map(|server| server.traffic).fold(Traffic::default(), Traffic::plus)
    }

    /// How many of these slots serve.
    pub fn serving<'a>(&self, slots: impl IntoIterator<Item = &'a SlotName>) -> u32 {
        let serving = slots.into_iter().filter(|slot| self.rotation(slot) == Rotation::Serving);
        u32::try_from(serving.count()).unwrap_or(u32::MAX)
    }

    /// Whether some balancer sends requests there and takes it to be up.
    pub fn counts(&self, slot: &SlotName) -> bool {
        self.servers(slot).any(|server| server.admin == Admin::Ready && server.is_up())
    }

    /// How many slots requests can go to, at the balancer that has the fewest.
    pub fn capacity(&self) -> u32 {
        self.capacity_without(&[])
    }

    /// The same if these were out.
    pub fn capacity_without(&self, out: &[&SlotName]) -> u32 {
        let up = |(name, server): &(&SlotName, &Server)| server.admin == Admin::Ready && server.is_up() && !out.contains(name);
        let counts = self.balancers.iter().map(|balancer| match balancer {
            Balancer::Unreachable => 0,
            Balancer::Servers { servers, .. } => servers.iter().filter(up).count(),
        });
        counts.min().map_or(0, |least| u32::try_from(least).unwrap_or(u32::MAX))
    }

    /// What runs at a slot, set aside or not: more than one thing only if somebody else was there, too.
    pub fn running<'a>(&'a self, slot: &SlotName) -> impl Iterator<Item = &'a Container> {
        let containers = self.slot(slot).map(|view| view.containers.as_slice()).unwrap_or_default();
        containers.iter().filter(|container| container.state == ContainerState::Running)
    }

    /// Whether this release runs at a slot, and nothing else.
    pub fn runs(&self, slot: &SlotName, release: &Release) -> bool {
        let mut running = self.running(slot).peekable();
        running.peek().is_some() && running.all(|container| container.release == *release)
    }
}
