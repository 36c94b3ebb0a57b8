//! The proof's rules, one story each. If one of these is wrong, splitci is green when it should not be, or red.

use super::*;
use crate::model::Outcome::{Errored, ExpectedFailure, Failed, Passed, Skipped};
use crate::model::event::{Close, Crash, ShardLoss};
use crate::model::story::{Story, fallback, file, id, record, slice};
use crate::model::unit::UnitKind;
use crate::model::{Select, SuiteId, Unit};

fn proof_of(story: &Story) -> Proof {
    let mut proof = Proof::default();
    for event in story.events() {
        proof.apply(&event);
    }
    proof
}

fn verdict_of(story: &Story) -> Verdict {
    let proof = proof_of(story);
    assert_eq!(proof.is_bad(), matches!(proof.verdict(), Verdict::Failed { .. }));
    proof.verdict()
}

/// Two files and two shards, ready to run.
fn two_files() -> Story {
    let mut story = record();
    story.boot(1).plan(&[file("a.py"), file("b.py")]).boot(2);
    story
}

fn closed(mut story: Story) -> Story {
    story.close(1, Close::Clean).close(2, Close::Clean);
    story
}

#[test]
fn all_final_and_closed_is_passed() {
    let mut story = two_files();
    story.run(0, 1, &[Passed, Skipped, ExpectedFailure]).run(1, 2, &[Passed]);
    let proof = proof_of(&closed(story));
    assert_eq!(proof.verdict(), Verdict::Passed);
    assert_eq!(proof.conclusion(), Verdict::None, "a run that never said that it ended has no verdict");
    let counts = proof.counts();
    assert_eq!((counts.passed, counts.skipped, counts.expected_failures, counts.total()), (2, 1, 1, 4));
    assert_eq!(proof.counts_by_shard()[&crate::model::ShardId(1)].total(), 3);
    assert_eq!(proof.units_done(), (2, 2));
}

#[test]
fn a_record_concludes_what_the_run_said_only_if_its_events_show_it() {
    let mut good = two_files();
    good.run(0, 1, &[Passed]).run(1, 2, &[Passed]);
    let mut good = closed(good);
    assert_eq!(proof_of(good.clone().end(Verdict::Passed)).conclusion(), Verdict::Passed);
    assert_eq!(proof_of(good.end(Verdict::None)).conclusion(), Verdict::None);
    let mut half = two_files();
    half.run(0, 1, &[Passed]);
    assert_eq!(proof_of(closed(half).end(Verdict::Passed)).conclusion(), Verdict::None);
}

#[test]
fn a_failed_test_is_red_and_named() {
    let mut story = two_files();
    story.run(0, 1, &[Passed, Failed]).run(1, 2, &[Errored]);
    let proof = proof_of(&closed(story));
    assert_eq!(proof.verdict(), Verdict::Failed { complete: true });
    let named: Vec<_> = proof.failures().map(|bad| (bad.id, bad.place)).collect();
    assert_eq!(named, [("a.py::test_1", Some(("a.py", 11))), ("b.py::test_0", Some(("b.py", 10)))]);
}

#[test]
fn a_failure_counts_before_its_unit_is_through() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 2).test(0, 0, Failed);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: false });
    let counts = proof_of(&story).counts();
    assert_eq!((counts.failed, counts.missing), (1, 1));
    story.cancel(Cancelled::Interrupted);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: false });
}

#[test]
fn a_unit_that_did_not_run_leaves_no_verdict() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]);
    let proof = proof_of(&closed(story));
    assert_eq!(proof.verdict(), Verdict::None);
    assert_eq!(proof.missing().collect::<Vec<_>>(), [Missing::Unit { unit: UnitId(1), file: "b.py" }]);
}

#[test]
fn a_declared_test_without_a_result_leaves_no_verdict() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]).lease(1, 2).declare(1, 2).test(1, 0, Passed).finish(1);
    let proof = proof_of(&closed(story));
    assert_eq!(proof.verdict(), Verdict::None);
    assert_eq!(proof.faults(), [Fault::Unreported { unit: UnitId(1), tests: 1 }]);
}

#[test]
fn a_test_that_was_not_selected_is_not_missed() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]).lease(1, 2).declare_some(1, 3, Some(&[1])).test(1, 1, Passed).finish(1);
    assert_eq!(verdict_of(&closed(story)), Verdict::Passed);
}

/// T10: a result is held against the plan.
#[test]
fn a_result_that_nobody_asked_for_leaves_no_verdict() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]).lease(1, 2).declare_some(1, 3, Some(&[1])).test(1, 1, Passed).test(1, 2, Passed).finish(1);
    assert_eq!(verdict_of(&closed(story)), Verdict::None);
}

#[test]
fn a_session_that_did_not_end_leaves_no_verdict() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]).run(1, 2, &[Passed]).close(1, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::None);
}

#[test]
fn a_session_that_ends_wrongly_is_red_even_if_all_passed() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]).run(1, 2, &[Passed]).close(1, Close::Clean).close(2, Close::Dirty);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: true });
    assert_eq!(proof_of(&story).session_errors().len(), 1);
}

#[test]
fn a_lost_session_costs_nothing_when_its_work_is_run_again() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 3).test(0, 0, Passed).test(0, 1, Passed).interrupt(0, 1, Some(1)).close(1, Close::Lost);
    story.ready(1).lease_from(0, 1, 1).declare(0, 3).test(0, 1, Passed).test(0, 2, Passed).finish(0);
    story.run(1, 2, &[Passed]);
    let proof = proof_of(&closed(story));
    assert_eq!(proof.verdict(), Verdict::Passed);
    let attempts: Vec<_> = proof.tests().flat_map(|view| view.attempts.iter().map(move |a| (view.test.ordinal, a.outcome))).collect();
    assert_eq!(attempts, [(1, Some(Passed)), (1, None)]);
}

/// T8: a lost shard whose files nobody ran again leaves no verdict.
#[test]
fn a_lost_session_whose_work_is_not_run_again_leaves_no_verdict() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 1).test(0, 0, Passed).interrupt(0, 1, None).close(1, Close::Lost);
    story.run(1, 2, &[Passed]).close(2, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::None);
}

#[test]
fn a_lost_shard_ends_its_session() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 1).lose(1, ShardLoss::Killed).interrupt(0, 0, Some(0));
    story.run(1, 2, &[Passed]).run(0, 2, &[Passed]).close(2, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::Passed);
}

#[test]
fn a_plan_that_was_changed_afterwards_proves_nothing() {
    let mut events = closed({
        let mut story = two_files();
        story.run(0, 1, &[Passed]).run(1, 2, &[Passed]);
        story
    })
    .events();
    for event in &mut events {
        if let EventKind::PlanMade { manifest, .. } = &mut event.kind {
            manifest.units[0].predicted_ms = Some(1);
        }
    }
    let mut proof = Proof::default();
    for event in &events {
        proof.apply(event);
    }
    assert_eq!((proof.verdict(), proof.faults()), (Verdict::None, [Fault::OtherPlan].as_slice()));
}

/// T12: a worker that contradicts itself proves nothing.
#[test]
fn a_session_that_counts_otherwise_proves_nothing() {
    let mut story = two_files();
    story.run(0, 1, &[Passed]).run(1, 2, &[Passed]).close_with(1, Close::Clean, |ended| ended.tests += 1).close(2, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::None);
}

#[test]
fn stale_results_change_nothing() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 1);
    let stale = story.fence_of(0);
    story.run(0, 2, &[Passed]).run(1, 2, &[Passed]);
    story.test_with(0, 0, Failed, |test| test.fence = stale);
    story.say(EventKind::UnitFinished { unit: UnitId(0), fence: stale });
    assert_eq!(verdict_of(&closed(story)), Verdict::Passed);
}

#[test]
fn a_crashed_test_is_red_and_the_rest_of_its_unit_is_proven() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 3).test(0, 0, Passed).interrupt(0, 1, Some(1)).close(1, Close::Lost);
    story.ready(1).lease_from(0, 1, 1).declare(0, 3).interrupt(0, 1, Some(1)).crash(0, 1, 1, Crash::Signal(11)).close(1, Close::Lost);
    story.ready(1).lease_from(0, 1, 2).declare(0, 3).test(0, 2, Passed).finish(0).run(1, 2, &[Passed]);
    let story = closed(story);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: true });
    let proof = proof_of(&story);
    let crash = proof.failures().next().expect("a failure");
    assert_eq!((crash.id, crash.how), ("a.py::test_1", Failing::Crash(Crash::Signal(11))));
}

#[test]
fn a_crash_of_the_last_test_leaves_nothing_to_run() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 1).interrupt(0, 0, Some(0)).crash(0, 0, 1, Crash::Exited(0)).close(1, Close::Lost);
    story.run(1, 2, &[Passed]).close(2, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: true });
}

#[test]
fn a_crash_while_loading_is_red() {
    let mut story = two_files();
    story.lease(0, 1).interrupt(0, 0, None).crash(0, LOADING, 1, Crash::OutOfMemory).close(1, Close::Lost);
    story.run(1, 2, &[Passed]).close(2, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: true });
    assert_eq!(proof_of(&story).counts().crashed, 1);
}

#[test]
fn a_test_lost_with_its_shard_is_neither_red_nor_green() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 1).interrupt(0, 0, Some(0)).crash(0, 0, 1, Crash::ShardLost).lose(1, ShardLoss::Killed);
    story.run(1, 2, &[Passed]).close(2, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::None);
    let proof = proof_of(&story);
    assert_eq!(proof.counts().lost, 1);
    assert!(matches!(proof.missing().next(), Some(Missing::Test { id: "a.py::test_0", lost: true, .. })));
}

#[test]
fn no_hello_anywhere_leaves_no_verdict_and_in_one_shard_is_no_matter() {
    let mut none = record();
    none.close(1, Close::NoHello).close(2, Close::NoHello);
    assert_eq!(verdict_of(&none), Verdict::None);
    let mut some = record();
    some.boot(1).plan(&[file("a.py")]).close(2, Close::NoHello).run(0, 1, &[Passed]).close(1, Close::Clean);
    assert_eq!(verdict_of(&some), Verdict::Passed);
    assert_eq!(proof_of(&some).silent_sessions().count(), 1);
}

/// T7: a run without a test has no green verdict to begin with.
#[test]
fn nothing_ran_is_empty() {
    let mut none = record();
    none.boot(1).plan(&[]).close(1, Close::Clean);
    assert_eq!(verdict_of(&none), Verdict::Empty);
    let mut skipped = two_files();
    skipped.run(0, 1, &[Skipped]).run(1, 2, &[]);
    assert_eq!(verdict_of(&closed(skipped)), Verdict::Empty);
}

#[test]
fn a_stopped_run_is_never_green() {
    for (reason, verdict) in [
        (Cancelled::Interrupted, Verdict::Interrupted),
        (Cancelled::Deadline, Verdict::None),
        (Cancelled::NoShards, Verdict::None),
        (Cancelled::FailFast, Verdict::None),
    ] {
        let mut story = two_files();
        story.run(0, 1, &[Passed]).run(1, 2, &[Passed]).cancel(reason);
        assert_eq!(verdict_of(&closed(story)), verdict);
    }
}

#[test]
fn fail_fast_is_red_and_incomplete() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 9).test(0, 0, Failed).cancel(Cancelled::FailFast).interrupt(0, 1, None);
    story.close(1, Close::Lost).close(2, Close::Lost);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: false });
}

/// One file in two slices with a fallback.
fn sliced() -> Story {
    let mut story = record();
    story.boot(1).plan(&[slice("a.py", &[0, 1]), slice("a.py", &[2]), fallback("a.py")]).boot(2);
    story
}

#[test]
fn slices_that_agree_need_no_fallback() {
    let mut story = sliced();
    story.lease(0, 1).declare_some(0, 3, Some(&[0, 1])).test(0, 0, Passed).test(0, 1, Passed).finish(0);
    story.lease(1, 2).declare_some(1, 3, Some(&[2])).test(1, 2, Passed).finish(1);
    let proof = proof_of(&closed(story));
    assert_eq!(proof.verdict(), Verdict::Passed);
    assert_eq!(proof.units_done(), (2, 2));
    assert_eq!(proof.counts().total(), 3);
}

#[test]
fn slices_that_leave_a_test_out_or_run_it_twice_leave_no_verdict() {
    for second in [&[1, 2][..], &[]] {
        let mut story = sliced();
        story.lease(0, 1).declare_some(0, 3, Some(&[0, 1])).test(0, 0, Passed).test(0, 1, Passed).finish(0);
        story.lease(1, 2).declare_some(1, 3, Some(second));
        for ordinal in second {
            story.test(1, *ordinal, Passed);
        }
        story.finish(1);
        let proof = proof_of(&closed(story));
        assert_eq!(proof.verdict(), Verdict::None);
        assert_eq!(proof.missing().collect::<Vec<_>>(), [Missing::Slices { file: "a.py" }]);
    }
}

#[test]
fn slices_that_see_other_ids_are_replaced_by_the_fallback() {
    let mut story = sliced();
    story.lease(0, 1).declare_some(0, 3, Some(&[0, 1])).test(0, 0, Failed).test(0, 1, Passed).finish(0);
    story.lease(1, 2).declare_ids(1, vec![id("a.py", 0), id("a.py", 1), id("a.py", 7)], Some(&[2])).test(1, 2, Passed).finish(1);
    assert_eq!(verdict_of(&story), Verdict::Failed { complete: false });
    story.supersede(0);
    assert_eq!(verdict_of(&story), Verdict::None);
    story.supersede(1);
    assert_eq!(proof_of(&story).missing().next(), Some(Missing::Unit { unit: UnitId(2), file: "a.py" }));
    story.run(2, 1, &[Passed, Passed, Passed]);
    assert_eq!(verdict_of(&closed(story)), Verdict::Passed);
}

#[test]
fn a_slice_left_out_of_the_superseding_leaves_no_verdict() {
    let mut story = sliced();
    story.lease(0, 1).declare_some(0, 3, Some(&[0, 1])).test(0, 0, Passed).test(0, 1, Passed).finish(0);
    story.supersede(1).run(2, 1, &[Passed, Passed, Passed]);
    assert_eq!(verdict_of(&closed(story)), Verdict::None);
}

#[test]
fn ids_that_change_after_some_are_final_leave_no_verdict_until_superseded() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 2).test(0, 0, Passed).interrupt(0, 1, Some(1)).close(1, Close::Lost).ready(1);
    story.lease_from(0, 1, 1).declare(0, 3).test(0, 1, Passed).test(0, 2, Passed).finish(0).run(1, 2, &[Passed]);
    let mut again = story.clone();
    assert_eq!(verdict_of(&closed(story)), Verdict::None);
    again.supersede(0).run(0, 1, &[Passed, Passed, Passed]);
    assert_eq!(verdict_of(&closed(again)), Verdict::Passed);
}

#[test]
fn a_file_that_does_not_load_any_more_is_run_again_from_the_start() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 2).test(0, 0, Passed).interrupt(0, 1, Some(1)).close(1, Close::Lost).ready(1);
    // It stands for its loading, under an ordinal below the lease's bound.
    story.lease_from(0, 1, 1).declare_ids(0, vec!["a.py".to_owned()], None).test(0, 0, Errored).supersede(0);
    assert!(proof_of(&story).faults().is_empty());
    assert!(!proof_of(&story).is_bad());
    let mut good = story.clone();
    good.run(0, 1, &[Passed, Passed]).run(1, 2, &[Passed]);
    assert_eq!(verdict_of(&closed(good)), Verdict::Passed);
    story.lease(0, 1).declare_ids(0, vec!["a.py".to_owned()], None).test(0, 0, Errored).finish(0).run(1, 2, &[Passed]);
    assert_eq!(verdict_of(&closed(story)), Verdict::Failed { complete: true });
}

#[test]
fn tests_before_a_crashed_one_may_run_in_a_lease_of_their_own() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 5).test(0, 0, Passed).interrupt(0, 1, Some(3)).close(1, Close::Lost).ready(1);
    story.lease_from(0, 1, 1).declare_some(0, 5, Some(&[1, 2, 3, 4])).interrupt(0, 1, Some(3)).crash(0, 3, 1, Crash::Signal(6));
    story.close(1, Close::Lost).ready(1);
    story.lease_from(0, 1, 1).declare_some(0, 5, Some(&[1, 2])).test(0, 1, Passed).test(0, 2, Passed).interrupt(0, 3, None);
    let mut cut = story.clone();
    story.lease_from(0, 1, 4).declare_some(0, 5, Some(&[4])).test(0, 4, Passed).finish(0).run(1, 2, &[Passed]);
    assert_eq!(verdict_of(&closed(story)), Verdict::Failed { complete: true });
    cut.run(1, 2, &[Passed]);
    assert_eq!(verdict_of(&closed(cut)), Verdict::Failed { complete: false });
}

#[test]
fn a_session_lost_after_the_last_test_of_a_unit_is_made_good_by_a_lease_of_nothing() {
    let mut story = two_files();
    story.lease(0, 1).declare(0, 1).test(0, 0, Passed).interrupt(0, 1, None).close(1, Close::Lost).ready(1);
    story.lease_from(0, 1, 1).declare_some(0, 1, Some(&[])).finish(0).run(1, 2, &[Passed]);
    assert_eq!(verdict_of(&closed(story)), Verdict::Passed);
}

#[test]
fn a_part_behind_the_last_test_of_its_file_leaves_no_verdict() {
    let part = |from| Unit { kind: UnitKind::Part { select: Select::All, from, until: None }, ..file("a.py") };
    for (from, verdict) in [(1, Verdict::Passed), (3, Verdict::None)] {
        let mut story = record();
        story.boot(1).plan(&[part(from), file("b.py")]);
        let selected: Vec<_> = (from..2).collect();
        story.lease(0, 1).declare_some(0, 2, Some(&selected));
        for ordinal in selected {
            story.test(0, ordinal, Passed);
        }
        story.finish(0).run(1, 1, &[Passed]).close(1, Close::Clean);
        assert_eq!(verdict_of(&story), verdict);
    }
}

#[test]
fn a_sliced_file_that_does_not_load_is_red_and_nothing_is_missing() {
    let mut story = sliced();
    for unit in 0..2 {
        story.lease(unit, 1).declare_ids(unit, vec!["a.py".to_owned()], None).test(unit, 0, Errored).finish(unit);
    }
    assert_eq!(verdict_of(&closed(story)), Verdict::Failed { complete: true });
}

#[test]
fn a_plan_that_forgets_a_file_of_the_suite_leaves_no_verdict() {
    let mut story = record();
    let suite = SuiteId::default();
    story.say(EventKind::SuiteListed { suite, files: vec!["a.py".to_owned(), "b.py".to_owned()], list_hash: String::new(), of: None });
    story.boot(1);
    story.say(EventKind::PlanMade { manifest: Manifest { units: vec![file("a.py")] }, hash: String::new() });
    story.run(0, 1, &[Passed]).close(1, Close::Clean);
    assert_eq!(verdict_of(&story), Verdict::None);
}

#[test]
fn contradictions_are_kept_within_bounds() {
    let mut proof = Proof::default();
    let event = RunEvent { seq: 7, at_ms: 0, kind: EventKind::UnitFinished { unit: UnitId(9), fence: Fence(1) } };
    for _ in 0..1000 {
        proof.apply(&event);
    }
    assert_eq!(proof.faults().len(), MAX_FAULTS);
    assert!(proof.more_faults() > 0);
    assert_eq!(proof.verdict(), Verdict::None);
}
