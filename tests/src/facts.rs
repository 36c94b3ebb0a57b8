//! Which test ended how, read from the events by the rule on the model's page and by nothing else.
//!
//! This is on purpose a second implementation: the coordinator's own proof is not used to check the coordinator.
//! It refuses a stream that breaks the rules: a gap in the sequence, a test accepted twice, a result for a test that was not declared.

use std::collections::BTreeMap;

use splitci_coordinator::model::event::{Crash, EventKind, RunEvent, SessionEnded};
use splitci_coordinator::model::{Fence, SessionId, TestKey, UnitId};

/// What a run came to.
#[derive(Debug, Default)]
pub struct Facts {
    /// Its name.
    pub run: String,
    /// Outcomes by test id, sorted; several where an id occurs more than once.
    pub outcomes: BTreeMap<String, Vec<String>>,
    /// Sessions in the order in which they ended.
    pub sessions: Vec<SessionEnded>,
    /// Tests of files that were not run, by file.
    pub reused: BTreeMap<String, usize>,
    /// Files that were run to see whether they still do what they did.
    pub canaries: Vec<String>,
    /// How often a shard was lost.
    pub shards_lost: usize,
    /// Shards that were started, again or for the first time.
    pub shards_started: usize,
    /// How often results were taken back.
    pub superseded: usize,
    /// How many units were dispatched as part of a file.
    pub slices: usize,
    /// How many leases there were for a suspect.
    pub suspects: usize,
    /// Output that belongs to no test.
    pub output: String,
    /// Outcomes of each test before the one that stands, by id, where it was tried again.
    pub before: BTreeMap<String, Vec<String>>,
    /// Which session ran each result that counts, in order: id and session.
    pub ran_in: Vec<(String, SessionId)>,
    /// What users should know.
    pub notices: Vec<String>,
    /// Which shards ran a test that counts: tests by shard.
    pub tests_of_shard: BTreeMap<u32, usize>,
    /// The last event's exit status.
    pub exit: Option<u8>,
    /// Messages, outputs and details of all tests, in the order in which they arrived: id and text.
    pub told: Vec<(String, String)>,
}

#[derive(Default)]
struct Fold {
    declared: BTreeMap<(UnitId, Fence), Vec<String>>,
    holder: BTreeMap<(UnitId, Fence), SessionId>,
    /// Units that were added, and whose tests they try again.
    roots: BTreeMap<UnitId, UnitId>,
    heard: BTreeMap<(UnitId, Fence), BTreeMap<u32, String>>,
    accepted: BTreeMap<TestKey, (String, String, u32)>,
    facts: Facts,
}

impl Facts {
    /// Reads the events of a run.
    pub fn of(events: &[RunEvent]) -> Self {
        let mut fold = Fold::default();
        for (place, event) in events.iter().enumerate() {
            assert!(event.seq == place as u64, "event {place} has the number {}", event.seq);
            fold.take(&event.kind);
        }
        let mut facts = fold.facts;
        for (id, outcome, shard) in fold.accepted.into_values() {
            *facts.tests_of_shard.entry(shard).or_default() += 1;
            facts.outcomes.entry(id).or_default().push(outcome);
        }
        facts.outcomes.values_mut().for_each(|outcomes| outcomes.sort());
        facts
    }

    /// How many tests ended like this.
    pub fn count(&self, outcome: &str) -> usize {
        self.outcomes.values().flatten().filter(|one| *one == outcome).count()
    }

    /// How many tests have a result that counts.
    pub fn total(&self) -> usize {
        self.outcomes.values().map(Vec::len).sum()
    }

    /// Outcomes that are not `passed`, as `id: outcome`.
    pub fn exceptions(&self) -> Vec<String> {
        let all = self.outcomes.iter().flat_map(|(id, outcomes)| outcomes.iter().map(move |outcome| (id, outcome)));
        all.filter(|(_, outcome)| *outcome != "passed").map(|(id, outcome)| format!("{id}: {outcome}")).collect()
    }

    /// Sessions that did not close cleanly.
    pub fn unclean_sessions(&self) -> usize {
        self.sessions.iter().filter(|end| end.close != splitci_coordinator::model::event::Close::Clean).count()
    }
}

impl Fold {
    fn take(&mut self, event: &EventKind) {
        match event {
            EventKind::RunStarted(start) => self.facts.run.clone_from(&start.run.0),
            EventKind::FileReused(proven) => {
                let before = self.facts.reused.insert(proven.file.clone(), proven.tests.len());
                assert!(before.is_none(), "{} is reused twice", proven.file);
            }
            EventKind::CanaryPlanned(proven) => self.facts.canaries.push(proven.file.clone()),
            EventKind::UnitLeased { unit, fence, session, suspect, .. } => {
                self.holder.insert((*unit, *fence), *session);
                self.facts.suspects += usize::from(*suspect);
            }
            EventKind::UnitDeclared { unit, fence, ids, selected } => {
                self.facts.slices += usize::from(selected.is_some());
                self.declared.insert((*unit, *fence), ids.clone());
            }
            EventKind::TestFinished(test) => {
                let outcome = serde_json::to_value(test.outcome).expect("an outcome");
                let outcome = outcome.as_str().expect("an outcome is a word").to_owned();
                let id = self.id(test.test, test.fence);
                self.facts.told.push((id, format!("{}\n{}\n{}", test.message, test.output, test.details)));
                self.heard.entry((test.test.unit, test.fence)).or_default().insert(test.test.ordinal, outcome);
            }
            EventKind::RetryPlanned(planned) => {
                self.roots.insert(planned.unit, planned.of);
            }
            EventKind::UnitFinished { unit, fence } => self.accept(*unit, *fence, u32::MAX),
            EventKind::UnitInterrupted { unit, fence, final_below, .. } => self.accept(*unit, *fence, *final_below),
            EventKind::UnitSuperseded { unit, .. } => {
                self.facts.superseded += 1;
                self.accepted.retain(|test, _| test.unit != *unit);
            }
            EventKind::TestCrashed { test, id, session, how } => {
                let before = self.accepted.insert(*test, (id.clone(), crash(*how), session.shard.0));
                assert!(before.is_none(), "{id} was final already");
            }
            EventKind::SessionEnded(end) => self.facts.sessions.push((**end).clone()),
            EventKind::ShardLost { .. } => self.facts.shards_lost += 1,
            EventKind::ShardStarted { .. } => self.facts.shards_started += 1,
            EventKind::Output { text, .. } => self.facts.output.push_str(text),
            EventKind::Notice { text, .. } => self.facts.notices.push(text.clone()),
            EventKind::RunFinished { exit, .. } => self.facts.exit = Some(*exit),
            _ => {}
        }
    }

    fn id(&self, test: TestKey, fence: Fence) -> String {
        let ids = self.declared.get(&(test.unit, fence));
        let id = ids.and_then(|ids| ids.get(usize::try_from(test.ordinal).ok()?));
        id.unwrap_or_else(|| panic!("a result for {test:?}, which was not declared under {fence:?}")).clone()
    }

    fn accept(&mut self, unit: UnitId, fence: Fence, below: u32) {
        let session = self.holder.get(&(unit, fence)).copied();
        for (ordinal, outcome) in self.heard.remove(&(unit, fence)).unwrap_or_default() {
            if ordinal >= below {
                continue;
            }
            let id = self.id(TestKey { unit, ordinal }, fence);
            let root = self.roots.get(&unit).copied();
            let test = TestKey { unit: root.unwrap_or(unit), ordinal };
            self.facts.ran_in.extend(session.map(|session| (id.clone(), session)));
            let before = self.accepted.insert(test, (id.clone(), outcome, session.map_or(0, |session| session.shard.0)));
            match before {
                Some((known, before, _)) => {
                    assert!(root.is_some() && known == id, "{id} was final already");
                    assert!(before == "failed" || before == "errored", "{id} was tried again though it {before}");
                    self.facts.before.entry(id).or_default().push(before);
                }
                None => assert!(root.is_none(), "{id} was tried again and had not failed"),
            }
        }
    }
}

fn crash(how: Crash) -> String {
    match how {
        Crash::Exited(status) => format!("crashed: exit {status}"),
        Crash::Signal(signal) => format!("crashed: signal {signal}"),
        Crash::OutOfMemory => "crashed: out of memory".into(),
        Crash::TimedOut => "crashed: timed out".into(),
        Crash::ShardLost => "crashed: shard lost".into(),
        Crash::DriverLost => "crashed: driver lost".into(),
    }
}
