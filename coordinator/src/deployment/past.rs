//! What the journal says of a deploy: decisions that stand, and since when things are going on. The only memory there is.
//!
//! Of effects only times and refusals are read here, never that they worked: whether something is so is observed. Times come from rows, so that a process that resumes
//! keeps the deadlines of the one before it.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{Evidence, Journal, Phase, Row, Step};
use super::words::{Cause, Course, Decision, Effect, Leg, Outcome, Rule};
use super::world::{Admin, ContainerId, Sickness, Traffic};
use crate::model::environment::{DeployId, SlotName};

/// A deploy's past, up to now.
#[derive(Debug)]
pub(super) struct Past<'a> {
    /// What it began with, and when.
    pub(super) began: Option<(u64, &'a Course)>,
    /// Why it turned back, and which way, if it did.
    pub(super) back: Option<Back<'a>>,
    /// Slots that failed on the leg that it is on.
    pub(super) quarantined: BTreeMap<&'a SlotName, &'a Sickness>,
    /// The migration is over.
    pub(super) migrated: bool,
    /// When the migration was first about to be started.
    pub(super) migration_started: Option<u64>,
    /// When watching each half began, and what servers had got until then.
    pub(super) soaks: BTreeMap<u8, (u64, &'a BTreeMap<SlotName, Traffic>)>,
    /// When watching each half was over.
    pub(super) soaked: BTreeMap<u8, u64>,
    /// When the last process took over.
    pub(super) resumed: Option<u64>,
    /// When something last came to a good end.
    pub(super) progress: u64,
    /// Who wants it to end.
    pub(super) abort: Option<&'a str>,
    /// How it ended.
    pub(super) finished: Option<&'a Outcome>,
    /// Slots at which it ever was about to start a container, on either leg: what runs there may be either release.
    pub(super) renewed: BTreeSet<&'a SlotName>,
    /// Containers that were to be asked to stop and were not started since, on either leg; and when their engine said that they were.
    pub(super) leaving: BTreeMap<&'a ContainerId, Option<u64>>,
    /// Rows about effects on the leg that it is on.
    acts: Vec<(&'a Row, &'a Effect)>,
}

/// The way back.
#[derive(Debug)]
pub(super) struct Back<'a> {
    /// Since when.
    pub(super) since: u64,
    /// Why.
    pub(super) cause: &'a Cause,
    /// By which rule.
    pub(super) rule: Rule,
    /// Which way.
    pub(super) leg: &'a Leg,
}

impl<'a> Past<'a> {
    /// Reads a deploy's rows.
    pub(super) fn of(journal: &'a Journal, deploy: &DeployId) -> Self {
        let mut past = Self {
            began: None,
            back: None,
            quarantined: BTreeMap::new(),
            migrated: false,
            migration_started: None,
            soaks: BTreeMap::new(),
            soaked: BTreeMap::new(),
            resumed: None,
            progress: 0,
            abort: None,
            finished: None,
            renewed: BTreeSet::new(),
            leaving: BTreeMap::new(),
            acts: Vec::new(),
        };
        for row in journal.rows().iter().filter(|row| row.deploy == *deploy) {
            match &row.step {
                Step::Effect(effect) => past.act(row, effect),
                Step::Decision(decision) => past.decide(row.time, decision),
            }
        }
        past
    }

    fn act(&mut self, row: &'a Row, effect: &'a Effect) {
        if let (Effect::StartMigration { .. }, Phase::Intent) = (effect, row.phase) {
            self.migration_started.get_or_insert(row.time);
        }
        if let Effect::Start { slot, container } = effect {
            self.renewed.insert(slot);
            self.leaving.remove(container);
        }
        if let Effect::Stop { container, .. } = effect {
            let told = self.leaving.entry(container).or_default();
            *told = if row.phase == Phase::Outcome && went_well(row) { Some(row.time) } else { *told };
        }
        if row.phase == Phase::Outcome && went_well(row) {
            self.progress = row.time;
        }
        self.acts.push((row, effect));
    }

    fn decide(&mut self, time: u64, decision: &'a Decision) {
        self.progress = time;
        match decision {
            Decision::Began(course) => self.began = Some((time, course)),
            Decision::Resumed => self.resumed = Some(time),
            Decision::AbortAsked { by } => self.abort = Some(by),
            Decision::Quarantined { slot, sickness } => {
                self.quarantined.insert(slot, sickness);
            }
            Decision::Migrated => self.migrated = true,
            Decision::SoakBegan { half, traffic } => {
                self.soaks.insert(*half, (time, traffic));
            }
            Decision::Soaked { half } => {
                self.soaked.insert(*half, time);
            }
            Decision::TurnedBack { cause, rule, leg } => {
                self.back = Some(Back { since: time, cause, rule: *rule, leg });
                self.quarantined.clear();
                self.acts.clear();
                self.soaks.clear();
                self.soaked.clear();
                self.abort = None;
            }
            Decision::Finished(outcome) => self.finished = Some(outcome),
        }
    }

    /// The leg that it is on, and since when.
    pub(super) fn leg(&self) -> Option<(u64, &'a Leg)> {
        match &self.back {
            Some(back) => Some((back.since, back.leg)),
            None => self.began.and_then(|(since, course)| Some((since, course.leg.as_ref()?))),
        }
    }

    /// Whether the two halves were to be swapped on this leg.
    pub(super) fn swapped(&self) -> bool {
        self.first_swap().is_some()
    }

    /// When the first ones were first about to be let in on this leg.
    pub(super) fn first_swap(&self) -> Option<u64> {
        self.intents().find(|(_, effect)| matches!(effect, Effect::Swap(_))).map(|(row, _)| row.time)
    }

    /// When the balancers were first told this about a slot, on this leg.
    pub(super) fn first_turn(&self, slot: &SlotName, to: Admin) -> Option<u64> {
        let tells = |effect: &Effect| effect.turns().iter().any(|turn| turn.slot == *slot && turn.to == to);
        self.intents().find(|(_, effect)| tells(effect)).map(|(row, _)| row.time)
    }

    /// When balancers were last told this of a slot on this leg: the time of the answer, if there was one.
    pub(super) fn last_turn(&self, slot: &SlotName, to: Admin) -> Option<u64> {
        let tells = |effect: &Effect| effect.turns().iter().any(|turn| turn.slot == *slot && turn.to == to);
        self.intents().chain(self.outcomes()).filter(|(_, effect)| tells(effect)).map(|(row, _)| row.time).max()
    }

    /// When a container was first about to be started at a slot, on this leg.
    pub(super) fn first_start(&self, slot: &SlotName) -> Option<u64> {
        let starts = |effect: &Effect| matches!(effect, Effect::Start { slot: at, .. } if at == slot);
        self.intents().find(|(_, effect)| starts(effect)).map(|(row, _)| row.time)
    }

    /// Whether a container was really started at a slot, on this leg: the engine said so.
    pub(super) fn started(&self, slot: &SlotName) -> bool {
        let starts = |effect: &Effect| matches!(effect, Effect::Start { slot: at, .. } if at == slot);
        self.outcomes().any(|(row, effect)| starts(effect) && went_well(row))
    }

    /// What a slot's engine refused when it was last asked for something on this leg. What is merely tidied up does not count.
    pub(super) fn refused(&self, slot: &SlotName) -> Option<&'a str> {
        let counts = |effect: &Effect| effect.slot() == Some(slot) && !matches!(effect, Effect::Remove { .. });
        let (row, _) = self.outcomes().filter(|(_, effect)| counts(effect)).last()?;
        match &row.evidence {
            Evidence::Refused(said) => Some(said),
            Evidence::Nothing | Evidence::Seen(_) | Evidence::Failed(_) => None,
        }
    }

    /// Whether the balancers were told anything on this leg.
    pub(super) fn touched(&self) -> bool {
        self.intents().any(|(_, effect)| !effect.turns().is_empty())
    }

    /// When exactly this last came to an end, well or not.
    pub(super) fn last_end(&self, effect: &Effect) -> Option<u64> {
        self.outcomes().filter(|(_, other)| *other == effect).last().map(|(row, _)| row.time)
    }

    fn intents(&self) -> impl Iterator<Item = &(&'a Row, &'a Effect)> {
        self.acts.iter().filter(|(row, _)| row.phase == Phase::Intent)
    }

    fn outcomes(&self) -> impl Iterator<Item = &(&'a Row, &'a Effect)> {
        self.acts.iter().filter(|(row, _)| row.phase == Phase::Outcome)
    }
}

fn went_well(row: &Row) -> bool {
    matches!(row.evidence, Evidence::Nothing | Evidence::Seen(_))
}
