//! What the queue decided in a step, as events: the queue knows ordinals and fences, the shard knows names and what killed its session.

use super::shard::Shard;
use crate::model::event::{Crash, EventKind};
use crate::model::{Fence, Manifest, TestKey, UnitId};
use crate::queue::{Cause, Fact, Suspect};

/// The events of a step's facts, in their order. `holder` is the shard that held a lease: it knows the names of its tests and what killed its session,
/// and it need not be the one whose step brought the fact to light.
///
/// A unit whose last test crashed is finished by the very loss that interrupted it: what is final of it is told by the interruption and the crash.
pub(super) fn events_of<'a>(facts: &[Fact], holder: impl Fn(Fence) -> Option<&'a Shard>, manifest: &Manifest) -> Vec<EventKind> {
    let cut = |fence| facts.iter().any(|fact| matches!(fact, Fact::Interrupted { fence: cut, .. } if *cut == fence));
    let told = facts.iter().filter(|fact| !matches!(fact, Fact::Finished { fence, .. } if cut(*fence)));
    told.filter_map(|fact| event_of(fact, &holder, manifest)).collect()
}

fn event_of<'a>(fact: &Fact, holder: &impl Fn(Fence) -> Option<&'a Shard>, manifest: &Manifest) -> Option<EventKind> {
    match *fact {
        Fact::Finished { unit, fence } => Some(EventKind::UnitFinished { unit, fence }),
        Fact::Interrupted { unit, fence, final_below, suspect } => {
            let suspect = suspect.map(ordinal_of);
            Some(EventKind::UnitInterrupted { unit, fence, final_below, suspect })
        }
        Fact::Superseded { unit, reason } => Some(EventKind::UnitSuperseded { unit, reason }),
        Fact::Crashed { unit, fence, suspect, cause } => Some(crashed((unit, suspect), cause, holder(fence)?, manifest)),
        // A unit is given up only after a crash of it was told; an overtaken result changes nothing; a session that expired is its shard's news.
        Fact::GivenUp { .. } | Fact::Overtaken { .. } | Fact::SessionExpired { .. } => None,
    }
}

fn crashed((unit, suspect): (UnitId, Suspect), cause: Cause, shard: &Shard, manifest: &Manifest) -> EventKind {
    let ordinal = ordinal_of(suspect);
    let file = || manifest.get(unit).map_or_else(String::new, |unit| unit.file.clone());
    let id = shard.id_of(unit, ordinal).unwrap_or_else(file);
    let how = match cause {
        Cause::Outside => Crash::ShardLost,
        Cause::Test | Cause::Deadline => shard.last_loss().unwrap_or(Crash::ShardLost),
    };
    EventKind::TestCrashed { test: TestKey { unit, ordinal }, id, session: shard.session(), how }
}

fn ordinal_of(suspect: Suspect) -> u32 {
    match suspect {
        Suspect::Test(ordinal) => ordinal,
        Suspect::Loading => u32::MAX,
    }
}
