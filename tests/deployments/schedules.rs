//! Processes that die at any moment, and everything by chance.

use proptest::prelude::*;
use splitci_coordinator::deployment::{Decision, Machine, Next, Outcome, Plan, Request};
use splitci_coordinator::model::Fence;
use splitci_coordinator::model::environment::{DeployId, Environment, Share, Strategy};
use splitci_tests::deployments::fleet::{Fate, Nature, Trouble};
use splitci_tests::deployments::prober::Prober;
use splitci_tests::deployments::shell::{Deaths, Theatre};
use splitci_tests::deployments::{Stats, at_the_end, environment, release, schedule, settled, slot, soak};
use std::collections::BTreeMap;

use super::ground::{at_once, deploy, four, make, two_sides, workers};

/// A name, and how it begins.
type Play = (&'static str, fn() -> Theatre);

/// Ends that do not depend on when something happens.
fn plays() -> Vec<Play> {
    vec![
        ("done", four),
        ("two balancers", || settled(environment(3, 2))),
        ("one slot", || settled(environment(1, 1))),
        ("all at once", at_once),
        ("rolling", || settled(Environment { strategy: Strategy::Rolling { batch: Share::Count(1) }, ..environment(3, 1) })),
        ("canary back", || {
            let strategy = Strategy::Canary { first: Share::Count(1), batch: Share::Count(2) };
            let mut theatre = settled(Environment { strategy, floor: Share::Count(1), ..environment(3, 1) });
            make(&mut theatre, &[2], Nature::Crashes(300));
            theatre
        }),
        ("first", || Theatre::new(environment(3, 1))),
        ("R1", || {
            let mut theatre = four();
            make(&mut theatre, &[1], Nature::Crashes(300));
            theatre
        }),
        ("R3", || {
            let mut theatre = four();
            make(&mut theatre, &[3], Nature::Refused);
            theatre
        }),
        ("two sides", two_sides),
        ("two sides back", || {
            let mut theatre = two_sides();
            let twin = theatre.fleet.names.iter().find(|name| name.0.ends_with('t')).cloned().unwrap();
            theatre.fleet.natures.insert((release(2).image, twin), Nature::Crashes(300));
            theatre
        }),
        ("workers", workers),
        ("workers back", || {
            let mut theatre = workers();
            let last = theatre.fleet.names.last().cloned().unwrap();
            theatre.fleet.natures.insert((release(2).image, last), Nature::Crashes(300));
            theatre
        }),
        ("migration", || {
            let mut theatre = four();
            theatre.fleet.fate = Fate::Ends(300, 3);
            theatre
        }),
        ("degraded", || {
            let mut theatre = four();
            theatre.environment.max_failed = 1;
            make(&mut theatre, &[2], Nature::Crashes(300));
            theatre
        }),
        ("R6", || {
            let mut theatre = four();
            make(&mut theatre, &[1], Nature::Crashes(300));
            theatre.fleet.natures.insert((release(1).image, slot(1)), Nature::Crashes(300));
            theatre
        }),
    ]
}

/// I13: at every row and every effect of ten stories.
#[test]
fn i13_a_process_that_dies_anywhere_is_followed_by_one_that_comes_to_the_same_end() {
    let mut died = BTreeMap::new();
    for (name, play) in plays() {
        let mut theatre = play();
        let (outcome, points) = (deploy(&mut theatre), theatre.points);
        let end = theatre.end();
        for point in 1..=points {
            let mut theatre = play();
            theatre.deaths = Deaths::At(theatre.points + point);
            let again = deploy(&mut theatre);
            assert_eq!((&again, theatre.end()), (&outcome, end.clone()), "{name}, dead at {point} of {points}: {}", theatre.story());
            *died.entry(name).or_insert(0) += theatre.died;
        }
        assert_eq!(died.get(name), Some(&points), "{name}");
    }
    assert!(died.values().sum::<u32>() > 500, "{died:?}");
}

/// I12: a higher fence, or a lost lock, ends it.
#[test]
fn i12_whoever_was_overtaken_does_nothing_wherever_it_was() {
    let mut theatre = four();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    let deploy = DeployId("D2".to_owned());
    let world = theatre.fleet.observe(&deploy, &Prober::new(1));
    let request = Request {
        deploy: deploy.clone(),
        target: release(3),
        stable: None,
        rollback: false,
        allow_downtime: false,
        fix_forward: false,
        proven: None,
        manifest: String::new(),
        newest: None,
        frozen: None,
    };
    let plan = Plan::of(&theatre.environment, &world, &request).unwrap();
    let (mut free, mut other) = (world.clone(), world.clone());
    free.fence = Fence(0);
    other.fence = Fence(8);
    let empty = splitci_coordinator::deployment::Journal::default();
    let next = |fence: u64, journal: &_, world: &_| Machine::new(plan.clone(), Fence(fence)).next(journal, world, theatre.fleet.now);
    assert_eq!(next(7, &empty, &other), Next::Done(Outcome::Superseded));
    assert_eq!(next(7, &empty, &free), Next::Done(Outcome::LockLost), "and without the lock neither");
    free.lock = splitci_coordinator::deployment::Lock::Held(deploy);
    assert!(matches!(next(7, &empty, &free), Next::Record(Decision::Began(_))));
}

/// The last container ends beside an engine that cannot be reached, and no balancer has noticed: that is said to be done, for nobody can know better. It is found out by the
/// next check, and so it is where somebody could know.
#[test]
fn what_ends_where_nobody_can_look_is_nobodys_fault_and_all_else_is() {
    for seed in [97_814, 502_319] {
        schedule(seed, &mut Stats::default())
            .unwrap_or_else(|violation| panic!("seed {seed}: {}\n{}", violation.objection, violation.story));
    }
    let mut theatre = four();
    let outcome = deploy(&mut theatre);
    let lies = |theatre: &Theatre| at_the_end(theatre, &outcome, true).is_some();
    let passes = |theatre: &mut Theatre, ms| theatre.fleet.pass(ms, &mut Prober::new(1), &mut theatre.judge);
    assert!(!lies(&theatre));
    // Its engine answers: everybody sees it.
    let mut seen = theatre.clone();
    seen.fleet.troubles.push((0, Trouble::Dies(3)));
    passes(&mut seen, 0);
    assert!(lies(&seen));
    // It does not, and the balancer has not checked yet; and then it has.
    theatre.fleet.troubles.extend([(0, Trouble::EngineAway(3, 1_000_000)), (0, Trouble::Dies(3))]);
    passes(&mut theatre, 0);
    assert!(theatre.fleet.runs_at(&slot(3)).is_none() && !lies(&theatre), "{}", theatre.end());
    (0..3).for_each(|_| passes(&mut theatre, 300));
    assert!(lies(&theatre), "{}", theatre.end());
}

/// I1: the judge looks after every effect.
/// I9: at the end nothing runs but the old release or the new one.
/// I15: the way back is watched like the way there.
/// I17: at each end the world is what the outcome says.
#[test]
fn known_schedules_break_nothing_and_reach_every_end() {
    let stats = soak(1_500, 1).unwrap_or_else(|violation| panic!("seed {}: {}\n{}", violation.seed, violation.objection, violation.story));
    for exit in [0, 8, 9, 10, 11] {
        assert!(stats.ends.get(&exit).is_some_and(|often| *often > 5), "{stats:?}");
    }
    assert!(stats.died > 100, "{stats:?}");
}

/// Two balancers, one of which forgets that a slot is out whose engine is away: it is needed at neither, and goes out again.
#[test]
fn i7_what_one_balancer_has_out_already_is_not_kept_in_at_the_other() {
    schedule(1_795_836_879, &mut Stats::default()).unwrap_or_else(|violation| panic!("{}\n{}", violation.objection, violation.story));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    /// What fails names its seed, and `soak deployments 1 SEED` tells its story.
    #[test]
    fn fresh_schedules_break_nothing(seed: u64) {
        let played = schedule(seed, &mut Stats::default());
        prop_assert!(played.is_ok(), "{:?}", played.map_err(|violation| (violation.seed, violation.objection)));
    }
}
