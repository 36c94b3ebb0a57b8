//! The words between a deploy's brain and its shell: what is to be done, what was decided and why, and how it can end.
//!
//! The rules go by their names in the design: `A1` to `A8` end the way forward, `R1` to `R9` say what happens then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::world::{Admin, ContainerId, Sickness, Traffic};
use crate::model::environment::{MigrationClass, Release, SlotName};

/// What is to happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Carry these out: for each the intent is journalled first, and what came of it afterwards. They do not depend on each other.
    Act(Vec<Effect>),
    /// Journal this decision; nothing else happens.
    Record(Decision),
    /// Observe again when something has changed, and at this time at the latest.
    Wait {
        /// In milliseconds since 1970.
        until_ms: u64,
        /// For what.
        why: Waiting,
    },
    /// There is nothing more to do. The lock can be given back, unless it is another's.
    Done(Outcome),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Requests in flight at a slot that is on its way out.
    Requests(SlotName),
    /// A container that is not well yet.
    Health(SlotName),
    /// A balancer that has not checked a slot often enough.
    Checks(SlotName),
    /// A worker with a job in hand.
    Jobs(SlotName),
    /// An engine that does not answer.
    Engine(SlotName),
    /// A balancer that does not answer.
    Balancer,
    /// The migration.
    Migration,
    /// A release that settles in.
    Soak,
    /// Something was just tried, and is tried again.
    Pause,
}

/// One thing that is done to the world. Each is harmless if it is done again, but for the start of a migration, which the observation keeps from that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Have the image at a slot's engine, by digest.
    Prefetch {
        /// Where.
        slot: SlotName,
        /// What.
        release: Release,
    },
    /// Tell all balancers, each in one command line.
    Balance(Vec<Turn>),
    /// The same for the one line that lets the first ones in, as the others go out if no two releases may meet.
    Swap(Vec<Turn>),
    /// Stop a container within the environment's grace. It is kept.
    Stop {
        /// Where.
        slot: SlotName,
        /// Which.
        container: ContainerId,
    },
    /// Rename a container that does not run, so that it is out of the way: its new name says that this deploy did it, and is its own among several of a slot.
    SetAside {
        /// Where.
        slot: SlotName,
        /// Which.
        container: ContainerId,
    },
    /// Give a container that was set aside its own name back.
    TakeBack {
        /// Where.
        slot: SlotName,
        /// Which.
        container: ContainerId,
    },
    /// Create a container, with this deploy and its fence in its labels. A name that is taken by a container of this deploy is no failure.
    Create {
        /// Where.
        slot: SlotName,
        /// From what.
        release: Release,
    },
    /// Start a container.
    Start {
        /// Where.
        slot: SlotName,
        /// Which.
        container: ContainerId,
    },
    /// Remove a container that does not run.
    Remove {
        /// Where.
        slot: SlotName,
        /// Which.
        container: ContainerId,
    },
    /// Create the migration's container, under a name that is this deploy's alone, without starting it.
    CreateMigration {
        /// At which slot's engine.
        slot: SlotName,
        /// From what.
        release: Release,
    },
    /// Start it, once.
    StartMigration {
        /// Which.
        container: ContainerId,
    },
}

impl Effect {
    /// The slot at whose engine it is done.
    pub fn slot(&self) -> Option<&SlotName> {
        match self {
            Self::Prefetch { slot, .. }
            | Self::Stop { slot, .. }
            | Self::SetAside { slot, .. }
            | Self::TakeBack { slot, .. }
            | Self::Create { slot, .. }
            | Self::Start { slot, .. }
            | Self::Remove { slot, .. } => Some(slot),
            Self::Balance(_) | Self::Swap(_) | Self::CreateMigration { .. } | Self::StartMigration { .. } => None,
        }
    }

    /// What the balancers are told by it.
    pub fn turns(&self) -> &[Turn] {
        match self {
            Self::Balance(turns) | Self::Swap(turns) => turns,
            _ => &[],
        }
    }
}

/// A server and what the balancers are to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Which.
    pub slot: SlotName,
    /// What.
    pub to: Admin,
}

/// A way to a release: which slots first, which once those are let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// What is to serve at its end.
    pub goal: Release,
    /// In the order in which they are named in commands.
    pub first: Vec<SlotName>,
    /// The others.
    pub second: Vec<SlotName>,
    /// So many of the others at a time, while those that wait go on with what they serve. If nothing is said, all others go out as the first go in, and no two releases meet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// The others are not replaced: once they are out they run on as they are, for whoever wants to go back to them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm: bool,
    /// Workers: they follow once the first ones have settled in, half of them at a time, so that jobs are taken all the while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<SlotName>,
}

impl Leg {
    /// Those that are to run the goal at its end.
    pub fn renewed(&self) -> impl Iterator<Item = &SlotName> {
        self.first.iter().chain(self.second.iter().filter(|_| !self.warm)).chain(&self.workers)
    }

    /// Workers, as they go together.
    pub fn crews(&self) -> impl Iterator<Item = &[SlotName]> {
        self.workers.chunks(self.workers.len().div_ceil(2).max(1))
    }

    /// The others, as they go together.
    pub fn batches(&self) -> impl Iterator<Item = &[SlotName]> {
        let size = self.batch.and_then(|batch| usize::try_from(batch).ok()).unwrap_or(self.second.len());
        self.second.chunks(size.max(1))
    }
}

/// What a deploy is to do, as it was decided before its first effect. A process that goes on with it reads it from the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// Digest of the environment that it was made for.
    pub environment: String,
    /// What is to serve.
    pub target: Release,
    /// The one release that served before, if there was one: where R1 and R2 go back to.
    pub current: Option<Release>,
    /// The last release that finished its soak here: where R3 goes back to.
    pub stable: Option<Release>,
    /// So many slots serve at any time.
    pub floor: u32,
    /// The migration that belongs to it, if there is anything to do.
    pub migration: Option<MigrationClass>,
    /// The way there; none if the target is what serves at every slot.
    pub leg: Option<Leg>,
    /// When the tests ended that the target's approval rests on, in milliseconds since 1970; nothing if the glass was broken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<u64>,
    /// The target in the release repository, by the digest of its manifest: what is asked for when it is gone on with, or back to. Empty in a simulation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manifest: String,
}

/// What a deploy decides: a row of the journal, and no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decision {
    /// It begins.
    Began(Box<Course>),
    /// Another process goes on with it; the shell writes this.
    Resumed,
    /// Somebody wants it to end (A8); the shell writes this.
    AbortAsked {
        /// Who, and why.
        by: String,
    },
    /// A slot failed, and stays out until the deploy turns back.
    Quarantined {
        /// Which.
        slot: SlotName,
        /// Why.
        sickness: Sickness,
    },
    /// The migration is over, and well.
    Migrated,
    /// What was let in is watched.
    SoakBegan {
        /// 1: the first ones. 2: all.
        half: u8,
        /// What each slot's servers had got until then.
        traffic: BTreeMap<SlotName, Traffic>,
    },
    /// Nothing was wrong with it.
    Soaked {
        /// 1 or 2, as above.
        half: u8,
    },
    /// It goes back.
    TurnedBack {
        /// Why.
        cause: Cause,
        /// By which rule.
        rule: Rule,
        /// Which way.
        leg: Leg,
    },
    /// It is over.
    Finished(Outcome),
}

/// Why the way forward ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A1: more slots failed in this deploy than may. A4: one that cannot be reached is one that failed.
    #[error("{failed} slots failed, and {allowed} may")]
    TooManyFailed {
        /// So many did, over the whole deploy.
        failed: u32,
        /// So many may.
        allowed: u32,
    },
    /// A2: a slot of those that go first failed.
    #[error("slot `{slot}`, one of the first, failed: {sickness}")]
    FirstHalf {
        /// Which.
        slot: SlotName,
        /// Why.
        sickness: Sickness,
    },
    /// A3: fewer slots serve than have to.
    #[error("{serving} slots serve, and {floor} have to")]
    BelowFloor {
        /// So many do.
        serving: u32,
        /// So many have to.
        floor: u32,
    },
    /// A3: the next batch cannot be taken out, because others went out of themselves.
    #[error("{serving} slots would serve without the next ones, and {floor} have to")]
    NoRoom {
        /// So many would.
        serving: u32,
        /// So many have to.
        floor: u32,
    },
    /// A5: too many requests fail at the new release.
    #[error("{new} of a thousand requests fail at the new release, and {old} did at the old one")]
    Errors {
        /// Of a thousand, since it was let in.
        new: u64,
        /// Of a thousand.
        old: u64,
    },
    /// A6: something was not done in time.
    #[error("the {0} deadline is over")]
    Overdue(Deadline),
    /// A7: the target's approval was revoked.
    #[error("the approval of the release was revoked")]
    Revoked,
    /// A8: somebody asked for it.
    #[error("it was stopped: {0}")]
    Asked(String),
    /// The migration failed, with this status; 125 if its container could not be made.
    #[error("the migration ended with status {0}")]
    Migration(i64),
}

/// Which time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// For one half or batch.
    #[error("batch's")]
    Half,
    /// For all.
    #[error("deploy's")]
    Total,
    /// For the time in which requests meet two releases.
    #[error("mixing")]
    Mix,
}

impl Cause {
    /// Its name among the thresholds; a failed migration is none of them.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooManyFailed { .. } => "A1",
            Self::FirstHalf { .. } => "A2",
            Self::BelowFloor { .. } | Self::NoRoom { .. } => "A3",
            Self::Errors { .. } => "A5",
            Self::Overdue(_) => "A6",
            Self::Revoked => "A7",
            Self::Asked(_) => "A8",
            Self::Migration(_) => "migration",
        }
    }
}

/// How a deploy goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Nobody saw the new release: the first ones are put back.
    R1,
    /// All others are as they were: halves are swapped back in one line, and of batches the first is put back.
    R2,
    /// Others are replaced, too: to the last release that finished its soak.
    R3,
}

/// How a deploy ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target serves at every slot.
    Done,
    /// The target serves, but these slots failed and are out.
    Degraded(Vec<SlotName>),
    /// What was before serves again. Never a success (R7).
    RolledBack {
        /// Why.
        cause: Cause,
        /// Slots that could not be reached, and are out.
        out: Vec<SlotName>,
    },
    /// The same, after a migration that failed: the schema may be changed by half.
    MigrationFailed {
        /// Its status.
        status: i64,
        /// Slots that could not be reached, and are out.
        out: Vec<SlotName>,
    },
    /// Everything is left as it is, for a person.
    Held(Hold),
    /// Another process has a higher fence: nothing was done, and the journal is its own.
    Superseded,
    /// The lock is not ours any more, and nobody has a higher fence.
    LockLost,
}

/// Why a deploy is left to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// It cannot be known whether the migration ran.
    #[error("the migration was started and its container is gone: nobody knows whether it ran")]
    MigrationUnknown,
    /// It runs for longer than it may.
    #[error("the migration still runs after its time")]
    MigrationOverdue,
    /// R4: a breaking migration was begun.
    #[error("a breaking migration was begun, and there is no way back by itself: {0}")]
    Breaking(Cause),
    /// There is no release to go back to.
    #[error("there is no release to go back to: {0}")]
    NoWayBack(Cause),
    /// R8: what would be gone back to is not allowed.
    #[error("the release to go back to was revoked: {0}")]
    BackRevoked(Cause),
    /// R6: going back failed, too.
    #[error("going back failed, too, at {} slots", .0.len())]
    RollbackFailed(Vec<SlotName>),
    /// Going back would leave fewer slots that serve than have to.
    #[error("going back would leave fewer slots that serve than have to")]
    RollbackBelowFloor,
    /// Going back takes too long, or somebody stopped it.
    #[error("going back was ended: {0}")]
    RollbackEnded(Cause),
    /// A balancer does not answer, or does not do what it is told.
    #[error("a balancer does not answer, or does not do as it is told")]
    Balancer,
    /// A5: too few requests came to say anything about the new release.
    #[error("{requests} requests came while the release was watched, too few to say anything")]
    Inconclusive {
        /// So many.
        requests: u64,
    },
}

impl Hold {
    /// What a person can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::MigrationUnknown | Self::MigrationOverdue | Self::Breaking(_) => {
                "look at the database, and then deploy again or roll back by hand"
            }
            Self::NoWayBack(_) | Self::BackRevoked(_) => "deploy another release",
            Self::RollbackFailed(_) | Self::RollbackBelowFloor | Self::RollbackEnded(_) => {
                "look at the slots that are out, and then deploy again"
            }
            Self::Balancer => "look at the balancer, and then deploy again",
            Self::Inconclusive { .. } => "deploy again with traffic, or take `errors` out of the environment",
        }
    }
}

impl Outcome {
    /// The exit status of the command.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Superseded | Self::LockLost => 7,
            Self::RolledBack { .. } => 8,
            Self::Held(_) => 9,
            Self::Degraded(_) => 10,
            Self::MigrationFailed { .. } => 11,
        }
    }
}
