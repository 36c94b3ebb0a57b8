//! The state machine: from what is observed and what the journal says, what is to happen next.
//!
//! It holds no state. Each call goes down the same list, and the first item that is not so yet says what to do about it; hence a process that dies anywhere is followed by
//! another that finds the same item. The way back is the same list with another goal: which slots are near it makes the difference between R1, R2 and R3.
//!
//! | in | is |
//! |---|---|
//! | `slot` | one slot on its way to a release, step by step |
//! | `halves` | both halves: brought near, swapped, let in, tidied up |
//! | `workers` | those that no balancer knows of |
//! | `migration` | what is run once |
//! | `watch` | a half that was let in, and its errors (A5) |
//! | `ends` | when the way forward ends (A1 to A8), and what happens then (R1 to R9) |

mod ends;
mod halves;
mod migration;
mod slot;
mod watch;
mod workers;

use super::journal::Journal;
use super::past::Past;
use super::plan::Plan;
use super::words::{Decision, Effect, Hold, Leg, Next, Outcome, Waiting};
use super::world::{Lock, World};
use crate::model::Fence;
use crate::model::environment::Environment;

/// What was just tried is not tried again for so long, in milliseconds: the world is given time to show it.
pub const PAUSE_MS: u64 = 500;

/// A deploy, as one process carries it out.
#[derive(Debug, Clone)]
pub struct Machine {
    plan: Plan,
    fence: Fence,
}

impl Machine {
    /// A process with this fence, which must be higher than all before it.
    pub fn new(plan: Plan, fence: Fence) -> Self {
        Self { plan, fence }
    }

    /// What is to happen next, at `now_ms` since 1970. Asked twice about the same, it says the same.
    pub fn next(&self, journal: &Journal, world: &World, now_ms: u64) -> Next {
        let past = Past::of(journal, &self.plan.deploy);
        if let Some(outcome) = past.finished {
            return Next::Done(outcome.clone());
        }
        // Whoever was overtaken stops at once, whatever it was about to do (I12).
        if world.fence > self.fence || journal.fence() > self.fence {
            return Next::Done(Outcome::Superseded);
        }
        if world.lock != Lock::Held(self.plan.deploy.clone()) {
            return Next::Done(Outcome::LockLost);
        }
        if past.began.is_none() {
            return Next::Record(Decision::Began(Box::new(self.plan.course.clone())));
        }
        match past.leg() {
            Some((since, leg)) => Way { plan: &self.plan, past: &past, world, now: now_ms, since, leg }.next(),
            None => Next::Record(Decision::Finished(Outcome::Done)),
        }
    }
}

/// One look at a deploy on its way.
struct Way<'a> {
    plan: &'a Plan,
    past: &'a Past<'a>,
    world: &'a World,
    now: u64,
    /// When the leg began.
    since: u64,
    leg: &'a Leg,
}

impl Way<'_> {
    /// The list. What comes first is what must be so before anything else is looked at.
    fn next(&self) -> Next {
        self.balancers()
            .or_else(|| self.keep_out())
            .or_else(|| self.ends())
            .or_else(|| self.prefetch())
            .or_else(|| self.first_half())
            .or_else(|| self.migrate())
            .or_else(|| self.swap())
            .or_else(|| self.watch(1))
            .or_else(|| self.workers())
            .or_else(|| self.second_half())
            .or_else(|| self.watch(2))
            .or_else(|| self.tidy())
            .unwrap_or_else(|| Next::Record(Decision::Finished(self.outcome())))
    }

    fn environment(&self) -> &Environment {
        &self.plan.environment
    }

    /// Whether it is on its way back.
    fn back(&self) -> bool {
        self.past.back.is_some()
    }

    /// Nothing is done blindly: with a balancer that does not answer everything waits, and then is held.
    fn balancers(&self) -> Option<Next> {
        if self.world.balancers_answer() {
            return None;
        }
        Some(if self.now >= self.stalled_at() {
            hold(Hold::Balancer)
        } else {
            Next::Wait { until_ms: self.stalled_at(), why: Waiting::Balancer }
        })
    }

    /// Since when whoever does not answer has held everything up for too long: counted from what last went well, or from when this process took over.
    fn stalled_at(&self) -> u64 {
        self.past.progress.max(self.past.resumed.unwrap_or(0)).saturating_add(self.environment().deadlines.step_ms)
    }

    /// Carries these out, but for those that were just tried. A balancer that goes on refusing is not told for ever.
    fn act(&self, effects: Vec<Effect>) -> Option<Next> {
        let tried = |effect: &Effect| self.past.last_end(effect);
        let again_at = |effect: &Effect| tried(effect).map_or(0, |at| at.saturating_add(PAUSE_MS));
        let until_ms = effects.iter().map(again_at).min()?;
        let vain = |effect: &Effect| !effect.turns().is_empty() && tried(effect).is_some();
        if self.now >= self.stalled_at() && effects.iter().any(vain) {
            return Some(hold(Hold::Balancer));
        }
        let due: Vec<_> = effects.into_iter().filter(|effect| again_at(effect) <= self.now).collect();
        Some(if due.is_empty() { Next::Wait { until_ms, why: Waiting::Pause } } else { Next::Act(due) })
    }
}

/// It is left to a person.
fn hold(why: Hold) -> Next {
    Next::Record(Decision::Finished(Outcome::Held(why)))
}
