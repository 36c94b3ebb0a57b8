//! Runs with files that are not run: what it takes, and that nothing else is taken for it.

use proptest::prelude::*;

use crate::model::Outcome::{Errored, ExpectedFailure, Failed, Passed, Skipped, UnexpectedPass};
use crate::model::event::{Close, EventKind, Proven, RunEvent};
use crate::model::settings::{EngineKind, Flaky};
use crate::model::story::{RUN, Story, file, proven, record, record_with_reuse};
use crate::model::verdict::Verdict;
use crate::model::{Manifest, Outcome, RunId, SuiteId, Unit};
use crate::proof::{Canary, Fault, Proof};

fn fold(story: &Story) -> Proof {
    fold_events(&story.events())
}

fn fold_events(events: &[RunEvent]) -> Proof {
    let mut proof = Proof::default();
    for event in events {
        proof.apply(event);
    }
    proof
}

fn manifest(files: &[&str]) -> Manifest {
    Manifest { units: files.iter().map(|name| file(name)).collect() }
}

/// A run that lists `a.py` and `b.py`, reuses the first on this evidence, and runs the second.
fn on(evidence: Proven) -> Story {
    let mut story = record_with_reuse();
    story.boot(1).list(&["a.py", "b.py"]).say(EventKind::FileReused(Box::new(evidence))).freeze(manifest(&["b.py"]));
    story.run(0, 1, &[Passed]).close(1, Close::Clean).end(Verdict::Passed);
    story
}

#[test]
fn a_file_that_was_proven_need_not_be_run() {
    let green = fold(&on(proven("a.py", &[Passed, Skipped])));
    assert_eq!((green.conclusion(), green.faults()), (Verdict::Passed, &[][..]));
    let counts = green.counts();
    assert_eq!((counts.passed, counts.skipped, counts.reused, counts.total()), (1, 0, 2, 3), "reused tests are counted apart");
    assert_eq!(green.reused().map(|known| &*known.file).collect::<Vec<_>>(), ["a.py"]);
}

#[test]
fn a_run_of_nothing_but_proven_files_has_passed() {
    let mut story = record_with_reuse();
    story.boot(1).list(&["a.py"]).reuse("a.py", &[Passed]).freeze(manifest(&[])).close(1, Close::Clean).end(Verdict::Passed);
    assert_eq!(fold(&story).conclusion(), Verdict::Passed);
}

#[test]
fn where_all_is_proven_an_earlier_list_will_do() {
    let mut story = record_with_reuse();
    story.recall("01J", &["a.py", "b.py"]).reuse("a.py", &[Passed]).reuse("b.py", &[Passed, Skipped]).freeze(manifest(&[]));
    story.end(Verdict::Passed);
    let green = fold(&story);
    assert_eq!((green.conclusion(), green.faults()), (Verdict::Passed, &[][..]));
    assert_eq!((green.counts().reused, green.own_list(SuiteId(0))), (3, None), "nothing is learnt of a list that is not this run's");
}

#[test]
fn an_earlier_list_is_good_for_nothing_else() {
    let fault = |story: &Story| {
        let proof = fold(story);
        assert_eq!(proof.verdict(), Verdict::None);
        proof.faults().to_vec()
    };
    let not_listed = vec![Fault::NotListedHere(SuiteId(0))];
    let mut runs = record_with_reuse();
    runs.boot(1).recall("01J", &["a.py", "b.py"]).reuse("a.py", &[Passed]).freeze(manifest(&["b.py"]));
    assert_eq!(fault(runs.run(0, 1, &[Passed]).close(1, Close::Clean)), not_listed, "something is run");
    for of in ["", RUN] {
        let mut story = record_with_reuse();
        assert_eq!(fault(story.recall(of, &["a.py"]).reuse("a.py", &[Passed]).freeze(manifest(&[]))), not_listed, "{of:?}");
    }
    let mut unasked = record();
    assert_eq!(fault(unasked.recall("01J", &[]).freeze(manifest(&[]))), not_listed);
    let mut open = record_with_reuse();
    let faults = fault(open.recall("01J", &["a.py", "b.py"]).reuse("a.py", &[Passed]).freeze(manifest(&[])));
    assert_eq!(faults[0], Fault::Unplanned { file: "b.py".to_owned() });
    let mut empty = record_with_reuse();
    assert_eq!(fold(empty.recall("01J", &[]).freeze(manifest(&[]))).verdict(), Verdict::Empty);
    let mut late = record_with_reuse();
    assert_eq!(fault(late.freeze(manifest(&[])).recall("01J", &[])).last(), Some(&Fault::ListedTwice(SuiteId(0))));
}

#[test]
fn a_list_on_which_sessions_do_not_agree_is_nobodys() {
    let mut story = record_with_reuse();
    story.boot(1).list(&["a.py"]);
    assert!(fold(&story).own_list(SuiteId(0)).is_some());
    story.boot(2);
    assert!(fold(&story).own_list(SuiteId(0)).is_some());
    let mut events = story.events();
    if let Some(EventKind::SessionReady { list_hash, .. }) = events.last_mut().map(|event| &mut event.kind) {
        "other".clone_into(list_hash);
    }
    assert_eq!(fold_events(&events).own_list(SuiteId(0)), None);
}

#[test]
fn evidence_that_does_not_hold_leaves_nothing_green() {
    let good = || proven("a.py", &[Passed]);
    let of = |outcomes: &[Outcome]| proven("a.py", outcomes);
    let wrong = [
        of(&[]),
        of(&[Skipped]),
        of(&[Passed, Failed]),
        of(&[Passed, Errored]),
        of(&[Passed, ExpectedFailure]),
        of(&[Passed, UnexpectedPass]),
        Proven { of: RunId(String::new()), ..good() },
        Proven { of: RunId(RUN.to_owned()), ..good() },
        Proven { key: String::new(), ..good() },
        Proven { at: String::new(), ..good() },
        Proven { file: "c.py".to_owned(), ..good() },
        Proven { suite: SuiteId(1), ..good() },
    ];
    for evidence in wrong {
        let proof = fold(&on(evidence.clone()));
        assert_eq!(proof.conclusion(), Verdict::None, "{evidence:?}");
        assert!(proof.faults().iter().any(|fault| matches!(fault, Fault::BadReuse { .. })), "{evidence:?}");
        assert_eq!(proof.counts().reused, 0);
    }
}

#[test]
fn who_did_not_ask_for_it_gets_nothing_reused() {
    for change in [(|settings| settings.reuse = false) as fn(&mut crate::model::settings::RunSettings), |settings| {
        settings.engine = EngineKind::Process;
    }] {
        let mut story = on(proven("a.py", &[Passed]));
        story.settle(change);
        assert_eq!(fold(&story).conclusion(), Verdict::None);
    }
    let mut events = on(proven("a.py", &[Passed])).events();
    if let EventKind::RunStarted(started) = &mut events[0].kind {
        started.of = Some(RunId("01J".to_owned()));
    }
    assert_eq!(fold_events(&events).conclusion(), Verdict::None, "a reproduction reuses nothing");
}

#[test]
fn a_file_is_planned_or_reused_and_never_both() {
    let mut both = record_with_reuse();
    both.boot(1).list(&["a.py"]).reuse("a.py", &[Passed]).freeze(manifest(&["a.py"])).run(0, 1, &[Passed]).close(1, Close::Clean);
    assert_eq!(fold(&both).faults(), [Fault::BadReuse { file: "a.py".to_owned(), why: "is in the plan" }]);
    let mut neither = record_with_reuse();
    neither.boot(1).list(&["a.py", "b.py"]).reuse("a.py", &[Passed]).freeze(manifest(&[])).close(1, Close::Clean);
    assert_eq!(fold(&neither).faults(), [Fault::Unplanned { file: "b.py".to_owned() }]);
    let mut late = record_with_reuse();
    late.boot(1).list(&["a.py"]).freeze(manifest(&[])).reuse("a.py", &[Passed]).close(1, Close::Clean);
    assert_eq!(fold(&late).verdict(), Verdict::None);
    let mut twice = record_with_reuse();
    twice.boot(1).list(&["a.py"]).reuse("a.py", &[Passed]).reuse("a.py", &[Passed]).freeze(manifest(&[])).close(1, Close::Clean);
    assert_eq!(fold(&twice).verdict(), Verdict::None);
    let mut canary = record_with_reuse();
    canary.boot(1).list(&["a.py"]).canary("a.py", &[Passed]).freeze(manifest(&[])).close(1, Close::Clean);
    assert_eq!(fold(&canary).verdict(), Verdict::None, "a canary that nobody runs");
}

/// A run of one canary, which was proven to have two tests that pass.
fn canary(run: impl FnOnce(&mut Story)) -> (Canary, Verdict) {
    let mut story = record_with_reuse();
    story.settle(|settings| (settings.retries, settings.flaky) = (1, Flaky::Pass));
    story.boot(1).list(&["a.py"]).canary("a.py", &[Passed, Passed]).freeze(manifest(&["a.py"]));
    run(&mut story);
    let proof = fold(&story);
    let (_, shown) = proof.canaries().next().expect("a canary");
    (shown, proof.verdict())
}

#[test]
fn a_canary_shows_whether_a_file_does_what_it_did() {
    let closed = |outcomes: &'static [Outcome]| {
        move |story: &mut Story| {
            story.run(0, 1, outcomes).close(1, Close::Clean);
        }
    };
    assert_eq!(canary(closed(&[Passed, Passed])), (Canary::Agrees, Verdict::Passed));
    assert_eq!(canary(closed(&[Passed, Skipped])), (Canary::Differs, Verdict::Passed), "the verdict is that of what ran");
    assert_eq!(canary(closed(&[Passed])), (Canary::Differs, Verdict::Passed), "a test is gone");
    assert_eq!(canary(closed(&[Passed, Passed, Passed])), (Canary::Differs, Verdict::Passed), "a test is new");
    assert_eq!(canary(closed(&[Passed, Failed])), (Canary::Differs, Verdict::Failed { complete: true }));
    assert_eq!(canary(|_| ()).0, Canary::Unknown);
    let stopped = |story: &mut Story| {
        story.lease(0, 1).declare(0, 2).test(0, 0, Passed);
    };
    assert_eq!(canary(stopped).0, Canary::Unknown);
    let failed_halfway = |story: &mut Story| {
        story.lease(0, 1).declare(0, 2).test(0, 0, Failed);
    };
    assert_eq!(canary(failed_halfway).0, Canary::Differs, "what failed is known at once");
    let made_good = |story: &mut Story| {
        story.run(0, 1, &[Passed, Failed]);
        let again = story.retry(0, 1, &[1]);
        story.lease(again, 1).declare_some(again, 2, Some(&[1])).test(again, 1, Passed).finish(again).close(1, Close::Clean);
    };
    assert_eq!(canary(made_good), (Canary::Differs, Verdict::Passed), "only the first attempt counts");
    let other_order = |story: &mut Story| {
        let ids = [1, 0].map(|n| crate::model::story::id("a.py", n)).to_vec();
        story.lease(0, 1).declare_ids(0, ids, None).test(0, 0, Passed).test(0, 1, Passed).finish(0).close(1, Close::Clean);
    };
    assert_eq!(canary(other_order).0, Canary::Agrees);
}

/// What a run does with each of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Run,
    Reused,
    Canary,
    /// Told to be reused and planned all the same.
    Both,
    /// Neither planned nor reused.
    Neither,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Run),
        4 => Just(Fate::Reused),
        2 => Just(Fate::Canary),
        1 => Just(Fate::Both),
        1 => Just(Fate::Neither),
    ];
    proptest::collection::vec(fate, 1..7)
}

/// A run that says that it passed, whatever it did.
fn told(fates: &[Fate]) -> Story {
    let names: Vec<String> = (0..fates.len()).map(|n| format!("f{n}.py")).collect();
    let mut story = record_with_reuse();
    story.boot(1).list(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut units: Vec<Unit> = Vec::new();
    for (fate, name) in fates.iter().zip(&names) {
        match fate {
            Fate::Reused | Fate::Both => {
                story.reuse(name, &[Passed, Skipped]);
            }
            Fate::Canary => {
                story.canary(name, &[Passed]);
            }
            Fate::Run | Fate::Neither => {}
        }
        if !matches!(fate, Fate::Reused | Fate::Neither) {
            units.push(file(name));
        }
    }
    let number = u32::try_from(units.len()).expect("few");
    story.freeze(Manifest { units });
    for unit in 0..number {
        story.run(unit, 1, &[Passed]);
    }
    story.close(1, Close::Clean).end(Verdict::Passed);
    story
}

fn renumbered(mut events: Vec<RunEvent>) -> Vec<RunEvent> {
    for (seq, event) in (0..).zip(&mut events) {
        event.seq = seq;
    }
    events
}

proptest! {
    #[test]
    fn a_run_is_green_exactly_if_each_file_is_run_or_reused(fates in fates()) {
        let sound = !fates.iter().any(|fate| matches!(fate, Fate::Both | Fate::Neither));
        let expected = if sound { Verdict::Passed } else { Verdict::None };
        prop_assert_eq!(fold(&told(&fates)).conclusion(), expected);
    }

    #[test]
    fn without_its_evidence_a_file_is_not_proven(fates in fates(), which in any::<prop::sample::Index>()) {
        let events = told(&fates).events();
        let evidence: Vec<_> = (0..events.len()).filter(|at| matches!(events[*at].kind, EventKind::FileReused(_))).collect();
        prop_assume!(!evidence.is_empty());
        let mut without = events;
        without.remove(evidence[which.index(evidence.len())]);
        let sound = !fates.iter().any(|fate| matches!(fate, Fate::Both));
        let conclusion = fold_events(&renumbered(without)).conclusion();
        // A file that is planned as well is proven without it.
        prop_assert!(!sound || conclusion != Verdict::Passed);
    }

    #[test]
    fn evidence_told_twice_or_elsewhere_is_never_green(fates in fates(), at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>()) {
        let events = told(&fates).events();
        let evidence: Vec<_> = (0..events.len()).filter(|at| matches!(events[*at].kind, EventKind::FileReused(_))).collect();
        prop_assume!(!evidence.is_empty());
        let from = evidence[which.index(evidence.len())];
        let mut doubled = events.clone();
        doubled.insert(at.index(events.len()), events[from].clone());
        prop_assert_ne!(fold_events(&renumbered(doubled)).conclusion(), Verdict::Passed);
        let plan = events.iter().position(|event| matches!(event.kind, EventKind::PlanMade { .. })).expect("a plan");
        let mut moved = events.clone();
        let taken = moved.remove(from);
        moved.insert(plan + at.index(events.len() - plan), taken);
        prop_assert_ne!(fold_events(&renumbered(moved)).conclusion(), Verdict::Passed);
    }

    #[test]
    fn random_evidence_never_panics_and_is_green_only_if_it_holds(
        file in prop_oneof![Just("a.py"), Just("b.py"), Just("c.py")],
        outcomes in proptest::collection::vec(prop_oneof![4 => Just(Passed), 1 => Just(Skipped), 1 => Just(Failed), 1 => Just(ExpectedFailure)], 0..4),
        of in prop_oneof![Just(""), Just(RUN), Just("01JCZ")],
        allowed in any::<bool>(),
    ) {
        let mut story = on(Proven { of: RunId(of.to_owned()), ..proven(file, &outcomes) });
        story.settle(|settings| settings.reuse = allowed);
        let passes = outcomes.contains(&Passed) && outcomes.iter().all(|outcome| matches!(outcome, Passed | Skipped));
        let holds = allowed && file == "a.py" && of == "01JCZ" && passes;
        prop_assert_eq!(fold(&story).conclusion() == Verdict::Passed, holds);
    }
}
