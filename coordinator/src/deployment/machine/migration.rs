//! The migration: run once per deploy, from the new image, before it serves.
//!
//! Its container is created first and started then, under a name that is this deploy's alone. Created twice is one container; a container that was never started was never
//! run; one that ended is not started again. So whoever looks knows what happened, except if the container is gone after it may have been started: then nobody does, and it is held.

use super::{Way, hold};
use crate::deployment::words::{Cause, Decision, Effect, Hold, Next, Waiting};
use crate::deployment::world::{ContainerState, MigrationView};

/// What Docker calls a container that could not be made.
const NOT_MADE: i64 = 125;

impl Way<'_> {
    pub(super) fn migrate(&self) -> Option<Next> {
        if self.back() || self.past.migrated || self.plan.course.migration.is_none() {
            return None;
        }
        match &self.world.migration {
            MigrationView::Absent if self.past.migration_started.is_some() => Some(hold(Hold::MigrationUnknown)),
            MigrationView::Absent => {
                let slot = self.leg.first.iter().find(|slot| self.world.slot(slot).is_some())?.clone();
                Some(self.attempt(Effect::CreateMigration { slot, release: self.leg.goal.clone() }))
            }
            MigrationView::Unknown if self.now >= self.stalled_at() => Some(hold(Hold::MigrationUnknown)),
            MigrationView::Unknown => Some(Next::Wait { until_ms: self.stalled_at(), why: Waiting::Migration }),
            MigrationView::There { container, state } => match state {
                ContainerState::Created => Some(self.attempt(Effect::StartMigration { container: container.clone() })),
                ContainerState::Running => Some(self.running()),
                ContainerState::Exited(0) => Some(Next::Record(Decision::Migrated)),
                ContainerState::Exited(status) => Some(self.turn_back(Cause::Migration(*status))),
            },
        }
    }

    /// Makes or starts it. An engine that goes on refusing has not run anything: what is created or absent was never started.
    fn attempt(&self, effect: Effect) -> Next {
        if self.now >= self.stalled_at() && self.past.last_end(&effect).is_some() {
            return self.turn_back(Cause::Migration(NOT_MADE));
        }
        self.act(vec![effect]).unwrap_or(Next::Wait { until_ms: self.stalled_at(), why: Waiting::Migration })
    }

    /// It is not killed when its time is over: half of it would be as bad as all of it, and nobody would know which.
    fn running(&self) -> Next {
        let timeout = self.environment().migration.as_ref().map_or(0, |migration| migration.timeout_ms);
        let until_ms = self.past.migration_started.unwrap_or(self.since).saturating_add(timeout);
        if self.now >= until_ms { hold(Hold::MigrationOverdue) } else { Next::Wait { until_ms, why: Waiting::Migration } }
    }
}
