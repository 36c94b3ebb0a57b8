//! A half that was let in is watched before anything else happens. That its slots stay well is seen on the way here; what is looked at here is time, and errors (A5).

use super::{Way, hold};
use crate::deployment::words::{Cause, Decision, Hold, Next, Waiting};
use crate::deployment::world::Traffic;
use crate::model::environment::SlotName;

impl Way<'_> {
    /// Watches a half, 1 or 2. What is gone back to has been watched before.
    pub(super) fn watch(&self, half: u8) -> Option<Next> {
        let nothing_new = half == 2 && (self.leg.second.is_empty() || self.leg.warm);
        if self.back() || nothing_new || self.past.soaked.contains_key(&half) {
            return None;
        }
        let all = || self.leg.first.iter().chain(&self.leg.second);
        let Some((began, _)) = self.past.soaks.get(&half) else {
            let traffic = all().map(|slot| (slot.clone(), self.world.traffic(slot))).collect();
            return Some(Next::Record(Decision::SoakBegan { half, traffic }));
        };
        // Nobody watched between two processes: it begins anew, and is never shorter.
        let until_ms = (*began).max(self.past.resumed.unwrap_or(0)).saturating_add(self.environment().soak_ms);
        let watched: Vec<_> = if half == 1 { self.leg.first.iter().collect() } else { all().collect() };
        let over = self.now >= until_ms;
        let settled = if over { Next::Record(Decision::Soaked { half }) } else { Next::Wait { until_ms, why: Waiting::Soak } };
        Some(self.errors(half, &watched, over).unwrap_or(settled))
    }

    /// A5: the new release's share of failed requests, beside that of the old one until it went out. Too few to say anything is no success.
    fn errors(&self, half: u8, watched: &[&SlotName], over: bool) -> Option<Next> {
        let gate = self.environment().errors?;
        let (_, before) = self.past.soaks.get(&half)?;
        let at = |slot: &SlotName| before.get(slot).copied().unwrap_or_default();
        let new = watched.iter().map(|slot| self.world.traffic(slot).since(at(slot))).fold(Traffic::default(), Traffic::plus);
        if new.requests < gate.min_requests {
            return over.then(|| hold(Hold::Inconclusive { requests: new.requests }));
        }
        let (_, first) = self.past.soaks.get(&1)?;
        let old = self.leg.second.iter().filter_map(|slot| first.get(slot)).copied().fold(Traffic::default(), Traffic::plus);
        let allowed = old.permille().saturating_add(gate.tolerance_permille);
        (new.permille() > allowed).then(|| self.turn_back(Cause::Errors { new: new.permille(), old: old.permille() }))
    }
}
