//! The brain of one shard, on the agent's side: what its worker says comes in, what to tell the worker, the queue and the record goes out.
//!
//! It decides nothing about other shards: whether a lost one is started again is the run machine's business (`machine`), what a session may hold is
//! the queue's. It keeps one invariant: whatever happens to a session, everything that it held is handed back to the queue in one step
//! (complete, partial, or released) before its end is told.

mod end;

use std::collections::VecDeque;

use splitci_worker::protocol::VERSION;
use splitci_worker::protocol::message::{FinishedTest, FromWorker, ToWorker};

use super::brief::Opening;
use super::held::{Held, HeldError, hash_list};
use super::words::Obstacle;
use crate::model::event::{Crash, EventKind, ShardLoss, TestFinished};
use crate::model::progress::Progress;
use crate::model::settings::SuiteSettings;
use crate::model::{Fence, Manifest, SessionId, ShardId, Slot, SuiteId, TestKey, UnitId};
use crate::queue;

/// What a shard's brain wants done.
#[derive(Debug)]
pub(super) enum Want {
    /// Send this to the worker.
    Send(ToWorker, Vec<u8>),
    /// Ask the queue; the answer comes back by `answered`.
    Step(queue::Step),
    /// A fact.
    Tell(EventKind),
    /// News.
    Say(Progress),
    /// The framework listed its files.
    Listed(Vec<String>, String),
    /// This session is over; `true` if it made no progress and there is no reason to think that another would.
    Over(Ending),
}

/// How a session or a shard ended, for the run machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The session closed in order after the order to finish.
    Finished,
    /// The session is lost; the worker lives and can start another.
    SessionLost {
        /// The framework ended by itself before it listed anything: it will do so again, if it has never done otherwise.
        refused: bool,
        /// What the invoker can do something about.
        obstacle: Option<Obstacle>,
    },
    /// The worker is of no use: it speaks another protocol.
    Unfit,
    /// The worker is gone.
    ShardLost,
}

/// One shard.
#[derive(Debug)]
pub(super) struct Shard {
    id: ShardId,
    number: u32,
    /// What its session can run.
    suite: SuiteId,
    settings: SuiteSettings,
    /// Its session has the invoker's terminal.
    has_terminal: bool,
    stage: Stage,
    held: VecDeque<Held>,
    results: Vec<queue::UnitResult>,
    seq: u64,
    asked: Option<Asked>,
    at: Slot,
    bye: Option<Bye>,
    bad: bool,
    reported: u64,
    reported_before: u64,
    loss: Option<Crash>,
    faults: Vec<String>,
    fault_at_start: Option<String>,
    boot: Boot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The engine starts it, or its worker has not said hello.
    Starting,
    /// A framework process starts.
    Booting,
    /// It works, or waits for work.
    Open,
    /// It was told to finish.
    Finishing,
    /// No session.
    Idle,
    /// The worker is gone.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// More work.
    More,
    /// Nothing: results or a heartbeat only.
    Nothing,
    /// The session's last step.
    Closing,
}

#[derive(Debug)]
struct Bye {
    count: u64,
    status: i32,
    errors: String,
}

/// A framework's start, for the error of one that never says hello.
#[derive(Debug, Default)]
struct Boot {
    command: String,
    said: String,
    usage_status: Option<i32>,
}

/// Results that wait for the next step are sent along at the latest when there are as many as this.
const RESULTS_PER_STEP: usize = 64;

impl Shard {
    pub(super) fn new(id: ShardId) -> Self {
        Self {
            id,
            number: 0,
            suite: SuiteId::default(),
            settings: SuiteSettings::default(),
            has_terminal: false,
            stage: Stage::Starting,
            held: VecDeque::new(),
            results: Vec::new(),
            seq: 0,
            asked: None,
            at: Slot::Idle,
            bye: None,
            bad: false,
            reported: 0,
            reported_before: 0,
            loss: None,
            faults: Vec::new(),
            fault_at_start: None,
            boot: Boot::default(),
        }
    }

    pub(super) fn session(&self) -> SessionId {
        SessionId { shard: self.id, number: self.number }
    }

    /// The suite of its session, or of the last one.
    pub(super) fn suite(&self) -> SuiteId {
        self.suite
    }

    /// Whether it could take work now if there were any.
    pub(super) fn is_hungry(&self) -> bool {
        self.stage == Stage::Open && self.held.is_empty() && self.asked.is_none()
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether its worker has not said hello.
    pub(super) fn is_starting(&self) -> bool {
        self.stage == Stage::Starting
    }

    /// Whether its session was told to close.
    pub(super) fn is_finishing(&self) -> bool {
        self.stage == Stage::Finishing
    }

    pub(super) fn is_booting(&self) -> bool {
        self.stage == Stage::Booting
    }

    /// Whether its worker is there and no framework process is.
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    pub(super) fn has_session(&self) -> bool {
        matches!(self.stage, Stage::Booting | Stage::Open | Stage::Finishing)
    }

    /// What killed the session that ended last; for the name of a crash.
    pub(super) fn last_loss(&self) -> Option<Crash> {
        self.loss
    }

    /// Tests reported over all its sessions.
    pub(super) fn reported_in_all(&self) -> u64 {
        self.reported_before + self.reported
    }

    /// The engine starts it anew.
    pub(super) fn restarting(&mut self) {
        self.stage = Stage::Starting;
        self.at = Slot::Idle;
    }

    /// The name of the session that would be started next.
    pub(super) fn next_session(&self) -> SessionId {
        SessionId { shard: self.id, number: self.number + 1 }
    }

    /// Starts a framework process.
    pub(super) fn start_session(&mut self, opening: Opening) -> Vec<Want> {
        let Opening { suite, settings, start, blob, usage_status } = opening;
        (self.suite, self.settings) = (suite, settings);
        self.has_terminal = start.terminal.is_some();
        self.number += 1;
        self.stage = Stage::Booting;
        self.at = Slot::Idle;
        self.bye = None;
        self.bad = false;
        self.reported_before += self.reported;
        self.reported = 0;
        self.seq = 0;
        self.asked = None;
        self.fault_at_start = None;
        self.boot = Boot { command: start.argv.join(" "), said: String::new(), usage_status };
        vec![Want::Send(ToWorker::Start(start), blob)]
    }

    /// The queue is open, or has something again: asks for work if there is none at hand.
    pub(super) fn feed(&mut self, epoch: queue::Epoch) -> Vec<Want> {
        if self.is_hungry() { vec![self.step(epoch, Asked::More)] } else { Vec::new() }
    }

    /// Tells the queue what is done and that the session lives.
    pub(super) fn beat(&mut self, epoch: Option<queue::Epoch>) -> Vec<Want> {
        let mut wants = Vec::new();
        if self.stage != Stage::Starting && self.stage != Stage::Gone {
            wants.push(Want::Send(ToWorker::Beat, Vec::new()));
        }
        if let (Some(epoch), true, true) = (epoch, self.asked.is_none(), matches!(self.stage, Stage::Open | Stage::Finishing)) {
            wants.push(self.step(epoch, Asked::Nothing));
        }
        wants
    }

    /// Everything is done: closes the session in order.
    pub(super) fn finish(&mut self) -> Vec<Want> {
        if self.stage != Stage::Open {
            return Vec::new();
        }
        self.stage = Stage::Finishing;
        vec![Want::Send(ToWorker::Finish { session: self.number }, Vec::new())]
    }

    /// The run stops: ends the framework's process now.
    pub(super) fn abort(&mut self) -> Vec<Want> {
        if self.has_session() { vec![Want::Send(ToWorker::Abort { session: self.number }, Vec::new())] } else { Vec::new() }
    }

    fn step(&mut self, epoch: queue::Epoch, asked: Asked) -> Want {
        self.seq += 1;
        self.asked = Some(asked);
        Want::Step(queue::Step {
            epoch,
            session: self.session(),
            suite: self.suite,
            seq: self.seq,
            results: std::mem::take(&mut self.results),
            started: self.held.front().and_then(|held| held.mark(self.at)).into_iter().collect(),
            release: Vec::new(),
            want: if asked == Asked::More { u32::MAX } else { 0 },
            close: asked == Asked::Closing,
        })
    }

    /// The queue's answer to the last step.
    pub(super) fn answered(&mut self, leases: &[queue::Lease], manifest: &Manifest) -> Vec<Want> {
        self.asked = None;
        let mut wants = Vec::new();
        let mut units = Vec::new();
        for lease in leases {
            let Some(unit) = manifest.get(lease.unit) else { continue };
            let held = Held::new(lease, unit);
            units.push(held.order(unit, &self.settings));
            self.held.push_back(held);
            let (fence, from, suspect) = (lease.fence, lease.from, lease.suspect);
            wants.push(Want::Tell(EventKind::UnitLeased { unit: lease.unit, fence, session: self.session(), from, suspect }));
        }
        if !units.is_empty() {
            wants.push(Want::Send(ToWorker::Run { session: self.number, units }, Vec::new()));
        }
        wants
    }

    /// The worker said something.
    pub(super) fn heard(&mut self, message: FromWorker, blob: &[u8], epoch: Option<queue::Epoch>) -> Vec<Want> {
        if message.session().is_some_and(|session| session != self.number) {
            return Vec::new();
        }
        match message {
            FromWorker::Hello { version, .. } => self.hello(version),
            FromWorker::Ready { framework, version, seed, boot_ms, units, .. } => {
                self.stage = Stage::Open;
                let units: Vec<_> = units.iter().map(|file| self.settings.named(file)).collect();
                let list_hash = hash_list(&units).to_hex().to_string();
                let (session, suite) = (self.session(), self.suite);
                let ready = EventKind::SessionReady { session, suite, framework, version, seed, boot_ms, list_hash: list_hash.clone() };
                vec![Want::Tell(ready), Want::Listed(units, list_hash)]
            }
            FromWorker::Declared { unit, fence, ids, selected, .. } => self.declared(UnitId(unit), Fence(fence), ids, selected),
            FromWorker::Finished { tests, .. } => self.finished(tests, blob),
            FromWorker::UnitEnd { unit, fence, count, .. } => self.unit_end(UnitId(unit), Fence(fence), count, epoch),
            FromWorker::Running { at, for_ms, .. } => {
                self.at = at;
                vec![Want::Say(Progress::Running { session: self.session(), at, for_ms })]
            }
            FromWorker::Beat { at } => {
                self.at = at;
                Vec::new()
            }
            FromWorker::Output { at, .. } => self.output(at, blob),
            FromWorker::Notice { text, .. } => vec![Want::Tell(EventKind::Notice { session: Some(self.session()), text })],
            FromWorker::Bye { count, status, errors, .. } => {
                self.bye = Some(Bye { count, status, errors });
                Vec::new()
            }
            FromWorker::Fault { text, .. } => self.fault(text),
            FromWorker::Ended(ended) => self.ended(&ended, epoch),
        }
    }

    fn hello(&mut self, version: splitci_worker::protocol::Version) -> Vec<Want> {
        if version.major != VERSION.major {
            self.faults.push(format!("the worker speaks protocol {version}, this is {VERSION}"));
            let detail = std::mem::take(&mut self.faults).join("; ");
            let lost = EventKind::ShardLost { shard: self.id, cause: ShardLoss::Garbled, detail };
            return vec![Want::Tell(lost), Want::Over(Ending::Unfit)];
        }
        self.stage = Stage::Idle;
        vec![Want::Tell(EventKind::ShardReady { shard: self.id })]
    }

    fn declared(&mut self, unit: UnitId, fence: Fence, ids: Vec<String>, selected: Option<Vec<u32>>) -> Vec<Want> {
        let ids: Vec<_> = if self.settings.name.is_empty() { ids } else { ids.iter().map(|id| self.settings.named(id)).collect() };
        let Some(held) = self.front(unit, fence) else { return self.broken(HeldError::Undeclared) };
        match held.declare(ids.clone(), selected.as_deref()) {
            Ok(()) => vec![Want::Tell(EventKind::UnitDeclared { unit, fence, ids, selected })],
            Err(error) => self.broken(error),
        }
    }

    fn finished(&mut self, tests: Vec<FinishedTest>, blob: &[u8]) -> Vec<Want> {
        let mut wants = Vec::with_capacity(tests.len());
        let mut rest = blob;
        for test in tests {
            let (unit, fence) = (UnitId(test.unit), Fence(test.fence));
            let output = take(&mut rest, test.output);
            let details = take(&mut rest, test.details);
            let Some(held) = self.front(unit, fence) else { return self.broken(HeldError::Undeclared) };
            if let Err(error) = held.finish(test.ordinal) {
                wants.extend(self.broken(error));
                return wants;
            }
            self.reported += 1;
            self.bad |= test.outcome.is_bad();
            wants.push(Want::Tell(EventKind::TestFinished(Box::new(TestFinished {
                test: TestKey { unit, ordinal: test.ordinal },
                fence,
                outcome: test.outcome,
                micros: test.micros,
                file: self.settings.path(&test.file),
                line: test.line,
                message: test.message,
                output,
                details,
            }))));
        }
        wants
    }

    fn unit_end(&mut self, unit: UnitId, fence: Fence, count: u32, epoch: Option<queue::Epoch>) -> Vec<Want> {
        let Some(held) = self.front(unit, fence) else { return self.broken(HeldError::Undeclared) };
        match held.complete(count) {
            Ok(result) => self.results.push(result),
            Err(error) => return self.broken(error),
        }
        self.held.pop_front();
        match epoch {
            Some(epoch) if self.asked.is_none() && self.held.is_empty() => vec![self.step(epoch, Asked::More)],
            Some(epoch) if self.asked.is_none() && self.results.len() >= RESULTS_PER_STEP => vec![self.step(epoch, Asked::Nothing)],
            _ => Vec::new(),
        }
    }

    /// The unit that runs, if it is the one that the message is about.
    fn front(&mut self, unit: UnitId, fence: Fence) -> Option<&mut Held> {
        self.held.front_mut().filter(|held| held.unit == unit && held.fence == fence)
    }

    /// The driver lies about its unit: nothing more of this session is believed.
    fn broken(&mut self, error: HeldError) -> Vec<Want> {
        let text = error.to_string();
        self.faults.push(text.clone());
        let mut wants = vec![Want::Tell(EventKind::Notice { session: Some(self.session()), text })];
        wants.extend(self.abort());
        wants
    }

    fn output(&mut self, at: Slot, blob: &[u8]) -> Vec<Want> {
        let text = String::from_utf8_lossy(blob).into_owned();
        if self.stage == Stage::Booting {
            self.boot.hear(&text);
        }
        let told = Want::Tell(EventKind::Output { session: self.session(), at, text });
        if self.has_terminal { vec![Want::Say(Progress::Screen(blob.to_vec())), told] } else { vec![told] }
    }

    fn fault(&mut self, text: String) -> Vec<Want> {
        if self.stage == Stage::Booting {
            self.fault_at_start = Some(text.clone());
        }
        self.faults.push(text.clone());
        vec![Want::Tell(EventKind::Notice { session: Some(self.session()), text })]
    }

    /// Whether the session has this lease before it.
    pub(super) fn holds(&self, fence: Fence) -> bool {
        self.held.iter().any(|held| held.fence == fence)
    }

    /// The id of a held test, for the name of a crash.
    pub(super) fn id_of(&self, unit: UnitId, ordinal: u32) -> Option<String> {
        self.held.iter().find(|held| held.unit == unit)?.id_of(ordinal).map(str::to_owned)
    }

    /// Forgets what the last session held: the queue has it back.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.results.clear();
        self.seq = 0;
    }
}

fn take(rest: &mut &[u8], len: u32) -> String {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
    let (piece, after) = rest.split_at(len);
    *rest = after;
    String::from_utf8_lossy(piece).into_owned()
}
