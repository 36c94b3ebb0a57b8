//! How deployments end: each threshold and each rule of the way back by its name.

use splitci_coordinator::deployment::{Admin, Cause, Deadline, Effect, Hold, Outcome, Rule, Sickness, Step};
use splitci_coordinator::model::environment::{ErrorGate, MigrationClass, Share};
use splitci_tests::deployments::fleet::{ANOTHER, Fate, Nature, Trouble};
use splitci_tests::deployments::shell::{Deaths, Theatre};
use splitci_tests::deployments::{environment, release, settled, slot};
use splitci_tests::schedules::dice::Dice;

use super::ground::{deploy, effects, four, make, rule, serving};

/// I24: the last release is kept until the next deploy, and the one before it goes.
#[test]
fn a_release_before_the_last_goes_and_the_last_is_kept() {
    let mut theatre = four();
    deploy(&mut theatre);
    assert_eq!(theatre.deploy(&release(3)), Ok(Outcome::Done));
    for place in theatre.fleet.places.values() {
        let kept: Vec<_> = place.units.iter().map(|unit| (unit.seen.release.clone(), unit.seen.aside.is_some())).collect();
        assert_eq!(kept, [(release(2), true), (release(3), false)], "I24");
    }
    let images: Vec<_> = theatre.journal.images_to_keep().into_iter().collect();
    assert_eq!(images, [release(2).image, release(3).image], "I24: of images, too");
}

/// I14: the same deploy once more has no effect.
#[test]
fn i14_deploying_what_serves_does_nothing() {
    let mut theatre = four();
    deploy(&mut theatre);
    let (effects, end) = (theatre.fleet.effects, theatre.end());
    assert_eq!(theatre.deploy(&release(2)), Ok(Outcome::Done));
    assert_eq!((theatre.fleet.effects, theatre.end()), (effects, end));
}

/// I22: what is well and was out serves again when another of its half has failed.
#[test]
fn r1_a_first_half_that_is_sick_is_put_back_and_nobody_saw_it() {
    for nature in [Nature::Sick, Nature::Crashes(300), Nature::Flaps(300), Nature::Good(9_000), Nature::Refused] {
        let mut theatre = four();
        make(&mut theatre, &[1], nature);
        let outcome = deploy(&mut theatre);
        assert!(matches!(&outcome, Outcome::RolledBack { cause: Cause::FirstHalf { .. }, out } if out.is_empty()), "A2, I22: {outcome:?}");
        assert_eq!((outcome.exit_code(), rule(&theatre), theatre.judge.requests.1), (8, Some(Rule::R1), 0), "R7, R9");
        assert_eq!(serving(&theatre), [Some(1); 4]);
        assert_eq!(theatre.fleet.runs, 0);
    }
}

#[test]
fn r2_a_release_that_sickens_while_it_is_watched_is_swapped_back_in_one_line() {
    let mut theatre = four();
    theatre.environment.soak_ms = 4_000;
    make(&mut theatre, &[0, 1, 2, 3], Nature::Sickens(3_500));
    let outcome = deploy(&mut theatre);
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    assert_eq!((rule(&theatre), serving(&theatre)), (Some(Rule::R2), vec![Some(1); 4]), "{}", theatre.story());
    let swaps = effects(&theatre)
        .into_iter()
        .filter(|effect| matches!(effect, Effect::Swap(turns) if turns.iter().any(|turn| turn.to == Admin::Drain)));
    assert!(swaps.count() >= 2);
}

/// I15: a sick second half is taken back without a slot too few; the judge looks after every effect.
#[test]
fn r3_a_second_half_that_fails_goes_back_to_what_settled_in_last() {
    let mut theatre = four();
    make(&mut theatre, &[3], Nature::Sick);
    let outcome = deploy(&mut theatre);
    assert!(matches!(outcome, Outcome::RolledBack { cause: Cause::TooManyFailed { failed: 1, allowed: 0 }, .. }), "A1: {outcome:?}");
    assert_eq!((rule(&theatre), serving(&theatre)), (Some(Rule::R3), vec![Some(1); 4]));
}

/// I16: of three releases the one in the middle is skipped.
#[test]
fn i16_what_never_settled_in_is_not_gone_back_to() {
    let mut theatre = four();
    theatre.environment.errors = Some(ErrorGate { min_requests: 1_000_000, tolerance_permille: 0 });
    let held = deploy(&mut theatre);
    assert!(matches!(held, Outcome::Held(Hold::Inconclusive { .. })), "A5: {held:?}");
    theatre.environment.errors = None;
    theatre.fleet.natures.insert((release(3).image, slot(1)), Nature::Sick);
    let outcome = theatre.deploy(&release(3)).unwrap();
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    assert!(serving(&theatre).iter().all(|number| *number == Some(1)), "{:?}", serving(&theatre));
    assert_eq!(theatre.journal.stable(), Some(&release(1)));
}

/// I7: a slot that failed is out at the end, and goes first next time.
#[test]
fn i7_within_max_failed_a_slot_stays_out_and_the_deploy_is_degraded() {
    let mut theatre = four();
    theatre.environment.max_failed = 1;
    make(&mut theatre, &[3], Nature::Sick);
    let outcome = deploy(&mut theatre);
    assert_eq!((outcome.exit_code(), &outcome), (10, &Outcome::Degraded(vec![slot(3)])));
    assert_eq!(serving(&theatre), [Some(2), Some(2), Some(2), None]);
    // What was out is where the next one begins, so that it costs nothing.
    theatre.judge.floor = 0;
    let repaired = theatre.deploy(&release(3));
    assert_eq!((repaired, serving(&theatre)), (Ok(Outcome::Done), vec![Some(3); 4]));
}

#[test]
fn a4_an_engine_that_stays_away_is_a_slot_that_failed() {
    let mut theatre = four();
    theatre.fleet.troubles.push((theatre.fleet.now + 1_000, Trouble::EngineAway(1, 10_000_000)));
    let outcome = deploy(&mut theatre);
    let unreachable = Cause::FirstHalf { slot: slot(1), sickness: Sickness::Unreachable };
    assert_eq!(outcome, Outcome::RolledBack { cause: unreachable, out: vec![slot(1)] });
}

#[test]
fn an_engine_that_comes_back_in_time_costs_time() {
    let mut theatre = four();
    theatre.fleet.troubles.push((theatre.fleet.now + 1_000, Trouble::EngineAway(1, 1_500)));
    assert_eq!(deploy(&mut theatre), Outcome::Done);
}

#[test]
fn a3_old_slots_that_die_bring_the_others_back() {
    let mut theatre = four();
    theatre.fleet.troubles.push((theatre.fleet.now + 600, Trouble::Dies(2)));
    let outcome = deploy(&mut theatre);
    let below = Cause::BelowFloor { serving: 1, floor: 2 };
    assert_eq!((outcome, rule(&theatre)), (Outcome::RolledBack { cause: below, out: vec![] }, Some(Rule::R1)));
    assert_eq!(serving(&theatre), [Some(1); 4], "R5: what is healthy is not touched, and what died is brought back");
}

#[test]
fn a5_errors_of_the_new_release_swap_it_back() {
    let mut theatre = four();
    theatre.environment.errors = Some(ErrorGate { min_requests: 5, tolerance_permille: 10 });
    theatre.environment.soak_ms = 4_000;
    make(&mut theatre, &[0], Nature::Sickens(3_500));
    let outcome = deploy(&mut theatre);
    assert!(matches!(outcome, Outcome::RolledBack { cause: Cause::Errors { old: 0, .. }, .. }), "{outcome:?}");
    assert_eq!((rule(&theatre), serving(&theatre)), (Some(Rule::R2), vec![Some(1); 4]));
}

/// I25: a revocation ends the way forward.
#[test]
fn a6_a7_a8_end_the_way_forward() {
    let mut theatre = four();
    theatre.fleet.troubles.push((theatre.fleet.now + 2_000, Trouble::Revoked));
    assert_eq!(deploy(&mut theatre), Outcome::RolledBack { cause: Cause::Revoked, out: vec![] });

    let mut theatre = four();
    theatre.fleet.troubles.push((theatre.fleet.now + 2_000, Trouble::Abort));
    assert_eq!(deploy(&mut theatre), Outcome::RolledBack { cause: Cause::Asked("a person".to_owned()), out: vec![] });

    let mut theatre = four();
    theatre.environment.deadlines.batch_ms = 1_000;
    theatre.environment.health.boot_ms = 60_000;
    make(&mut theatre, &[0], Nature::Good(50_000));
    // The way back has no more time than the way there, and cannot be done in it.
    let outcome = deploy(&mut theatre);
    let overdue = Cause::Overdue(Deadline::Half);
    assert!(
        matches!(&outcome, Outcome::RolledBack { cause, .. } | Outcome::Held(Hold::RollbackEnded(cause)) if *cause == overdue),
        "{outcome:?}"
    );
}

#[test]
fn r4_after_a_breaking_migration_there_is_no_way_back_by_itself() {
    let mut one = environment(1, 1);
    one.migration.as_mut().unwrap().class = MigrationClass::Breaking;
    one.soak_ms = 4_000;
    let mut theatre = settled(one);
    make(&mut theatre, &[0], Nature::Sickens(3_500));
    let outcome = deploy(&mut theatre);
    assert!(matches!(outcome, Outcome::Held(Hold::Breaking(_))), "{outcome:?}");
    // Sick before it began, it goes back.
    let mut one = environment(1, 1);
    one.migration.as_mut().unwrap().class = MigrationClass::Breaking;
    let mut theatre = settled(one);
    make(&mut theatre, &[0], Nature::Sick);
    assert!(matches!(deploy(&mut theatre), Outcome::RolledBack { .. }));
}

#[test]
fn r6_a_way_back_that_fails_is_held() {
    let mut theatre = four();
    make(&mut theatre, &[1], Nature::Sick);
    theatre.fleet.natures.insert((release(1).image, slot(1)), Nature::Sick);
    let outcome = deploy(&mut theatre);
    assert_eq!((outcome.exit_code(), outcome), (9, Outcome::Held(Hold::RollbackFailed(vec![slot(1)]))));
    assert_eq!(serving(&theatre), [Some(1), None, Some(1), Some(1)], "R9");
}

#[test]
fn r8_what_was_revoked_is_not_gone_back_to() {
    let mut theatre = four();
    theatre.fleet.gate.back_revoked = true;
    make(&mut theatre, &[1], Nature::Sick);
    let outcome = deploy(&mut theatre);
    assert!(matches!(outcome, Outcome::Held(Hold::BackRevoked(_))), "{outcome:?}");
}

/// I8: one that fails is not tried again.
#[test]
fn i8_a_migration_that_fails_is_not_tried_again_and_the_first_half_goes_back() {
    let mut theatre = four();
    theatre.fleet.fate = Fate::Ends(300, 3);
    let outcome = deploy(&mut theatre);
    assert_eq!((outcome.exit_code(), outcome), (11, Outcome::MigrationFailed { status: 3, out: vec![] }));
    assert_eq!((theatre.fleet.runs, serving(&theatre)), (1, vec![Some(1); 4]));
}

#[test]
fn a_migration_that_does_not_end_is_held_and_not_killed() {
    let mut theatre = four();
    theatre.fleet.fate = Fate::Hangs;
    assert_eq!(deploy(&mut theatre), Outcome::Held(Hold::MigrationOverdue));
}

#[test]
fn a_balancer_that_stays_away_is_held() {
    let mut theatre = settled(environment(4, 2));
    theatre.fleet.troubles.push((theatre.fleet.now + 2_000, Trouble::BalancerAway(1, 10_000_000)));
    assert_eq!(deploy(&mut theatre), Outcome::Held(Hold::Balancer));
}

#[test]
fn a_balancer_that_forgets_is_told_again() {
    for at in (200..9_000).step_by(300) {
        let mut theatre = four();
        theatre.fleet.troubles.push((theatre.fleet.now + at, Trouble::Reload(0)));
        let outcome = deploy(&mut theatre);
        let end = serving(&theatre);
        assert!(outcome == Outcome::Done && end == [Some(2); 4] || end == [Some(1); 4], "at {at}: {outcome:?} {end:?}");
    }
}

/// I1: what would come below the floor is refused.
#[test]
fn i1_five_slots_with_a_floor_of_three_cannot_be_halved() {
    let mut theatre = settled(environment(5, 1));
    theatre.environment.floor = Share::Count(3);
    assert_eq!(theatre.deploy(&release(2)).unwrap_err().code(), "E_FLOOR");
}

/// I7: also where its balancer forgets everything in the middle of it, and processes die.
#[test]
fn i7_a_slot_that_failed_stays_out_when_a_balancer_forgets_and_processes_die() {
    let mut degraded = 0;
    for at in (100..9_000).step_by(150) {
        let mut theatre = four();
        theatre.environment.max_failed = 1;
        make(&mut theatre, &[3], Nature::Sick);
        theatre.fleet.troubles.push((theatre.fleet.now + at, Trouble::Reload(0)));
        theatre.deaths = Deaths::Chance(Dice::new(at), 30, 3);
        let outcome = deploy(&mut theatre);
        if outcome == Outcome::Degraded(vec![slot(3)]) {
            degraded += 1;
            assert_eq!(theatre.fleet.desks[0].posts[&slot(3)].seen.admin, Admin::Maint, "at {at}: {}", theatre.story());
        }
    }
    assert!(degraded > 20, "{degraded}");
}

/// I9: an engine that makes something else than it was told to is found out before that is started.
/// T19: what stands on a host is compared with what was approved, not only what was asked for there.
#[test]
fn i9_a_container_of_an_image_that_nobody_asked_for_is_never_started() {
    for at in [0, 3] {
        let mut theatre = four();
        make(&mut theatre, &[at], Nature::Another);
        let outcome = deploy(&mut theatre);
        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
        let units: Vec<_> = theatre.fleet.places.values().flat_map(|place| &place.units).collect();
        assert!(units.iter().all(|unit| unit.seen.release.image != ANOTHER || unit.started == 0), "{}", theatre.story());
        assert!(units.iter().any(|unit| unit.seen.release.image == ANOTHER), "it was made");
        assert_eq!(serving(&theatre), [Some(1); 4]);
    }
}

/// I10: what has no plan has no effect, no row and no lock.
#[test]
fn i10_what_is_refused_has_no_effect() {
    type Change = fn(&mut Theatre);
    let refusals: [(&str, Change); 5] = [
        ("E_FLOOR", |theatre| theatre.environment.floor = Share::Count(3)),
        ("E_REVOKED", |theatre| theatre.fleet.gate.target_revoked = true),
        ("E_BREAKING_MIGRATION", |theatre| theatre.environment.migration.as_mut().unwrap().class = MigrationClass::Breaking),
        ("E_ENGINE_UNREACHABLE", |theatre| theatre.fleet.places.get_mut(&slot(2)).unwrap().away_until = u64::MAX),
        ("E_BALANCER_UNREACHABLE", |theatre| theatre.fleet.desks[0].away_until = u64::MAX),
    ];
    for (code, change) in refusals {
        let mut theatre = four();
        change(&mut theatre);
        let before = (theatre.fleet.effects, theatre.journal.text(), theatre.end());
        assert_eq!(theatre.deploy(&release(2)).unwrap_err().code(), code);
        assert_eq!((theatre.fleet.effects, theatre.journal.text(), theatre.end()), before, "{code}");
        assert_eq!(theatre.fleet.lock, None, "{code}");
    }
}

/// I25: from the instant of a revocation on, whenever it is, no further slot gets what was revoked.
#[test]
fn i25_after_a_revocation_no_further_slot_gets_the_release() {
    let mut ended = 0;
    for at in (100..9_000).step_by(150) {
        let mut theatre = four();
        let revoked = theatre.fleet.now + at;
        theatre.fleet.troubles.push((revoked, Trouble::Revoked));
        let outcome = deploy(&mut theatre);
        // What was already decided in that instant is carried out.
        let late = theatre.journal.rows().iter().filter(|row| row.time > revoked + 200);
        let gets = late.filter(|row| matches!(&row.step, Step::Effect(Effect::Create { release: made, .. }) if *made == release(2)));
        assert_eq!(gets.count(), 0, "at {at}: {}", theatre.story());
        if outcome != Outcome::Done {
            ended += 1;
            assert_eq!(outcome, Outcome::RolledBack { cause: Cause::Revoked, out: vec![] }, "at {at}");
            assert_eq!(serving(&theatre), [Some(1); 4], "at {at}");
        }
    }
    assert!(ended > 20, "{ended}");
}
