//! The simulated ones: what is true in a world, and a shard's worker, driver and framework in one, which do one thing at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use splitci_worker::protocol::message::{Ended, FinishedTest, FromWorker, RunUnit, ToWorker};

use crate::model::{Exit, Outcome, Select, Slot};

/// What is true in a world.
pub(super) struct World {
    pub(super) tests: Vec<u32>,
    pub(super) suites: usize,
    pub(super) poison: BTreeSet<(u32, u32)>,
    pub(super) failing: BTreeSet<(u32, u32)>,
    /// Tests that fail so often, and then pass.
    pub(super) flaky: BTreeMap<(u32, u32), u32>,
    /// How often each was run, whether anybody heard of it or not.
    pub(super) runs: RefCell<BTreeMap<(u32, u32), u32>>,
    pub(super) retries: u32,
    /// Tests at which something was killed from outside: never twice at the same, or it would rightly count as a crash.
    pub(super) hit: BTreeSet<(u32, u32)>,
    pub(super) kills_left: usize,
}

/// A simulated shard: worker, driver and framework in one.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "what a process can be, told apart")]
pub(super) struct Machine {
    pub(super) live: bool,
    pub(super) outbox: VecDeque<FromWorker>,
    pub(super) session: u32,
    pub(super) suite: usize,
    pub(super) work: VecDeque<RunUnit>,
    /// The unit that runs, what is left of it, and how much of it is done.
    pub(super) at: Option<(RunUnit, VecDeque<u32>, u32)>,
    pub(super) count: u64,
    pub(super) finishing: bool,
    pub(super) running: bool,
    pub(super) any_bad: bool,
}

impl Machine {
    pub(super) fn slot(&self) -> Slot {
        match &self.at {
            Some((unit, left, _)) => match left.front() {
                Some(next) => Slot::Test { unit: unit.unit, ordinal: *next },
                None => Slot::Idle,
            },
            None => Slot::Idle,
        }
    }

    /// The driver does one thing.
    pub(super) fn act(&mut self, world: &World) {
        let session = self.session;
        match self.at.take() {
            _ if !self.running => {}
            Some((unit, mut left, done)) if !left.is_empty() => {
                let next = left[0];
                let place = (file_of(&unit.name), next);
                if world.poison.contains(&place) {
                    self.at = Some((unit, left, done));
                    return self.die(Exit::Signal(11));
                }
                let bad = world.fails(place);
                self.any_bad |= bad;
                let outcome = if bad { Outcome::Failed } else { Outcome::Passed };
                self.outbox.push_back(FromWorker::Finished { session, tests: vec![finished(&unit, next, outcome)] });
                self.count += 1;
                left.pop_front();
                self.at = Some((unit, left, done + 1));
            }
            Some((unit, _, done)) => {
                self.outbox.push_back(FromWorker::UnitEnd { session, unit: unit.unit, fence: unit.fence, count: done });
            }
            None => match self.work.pop_front() {
                Some(unit) => {
                    let all = world.tests[file_of(&unit.name) as usize];
                    let ids: Vec<String> = (0..all).map(|n| format!("t{n}")).collect();
                    let wanted = |n: &u32| match &unit.select {
                        Select::Only(only) => only.contains(&ids[*n as usize]),
                        Select::All | Select::Except(_) => true,
                    };
                    let selected: Vec<u32> = (unit.from..unit.until.unwrap_or(all).min(all)).filter(wanted).collect();
                    let left = selected.iter().copied().collect();
                    let declared = FromWorker::Declared { session, unit: unit.unit, fence: unit.fence, ids, selected: Some(selected) };
                    self.outbox.push_back(declared);
                    self.at = Some((unit, left, 0));
                }
                None if self.finishing => {
                    let status = i32::from(self.any_bad);
                    self.outbox.push_back(FromWorker::Bye { session, count: self.count, status, errors: String::new() });
                    self.end(Exit::Code(status), true);
                }
                None => {}
            },
        }
    }

    pub(super) fn die(&mut self, how: Exit) {
        self.end(how, false);
    }

    pub(super) fn end(&mut self, how: Exit, bye: bool) {
        let at = self.slot();
        let session = self.session;
        let ended = Ended { session, how, stopped: None, hello: true, bye, at, oom: false, peak_rss: 0, strays: 0, dropped_output: 0 };
        self.outbox.push_back(FromWorker::Ended(ended));
        self.running = false;
        self.at = None;
        self.work.clear();
    }

    pub(super) fn told(&mut self, message: ToWorker, world: &World) {
        match message {
            ToWorker::Start(start) => {
                let suite: usize = start.argv[0].parse().expect("a suite");
                *self = Self { live: true, session: start.session, running: true, suite, ..Self::default() };
                let units = (0..world.tests.len()).filter(|n| n % world.suites == suite).map(|n| format!("f{n}")).collect();
                let (framework, version) = ("fake".to_owned(), "1".to_owned());
                let session = self.session;
                self.outbox.push_back(FromWorker::Ready { session, framework, version, seed: 1, pid: 1, boot_ms: 1, units });
            }
            ToWorker::Run { session, units } if session == self.session => {
                let own = |unit: &RunUnit| file_of(&unit.name) as usize % world.suites == self.suite;
                assert!(units.iter().all(own), "units of another suite: {units:?}");
                self.work.extend(units);
            }
            ToWorker::Finish { session } if session == self.session => self.finishing = true,
            ToWorker::Abort { session } if session == self.session && self.running => self.die(Exit::Signal(15)),
            _ => {}
        }
    }
}

/// Files are called by their numbers.
pub(super) fn file_of(name: &str) -> u32 {
    name.trim_start_matches('f').parse().expect("a file of this world")
}

impl World {
    /// Runs a test once.
    pub(super) fn fails(&self, place: (u32, u32)) -> bool {
        let mut runs = self.runs.borrow_mut();
        let run = runs.entry(place).or_default();
        *run += 1;
        self.failing.contains(&place) || self.flaky.get(&place).is_some_and(|failures| *run <= *failures)
    }
}

fn finished(unit: &RunUnit, ordinal: u32, outcome: Outcome) -> FinishedTest {
    FinishedTest {
        unit: unit.unit,
        fence: unit.fence,
        ordinal,
        outcome,
        micros: 1,
        file: String::new(),
        line: 0,
        message: String::new(),
        output: 0,
        details: 0,
    }
}
