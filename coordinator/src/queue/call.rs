//! The words between a session and the queue: what a step says, what a reply says, and what a queue is made of.
//!
//! Plain data. A test is named by its ordinal alone, because names cross once, elsewhere, when a unit declares its tests.

use std::collections::BTreeMap;

use crate::model::event::Superseded;
use crate::model::{Fence, Manifest, SessionId, ShardId, SuiteId, UnitId, UnitKind};

/// Which life of the queue a step is meant for: random, new whenever the queue is filled anew. A store that lost its data has lost this too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u128);

/// All ids of a file, in short. Two loads of one file must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listing {
    /// The first half of the blake3 of the ids, each with its length before it.
    pub hash: [u8; 16],
    /// How many they are.
    pub count: u32,
}

impl Listing {
    /// The listing of these ids.
    pub fn of<S: AsRef<str>>(ids: &[S]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for id in ids.iter().map(AsRef::as_ref) {
            hasher.update(&(id.len() as u64).to_le_bytes());
            hasher.update(id.as_bytes());
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self { hash, count: u32::try_from(ids.len()).unwrap_or(u32::MAX) }
    }
}

/// What the queue knows of a unit from the start. Its id is its place in the list, and its turn too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUnit {
    /// Only sessions of this suite can run it.
    pub suite: SuiteId,
    /// How long it will take, loading included; absent when nothing is known.
    pub predicted_ms: Option<u64>,
    /// What it is.
    pub role: Role,
}

/// What a unit is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It stands alone.
    Plain,
    /// A slice of the file with this number; all slices of it must see the same listing.
    Slice(u32),
    /// All of the file with this number, dormant until its slices disagree.
    Fallback(u32),
    /// Another attempt at tests that failed in this shard: added when they had, and rather for another one.
    Retry {
        /// Where they failed.
        rather_not: ShardId,
    },
}

impl QueueUnit {
    /// The units of a manifest, slices and fallback of one file joined by its name.
    pub fn of(manifest: &Manifest) -> Vec<Self> {
        let mut files = BTreeMap::new();
        let mut number = |file: &str| {
            let next = u32::try_from(files.len()).unwrap_or(u32::MAX);
            *files.entry(file.to_owned()).or_insert(next)
        };
        let role = |unit: &crate::model::Unit| match unit.kind {
            UnitKind::File | UnitKind::Part { .. } => Role::Plain,
            UnitKind::Slice { .. } => Role::Slice(number(&unit.file)),
            UnitKind::Fallback => Role::Fallback(number(&unit.file)),
        };
        let roles: Vec<_> = manifest.units.iter().map(role).collect();
        manifest.units.iter().zip(roles).map(|(unit, role)| Self { suite: unit.suite, predicted_ms: unit.predicted_ms, role }).collect()
    }
}

/// What may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A session without a step for so long has lost its leases.
    pub lease_ms: u64,
    /// How many sessions a test may take with it before it is final as crashed; at least 1.
    pub max_losses: u32,
    /// Upper bound of a batch's predicted time.
    pub batch_ms: u64,
    /// For each suite, how many units one command of a tool takes that starts anew for each batch; 1 for a framework that is started once. Starting may cost
    /// more than the tests, and nobody knows how much: such batches are a share of what is left, unknown units too, and none begins before the last ends.
    pub together: Vec<u32>,
    /// How many sessions there will be at a time: batches shrink towards the end so that all of them end together.
    pub shards: u32,
}

impl Policy {
    /// The defaults, for so many shards.
    pub fn for_shards(shards: u32) -> Self {
        Self { lease_ms: 20_000, max_losses: 2, batch_ms: 1_500, together: Vec::new(), shards }
    }

    /// How many units go into a command of this suite.
    pub(super) fn together(&self, suite: SuiteId) -> u32 {
        usize::try_from(suite.0).ok().and_then(|suite| self.together.get(suite)).copied().unwrap_or(1)
    }
}

/// What a session tells and asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which queue it means.
    pub epoch: Epoch,
    /// Who it is.
    pub session: SessionId,
    /// What it can run: the same in all its steps.
    pub suite: SuiteId,
    /// 1 for a session's first step, then one more each time. A step whose reply was lost is sent again with the same number.
    pub seq: u64,
    /// How units ended.
    pub results: Vec<UnitResult>,
    /// What runs at present. Marks name the culprit if the whole host is lost; the newest replaces the older ones.
    pub started: Vec<Started>,
    /// Units given back that were never begun.
    pub release: Vec<(UnitId, Fence)>,
    /// How many more units it would take; 0 makes the step a heartbeat.
    pub want: u32,
    /// The session is over: what it still holds goes back, as begun if marked, as never begun if not.
    pub close: bool,
}

impl Step {
    /// A heartbeat, to be filled in.
    pub fn new(epoch: Epoch, session: SessionId, seq: u64) -> Self {
        let suite = SuiteId::default();
        Self { epoch, session, suite, seq, results: Vec::new(), started: Vec::new(), release: Vec::new(), want: 0, close: false }
    }
}

/// How a leased unit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitResult {
    /// Which.
    pub unit: UnitId,
    /// Under which lease.
    pub fence: Fence,
    /// How.
    pub end: End,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every test that the lease asked for was reported, and the driver said the unit's end.
    Complete(Listing),
    /// The session was lost after the unit was begun.
    Partial(Partial),
}

/// What is known of a unit whose session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// Its ids, if it had declared them; without, `final_below` counts for nothing.
    pub listing: Option<Listing>,
    /// Every test of the lease with a lower ordinal was reported. (In a slice: the first selected ordinal that was not.)
    pub final_below: u32,
    /// What ran when the session was lost; absent if nothing of this unit.
    pub suspect: Option<Suspect>,
    /// The lease has tests after the suspect.
    pub rest: bool,
    /// Whose doing it was.
    pub cause: Cause,
}

/// What is under suspicion of having taken a session with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspect {
    /// A test.
    Test(u32),
    /// The loading of the unit.
    Loading,
}

/// Why a session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The process died by itself: exit, signal, memory.
    Test,
    /// The worker ended it because the test took too long: the suspect is final at once. A unit that went down beside it, without one, only counts a loss.
    Deadline,
    /// Container killed, engine or host gone. Counts, too: a run that goes on for ever proves nothing either.
    Outside,
}

/// What runs at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Of which unit.
    pub unit: UnitId,
    /// Under which lease.
    pub fence: Fence,
    /// What of it.
    pub at: Suspect,
}

/// What the queue answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Units to run, in this order, after those held already.
    pub leases: Vec<Lease>,
    /// What the step decided, in order.
    pub facts: Vec<Fact>,
    /// Whether there will be more.
    pub state: State,
    /// What is left.
    pub remaining: Remaining,
}

/// A unit given to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which.
    pub unit: UnitId,
    /// Under which fence.
    pub fence: Fence,
    /// Tests with a lower ordinal are final.
    pub from: u32,
    /// Tests from this ordinal on do not run in this lease: that one crashed, and what is behind it comes later.
    pub until: Option<u32>,
    /// Alone: a session was lost with it before.
    pub suspect: bool,
}

/// What a step decided; the caller makes events of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The unit is through, and what was reported under this fence counts.
    Finished {
        /// Which.
        unit: UnitId,
        /// Under which lease.
        fence: Fence,
    },
    /// What was reported under this fence below `final_below` counts; the unit is not through.
    Interrupted {
        /// Which.
        unit: UnitId,
        /// Under which lease.
        fence: Fence,
        /// First ordinal that does not count.
        final_below: u32,
        /// What ran when the session was lost; absent also when the lease ended before a crashed test, as it should.
        suspect: Option<Suspect>,
    },
    /// The suspect is final, as crashed.
    Crashed {
        /// Of which unit.
        unit: UnitId,
        /// Under which lease last.
        fence: Fence,
        /// What.
        suspect: Suspect,
        /// Whose doing the last loss was.
        cause: Cause,
    },
    /// The unit is final although tests of it never ran: it could not be loaded, or its ids change so that it cannot go on in the middle. Always after `Crashed`.
    GivenUp {
        /// Which.
        unit: UnitId,
    },
    /// All that counted of this unit is void, crashes too. A slice is out for good, its fallback runs; any other unit starts anew.
    Superseded {
        /// Which.
        unit: UnitId,
        /// Why.
        reason: Superseded,
    },
    /// A result came under a fence that is not the unit's any more, and changed nothing.
    Overtaken {
        /// Which.
        unit: UnitId,
        /// Under which lease.
        fence: Fence,
    },
    /// A session was silent for too long and is over. If it lives, its next step is refused.
    SessionExpired {
        /// Which.
        session: SessionId,
    },
}

/// Whether a queue has more to give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Units are waiting or held. A session that got none may ask again later.
    #[default]
    Open,
    /// Cancelled: nothing is given out any more, results are still taken.
    Cancelled,
    /// Every unit is final. Whether that is the end is known to whoever may add another attempt.
    Closed,
}

/// What is not final yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Units that wait.
    pub pending: u32,
    /// Units that are held.
    pub leased: u32,
}

/// Why a queue cannot be made of these units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A sliced file needs slices and one fallback.
    #[error("file {0} of the manifest does not have slices and exactly one fallback")]
    Unpaired(u32),
}

impl QueueError {
    /// What the caller can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unpaired(_) => "report this as a bug of splitci",
        }
    }
}

/// Why a step was refused. A refused step changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The queue was filled anew since.
    #[error("the queue holds another epoch of the run")]
    EpochLost,
    /// A step between is missing, or this one is old.
    #[error("step {got} of session {session} came where step {expected} was due")]
    OutOfOrder {
        /// Whose.
        session: SessionId,
        /// What was due.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// The session closed or expired; its leases are gone.
    #[error("session {0} is over")]
    SessionOver(SessionId),
    /// No such unit in the manifest.
    #[error("unit {} is not in the manifest", .0.0)]
    UnknownUnit(UnitId),
}

impl StepError {
    /// What the caller can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::EpochLost => "hand in results again to the queue's new epoch, or end the run without a verdict",
            Self::OutOfOrder { .. } => "repeat the last step with its own number until it is answered",
            Self::SessionOver(_) => "end the framework's process and begin a new session",
            Self::UnknownUnit(_) => "report this as a bug of splitci",
        }
    }
}
