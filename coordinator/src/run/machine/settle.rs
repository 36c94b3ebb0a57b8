//! What a run does by itself, without a message: heartbeats, the deadline, the end.

use super::{BEAT_MS, Run, Stage};
use crate::model::ShardId;
use crate::model::event::{Cancelled, EventKind, Proven};
use crate::proof::Canary;
use crate::queue;
use crate::run::words::Effect;

/// A worker that has not answered for this long is lost: the lease's length.
const SILENCE_MS: u64 = 20_000;

impl Run {
    pub(super) fn tick(&mut self) {
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
    pub(super) fn settle(&mut self) {
        if self.brief.settings.fail_fast && self.is_lost() {
            self.cancel(Cancelled::FailFast);
        }
        self.feed();
        self.start_the_held_back();
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

    /// What was to be quick takes its time.
    fn start_the_held_back(&mut self) {
        let Some((_, shards)) = self.held_back.filter(|(due, _)| *due <= self.now) else { return };
        self.held_back = None;
        if let Stage::Running(open) = &self.stage
            && open.queue.remaining().pending > 0
            && self.cancelled.is_none()
        {
            self.seat_up_to(shards);
        }
    }

    /// All units are final: sessions are closed in order, and what is still starting is not needed.
    pub(super) fn close(&mut self) {
        self.tell_what_was_too_much();
        self.stage = Stage::Closing;
        let ids: Vec<ShardId> = self.seats.keys().copied().collect();
        for id in ids {
            self.retire(id);
        }
    }

    /// Lets a shard go: a session that is up is closed in order first, for its end is heard or nothing is proven.
    pub(super) fn retire(&mut self, id: ShardId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.shard.is_open() {
            seat.leaving = true;
            let wants = seat.shard.finish();
            self.perform(id, wants);
        } else if seat.shard.is_finishing() {
            seat.leaving = true;
        } else {
            self.leave(id);
        }
    }

    /// Files that do not do what they were proven to do, on the very same image.
    fn tell_what_differs(&mut self) {
        let differing = self.proof.canaries().filter(|(_, canary)| *canary == Canary::Differs);
        let texts: Vec<_> = differing.map(|(proven, _)| differs(proven)).collect();
        for text in texts {
            self.tell(EventKind::Notice { session: None, text });
        }
    }

    fn finish(&mut self) {
        self.tell_what_differs();
        let verdict = self.proof.verdict();
        let exit = verdict.exit_code(self.brief.settings.allow_empty);
        self.tell(EventKind::RunFinished { verdict, exit });
        self.stage = Stage::Over;
        self.effects.push(Effect::Finished(verdict));
    }
}

fn differs(proven: &Proven) -> String {
    format!(
        "{} does not do what it did in run {}, with the same image, command and environment: its kept results are thrown away, and it is run in each of its next 20 runs",
        proven.file, proven.of
    )
}
