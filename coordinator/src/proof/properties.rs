//! The proof against random runs: whatever is taken out of a green record, doubled or cut off, it is green no more.

use proptest::prelude::*;

use super::*;
use crate::model::Outcome::{Failed, Passed, Skipped, UnexpectedPass};
use crate::model::event::{Close, Crash, RetryPlanned, ShardLoss};
use crate::model::settings::Flaky;
use crate::model::story::{Story, fallback, file, record_with_retries, slice};

/// Small numbers from a list that proptest shrinks; zero when it is used up.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn below(&mut self, n: u32) -> u32 {
        u32::from(self.0.next().copied().unwrap_or(0)) % n
    }
}

/// A random run that ends green: files and sliced files, sessions and shards lost on the way, slices that disagree, tests that pass when they are tried again.
fn green_story(rolls: &[u8]) -> Story {
    let mut dice = Dice(rolls.iter());
    let mut story = record_with_retries(2, Flaky::Pass);
    let files = 1 + dice.below(4);
    let is_sliced = dice.below(2) == 1;
    let mut units: Vec<_> = (0..files).map(|n| file(&format!("f{n}.py"))).collect();
    if is_sliced {
        units.extend([slice("s.py", &[0, 1]), slice("s.py", &[2]), fallback("s.py")]);
    }
    story.boot(1).plan(&units).boot(2);
    let flaky: Vec<_> = (0..files).filter_map(|unit| run_whole(&mut story, &mut dice, unit)).collect();
    if is_sliced {
        run_slices(&mut story, &mut dice, files);
    }
    for (unit, tests, ordinal) in flaky {
        make_good(&mut story, &mut dice, (unit, tests, ordinal));
    }
    story.notice("coverage threshold not checked");
    story.close(1, Close::Clean).close(2, Close::Clean).end(Verdict::Passed);
    story
}

/// Gives how many tests there are and which of them failed, if one did.
fn run_whole(story: &mut Story, dice: &mut Dice<'_>, unit: u32) -> Option<(u32, u32, u32)> {
    let tests = 1 + dice.below(4);
    let mut from = 0;
    while dice.below(3) == 1 && from < tests {
        let shard = 1 + dice.below(2);
        let upto = from + dice.below(tests - from);
        story.lease_from(unit, shard, from).declare(unit, tests);
        report(story, dice, unit, from..upto);
        if dice.below(2) == 0 {
            story.interrupt(unit, upto, Some(upto)).close(shard, Close::Lost).ready(shard);
        } else {
            story.lose(shard, ShardLoss::Gone).interrupt(unit, upto, Some(upto)).boot(shard);
        }
        from = upto;
    }
    story.lease_from(unit, 1 + dice.below(2), from).declare(unit, tests);
    // The last test may be one that fails at first.
    let fails = tests > 1 && dice.below(3) == 1;
    report(story, dice, unit, from..tests - u32::from(fails));
    if fails {
        story.test(unit, tests - 1, Failed);
    }
    story.finish(unit);
    fails.then_some((unit, tests, tests - 1))
}

/// Another attempt at a test, or two, with sessions lost in between.
fn make_good(story: &mut Story, dice: &mut Dice<'_>, (root, tests, ordinal): (u32, u32, u32)) {
    let twice = dice.below(2) == 1;
    for attempt in 1..=1 + u32::from(twice) {
        let unit = story.retry(root, attempt, &[ordinal]);
        let shard = 1 + dice.below(2);
        if dice.below(3) == 1 {
            story.lease(unit, shard).declare_some(unit, tests, Some(&[ordinal]));
            if dice.below(2) == 1 {
                // Whatever was reported goes with the session.
                story.test(unit, ordinal, Passed);
            }
            story.interrupt(unit, 0, Some(ordinal)).close(shard, Close::Lost).ready(shard);
        }
        let outcome = if twice && attempt == 1 { Failed } else { Passed };
        story.lease(unit, shard).declare_some(unit, tests, Some(&[ordinal])).test(unit, ordinal, outcome).finish(unit);
    }
}

fn report(story: &mut Story, dice: &mut Dice<'_>, unit: u32, ordinals: std::ops::Range<u32>) {
    for ordinal in ordinals {
        // The very first test passes, so that something ran.
        let outcome = if ordinal == 0 { Passed } else { [Passed, Skipped, UnexpectedPass][dice.below(3) as usize] };
        story.test(unit, ordinal, outcome);
    }
}

fn run_slices(story: &mut Story, dice: &mut Dice<'_>, first: u32) {
    let agree = dice.below(2) == 0;
    story.lease(first, 1).declare_some(first, 3, Some(&[0, 1])).test(first, 0, Passed).test(first, 1, Passed).finish(first);
    let second = first + 1;
    if agree {
        story.lease(second, 2).declare_some(second, 3, Some(&[2])).test(second, 2, Passed).finish(second);
    } else {
        story.lease(second, 2).declare_some(second, 4, Some(&[2, 3])).supersede(first).supersede(second);
        story.run(first + 2, 1, &[Passed, Passed]);
    }
}

fn conclusion(events: &[RunEvent]) -> Verdict {
    let mut proof = Proof::default();
    for event in events {
        proof.apply(event);
    }
    proof.conclusion()
}

fn renumbered(mut events: Vec<RunEvent>) -> Vec<RunEvent> {
    for (seq, event) in (0..).zip(&mut events) {
        event.seq = seq;
    }
    events
}

/// Events that say nothing about results.
fn is_telling_only(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::ImageReady { .. }
            | EventKind::ShardStarted { .. }
            | EventKind::ShardReady { .. }
            | EventKind::ShardLost { .. }
            | EventKind::SuiteListed { .. }
            | EventKind::Output { .. }
            | EventKind::Notice { .. }
    )
}

/// Whether the event belongs to a lease whose results count in the end: without it something is not proven.
fn is_essential(events: &[RunEvent], at: usize) -> bool {
    let superseded = |unit: UnitId| {
        events[at..].iter().any(|event| matches!(&event.kind, EventKind::UnitSuperseded { unit: other, .. } if *other == unit))
    };
    let accepted = |unit: UnitId, fence: Fence, ordinal: u32| {
        !superseded(unit)
            && events[at..].iter().any(|event| match &event.kind {
                EventKind::UnitFinished { unit: other, fence: under } => (*other, *under) == (unit, fence),
                EventKind::UnitInterrupted { unit: other, fence: under, final_below, .. } => {
                    (*other, *under) == (unit, fence) && ordinal < *final_below
                }
                _ => false,
            })
    };
    match &events[at].kind {
        EventKind::RunStarted(_)
        | EventKind::PlanMade { .. }
        | EventKind::RunFinished { .. }
        | EventKind::UnitSuperseded { .. }
        | EventKind::RetryPlanned(_)
        | EventKind::SessionReady { .. } => true,
        EventKind::UnitLeased { unit, fence, from, .. } => accepted(*unit, *fence, *from),
        EventKind::UnitDeclared { unit, fence, .. } | EventKind::UnitFinished { unit, fence } => {
            let from = events.iter().find_map(|event| match &event.kind {
                EventKind::UnitLeased { fence: under, from, .. } if under == fence => Some(*from),
                _ => None,
            });
            accepted(*unit, *fence, from.unwrap_or(0))
        }
        EventKind::TestFinished(finished) => accepted(finished.test.unit, finished.fence, finished.test.ordinal),
        EventKind::SessionEnded(ended) => ended.close == Close::Clean,
        _ => false,
    }
}

proptest! {
    #[test]
    fn random_green_runs_are_green(rolls in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(conclusion(&green_story(&rolls).events()), Verdict::Passed);
    }

    #[test]
    fn a_hole_a_repetition_or_a_cut_anywhere_is_never_green(rolls in proptest::collection::vec(any::<u8>(), 0..80)) {
        let events = green_story(&rolls).events();
        for at in 0..events.len() {
            let mut without = events.clone();
            without.remove(at);
            prop_assert_ne!(conclusion(&without), Verdict::Passed);
            let mut doubled = events.clone();
            doubled.insert(at, events[at].clone());
            prop_assert_ne!(conclusion(&doubled), Verdict::Passed);
            prop_assert_ne!(conclusion(&events[..at]), Verdict::Passed);
        }
    }

    #[test]
    fn without_an_essential_event_it_is_never_green_even_if_the_numbers_fit(rolls in proptest::collection::vec(any::<u8>(), 0..80)) {
        let events = green_story(&rolls).events();
        for at in (0..events.len()).filter(|at| is_essential(&events, *at)) {
            let mut without = events.clone();
            let gone = without.remove(at);
            prop_assert_ne!(conclusion(&renumbered(without)), Verdict::Passed, "without {:?}", gone);
        }
    }

    #[test]
    fn doubled_events_are_never_green_even_if_the_numbers_fit(rolls in proptest::collection::vec(any::<u8>(), 0..80)) {
        let events = green_story(&rolls).events();
        for at in (0..events.len()).filter(|at| !is_telling_only(&events[*at].kind)) {
            let mut doubled = events.clone();
            doubled.insert(at, events[at].clone());
            prop_assert_ne!(conclusion(&renumbered(doubled)), Verdict::Passed, "doubled {:?}", events[at]);
        }
    }

    #[test]
    fn a_failure_anywhere_in_what_counts_is_red(rolls in proptest::collection::vec(any::<u8>(), 0..80), which in any::<prop::sample::Index>()) {
        let mut events = green_story(&rolls).events();
        let counted: Vec<_> = (0..events.len())
            // A failure that is made good is one already.
            .filter(|at| matches!(&events[*at].kind, EventKind::TestFinished(test) if !test.outcome.is_bad()) && is_essential(&events, *at))
            .collect();
        let at = counted[which.index(counted.len())];
        if let EventKind::TestFinished(finished) = &mut events[at].kind {
            finished.outcome = Failed;
        }
        prop_assert_eq!(conclusion(&events), Verdict::Failed { complete: false }, "the run said that it passed");
    }

    #[test]
    fn shuffled_events_never_panic_and_are_never_green(
        rolls in proptest::collection::vec(any::<u8>(), 0..80),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
    ) {
        let straight = green_story(&rolls).events();
        let mut events = straight.clone();
        for (a, b) in swaps {
            let (a, b) = (a.index(events.len()), b.index(events.len()));
            events.swap(a, b);
        }
        let mut proof = Proof::default();
        for event in &events {
            proof.apply(event);
            let _unused = (proof.verdict(), proof.counts(), proof.failures().count(), proof.missing().count(), proof.units_done());
        }
        prop_assert!(events == straight || proof.conclusion() != Verdict::Passed);
    }

    #[test]
    fn hostile_numbers_never_panic(
        kinds in proptest::collection::vec((0_u8..11, any::<u32>(), any::<u64>(), any::<u32>()), 0..60),
        small in any::<bool>(),
    ) {
        let mut proof = Proof::default();
        let mut story = record_with_retries(1, Flaky::Pass);
        story.boot(1).plan(&[file("a.py"), slice("b.py", &[0]), fallback("b.py")]).run(0, 1, &[Passed, Failed, Failed]);
        for (kind, unit, fence, ordinal) in kinds {
            let (unit, fence, ordinal) = if small { (unit % 5, fence % 4, ordinal % 4) } else { (unit, fence, ordinal) };
            story.say(hostile(kind, unit, fence, ordinal));
        }
        for event in story.events() {
            proof.apply(&event);
        }
        let _unused = (proof.conclusion(), proof.counts(), proof.counts_by_shard(), proof.failures().count(), proof.missing().count());
        let _unused: Vec<_> = (0..6).map(|unit| (proof.failed_in(UnitId(unit)).is_some(), proof.units_done())).collect();
    }
}

fn hostile(kind: u8, unit: u32, fence: u64, ordinal: u32) -> EventKind {
    let mut story = Story::default();
    let (id, under) = (UnitId(unit), Fence(fence));
    let session = crate::model::SessionId { shard: crate::model::ShardId(1), number: 1 };
    match kind {
        0 => return EventKind::UnitLeased { unit: id, fence: under, session, from: ordinal, suspect: false },
        1 => return EventKind::UnitFinished { unit: id, fence: under },
        2 => return EventKind::UnitInterrupted { unit: id, fence: under, final_below: ordinal, suspect: Some(ordinal) },
        3 => {
            return EventKind::UnitDeclared {
                unit: id,
                fence: under,
                ids: vec![String::new(); 3],
                selected: Some(vec![ordinal, ordinal / 2]),
            };
        }
        4 => return EventKind::UnitDeclared { unit: id, fence: under, ids: vec![String::new(); 3], selected: None },
        7 | 8 => {
            let ids = vec!["a.py::test_1".to_owned(), "a.py::test_2".to_owned()];
            let planned = RetryPlanned { unit: id, of: UnitId(unit / 4), attempt: 1, ordinals: vec![ordinal], ids };
            return EventKind::RetryPlanned(Box::new(planned));
        }
        5 => story.supersede(unit),
        6 => story.crash(unit, ordinal, 1, Crash::Signal(9)),
        _ => story.test_with(unit, ordinal, Passed, |test| test.fence = under),
    };
    let mut events = story.events();
    events.remove(0).kind
}
