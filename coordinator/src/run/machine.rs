//! The brain of a run: starts and stops shards, freezes the manifest, keeps the deadline, and numbers the events.
//!
//! `handle(now, input) -> effects` is everything; no async, no clock. Leases live in the queue, tests in the proof, sessions in the shards' own brains;
//! what is decided here is which shard lives, what it works on
//! (`suites`), when the queue opens, what is tried again (`retry`), and when the run is over. Only this file assigns `seq`.

mod retry;
mod settle;
mod suites;

use std::collections::{BTreeMap, VecDeque};

use splitci_worker::protocol::message::{FromWorker, ToWorker};

use super::brief::Brief;
use super::facts::events_of;
use super::seat::Seat;
use super::shard::{Ending, Shard, Want};
use super::words::{Effect, Input, Obstacle};
use crate::engine::{ShardEnd, ShardSpec};
use crate::model::event::{Cancelled, EventKind, RunEvent};
use crate::model::{Fence, Manifest, ShardId, SuiteId, Telling};
use crate::proof::Proof;
use crate::queue::{self, Queue};

/// The agent's heartbeat.
const BEAT_MS: u64 = 5_000;
/// Shards that are started before it is known how many units there are.
const FIRST_SHARDS: u32 = 16;
/// A container and a framework take about so long to start, so that a shard is not started for less work, where it is known how much there is. What is
/// known of very short tests is mostly how they stood in each other's way, which is no reason for more of them at a time.
const WORTH_A_SHARD_MS: u64 = 1_000;
/// Shards that were held back are started if work still waits so long after the manifest was frozen: it takes longer than it did.
const HELD_BACK_MS: u64 = 1_000;
/// For so long a framework that starts is taken to be busy; one that takes longer may as well wait for something, and holds up no other.
const BUSY_BOOT_MS: u64 = 250;
/// A shard whose sessions end this often in a row without a single test done is given up.
const BARREN_SESSIONS: u32 = 3;

#[derive(Debug)]
enum Stage {
    /// There is a suite that no session has listed yet.
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
    lists: suites::Lists,
    obstacle: Option<(SuiteId, Obstacle)>,
    /// When shards that were held back are started after all, and up to how many there are then.
    held_back: Option<(u64, u32)>,
    retries: retry::Retries,
    effects: Vec<Effect>,
}

impl Run {
    /// A run that has not begun.
    pub fn new(brief: Brief) -> Self {
        Self {
            lists: suites::Lists::of(brief.settings.suites.len()),
            brief,
            stage: Stage::Listing,
            seats: BTreeMap::new(),
            proof: Proof::default(),
            seq: 0,
            now: 0,
            next_beat: BEAT_MS,
            cancelled: None,
            obstacle: None,
            held_back: None,
            retries: retry::Retries::default(),
            effects: Vec::new(),
        }
    }

    /// When to come back with a `Tick` at the latest, in milliseconds of the run's clock.
    pub fn next_deadline(&self) -> u64 {
        let end = if self.cancelled.is_none() { self.brief.settings.timeouts.run_ms } else { u64::MAX };
        let held_back = self.held_back.map_or(u64::MAX, |(due, _)| due);
        let deferred = self.next_boot().unwrap_or(u64::MAX);
        self.next_beat.min(end).min(held_back).min(deferred)
    }

    /// Why no session of a suite came up, if that is the invoker's to mend.
    pub fn obstacle(&self) -> Option<&(SuiteId, Obstacle)> {
        self.obstacle.as_ref()
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
            Input::ShardNotStarted { shard, detail, refused } => {
                if refused && !self.lists.any() {
                    self.obstacle.get_or_insert((SuiteId::default(), Obstacle::Refused(detail.clone())));
                    self.leave(shard);
                }
                let end = ShardEnd { status: None, oom: false, detail };
                self.shard_gone(shard, &end, None);
            }
            Input::Frame { shard, message, blob } => self.frame(shard, message, &blob),
            Input::ShardGone { shard, end, garbled } => self.shard_gone(shard, &end, garbled),
            Input::Typed(keys) => self.pass_to_terminal(|session| ToWorker::Keys { session }, &keys),
            Input::Resized(size) => self.pass_to_terminal(|session| ToWorker::Resize { session, size }, &[]),
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
        if self.stands_already() {
            return;
        }
        let suites = &self.brief.suites;
        // One that was never run may hold anything.
        let known = !suites.is_empty() && suites.iter().all(|suite| suite.expected_ms > 0);
        let worth = if known { worth(suites.iter().map(|suite| suite.expected_ms).sum()) } else { u32::MAX };
        let first = worth.max(u32::try_from(suites.len()).unwrap_or(u32::MAX)).max(1);
        self.seat_up_to(self.brief.settings.shards.min(FIRST_SHARDS).min(first));
    }

    /// Starts the shards up to this number that were never started.
    fn seat_up_to(&mut self, shards: u32) {
        for id in (1..=shards).map(ShardId) {
            if !self.seats.contains_key(&id) {
                self.seats.insert(id, Seat::new(id, self.now));
                self.start_shard(id, 0);
            }
        }
    }

    /// How many units there are is known: never more shards than that, and for the time being no new ones for less work than is worth one. Those that
    /// are furthest stay.
    fn seat_for(&mut self, units: u32, predicted_ms: Option<u64>) {
        let shards = self.brief.settings.shards.min(units.max(1));
        let now = predicted_ms.map_or(shards, |ms| shards.min(worth(ms)));
        self.held_back = (now < shards).then_some((self.now + HELD_BACK_MS, shards));
        self.seat_up_to(now);
        let mut by_progress: Vec<_> = self.seats.iter().map(|(id, seat)| (!seat.shard.is_open(), !seat.shard.has_session(), *id)).collect();
        by_progress.sort_unstable();
        for (.., id) in by_progress.into_iter().skip(usize::try_from(shards).unwrap_or(usize::MAX)) {
            self.retire(id);
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
            self.go_to_work(id);
        }
    }

    /// What is meant for a framework that has the invoker's terminal: there is one shard then.
    fn pass_to_terminal(&mut self, message: impl Fn(u32) -> ToWorker, blob: &[u8]) {
        for (id, seat) in self.seats.iter().filter(|(_, seat)| seat.live && seat.shard.has_session()) {
            self.effects.push(Effect::Send { shard: *id, message: message(seat.shard.session().number), blob: blob.to_vec() });
        }
    }

    /// Carries out what a shard's brain wants; answers of the queue lead to further wants.
    fn perform(&mut self, id: ShardId, wants: Vec<Want>) {
        let mut todo = VecDeque::from(wants);
        while let Some(want) = todo.pop_front() {
            match want {
                Want::Send(message, blob) => self.effects.push(Effect::Send { shard: id, message, blob }),
                Want::Tell(event) => self.tell(event),
                Want::Say(news) => self.effects.push(Effect::Tell(Telling::Progress(news))),
                Want::Step(step) => todo.extend(self.step(id, &step)),
                Want::Listed(files, hash) => self.listed(id, files, hash),
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
        let events = events_of(&reply.facts, |fence| holder(&self.seats, id, fence), &open.manifest);
        let crashes = events.iter().filter(|event| matches!(event, EventKind::TestCrashed { .. })).count() as u64;
        for event in events {
            self.tell(event);
        }
        self.try_again(&reply.facts);
        let Stage::Running(open) = &self.stage else { return Vec::new() };
        let Some(seat) = self.seats.get_mut(&id) else { return Vec::new() };
        seat.crashes += crashes;
        if step.close {
            seat.shard.forget();
            return Vec::new();
        }
        seat.shard.answered(&reply.leases, &open.manifest)
    }

    fn over(&mut self, id: ShardId, ending: Ending) {
        match ending {
            Ending::Finished if self.goes_on(id) => self.go_to_work(id),
            Ending::Finished | Ending::Unfit => self.leave(id),
            Ending::SessionLost { refused, obstacle } => self.session_lost(id, refused, obstacle),
            Ending::ShardLost => {}
        }
    }

    /// Whether a shard whose session closed in order may begin another one.
    fn goes_on(&self, id: ShardId) -> bool {
        matches!(self.stage, Stage::Listing | Stage::Running(_)) && self.seats.get(&id).is_some_and(|seat| !seat.leaving)
    }

    /// Another session in the same shard, unless there is nothing to gain by it.
    fn session_lost(&mut self, id: ShardId, refused: bool, obstacle: Option<Obstacle>) {
        let over = !matches!(self.stage, Stage::Listing | Stage::Running(_));
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.take_stock();
        let (suite, spent) = (seat.shard.suite(), seat.leaving || seat.barren >= BARREN_SESSIONS);
        let hopeless = obstacle.is_some() || (refused && !self.lists.has(suite));
        self.obstacle = self.obstacle.take().or(obstacle.map(|obstacle| (suite, obstacle)));
        if over || hopeless || spent {
            self.leave(id);
            // Whatever the other suites show, this one will not.
            if hopeless && self.brief.settings.suites.len() > 1 {
                self.cancel(Cancelled::NoShards);
            }
        } else {
            self.go_to_work(id);
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
        // What it gave back may have been the last: then nothing is left for another one to do.
        let done = matches!(&self.stage, Stage::Running(open) if open.queue.state() == queue::State::Closed);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.take_stock();
        if running && !done && !seat.leaving && seat.barren < BARREN_SESSIONS {
            seat.restarts += 1;
            seat.shard.restarting();
            seat.heard_at = self.now;
            let restarts = seat.restarts;
            self.start_shard(id, restarts);
        } else {
            seat.leaving = true;
            if matches!(self.stage, Stage::Listing) && self.cancelled.is_none() {
                // History may have asked for one shard alone; the others have their tries too.
                self.seat_up_to(self.brief.settings.shards.min(FIRST_SHARDS));
            }
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

    fn tell(&mut self, kind: EventKind) {
        self.suite_grows(&kind);
        let event = RunEvent { seq: self.seq, at_ms: self.now, kind };
        self.seq += 1;
        self.proof.apply(&event);
        self.effects.push(Effect::Tell(Telling::Event(event)));
    }

    fn epoch(&self) -> Option<queue::Epoch> {
        matches!(self.stage, Stage::Running(_)).then_some(self.brief.epoch)
    }
}

/// How many shards so much work is worth.
fn worth(predicted_ms: u64) -> u32 {
    u32::try_from(predicted_ms.div_ceil(WORTH_A_SHARD_MS)).unwrap_or(u32::MAX).max(1)
}

/// Who holds a lease; the shard that steps, if nobody knows any more.
fn holder(seats: &BTreeMap<ShardId, Seat>, stepping: ShardId, fence: Fence) -> Option<&Shard> {
    let shards = || seats.values().map(|seat| &seat.shard);
    shards().find(|shard| shard.holds(fence)).or_else(|| seats.get(&stepping).map(|seat| &seat.shard))
}
