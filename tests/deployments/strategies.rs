//! The order in which slots go, strategy by strategy, and workers after them.

use splitci_coordinator::deployment::{Admin, Cause, Deadline, Effect, Outcome, Phase, Rule, Step};
use splitci_coordinator::model::environment::{ErrorGate, MigrationClass, Share, Strategy};
use splitci_tests::deployments::fleet::Nature;
use splitci_tests::deployments::shell::Theatre;
use splitci_tests::deployments::{release, slot};

use super::ground::{at_once, canary, deploy, effects, four, make, rolling, rule, running, serving, told, two_sides, workers};

/// I4: one line, and the judge sees no instant with two releases.
#[test]
fn i4_half_swaps_in_one_line_and_requests_never_meet_two_releases() {
    let mut theatre = four();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    assert_eq!(serving(&theatre), [Some(2); 4]);
    assert_eq!(theatre.judge.requests.1, 0, "not a request is lost");
    let swaps: Vec<_> = effects(&theatre).into_iter().filter(|effect| matches!(effect, Effect::Swap(_))).collect();
    assert!(swaps.last().is_some_and(|swap| swap.turns().len() == 4), "{swaps:?}");
    assert_eq!(theatre.fleet.runs, 1, "I8");
}

#[test]
fn all_at_once_never_mixes_and_goes_back_when_it_fails() {
    let mut theatre = at_once();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    assert_eq!((serving(&theatre), theatre.fleet.runs), (vec![Some(2); 3], 1));
    let mut sick = at_once();
    make(&mut sick, &[1], Nature::Sick);
    let outcome = deploy(&mut sick);
    assert!(matches!(&outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    assert_eq!(serving(&sick), [Some(1); 3], "{}", sick.story());
}

/// I15: nobody is out for as much as an instant, on either way.
#[test]
fn of_two_sides_the_one_that_went_out_runs_on_and_goes_in_again_as_it_is() {
    let mut theatre = two_sides();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    let (old, new) = (Some(1), Some(2));
    assert_eq!(running(&theatre), [1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(serving(&theatre), [None, new, None, new, None, new, None, new]);
    assert_eq!((theatre.judge.least, theatre.judge.requests.1, theatre.fleet.runs), (4, 0, 1));
    // Nothing is made or started on the way back, by whatever name it goes.
    let made = |theatre: &Theatre| theatre.fleet.places.values().map(|place| place.units.len()).sum::<usize>();
    let before = made(&theatre);
    assert_eq!(theatre.deploy(&release(1)), Ok(Outcome::Done), "{}", theatre.story());
    assert_eq!(serving(&theatre), [old, None, old, None, old, None, old, None]);
    assert_eq!((made(&theatre), theatre.judge.least, theatre.judge.requests.1), (before, 4, 0));
    assert_eq!(theatre.judge.objection, None);
}

#[test]
fn of_two_sides_a_sick_one_serves_nobody_or_is_swapped_back_in_one_command() {
    let twin = |theatre: &Theatre| theatre.fleet.names.iter().find(|name| name.0.ends_with('t')).cloned().unwrap();
    let mut sick = two_sides();
    sick.fleet.natures.insert((release(2).image, twin(&sick)), Nature::Sick);
    let outcome = deploy(&mut sick);
    assert!(matches!(&outcome, Outcome::RolledBack { cause: Cause::FirstHalf { .. }, out } if out.is_empty()), "{outcome:?}");
    assert_eq!((rule(&sick), sick.judge.least, sick.judge.requests.1), (Some(Rule::R1), 4, 0), "{}", sick.story());
    // After the swap the old side is still there.
    let mut later = two_sides();
    later.fleet.natures.insert((release(2).image, twin(&later)), Nature::Crashes(3_000));
    later.environment.soak_ms = 6_000;
    let outcome = deploy(&mut later);
    assert!(matches!(&outcome, Outcome::RolledBack { .. }), "{outcome:?} {}", later.story());
    assert_eq!((rule(&later), serving(&later).iter().flatten().count()), (Some(Rule::R2), 4), "{}", later.story());
    assert!(effects(&later).iter().any(|effect| matches!(effect, Effect::Swap(turns) if turns.len() >= 7)), "{}", later.story());
}

#[test]
fn workers_follow_once_the_first_have_settled_in_and_are_asked_to_stop_once() {
    let mut theatre = workers();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    assert_eq!((running(&theatre), theatre.judge.requests.1), (vec![2; 5], 0));
    let last = theatre.journal.rows().last().unwrap().deploy.clone();
    let rows: Vec<_> = theatre.journal.rows().iter().filter(|row| row.deploy == last && row.phase == Phase::Intent).collect();
    let stops = |name: &str| {
        let stops =
            |row: &&&splitci_coordinator::deployment::Row| matches!(&row.step, Step::Effect(Effect::Stop { slot, .. }) if slot.0 == name);
        rows.iter().filter(stops).map(|row| row.time).collect::<Vec<_>>()
    };
    let swapped = rows.iter().find(|row| matches!(row.step, Step::Effect(Effect::Swap(_)))).unwrap().time;
    let (one, two, three) = (stops("w00"), stops("w01"), stops("w02"));
    assert!(one.len() == 1 && two.len() == 1 && three.len() == 1, "{}", theatre.story());
    assert!(
        swapped < one[0] && one[0] + 500 < three[0] && two[0] + 500 < three[0],
        "half of them are at work: {swapped} {one:?} {two:?} {three:?}"
    );
}

#[test]
fn a_worker_that_fails_takes_all_back_the_workers_too() {
    for nature in [Nature::Crashes(300), Nature::Flaps(300), Nature::Refused] {
        let mut theatre = workers();
        let last = theatre.fleet.names.last().cloned().unwrap();
        theatre.fleet.natures.insert((release(2).image, last), nature);
        let outcome = deploy(&mut theatre);
        assert!(matches!(&outcome, Outcome::RolledBack { cause: Cause::TooManyFailed { .. }, out } if out.is_empty()), "{outcome:?}");
        assert_eq!((running(&theatre), theatre.judge.requests.1), (vec![1; 5], 0), "{nature:?}: {}", theatre.story());
    }
    // A first half that fails leaves them alone.
    let mut theatre = workers();
    make(&mut theatre, &[0], Nature::Sick);
    let before = effects(&theatre).len();
    deploy(&mut theatre);
    let touched =
        |effect: &&&Effect| effect.slot().is_some_and(|slot| slot.0.starts_with('w')) && !matches!(effect, Effect::Prefetch { .. });
    assert_eq!(effects(&theatre).iter().skip(before).filter(touched).count(), 0, "{}", theatre.story());
}

#[test]
fn a_breaking_migration_is_refused_where_old_workers_would_work_on() {
    let mut theatre = workers();
    theatre.environment.strategy = Strategy::AllAtOnce;
    theatre.environment.migration.as_mut().unwrap().class = MigrationClass::Breaking;
    assert_eq!(theatre.deploy(&release(2)).unwrap_err().code(), "E_BREAKING_MIGRATION");
}

/// I5: by design, and no longer than it may.
#[test]
fn i5_who_mixes_for_too_long_goes_back() {
    let mut theatre = rolling();
    theatre.environment.deadlines.mix_ms = 60_000;
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    let mut slow = rolling();
    slow.environment.deadlines.mix_ms = 1_000;
    let outcome = deploy(&mut slow);
    assert!(matches!(&outcome, Outcome::RolledBack { cause: Cause::Overdue(Deadline::Mix), .. }), "{outcome:?}");
    assert_eq!((serving(&slow), slow.judge.requests.1), (vec![Some(1); 6], 0), "{}", slow.story());
}

#[test]
fn rolling_takes_one_batch_out_after_the_other_and_never_more() {
    let mut theatre = rolling();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    assert_eq!((serving(&theatre), theatre.judge.least, theatre.judge.requests.1, theatre.fleet.runs), (vec![Some(2); 6], 4, 0, 1));
    // A slot is drained twice: out of rotation with the old one, and into the balancer's checks with the new one.
    let mut out = told(&theatre, Admin::Drain).concat();
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|slot| seen.insert(slot.clone()));
    assert!(out.is_sorted() && out.len() == 6, "{out:?}");
}

#[test]
fn of_a_rolling_deploy_a_sick_batch_takes_all_back_and_capacity_is_kept() {
    for (sick, by, cause) in [(1, Rule::R1, "A2"), (2, Rule::R3, "A1"), (5, Rule::R3, "A1")] {
        let mut theatre = rolling();
        make(&mut theatre, &[sick], Nature::Sick);
        let outcome = deploy(&mut theatre);
        let Outcome::RolledBack { cause: why, out } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((why.name(), out.len(), theatre.judge.requests.1), (cause, 0, 0), "s0{sick}: {outcome:?}");
        assert_eq!((serving(&theatre), theatre.judge.least), (vec![Some(1); 6], 4), "s0{sick}: {}", theatre.story());
        assert_eq!(rule(&theatre), Some(by), "s0{sick}");
    }
}

#[test]
fn i1_a_batch_that_would_leave_too_few_waits_and_then_all_goes_back() {
    let mut theatre = rolling();
    theatre.environment.floor = Share::Count(4);
    theatre.environment.max_failed = 6;
    make(&mut theatre, &[2, 3], Nature::Sick);
    let outcome = deploy(&mut theatre);
    assert_eq!(outcome, Outcome::RolledBack { cause: Cause::NoRoom { serving: 3, floor: 4 }, out: vec![] }, "{}", theatre.story());
    assert_eq!((serving(&theatre), theatre.judge.least), (vec![Some(1); 6], 4));
    // With room for one, the last two go one after the other.
    let mut theatre = rolling();
    theatre.environment.floor = Share::Count(4);
    theatre.environment.max_failed = 1;
    make(&mut theatre, &[3], Nature::Sick);
    assert_eq!(deploy(&mut theatre), Outcome::Degraded(vec![slot(3)]));
    assert_eq!(theatre.judge.least, 4);
}

#[test]
fn a_canary_is_watched_before_others_follow_and_a_sick_one_goes_back_alone() {
    let mut theatre = canary();
    assert_eq!(deploy(&mut theatre), Outcome::Done);
    assert_eq!((serving(&theatre), theatre.judge.least), (vec![Some(2); 5], 3));
    let mut theatre = canary();
    theatre.environment.soak_ms = 4_000;
    make(&mut theatre, &[0], Nature::Sickens(3_500));
    let outcome = deploy(&mut theatre);
    assert!(matches!(&outcome, Outcome::RolledBack { cause: Cause::FirstHalf { .. }, out } if out.is_empty()), "{outcome:?}");
    assert_eq!((serving(&theatre), theatre.judge.least), (vec![Some(1); 5], 4), "{}", theatre.story());
    let touched: std::collections::BTreeSet<_> = told(&theatre, Admin::Drain).concat().into_iter().collect();
    assert_eq!(touched.into_iter().collect::<Vec<_>>(), ["s00"], "{}", theatre.story());
}

#[test]
fn a5_errors_of_a_canary_take_it_back() {
    let mut theatre = canary();
    theatre.environment.errors = Some(ErrorGate { min_requests: 5, tolerance_permille: 10 });
    theatre.environment.soak_ms = 4_000;
    make(&mut theatre, &[0], Nature::Sickens(3_500));
    let outcome = deploy(&mut theatre);
    assert!(matches!(outcome, Outcome::RolledBack { cause: Cause::Errors { old: 0, .. }, .. }), "{outcome:?}");
    assert_eq!((rule(&theatre), serving(&theatre)), (Some(Rule::R2), vec![Some(1); 5]));
}
