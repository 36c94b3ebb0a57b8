//! What a run's events say, gathered for the reports: the proof, and beside it what only people want to know.
//!
//! Outputs of tests are kept only if asked for, and only up to [`MOST_TEXT`] bytes in all: a suite that fails altogether must not fill the
//! memory. The first ones win, and the rest are marked as left out, so that the same events give the same report.

use std::collections::{BTreeMap, HashMap};

use crate::history::{HistoryError, RecordFile};
use crate::model::event::{BuiltSteps, EventKind, ImageSource, RunEvent, RunStarted, SessionEnded, ShardLoss, TestFinished};
use crate::model::settings::SuiteSettings;
use crate::model::verdict::Verdict;
use crate::model::{Fence, ImageIdentity, SessionId, ShardId, TestKey, UnitId};
use crate::proof::Proof;

/// Most bytes of outputs and traces that a report holds.
const MOST_TEXT: usize = 16 << 20;
/// Most bytes of a session's own output that are kept: its end.
const SESSION_TAIL: usize = 4 << 10;

/// How much of each test is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Reasons and places: enough for a summary.
    Messages,
    /// Outputs and traces too.
    Outputs,
}

/// A run as its events tell it.
#[derive(Debug)]
pub struct Account {
    depth: Depth,
    room: usize,
    proof: Proof,
    started: Option<RunStarted>,
    image: Option<Image>,
    shards: BTreeMap<ShardId, Shard>,
    leases: HashMap<Fence, SessionId>,
    texts: BTreeMap<(Fence, u32), Texts>,
    tails: BTreeMap<SessionId, String>,
    notices: Vec<(Option<SessionId>, String)>,
    strays: Vec<(SessionId, u32)>,
    superseded: Vec<UnitId>,
    shards_from_ms: Option<u64>,
    last_ms: u64,
    exit: Option<u8>,
    damage: Option<String>,
}

/// The image of a run.
#[derive(Debug, Clone)]
pub struct Image {
    /// What identifies it.
    pub identity: ImageIdentity,
    /// Its name.
    pub reference: String,
    /// How it came.
    pub how: ImageSource,
    /// How long its build took, or the search for it, in milliseconds.
    pub took_ms: u64,
    /// How long the build took that was not needed, in milliseconds; 0 if nobody knows.
    pub saved_ms: u64,
    /// How many steps its build had.
    pub steps: Option<BuiltSteps>,
}

/// What a shard did.
#[derive(Debug, Clone, Default)]
pub struct Shard {
    /// Microseconds in tests, those that do not count included.
    pub busy_us: u64,
    /// How long its first framework took to start.
    pub boot_ms: Option<u64>,
    /// Framework processes that were up.
    pub sessions: u32,
    /// Those of them that were lost.
    pub sessions_lost: u32,
    /// How often the shard itself was lost, with the last cause.
    pub lost: Vec<(ShardLoss, String)>,
}

/// What is said about a test beyond its outcome.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// File of the failure.
    pub file: String,
    /// Line there.
    pub line: u32,
    /// One line of reason.
    pub message: String,
    /// What it printed.
    pub output: String,
    /// Its trace.
    pub details: String,
    /// Output and trace were left out, for the report is large enough.
    pub left_out: bool,
}

impl Account {
    /// An account of nothing yet.
    pub fn new(depth: Depth) -> Self {
        Self::with_room(depth, MOST_TEXT)
    }

    pub(super) fn with_room(depth: Depth, room: usize) -> Self {
        Self {
            depth,
            room,
            proof: Proof::default(),
            started: None,
            image: None,
            shards: BTreeMap::new(),
            leases: HashMap::new(),
            texts: BTreeMap::new(),
            tails: BTreeMap::new(),
            notices: Vec::new(),
            strays: Vec::new(),
            superseded: Vec::new(),
            shards_from_ms: None,
            last_ms: 0,
            exit: None,
            damage: None,
        }
    }

    /// The account of a record. A damaged record gives what could be read and says that it is damaged; one without any event is an error.
    pub fn replay(record: &mut RecordFile, depth: Depth) -> Result<Self, HistoryError> {
        let mut account = Self::new(depth);
        for event in record.by_ref() {
            match event {
                Ok(event) => account.apply(&event),
                Err(error) if account.started.is_none() => return Err(error),
                Err(error) => account.damage = Some(error.to_string()),
            }
        }
        Ok(account)
    }

    /// Takes the next event in.
    pub fn apply(&mut self, event: &RunEvent) {
        self.proof.apply(event);
        self.last_ms = self.last_ms.max(event.at_ms);
        match &event.kind {
            EventKind::RunStarted(started) => self.started = Some((**started).clone()),
            EventKind::ImageReady { identity, reference, how, took_ms, saved_ms, steps, .. } => {
                let (identity, reference) = (identity.clone(), reference.clone());
                self.image = Some(Image { identity, reference, how: *how, took_ms: *took_ms, saved_ms: *saved_ms, steps: *steps });
            }
            EventKind::ShardStarted { shard, .. } => {
                self.shards_from_ms.get_or_insert(event.at_ms);
                self.shard(*shard);
            }
            EventKind::ShardLost { shard, cause, detail } => self.shard(*shard).lost.push((*cause, detail.clone())),
            EventKind::SessionReady { session, boot_ms, .. } => {
                let shard = self.shard(session.shard);
                shard.sessions += 1;
                shard.boot_ms.get_or_insert(*boot_ms);
            }
            EventKind::UnitLeased { fence, session, .. } => {
                self.leases.insert(*fence, *session);
            }
            EventKind::TestFinished(finished) => self.test_finished(finished),
            EventKind::UnitSuperseded { unit, .. } => self.superseded.push(*unit),
            EventKind::SessionEnded(ended) => self.session_ended(ended),
            EventKind::Output { session, text, .. } => self.output(*session, text),
            EventKind::Notice { session, text } => self.notices.push((*session, text.clone())),
            EventKind::RunFinished { exit, .. } => self.exit = Some(*exit),
            EventKind::ShardReady { .. }
            | EventKind::SuiteListed { .. }
            | EventKind::FileReused(_)
            | EventKind::CanaryPlanned(_)
            | EventKind::PlanMade { .. }
            | EventKind::UnitDeclared { .. }
            | EventKind::UnitFinished { .. }
            | EventKind::UnitInterrupted { .. }
            | EventKind::RetryPlanned(_)
            | EventKind::TestCrashed { .. }
            | EventKind::RunCancelled { .. } => (),
        }
    }

    /// The proof behind it.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The verdict that is reported.
    pub fn verdict(&self) -> Verdict {
        self.proof.conclusion()
    }

    /// How the run began.
    pub fn started(&self) -> Option<&RunStarted> {
        self.started.as_ref()
    }

    /// The suite of a unit, where that has a name or a place of its own.
    pub fn suite_of(&self, unit: UnitId) -> Option<&SuiteSettings> {
        let suite = self.started.as_ref()?.settings.suite(self.proof.unit_suite(unit))?;
        Some(suite).filter(|suite| !suite.name.is_empty() || !suite.directory.is_empty())
    }

    /// A unit's file as a path in the project.
    pub fn path_of(&self, unit: UnitId) -> String {
        let file = self.proof.unit_file(unit).unwrap_or_default();
        self.suite_of(unit).map_or_else(|| file.to_owned(), |suite| suite.path(suite.plain(file)))
    }

    /// Its image, if it has one.
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    /// What each shard did.
    pub fn shards(&self) -> &BTreeMap<ShardId, Shard> {
        &self.shards
    }

    /// What was said about a result.
    pub fn texts(&self, test: TestKey, fence: Fence) -> Option<&Texts> {
        // Another attempt is another unit, and the same place in the file.
        self.texts.get(&(fence, test.ordinal))
    }

    /// The end of what a session printed outside of its tests.
    pub fn tail(&self, session: SessionId) -> Option<&str> {
        self.tails.get(&session).map(String::as_str)
    }

    /// What the user was to know.
    pub fn notices(&self) -> &[(Option<SessionId>, String)] {
        &self.notices
    }

    /// Sessions that left processes behind, and how many.
    pub fn strays(&self) -> &[(SessionId, u32)] {
        &self.strays
    }

    /// Files whose tests changed from one load to the next.
    pub fn unstable_files(&self) -> Vec<&str> {
        let mut files: Vec<_> = self.superseded.iter().filter_map(|unit| self.proof.unit_file(*unit)).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// From the start of the first shard to the run's end, in milliseconds.
    pub fn shards_ms(&self) -> u64 {
        self.last_ms - self.shards_from_ms.unwrap_or(self.last_ms).min(self.last_ms)
    }

    /// From the run's start to its end, in milliseconds.
    pub fn wall_ms(&self) -> u64 {
        self.last_ms
    }

    /// The exit status, if the run got to say one.
    pub fn exit(&self) -> Option<u8> {
        self.exit
    }

    /// What is wrong with the record as a file.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn shard(&mut self, shard: ShardId) -> &mut Shard {
        self.shards.entry(shard).or_default()
    }

    fn test_finished(&mut self, finished: &TestFinished) {
        if let Some(session) = self.leases.get(&finished.fence).copied() {
            let busy_us = &mut self.shard(session.shard).busy_us;
            *busy_us = busy_us.saturating_add(finished.micros);
        }
        let silent = [&finished.message, &finished.output, &finished.details, &finished.file].iter().all(|text| text.is_empty());
        if !silent {
            let texts = self.take_texts(finished);
            self.texts.insert((finished.fence, finished.test.ordinal), texts);
        }
    }

    fn take_texts(&mut self, finished: &TestFinished) -> Texts {
        let mut texts = Texts { file: finished.file.clone(), line: finished.line, message: finished.message.clone(), ..Texts::default() };
        let size = finished.output.len() + finished.details.len();
        if self.depth == Depth::Messages || size == 0 {
            return texts;
        }
        if size > self.room {
            texts.left_out = true;
            return texts;
        }
        self.room -= size;
        texts.output.clone_from(&finished.output);
        texts.details.clone_from(&finished.details);
        texts
    }

    fn session_ended(&mut self, ended: &SessionEnded) {
        if ended.close == crate::model::event::Close::Lost {
            self.shard(ended.session.shard).sessions_lost += 1;
        }
        if ended.strays > 0 {
            self.strays.push((ended.session, ended.strays));
        }
    }

    fn output(&mut self, session: SessionId, text: &str) {
        let tail = self.tails.entry(session).or_default();
        tail.push_str(text);
        if tail.len() > 2 * SESSION_TAIL {
            let from = (tail.len() - SESSION_TAIL..tail.len()).find(|at| tail.is_char_boundary(*at)).unwrap_or(tail.len());
            tail.drain(..from);
        }
    }
}
