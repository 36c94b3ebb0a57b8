//! The brain of a run: starts and stops shards, freezes the manifest, keeps the deadline, and numbers the events.
//!
//! `handle(now, input) -> effects` is everything; no async, no clock. Leases live in the queue, tests in the proof, sessions in the shards' own brains;
//! what is decided here is which shard lives, when the queue opens, and when the run is over. Only this file assigns `seq`.

use std::collections::{BTreeMap, VecDeque};

use splitci_worker::protocol::message::{FromWorker, ToWorker};

use super::brief::Brief;
use super::shard::{Ending, Shard, Want};
use crate::engine::{ShardEnd, ShardSpec};
use crate::model::event::{Cancelled, Crash, EventKind, RunEvent};
use crate::model::verdict::Verdict;
use crate::model::{Manifest, ShardId, TestKey};
use crate::proof::Proof;
use crate::queue::{self, Fact, Queue, QueueUnit};

/// The agent's heartbeat.
const BEAT_MS: u64 = 5_000;
/// A worker that has not answered for this long is lost: the lease's length.
const SILENCE_MS: u64 = 20_000;
/// A shard whose sessions end this often in a row without a single test done is given up.
const BARREN_SESSIONS: u32 = 3;

/// What happens to a run.
#[derive(Debug)]
pub enum Input {
    /// Begin.
    Begin,
    /// The engine started a shard.
    ShardStarted {
        /// Which.
        shard: ShardId,
        /// Container or process.
        name: String,
    },
    /// The engine could not start it.
    ShardNotStarted {
        /// Which.
        shard: ShardId,
        /// Why.
        detail: String,
    },
    /// A worker said something.
    Frame {
        /// Which shard's.
        shard: ShardId,
        /// Control body.
        message: FromWorker,
        /// Bytes behind it.
        blob: Vec<u8>,
    },
    /// A shard's stream has ended, and the engine has said how. Exactly once for each `StartShard` that succeeded.
    ShardGone {
        /// Which.
        shard: ShardId,
        /// How.
        end: ShardEnd,
        /// What was wrong with the stream, if it was not the protocol.
        garbled: Option<String>,
    },
    /// Stop early.
    Cancel(Cancelled),
    /// Stop at once: do not wait for anything to clean up.
    CancelNow,
    /// Time has passed.
    Tick,
}

/// What a run wants done.
#[derive(Debug)]
pub enum Effect {
    /// Start a shard.
    StartShard(ShardSpec),
    /// Send to a shard's worker.
    Send {
        /// Which shard.
        shard: ShardId,
        /// Control body.
        message: ToWorker,
        /// Bytes behind it.
        blob: Vec<u8>,
    },
    /// Close the stream to a shard and see it gone.
    EndShard(ShardId),
    /// A fact or news for those who listen.
    Tell(crate::model::Telling),
    /// The run is over; nothing more will come.
    Finished(Verdict),
}

#[derive(Debug)]
enum Stage {
    /// No session has listed the suite yet.
    Listing,
    /// The manifest is frozen.
    Running(Box<Open>),
    /// All is final, or the run was cancelled: shards are closing.
    Closing,
    /// Told.
    Over,
}

#[derive(Debug)]
struct Open {
    manifest: Manifest,
    queue: Queue,
}

#[derive(Debug)]
struct Seat {
    shard: Shard,
    restarts: u32,
    barren: u32,
    crashes: u64,
    /// What it had got done, in tests, when its last session ended.
    done: u64,
    /// The engine has a stream for it.
    live: bool,
    /// It was told to go, or given up: its end is no news.
    leaving: bool,
    /// Its stream was closed from this side: what is still on its way does not count, since nobody would hear how it ends.
    dismissed: bool,
    heard_at: u64,
}

impl Seat {
    /// A session is over: was it good for anything? A test that is final, as crashed too, is progress.
    fn take_stock(&mut self) {
        let done = self.shard.reported_in_all() + self.crashes;
        self.barren = if done > self.done { 0 } else { self.barren + 1 };
        self.done = done;
    }
}

/// A run.
pub struct Run {
    brief: Brief,
    stage: Stage,
    seats: BTreeMap<ShardId, Seat>,
    proof: Proof,
    seq: u64,
    now: u64,
    next_beat: u64,
    cancelled: Option<Cancelled>,
    list_hash: Option<String>,
    booted: bool,
    absent: Option<String>,
    effects: Vec<Effect>,
}

impl Run {
    /// A run that has not begun.
    pub fn new(brief: Brief) -> Self {
        Self {
            brief,
            stage: Stage::Listing,
            seats: BTreeMap::new(),
            proof: Proof::default(),
            seq: 0,
            now: 0,
            next_beat: BEAT_MS,
            cancelled: None,
            list_hash: None,
            booted: false,
            absent: None,
            effects: Vec::new(),
        }
    }

    /// When to come back with a `Tick` at the latest, in milliseconds of the run's clock.
    pub fn next_deadline(&self) -> u64 {
        let end = if self.cancelled.is_none() { self.brief.settings.timeouts.run_ms } else { u64::MAX };
        self.next_beat.min(end)
    }

    /// Why no framework could be started, if its program is not there.
    pub fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    /// The fold over everything told so far.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The fold over everything told, when nothing more will be.
    pub fn into_proof(self) -> Proof {
        self.proof
    }

    /// Takes in what happened at `now` milliseconds after the run's start, and says what to do.
    pub fn handle(&mut self, now: u64, input: Input) -> Vec<Effect> {
        self.now = now.max(self.now);
        match input {
            Input::Begin => self.begin(),
            Input::ShardStarted { shard, name } => self.shard_started(shard, name),
            Input::ShardNotStarted { shard, detail } => {
                let end = ShardEnd { status: None, oom: false, detail };
                self.shard_gone(shard, &end, None);
            }
            Input::Frame { shard, message, blob } => self.frame(shard, message, &blob),
            Input::ShardGone { shard, end, garbled } => self.shard_gone(shard, &end, garbled),
            Input::Cancel(reason) => self.cancel(reason),
            Input::CancelNow => self.cancel_now(),
            Input::Tick => self.tick(),
        }
        self.settle();
        std::mem::take(&mut self.effects)
    }

    fn begin(&mut self) {
        for event in std::mem::take(&mut self.brief.preamble) {
            self.tell(event);
        }
        for number in 1..=self.brief.settings.shards {
            let id = ShardId(number);
            let seat = Seat {
                shard: Shard::new(id),
                restarts: 0,
                barren: 0,
                crashes: 0,
                done: 0,
                live: false,
                leaving: false,
                dismissed: false,
                heard_at: self.now,
            };
            self.seats.insert(id, seat);
            self.start_shard(id, 0);
        }
    }

    fn start_shard(&mut self, id: ShardId, restarts: u32) {
        self.effects.push(Effect::StartShard(ShardSpec { run: self.brief.run.0.clone(), shard: id, restarts }));
    }

    fn shard_started(&mut self, id: ShardId, name: String) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.live = true;
        seat.heard_at = self.now;
        let (restarts, leaving) = (seat.restarts, seat.leaving);
        self.tell(EventKind::ShardStarted { shard: id, restarts, name });
        if leaving {
            self.dismiss(id);
        }
    }

    fn frame(&mut self, id: ShardId, message: FromWorker, blob: &[u8]) {
        let epoch = self.epoch();
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.dismissed) else { return };
        seat.heard_at = self.now;
        let hello = matches!(message, FromWorker::Hello { .. });
        let wants = seat.shard.heard(message, blob, epoch);
        self.perform(id, wants);
        if hello {
            self.start_session(id);
        }
    }

    fn start_session(&mut self, id: ShardId) {
        if !matches!(self.stage, Stage::Listing | Stage::Running(_)) {
            return;
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let (start, blob) = self.brief.start(seat.shard.next_session());
        let wants = seat.shard.start_session(start, blob);
        self.perform(id, wants);
    }

    /// Carries out what a shard's brain wants; answers of the queue lead to further wants.
    fn perform(&mut self, id: ShardId, wants: Vec<Want>) {
        let mut todo = VecDeque::from(wants);
        while let Some(want) = todo.pop_front() {
            match want {
                Want::Send(message, blob) => self.effects.push(Effect::Send { shard: id, message, blob }),
                Want::Tell(event) => self.tell(event),
                Want::Say(news) => self.effects.push(Effect::Tell(crate::model::Telling::Progress(news))),
                Want::Step(step) => todo.extend(self.step(id, &step)),
                Want::Listed(files, hash) => self.listed(files, hash),
                Want::Over(ending) => self.over(id, ending),
            }
        }
    }

    /// One step of the embedded queue, its facts told, its answer handed to the shard.
    fn step(&mut self, id: ShardId, step: &queue::Step) -> Vec<Want> {
        let Stage::Running(open) = &mut self.stage else { return Vec::new() };
        let reply = match open.queue.step(self.now, step) {
            Ok(reply) => reply,
            Err(error) => {
                let text = format!("the queue refused a step of shard {id}: {error}");
                self.tell(EventKind::Notice { session: None, text });
                self.dismiss(id);
                return Vec::new();
            }
        };
        let events: Vec<EventKind> = news(&reply.facts).filter_map(|fact| self.event_of(id, fact)).collect();
        let crashes = events.iter().filter(|event| matches!(event, EventKind::TestCrashed { .. })).count() as u64;
        for event in events {
            self.tell(event);
        }
        let Stage::Running(open) = &self.stage else { return Vec::new() };
        let Some(seat) = self.seats.get_mut(&id) else { return Vec::new() };
        seat.crashes += crashes;
        if step.close {
            seat.shard.forget();
            return Vec::new();
        }
        seat.shard.answered(&reply.leases, &open.manifest)
    }

    fn event_of(&self, id: ShardId, fact: &Fact) -> Option<EventKind> {
        let seat = self.seats.get(&id)?;
        match *fact {
            Fact::Finished { unit, fence } => Some(EventKind::UnitFinished { unit, fence }),
            Fact::Interrupted { unit, fence, final_below, suspect } => {
                let suspect = suspect.map(ordinal_of);
                Some(EventKind::UnitInterrupted { unit, fence, final_below, suspect })
            }
            Fact::Superseded { unit, reason } => Some(EventKind::UnitSuperseded { unit, reason }),
            Fact::Crashed { unit, suspect, cause, .. } => {
                let ordinal = ordinal_of(suspect);
                let file = self.manifest().and_then(|manifest| manifest.get(unit)).map_or_else(String::new, |unit| unit.file.clone());
                let id = seat.shard.id_of(unit, ordinal).unwrap_or(file);
                let how = match cause {
                    queue::Cause::Outside => Crash::ShardLost,
                    queue::Cause::Test | queue::Cause::Deadline => seat.shard.last_loss().unwrap_or(Crash::ShardLost),
                };
                Some(EventKind::TestCrashed { test: TestKey { unit, ordinal }, id, session: seat.shard.session(), how })
            }
            // A unit is given up only after a crash of it was told; an overtaken result changes nothing; a session that expired is its shard's news.
            Fact::GivenUp { .. } | Fact::Overtaken { .. } | Fact::SessionExpired { .. } => None,
        }
    }

    /// The first list freezes the manifest; every other one must be the same.
    fn listed(&mut self, files: Vec<String>, hash: String) {
        self.booted = true;
        match &self.list_hash {
            Some(first) if *first != hash => {
                let text = "a shard lists other files than the first one did; what it does not find is reported as an error".to_owned();
                self.tell(EventKind::Notice { session: None, text });
            }
            Some(_) => {}
            None => self.list_hash = Some(hash.clone()),
        }
        if !matches!(self.stage, Stage::Listing) {
            return;
        }
        let manifest = (self.brief.plan)(&files);
        self.tell(EventKind::SuiteListed { files, list_hash: hash });
        let units = QueueUnit::of(&manifest);
        self.tell(EventKind::PlanMade { hash: manifest.hash(), manifest: manifest.clone() });
        if self.brief.list_only {
            return self.close();
        }
        match Queue::new(self.brief.epoch, units, self.brief.policy()) {
            Ok(queue) => self.stage = Stage::Running(Box::new(Open { manifest, queue })),
            Err(error) => {
                let text = format!("the manifest is not one that can be run: {error}; {}", error.hint());
                self.tell(EventKind::Notice { session: None, text });
                self.cancel(Cancelled::NoShards);
            }
        }
    }

    fn over(&mut self, id: ShardId, ending: Ending) {
        match ending {
            Ending::Finished => self.leave(id),
            Ending::SessionLost { refused, absent } => self.session_lost(id, refused, absent),
            Ending::ShardLost => {}
        }
    }

    /// Another session in the same shard, unless there is nothing to gain by it.
    fn session_lost(&mut self, id: ShardId, refused: bool, absent: Option<String>) {
        let hopeless = absent.is_some() || (refused && !self.booted);
        self.absent = self.absent.take().or(absent);
        let over = !matches!(self.stage, Stage::Listing | Stage::Running(_));
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.take_stock();
        if over || hopeless || seat.leaving || seat.barren >= BARREN_SESSIONS {
            self.leave(id);
        } else {
            self.start_session(id);
        }
    }

    /// This shard is not needed, or not usable, any more.
    fn leave(&mut self, id: ShardId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.leaving = true;
        self.dismiss(id);
    }

    /// Closes the stream to a shard, once.
    fn dismiss(&mut self, id: ShardId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.live && !seat.dismissed) else { return };
        seat.dismissed = true;
        self.effects.push(Effect::EndShard(id));
    }

    fn shard_gone(&mut self, id: ShardId, end: &ShardEnd, garbled: Option<String>) {
        let epoch = self.epoch();
        let running = matches!(self.stage, Stage::Listing | Stage::Running(_));
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.live = false;
        if seat.leaving && seat.dismissed {
            return;
        }
        seat.dismissed = false;
        let wants = seat.shard.gone(end, garbled, epoch);
        self.perform(id, wants);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.take_stock();
        if running && !seat.leaving && seat.barren < BARREN_SESSIONS {
            seat.restarts += 1;
            seat.shard.restarting();
            seat.heard_at = self.now;
            let restarts = seat.restarts;
            self.start_shard(id, restarts);
        } else {
            seat.leaving = true;
        }
    }

    fn cancel(&mut self, reason: Cancelled) {
        if self.cancelled.is_some() || matches!(self.stage, Stage::Closing | Stage::Over) {
            return;
        }
        self.cancelled = Some(reason);
        self.tell(EventKind::RunCancelled { reason });
        if let Stage::Running(open) = &mut self.stage {
            open.queue.cancel();
        }
        let ids: Vec<ShardId> = self.seats.keys().copied().collect();
        for id in ids {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            seat.leaving = true;
            let wants = seat.shard.abort();
            if wants.is_empty() {
                self.leave(id);
            }
            self.perform(id, wants);
        }
    }

    fn cancel_now(&mut self) {
        self.cancel(Cancelled::Interrupted);
        let ids: Vec<ShardId> = self.seats.keys().copied().collect();
        for id in ids {
            self.leave(id);
        }
    }

    fn tick(&mut self) {
        if self.now >= self.brief.settings.timeouts.run_ms {
            self.cancel(Cancelled::Deadline);
        }
        if self.now < self.next_beat {
            return;
        }
        self.next_beat = self.now + BEAT_MS;
        let epoch = self.epoch();
        let ids: Vec<ShardId> = self.seats.iter().filter(|(_, seat)| seat.live).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            if self.now.saturating_sub(seat.heard_at) >= SILENCE_MS {
                // The stream is there and nobody answers: a stopped process, a hung engine. Seen to its end, it comes back as gone.
                self.dismiss(id);
                continue;
            }
            let wants = seat.shard.beat(epoch);
            self.perform(id, wants);
        }
    }

    /// After every input: is there work for the hungry, is everything final, is everybody gone?
    fn settle(&mut self) {
        if self.brief.settings.fail_fast && self.proof.is_bad() {
            self.cancel(Cancelled::FailFast);
        }
        self.feed();
        if let Stage::Running(open) = &self.stage
            && open.queue.state() == queue::State::Closed
        {
            self.close();
        }
        let gone = self.seats.values().all(|seat| seat.leaving && !seat.live);
        match self.stage {
            Stage::Listing | Stage::Running(_) if gone && !self.seats.is_empty() => {
                if self.cancelled.is_none() {
                    self.cancelled = Some(Cancelled::NoShards);
                    self.tell(EventKind::RunCancelled { reason: Cancelled::NoShards });
                }
                self.finish();
            }
            Stage::Closing if gone => self.finish(),
            Stage::Listing | Stage::Running(_) | Stage::Closing | Stage::Over => {}
        }
    }

    fn feed(&mut self) {
        let Some(epoch) = self.epoch() else { return };
        let hungry: Vec<ShardId> = self.seats.iter().filter(|(_, seat)| seat.shard.is_hungry()).map(|(id, _)| *id).collect();
        for id in hungry {
            let Stage::Running(open) = &self.stage else { return };
            if open.queue.remaining().pending == 0 {
                return;
            }
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            let wants = seat.shard.feed(epoch);
            self.perform(id, wants);
        }
    }

    /// All units are final: sessions are closed in order, and what is still starting is not needed.
    fn close(&mut self) {
        self.stage = Stage::Closing;
        let ids: Vec<ShardId> = self.seats.keys().copied().collect();
        for id in ids {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            if seat.shard.is_open() {
                let wants = seat.shard.finish();
                self.perform(id, wants);
            } else {
                self.leave(id);
            }
        }
    }

    fn finish(&mut self) {
        let verdict = self.proof.verdict();
        let exit = verdict.exit_code(self.brief.settings.allow_empty);
        self.tell(EventKind::RunFinished { verdict, exit });
        self.stage = Stage::Over;
        self.effects.push(Effect::Finished(verdict));
    }

    fn tell(&mut self, kind: EventKind) {
        let event = RunEvent { seq: self.seq, at_ms: self.now, kind };
        self.seq += 1;
        self.proof.apply(&event);
        self.effects.push(Effect::Tell(crate::model::Telling::Event(event)));
    }

    fn epoch(&self) -> Option<queue::Epoch> {
        matches!(self.stage, Stage::Running(_)).then_some(self.brief.epoch)
    }

    fn manifest(&self) -> Option<&Manifest> {
        match &self.stage {
            Stage::Running(open) => Some(&open.manifest),
            Stage::Listing | Stage::Closing | Stage::Over => None,
        }
    }
}

/// A unit whose last test crashed is finished by the very loss that interrupted it: what is final of it is told by the interruption and the crash.
fn news(facts: &[Fact]) -> impl Iterator<Item = &Fact> {
    let cut = |fence| facts.iter().any(|fact| matches!(fact, Fact::Interrupted { fence: cut, .. } if *cut == fence));
    facts.iter().filter(move |fact| !matches!(fact, Fact::Finished { fence, .. } if cut(*fence)))
}

fn ordinal_of(suspect: queue::Suspect) -> u32 {
    match suspect {
        queue::Suspect::Test(ordinal) => ordinal,
        queue::Suspect::Loading => u32::MAX,
    }
}
