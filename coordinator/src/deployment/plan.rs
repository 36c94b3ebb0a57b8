//! The plan of a deploy: which slots first, which after the swap, how many serve at each step; or why there is none.
//!
//! A pure function of the environment, what is observed, and what is asked for; the same for the same. It refuses what could not keep its promises, with a code that does
//! not change, before anything is touched. What it decides is the [`Course`], which becomes the first row of the deploy's journal; a process that resumes reads it there.

use serde::Serialize;

use super::journal::Journal;
use super::legs::{Room, expected, split, there};
use super::words::Course;
use super::world::{Balancer, Rotation, World};
use crate::model::environment::{DeployId, Environment, EnvironmentFault, MigrationClass, Release, Role, SlotName};
use crate::model::freeze::Frozen;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name of the deploy.
    pub deploy: DeployId,
    /// What is to serve.
    pub target: Release,
    /// The last release that finished its soak here, by [`Journal::stable`].
    pub stable: Option<Release>,
    /// A rollback: the environment's migration is not run.
    pub rollback: bool,
    /// It may come to nothing serving for a while.
    pub allow_downtime: bool,
    /// Fewer slots may serve than have to, because fewer do already and this is the repair. Nothing else is waived.
    pub fix_forward: bool,
    /// When the tests of the target ended, in milliseconds since 1970, if it rests on any.
    pub proven: Option<u64>,
    /// Its manifest in the release repository.
    pub manifest: String,
    /// When those of the stable release did, unless the way back is what is asked for: nothing older goes live after it.
    pub newest: Option<u64>,
    /// The window in which nobody deploys there, if one is open; none where the way back is what is asked for.
    pub frozen: Option<Frozen>,
}

/// A deploy that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where.
    pub environment: Environment,
    /// Its name.
    pub deploy: DeployId,
    /// What was decided.
    pub course: Course,
    /// What is going to happen if nothing fails. Empty if there is nothing to do, and in a plan that was read from a journal.
    pub steps: Vec<PlannedStep>,
}

/// A step, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// What is done.
    pub kind: StepKind,
    /// To which slots, in this order.
    pub slots: Vec<SlotName>,
    /// How many slots serve once it is done.
    pub capacity: u32,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// The image is brought to the engines.
    Prefetch,
    /// Requests go elsewhere.
    Drain,
    /// The old container is stopped and kept, the new one started and checked.
    Replace,
    /// The migration is run, once.
    Migrate,
    /// The first half goes in and the second out, in one line.
    Swap,
    /// They are watched.
    Soak,
    /// They are let in.
    Ready,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The environment makes no sense.
    #[error("the environment is wrong in {} places, first: {}", .0.len(), .0.first().map(ToString::to_string).unwrap_or_default())]
    Environment(Vec<EnvironmentFault>),
    /// The target's approval does not hold (P3).
    #[error("the approval of the release was revoked")]
    Revoked,
    /// The tests of the release that serves are newer: somebody who was late, or whose tag was moved (P4).
    #[error("the release was tested {} s before the one that is deployed", ago_ms / 1_000)]
    Older {
        /// So many milliseconds before.
        ago_ms: u64,
    },
    /// Nobody deploys now (P5).
    #[error("nobody deploys there now: {0}")]
    Frozen(Frozen),
    /// A balancer does not answer (P6).
    #[error("balancer {} of {} does not answer", place + 1, of)]
    BalancerUnreachable {
        /// Its place, from 0.
        place: usize,
        /// How many there are.
        of: usize,
    },
    /// An engine does not answer (P6).
    #[error("the engine of slot `{0}` does not answer")]
    EngineUnreachable(SlotName),
    /// A balancer cannot do what a plan needs (P12).
    #[error("balancer {} cannot express the plan: {lack}", place + 1)]
    BalancerCannot {
        /// Its place, from 0.
        place: usize,
        /// What is missing.
        lack: Lack,
    },
    /// Too few slots serve, or would (P7).
    #[error("{serves} slots would serve at some time, and {floor} have to")]
    Floor {
        /// So many would.
        serves: u32,
        /// So many have to.
        floor: u32,
    },
    /// Everything that serves would have to go out at once.
    #[error("nothing would serve while slots are replaced")]
    Downtime,
    /// Slots with the old release would serve, or work, during a migration that breaks it (P10).
    #[error("the migration breaks the release that serves or works meanwhile")]
    BreakingMigration,
    /// The journal's deploy was planned for an environment that was other than it is now.
    #[error("the environment is not the one that the deploy began with")]
    EnvironmentChanged,
    /// There is no such deploy in the journal.
    #[error("the journal knows no deploy `{0}`")]
    NotBegun(DeployId),
}

/// What a balancer lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// There is no server of that name in the backend.
    #[error("it has no server `{0}`")]
    NoServer(SlotName),
    /// The server is up for ever.
    #[error("its server `{0}` has no check")]
    NotChecked(SlotName),
    /// It sends requests to something that is no slot.
    #[error("its server `{0}` is no slot of the environment")]
    Foreign(String),
}

impl Refusal {
    /// A code that stays the same.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Environment(_) => "E_ENVIRONMENT",
            Self::Revoked => "E_REVOKED",
            Self::Older { .. } => "E_OLDER",
            Self::Frozen(_) => "E_FROZEN",
            Self::BalancerUnreachable { .. } => "E_BALANCER_UNREACHABLE",
            Self::EngineUnreachable(_) => "E_ENGINE_UNREACHABLE",
            Self::BalancerCannot { .. } => "E_BALANCER_CANNOT",
            Self::Floor { .. } => "E_FLOOR",
            Self::Downtime => "E_DOWNTIME",
            Self::BreakingMigration => "E_BREAKING_MIGRATION",
            Self::EnvironmentChanged => "E_ENVIRONMENT_CHANGED",
            Self::NotBegun(_) => "E_NOT_BEGUN",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Environment(faults) => faults.first().map_or("look at the environment's configuration", EnvironmentFault::hint),
            Self::Revoked => "promote a release whose approval holds",
            Self::Older { .. } => "deploy the newest release; to go back on purpose: `splitci rollback`",
            Self::Frozen(_) => "wait until then; the way back is never frozen: `splitci rollback`",
            Self::BalancerUnreachable { .. } => "look at the balancer's socket: nothing is drained blindly",
            Self::EngineUnreachable(_) => "look at the engine, or take the slot out of the environment and the backend",
            Self::BalancerCannot { .. } => "give the backend one checked server for each slot and no other",
            Self::Floor { .. } => "repair what is down, lower `floor`, take fewer out at once, or deploy with `--fix-forward`",
            Self::Downtime => "add a slot, or deploy with `--allow-downtime`",
            Self::BreakingMigration => {
                "make the migration compatible, or deploy with `--allow-downtime` where nothing serves or works meanwhile"
            }
            Self::EnvironmentChanged => "resume with the configuration that the deploy began with",
            Self::NotBegun(_) => "start a deploy",
        }
    }
}

impl Plan {
    /// Plans a deploy. Defined for any number of slots.
    pub fn of(environment: &Environment, world: &World, request: &Request) -> Result<Self, Refusal> {
        let faults = environment.faults();
        if !faults.is_empty() {
            return Err(Refusal::Environment(faults));
        }
        if world.gate.target_revoked {
            return Err(Refusal::Revoked);
        }
        if let (Some(proven), Some(newest)) = (request.proven, request.newest)
            && proven < newest
            && request.stable.as_ref() != Some(&request.target)
        {
            return Err(Refusal::Older { ago_ms: newest - proven });
        }
        if let Some(frozen) = &request.frozen {
            return Err(Refusal::Frozen(frozen.clone()));
        }
        expresses(environment, world)?;
        let target = &request.target;
        let names = environment.of(Role::Web);
        let migration = environment.migration.as_ref().map(|migration| migration.class).filter(|_| !request.rollback);
        let mut course = Course {
            environment: digest(environment),
            target: target.clone(),
            current: current(&names, world, request),
            stable: request.stable.clone(),
            floor: environment.floor.of(environment.size()),
            migration,
            leg: None,
            proven: request.proven,
            manifest: request.manifest.clone(),
        };
        let mut steps = Vec::new();
        if !there(environment, world, target) {
            let leg = split(environment, world, target);
            let room = Room::of(&leg, world);
            course.floor = floor(course.floor, &room, request)?;
            if migration == Some(MigrationClass::Breaking) && (room.stays > 0 || !leg.workers.is_empty()) {
                return Err(Refusal::BreakingMigration);
            }
            steps = expected(&leg, &room, migration.is_some());
            course.leg = Some(leg);
        }
        Ok(Self { environment: environment.clone(), deploy: request.deploy.clone(), course, steps })
    }

    /// The plan of a deploy that has begun, from its journal.
    pub fn resumed(environment: &Environment, deploy: &DeployId, journal: &Journal) -> Result<Self, Refusal> {
        let course = journal.course(deploy).ok_or_else(|| Refusal::NotBegun(deploy.clone()))?;
        if course.environment != digest(environment) {
            return Err(Refusal::EnvironmentChanged);
        }
        Ok(Self { environment: environment.clone(), deploy: deploy.clone(), course: course.clone(), steps: Vec::new() })
    }
}

/// Digest of an environment, blake3 in hex. Its text has one form: fields in their order.
fn digest(environment: &Environment) -> String {
    let text = serde_json::to_vec(environment).unwrap_or_default();
    blake3::hash(&text).to_hex().to_string()
}

/// Whether everybody answers and the balancers can do what a plan needs.
fn expresses(environment: &Environment, world: &World) -> Result<(), Refusal> {
    let of = environment.balancers.len();
    for place in 0..of {
        let Some(Balancer::Servers { servers, foreign }) = world.balancers.get(place) else {
            return Err(Refusal::BalancerUnreachable { place, of });
        };
        let cannot = |lack| Err(Refusal::BalancerCannot { place, lack });
        if let Some(name) = foreign.first() {
            return cannot(Lack::Foreign(name.clone()));
        }
        for name in environment.of(Role::Web) {
            match servers.get(&name) {
                None => return cannot(Lack::NoServer(name)),
                Some(server) if !server.checked || server.rise == 0 || server.fall == 0 => return cannot(Lack::NotChecked(name)),
                Some(_) => {}
            }
        }
    }
    match environment.names().into_iter().find(|name| world.slot(name).is_none()) {
        Some(name) => Err(Refusal::EngineUnreachable(name)),
        None => Ok(()),
    }
}

/// What serves now, if it is one release; of several the stable one, if it is among them.
fn current(names: &[SlotName], world: &World, request: &Request) -> Option<Release> {
    let serving = names.iter().filter(|name| world.rotation(name) == Rotation::Serving);
    let mut releases: Vec<_> = serving.filter_map(|name| world.running(name).next()).map(|container| container.release.clone()).collect();
    releases.retain(|release| *release != request.target);
    releases.sort();
    releases.dedup();
    match releases.as_slice() {
        [one] => Some(one.clone()),
        several => several.iter().find(|release| request.stable.as_ref() == Some(*release)).cloned(),
    }
}

/// The floor that a deploy keeps, unless it cannot keep the one that is asked for.
fn floor(asked: u32, room: &Room, request: &Request) -> Result<u32, Refusal> {
    if room.now == 0 {
        // There is nothing to lose: a first deploy, or the repair of one that left nothing.
        return Ok(0);
    }
    if room.stays == 0 {
        return if request.allow_downtime { Ok(0) } else { Err(Refusal::Downtime) };
    }
    let serves = room.stays.min(room.later);
    match asked > serves {
        true if request.fix_forward => Ok(serves),
        true => Err(Refusal::Floor { serves, floor: asked }),
        false => Ok(asked),
    }
}
