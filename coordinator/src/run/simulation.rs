//! A run in a simulated world: workers and drivers that answer in any order and die at any time, from a seed.
//!
//! The world knows the truth (which tests exist, which kill their process, which fail); the run must find it out. What must hold is checked at the end
//! of each schedule, by the run's own events: green only if every test truly ran and passed under a result that counts.

mod starts;
mod world;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use splitci_worker::protocol::VERSION;
use splitci_worker::protocol::message::FromWorker;

use super::brief::Brief;
use super::machine::Run;
use super::words::{Effect, Input};
use crate::engine::ShardEnd;
use crate::model::event::{EventKind, RunEvent};
use crate::model::settings::{RunSettings, SuiteSettings};
use crate::model::story;
use crate::model::verdict::Verdict;
use crate::model::{Exit, Fence, Launch, Manifest, Outcome, RunId, ShardId, SuiteId, Telling, Unit, UnitId, UnitKind};
use crate::queue::Epoch;
use world::{Machine, World};

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

/// One schedule from its seed: the events that were told, and the verdict.
struct Schedule {
    chance: Chance,
    world: World,
    run: Run,
    machines: BTreeMap<ShardId, Machine>,
    todo: VecDeque<Input>,
    events: Vec<RunEvent>,
    /// The files of units that were added.
    files: BTreeMap<u32, u32>,
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
        let retries = if chance.one_in(2) { u32::try_from(chance.below(4)).expect("small") } else { 0 };
        let flaky = if chance.one_in(2) { pick(&mut chance, 8) } else { BTreeSet::new() };
        let flaky = flaky.into_iter().map(|place| (place, u32::try_from(1 + chance.below(3)).expect("small"))).collect();
        // Two kills and a test that kills make three sessions without a result, after which a shard is rightly given up.
        let kills_left = if chance.one_in(2) { chance.below(if poison.is_empty() { 3 } else { 2 }) } else { 0 };
        // Files take turns among the suites.
        let suites = (1 + chance.below(3)).min(tests.len());
        let unit = |n: usize| {
            let suite = SuiteId(u32::try_from(n % suites).expect("small"));
            let predicted_ms = n.is_multiple_of(2).then_some(100);
            Unit { predicted_ms, ..Unit::new(suite, named(n, suites), UnitKind::File) }
        };
        let manifest = Manifest { units: (0..tests.len()).map(unit).collect() };
        let shards = u32::try_from(1 + chance.below(4)).expect("small");
        let mut brief = brief(shards, suites, manifest);
        brief.settings.retries = retries;
        brief.boots_at_a_time = chance.one_in(2).then(|| u32::try_from(1 + chance.below(3)).expect("small"));
        // The proof knows from the record how often a test may be tried again.
        for event in &mut brief.preamble {
            if let EventKind::RunStarted(started) = event {
                started.settings.retries = retries;
                started.settings.suites.clone_from(&brief.settings.suites);
            }
        }
        let run = Run::new(brief);
        let (hit, runs) = (BTreeSet::new(), RefCell::default());
        let world = World { tests, suites, poison, failing, flaky, runs, retries, hit, kills_left };
        let todo = VecDeque::from([Input::Begin]);
        Self { chance, world, run, machines: BTreeMap::new(), todo, events: Vec::new(), files: BTreeMap::new(), verdict: None, now: 0 }
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
                Effect::Send { shard, message, .. } => self.machines.entry(shard).or_default().told(message, &self.world),
                Effect::EndShard(shard) => self.lose(shard),
                Effect::Tell(Telling::Event(event)) => {
                    if let EventKind::RetryPlanned(planned) = &event.kind {
                        self.files.insert(planned.unit.0, planned.of.0);
                    }
                    self.events.push(event);
                }
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
        let units: Vec<u32> = machine.at.iter().map(|(unit, ..)| unit.unit).chain(waiting).collect();
        let files = units.iter().map(|unit| self.files.get(unit).copied().unwrap_or(*unit));
        let here: Vec<(u32, u32)> = files.flat_map(|file| (0..self.world.tests[file as usize]).map(move |test| (file, test))).collect();
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

    fn file(&self, unit: UnitId) -> u32 {
        self.files.get(&unit.0).copied().unwrap_or(unit.0)
    }

    /// The outcomes of each test that count, in order, by the events alone.
    fn tries(&self) -> BTreeMap<(u32, u32), Vec<Outcome>> {
        let mut heard: BTreeMap<(UnitId, Fence), BTreeMap<u32, Outcome>> = BTreeMap::new();
        let mut all: BTreeMap<(u32, u32), Vec<Outcome>> = BTreeMap::new();
        let mut accept = |unit: UnitId, results: BTreeMap<u32, Outcome>| {
            for (ordinal, outcome) in results {
                all.entry((self.file(unit), ordinal)).or_default().push(outcome);
            }
        };
        for event in &self.events {
            match &event.kind {
                EventKind::TestFinished(test) => {
                    heard.entry((test.test.unit, test.fence)).or_default().insert(test.test.ordinal, test.outcome);
                }
                EventKind::UnitFinished { unit, fence } => accept(*unit, heard.remove(&(*unit, *fence)).unwrap_or_default()),
                EventKind::UnitInterrupted { unit, fence, final_below, .. } => {
                    let mut results = heard.remove(&(*unit, *fence)).unwrap_or_default();
                    results.split_off(final_below);
                    accept(*unit, results);
                }
                _ => {}
            }
        }
        all
    }

    fn check(&self, seed: u64) {
        let verdict = self.verdict.expect("it ended");
        let tries = self.tries();
        let world = &self.world;
        let last_is_bad = tries.values().any(|outcomes| outcomes.last().is_some_and(|outcome| outcome.is_bad()));
        let expected = if last_is_bad || !world.poison.is_empty() { Verdict::Failed { complete: true } } else { Verdict::Passed };
        assert_eq!(verdict, expected, "seed {seed}: {}", self.story());
        let all: usize = world.tests.iter().map(|n| *n as usize).sum();
        assert_eq!(tries.len() + world.poison.len(), all, "seed {seed}: every test came to its end: {}", self.story());
        let most = world.retries as usize + 1;
        assert!(tries.values().all(|outcomes| outcomes.len() <= most), "seed {seed}: tried too often: {}", self.story());
        // What is within the budget and fails no more often than it may does not stay red.
        let within = world.failing.len() + world.flaky.len() <= 10;
        for (place, outcomes) in tries.iter().filter(|_| within) {
            let fails = if world.failing.contains(place) { u32::MAX } else { world.flaky.get(place).copied().unwrap_or(0) };
            let made_good = outcomes.last().is_some_and(|outcome| !outcome.is_bad());
            assert!(made_good || fails > world.retries, "seed {seed}: {place:?} was not tried to the end: {}", self.story());
        }
        let crashed: BTreeSet<(u32, u32)> = self
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::TestCrashed { test, .. } => Some((self.file(test.unit), test.ordinal)),
                _ => None,
            })
            .collect();
        assert_eq!(crashed, self.world.poison, "seed {seed}: exactly the poison is named");
        assert!(self.events.iter().zip(0..).all(|(event, seq)| event.seq == seq), "seed {seed}: the sequence has no gap");
    }
}

/// A file as the run names it.
fn named(n: usize, suites: usize) -> String {
    if suites == 1 { format!("f{n}") } else { format!("s{}:f{n}", n % suites) }
}

fn brief(shards: u32, suites: usize, manifest: Manifest) -> Brief {
    let launch = Launch {
        argv: Vec::new(),
        cwd: None,
        env: Vec::new(),
        env_prepend: Vec::new(),
        env_remove: Vec::new(),
        files: Vec::new(),
        dump_signal: None,
    };
    let suite = |n: usize| {
        let name = if suites == 1 { String::new() } else { format!("s{n}") };
        SuiteSettings { name, framework: "fake".to_owned(), ..SuiteSettings::default() }
    };
    Brief {
        run: RunId("01SIMULATED".to_owned()),
        epoch: Epoch(1),
        settings: RunSettings { shards, suites: (0..suites).map(suite).collect(), ..story::settings() },
        // What is started says of which suite it is.
        launch: Box::new(move |_, suite| Launch { argv: vec![suite.0.to_string()], ..launch.clone() }),
        recalled: Vec::new(),
        plan: Box::new(move |_| manifest.clone().into()),
        suites: Vec::new(),
        boots_at_a_time: None,
        list_only: false,
        terminal: None,
        preamble: story::record().events().into_iter().map(|event| event.kind).take(1).collect(),
    }
}

#[test]
fn whatever_dies_the_verdict_is_the_truth() {
    for seed in 0..3_000 {
        Schedule::new(seed).play().check(seed);
    }
}
