//! `splitci repro`: runs exactly what a shard ran, from the record: the same image, units and tests in the executed order, seed and environment,
//! each session in a process of its own.
//!
//! What a session executed is read from its leases: a unit from the lease's first ordinal on, up to where it was interrupted. With a test given, the
//! session that ran it last is run up to and including it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::plans::given;
use super::results::Reuse;
use super::run::{Job, at_ease, carry_out, new_run};
use super::{Controls, Finished, PipelineError, World};
use crate::config::Project;
use crate::history::History;
use crate::model::event::{EventKind, RunEvent, RunStarted};
use crate::model::settings::{Order, RunSettings, SuiteSettings};
use crate::model::verdict::Verdict;
use crate::model::{
    Fence, ImageIdentity, Listener, Manifest, RunId, Select, SessionId, ShardId, SuiteId, TerminalSize, TestKey, Unit, UnitId, UnitKind,
};
use crate::proof::Proof;

/// What to run again.
#[derive(Debug, Clone)]
pub struct ReproRequest {
    /// The project: where its history is, and where process shards run.
    pub project: Project,
    /// The run, as the user names it.
    pub run: String,
    /// One of its shards; without it those that had failures.
    pub shard: Option<u32>,
    /// Only up to this test, by its id.
    pub test: Option<String>,
    /// Variables for the tests on top of those that the record names.
    pub env: Vec<(String, String)>,
    /// Leave the shards for a look.
    pub keep: bool,
    /// The framework gets the invoker's terminal, of this size.
    pub terminal: Option<TerminalSize>,
}

/// Runs it, session after session; one result each. Stops early when the user does.
pub async fn repro(
    request: &ReproRequest,
    world: &World,
    listener: Arc<dyn Listener>,
    mut controls: Controls,
) -> Result<Vec<Finished>, PipelineError> {
    let history = History::open(&request.project.records.state)?;
    let run = history.resolve(&request.run)?;
    let past = Past::read(&history, &run)?;
    let mut finished = Vec::new();
    for session in past.wanted(request)? {
        let job = past.job(request, session, world);
        let expected = past.expected(&job);
        let (forward, controls_here) = mpsc::unbounded_channel();
        let mut stopped = false;
        let one = carry_out(job, world, &history, Arc::clone(&listener), controls_here);
        tokio::pin!(one);
        let result = loop {
            tokio::select! {
                result = &mut one => break result,
                Some(order) = controls.recv() => {
                    stopped = true;
                    // A run that is over does not listen any more, and need not.
                    forward.send(order).ok();
                }
            }
        };
        let (mut one, _, proof) = result?;
        if let Some(what) = differing(&expected, &proof) {
            match one.verdict {
                // A pass of other tests is no reproduction.
                Verdict::Passed | Verdict::Empty => return Err(PipelineError::NotTheSame { run, what }),
                // A failure is one all the same.
                Verdict::Failed { .. } if !stopped => one.notes.push(format!("this was no exact reproduction: {what}")),
                // What was cut off says nothing of the tests that it did not come to.
                Verdict::Failed { .. } | Verdict::None | Verdict::Interrupted => {}
            }
        }
        finished.push(one);
        if stopped {
            break;
        }
    }
    Ok(finished)
}

/// What a record says of the sessions of a run.
pub(super) struct Past {
    started: RunStarted,
    image: Option<(ImageIdentity, String)>,
    manifest: Manifest,
    sessions: BTreeMap<SessionId, Vec<Executed>>,
    fences: BTreeMap<Fence, SessionId>,
    ids: BTreeMap<UnitId, Vec<String>>,
    /// Leases under which a test failed, with its ordinal.
    failed: BTreeSet<(Fence, u32)>,
    proof: Proof,
}

/// A unit as a session executed it.
#[derive(Debug, Clone, Copy)]
struct Executed {
    unit: UnitId,
    fence: Fence,
    from: u32,
    until: Option<u32>,
    declared: bool,
}

impl Past {
    pub(super) fn read(history: &History, run: &RunId) -> Result<Self, PipelineError> {
        let mut events = history.read(run)?;
        let Some(first) = events.next().transpose()? else { return Err(nothing(run, "events", "it ended before it began")) };
        let EventKind::RunStarted(started) = &first.kind else { return Err(nothing(run, "beginning", "its record is damaged")) };
        let mut past = Self {
            started: (**started).clone(),
            image: None,
            manifest: Manifest { units: Vec::new() },
            sessions: BTreeMap::new(),
            fences: BTreeMap::new(),
            ids: BTreeMap::new(),
            failed: BTreeSet::new(),
            proof: Proof::default(),
        };
        past.proof.apply(&first);
        for event in events {
            past.take(&event?);
        }
        Ok(past)
    }

    fn take(&mut self, event: &RunEvent) {
        match &event.kind {
            EventKind::RetryPlanned(planned) => {
                let of = self.manifest.get(planned.of);
                let (suite, file) = of.map(|unit| (unit.suite, unit.file.clone())).unwrap_or_default();
                let kind = UnitKind::Part { select: Select::Only(planned.ids.clone()), from: 0, until: None };
                self.manifest.units.push(Unit::new(suite, file, kind));
            }
            EventKind::TestFinished(finished) if finished.outcome.is_bad() => {
                self.failed.insert((finished.fence, finished.test.ordinal));
            }
            EventKind::ImageReady { identity, reference, .. } => self.image = Some((identity.clone(), reference.clone())),
            EventKind::PlanMade { manifest, .. } => self.manifest = manifest.clone(),
            EventKind::UnitLeased { unit, fence, session, from, .. } => {
                self.fences.insert(*fence, *session);
                let executed = Executed { unit: *unit, fence: *fence, from: *from, until: None, declared: false };
                self.sessions.entry(*session).or_default().push(executed);
            }
            EventKind::UnitDeclared { unit, fence, ids, .. } => {
                self.ids.insert(*unit, ids.clone());
                if let Some(executed) = self.executed(*fence) {
                    executed.declared = true;
                }
            }
            EventKind::UnitInterrupted { fence, final_below, suspect, .. } => {
                // A suspect that is its own file's loading has no tests after it.
                let until = suspect.filter(|ordinal| *ordinal != u32::MAX).map_or(*final_below, |ordinal| ordinal.saturating_add(1));
                if let Some(executed) = self.executed(*fence) {
                    executed.until = (until != u32::MAX).then_some(until);
                }
            }
            _ => {}
        }
        self.proof.apply(event);
    }

    fn executed(&mut self, fence: Fence) -> Option<&mut Executed> {
        let session = self.fences.get(&fence)?;
        self.sessions.get_mut(session)?.iter_mut().find(|executed| executed.fence == fence)
    }

    /// The sessions to run, in their order.
    pub(super) fn wanted(&self, request: &ReproRequest) -> Result<Vec<SessionId>, PipelineError> {
        if let Some(id) = &request.test {
            return self.last_session_of(id, request.shard.map(ShardId)).map(|session| vec![session]).ok_or_else(|| {
                let known = self.proof.reused().find(|known| known.tests.iter().any(|test| test.id == *id));
                let hint = known.map_or_else(
                    || "give an id as the summary or `splitci report RUN --format json` has it".to_owned(),
                    |known| format!("it was not run then, for run {0} shows it: `splitci repro {0} --test ...`", known.of),
                );
                nothing(&self.started.run, &format!("test `{id}`"), &hint)
            });
        }
        let failing: BTreeSet<ShardId> = self.proof.failures().map(|failure| failure.session.shard).collect();
        let wanted = |shard: ShardId| request.shard.map_or_else(|| failing.contains(&shard), |number| shard == ShardId(number));
        let sessions: Vec<SessionId> = self.sessions.keys().copied().filter(|session| wanted(session.shard)).collect();
        if sessions.is_empty() {
            let what = request.shard.map_or_else(|| "failures".to_owned(), |shard| format!("shard {shard} that ran something"));
            let shards: BTreeSet<String> = self.sessions.keys().map(|session| session.shard.to_string()).collect();
            let hint = format!("its shards are {}; name one with `--shard`", shards.into_iter().collect::<Vec<_>>().join(", "));
            return Err(nothing(&self.started.run, &what, &hint));
        }
        Ok(sessions)
    }

    /// Where a test is, by its id; without its suite's name too, if no other test is called that.
    fn place_of(&self, id: &str) -> Vec<TestKey> {
        let exact = self.places(id);
        if !exact.is_empty() {
            return exact;
        }
        self.started.settings.suites.iter().flat_map(|suite| self.places(&suite.named(id))).collect()
    }

    fn places(&self, id: &str) -> Vec<TestKey> {
        let ordinals = |ids: &[String]| (0..).zip(ids).filter(|(_, other)| *other == id).map(|(ordinal, _)| ordinal).collect::<Vec<u32>>();
        let tests = self.ids.iter().flat_map(|(unit, ids)| ordinals(ids).into_iter().map(|ordinal| TestKey { unit: *unit, ordinal }));
        tests.collect()
    }

    /// The session that ran a test last; where it failed, if it did so anywhere.
    fn last_session_of(&self, id: &str, shard: Option<ShardId>) -> Option<SessionId> {
        let places = self.place_of(id);
        let ran = |executed: &&Executed| places.iter().any(|place| executed.has(*place));
        let failed = |executed: &Executed| places.iter().any(|place| self.failed.contains(&(executed.fence, place.ordinal)));
        let here = |session: &&SessionId| shard.is_none_or(|shard| session.shard == shard);
        let all = self.sessions.iter().filter(|(session, _)| here(session));
        let leases = all.flat_map(|(session, units)| units.iter().filter(ran).map(|executed| (failed(executed), executed.fence, *session)));
        leases.max().map(|(.., session)| session)
    }

    /// The run that repeats a session.
    pub(super) fn job<'a>(&self, request: &'a ReproRequest, session: SessionId, world: &World) -> Job<'a> {
        let executed = self.sessions.get(&session).map_or(&[][..], Vec::as_slice);
        let places = request.test.as_ref().map(|id| self.place_of(id));
        let mut units = Vec::new();
        for one in executed.iter().filter(|executed| executed.declared || executed.until.is_none()) {
            let Some(unit) = self.manifest.get(one.unit) else { continue };
            let last = places.iter().flatten().filter(|place| one.has(**place)).map(|place| place.ordinal).max();
            let until = last.map_or(one.until, |ordinal| Some(ordinal + 1));
            let kind = UnitKind::Part { select: unit.select(), from: one.from.max(lowest(unit)), until };
            // The one suite of the session is all that the reproduction has.
            units.push(Unit::new(SuiteId::default(), unit.file.clone(), kind));
            if last.is_some() {
                break;
            }
        }
        let suite = executed.iter().find_map(|one| Some(self.manifest.get(one.unit)?.suite)).unwrap_or_default();
        let suites = self.started.settings.suite(suite).cloned().into_iter().collect();
        let mut settings =
            RunSettings { shards: 1, order: Order::Defined, fail_fast: false, retries: 0, suites, ..self.started.settings.clone() };
        if request.terminal.is_some() {
            settings.timeouts = at_ease(settings.timeouts);
        }
        Job {
            project: &request.project,
            project_id: [0; 32],
            run: new_run(),
            cache: None,
            level: None,
            shards: self.started.settings.shards,
            settings,
            planner: given(Manifest { units }),
            recalled: Vec::new(),
            durations: BTreeMap::new(),
            reuse: Reuse::Off,
            of: Some(self.started.run.clone()),
            list_only: false,
            as_shard: Some(session),
            image: self.image.clone(),
            keep: request.keep,
            notices: self.variables(request, world),
            overrides: request.env.clone(),
            terminal: request.terminal,
            filters: Vec::new(),
            reused_level: None,
            provenance: None,
        }
    }
}

impl Past {
    /// What is to be said of variables whose values no record holds.
    fn variables(&self, request: &ReproRequest, world: &World) -> Vec<String> {
        let given: BTreeSet<&str> =
            request.project.environment.iter().map(|(name, _)| name).chain(request.env.iter().map(|(name, _)| name.as_str())).collect();
        let open = self.started.settings.env_names.iter().map(String::as_str).filter(|name| !given.contains(name));
        let (taken, missing): (Vec<_>, Vec<_>) = open.partition(|name| world.env.contains_key(*name));
        let taken = (!taken.is_empty()).then(|| format!("taken from your environment, as the record has no values: {}", taken.join(", ")));
        let missing = (!missing.is_empty()).then(|| {
            format!("the run had variables that are not set here: {}; give them with `--env` or `--env-file`", missing.join(", "))
        });
        taken.into_iter().chain(missing).collect()
    }

    /// Name of the run's image, if it had one.
    pub(super) fn image_name(&self) -> Option<&str> {
        self.image.as_ref().map(|(_, reference)| reference.as_str())
    }

    /// The files that a job runs, in its order, if there are any.
    pub(super) fn files_of(job: &Job<'_>, suite: &SuiteSettings) -> Option<Vec<String>> {
        let mut files: Vec<_> = (job.planner)(&[]).manifest.units.iter().map(|unit| suite.plain(&unit.file).to_owned()).collect();
        files.dedup();
        (!files.is_empty()).then_some(files)
    }

    /// The tests that a job runs, by the record: file and id, unit after unit.
    fn expected(&self, job: &Job<'_>) -> Vec<(String, String)> {
        let manifest = (job.planner)(&[]).manifest;
        let ids_of = |file: &str| self.manifest.iter().filter(|(_, unit)| unit.file == file).find_map(|(id, _)| self.ids.get(&id));
        let mut tests = Vec::new();
        for unit in &manifest.units {
            let UnitKind::Part { select, from, until } = &unit.kind else { continue };
            let Some(ids) = ids_of(&unit.file) else { continue };
            let within = (0_u32..).zip(ids).filter(|(ordinal, _)| ordinal >= from && until.is_none_or(|until| *ordinal < until));
            let chosen = within.filter(|(_, id)| match select {
                Select::All => true,
                Select::Only(only) => only.contains(id),
                Select::Except(others) => !others.contains(id),
            });
            tests.extend(chosen.map(|(_, id)| (unit.file.clone(), id.clone())));
        }
        tests
    }
}

/// How what ran differs from what was to be repeated.
fn differing(expected: &[(String, String)], proof: &Proof) -> Option<String> {
    let count = |all: &mut dyn Iterator<Item = (String, String)>| {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        all.for_each(|test| *counts.entry(test).or_default() += 1);
        counts
    };
    let before = count(&mut expected.iter().cloned());
    let now = count(&mut proof.tests().map(|test| (test.unit_file.to_owned(), test.id.to_owned())));
    let missing =
        before.iter().find(|(test, n)| now.get(*test).is_none_or(|now| now < *n)).map(|((_, id), _)| format!("{id} is not there any more"));
    let fresh = || {
        now.iter()
            .find(|(test, n)| before.get(*test).is_none_or(|before| before < *n))
            .map(|((_, id), _)| format!("{id} was not there then"))
    };
    missing.or_else(fresh)
}

impl Executed {
    fn has(&self, place: TestKey) -> bool {
        self.unit == place.unit && place.ordinal >= self.from && self.until.is_none_or(|until| place.ordinal < until)
    }
}

fn lowest(unit: &Unit) -> u32 {
    match unit.kind {
        UnitKind::Part { from, .. } => from,
        UnitKind::File | UnitKind::Slice { .. } | UnitKind::Fallback => 0,
    }
}

fn nothing(run: &RunId, what: &str, hint: &str) -> PipelineError {
    PipelineError::NothingToRepeat { run: run.clone(), what: what.to_owned(), hint: hint.to_owned() }
}
