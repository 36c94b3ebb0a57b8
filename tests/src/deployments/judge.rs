//! What must hold at every instant, by the truth alone. The first objection is kept.

use std::collections::BTreeSet;

use splitci_coordinator::deployment::{Admin, Effect, Turn};
use splitci_coordinator::model::environment::SlotName;

use super::fleet::Fleet;

/// Watches a fleet. A balancer that has forgotten what it was told is excused until it can be told again.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    /// So many slots serve at any time, unless something took them that is none of the deploy's business.
    pub floor: u32,
    /// Releases were mixed before it began, or are by design.
    pub mixes: bool,
    /// So few slots seemed to serve after an effect, at the least.
    pub least: u32,
    /// What is wrong.
    pub objection: Option<String>,
    /// Requests that were answered well, and others.
    pub requests: (u64, u64),
    capacity: (u32, u32),
}

impl Judge {
    /// Keeps the first.
    pub fn expect(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.objection.get_or_insert_with(|| otherwise.to_owned());
        }
    }

    /// I2 and I6: a request that goes wrong goes to something that was well before and broke by itself.
    pub fn request(&mut self, fleet: &Fleet, slot: &SlotName, well: bool) {
        if well {
            self.requests.0 += 1;
            return;
        }
        self.requests.1 += 1;
        let by_itself = fleet.places.get(slot).is_some_and(|place| {
            let running = place.units.iter().filter(|unit| unit.seen.aside.is_none());
            let last = running.max_by_key(|unit| unit.started);
            last.is_some_and(|unit| unit.was_well && !unit.stopped || unit.seen.restarts > 0)
        });
        let forgot = fleet.now < fleet.forgot_until;
        self.expect(by_itself || forgot, &format!("I2/I6 at {}: a request to {slot}, which the deploy made unable to answer", fleet.now));
    }

    /// I4: one balancer, one instant, one release; where they are mixed two, what was there and what comes.
    pub fn mixed(&mut self, fleet: &Fleet, releases: &BTreeSet<String>) {
        let (now, forgot) = (fleet.now, fleet.now < fleet.forgot_until);
        let most = if self.mixes { 2 } else { 1 };
        self.expect(releases.len() <= most || forgot, &format!("I4 at {now}: requests meet {releases:?}"));
    }

    /// A container is stopped when nobody waits for it any more.
    pub fn stopped(&mut self, fleet: &Fleet, slot: &SlotName, flights: usize) {
        let (now, forgot) = (fleet.now, fleet.now < fleet.forgot_until);
        self.expect(flights == 0 || forgot, &format!("I2 at {now}: {slot} is stopped with {flights} requests in flight"));
    }

    /// I6: nothing goes from maintenance to ready: between them are checks.
    pub fn turns(&mut self, fleet: &Fleet, turns: &[Turn]) {
        for turn in turns.iter().filter(|turn| turn.to == Admin::Ready) {
            let posts = fleet.desks.iter().filter(|desk| desk.away_until <= fleet.now).filter_map(|desk| desk.posts.get(&turn.slot));
            for post in posts {
                let checked = post.seen.admin != Admin::Maint;
                self.expect(checked, &format!("I6 at {}: {} goes in unchecked", fleet.now, turn.slot));
            }
        }
    }

    /// Before an effect.
    pub fn before(&mut self, fleet: &Fleet) {
        self.capacity = fleet.capacity();
    }

    /// I1 and I15: nothing that is done takes capacity that is needed.
    pub fn after(&mut self, fleet: &Fleet, effect: &Effect) {
        let (before, after, floor) = (self.capacity, fleet.capacity(), self.floor);
        self.least = self.least.min(after.1);
        // What broke a moment ago and cannot be seen yet is nobody's fault, and what is seen to be broken is no capacity.
        let really = after.0 >= before.0 || after.0 >= floor;
        let seen = after.1 >= before.1 || after.1 >= floor;
        self.expect(
            really || seen,
            &format!("I1/I15 at {}: {effect:?} leaves {after:?} of {before:?}, and {floor} have to serve", fleet.now),
        );
    }
}
