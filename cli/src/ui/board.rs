//! What stands now: a fold over what a listener hears. Pure; time comes in as milliseconds since the start of the listening.
//!
//! For the eyes only. It counts what was reported, with the last report of a test standing for it; the verdict is the proof's business.

use std::collections::{BTreeMap, HashMap};

use splitci_coordinator::model::event::{Close, EventKind};
use splitci_coordinator::model::progress::{BuildStep, BuildStepState};
use splitci_coordinator::model::{Fence, Manifest, Outcome, Progress, SessionId, ShardId, Slot, Telling, TestKey, UnitId, UnitKind};

/// What a run is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the shards; what is being done.
    Preparing(String),
    /// The image is being built.
    Building,
    /// Shards are there.
    Running,
    /// Stopping early.
    Stopping,
    /// Over.
    Over,
}

/// A step of the build that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveStep {
    /// Identity.
    pub id: String,
    /// As the builder calls it.
    pub name: String,
    /// Since when.
    pub since: u64,
    /// The last line it printed.
    pub last: String,
}

/// A shard's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// What it is at.
    pub at: At,
    /// Since when.
    pub since: u64,
    /// Tests it reported.
    pub tests: u64,
    /// Of these, bad ones.
    pub bad: u64,
}

/// What a shard is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// Its container or process starts.
    Starting,
    /// The framework starts.
    Booting,
    /// Nothing to do.
    Waiting,
    /// It runs this.
    Running(String),
    /// It closes its session.
    Closing,
    /// It ended.
    Over,
    /// It is gone.
    Lost,
}

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All that ended.
    pub tests: u64,
    /// Failed, errored, crashed.
    pub bad: u64,
    /// Skipped.
    pub skipped: u64,
}

#[derive(Debug, Clone)]
struct UnitLine {
    file: String,
    predicted: Option<u64>,
    dormant: bool,
    done: bool,
    ids: Vec<String>,
}

/// What stands now.
#[derive(Debug)]
pub(crate) struct Board {
    /// What the run is at.
    pub stage: Stage,
    /// Since when.
    pub since: u64,
    /// Steps of the build that run now.
    pub steps: Vec<LiveStep>,
    /// Bytes of the context sent.
    pub context: u64,
    /// A line a shard.
    pub shards: BTreeMap<ShardId, Row>,
    /// Counts.
    pub tally: Tally,
    units: Vec<UnitLine>,
    leases: HashMap<Fence, SessionId>,
    results: HashMap<TestKey, Outcome>,
    /// Whose tests are tried again in units that were added.
    roots: HashMap<UnitId, UnitId>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            stage: Stage::Preparing("starting".into()),
            since: 0,
            steps: Vec::new(),
            context: 0,
            shards: BTreeMap::new(),
            tally: Tally::default(),
            units: Vec::new(),
            leases: HashMap::new(),
            results: HashMap::new(),
            roots: HashMap::new(),
        }
    }
}

impl Board {
    /// Takes note.
    pub(crate) fn hear(&mut self, telling: &Telling, now: u64) {
        match telling {
            Telling::Event(event) => self.event(&event.kind, now),
            Telling::Progress(progress) => self.progress(progress, now),
        }
    }

    fn progress(&mut self, progress: &Progress, now: u64) {
        match progress {
            Progress::Doing(what) => self.enter(Stage::Preparing(what.clone()), now),
            Progress::BuildStep(step) => self.build_step(step, now),
            Progress::BuildLog { step, text } => {
                let last = text.lines().rfind(|line| !line.trim().is_empty());
                if let (Some(step), Some(last)) = (self.steps.iter_mut().find(|live| live.id == *step), last) {
                    last.trim().clone_into(&mut step.last);
                }
            }
            Progress::ContextSent(bytes) => self.context = *bytes,
            Progress::Screen(_) => {}
            Progress::Running { session, at, for_ms } => self.running(*session, *at, now.saturating_sub(*for_ms)),
        }
    }

    fn enter(&mut self, stage: Stage, now: u64) {
        if self.stage != stage {
            self.stage = stage;
            self.since = now;
        }
    }

    fn build_step(&mut self, step: &BuildStep, now: u64) {
        self.enter(Stage::Building, now);
        match step.state {
            BuildStepState::Started if self.steps.iter().all(|live| live.id != step.id) => {
                self.steps.push(LiveStep { id: step.id.clone(), name: step.name.clone(), since: now, last: String::new() });
            }
            BuildStepState::Started => {}
            BuildStepState::Cached | BuildStepState::Done(_) | BuildStepState::Failed(_) => self.steps.retain(|live| live.id != step.id),
        }
    }

    fn running(&mut self, session: SessionId, at: Slot, since: u64) {
        let at = match at {
            Slot::Idle => At::Waiting,
            Slot::Closing => At::Closing,
            Slot::Loading { unit } => At::Running(self.file(UnitId(unit)).to_owned()),
            Slot::Test { unit, ordinal } => At::Running(self.name(TestKey { unit: UnitId(unit), ordinal })),
        };
        self.put(session.shard, at, since);
    }

    fn put(&mut self, shard: ShardId, at: At, since: u64) {
        let row = self.shards.entry(shard).or_insert(Row { at: At::Starting, since, tests: 0, bad: 0 });
        if row.at != at {
            row.at = at;
            row.since = since;
        }
    }

    fn event(&mut self, kind: &EventKind, now: u64) {
        match kind {
            EventKind::ImageReady { .. } => self.steps.clear(),
            EventKind::ShardStarted { shard, .. } => {
                self.enter(Stage::Running, now);
                self.put(*shard, At::Starting, now);
            }
            EventKind::ShardReady { shard } => self.put(*shard, At::Booting, now),
            EventKind::ShardLost { shard, .. } => self.put(*shard, At::Lost, now),
            EventKind::SessionReady { session, .. } => self.put(session.shard, At::Waiting, now),
            EventKind::PlanMade { manifest, .. } => self.plan(manifest),
            EventKind::UnitLeased { unit, fence, session, .. } => {
                self.leases.insert(*fence, *session);
                self.at_unit(*unit, |line| line.dormant = false);
            }
            EventKind::UnitDeclared { unit, fence, ids, .. } => {
                let file = self.file(*unit).to_owned();
                self.at_unit(*unit, |line| line.ids.clone_from(ids));
                if let Some(session) = self.leases.get(fence).copied() {
                    self.put(session.shard, At::Running(file), now);
                }
            }
            EventKind::TestFinished(test) => self.finished(test.test, test.fence, test.outcome),
            EventKind::TestCrashed { test, session, .. } => self.crashed(*test, session.shard),
            EventKind::UnitFinished { unit, fence } => self.unit_finished(*unit, *fence, now),
            EventKind::UnitInterrupted { unit, final_below, .. } => self.forget(*unit, *final_below),
            EventKind::UnitSuperseded { unit, .. } => {
                self.forget(*unit, 0);
                self.at_unit(*unit, |line| line.done = true);
            }
            EventKind::RetryPlanned(planned) => {
                let file = self.file(planned.of).to_owned();
                self.units.push(UnitLine { file, predicted: None, dormant: false, done: false, ids: Vec::new() });
                self.roots.insert(planned.unit, planned.of);
            }
            EventKind::SessionEnded(ended) => {
                let at = if ended.close == Close::Clean { At::Over } else { At::Booting };
                self.put(ended.session.shard, at, now);
            }
            EventKind::RunCancelled { .. } => self.enter(Stage::Stopping, now),
            EventKind::RunFinished { .. } => self.enter(Stage::Over, now),
            EventKind::RunStarted(_)
            | EventKind::SuiteListed { .. }
            | EventKind::FileReused(_)
            | EventKind::CanaryPlanned(_)
            | EventKind::Output { .. }
            | EventKind::Notice { .. } => {}
        }
    }

    fn unit_finished(&mut self, unit: UnitId, fence: Fence, now: u64) {
        self.at_unit(unit, |line| {
            line.done = true;
            line.ids = Vec::new();
        });
        if let Some(shard) = self.shard_of(fence) {
            self.put(shard, At::Waiting, now);
        }
    }

    fn plan(&mut self, manifest: &Manifest) {
        let line = |unit: &splitci_coordinator::model::Unit| UnitLine {
            file: unit.file.clone(),
            predicted: unit.predicted_ms,
            dormant: unit.kind == UnitKind::Fallback,
            done: false,
            ids: Vec::new(),
        };
        self.units = manifest.units.iter().map(line).collect();
    }

    fn at_unit(&mut self, unit: UnitId, change: impl FnOnce(&mut UnitLine)) {
        if let Some(line) = usize::try_from(unit.0).ok().and_then(|place| self.units.get_mut(place)) {
            change(line);
        }
    }

    fn unit(&self, unit: UnitId) -> Option<&UnitLine> {
        self.units.get(usize::try_from(unit.0).ok()?)
    }

    fn finished(&mut self, test: TestKey, fence: Fence, outcome: Outcome) {
        if let Some(row) = self.shard_of(fence).and_then(|shard| self.shards.get_mut(&shard)) {
            row.tests += 1;
            row.bad += u64::from(outcome.is_bad());
        }
        self.result(test, outcome);
    }

    fn crashed(&mut self, test: TestKey, shard: ShardId) {
        if let Some(row) = self.shards.get_mut(&shard) {
            row.tests += 1;
            row.bad += 1;
        }
        self.result(test, Outcome::Errored);
    }

    fn result(&mut self, test: TestKey, outcome: Outcome) {
        // What is tried again is no other test.
        let test = TestKey { unit: self.roots.get(&test.unit).copied().unwrap_or(test.unit), ..test };
        let before = self.results.insert(test, outcome);
        for (outcome, count) in [(Some(outcome), 1_i64), (before, -1)] {
            let Some(outcome) = outcome else { continue };
            self.tally.tests = self.tally.tests.saturating_add_signed(count);
            if outcome.is_bad() {
                self.tally.bad = self.tally.bad.saturating_add_signed(count);
            }
            if outcome == Outcome::Skipped {
                self.tally.skipped = self.tally.skipped.saturating_add_signed(count);
            }
        }
    }

    /// Takes back results of a unit, from an ordinal on: they were overtaken.
    fn forget(&mut self, unit: UnitId, from: u32) {
        self.results.retain(|test, _| test.unit != unit || test.ordinal < from);
        self.tally = Tally::default();
        for outcome in self.results.values() {
            self.tally.tests += 1;
            self.tally.bad += u64::from(outcome.is_bad());
            self.tally.skipped += u64::from(*outcome == Outcome::Skipped);
        }
    }

    /// The shard that holds a lease.
    pub(crate) fn shard_of(&self, fence: Fence) -> Option<ShardId> {
        self.leases.get(&fence).map(|session| session.shard)
    }

    /// A unit's file.
    pub(crate) fn file(&self, unit: UnitId) -> &str {
        self.unit(unit).map_or("", |line| line.file.as_str())
    }

    /// A test's name: its id, or its file while its unit is not declared.
    pub(crate) fn name(&self, test: TestKey) -> String {
        let id = usize::try_from(test.ordinal).ok().and_then(|place| self.unit(test.unit)?.ids.get(place));
        id.cloned().unwrap_or_else(|| self.file(test.unit).to_owned())
    }

    /// Units that are through, and all that count.
    pub(crate) fn units(&self) -> (usize, usize) {
        let counted = self.units.iter().filter(|line| !line.dormant);
        (counted.clone().filter(|line| line.done).count(), counted.count())
    }

    /// About how long the rest takes, in milliseconds. Nothing is said before a tenth is done.
    pub(crate) fn left(&self, now: u64) -> Option<u64> {
        let working = self.shards.values().filter(|row| !matches!(row.at, At::Lost | At::Over)).count() as u64;
        let (done, all) = self.units();
        if self.stage != Stage::Running || working == 0 || done * 10 < all || done == 0 {
            return None;
        }
        let rest = || self.units.iter().filter(|line| !line.done && !line.dormant);
        if rest().all(|line| line.predicted.is_some()) {
            return Some(rest().filter_map(|line| line.predicted).sum::<u64>() / working);
        }
        let spent = now.saturating_sub(self.since);
        Some(spent * (all - done) as u64 / done as u64)
    }
}
