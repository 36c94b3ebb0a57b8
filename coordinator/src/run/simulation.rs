//! A run in a simulated world: workers and drivers that answer in any order and die at any time, from a seed.
//!
//! The world knows the truth (which tests exist, which kill their process, which fail); the run must find it out. What must hold is checked at the end
//! of each schedule, by the run's own events: green only if every test truly ran and passed under a result that counts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use splitci_worker::protocol::VERSION;
use splitci_worker::protocol::message::{Ended, FinishedTest, FromWorker, RunUnit, ToWorker};

use super::brief::Brief;
use super::machine::Run;
use super::words::{Effect, Input};
use crate::engine::ShardEnd;
use crate::model::event::{EventKind, RunEvent};
use crate::model::settings::RunSettings;
use crate::model::story;
use crate::model::verdict::Verdict;
use crate::model::{Exit, Launch, Manifest, Outcome, RunId, ShardId, Slot, Telling, Unit, UnitKind};
use crate::queue::Epoch;

/// splitmix64 (Steele, Lea, Flood 2014): enough for schedules.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("below n")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What is true in a world.
struct World {
    tests: Vec<u32>,
    poison: BTreeSet<(u32, u32)>,
    failing: BTreeSet<(u32, u32)>,
    /// Tests at which something was killed from outside: never twice at the same, or it would rightly count as a crash.
    hit: BTreeSet<(u32, u32)>,
    kills_left: usize,
}

/// A simulated shard: worker, driver and framework in one.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "what a process can be, told apart")]
struct Machine {
    live: bool,
    outbox: VecDeque<FromWorker>,
    session: u32,
    work: VecDeque<RunUnit>,
    /// The unit that runs and its next test.
    at: Option<(RunUnit, u32, u32)>,
    count: u64,
    finishing: bool,
    running: bool,
    any_bad: bool,
}

impl Machine {
    fn slot(&self) -> Slot {
        match &self.at {
            Some((unit, next, _)) => Slot::Test { unit: unit.unit, ordinal: *next },
            None => Slot::Idle,
        }
    }

    /// The driver does one thing.
    fn act(&mut self, world: &World) {
        let session = self.session;
        match self.at.take() {
            _ if !self.running => {}
            Some((unit, next, done)) if next < unit.until.unwrap_or(u32::MAX).min(world.tests[unit.unit as usize]) => {
                if world.poison.contains(&(unit.unit, next)) {
                    self.at = Some((unit, next, done));
                    return self.die(Exit::Signal(11));
                }
                let bad = world.failing.contains(&(unit.unit, next));
                self.any_bad |= bad;
                let outcome = if bad { Outcome::Failed } else { Outcome::Passed };
                self.outbox.push_back(FromWorker::Finished { session, tests: vec![finished(&unit, next, outcome)] });
                self.count += 1;
                self.at = Some((unit, next + 1, done + 1));
            }
            Some((unit, _, done)) => {
                self.outbox.push_back(FromWorker::UnitEnd { session, unit: unit.unit, fence: unit.fence, count: done });
            }
            None => match self.work.pop_front() {
                Some(unit) => {
                    let all = world.tests[unit.unit as usize];
                    let ids = (0..all).map(|n| format!("t{n}")).collect();
                    let selected = Some((unit.from..unit.until.unwrap_or(all).min(all)).collect());
                    self.outbox.push_back(FromWorker::Declared { session, unit: unit.unit, fence: unit.fence, ids, selected });
                    let from = unit.from;
                    self.at = Some((unit, from, 0));
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

    fn die(&mut self, how: Exit) {
        self.end(how, false);
    }

    fn end(&mut self, how: Exit, bye: bool) {
        let at = self.slot();
        let session = self.session;
        let ended = Ended { session, how, stopped: None, hello: true, bye, at, oom: false, peak_rss: 0, strays: 0, dropped_output: 0 };
        self.outbox.push_back(FromWorker::Ended(ended));
        self.running = false;
        self.at = None;
        self.work.clear();
    }

    fn told(&mut self, message: ToWorker, files: usize) {
        match message {
            ToWorker::Start(start) => {
                *self = Self { live: true, session: start.session, running: true, ..Self::default() };
                let units = (0..files).map(|n| format!("f{n}")).collect();
                let (framework, version) = ("fake".to_owned(), "1".to_owned());
                let session = self.session;
                self.outbox.push_back(FromWorker::Ready { session, framework, version, seed: 1, pid: 1, boot_ms: 1, units });
            }
            ToWorker::Run { session, units } if session == self.session => self.work.extend(units),
            ToWorker::Finish { session } if session == self.session => self.finishing = true,
            ToWorker::Abort { session } if session == self.session && self.running => self.die(Exit::Signal(15)),
            _ => {}
        }
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

/// One schedule from its seed: the events that were told, and the verdict.
struct Schedule {
    chance: Chance,
    world: World,
    run: Run,
    machines: BTreeMap<ShardId, Machine>,
    todo: VecDeque<Input>,
    events: Vec<RunEvent>,
    verdict: Option<Verdict>,
    now: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let tests: Vec<u32> = (0..=chance.below(8)).map(|_| u32::try_from(1 + chance.below(6)).expect("small")).collect();
        let pick = |chance: &mut Chance, odds: usize| {
            let all = (0_u32..).zip(&tests).flat_map(|(unit, n)| (0..*n).map(move |test| (unit, test)));
            all.filter(|_| chance.one_in(odds)).collect::<BTreeSet<_>>()
        };
        let poison = if chance.one_in(3) { pick(&mut chance, 12) } else { BTreeSet::new() };
        let failing = if chance.one_in(3) { pick(&mut chance, 8) } else { BTreeSet::new() };
        let kills_left = if chance.one_in(2) { chance.below(3) } else { 0 };
        let unit = |n: usize| Unit { file: format!("f{n}"), kind: UnitKind::File, predicted_ms: n.is_multiple_of(2).then_some(100) };
        let manifest = Manifest { units: (0..tests.len()).map(unit).collect() };
        let shards = u32::try_from(1 + chance.below(4)).expect("small");
        let run = Run::new(brief(shards, manifest));
        let world = World { tests, poison, failing, hit: BTreeSet::new(), kills_left };
        let todo = VecDeque::from([Input::Begin]);
        Self { chance, world, run, machines: BTreeMap::new(), todo, events: Vec::new(), verdict: None, now: 0 }
    }

    fn play(mut self) -> Self {
        for _ in 0..20_000 {
            if self.verdict.is_some() {
                return self;
            }
            self.now += self.chance.below(50) as u64;
            match self.todo.pop_front() {
                Some(input) => self.give(input),
                None => self.happen(),
            }
        }
        panic!("the run does not end: {:#?}", self.events.iter().rev().take(10).collect::<Vec<_>>());
    }

    fn give(&mut self, input: Input) {
        for effect in self.run.handle(self.now, input) {
            match effect {
                Effect::StartShard(spec) => {
                    let mut machine = Machine { live: true, ..Machine::default() };
                    machine.outbox.push_back(FromWorker::Hello { version: VERSION, pid: 1, memory_limit: None });
                    self.machines.insert(spec.shard, machine);
                    self.todo.push_back(Input::ShardStarted { shard: spec.shard, name: "x".to_owned() });
                }
                Effect::Send { shard, message, .. } => self.machines.entry(shard).or_default().told(message, self.world.tests.len()),
                Effect::EndShard(shard) => self.lose(shard),
                Effect::Tell(Telling::Event(event)) => self.events.push(event),
                Effect::Tell(Telling::Progress(_)) => {}
                Effect::Finished(verdict) => self.verdict = Some(verdict),
            }
        }
    }

    fn lose(&mut self, shard: ShardId) {
        let Some(machine) = self.machines.get_mut(&shard) else { return };
        if std::mem::take(&mut machine.live) {
            // Some of what was on its way still arrives.
            let late = std::mem::take(&mut machine.outbox).into_iter().take(self.chance.below(3));
            self.todo.extend(late.map(|message| Input::Frame { shard, message, blob: Vec::new() }));
            *machine = Machine::default();
            self.todo.push_back(Input::ShardGone { shard, end: ShardEnd::default(), garbled: None });
        }
    }

    /// One thing happens somewhere: a driver acts, a message arrives, something is killed.
    fn happen(&mut self) {
        let live: Vec<ShardId> = self.machines.iter().filter(|(_, machine)| machine.live).map(|(id, _)| *id).collect();
        if live.is_empty() {
            return self.give(Input::Tick);
        }
        let id = live[self.chance.below(live.len())];
        let machine = self.machines.get_mut(&id).expect("it is live");
        if self.world.kills_left > 0 && self.chance.one_in(30) {
            return self.kill(id);
        }
        if !machine.outbox.is_empty() && self.chance.one_in(2) {
            if let Some(message) = machine.outbox.pop_front() {
                self.give(Input::Frame { shard: id, message, blob: Vec::new() });
            }
        } else {
            machine.act(&self.world);
        }
    }

    /// From outside: the framework's process, with whatever it had not flushed, or the whole shard.
    fn kill(&mut self, id: ShardId) {
        let machine = self.machines.get_mut(&id).expect("it is live");
        // Which test a lost shard is blamed on depends on what had arrived, so nothing that is on its way there may be hit again.
        let waiting = machine.outbox.iter().filter_map(|message| match message {
            FromWorker::Declared { unit, .. } | FromWorker::UnitEnd { unit, .. } => Some(*unit),
            FromWorker::Finished { tests, .. } => tests.first().map(|test| test.unit),
            _ => None,
        });
        let units = machine.at.iter().map(|(unit, ..)| unit.unit).chain(waiting);
        let here: Vec<(u32, u32)> = units.flat_map(|unit| (0..self.world.tests[unit as usize]).map(move |test| (unit, test))).collect();
        // A session that has ended by itself and has not told it yet would be blamed on whoever kills it now.
        let dying = machine.outbox.iter().any(|message| matches!(message, FromWorker::Ended(_)));
        if dying || here.iter().any(|place| self.world.hit.contains(place) || self.world.poison.contains(place)) {
            return;
        }
        self.world.hit.extend(here);
        self.world.kills_left -= 1;
        if self.chance.one_in(2) || !machine.running {
            self.lose(id);
        } else {
            while machine.outbox.back().is_some_and(|last| matches!(last, FromWorker::Finished { .. })) && self.chance.one_in(2) {
                machine.outbox.pop_back();
            }
            machine.die(Exit::Signal(9));
        }
    }

    fn story(&self) -> String {
        let rows: Vec<String> = self.events.iter().map(|event| serde_json::to_string(event).expect("serialises")).collect();
        format!("{}\nmissing {:?}, faults {:?}", rows.join("\n"), self.run.proof().missing().collect::<Vec<_>>(), self.run.proof().faults())
    }

    fn check(&self, seed: u64) {
        let verdict = self.verdict.expect("it ended");
        let bad = !self.world.poison.is_empty() || !self.world.failing.is_empty();
        let expected = if bad { Verdict::Failed { complete: true } } else { Verdict::Passed };
        assert_eq!(verdict, expected, "seed {seed}: {}", self.story());
        let crashed: BTreeSet<(u32, u32)> = self
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::TestCrashed { test, .. } => Some((test.unit.0, test.ordinal)),
                _ => None,
            })
            .collect();
        assert_eq!(crashed, self.world.poison, "seed {seed}: exactly the poison is named");
        assert!(self.events.iter().zip(0..).all(|(event, seq)| event.seq == seq), "seed {seed}: the sequence has no gap");
    }
}

fn brief(shards: u32, manifest: Manifest) -> Brief {
    let launch = Launch {
        argv: vec!["fake".to_owned()],
        cwd: None,
        env: Vec::new(),
        env_prepend: Vec::new(),
        env_remove: Vec::new(),
        files: Vec::new(),
        dump_signal: None,
    };
    Brief {
        run: RunId("01SIMULATED".to_owned()),
        epoch: Epoch(1),
        settings: RunSettings { shards, ..story::settings() },
        launch: Box::new(move |_| launch.clone()),
        plan: Box::new(move |_| manifest.clone()),
        usage_status: None,
        list_only: false,
        preamble: story::record().events().into_iter().map(|event| event.kind).take(1).collect(),
    }
}

#[test]
fn whatever_dies_the_verdict_is_the_truth() {
    for seed in 0..3_000 {
        Schedule::new(seed).play().check(seed);
    }
}

#[test]
fn there_are_never_more_shards_than_units() {
    let unit = |n: usize| Unit { file: format!("f{n}"), kind: UnitKind::File, predicted_ms: None };
    for (shards, units, first, in_all) in [(1_000, 3, 16, 16), (1_000, 40, 16, 40), (8, 40, 8, 8), (4, 2, 4, 4)] {
        let mut run = Run::new(brief(shards, Manifest { units: (0..units).map(unit).collect() }));
        let started = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::StartShard(_))).count();
        let ended = |effects: &[Effect]| effects.iter().filter(|effect| matches!(effect, Effect::EndShard(_))).count();
        let before = started(&run.handle(0, Input::Begin));
        assert_eq!(before, first, "{shards} shards, {units} units");
        // The last of those that were started is the first to list.
        let last = ShardId(u32::try_from(first).expect("small"));
        run.handle(1, Input::ShardStarted { shard: last, name: "x".to_owned() });
        let hello = FromWorker::Hello { version: VERSION, pid: 1, memory_limit: None };
        run.handle(2, Input::Frame { shard: last, message: hello, blob: Vec::new() });
        let ready = FromWorker::Ready {
            session: 1,
            framework: "fake".to_owned(),
            version: "1".to_owned(),
            seed: 0,
            pid: 2,
            boot_ms: 1,
            units: (0..units).map(|n| format!("f{n}")).collect(),
        };
        let effects = run.handle(3, Input::Frame { shard: last, message: ready, blob: Vec::new() });
        assert_eq!((before + started(&effects), ended(&effects)), (in_all, 0), "{shards} shards, {units} units");
        // Those that nobody needs go as soon as they are there.
        let surplus = first.saturating_sub(units);
        let gone = (1..=surplus + 1).map(|n| ShardId(u32::try_from(first - n).expect("small"))).filter(|id| id.0 > 0);
        let gone = gone.filter(|id| ended(&run.handle(4, Input::ShardStarted { shard: *id, name: "x".to_owned() })) == 1).count();
        assert_eq!(gone, surplus, "{shards} shards, {units} units");
    }
}
