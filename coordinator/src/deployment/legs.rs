//! Which slots go when on the way to a release, for each strategy, and how many serve meanwhile.
//!
//! What is near the goal goes first, because it costs nothing; then as many as the strategy takes out at once. The others follow: all of them as the first go in, or a batch at a
//! time. Of two sides the one that is near the goal goes in, and the other one out.

use super::plan::{PlannedStep, StepKind};
use super::words::Leg;
use super::world::{Rotation, World};
use crate::model::environment::{Environment, Release, Role, Share, Side, SlotName, Strategy};

/// How far a slot is from serving a release: who is nearest goes first, because it costs nothing (R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It serves it.
    There,
    /// It runs there, out of rotation.
    Warm,
    /// Something else is there, and does not serve: a healthy slot is taken out after it, whatever either runs.
    Idle,
    /// It serves something else.
    Elsewhere,
}

/// How far this one is.
pub(super) fn rank(world: &World, slot: &SlotName, goal: &Release) -> Rank {
    match (world.rotation(slot) == Rotation::Serving, world.runs(slot, goal)) {
        (true, true) => Rank::There,
        (false, true) => Rank::Warm,
        (false, false) => Rank::Idle,
        (true, false) => Rank::Elsewhere,
    }
}

/// The way to a release, for this strategy.
pub(super) fn split(environment: &Environment, world: &World, goal: &Release) -> Leg {
    let mut order = by_zone(environment);
    order.sort_by_key(|slot| rank(world, slot, goal));
    let up_to = |most| order.iter().filter(|slot| rank(world, slot, goal) <= most).count();
    let (near, free, all) = (up_to(Rank::Warm), up_to(Rank::Idle), order.len());
    // Whoever does not serve anyway is one of those that are out at once.
    let at_a_time = |share: Share| share.at_a_time(environment.size());
    let beyond = |share: Share| free.max(near.saturating_add(usize::try_from(at_a_time(share)).unwrap_or(usize::MAX)));
    let (first, batch) = match environment.strategy {
        Strategy::BlueGreen => return sides(environment, world, goal),
        Strategy::Half => (near.max(all / 2).max(1), None),
        Strategy::AllAtOnce => (all, None),
        Strategy::Rolling { batch } => (beyond(batch), Some(at_a_time(batch))),
        Strategy::Canary { first, batch } => (beyond(first), Some(at_a_time(batch))),
    };
    let second = order.split_off(first.min(all));
    Leg { goal: goal.clone(), first: order, second, batch, warm: false, workers: environment.of(Role::Worker) }
}

/// The way to a release by one side: the one with fewer slots to bring there, then the one that serves less, then blue.
fn sides(environment: &Environment, world: &World, goal: &Release) -> Leg {
    let on = |side: Side| {
        let of_it = |slot: &SlotName| environment.slots.iter().any(|place| place.name == *slot && place.side == Some(side));
        let mut slots: Vec<_> = by_zone(environment).into_iter().filter(of_it).collect();
        slots.sort_by_key(|slot| rank(world, slot, goal));
        slots
    };
    let cost = |slots: &[SlotName]| (slots.iter().filter(|slot| rank(world, slot, goal) > Rank::Warm).count(), world.serving(slots));
    let (blue, green) = (on(Side::Blue), on(Side::Green));
    let (first, second) = if cost(&green) < cost(&blue) { (green, blue) } else { (blue, green) };
    Leg { goal: goal.clone(), first, second, batch: None, warm: true, workers: environment.of(Role::Worker) }
}

/// Whether nothing is to be done: the release serves wherever it is to, and nowhere else.
pub(super) fn there(environment: &Environment, world: &World, goal: &Release) -> bool {
    let leg = split(environment, world, goal);
    let serves = |slot: &SlotName| rank(world, slot, goal) == Rank::There;
    let out = |slot: &SlotName| !matches!(world.rotation(slot), Rotation::Serving | Rotation::Partly);
    let works = |slot: &SlotName| world.runs(slot, goal);
    leg.workers.iter().all(works)
        && leg.first.iter().all(serves)
        && leg.second.iter().all(|slot| if leg.warm { out(slot) } else { serves(slot) })
}

/// All slots of the web: one of each zone, then another of each; by name within a zone.
fn by_zone(environment: &Environment) -> Vec<SlotName> {
    let web = environment.slots.iter().filter(|slot| slot.role == Role::Web);
    let mut slots: Vec<_> = web.map(|slot| (slot.zone.as_deref(), &slot.name)).collect();
    slots.sort();
    let place = |at: usize, zone| slots.iter().take(at).filter(|(other, _)| *other == zone).count();
    let mut order: Vec<_> = (0..).zip(&slots).map(|(at, &(zone, name))| (place(at, zone), zone, name)).collect();
    order.sort();
    order.into_iter().map(|(_, _, name)| name.clone()).collect()
}

/// How many slots serve along a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Before it.
    pub(super) now: u32,
    /// While the first ones are replaced.
    pub(super) stays: u32,
    /// Once they are let in.
    pub(super) swapped: u32,
    /// While the others are replaced: at the least.
    pub(super) later: u32,
    /// At the end.
    pub(super) all: u32,
}

impl Room {
    /// Of a way, from here.
    pub(super) fn of(leg: &Leg, world: &World) -> Self {
        let count = |slots: &[SlotName]| u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let taken = leg.first.iter().filter(|slot| rank(world, slot, &leg.goal) == Rank::Elsewhere).count();
        let now = world.serving(leg.first.iter().chain(&leg.second));
        let stays = now.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        let (first, second) = (count(&leg.first), count(&leg.second));
        let all = first.saturating_add(second);
        match leg.batch {
            None if leg.warm => Self { now, stays, swapped: first, later: first, all: first },
            None => Self { now, stays, swapped: first, later: first, all },
            Some(batch) => {
                let swapped = first.saturating_add(world.serving(&leg.second));
                Self { now, stays, swapped, later: swapped.saturating_sub(batch.min(second)), all }
            }
        }
    }
}

/// What is going to happen if nothing fails.
pub(super) fn expected(leg: &Leg, room: &Room, migration: bool) -> Vec<PlannedStep> {
    let mut steps = Vec::new();
    let all: Vec<_> = leg.first.iter().chain(&leg.second).cloned().collect();
    let mut step = |kind, slots: &[SlotName], capacity| steps.push(PlannedStep { kind, slots: slots.to_vec(), capacity });
    let renewed: Vec<_> = leg.renewed().cloned().collect();
    step(StepKind::Prefetch, &renewed, room.now);
    if !leg.warm || room.stays < room.now {
        step(StepKind::Drain, &leg.first, room.stays);
    }
    step(StepKind::Replace, &leg.first, room.stays);
    if migration {
        step(StepKind::Migrate, &[], room.stays);
    }
    match leg.batch {
        None => step(StepKind::Swap, &all, room.swapped),
        Some(_) => step(StepKind::Ready, &leg.first, room.swapped),
    }
    step(StepKind::Soak, &leg.first, room.swapped);
    for crew in leg.crews() {
        step(StepKind::Replace, crew, room.swapped);
    }
    if leg.warm {
        return steps;
    }
    for batch in leg.batches() {
        let out = leg.batch.map_or(room.later, |_| room.swapped.saturating_sub(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        if leg.batch.is_some() {
            step(StepKind::Drain, batch, out);
        }
        step(StepKind::Replace, batch, out);
        step(StepKind::Ready, batch, room.all);
    }
    if !leg.second.is_empty() {
        step(StepKind::Soak, &all, room.all);
    }
    steps
}
