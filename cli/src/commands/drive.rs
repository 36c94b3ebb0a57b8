//! Carries a run from its start to its end: the runtime, those who listen, signals, and what is printed when it is over.
//!
//! What a run is does not matter here: `run`, `repro` and `plan` hand in what is to be awaited.

use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use splitci_coordinator::history::{History, HistoryError};
use splitci_coordinator::model::event::Cancelled;
use splitci_coordinator::model::{Listener, RunId, Telling};
use splitci_coordinator::pipeline::{Control, Controls, Finished, PipelineError, World};
use splitci_coordinator::report::findings::findings;
use splitci_coordinator::report::{Account, Depth, junit, markdown, summary};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::Context;
use crate::args::OutputArgs;
use crate::signals::{Asked, Signals, after_sleep};
use crate::ui::ci::{Ci, from_repository};
use crate::ui::error::Failure;
use crate::ui::exit::Exit;
use crate::ui::failure;
use crate::ui::json::JsonLines;
use crate::ui::printer;
use crate::ui::progress::Progress;
use crate::ui::screen::{Keyboard, Screen};
use crate::ui::summary::colour;
use crate::ui::terminal::Terminal;
use crate::variables::{Env, KEY_PASSPHRASE, TMPDIR};
use crate::worker;

/// After a second signal, the run gets this long to end by itself before it is dropped.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Longest path in which a Unix socket can still be made below it.
const LONGEST_SCRATCH: usize = 60;

/// What a run hands to those who await it.
pub(crate) struct Start {
    /// The outside.
    pub world: World,
    /// Who listens.
    pub listener: Arc<dyn Listener>,
    /// Orders to it.
    pub controls: Controls,
}

/// What is shown while a job goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// How far it is.
    Progress,
    /// Its events on stdout, and how far it is.
    Events,
    /// What the framework shows, which has the terminal.
    Framework,
}

/// How awaiting ended.
enum Ended<T> {
    /// By itself; with the status that a signal asked for, if there was one.
    Done(T, Option<Exit>),
    /// A second signal cut it off.
    Dropped(Exit),
}

/// What a job is awaited with.
pub(super) struct Kit {
    /// Lives as long as what the job has opened.
    pub(super) runtime: Runtime,
    world: World,
}

impl Kit {
    /// A runtime, and the outside as it is.
    pub(super) fn new(context: &Context) -> Result<Self, Failure> {
        let workers = worker::binaries(&context.env).map_err(|error| Failure::new(Exit::NO_VERDICT, &error, Some(error.hint())))?;
        let world = World {
            env: context.env.clone(),
            passphrase: context.env.get(KEY_PASSPHRASE).cloned(),
            workers,
            version: env!("CARGO_PKG_VERSION").into(),
            arch: std::env::consts::ARCH.into(),
            scratch: scratch(&context.env),
            now,
        };
        Ok(Self { runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(infrastructure)?, world })
    }

    /// Awaits a job with progress and signals.
    pub(super) fn await_job<T, J>(&self, context: &Context, show: Show, job: impl FnOnce(Start) -> J) -> Result<(T, Option<Exit>), Failure>
    where
        J: Future<Output = Result<T, PipelineError>>,
    {
        // Nobody draws or counts where the framework has the terminal.
        let terminal = Terminal { live: context.terminal.live && show != Show::Framework, ..context.terminal };
        let quiet = context.quiet || show == Show::Framework;
        let progress = Arc::new(Progress::start(terminal, quiet, Ci::detect(&context.env)).map_err(infrastructure)?);
        let (orders, controls) = unbounded_channel();
        let lines = Arc::new(JsonLines::default());
        let listener: Arc<dyn Listener> = match show {
            Show::Progress => Arc::clone(&progress) as _,
            Show::Events => Arc::new(Both(Arc::clone(&progress), Arc::clone(&lines))),
            Show::Framework => Arc::new(Screen(Arc::clone(&progress) as _)),
        };
        let job = job(Start { world: self.world.clone(), listener, controls });
        let ended = self.runtime.block_on(async {
            let mut keyboard = if show == Show::Framework { Some(Keyboard::take()?) } else { None };
            tokio::select! {
                ended = attend(job, &orders, &progress) => ended,
                () = hand_on(&mut keyboard, &orders) => Err(std::io::ErrorKind::BrokenPipe.into()),
            }
        });
        progress.finish();
        let ended = ended.map_err(infrastructure)?;
        if let Some(error) = lines.lost() {
            return Err(printer::unwritten(&error));
        }
        match ended {
            Ended::Done(Ok(value), asked) => Ok((value, asked)),
            Ended::Done(Err(error), _) => {
                if let Some((name, log)) = error.failed_step() {
                    printer::tell(&failure::step(name, log, context.terminal.err));
                }
                Err(Failure::new(Exit(error.exit()), &error, error.hint()))
            }
            Ended::Dropped(exit) => {
                Err(Failure::plain(exit, "stopped at once, before the run had cleaned up", "shards end by themselves within a minute"))
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
fn infrastructure(error: std::io::Error) -> Failure {
    Failure::new(Exit::NO_VERDICT, &error, None)
}

/// Keys to the framework, if it has the terminal. Never done.
async fn hand_on(keyboard: &mut Option<Keyboard>, orders: &UnboundedSender<Control>) {
    match keyboard {
        Some(keyboard) => keyboard.hand_on(orders).await,
        None => std::future::pending().await,
    }
}

/// Awaits `job` with progress and signals.
pub(crate) fn drive<T, J>(context: &Context, show: Show, job: impl FnOnce(Start) -> J) -> Result<(T, Option<Exit>), Failure>
where
    J: Future<Output = Result<T, PipelineError>>,
{
    let kit = Kit::new(context)?;
    let ended = kit.await_job(context, show, job);
    // Whatever still blocks a thread must not keep the user from their prompt.
    kit.runtime.shutdown_background();
    ended
}

/// Waits for the run and for signals.
async fn attend<T>(job: impl Future<Output = T>, orders: &UnboundedSender<Control>, progress: &Progress) -> std::io::Result<Ended<T>> {
    let mut signals = Signals::listen()?;
    let mut asked = None;
    tokio::pin!(job);
    loop {
        let signal = tokio::select! {
            done = &mut job => return Ok(Ended::Done(done, asked)),
            signal = signals.next() => signal,
        };
        // A run that is over has no ears; its end is on its way.
        match signal {
            Asked::Continued => after_sleep(progress.asleep()).iter().for_each(|text| progress.tell(text)),
            Asked::Stop(exit) => {
                asked = Some(exit);
                let _deaf = orders.send(Control::Cancel(Cancelled::Interrupted));
            }
            Asked::StopNow(exit) => {
                let _deaf = orders.send(Control::CancelNow);
                return Ok(match tokio::time::timeout(LAST_WORDS, job).await {
                    Ok(done) => Ended::Done(done, Some(exit)),
                    Err(_) => Ended::Dropped(exit),
                });
            }
        }
    }
}

/// Awaits runs that leave records, then prints and writes what was asked for. The status to end with, and the runs.
pub(crate) fn drive_runs<J>(
    context: &Context,
    (output, tty): (&OutputArgs, bool),
    state: &Path,
    job: impl FnOnce(Start) -> J,
) -> Result<(Exit, Vec<Finished>), Failure>
where
    J: Future<Output = Result<Vec<Finished>, PipelineError>>,
{
    let junit = output.junit.as_deref().map(|file| writable(&context.directory.join(file))).transpose()?;
    let show = match (output.json, tty) {
        (_, true) => Show::Framework,
        (true, _) => Show::Events,
        _ => Show::Progress,
    };
    let (runs, asked) = drive(context, show, job)?;
    let history = History::open(state).map_err(|error| unread(&error))?;
    if let Some(file) = junit {
        write_junit(file, &history, &runs)?;
    }
    for finished in runs.iter().filter(|_| !output.json) {
        let text =
            summary::render(&account(&history, &finished.run, Depth::Messages).map_err(|error| unread(&error))?, context.terminal.width);
        let text = colour(&text, context.terminal.out);
        printer::answer(&Ci::detect(&context.env).map_or_else(|| text.clone(), |ci| ci.verbatim(text.clone())))?;
    }
    tell_ci(context, &history, &runs)?;
    for note in runs.iter().flat_map(|finished| &finished.notes) {
        printer::tell(&format!("note: {note}\n"));
    }
    let exit = worst(runs.iter().map(|finished| finished.exit));
    // A run says that it was interrupted; by which signal is known here.
    Ok((asked.filter(|_| exit == Exit::INTERRUPTED).unwrap_or(exit), runs))
}

/// What the CI system that this runs in can show: notes on lines, and a page.
fn tell_ci(context: &Context, history: &History, runs: &[Finished]) -> Result<(), Failure> {
    let Some(ci) = Ci::detect(&context.env) else { return Ok(()) };
    for finished in runs {
        let account = account(history, &finished.run, Depth::Messages).map_err(|error| unread(&error))?;
        let project = account.started().map_or_else(String::new, |started| from_repository(Path::new(&started.project), &context.env));
        printer::tell(&ci.annotations(&findings(&account), &project));
        if let Err(error) = ci.publish(&markdown::render(&account), finished.exit == 0, &context.env) {
            printer::tell(&format!("note: the summary could not be put beside the job: {error}\n"));
        }
    }
    Ok(())
}

fn unread(error: &HistoryError) -> Failure {
    Failure::new(Exit::NO_VERDICT, error, error.hint())
}

fn write_junit(mut file: fs_err::File, history: &History, runs: &[Finished]) -> Result<(), Failure> {
    // Several runs are sessions of one; the last one ends with what was asked for.
    let Some(finished) = runs.last() else { return Ok(()) };
    let account = account(history, &finished.run, Depth::Outputs).map_err(|error| unread(&error))?;
    let text = junit::render(&account).map_err(|error| Failure::new(Exit::BUG, &error, None))?;
    file.write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::NO_VERDICT, &error, None))
}

/// The status of several runs: a bad outcome first, then a missing one, then an early end, then nothing to do.
fn worst(exits: impl Iterator<Item = u8> + Clone) -> Exit {
    let order = [1, 3, Exit::INTERRUPTED.0, 4];
    let first = order.into_iter().find(|exit| exits.clone().any(|other| other == *exit));
    Exit(first.or_else(|| exits.max()).unwrap_or(0))
}

/// The file, made before the run: a report that cannot be written is better known now than after an hour.
fn writable(path: &Path) -> Result<fs_err::File, Failure> {
    fs_err::File::create(path)
        .map_err(|error| Failure::new(Exit::USAGE, &error, Some("`--junit` names a file in a directory that exists".into())))
}

/// A run, from its record.
pub(crate) fn account(history: &History, run: &RunId, depth: Depth) -> Result<Account, HistoryError> {
    Account::replay(&mut history.read(run)?, depth)
}

fn scratch(env: &Env) -> std::path::PathBuf {
    let wanted = env.get(TMPDIR).filter(|path| path.starts_with('/') && path.len() <= LONGEST_SCRATCH);
    wanted.map_or("/tmp", String::as_str).into()
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// The terminal and stdout.
struct Both(Arc<Progress>, Arc<JsonLines>);

impl Listener for Both {
    fn hear(&self, telling: &Telling) {
        self.1.hear(telling);
        self.0.hear(telling);
    }
}
