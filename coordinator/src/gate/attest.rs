//! What a record shows of an image, as a statement to be signed; or the reason why it shows nothing that a gate may go by.
//!
//! Comes in: the events of a run, and what a record does not say ([`Facts`]). The verdict is the proof's, never what the run said of itself. No statement is
//! made of a run that was not about the whole suite in this very image, or whose answer is not known: an infrastructure failure is not a failed test, and
//! what is not attested is denied. A failed run is attested, so that a pass before it does not stand.
//!
//! A test that passed only when it was tried again is a warning, and so is one whose session was lost under it, unless somebody killed the shard from outside.

use std::collections::{BTreeMap, BTreeSet};

use super::Identity;
use super::moment::Moment;
use super::statement::{
    Answer, Counts, Details, EarlierRun, ImageFacts, MOST_NAMES, MOST_RUNS, Origin, Reused, ShardFacts, Statement, Subject, SuiteFacts,
    TEST_RESULT, TestResult,
};
use crate::model::encoding::Encoding;
use crate::model::event::{EventKind, ImageSource, Proven, RunEvent, RunStarted, SessionEnded, ShardLoss};
use crate::model::settings::EngineKind;
use crate::model::trust::Level;
use crate::model::verdict::Verdict;
use crate::model::{Exit, ImageIdentity, Outcome, SessionId, Sha256, ShardId};
use crate::proof::{Proof, TestState, TestView};
use crate::trust::sha256;

/// What a record does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The image, once it was pushed.
    pub identity: Identity,
    /// The repository that it was pushed to.
    pub repository: String,
    /// The commit, by its id in git.
    pub commit: Option<String>,
    /// The tree had changes that no commit has, or nobody knows.
    pub dirty: bool,
    /// A run of such a tree is attested all the same. It names no commit then.
    pub allow_dirty: bool,
    /// The level of the run, by its own list: what it took from caches was written at this level or above.
    pub level: Level,
    /// The level of the run that built the image, if another one did and that is known.
    pub image_level: Option<Level>,
    /// The lowest level that a reused result was kept at, if that is known.
    pub reused_level: Option<Level>,
    /// Digests of what decides how tests are run, by name: `config` for the configuration file, the Dockerfile, the bases.
    pub configuration: BTreeMap<String, Sha256>,
    /// What left tests out on the command line: paths, expressions.
    pub filters: Vec<String>,
    /// Digest of the JUnit report, if there is one.
    pub junit: Option<Sha256>,
}

/// Why a run shows nothing that a gate may go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unattestable {
    /// No record of a run.
    #[error("the record does not say how the run began")]
    NotBegun,
    /// Not in containers.
    #[error("the tests ran as local processes, and not in the image")]
    ProcessEngine,
    /// A reproduction, or the failures of another run.
    #[error("it is a part of another run, and not of the whole suite")]
    Partial,
    /// Tests were left out.
    #[error("tests were left out: {}", filters.join(" "))]
    Filtered {
        /// By what.
        filters: Vec<String>,
    },
    /// Something lay over the image.
    #[error("what was mounted into the containers is no part of the image, and may be what was tested")]
    Mounted,
    /// It never came to an image.
    #[error("the run has no image")]
    NoImage,
    /// The image is another one.
    #[error("the run was of image `{ran}`, and what was pushed is `{pushed}`")]
    OtherImage {
        /// What the engine called the one that was tested.
        ran: String,
        /// What it would call the one that was pushed.
        pushed: Sha256,
    },
    /// Nothing ran.
    #[error("no test ran")]
    NoTests,
    /// Stopped by the user.
    #[error("the run was stopped before its end")]
    Interrupted,
    /// No verdict.
    #[error("the run has no verdict: something did not get to its end")]
    NoVerdict,
    /// Changes that no commit has.
    #[error("the tree had changes that no commit has")]
    Dirty,
    /// A time that is none.
    #[error("`{text}` in the record is not a time")]
    BadTime {
        /// What stands there.
        text: String,
    },
}

impl Unattestable {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotBegun => "`splitci runs` lists the records that there are",
            Self::ProcessEngine => "run with `--engine docker`",
            Self::Partial => "run the whole suite: `splitci run`",
            Self::Filtered { .. } => "run without paths and expressions that leave tests out",
            Self::Mounted => "run without `--volume` and the key `shard.volumes`: copy into the image what tests need",
            Self::NoImage | Self::NoVerdict => "see what happened with `splitci report RUN`, and run again",
            Self::OtherImage { .. } => "push the image that was tested: `splitci push RUN`, before it is built or pulled again",
            Self::NoTests => "see what was found with `splitci plan`",
            Self::Interrupted => "run to the end: `splitci run --resume RUN`",
            Self::Dirty => "commit, and run again; or allow it with `--allow-dirty`",
            Self::BadTime { .. } => "run again: the record is damaged",
        }
        .to_owned()
    }
}

/// The statement of a whole record.
pub fn attest(events: &[RunEvent], facts: &Facts) -> Result<Statement<TestResult>, Unattestable> {
    let mut witness = Witness::default();
    for event in events {
        witness.apply(event);
    }
    witness.attest(facts)
}

/// Somebody who saw a run, event by event. It keeps no outputs.
#[derive(Debug, Default)]
pub struct Witness {
    proof: Proof,
    started: Option<RunStarted>,
    images: Vec<(ImageIdentity, ImageSource)>,
    plan: Option<Sha256>,
    shards: BTreeMap<ShardId, ShardSeen>,
    /// Sessions whose shard was killed from outside.
    killed: BTreeSet<SessionId>,
    last_ms: u64,
}

#[derive(Debug, Default)]
struct ShardSeen {
    session: Option<SessionId>,
    exit: Option<i32>,
    oom_killed: bool,
    lost: u32,
}

impl Witness {
    /// Takes the next event in.
    pub fn apply(&mut self, event: &RunEvent) {
        self.proof.apply(event);
        self.last_ms = self.last_ms.max(event.at_ms);
        match &event.kind {
            EventKind::RunStarted(started) => self.started = Some((**started).clone()),
            EventKind::ImageReady { identity, how, .. } => self.images.push((identity.clone(), *how)),
            EventKind::PlanMade { manifest, .. } => self.plan = Some(digest_of(manifest)),
            EventKind::ShardStarted { shard, .. } => {
                self.shards.entry(*shard).or_default();
            }
            EventKind::SessionReady { session, .. } => self.shards.entry(session.shard).or_default().session = Some(*session),
            EventKind::ShardLost { shard, cause, .. } => self.shard_lost(*shard, *cause),
            EventKind::SessionEnded(ended) => self.session_ended(ended),
            EventKind::ShardReady { .. }
            | EventKind::SuiteListed { .. }
            | EventKind::FileReused(_)
            | EventKind::CanaryPlanned(_)
            | EventKind::UnitLeased { .. }
            | EventKind::UnitDeclared { .. }
            | EventKind::TestFinished(_)
            | EventKind::UnitFinished { .. }
            | EventKind::UnitInterrupted { .. }
            | EventKind::UnitSuperseded { .. }
            | EventKind::RetryPlanned(_)
            | EventKind::TestCrashed { .. }
            | EventKind::Output { .. }
            | EventKind::Notice { .. }
            | EventKind::RunCancelled { .. }
            | EventKind::RunFinished { .. } => (),
        }
    }

    fn shard_lost(&mut self, shard: ShardId, cause: ShardLoss) {
        let seen = self.shards.entry(shard).or_default();
        seen.lost += 1;
        match cause {
            ShardLoss::Killed => self.killed.extend(seen.session),
            ShardLoss::OutOfMemory => seen.oom_killed = true,
            ShardLoss::NotStarted | ShardLoss::Gone | ShardLoss::Garbled => (),
        }
    }

    fn session_ended(&mut self, ended: &SessionEnded) {
        let seen = self.shards.entry(ended.session.shard).or_default();
        seen.oom_killed |= ended.oom;
        seen.exit = match ended.how {
            Exit::Code(code) => Some(code),
            Exit::Signal(signal) => Some(signal.saturating_add(128)),
            Exit::NotStarted => None,
        };
    }

    /// The statement, if there is anything to state.
    pub fn attest(&self, facts: &Facts) -> Result<Statement<TestResult>, Unattestable> {
        let started = self.whole_suite(facts)?;
        let (platform, how) = self.same_image(&facts.identity)?;
        let verdict = self.answered()?;
        if facts.dirty && !facts.allow_dirty {
            return Err(Unattestable::Dirty);
        }
        let tests = self.tests();
        let failed = verdict != Verdict::Passed || tests.counts.failed > 0;
        let result = match () {
            () if failed => Answer::Failed,
            () if tests.counts.warned > 0 => Answer::Warned,
            () => Answer::Passed,
        };
        let predicate = TestResult {
            result,
            configuration: self.configuration(started, facts),
            splitci: self.details(started, facts, (platform, how), &tests)?,
            passed_tests: tests.passed,
            warned_tests: tests.warned,
            failed_tests: tests.failed,
        };
        // A commit that the tree was not is no subject of anything.
        let commit = facts.commit.as_ref().filter(|_| !facts.dirty).map(|commit| Subject::of_commit("source", commit));
        let image = Subject::of_bytes(&facts.repository, facts.identity.manifest);
        Ok(Statement::about([image].into_iter().chain(commit).collect(), TEST_RESULT, predicate))
    }

    /// Whether it was about everything, in containers.
    fn whole_suite(&self, facts: &Facts) -> Result<&RunStarted, Unattestable> {
        let started = self.started.as_ref().ok_or(Unattestable::NotBegun)?;
        match () {
            () if started.settings.engine != EngineKind::Docker => Err(Unattestable::ProcessEngine),
            () if started.of.is_some() || started.repeats.is_some() => Err(Unattestable::Partial),
            () if !started.settings.container.volumes.is_empty() => Err(Unattestable::Mounted),
            () if !facts.filters.is_empty() => Err(Unattestable::Filtered { filters: facts.filters.clone() }),
            () => Ok(started),
        }
    }

    /// Whether all of it was in this image. What an engine calls it decides: a registry has as many manifests of one image as there are ways to compress its layers.
    fn same_image(&self, identity: &Identity) -> Result<(&str, ImageSource), Unattestable> {
        let pushed = identity.id_in(identity.store);
        for (ran, _) in &self.images {
            if Sha256::parse(&ran.config) != Some(pushed) {
                return Err(Unattestable::OtherImage { ran: ran.config.clone(), pushed });
            }
        }
        self.images.last().map(|(ran, how)| (ran.platform.as_str(), *how)).ok_or(Unattestable::NoImage)
    }

    /// Whether there is an answer.
    fn answered(&self) -> Result<Verdict, Unattestable> {
        match self.proof.conclusion() {
            verdict @ (Verdict::Passed | Verdict::Failed { .. }) => Ok(verdict),
            Verdict::Empty => Err(Unattestable::NoTests),
            Verdict::Interrupted => Err(Unattestable::Interrupted),
            Verdict::None => Err(Unattestable::NoVerdict),
        }
    }

    fn configuration(&self, started: &RunStarted, facts: &Facts) -> Vec<Subject> {
        let told = facts.configuration.iter().map(|(name, digest)| Subject::of_bytes(name, *digest));
        let suites = Subject::of_bytes("suites", digest_of(&started.settings.suites));
        let plan = self.plan.map(|plan| Subject::of_bytes("plan", plan));
        told.chain([suites]).chain(plan).collect()
    }

    fn details(
        &self,
        started: &RunStarted,
        facts: &Facts,
        (platform, how): (&str, ImageSource),
        tests: &Tests,
    ) -> Result<Details, Unattestable> {
        let started_on = moment(&started.started)?;
        let how = match how {
            ImageSource::Built => (Origin::Built, Some(facts.level)),
            ImageSource::Found => (Origin::Reused, facts.image_level),
            ImageSource::Given => (Origin::Given, facts.image_level),
        };
        let suite = |suite: &crate::model::settings::SuiteSettings| SuiteFacts {
            name: suite.name.clone(),
            framework: suite.framework.clone(),
            command: suite.command.clone(),
        };
        Ok(Details {
            version: started.splitci.clone(),
            run: started.run.0.clone(),
            started_on,
            finished_on: started_on.plus_ms(self.last_ms),
            engine: "docker".to_owned(),
            level: facts.level,
            image: ImageFacts {
                config: facts.identity.config,
                store: facts.identity.store,
                platform: platform.to_owned(),
                how: how.0,
                level: how.1,
            },
            shards: self.shards(facts.identity.id_in(facts.identity.store)),
            suites: started.settings.suites.iter().map(suite).collect(),
            filters: Vec::new(),
            dirty: facts.dirty,
            counts: tests.counts,
            reused: self.reused(facts)?,
            names_left_out: tests.names_left_out,
            junit_sha256: facts.junit,
        })
    }

    fn shards(&self, image_id: Sha256) -> Vec<ShardFacts> {
        let by_shard = self.proof.counts_by_shard();
        let facts = self.shards.iter().map(|(shard, seen)| ShardFacts {
            index: shard.0,
            image_id,
            tests: by_shard.get(shard).map_or(0, |counts| (counts.executed() - counts.lost - counts.missing) as u64),
            exit: seen.exit,
            oom_killed: seen.oom_killed,
            lost: seen.lost,
        });
        facts.collect()
    }

    fn reused(&self, facts: &Facts) -> Result<Reused, Unattestable> {
        let mut by_run: BTreeMap<&str, Vec<&Proven>> = BTreeMap::new();
        let mut reused = Reused { tests: 0, files: 0, oldest: None, level: None, runs: Vec::new() };
        for proven in self.proof.reused() {
            let at = moment(&proven.at)?;
            reused.oldest = Some(reused.oldest.map_or(at, |oldest| oldest.min(at)));
            reused.tests += proven.tests.len() as u64;
            reused.files += 1;
            by_run.entry(&proven.of.0).or_default().push(proven);
        }
        reused.level = facts.reused_level.filter(|_| reused.files > 0);
        reused.runs = by_run.into_iter().take(MOST_RUNS).map(|(run, files)| earlier_run(run, &files)).collect();
        Ok(reused)
    }

    fn tests(&self) -> Tests {
        let mut tests = Tests::default();
        for view in self.proof.tests() {
            let suspect = view.attempts.iter().any(|attempt| attempt.outcome.is_none() && !self.killed.contains(&attempt.session));
            tests.add(&view, suspect, self.proof.tries(view.test).len() > 1);
        }
        let reused: usize = self.proof.reused().map(|proven| proven.tests.len()).sum();
        tests.counts.planned = tests.counts.executed + reused as u64;
        tests
    }
}

/// Tests in numbers and names.
#[derive(Debug, Default)]
struct Tests {
    counts: Counts,
    passed: Vec<String>,
    warned: Vec<String>,
    failed: Vec<String>,
    names_left_out: u64,
}

impl Tests {
    fn add(&mut self, view: &TestView<'_>, suspect: bool, again: bool) {
        let counts = &mut self.counts;
        counts.executed += 1;
        counts.retried += u64::from(again || suspect || view.flaky);
        let (count, names) = match view.state {
            TestState::Final(result) => match result.outcome {
                Outcome::Passed | Outcome::ExpectedFailure | Outcome::UnexpectedPass if view.flaky || suspect => {
                    (&mut counts.warned, Some(&mut self.warned))
                }
                Outcome::Passed | Outcome::ExpectedFailure | Outcome::UnexpectedPass => (&mut counts.passed, Some(&mut self.passed)),
                Outcome::Skipped => (&mut counts.skipped, None),
                Outcome::Failed | Outcome::Errored => (&mut counts.failed, Some(&mut self.failed)),
            },
            TestState::Crashed(crashed) if crashed.is_bad() => (&mut counts.failed, Some(&mut self.failed)),
            TestState::Crashed(_) | TestState::Missing => (&mut counts.missing, None),
        };
        *count += 1;
        match names {
            Some(names) if names.len() < MOST_NAMES => names.push(view.id.to_owned()),
            Some(_) => self.names_left_out += 1,
            None => (),
        }
    }
}

/// An earlier run, with a digest over all that it stands for.
fn earlier_run(run: &str, files: &[&Proven]) -> EarlierRun {
    let mut out = Encoding::default();
    out.field(0, b"splitci evidence v1");
    for proven in files {
        out.nested(1, |out| {
            out.field(1, proven.key.as_bytes());
            out.field(2, proven.file.as_bytes());
            out.field(3, proven.at.as_bytes());
            let outcome = |outcome: Outcome| if outcome == Outcome::Skipped { b"skipped".as_slice() } else { b"passed" };
            proven.tests.iter().for_each(|test| out.nested(4, |out| out.pair(test.id.as_bytes(), outcome(test.outcome))));
        });
    }
    let tests = files.iter().map(|proven| proven.tests.len() as u64).sum();
    EarlierRun { run: run.to_owned(), tests, record: files.iter().all(|proven| proven.record), sha256: sha256(out.bytes()) }
}

fn moment(text: &str) -> Result<Moment, Unattestable> {
    Moment::parse(text).ok_or_else(|| Unattestable::BadTime { text: text.to_owned() })
}

/// The SHA-256 of something as JSON.
fn digest_of(value: &impl serde::Serialize) -> Sha256 {
    // Plain data with text keys always serialises.
    sha256(&serde_json::to_vec(value).unwrap_or_default())
}
