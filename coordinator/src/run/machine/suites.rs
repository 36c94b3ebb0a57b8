//! Which suite a shard works on. Every suite is listed before anything runs, since the manifest is frozen over all of them; then shards go where work
//! waits: one that has nothing left to do for its suite closes its session in order and begins another one.
//!
//! A session is started only for something that waits for it. What is spread here are shards over suites; which unit a session gets is the queue's business.

use super::{BUSY_BOOT_MS, Open, Run, Stage};
use crate::model::event::{Cancelled, EventKind, Recalled};
use crate::model::{Manifest, ShardId, SuiteId, UnitKind};
use crate::queue::{Queue, QueueUnit};
use crate::run::brief::Plan;

/// What is known of the suites' files: list and hash of each.
#[derive(Debug)]
pub(super) struct Lists(Vec<Option<(Vec<String>, String)>>);

impl Lists {
    pub(super) fn of(suites: usize) -> Self {
        Self(vec![None; suites])
    }

    /// Whether any session has listed this suite.
    pub(super) fn has(&self, suite: SuiteId) -> bool {
        self.get(suite).is_some()
    }

    /// Whether any session has listed anything.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    fn get(&self, suite: SuiteId) -> Option<&(Vec<String>, String)> {
        usize::try_from(suite.0).ok().and_then(|at| self.0.get(at))?.as_ref()
    }

    fn ids(&self) -> impl Iterator<Item = SuiteId> + use<> {
        (0..u32::try_from(self.0.len()).unwrap_or(u32::MAX)).map(SuiteId)
    }

    /// All of them, if none is missing.
    fn all(&self) -> Option<Vec<Vec<String>>> {
        self.0.iter().map(|list| list.as_ref().map(|(files, _)| files.clone())).collect()
    }
}

impl Run {
    /// The first list of a suite is its list; every other one must be the same. The last first one freezes the manifest.
    pub(super) fn listed(&mut self, id: ShardId, files: Vec<String>, hash: String) {
        let Some(suite) = self.seats.get(&id).map(|seat| seat.shard.suite()) else { return };
        match self.lists.get(suite) {
            Some((_, first)) if *first != hash => {
                let text = "a shard lists other files than the first one did; what it does not find is reported as an error".to_owned();
                self.tell(EventKind::Notice { session: None, text });
            }
            Some(_) => {}
            None => {
                if let Some(list) = usize::try_from(suite.0).ok().and_then(|at| self.lists.0.get_mut(at)) {
                    *list = Some((files.clone(), hash.clone()));
                }
                self.tell(EventKind::SuiteListed { suite, files, list_hash: hash, of: None });
            }
        }
        if let (Stage::Listing, Some(lists)) = (&self.stage, self.lists.all()) {
            self.freeze(&lists);
        }
    }

    /// Where earlier runs listed all suites and proved every file, nothing is started. A list that is known counts nowhere else: whatever session is needed
    /// for the rest lists its suite anyway, and what it does not find is not there any more.
    pub(super) fn stands_already(&mut self) -> bool {
        let recalled = std::mem::take(&mut self.brief.recalled);
        let known = !recalled.is_empty() && recalled.len() == self.brief.settings.suites.len();
        let lists: Vec<_> = recalled.iter().map(|list| list.files.clone()).collect();
        if !known || self.brief.list_only || !(self.brief.plan)(&lists).manifest.units.is_empty() {
            return false;
        }
        for (suite, Recalled { of, files, list_hash }) in (0..).map(SuiteId).zip(recalled) {
            self.tell(EventKind::SuiteListed { suite, files, list_hash, of: Some(of) });
        }
        self.planned(&lists);
        self.close();
        true
    }

    /// Makes the plan, and tells it.
    fn planned(&mut self, lists: &[Vec<String>]) -> Manifest {
        let Plan { manifest, reused, canaries } = (self.brief.plan)(lists);
        for proven in reused {
            self.tell(EventKind::FileReused(Box::new(proven)));
        }
        for proven in canaries {
            self.tell(EventKind::CanaryPlanned(Box::new(proven)));
        }
        self.tell(EventKind::PlanMade { hash: manifest.hash(), manifest: manifest.clone() });
        manifest
    }

    fn freeze(&mut self, lists: &[Vec<String>]) {
        let manifest = self.planned(lists);
        let units = QueueUnit::of(&manifest);
        if self.brief.list_only {
            return self.close();
        }
        match Queue::new(self.brief.epoch, units, self.brief.policy()) {
            Ok(queue) => {
                let units: Vec<_> = manifest.units.iter().filter(|unit| unit.kind != UnitKind::Fallback).collect();
                let predicted_ms = units.iter().map(|unit| unit.predicted_ms).sum();
                let units = units.len();
                self.stage = Stage::Running(Box::new(Open { manifest, queue }));
                self.seat_for(u32::try_from(units).unwrap_or(u32::MAX), predicted_ms);
            }
            Err(error) => {
                let text = format!("the manifest is not one that can be run: {error}; {}", error.hint());
                self.tell(EventKind::Notice { session: None, text });
                self.cancel(Cancelled::NoShards);
            }
        }
    }

    /// A worker without a framework process starts one, of the suite that it is bound for or that needs it most; if none does, it rests.
    pub(super) fn go_to_work(&mut self, id: ShardId) {
        if !self.may_boot() {
            return;
        }
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.leaving) else { return };
        let bound_for = seat.bound_for.take();
        let Some(suite) = bound_for.filter(|suite| self.is_needy(*suite)).or_else(|| self.neediest()) else { return };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.opened_at = self.now;
        let opening = self.brief.open(seat.shard.next_session(), suite);
        let wants = seat.shard.start_session(opening);
        self.perform(id, wants);
    }

    /// Frameworks that start all at once on a few processors are all late, and the longest test begins late. One after the other, the first are at work
    /// while the last still start.
    fn may_boot(&self) -> bool {
        let limit = self.brief.boots_at_a_time.and_then(|limit| usize::try_from(limit).ok());
        limit.is_none_or(|limit| self.busy_boots().count() < limit)
    }

    /// When the next framework may start that does not for the others' sake.
    pub(super) fn next_boot(&self) -> Option<u64> {
        if self.may_boot() { None } else { self.busy_boots().min() }
    }

    /// Until when those that start now are taken to be busy.
    fn busy_boots(&self) -> impl Iterator<Item = u64> {
        let booting = self.seats.values().filter(|seat| seat.live && seat.shard.is_booting());
        booting.map(|seat| seat.opened_at + BUSY_BOOT_MS).filter(|until| *until > self.now)
    }

    /// Gives work to sessions that have none, and other work to shards whose suite has none.
    pub(super) fn feed(&mut self) {
        let ids = |wanted: &dyn Fn(&super::Seat) -> bool| -> Vec<ShardId> {
            self.seats.iter().filter(|(_, seat)| !seat.leaving && wanted(seat)).map(|(id, _)| *id).collect()
        };
        let (hungry, idle) = (ids(&|seat| seat.shard.is_hungry()), ids(&|seat| seat.live && !seat.dismissed && seat.shard.is_idle()));
        for id in hungry {
            let Some(suite) = self.seats.get(&id).map(|seat| seat.shard.suite()) else { continue };
            let epoch = self.epoch().filter(|_| self.waiting(suite).0 > 0);
            let other = match self.stage {
                Stage::Listing => self.nobodys(),
                _ if epoch.is_none() => self.neediest(),
                _ => None,
            };
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            let wants = match (epoch, other) {
                (Some(epoch), _) => seat.shard.feed(epoch),
                (None, Some(other)) => {
                    seat.bound_for = Some(other);
                    seat.shard.finish()
                }
                (None, _) => continue,
            };
            self.perform(id, wants);
        }
        for id in idle {
            self.go_to_work(id);
        }
    }

    /// A suite that nobody lists, and that no shard is coming for.
    fn nobodys(&self) -> Option<SuiteId> {
        let nobodys = || self.lists.ids().filter(|suite| !self.lists.has(*suite) && self.at_work(*suite) == 0);
        let starting = self.seated(|seat| seat.shard.is_starting() || (seat.live && seat.shard.is_idle()));
        nobodys().nth(usize::try_from(starting).unwrap_or(usize::MAX))
    }

    /// What waits of a suite: units, and what is predicted of them.
    fn waiting(&self, suite: SuiteId) -> (u32, u64) {
        match &self.stage {
            Stage::Running(open) => open.queue.waiting(suite),
            Stage::Listing | Stage::Closing | Stage::Over => (0, 0),
        }
    }

    /// The suite that one more shard is best for. Before the manifest is frozen that is one that nobody lists, else the one that took longest by its shards.
    fn neediest(&self) -> Option<SuiteId> {
        let needy = self.lists.ids().filter(|suite| self.is_needy(*suite));
        needy.max_by_key(|suite| {
            let shards = u64::from(self.at_work(*suite));
            let unlisted = !self.lists.has(*suite) && shards == 0;
            let (units, predicted_ms) = self.waiting(*suite);
            let work =
                if matches!(self.stage, Stage::Listing) { self.brief.suite(*suite).expected_ms } else { predicted_ms + u64::from(units) };
            // Of equals the first.
            (unlisted, (work + 1) * 1_000 / (shards + 1), std::cmp::Reverse(*suite))
        })
    }

    /// Whether a shard that has no session could be of use to this suite.
    fn is_needy(&self, suite: SuiteId) -> bool {
        match self.stage {
            Stage::Listing => true,
            // One that is not up yet is for one unit at least.
            Stage::Running(_) => self.coming(suite) < self.waiting(suite).0,
            Stage::Closing | Stage::Over => false,
        }
    }

    /// Shards that are, or will be, at this suite.
    fn at_work(&self, suite: SuiteId) -> u32 {
        self.seated(|seat| seat.bound_for.or_else(|| seat.shard.has_session().then(|| seat.shard.suite())) == Some(suite))
    }

    /// Those of them that are not up yet.
    fn coming(&self, suite: SuiteId) -> u32 {
        self.seated(|seat| seat.bound_for == Some(suite) || (seat.shard.is_booting() && seat.shard.suite() == suite))
    }

    fn seated(&self, there: impl Fn(&super::Seat) -> bool) -> u32 {
        u32::try_from(self.seats.values().filter(|seat| !seat.leaving && there(seat)).count()).unwrap_or(u32::MAX)
    }
}
