//! A session as it is in life: it runs what it was given, one test after the other, buffers results, dies, and repeats a step until it is answered.

use std::collections::VecDeque;

use splitci_coordinator::model::{Fence, SessionId, SuiteId, UnitId};
use splitci_coordinator::queue::{Cause, End, Epoch, Lease, Partial, Reply, Started, State, Step, Suspect, UnitResult};

use super::dice::Dice;
use super::judge::Judge;
use super::suite::{Load, Nature, Suite};

/// A framework process and the agent that speaks for it.
#[derive(Debug)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// What it can run.
    suite: SuiteId,
    /// Its number of steps so far.
    seq: u64,
    /// The step that was not answered yet.
    pub waiting: Option<Step>,
    work: VecDeque<Work>,
    results: Vec<UnitResult>,
    /// The process is gone; what is left is to say so.
    dead: bool,
    /// Stopped until then.
    pub frozen_until: u64,
    /// Nothing more will come of it: it closed, or its host is gone.
    pub over: bool,
}

/// A unit in its hands.
#[derive(Debug)]
struct Work {
    lease: Lease,
    load: Option<Load>,
    /// Ordinals that have not ended, in order.
    left: VecDeque<u32>,
    /// Ended, but only the process knows.
    buffered: Vec<u32>,
}

impl Work {
    fn unit(&self) -> usize {
        place(self.lease.unit)
    }
}

/// A unit's place in the manifest.
pub fn place(unit: UnitId) -> usize {
    usize::try_from(unit.0).unwrap_or(usize::MAX)
}

impl Session {
    /// A new one.
    pub fn new(id: SessionId, suite: SuiteId) -> Self {
        Self { id, suite, seq: 0, waiting: None, work: VecDeque::new(), results: Vec::new(), dead: false, frozen_until: 0, over: false }
    }

    /// Whether its process has something to run.
    pub fn is_busy(&self) -> bool {
        !self.dead && !self.work.is_empty()
    }

    /// Runs the next thing: a loading, or a test.
    pub fn run(&mut self, suite: &mut Suite, judge: &mut Judge, dice: &mut Dice) {
        let Some(work) = self.work.front_mut() else { return };
        let unit = work.unit();
        if work.load.is_none() {
            match suite.run_loading(unit) {
                Nature::Fine => {}
                nature => return self.fail(suite, judge, nature),
            }
            let load = suite.load(unit);
            let until = work.lease.until.unwrap_or(u32::MAX);
            work.left = suite.selected(unit, load).into_iter().filter(|ordinal| (work.lease.from..until).contains(ordinal)).collect();
            work.load = Some(load);
            judge.declared(&work.lease, load);
        } else if let Some(&ordinal) = work.left.front() {
            match suite.run(unit, ordinal) {
                Nature::Fine => {}
                nature => return self.fail(suite, judge, nature),
            }
            work.left.pop_front();
            work.buffered.push(ordinal);
            // A suspect's unit reports every test at once; elsewhere results wait.
            if work.lease.suspect || dice.chance(300) {
                work.flush(judge);
            }
        }
        self.end_unit(suite, judge);
    }

    fn fail(&mut self, suite: &Suite, judge: &mut Judge, nature: Nature) {
        match nature {
            Nature::Fine => {}
            Nature::Poison | Nature::Fragile => self.die(suite, judge, Cause::Test),
            Nature::Hangs => self.die(suite, judge, Cause::Deadline),
            Nature::TakesHost => self.over = true,
        }
    }

    fn end_unit(&mut self, suite: &Suite, judge: &mut Judge) {
        let Some(work) = self.work.front_mut() else { return };
        let Some(load) = work.load.filter(|_| work.left.is_empty()) else { return };
        work.flush(judge);
        let end = End::Complete(suite.listing(work.unit(), load));
        self.results.push(UnitResult { unit: work.lease.unit, fence: work.lease.fence, end });
        self.work.pop_front();
    }

    /// The process dies while its agent lives: what ran is known from the slot, what was buffered is lost.
    pub fn die(&mut self, suite: &Suite, judge: &mut Judge, cause: Cause) {
        self.dead = true;
        let Some(work) = self.work.front() else { return };
        if cause == Cause::Outside && work.load.is_none() && work.left.is_empty() && judge.coin() {
            // It had not begun.
            return;
        }
        let ran = work.left.front().copied();
        let suspect = if work.load.is_some() { ran.map(Suspect::Test) } else { Some(Suspect::Loading) };
        let reported = work.buffered.first().copied().or(ran).unwrap_or(u32::MAX);
        let partial = Partial {
            listing: work.load.map(|load| suite.listing(work.unit(), load)),
            final_below: reported,
            suspect,
            rest: work.load.is_none() || work.left.len() > 1,
            cause,
        };
        judge.died(&work.lease, suspect, cause);
        self.results.push(UnitResult { unit: work.lease.unit, fence: work.lease.fence, end: End::Partial(partial) });
        self.work.pop_front();
    }

    /// Says what there is to say, or says it again. One that has nothing to do may close, for its shard to go to another suite.
    pub fn speak(&mut self, epoch: Epoch, may_close: bool, dice: &mut Dice) -> Step {
        if let Some(step) = &self.waiting {
            return step.clone();
        }
        self.seq += 1;
        let mut step = Step { suite: self.suite, ..Step::new(epoch, self.id, self.seq) };
        step.results = std::mem::take(&mut self.results);
        if self.dead {
            step.close = true;
            step.release = self.work.drain(..).map(|work| work.name()).collect();
        } else if may_close && self.work.is_empty() && dice.chance(200) {
            step.close = true;
        } else {
            step.want = dice.below(6);
            step.started = self.work.front().filter(|_| dice.chance(700)).and_then(Work::mark).into_iter().collect();
            if dice.chance(40) {
                step.release = self.work.pop_back_if(|work| work.load.is_none()).map(|work| work.name()).into_iter().collect();
                step.started.retain(|mark| step.release.iter().all(|&(unit, _)| unit != mark.unit));
                step.want = 0;
            }
        }
        self.waiting = Some(step.clone());
        step
    }

    /// Takes the answer to its step.
    pub fn hear(&mut self, reply: &Reply) {
        self.over |= self.waiting.take().is_some_and(|step| step.close);
        let work = |&lease: &Lease| Work { lease, load: None, left: VecDeque::new(), buffered: Vec::new() };
        self.work.extend(reply.leases.iter().map(work));
        self.dead |= reply.state != State::Open && self.work.is_empty();
    }
}

impl Work {
    fn name(&self) -> (UnitId, Fence) {
        (self.lease.unit, self.lease.fence)
    }

    fn mark(&self) -> Option<Started> {
        let at = if self.load.is_some() { Suspect::Test(*self.left.front()?) } else { Suspect::Loading };
        Some(Started { unit: self.lease.unit, fence: self.lease.fence, at })
    }

    fn flush(&mut self, judge: &mut Judge) {
        for ordinal in self.buffered.drain(..) {
            judge.reported(&self.lease, ordinal);
        }
    }
}
