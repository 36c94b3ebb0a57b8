//! What all of these deployments begin with, and what can be asked of them afterwards.

use splitci_coordinator::deployment::{Admin, Decision, Effect, Outcome, Phase, Rule, Step};
use splitci_coordinator::model::environment::{Environment, Share, Strategy};
use splitci_tests::deployments::fleet::Nature;
use splitci_tests::deployments::shell::Theatre;
use splitci_tests::deployments::{environment, release, settled, sides, slot, with_workers};

/// Four slots behind one balancer, release 1 settled.
pub(super) fn four() -> Theatre {
    settled(environment(4, 1))
}

/// Deploys release 2; nothing may be objected to.
pub(super) fn deploy(theatre: &mut Theatre) -> Outcome {
    let outcome = theatre.deploy(&release(2)).unwrap();
    assert_eq!(theatre.judge.objection, None, "{outcome:?}\n{}\n{}", theatre.story(), theatre.end());
    outcome
}

pub(super) fn make(theatre: &mut Theatre, slots: &[u32], nature: Nature) {
    for at in slots {
        theatre.fleet.natures.insert((release(2).image, slot(*at)), nature);
    }
}

/// By which rule it turned back.
pub(super) fn rule(theatre: &Theatre) -> Option<Rule> {
    theatre.journal.rows().iter().rev().find_map(|row| match &row.step {
        Step::Decision(Decision::TurnedBack { rule, .. }) => Some(*rule),
        _ => None,
    })
}

/// Which releases serve, slot by slot.
pub(super) fn serving(theatre: &Theatre) -> Vec<Option<u32>> {
    let number = |name| {
        let ready = theatre.fleet.desks.iter().all(|desk| desk.posts[name].seen.admin == Admin::Ready);
        let unit = theatre.fleet.runs_at(name).filter(|_| ready)?;
        (1..9).find(|number| unit.seen.release == release(*number))
    };
    theatre.fleet.names.iter().map(number).collect()
}

pub(super) fn effects(theatre: &Theatre) -> Vec<&Effect> {
    theatre.journal.rows().iter().filter_map(|row| if let Step::Effect(effect) = &row.step { Some(effect) } else { None }).collect()
}

/// What runs at each slot.
pub(super) fn running(theatre: &Theatre) -> Vec<u32> {
    let images = theatre.fleet.names.iter().map(|name| theatre.fleet.runs_at(name).map(|unit| unit.seen.release.clone()));
    images.map(|seen| seen.map_or(0, |seen| if seen == release(1) { 1 } else { 2 })).collect()
}

/// Release 1 serves everywhere, and whatever is deployed next replaces all of it at once.
pub(super) fn at_once() -> Theatre {
    settled(Environment { strategy: Strategy::AllAtOnce, ..environment(3, 1) })
}

/// Release 1 serves at six slots, and two are replaced at a time.
pub(super) fn rolling() -> Theatre {
    settled(Environment { strategy: Strategy::Rolling { batch: Share::Count(2) }, ..environment(6, 1) })
}

/// Release 1 serves at five slots; one is replaced and watched before the others follow.
pub(super) fn canary() -> Theatre {
    let strategy = Strategy::Canary { first: Share::Count(1), batch: Share::Count(2) };
    settled(Environment { strategy, floor: Share::Count(3), ..environment(5, 1) })
}

/// Release 1 serves at four slots, each of which has a twin.
pub(super) fn two_sides() -> Theatre {
    let floor = Share::Percent(100);
    settled(Environment { floor, ..sides(environment(4, 1)) })
}

/// Release 1 at two slots, and three workers.
pub(super) fn workers() -> Theatre {
    settled(with_workers(environment(2, 1), 3))
}

/// Slots in the order in which the balancers were told this of them by this deploy.
pub(super) fn told(theatre: &Theatre, to: Admin) -> Vec<Vec<String>> {
    let last = theatre.journal.rows().last().unwrap().deploy.clone();
    let intents = theatre.journal.rows().iter().filter(|row| row.deploy == last && row.phase == Phase::Intent);
    let turns = intents.filter_map(|row| match &row.step {
        Step::Effect(effect) => {
            Some(effect.turns().iter().filter(|turn| turn.to == to).map(|turn| turn.slot.0.clone()).collect::<Vec<_>>())
        }
        Step::Decision(_) => None,
    });
    turns.filter(|slots| !slots.is_empty()).collect()
}
