//! When another attempt makes a failure good, and above all when it does not.

use crate::model::Outcome::{self, Errored, Failed, Passed, Skipped};
use crate::model::event::{Close, Crash};
use crate::model::settings::Flaky;
use crate::model::story::{Story, fallback, file, record_with_retries, slice};
use crate::model::verdict::Verdict;
use crate::model::{TestKey, UnitId};
use crate::proof::{Failing, Fault, Proof, TestState};

const RED: Verdict = Verdict::Failed { complete: true };

/// One file of three tests, whose second one failed.
fn failed(retries: u32, flaky: Flaky) -> Story {
    let mut story = record_with_retries(retries, flaky);
    story.boot(1).plan(&[file("a.py")]).boot(2).run(0, 1, &[Passed, Failed, Passed]);
    story
}

fn again(story: &mut Story, attempt: u32, outcome: Outcome) {
    let unit = story.retry(0, attempt, &[1]);
    story.lease(unit, 2).declare_some(unit, 3, Some(&[1])).test(unit, 1, outcome).finish(unit);
}

fn proof(story: &Story) -> Proof {
    let mut proof = Proof::default();
    story.events().iter().for_each(|event| proof.apply(event));
    proof
}

fn closed(mut story: Story) -> Proof {
    story.close(1, Close::Clean).close(2, Close::Clean);
    proof(&story)
}

#[test]
fn a_pass_makes_it_good_and_is_called_flaky() {
    let mut story = failed(1, Flaky::Pass);
    assert!(proof(&story).is_bad());
    again(&mut story, 1, Passed);
    let proof = closed(story);
    assert_eq!((proof.verdict(), proof.is_bad(), proof.failures().count()), (Verdict::Passed, false, 0));
    let counts = proof.counts();
    assert_eq!((counts.passed, counts.flaky, counts.total()), (3, 1, 3));
    let tries: Vec<_> = proof.tries(TestKey { unit: UnitId(0), ordinal: 1 }).iter().map(|result| result.outcome).collect();
    assert_eq!(tries, [Failed, Passed]);
    assert_eq!(proof.units_done(), (2, 2));
}

#[test]
fn a_file_that_is_one_test_is_a_test_when_it_fails_and_none_when_it_cannot_be_loaded() {
    for (outcome, is_test) in [(Failed, true), (Errored, false)] {
        let mut story = record_with_retries(1, Flaky::Pass);
        story.boot(1).plan(&[file("a.sh")]).lease(0, 1).declare_ids(0, vec!["a.sh".to_owned()], None).test(0, 0, outcome).finish(0);
        assert_eq!(proof(&story).failed_in(UnitId(0)).is_some(), is_test, "{outcome:?}");
    }
}

#[test]
fn the_last_attempt_stands() {
    let mut story = failed(3, Flaky::Pass);
    again(&mut story, 1, Errored);
    again(&mut story, 2, Failed);
    let red = closed(story.clone());
    assert_eq!((red.verdict(), red.counts().failed, red.counts().flaky), (RED, 1, 0));
    assert_eq!(red.failures().map(|failure| failure.how).collect::<Vec<_>>(), [Failing::Outcome(Failed)]);
    again(&mut story, 3, Passed);
    assert_eq!(closed(story).verdict(), Verdict::Passed);
}

#[test]
fn flaky_may_count_as_failed() {
    let mut story = failed(1, Flaky::Fail);
    again(&mut story, 1, Passed);
    let proof = closed(story);
    assert_eq!((proof.verdict(), proof.counts().failed, proof.counts().flaky), (RED, 1, 1));
    assert!(proof.failures().all(|failure| failure.flaky));
}

#[test]
fn an_attempt_that_is_not_through_makes_nothing_good() {
    let mut story = failed(1, Flaky::Pass);
    let unit = story.retry(0, 1, &[1]);
    assert_eq!(closed(story.clone()).verdict(), Verdict::Failed { complete: false });
    story.lease(unit, 2).declare_some(unit, 3, Some(&[1])).test(unit, 1, Passed);
    assert_eq!(closed(story.clone()).verdict(), Verdict::Failed { complete: false });
    story.interrupt(unit, 1, Some(1)).close(2, Close::Lost).ready(2);
    assert_eq!(closed(story.clone()).verdict(), Verdict::Failed { complete: false }, "a lost session loses nothing and proves nothing");
    story.lease(unit, 2).declare_some(unit, 3, Some(&[1])).test(unit, 1, Passed).finish(unit);
    assert_eq!(closed(story).verdict(), Verdict::Passed);
}

#[test]
fn a_skip_makes_nothing_good() {
    let mut story = failed(1, Flaky::Pass);
    again(&mut story, 1, Skipped);
    assert_eq!(closed(story).verdict(), RED);
}

#[test]
fn a_crash_is_a_crash() {
    let mut story = failed(1, Flaky::Pass);
    let unit = story.retry(0, 1, &[1]);
    story.lease(unit, 2).declare_some(unit, 3, Some(&[1])).interrupt(unit, 1, Some(1)).crash(unit, 1, 2, Crash::Signal(11));
    story.close(2, Close::Lost).ready(2);
    let proof = closed(story);
    assert_eq!((proof.verdict(), proof.counts().crashed, proof.counts().total()), (RED, 1, 3));
    assert!(proof.tests().all(|view| view.test.ordinal != 1 || matches!(view.state, TestState::Crashed(_))));
}

#[test]
fn a_file_with_other_tests_makes_nothing_good() {
    for (ids, selected) in [(vec!["a.py::test_0"], vec![]), (vec!["a.py::test_9", "a.py::test_1", "a.py::test_2"], vec![1])] {
        let mut story = failed(2, Flaky::Pass);
        let unit = story.retry(0, 1, &[1]);
        story.lease(unit, 2).declare_ids(unit, ids.into_iter().map(str::to_owned).collect(), Some(&selected));
        for ordinal in selected {
            story.test(unit, ordinal, Passed);
        }
        story.finish(unit);
        let proof = closed(story);
        assert_eq!((proof.verdict(), proof.failed_in(UnitId(unit))), (RED, None));
        assert!(proof.found_others(UnitId(unit)) && !proof.found_others(UnitId(0)));
    }
}

#[test]
fn what_an_attempt_runs_besides_can_only_be_worse() {
    let run = |other: Outcome, wanted: Outcome| {
        let mut story = record_with_retries(1, Flaky::Pass);
        story.boot(1).plan(&[file("a.py")]).boot(2).run(0, 1, &[Passed, Failed, Failed]);
        let unit = story.retry(0, 1, &[1]);
        story
            .lease(unit, 2)
            .declare_some(unit, 3, Some(&[0, 1, 2]))
            .test(unit, 0, other)
            .test(unit, 1, wanted)
            .test(unit, 2, Passed)
            .finish(unit);
        let bad: Vec<_> = closed(story).bad_tests().map(|test| test.ordinal).collect();
        bad
    };
    assert_eq!(run(Passed, Passed), [2], "it was not to be tried again");
    assert_eq!(run(Failed, Passed), [0, 2]);
}

#[test]
fn attempts_that_are_not_due_prove_nothing() {
    let bad_retry = |story: Story| {
        let proof = closed(story);
        assert!(proof.faults().iter().any(|fault| matches!(fault, Fault::BadRetry(_))), "{:?}", proof.faults());
        assert_ne!(proof.verdict(), Verdict::Passed);
    };
    let mut passed = failed(1, Flaky::Pass);
    passed.retry(0, 1, &[0]);
    bad_retry(passed);
    let mut nothing = failed(1, Flaky::Pass);
    nothing.retry(0, 1, &[]);
    bad_retry(nothing);
    let mut never = failed(0, Flaky::Pass);
    again(&mut never, 1, Passed);
    bad_retry(never);
    let mut too_often = failed(1, Flaky::Pass);
    again(&mut too_often, 1, Failed);
    again(&mut too_often, 2, Passed);
    bad_retry(too_often);
    let mut twice_the_first = failed(2, Flaky::Pass);
    again(&mut twice_the_first, 1, Failed);
    again(&mut twice_the_first, 1, Passed);
    bad_retry(twice_the_first);
    let mut after_a_pass = failed(2, Flaky::Pass);
    again(&mut after_a_pass, 1, Passed);
    again(&mut after_a_pass, 2, Passed);
    bad_retry(after_a_pass);
    let mut early = record_with_retries(1, Flaky::Pass);
    early.boot(1).plan(&[file("a.py")]).boot(2).lease(0, 1).declare(0, 3).test(0, 0, Passed).test(0, 1, Failed);
    early.retry(0, 1, &[1]);
    bad_retry(early);
    let mut other_lists = failed(3, Flaky::Pass);
    let unit = other_lists.retry(0, 1, &[1]);
    other_lists.lease(unit, 2).declare_ids(unit, vec!["x".to_owned(), "y".to_owned()], Some(&[1])).test(unit, 1, Failed).finish(unit);
    again(&mut other_lists, 2, Passed);
    bad_retry(other_lists);
}

#[test]
fn attempts_at_a_slice_that_its_fallback_replaces_do_not_matter() {
    let mut story = record_with_retries(1, Flaky::Pass);
    story.boot(1).plan(&[slice("a.py", &[0]), slice("a.py", &[1]), fallback("a.py")]).boot(2);
    story.lease(0, 1).declare_some(0, 2, Some(&[0])).test(0, 0, Failed).finish(0);
    let unit = story.retry(0, 1, &[0]);
    story.lease(1, 2).declare_some(1, 3, Some(&[1, 2])).supersede(0).supersede(1);
    story.run(2, 1, &[Passed, Passed, Passed]);
    let green = closed(story.clone());
    assert_eq!((green.verdict(), green.counts().total()), (Verdict::Passed, 3));
    story.lease(unit, 2).declare_some(unit, 3, Some(&[0])).test(unit, 0, Failed).finish(unit);
    assert_eq!(closed(story).verdict(), Verdict::Passed);
}
