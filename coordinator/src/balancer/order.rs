//! The order in which a server comes in or goes out. Observations and time in, the next thing to be told out; whoever looks and tells is somebody else.
//!
//! - **In**: maintenance, (replaced meanwhile), drain, until the balancer's own checks have brought its health from what it was given to all that it can
//!   be; that is a proof, and a proof can be made `ready`.
//! - **Out**: drain, until nothing is in flight or it is too late, maintenance.
//! - **Swap**: the proven ones ready and the others drained, in one line.
//!
//! Out of maintenance a server is given health that nobody checked, and the result of the last check is the one of whoever was there before. So full health
//! counts only after health that was less has been seen since maintenance: what was between can only be checks that passed. One that seems healthy at
//! once goes through maintenance again, since the first look may have come late; after some times it is refused. Whatever undoes a step
//! meanwhile, such as a reload, makes it begin again.

use super::change::{Change, Place};
use super::server::Server;

/// How often a server may seem healthy at once.
const TIMES_AT_ONCE: u32 = 5;

/// What is next for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the balancer this, and look again.
    Send(Change),
    /// Look again later.
    Wait,
    /// It is where it was to go.
    Done,
    /// It will not get there by itself. It is as it was observed last.
    Halt(Halt),
}

/// Why a server does not get where it was to go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The backend has no such server any more.
    #[error("`{place}` is not in the balancer any more")]
    Gone {
        /// Which.
        place: Place,
    },
    /// Its checks do not pass.
    #[error("`{place}` is not healthy in time: its health is {health}, its last check says `{says}`")]
    Sick {
        /// Which.
        place: Place,
        /// What it has; less than all that it can be.
        health: u32,
        /// The last check, in the balancer's words.
        says: String,
    },
    /// It is taken for healthy without a check.
    #[error("`{place}` has full health whenever it leaves maintenance, before anybody checked it")]
    Unprovable {
        /// Which.
        place: Place,
    },
}

impl Halt {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Gone { .. } => None,
            Self::Sick { place, .. } => {
                Some(format!("ask `{place}` what HAProxy asks it, with `curl`, and look at the log of its instance"))
            }
            Self::Unprovable { place } => Some(format!("set `fall 2` or more and no `init-state fully-up` of `server {}`", place.server)),
        }
    }
}

/// A server on its way.
pub trait Walk {
    /// Which server.
    fn place(&self) -> &Place;

    /// What is next, by what is seen of it: nothing, if the balancer has it no more. Times are milliseconds of one clock.
    fn step(&mut self, now_ms: u64, server: Option<&Server>) -> Step;
}

/// A server on its way in, as far as the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    place: Place,
    until_ms: u64,
    stage: Stage,
    times: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is to be seen in maintenance.
    Shut,
    /// It is watched as it is: its health counts.
    Watched,
    /// It is drained and checked. Whether its health was seen to be less than full since then.
    Listening {
        rising: bool,
    },
    Proven,
}

/// The balancer's own checks say that a server is healthy. Good for being made ready at once: it says nothing of later.
#[derive(Debug, PartialEq, Eq)]
pub struct Proven(Place);

impl Proven {
    /// For whoever has nothing but what is observed now: a server that the balancer checks and sends nothing to, with all the health there is. It came out of
    /// maintenance with less, so checks passed since; where one failed check takes a server down it does not come with less, and there is no such proof.
    pub fn seen(server: &Server) -> Option<Self> {
        let shut = server.admin.is_drain() && !server.admin.is_maintenance();
        let tells = server.check.thresholds.is_some_and(|thresholds| thresholds.fall > 1);
        (shut && tells && server.is_healthy()).then(|| Self(server.place.clone()))
    }

    /// Which server.
    pub fn place(&self) -> &Place {
        &self.0
    }
}

impl Entrance {
    /// For a server whose instance was replaced, or is not known. It goes through maintenance first, wherever it is.
    pub fn replaced(place: Place, until_ms: u64) -> Self {
        Self { place, until_ms, stage: Stage::Shut, times: 0 }
    }

    /// For a server whose instance is the one it always was, drained at most: its health never stopped being watched, and counts.
    pub fn kept(place: Place, until_ms: u64) -> Self {
        Self { place, until_ms, stage: Stage::Watched, times: 0 }
    }

    /// The proof, once it is done.
    pub fn proof(&self) -> Option<Proven> {
        (self.stage == Stage::Proven).then(|| Proven(self.place.clone()))
    }

    fn shut(&mut self) -> Step {
        self.stage = Stage::Shut;
        Step::Send(Change::maint(self.place.clone()))
    }

    fn watch(&mut self, server: &Server) -> Step {
        match (server.admin.is_maintenance(), server.is_healthy()) {
            (true, _) => self.begin_to_listen(),
            (false, true) => self.prove(),
            (false, false) => Step::Wait,
        }
    }

    fn listen(&mut self, server: &Server, rising: bool) -> Step {
        if server.admin.is_forced_maintenance() {
            // What was told is lost, or somebody else told otherwise.
            return self.begin_to_listen();
        }
        if !server.admin.is_drain() {
            return self.shut();
        }
        match (server.is_healthy(), rising) {
            (true, true) => self.prove(),
            (true, false) => self.again(),
            (false, _) => {
                self.stage = Stage::Listening { rising: rising || server.check.is_low() };
                Step::Wait
            }
        }
    }

    fn begin_to_listen(&mut self) -> Step {
        self.stage = Stage::Listening { rising: false };
        Step::Send(Change::drain(self.place.clone()))
    }

    fn prove(&mut self) -> Step {
        self.stage = Stage::Proven;
        Step::Done
    }

    fn again(&mut self) -> Step {
        self.times += 1;
        if self.times >= TIMES_AT_ONCE { Step::Halt(Halt::Unprovable { place: self.place.clone() }) } else { self.shut() }
    }
}

impl Walk for Entrance {
    fn place(&self) -> &Place {
        &self.place
    }

    fn step(&mut self, now_ms: u64, server: Option<&Server>) -> Step {
        let Some(server) = server else { return Step::Halt(Halt::Gone { place: self.place.clone() }) };
        let step = match self.stage {
            Stage::Proven => return Step::Done,
            Stage::Shut if server.admin.is_forced_maintenance() => self.begin_to_listen(),
            Stage::Shut => self.shut(),
            Stage::Watched => self.watch(server),
            Stage::Listening { rising } => self.listen(server, rising),
        };
        if step != Step::Done && !matches!(step, Step::Halt(_)) && now_ms >= self.until_ms {
            let (health, says) = (server.check.health, server.check.says.clone());
            return Step::Halt(Halt::Sick { place: self.place.clone(), health, says });
        }
        step
    }
}

/// A server on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    place: Place,
    until_ms: u64,
    left: u32,
}

impl Exit {
    /// Waits until then for what is in flight.
    pub fn new(place: Place, until_ms: u64) -> Self {
        Self { place, until_ms, left: 0 }
    }

    /// How many requests were still in flight when it was waited no longer. They are not cut by that: whoever stops the instance cuts them, or lets it
    /// finish.
    pub fn left(&self) -> u32 {
        self.left
    }
}

impl Walk for Exit {
    fn place(&self) -> &Place {
        &self.place
    }

    fn step(&mut self, now_ms: u64, server: Option<&Server>) -> Step {
        let Some(server) = server else { return Step::Halt(Halt::Gone { place: self.place.clone() }) };
        let at_work = server.load.in_flight.saturating_add(server.load.queued);
        if server.admin.is_forced_maintenance() {
            return Step::Done;
        }
        if !server.admin.is_drain() {
            return Step::Send(Change::drain(self.place.clone()));
        }
        if at_work > 0 && now_ms < self.until_ms {
            return Step::Wait;
        }
        self.left = at_work;
        Step::Send(Change::maint(self.place.clone()))
    }
}

/// One half for the other, in one line: first those that come, so that there is never nobody.
pub fn swap(coming: Vec<Proven>, leaving: &[Place]) -> Vec<Change> {
    let ready = coming.into_iter().map(|proven| Change::ready(proven.0));
    ready.chain(leaving.iter().cloned().map(Change::drain)).collect()
}
