//! Turns what a listener hears into lines that stay: failures the moment they happen, the image, what was lost, what to know.
//!
//! Pure. Keeps the board too, since names of tests and shards come from there. Lines of the second kind are for logs alone: where there is a live
//! display, it shows the same in place.

use std::collections::{BTreeMap, HashSet};

use splitci_coordinator::model::event::{Cancelled, Close, EventKind, ImageSource, RunStarted, SessionEnded, ShardLoss, Superseded};
use splitci_coordinator::model::progress::{BuildStep, BuildStepState};
use splitci_coordinator::model::settings::EngineKind;
use splitci_coordinator::model::{Progress, SessionId, Slot, SuiteId, Telling, TestKey, UnitId};

use super::board::Board;
use super::ci::Ci;
use super::failure;
use super::rows::{count, span};
use super::terminal::{Paint, tame};

/// What the group of a build is called.
const BUILD_GROUP: &str = "build the image";
/// Kept of what a session prints, in bytes: enough for the stacks of a few threads.
const LAST_WORDS: usize = 8 << 10;

/// What to print.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// On any stderr, to stay.
    pub always: String,
    /// Only where nothing is live.
    pub calm: String,
}

impl Lines {
    fn always(text: String) -> Self {
        Self { always: text, calm: String::new() }
    }

    fn calm(text: String) -> Self {
        Self { always: String::new(), calm: text }
    }
}

/// Keeps the board and says what happens.
#[derive(Debug)]
pub(crate) struct Teller {
    /// What stands now.
    pub board: Board,
    paint: Paint,
    quiet: bool,
    said: HashSet<String>,
    build_began: Option<u64>,
    /// The CI system that groups are for, and the wall clock when the telling began, in seconds.
    ci: Option<(Ci, u64)>,
    grouped: bool,
    /// The run's limit for one test.
    limit_ms: u64,
    stopping: bool,
    /// Names of the suites, where they have some.
    suites: BTreeMap<SuiteId, String>,
    /// Tests and files that are not run, and files that are run to see whether they still do what they did.
    reused: (usize, usize, usize),
    /// The end of what sessions printed, since what is shown of them was shown.
    last_words: BTreeMap<SessionId, String>,
}

impl Teller {
    /// With colours or not; quiet tells failures alone.
    pub(crate) fn new(paint: Paint, quiet: bool, ci: Option<(Ci, u64)>) -> Self {
        Self {
            board: Board::default(),
            paint,
            quiet,
            said: HashSet::new(),
            build_began: None,
            ci: ci.filter(|_| !quiet),
            grouped: false,
            limit_ms: 0,
            stopping: false,
            suites: BTreeMap::new(),
            reused: (0, 0, 0),
            last_words: BTreeMap::new(),
        }
    }

    /// Takes note, and gives what is to be printed.
    pub(crate) fn hear(&mut self, telling: &Telling, now: u64) -> Lines {
        // Failures need the names that stand before the event, everything else does not care.
        let mut lines = match telling {
            Telling::Event(event) => self.event(&event.kind, now),
            Telling::Progress(progress) => self.progress(progress, now),
        };
        if let (Some((ci, _)), Telling::Event(_)) = (self.ci, telling) {
            lines.always = ci.verbatim(lines.always);
        }
        self.board.hear(telling, now);
        lines
    }

    fn label(&self, label: &str, text: &str) -> String {
        if self.quiet { String::new() } else { format!("{} {}\n", self.paint.faint(&format!("{label:>6}")), tame(text)) }
    }

    /// What is put before what is said of one of several suites.
    fn of_suite(&self, suite: SuiteId) -> String {
        self.suites.get(&suite).map_or_else(String::new, |name| format!("{name}: "))
    }

    fn warning(&self, text: &str) -> String {
        format!("{} {}\n", self.paint.odd("  note"), tame(text))
    }

    fn once(&mut self, text: &str) -> String {
        if self.said.insert(text.to_owned()) { self.warning(text) } else { String::new() }
    }

    fn progress(&mut self, progress: &Progress, now: u64) -> Lines {
        match progress {
            Progress::Doing(what) => Lines::calm(self.label("", what)),
            Progress::BuildStep(step) => {
                self.build_began.get_or_insert(now);
                let begin = self.group(now);
                let failed = matches!(step.state, BuildStepState::Failed(_));
                let end = if failed { self.end_group(now) } else { String::new() };
                Lines::always(begin + &self.build_step(step) + &end)
            }
            Progress::BuildLog { .. } | Progress::ContextSent(_) | Progress::Running { .. } | Progress::Screen(_) => Lines::default(),
        }
    }

    /// A build is folded away where that is known how.
    fn group(&mut self, now: u64) -> String {
        match self.ci {
            Some((ci, began)) if !std::mem::replace(&mut self.grouped, true) => ci.group(BUILD_GROUP, began + now / 1_000),
            _ => String::new(),
        }
    }

    fn end_group(&mut self, now: u64) -> String {
        match self.ci {
            Some((ci, began)) if std::mem::replace(&mut self.grouped, false) => ci.end_group(BUILD_GROUP, "tests", began + now / 1_000),
            _ => String::new(),
        }
    }

    fn build_step(&self, step: &BuildStep) -> String {
        let end = match &step.state {
            BuildStepState::Started => return String::new(),
            BuildStepState::Cached => self.paint.faint("cached"),
            BuildStepState::Done(ms) => self.paint.faint(&span(*ms)),
            BuildStepState::Failed(why) => self.paint.bad(&format!("failed: {why}")),
        };
        self.label("build", &format!("{}  ", step.name)).trim_end_matches('\n').to_owned() + &format!("{end}\n")
    }

    fn event(&mut self, kind: &EventKind, now: u64) -> Lines {
        match kind {
            EventKind::RunStarted(started) => {
                // A reproduction is several runs, one after the other.
                self.board = Board::default();
                (self.limit_ms, self.stopping) = (started.settings.timeouts.test_ms, false);
                self.reused = (0, 0, 0);
                let named = started.settings.suites().filter(|(_, suite)| !suite.name.is_empty());
                self.suites = named.map(|(id, suite)| (id, suite.name.clone())).collect();
                Lines::always(self.label("run", &run(started)))
            }
            EventKind::ImageReady { reference, how, saved_ms, .. } => self.image(reference, (*how, *saved_ms), now),
            EventKind::ShardLost { shard, cause, detail } => {
                let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
                Lines::always(self.warning(&format!("shard {shard} {}{detail}", lost(*cause))))
            }
            EventKind::SessionReady { suite, framework, version, boot_ms, .. } => {
                let first = self.said.insert(format!("session {}", suite.0));
                let text = format!("{}{framework} {version} in {}", self.of_suite(*suite), span(*boot_ms));
                if first { Lines::always(self.label("ready", &text)) } else { Lines::default() }
            }
            EventKind::SuiteListed { suite, files, of, .. } => {
                let of = of.as_ref().map(|of| format!(", as run {} listed them", of.0)).unwrap_or_default();
                Lines::always(self.label("suite", &format!("{}{}{of}", self.of_suite(*suite), count(files.len(), "file"))))
            }
            EventKind::FileReused(proven) => self.reuses((proven.tests.len(), 1, 0)),
            EventKind::CanaryPlanned(_) => self.reuses((0, 0, 1)),
            EventKind::PlanMade { .. } => Lines::always(self.reuse()),
            EventKind::TestFinished(test) if test.outcome.is_bad() => {
                Lines::always(failure::test(test, &self.board.name(test.test), self.board.shard_of(test.fence), self.paint))
            }
            EventKind::TestCrashed { id, session, how, .. } => {
                let last_words = self.last_words.remove(session).unwrap_or_default();
                Lines::always(failure::crash(id, (*how, self.limit_ms), session.shard, &last_words, self.paint))
            }
            EventKind::Output { session, text, .. } => self.said_by(*session, text),
            EventKind::UnitSuperseded { unit, reason: Superseded::IdsChanged } => {
                let text = format!("the ids of tests in {} differ between two loads: it runs again as a whole", self.board.file(*unit));
                Lines::always(self.once(&text))
            }
            EventKind::RetryPlanned(planned) => {
                let (first, more) = (planned.ids.first().map_or("", String::as_str), planned.ids.len().saturating_sub(1));
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                Lines::always(self.label("again", &format!("{first}{more}, time {}", planned.attempt + 1)))
            }
            EventKind::SessionEnded(ended) => Lines::always(self.session(ended)),
            EventKind::Notice { text, .. } => Lines::always(self.once(text)),
            EventKind::RunCancelled { reason } => {
                self.stopping = true;
                Lines::always(self.warning(cancelled(*reason)))
            }
            EventKind::ShardStarted { .. }
            | EventKind::ShardReady { .. }
            | EventKind::UnitLeased { .. }
            | EventKind::UnitDeclared { .. }
            | EventKind::TestFinished(_)
            | EventKind::UnitFinished { .. }
            | EventKind::UnitInterrupted { .. }
            | EventKind::RunFinished { .. } => Lines::default(),
        }
    }

    /// Keeps the end of what a session says, for when it dies.
    fn said_by(&mut self, session: SessionId, text: &str) -> Lines {
        let words = self.last_words.entry(session).or_default();
        words.push_str(text);
        let cut = words.floor_char_boundary(words.len().saturating_sub(LAST_WORDS));
        words.drain(..cut);
        Lines::default()
    }

    /// More tests, files and canaries.
    fn reuses(&mut self, more: (usize, usize, usize)) -> Lines {
        self.reused = (self.reused.0 + more.0, self.reused.1 + more.1, self.reused.2 + more.2);
        Lines::default()
    }

    fn reuse(&self) -> String {
        match self.reused {
            (_, 0, 0) => String::new(),
            (tests, files, canaries) => {
                let again = if canaries > 0 { format!("; {} run again to see", count(canaries, "file")) } else { String::new() };
                self.label("reused", &format!("{} in {}{again}", count(tests, "test"), count(files, "file")))
            }
        }
    }

    fn image(&mut self, reference: &str, (how, saved_ms): (ImageSource, u64), now: u64) -> Lines {
        let how = match how {
            ImageSource::Built => format!("built in {}", span(now.saturating_sub(self.build_began.take().unwrap_or(now)))),
            ImageSource::Found if saved_ms > 0 => format!("reused, saved {}", span(saved_ms)),
            ImageSource::Found => "reused, already built".into(),
            ImageSource::Given => "as named".into(),
        };
        let group = self.end_group(now);
        Lines::always(group + &self.label("image", &format!("{reference}, {how}")))
    }

    fn session(&mut self, ended: &SessionEnded) -> String {
        let doing = failure::doing(ended.at, |slot| self.at(slot));
        match ended.close {
            Close::Clean => String::new(),
            Close::Dirty | Close::NoHello => {
                // What keeps one session from starting mostly keeps them all.
                let told = format!("{} {}", failure::how(ended), ended.errors);
                let again = ended.tests == 0 && !self.said.insert(told);
                if again { String::new() } else { failure::session(ended, &doing, self.paint) }
            }
            Close::Lost => {
                let during = if doing.is_empty() { String::new() } else { format!(" {doing}") };
                let rest = if self.stopping { "" } else { "; its unfinished work is taken up again" };
                let text = format!("session {} {}{during}{rest}", ended.session, failure::how(ended));
                self.warning(&text)
            }
        }
    }

    fn at(&self, slot: Slot) -> String {
        match slot {
            Slot::Idle | Slot::Closing => String::new(),
            Slot::Loading { unit } => self.board.file(UnitId(unit)).to_owned(),
            Slot::Test { unit, ordinal } => self.board.name(TestKey { unit: UnitId(unit), ordinal }),
        }
    }
}

fn run(started: &RunStarted) -> String {
    let settings = &started.settings;
    let what = match settings.engine {
        EngineKind::Docker if settings.shards == 1 => "container",
        EngineKind::Docker => "containers",
        EngineKind::Process if settings.shards == 1 => "process on this machine",
        EngineKind::Process => "processes on this machine",
    };
    let of = started.of.as_ref().map(|run| format!(", of {run}")).unwrap_or_default();
    let shards = settings.shards;
    let up_to = if shards == 1 { "" } else { "up to " };
    format!("{}: {} in {up_to}{shards} {what}, seed {}{of}", started.run, settings.frameworks(), settings.seed)
}

fn lost(cause: ShardLoss) -> &'static str {
    match cause {
        ShardLoss::NotStarted => "could not be started",
        ShardLoss::Killed => "was killed from outside",
        ShardLoss::OutOfMemory => "ran out of memory",
        ShardLoss::Gone => "is gone",
        ShardLoss::Garbled => "sent what is not our protocol",
    }
}

fn cancelled(reason: Cancelled) -> &'static str {
    match reason {
        Cancelled::Interrupted => "stopping, and cleaning up; once more to stop at once",
        Cancelled::FailFast => "stopping at the first failure",
        Cancelled::Deadline => "stopping: the run took longer than `--run-timeout` (key `run.timeout.run`) allows",
        Cancelled::NoShards => "stopping: no shard can be started any more",
    }
}
