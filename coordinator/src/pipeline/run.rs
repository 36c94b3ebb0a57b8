//! `splitci run` and `splitci plan`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cache::{Cache, Opening};
use super::ground::{Ground, prepare};
use super::launches::{framework_of, launcher};
use super::layers::Sending;
use super::plans::{durations, expected, failed_before, narrow, planned, replanned, vanished};
use super::repository::identity;
use super::results::{Known, Reuse};
use super::tellers::Tellers;
use super::tidy::Tidy;
use super::{Controls, Finished, PipelineError, Planned, World, images, provenance, timings};
use crate::config::Project;
use crate::history::{History, Keep};
use crate::model::chain;
use crate::model::event::{EventKind, ImageSource, Recalled, RunStarted};
use crate::model::settings::{EngineKind, RunSettings, SuiteSettings, Timeouts};
use crate::model::trust::Level;
use crate::model::verdict::Verdict;
use crate::model::{ImageIdentity, Listener, Progress, Provenance, RunId, SessionId, Telling, TerminalSize};
use crate::plan::Timings;
use crate::proof::Proof;
use crate::queue::Epoch;
use crate::run::{Brief, Obstacle, Outcome, Planner, Run, SuiteBrief, supervise};
use crate::tally::Worth;

/// What to run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The project.
    pub project: Project,
    /// Only the tests that failed in the last run.
    pub only_failed: bool,
    /// Leave the shards for a look.
    pub keep: bool,
    /// Paths were given for this run: it is about nothing else.
    pub paths_given: bool,
    /// What leaves tests out and stands in no file, as it was given on the command line: paths, options, arguments of the framework.
    pub filters: Vec<String>,
    /// The framework gets the invoker's terminal, of this size; one shard, and no limits of time.
    pub terminal: Option<TerminalSize>,
}

/// Runs a project's suite. However that ends, what it remembered is sent and what the cache was good for is noted.
pub async fn run(request: &RunRequest, world: &World, listener: Arc<dyn Listener>, controls: Controls) -> Result<Finished, PipelineError> {
    let history = History::open(&request.project.records.state)?;
    let run = new_run();
    let opening = Cache::open(&request.project, &run, world).await?;
    let cache = opening.cache.clone();
    let ended = remembering(request, world, (run, opening, &history), Arc::clone(&listener), controls).await;
    let notes = match cache {
        Some(cache) => cache.close(&(world.now)()).await,
        None => Vec::new(),
    };
    match ended {
        Ok(finished) => Ok(Finished { notes: finished.notes.into_iter().chain(notes).collect(), ..finished }),
        Err(error) => {
            tell(notes, listener.as_ref());
            Err(error)
        }
    }
}

/// What the user should know where there is no result that it could stand in.
pub(super) fn tell(notes: Vec<String>, listener: &dyn Listener) {
    for note in notes {
        listener.hear(&Telling::Progress(Progress::Doing(note)));
    }
}

async fn remembering(
    request: &RunRequest,
    world: &World,
    (run, opening, history): (RunId, Opening, &History),
    listener: Arc<dyn Listener>,
    controls: Controls,
) -> Result<Finished, PipelineError> {
    let project = &request.project;
    let Opening { cache, level, mut notices } = opening;
    let project_id = identity(project);
    let timings = timings::known(history, cache.as_deref(), project_id).await;
    notices.extend(timings.notice);
    let mut settings = project.settings.clone();
    if request.terminal.is_some() {
        settings.timeouts = at_ease(settings.timeouts);
    }
    let durations = durations(&timings.timings);
    let mut failed_tests = Vec::new();
    let (of, planner) = if request.only_failed {
        let (of, only) = failed_before(history)?;
        failed_tests.clone_from(&only);
        narrow(&mut settings, &only)?;
        (Some(of), replanned(&settings, only, request.paths_given))
    } else {
        (None, planned(&settings, timings.timings)?)
    };
    let job = Job {
        project,
        project_id,
        run,
        cache: cache.clone(),
        level,
        settings,
        planner,
        recalled: Vec::new(),
        durations,
        reuse: reuse(request),
        of,
        list_only: false,
        as_shard: None,
        shards: project.settings.shards,
        image: None,
        keep: request.keep,
        notices,
        overrides: Vec::new(),
        terminal: request.terminal,
        filters: provenance::filters(request, &world.env),
        reused_level: None,
        provenance: None,
    };
    let (mut finished, told, proof) = carry_out(job, world, history, listener, controls).await?;
    finished.notes.extend(vanished(&failed_tests, &proof));
    let picking: Vec<_> = project.settings.suites.iter().filter(|suite| picks_tests(suite)).collect();
    let whole = |file: &str| !request.only_failed && picking.iter().all(|suite| suite.owned(file).is_none());
    let lessons = told.loads().lessons(&proof, whole);
    finished.notes.extend(timings::learn(&lessons, history, cache.as_deref(), project_id).await);
    Ok(finished)
}

/// Lists the suites and says what would run, in which order. Starts one shard a suite, and runs no test.
pub async fn plan(request: &RunRequest, world: &World, listener: Arc<dyn Listener>, controls: Controls) -> Result<Planned, PipelineError> {
    let project = &request.project;
    let history = History::open(&project.records.state)?;
    let timings = history.timings().load::<Timings>();
    let suites = u32::try_from(project.settings.suites.len()).unwrap_or(u32::MAX);
    let settings = RunSettings { shards: suites, ..project.settings.clone() };
    let shards = project.settings.shards;
    let job = Job {
        project,
        project_id: identity(project),
        run: new_run(),
        cache: None,
        level: None,
        settings,
        planner: planned(&project.settings, timings.timings)?,
        recalled: Vec::new(),
        durations: BTreeMap::new(),
        reuse: Reuse::Off,
        of: None,
        list_only: true,
        as_shard: None,
        shards,
        image: None,
        keep: request.keep,
        notices: timings.notice.into_iter().collect(),
        overrides: Vec::new(),
        terminal: None,
        filters: Vec::new(),
        reused_level: None,
        provenance: None,
    };
    let told = Arc::new(Tellers::new(None, listener));
    let ground = prepare(&job, world, told.user.as_ref()).await?;
    let outcome = go(job, ground, world, Arc::clone(&told), controls).await?;
    obstacle(&outcome, &project.settings.suites)?;
    let manifest = told.manifest().ok_or(PipelineError::NotListed)?;
    Ok(Planned { manifest, shards })
}

/// One run, as its caller has decided it.
pub(super) struct Job<'a> {
    pub(super) project: &'a Project,
    /// What the project is called where memory is shared.
    pub(super) project_id: [u8; 32],
    /// Its name.
    pub(super) run: RunId,
    /// What it remembers beside its record, if it remembers anything.
    pub(super) cache: Option<Arc<Cache>>,
    /// How far it is trusted; nothing if only here.
    pub(super) level: Option<Level>,
    pub(super) settings: RunSettings,
    pub(super) planner: Planner,
    /// What earlier runs listed of all suites, where that is of use.
    pub(super) recalled: Vec<Recalled>,
    /// How long each file took before, in microseconds.
    pub(super) durations: BTreeMap<String, u64>,
    /// What it has to do with results of other runs.
    pub(super) reuse: Reuse,
    pub(super) of: Option<RunId>,
    pub(super) list_only: bool,
    /// The shard whose place a reproduction takes.
    pub(super) as_shard: Option<SessionId>,
    /// How many shards tests are told that there are.
    pub(super) shards: u32,
    /// The image that must be used, with its name: that of the run which is reproduced.
    pub(super) image: Option<(ImageIdentity, String)>,
    /// Leave the shards for a look.
    pub(super) keep: bool,
    /// What the user should know, a sentence each.
    pub(super) notices: Vec<String>,
    /// Variables that a reproduction is given on top of what the record says.
    pub(super) overrides: Vec<(String, String)>,
    /// The framework gets the invoker's terminal, of this size.
    pub(super) terminal: Option<TerminalSize>,
    /// What leaves tests out and stands in no file.
    pub(super) filters: Vec<String>,
    /// The lowest level that results were kept at which it may reuse.
    pub(super) reused_level: Option<Level>,
    /// What the run is of, once that is known.
    pub(super) provenance: Option<Provenance>,
}

/// A run from its ground to its record.
pub(super) async fn carry_out(
    job: Job<'_>,
    world: &World,
    history: &History,
    listener: Arc<dyn Listener>,
    mut controls: Controls,
) -> Result<(Finished, Arc<Tellers>, Proof), PipelineError> {
    let (run, keep) = (job.run.clone(), job.keep);
    // The tree is looked at while it is read for the build, and once more afterwards.
    let preparing = async { tokio::join!(prepare(&job, world, listener.as_ref()), provenance::tree(&job)) };
    let (mut ground, tree) = tokio::select! {
        (ground, tree) = Box::pin(preparing) => (ground?, tree),
        // Dropping the preparation cancels a build.
        Some(_) = controls.recv() => return Err(PipelineError::Interrupted),
    };
    let mut job = job;
    if let Some(cache) = &job.cache {
        cache.count(images::IMAGE, worth_of_image(&ground));
        if let Some(image) = &ground.image_ready {
            // Counted by the store: what is not remembered is built again elsewhere.
            let _counted = images::is_there(cache, image, ground.parcel.is_some()).await;
        }
    }
    let known = Known::of(&mut job, &ground, world)?;
    let mut job = match &known {
        Some(known) => known.offer_to(job, &run, history).await,
        None => job,
    };
    job.provenance = provenance::of(&job, &ground, tree).await;
    let (project, suites, started) = (job.project, job.settings.suites.clone(), ground.started.clone());
    let record = history.begin(&run)?;
    let path = record.path().to_owned();
    let told = Arc::new(Tellers::new(Some(record), listener));
    let cache = job.cache.clone();
    let others = cache.clone().zip(ground.image_ready.clone());
    let mut sending = ground.parcel.take().map(|parcel| Sending::of(parcel, &told, others));
    let going = go(job, ground, world, Arc::clone(&told), controls);
    let outcome = match &mut sending {
        Some(sending) => sending.beside(going).await?,
        None => going.await?,
    };
    let kept = told.record.as_ref().map_or(Ok(()), |record| tokio::task::block_in_place(|| record.finish()));
    obstacle(&outcome, &suites)?;
    let exit = exit_of(outcome.verdict, project, kept.is_err());
    let mut notes = Vec::new();
    match kept {
        Err(error) if exit == 3 => return Err(error.into()),
        Err(error) => notes.push(format!("{}: what is reported is what was written until then", chain(&error))),
        Ok(()) => {
            // What is in no record is shown to nobody, and nothing is kept of it.
            if let Some(known) = &known {
                notes.extend(known.learn(&outcome.proof, &run, &started).await);
            }
            // Old records are a matter of space, not of this run.
            let crowded = history.retain(Keep { records: project.records.keep as usize, bytes: project.records.keep_bytes });
            notes.extend(crowded.err().map(|error| format!("old records could not be removed: {}", chain(&error))));
        }
    }
    notes.extend(nothing_found(&outcome, project));
    if let Some(sending) = sending {
        notes.push(sent(sending, &outcome, cache.as_deref()).await);
    }
    if keep && project.settings.engine == EngineKind::Docker {
        let these = format!("--filter label=splitci.run={run}");
        notes
            .push(format!("containers were kept: `docker ps -a {these}` lists them, `docker rm -v $(docker ps -aq {these})` removes them"));
    }
    Ok((Finished { run, verdict: outcome.verdict, exit, record: path, notes }, told, outcome.proof))
}

/// Waits for what is sent, and counts how long that took.
async fn sent(sending: Sending, outcome: &Outcome, cache: Option<&Cache>) -> String {
    let arrived = sending.arrived(outcome.verdict == Verdict::Interrupted).await;
    if let (Some(cache), Some(_)) = (cache, arrived.remote) {
        cache.count("layers", Worth { cost_ms: u64::try_from(arrived.took.as_millis()).unwrap_or(u64::MAX), ..Worth::default() });
    }
    arrived.note
}

/// What it was good for that the image was there.
fn worth_of_image(ground: &Ground) -> Worth {
    match ground.image_ready {
        Some(EventKind::ImageReady { how: ImageSource::Found, saved_ms, took_ms, .. }) => Worth { reused: 1, saved_ms, cost_ms: took_ms },
        _ => Worth::default(),
    }
}

/// An image without tests is mostly one that they did not get into.
fn nothing_found(outcome: &Outcome, project: &Project) -> Option<String> {
    let empty =
        outcome.verdict == Verdict::Empty && outcome.proof.suite().next().is_none() && project.settings.engine == EngineKind::Docker;
    let text = "the framework finds no tests in the image: is their directory copied by the Dockerfile, and not excluded in .dockerignore?";
    empty.then(|| text.to_owned())
}

/// An unwritten record is no proof, but does not make a failure less of one.
fn exit_of(verdict: Verdict, project: &Project, unwritten: bool) -> u8 {
    let exit = verdict.exit_code(project.settings.allow_empty);
    if unwritten && matches!(exit, 0 | 4) { 3 } else { exit }
}

/// What kept every session from coming up, as an error, where it is the invoker's.
fn obstacle(outcome: &Outcome, suites: &[SuiteSettings]) -> Result<(), PipelineError> {
    let Some((suite, obstacle)) = outcome.obstacle.clone().filter(|(suite, _)| !outcome.proof.is_listed(*suite)) else { return Ok(()) };
    let suite = usize::try_from(suite.0).ok().and_then(|at| suites.get(at));
    let command = suite.map(|suite| suite.command.join(" ")).unwrap_or_default();
    match obstacle {
        Obstacle::Absent(tried) => Err(PipelineError::Absent { tried, command }),
        Obstacle::Usage(said) => Err(PipelineError::Usage { said, command }),
        Obstacle::Refused(said) => Err(PipelineError::Refused { said }),
    }
}

async fn go(job: Job<'_>, ground: Ground, world: &World, told: Arc<Tellers>, controls: Controls) -> Result<Outcome, PipelineError> {
    let preamble = preamble(&job, &ground, world);
    let mut suites = Vec::new();
    for suite in &job.settings.suites {
        let expected_ms = expected(suite, &job.durations);
        suites.push(SuiteBrief { usage_status: framework_of(suite)?.usage_status(), expected_ms });
    }
    let brief = Brief {
        run: ground.run.clone(),
        epoch: Epoch(ulid::Ulid::generate().0),
        launch: launcher(&job, &ground, world)?,
        recalled: job.recalled,
        plan: job.planner,
        suites,
        boots_at_a_time: boots_at_a_time(&job.settings),
        list_only: job.list_only,
        terminal: job.terminal,
        preamble,
        settings: job.settings,
    };
    let engine = Arc::clone(&ground.engine);
    let tidying = Tidy { engine: Arc::clone(&engine), images: ground.tidying, told: Arc::clone(&told) };
    let running = Box::pin(supervise(Run::new(brief), engine, told, controls));
    let outcome = tidying.beside(running).await;
    Ok(outcome)
}

/// Processes share this machine's processors with nobody who plans for them. Containers may be given some of their own, and start one by one anyway.
fn boots_at_a_time(settings: &RunSettings) -> Option<u32> {
    let cpus = std::thread::available_parallelism().ok().and_then(|cpus| u32::try_from(cpus.get()).ok());
    cpus.filter(|_| settings.engine == EngineKind::Process)
}

/// No limits for somebody who thinks: a week.
pub(super) fn at_ease(timeouts: Timeouts) -> Timeouts {
    const WEEK_MS: u64 = 7 * 24 * 3_600_000;
    Timeouts { test_ms: WEEK_MS, run_ms: WEEK_MS, ..timeouts }
}

/// What is told of a run before anything happens in it.
fn preamble(job: &Job<'_>, ground: &Ground, world: &World) -> Vec<EventKind> {
    let started = RunStarted {
        run: ground.run.clone(),
        splitci: world.version.clone(),
        project: job.project.root.display().to_string(),
        started: ground.started.clone(),
        settings: job.settings.clone(),
        of: job.of.clone(),
        repeats: job.as_shard,
        provenance: job.provenance.clone(),
    };
    let mut notices: Vec<_> = job.project.notices.iter().chain(&job.notices).chain(&ground.notices).cloned().collect();
    if job.keep && job.settings.engine == EngineKind::Process {
        notices.push("--keep leaves containers for a look; local processes leave nothing".to_owned());
    }
    let begun = std::iter::once(EventKind::RunStarted(Box::new(started))).chain(ground.image_ready.clone());
    begun.chain(notices.into_iter().map(|text| EventKind::Notice { session: None, text })).collect()
}

pub(super) fn new_run() -> RunId {
    RunId(ulid::Ulid::generate().to_string())
}

/// Whether a suite's command runs only some tests of its files.
fn picks_tests(suite: &SuiteSettings) -> bool {
    framework_of(suite).is_ok_and(|framework| framework.picks_tests(&suite.command))
}

/// What a run has to do with results of others: only one that runs whole files of its own accord keeps any.
fn reuse(request: &RunRequest) -> Reuse {
    match (request.project.cache.results, request.project.cache.fresh) {
        _ if request.only_failed || request.terminal.is_some() => Reuse::Off,
        (false, _) => Reuse::Watch,
        (true, true) => Reuse::Keep,
        (true, false) => Reuse::Use,
    }
}
