//! Made-up runs for tests: the events of a run, told in a few words.
//!
//! `record().plan(&[file("a.py")]).boot(1).run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed).events()` is a whole record.
//! Every step is one event with the next number, ten milliseconds later; leases and fences are kept by the story. It checks nothing: tests tell
//! wrong stories on purpose.

use std::collections::BTreeMap;

use super::event::{
    BuiltSteps, Cancelled, Close, Crash, EventKind, ImageSource, Proven, ProvenTest, RetryPlanned, RunEvent, RunStarted, SessionEnded,
    ShardLoss, Superseded, TestFinished,
};
use super::settings::{ContainerSettings, EngineKind, Flaky, Order, RunSettings, SuiteSettings, Timeouts};
use super::unit::UnitKind;
use super::verdict::Verdict;
use super::{Exit, Fence, ImageIdentity, Manifest, Outcome, RunId, Select, SessionId, ShardId, Slot, SuiteId, TestKey, Unit, UnitId};

/// The run of every story.
pub(crate) const RUN: &str = "01JD2Q5T8Z0000000000000000";

/// A story so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    events: Vec<RunEvent>,
    at_ms: u64,
    fence: u64,
    files: Vec<String>,
    leases: BTreeMap<u32, Fence>,
    holders: BTreeMap<Fence, SessionId>,
    reported: BTreeMap<SessionId, u64>,
    sessions: BTreeMap<u32, u32>,
}

/// A story that begins with a run's start.
pub(crate) fn record() -> Story {
    record_of(RUN, "2026-11-23T10:00:00Z")
}

/// A story of a run with this name and start.
pub(crate) fn record_of(run: &str, started: &str) -> Story {
    let mut story = Story::default();
    story.say(EventKind::RunStarted(Box::new(RunStarted {
        run: RunId(run.to_owned()),
        splitci: "0.1.0".to_owned(),
        project: "/home/ada/shop".to_owned(),
        started: started.to_owned(),
        settings: settings(),
        of: None,
        repeats: None,
        provenance: None,
    })));
    story
}

/// A story of a run in which failed tests are tried again.
pub(crate) fn record_with_retries(retries: u32, flaky: Flaky) -> Story {
    let mut story = record();
    story.settle(|settings| (settings.retries, settings.flaky) = (retries, flaky));
    story
}

/// The settings of every story.
pub(crate) fn settings() -> RunSettings {
    RunSettings {
        engine: EngineKind::Docker,
        shards: 2,
        suites: vec![SuiteSettings { framework: "pytest".to_owned(), command: vec!["pytest".to_owned()], ..SuiteSettings::default() }],
        directory: ".".to_owned(),
        seed: 7,
        order: Order::Scheduled,
        fail_fast: false,
        allow_empty: false,
        retries: 0,
        flaky: Flaky::Pass,
        reuse: false,
        timeouts: Timeouts { test_ms: 600_000, boot_ms: 300_000, run_ms: 3_600_000, grace_ms: 5_000 },
        container: ContainerSettings::default(),
        env: Vec::new(),
        env_names: Vec::new(),
    }
}

/// A unit that is a whole file.
pub(crate) fn file(name: &str) -> Unit {
    Unit { suite: SuiteId(0), file: name.to_owned(), kind: UnitKind::File, predicted_ms: None }
}

/// A slice of a file: the tests with these numbers.
pub(crate) fn slice(name: &str, tests: &[u32]) -> Unit {
    let ids = tests.iter().map(|n| id(name, *n)).collect();
    Unit { suite: SuiteId(0), file: name.to_owned(), kind: UnitKind::Slice { select: Select::Only(ids) }, predicted_ms: None }
}

/// The fallback of a sliced file.
pub(crate) fn fallback(name: &str) -> Unit {
    Unit { suite: SuiteId(0), file: name.to_owned(), kind: UnitKind::Fallback, predicted_ms: None }
}

/// What an earlier run shows of a file.
pub(crate) fn proven(file: &str, outcomes: &[Outcome]) -> Proven {
    let test = |(n, outcome): (u32, &Outcome)| ProvenTest { id: id(file, n), outcome: *outcome, micros: 9_000 };
    Proven {
        suite: SuiteId(0),
        file: file.to_owned(),
        of: RunId("01JCZZZZZZ0000000000000000".to_owned()),
        key: "5eed".to_owned(),
        at: "2026-11-20T09:00:00Z".to_owned(),
        record: true,
        tests: (0..).zip(outcomes).map(test).collect(),
    }
}

/// A story of a run that may reuse files.
pub(crate) fn record_with_reuse() -> Story {
    let mut story = record();
    story.settle(|settings| settings.reuse = true);
    story
}

/// The id of a file's n-th test.
pub(crate) fn id(file: &str, n: u32) -> String {
    format!("{file}::test_{n}")
}

impl Story {
    /// Its events.
    pub(crate) fn events(&self) -> Vec<RunEvent> {
        self.events.clone()
    }

    /// The fence that this unit was last leased under.
    pub(crate) fn fence_of(&self, unit: u32) -> Fence {
        self.leases.get(&unit).copied().unwrap_or(Fence(0))
    }

    /// One more event, ten milliseconds later.
    pub(crate) fn say(&mut self, kind: EventKind) -> &mut Self {
        let seq = self.events.len() as u64;
        self.events.push(RunEvent { seq, at_ms: self.at_ms, kind });
        self.at_ms += 10;
        self
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, ms: u64) -> &mut Self {
        self.at_ms += ms;
        self
    }

    /// An image is ready.
    pub(crate) fn image(&mut self, how: ImageSource) -> &mut Self {
        self.say(EventKind::ImageReady {
            identity: ImageIdentity { platform: "linux/amd64".to_owned(), config: "sha256:0123456789abcdef".to_owned(), manifest: None },
            reference: "splitci/shop:3f2a9c1b7d04".to_owned(),
            how,
            key: Some("3f2a9c1b7d04".to_owned()),
            took_ms: if how == ImageSource::Built { 41_200 } else { 0 },
            saved_ms: if how == ImageSource::Found { 102_000 } else { 0 },
            steps: (how == ImageSource::Built).then_some(BuiltSteps { cached: 14, all: 17 }),
        })
    }

    /// Changes what the run was asked for.
    pub(crate) fn settle(&mut self, change: impl Fn(&mut RunSettings)) {
        for event in &mut self.events {
            if let EventKind::RunStarted(started) = &mut event.kind {
                change(&mut started.settings);
            }
        }
    }

    /// The plan is made, whatever was listed.
    pub(crate) fn freeze(&mut self, manifest: Manifest) -> &mut Self {
        self.files = manifest.units.iter().map(|unit| unit.file.clone()).collect();
        self.say(EventKind::PlanMade { hash: manifest.hash(), manifest })
    }

    /// The suite is listed.
    pub(crate) fn list(&mut self, files: &[&str]) -> &mut Self {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        self.say(EventKind::SuiteListed { suite: SuiteId(0), files, list_hash: "1157".to_owned(), of: None })
    }

    /// The suite is listed as an earlier run did.
    pub(crate) fn recall(&mut self, of: &str, files: &[&str]) -> &mut Self {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        let of = Some(RunId(of.to_owned()));
        self.say(EventKind::SuiteListed { suite: SuiteId(0), files, list_hash: "1157".to_owned(), of })
    }

    /// A file is not run, since its tests ended like this in an earlier run.
    pub(crate) fn reuse(&mut self, file: &str, outcomes: &[Outcome]) -> &mut Self {
        self.say(EventKind::FileReused(Box::new(proven(file, outcomes))))
    }

    /// A file is run though its tests ended like this in an earlier run.
    pub(crate) fn canary(&mut self, file: &str, outcomes: &[Outcome]) -> &mut Self {
        self.say(EventKind::CanaryPlanned(Box::new(proven(file, outcomes))))
    }

    /// The suite is listed and the plan is made of these units.
    pub(crate) fn plan(&mut self, units: &[Unit]) -> &mut Self {
        let mut files: Vec<_> = units.iter().map(|unit| unit.file.clone()).collect();
        files.dedup();
        self.say(EventKind::SuiteListed { suite: SuiteId(0), files, list_hash: "1157".to_owned(), of: None });
        self.freeze(Manifest { units: units.to_vec() })
    }

    /// A shard starts, and a session in it.
    pub(crate) fn boot(&mut self, shard: u32) -> &mut Self {
        self.boot_for(shard, SuiteId(0))
    }

    /// A shard starts, and a session of this suite in it.
    pub(crate) fn boot_for(&mut self, shard: u32, suite: SuiteId) -> &mut Self {
        let restarts = self.sessions.get(&shard).copied().unwrap_or(0);
        self.say(EventKind::ShardStarted { shard: ShardId(shard), restarts, name: format!("shard-{shard}") });
        self.say(EventKind::ShardReady { shard: ShardId(shard) });
        self.ready_for(shard, suite)
    }

    /// The next session of a shard says hello.
    pub(crate) fn ready(&mut self, shard: u32) -> &mut Self {
        self.ready_for(shard, SuiteId(0))
    }

    fn ready_for(&mut self, shard: u32, suite: SuiteId) -> &mut Self {
        *self.sessions.entry(shard).or_default() += 1;
        let session = self.session(shard);
        self.say(EventKind::SessionReady {
            session,
            suite,
            framework: "pytest".to_owned(),
            version: "9.2.0".to_owned(),
            seed: 7,
            boot_ms: 420,
            list_hash: "1157".to_owned(),
        })
    }

    /// A unit is given to a shard's session.
    pub(crate) fn lease(&mut self, unit: u32, shard: u32) -> &mut Self {
        self.lease_from(unit, shard, 0)
    }

    /// The rest of a unit is given to a shard's session.
    pub(crate) fn lease_from(&mut self, unit: u32, shard: u32, from: u32) -> &mut Self {
        self.fence += 1;
        let fence = Fence(self.fence);
        self.leases.insert(unit, fence);
        let session = self.session(shard);
        self.holders.insert(fence, session);
        self.say(EventKind::UnitLeased { unit: UnitId(unit), fence, session, from, suspect: from > 0 })
    }

    /// A unit declares this many tests, all of which run.
    pub(crate) fn declare(&mut self, unit: u32, tests: u32) -> &mut Self {
        self.declare_some(unit, tests, None)
    }

    /// A unit declares this many tests, of which some run.
    pub(crate) fn declare_some(&mut self, unit: u32, tests: u32, selected: Option<&[u32]>) -> &mut Self {
        let file = self.files.get(unit as usize).cloned().unwrap_or_default();
        let ids = (0..tests).map(|n| id(&file, n)).collect();
        self.declare_ids(unit, ids, selected)
    }

    /// A unit declares tests with these ids.
    pub(crate) fn declare_ids(&mut self, unit: u32, ids: Vec<String>, selected: Option<&[u32]>) -> &mut Self {
        let fence = self.fence_of(unit);
        self.say(EventKind::UnitDeclared { unit: UnitId(unit), fence, ids, selected: selected.map(<[u32]>::to_vec) })
    }

    /// A test ends, after twelve milliseconds.
    pub(crate) fn test(&mut self, unit: u32, ordinal: u32, outcome: Outcome) -> &mut Self {
        self.test_with(unit, ordinal, outcome, |_| ())
    }

    /// A test ends in some particular way.
    pub(crate) fn test_with(&mut self, unit: u32, ordinal: u32, outcome: Outcome, with: impl FnOnce(&mut TestFinished)) -> &mut Self {
        let mut test = TestFinished {
            test: TestKey { unit: UnitId(unit), ordinal },
            fence: self.fence_of(unit),
            outcome,
            micros: 12_000,
            file: String::new(),
            line: 0,
            message: String::new(),
            output: String::new(),
            details: String::new(),
        };
        if outcome.is_bad() {
            test.file = self.files.get(unit as usize).cloned().unwrap_or_default();
            test.line = 10 + ordinal;
            "AssertionError: assert 1 == 2".clone_into(&mut test.message);
        }
        with(&mut test);
        if let Some(session) = self.holders.get(&test.fence) {
            *self.reported.entry(*session).or_default() += 1;
        }
        self.say(EventKind::TestFinished(Box::new(test)))
    }

    /// A unit is through.
    pub(crate) fn finish(&mut self, unit: u32) -> &mut Self {
        let fence = self.fence_of(unit);
        self.say(EventKind::UnitFinished { unit: UnitId(unit), fence })
    }

    /// A unit from its lease to its end.
    pub(crate) fn run(&mut self, unit: u32, shard: u32, outcomes: &[Outcome]) -> &mut Self {
        let tests = u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
        self.lease(unit, shard).declare(unit, tests);
        for (ordinal, outcome) in (0..).zip(outcomes) {
            self.test(unit, ordinal, *outcome);
        }
        self.finish(unit)
    }

    /// A session is lost with this unit begun.
    pub(crate) fn interrupt(&mut self, unit: u32, final_below: u32, suspect: Option<u32>) -> &mut Self {
        let fence = self.fence_of(unit);
        self.say(EventKind::UnitInterrupted { unit: UnitId(unit), fence, final_below, suspect })
    }

    /// A unit's results are void.
    pub(crate) fn supersede(&mut self, unit: u32) -> &mut Self {
        self.say(EventKind::UnitSuperseded { unit: UnitId(unit), reason: Superseded::IdsChanged })
    }

    /// Tests of a unit are tried again in a new one.
    pub(crate) fn retry(&mut self, of: u32, attempt: u32, ordinals: &[u32]) -> u32 {
        let unit = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let file = self.files.get(of as usize).cloned().unwrap_or_default();
        let ids = ordinals.iter().map(|n| id(&file, *n)).collect();
        self.files.push(file);
        let planned = RetryPlanned { unit: UnitId(unit), of: UnitId(of), attempt, ordinals: ordinals.to_vec(), ids };
        self.say(EventKind::RetryPlanned(Box::new(planned)));
        unit
    }

    /// A test took its session with it once too often.
    pub(crate) fn crash(&mut self, unit: u32, ordinal: u32, shard: u32, how: Crash) -> &mut Self {
        let file = self.files.get(unit as usize).cloned().unwrap_or_default();
        let id = if ordinal == u32::MAX { file } else { id(&file, ordinal) };
        let session = self.session(shard);
        self.say(EventKind::TestCrashed { test: TestKey { unit: UnitId(unit), ordinal }, id, session, how })
    }

    /// A shard's session ends like this.
    pub(crate) fn close(&mut self, shard: u32, close: Close) -> &mut Self {
        self.close_with(shard, close, |_| ())
    }

    /// A shard's session ends in some particular way.
    pub(crate) fn close_with(&mut self, shard: u32, close: Close, with: impl FnOnce(&mut SessionEnded)) -> &mut Self {
        let mut ended = SessionEnded {
            session: self.session(shard),
            how: Exit::Code(0),
            stopped: None,
            close,
            at: Slot::Closing,
            oom: false,
            peak_rss: 40 << 20,
            strays: 0,
            errors: String::new(),
            tests: self.reported.get(&self.session(shard)).copied().unwrap_or(0),
        };
        with(&mut ended);
        self.say(EventKind::SessionEnded(Box::new(ended)))
    }

    /// A shard is lost.
    pub(crate) fn lose(&mut self, shard: u32, cause: ShardLoss) -> &mut Self {
        self.say(EventKind::ShardLost { shard: ShardId(shard), cause, detail: "the container was killed".to_owned() })
    }

    /// The user is told something.
    pub(crate) fn notice(&mut self, text: &str) -> &mut Self {
        self.say(EventKind::Notice { session: None, text: text.to_owned() })
    }

    /// The run is stopped.
    pub(crate) fn cancel(&mut self, reason: Cancelled) -> &mut Self {
        self.say(EventKind::RunCancelled { reason })
    }

    /// The run ends with this answer.
    pub(crate) fn end(&mut self, verdict: Verdict) -> &mut Self {
        self.say(EventKind::RunFinished { verdict, exit: verdict.exit_code(false) })
    }

    fn session(&self, shard: u32) -> SessionId {
        SessionId { shard: ShardId(shard), number: self.sessions.get(&shard).copied().unwrap_or(0) }
    }
}
