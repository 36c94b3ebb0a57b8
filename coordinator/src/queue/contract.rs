//! What every queue must do, as stories: the embedded one here, a queue in a store next to it.
//!
//! A story goes through [`Subject`], which is all that a queue shows. Random schedules of the same operations are in the `tests` crate.

use super::*;
use crate::model::event::Superseded;
use crate::model::{Fence, SessionId, ShardId, SuiteId, UnitId};

/// A queue under test.
trait Subject {
    fn filled(units: Vec<QueueUnit>, policy: Policy) -> Self;
    fn step(&mut self, now_ms: u64, call: &Step) -> Result<Reply, StepError>;
    fn expire(&mut self, now_ms: u64) -> Vec<Fact>;
    fn cancel(&mut self);
    fn retry(&mut self, of: UnitId, failed_in: SessionId) -> UnitId;
    fn next_expiry(&self) -> Option<u64>;
}

const EPOCH: Epoch = Epoch(7);

impl Subject for Queue {
    fn filled(units: Vec<QueueUnit>, policy: Policy) -> Self {
        Self::new(EPOCH, units, policy).unwrap()
    }

    fn step(&mut self, now_ms: u64, call: &Step) -> Result<Reply, StepError> {
        Self::step(self, now_ms, call)
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Fact> {
        Self::expire(self, now_ms)
    }

    fn cancel(&mut self) {
        Self::cancel(self);
    }

    fn retry(&mut self, of: UnitId, failed_in: SessionId) -> UnitId {
        Self::retry(self, of, failed_in)
    }

    fn next_expiry(&self) -> Option<u64> {
        Self::next_expiry(self)
    }
}

/// Runs every story over one kind of queue.
macro_rules! contract {
    ($subject:ty: $($story:ident)*) => { $(#[test] fn $story() { super::$story::<$subject>(); })* };
}

mod embedded {
    contract!(super::Queue:
        units_are_leased_in_their_order_under_growing_fences
        a_batch_is_bounded_by_predicted_time_and_unknown_units_travel_alone
        a_single_shard_takes_unknown_units_together
        a_tool_that_starts_anew_gets_a_share_of_what_is_left
        what_a_session_holds_counts_against_its_next_batch
        the_last_step_repeated_gets_the_same_reply_and_changes_nothing
        a_step_out_of_order_or_of_another_epoch_is_refused
        a_stale_fence_changes_nothing
        unstarted_units_come_back_to_the_front
        a_suspect_goes_alone_to_empty_hands_and_goes_on_where_results_end
        a_poison_test_is_named_after_two_sessions_and_the_rest_runs
        results_lost_in_the_buffer_run_again_up_to_the_crashed_test
        a_deadline_is_final_at_once
        a_unit_that_cannot_be_loaded_is_given_up
        another_suspect_has_its_own_count_but_no_unit_stalls_for_ever
        a_silent_session_gives_back_what_it_had_and_its_mark_is_the_suspect
        without_marks_a_lost_sessions_units_go_alone_and_count_only_then
        when_nobody_was_heard_sessions_get_the_time_back_once
        changed_ids_void_the_unit_and_it_runs_whole_from_then_on
        slices_that_disagree_are_void_and_the_fallback_runs
        slices_that_agree_leave_the_fallback_asleep
        another_attempt_opens_the_queue_and_goes_rather_elsewhere
        another_attempt_that_is_lost_comes_back
        units_go_to_sessions_of_their_suite_alone
        a_cancelled_queue_takes_results_and_gives_nothing
        an_empty_queue_is_closed
    );
}

struct Session {
    id: SessionId,
    seq: u64,
}

impl Session {
    fn new(shard: u32, number: u32) -> Self {
        Self { id: SessionId { shard: ShardId(shard), number }, seq: 0 }
    }

    fn next(&mut self) -> Step {
        self.seq += 1;
        Step::new(EPOCH, self.id, self.seq)
    }

    fn take<S: Subject>(&mut self, queue: &mut S, want: u32) -> Vec<Lease> {
        let call = Step { want, ..self.next() };
        queue.step(0, &call).unwrap().leases
    }

    fn tell<S: Subject>(&mut self, queue: &mut S, lease: Lease, end: End) -> Reply {
        let call = Step { results: vec![UnitResult { unit: lease.unit, fence: lease.fence, end }], ..self.next() };
        queue.step(0, &call).unwrap()
    }

    fn die<S: Subject>(&mut self, queue: &mut S, lease: Lease, end: End) -> Vec<Fact> {
        let call = Step { results: vec![UnitResult { unit: lease.unit, fence: lease.fence, end }], close: true, ..self.next() };
        queue.step(0, &call).unwrap().facts
    }
}

fn plain(predicted: &[Option<u64>]) -> Vec<QueueUnit> {
    predicted.iter().map(|&predicted_ms| QueueUnit { suite: SuiteId::default(), predicted_ms, role: Role::Plain }).collect()
}

fn sliced() -> Vec<QueueUnit> {
    [Role::Slice(3), Role::Slice(3), Role::Plain, Role::Fallback(3)]
        .map(|role| QueueUnit { suite: SuiteId::default(), predicted_ms: Some(1_000), role })
        .to_vec()
}

fn policy() -> Policy {
    Policy::for_shards(2)
}

fn ids(hash: u8) -> Listing {
    Listing { hash: [hash; 16], count: 10 }
}

fn lost(final_below: u32, suspect: Suspect) -> End {
    End::Partial(Partial { listing: Some(ids(1)), final_below, suspect: Some(suspect), rest: true, cause: Cause::Test })
}

fn units(leases: &[Lease]) -> Vec<u32> {
    leases.iter().map(|lease| lease.unit.0).collect()
}

/// The one lease that a new session gets.
fn only<S: Subject>(queue: &mut S, session: &mut Session) -> Lease {
    let leases = session.take(queue, 9);
    assert_eq!(leases.len(), 1, "{leases:?}");
    leases[0]
}

fn units_are_leased_in_their_order_under_growing_fences<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(100); 8]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let (first, second) = (one.take(&mut queue, 2), two.take(&mut queue, 1));
    assert_eq!((units(&first), units(&second)), (vec![0, 1], vec![2]));
    assert!(first[0].fence < first[1].fence && first[1].fence < second[0].fence);
    assert!(first.iter().all(|lease| lease.from == 0 && lease.until.is_none() && !lease.suspect));
}

fn a_single_shard_takes_unknown_units_together<S: Subject>() {
    let mut queue = S::filled(plain(&[None; 40]), Policy::for_shards(1));
    let taken = Session::new(1, 1).take(&mut queue, 99);
    assert_eq!(units(&taken), (0..16).collect::<Vec<_>>(), "nobody else could take them; a loss gives back no more than these");
}

fn a_batch_is_bounded_by_predicted_time_and_unknown_units_travel_alone<S: Subject>() {
    let mut predicted = vec![None, Some(5_000)];
    predicted.extend([Some(500); 20]);
    let mut queue = S::filled(plain(&predicted), policy());
    let batch = |queue: &mut S, shard| units(&Session::new(shard, 1).take(queue, 99));
    assert_eq!(batch(&mut queue, 1), [0], "unknown");
    assert_eq!(batch(&mut queue, 2), [1], "longer than any batch");
    assert_eq!(batch(&mut queue, 3), [2, 3, 4], "1,500 ms");
    let sizes: Vec<_> = (4..99).map(|shard| batch(&mut queue, shard).len()).take_while(|&size| size > 0).collect();
    assert_eq!(sizes, [3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1], "a quarter of what is left, towards the end");
}

fn a_tool_that_starts_anew_gets_a_share_of_what_is_left<S: Subject>() {
    let sizes = |predicted: &[Option<u64>], together| {
        let mut queue = S::filled(plain(predicted), Policy { together: vec![together], ..policy() });
        let batch = |shard| Session::new(shard, 1).take(&mut queue, 99).len();
        (1..99).map(batch).take_while(|&size| size > 0).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&[None; 20], 32), [5, 3, 3, 2, 2, 2, 2, 1], "a quarter of what is left, known or not");
    assert_eq!(sizes(&[None; 99], 32)[..3], [16, 16, 16], "nobody knows how long they take");
    assert_eq!(sizes(&[Some(4_000); 20], 32)[..3], [5, 3, 3], "more than a framework's batch");
    assert_eq!(sizes(&[Some(10); 80], 64), [64, 16], "no less than is worth a start");
    assert_eq!(sizes(&[Some(10); 80], 6)[..3], [6, 6, 6], "no more than go into a command");
    let mut queue = S::filled(plain(&[Some(10); 80]), Policy { together: vec![6], ..policy() });
    let mut one = Session::new(1, 1);
    let first = one.take(&mut queue, 99);
    one.tell(&mut queue, first[0], End::Complete(ids(1)));
    assert!(one.take(&mut queue, 99).is_empty(), "the next command begins when this one is over");
}

fn what_a_session_holds_counts_against_its_next_batch<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(1_000); 20]), policy());
    let mut one = Session::new(1, 1);
    assert_eq!(units(&one.take(&mut queue, 9)), [0]);
    assert_eq!(units(&one.take(&mut queue, 9)), Vec::<u32>::new());
}

fn the_last_step_repeated_gets_the_same_reply_and_changes_nothing<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(100); 3]), policy());
    let mut one = Session::new(1, 1);
    let call = Step { want: 1, ..one.next() };
    let first = queue.step(0, &call).unwrap();
    assert_eq!(queue.step(9_000, &call).unwrap(), first);
    let done = one.tell(&mut queue, first.leases[0], End::Complete(ids(1)));
    assert_eq!(done.facts, [Fact::Finished { unit: UnitId(0), fence: first.leases[0].fence }]);
    assert_eq!(done.remaining, Remaining { pending: 2, leased: 0 });
}

fn a_step_out_of_order_or_of_another_epoch_is_refused<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let mut one = Session::new(1, 1);
    let lost_epoch = Step { epoch: Epoch(8), want: 1, ..Step::new(EPOCH, one.id, 1) };
    assert_eq!(queue.step(0, &lost_epoch), Err(StepError::EpochLost));
    let gap = Err(StepError::OutOfOrder { session: one.id, expected: 1, got: 2 });
    assert_eq!(queue.step(0, &Step::new(EPOCH, one.id, 2)), gap);
    let lease = only(&mut queue, &mut one);
    let beyond = Step { release: vec![(UnitId(1), lease.fence)], ..Step::new(EPOCH, one.id, 2) };
    assert_eq!(queue.step(0, &beyond), Err(StepError::UnknownUnit(UnitId(1))));
    assert_eq!(queue.step(0, &Step { close: true, ..one.next() }).unwrap().remaining, Remaining { pending: 1, leased: 0 });
    assert_eq!(queue.step(0, &one.next()), Err(StepError::SessionOver(one.id)));
}

fn a_stale_fence_changes_nothing<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let old = only(&mut queue, &mut one);
    let call = Step { release: vec![(old.unit, old.fence)], ..one.next() };
    assert_eq!(queue.step(0, &call).unwrap().facts, []);
    let new = only(&mut queue, &mut two);
    let overtaken = [Fact::Overtaken { unit: old.unit, fence: old.fence }];
    assert_eq!(one.tell(&mut queue, old, End::Complete(ids(1))).facts, overtaken);
    assert_eq!(
        one.tell(&mut queue, new, End::Complete(ids(1))).facts,
        [Fact::Overtaken { unit: new.unit, fence: new.fence }],
        "somebody else's"
    );
    let call = Step { release: vec![(new.unit, new.fence)], want: 1, ..two.next() };
    let newest = queue.step(0, &call).unwrap().leases[0];
    let reply = two.tell(&mut queue, new, End::Complete(ids(1)));
    assert_eq!((reply.facts, reply.remaining.leased), (vec![Fact::Overtaken { unit: new.unit, fence: new.fence }], 1), "its own old one");
    assert_eq!(two.tell(&mut queue, newest, End::Complete(ids(1))).state, State::Closed);
    assert_eq!(one.tell(&mut queue, old, lost(0, Suspect::Loading)).facts, overtaken);
}

fn unstarted_units_come_back_to_the_front<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(100); 30]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let held = one.take(&mut queue, 4);
    assert_eq!(units(&two.take(&mut queue, 1)), [4]);
    let call = Step { release: vec![(held[3].unit, held[3].fence)], close: true, ..one.next() };
    assert_eq!(queue.step(0, &call).unwrap().facts, []);
    let again = Session::new(1, 2).take(&mut queue, 5);
    assert_eq!(units(&again), [0, 1, 2, 3, 5]);
    assert!(again.iter().all(|lease| !lease.suspect));
}

fn a_suspect_goes_alone_to_empty_hands_and_goes_on_where_results_end<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(100); 30]), policy());
    let (mut one, mut two, mut three) = (Session::new(1, 1), Session::new(2, 1), Session::new(1, 2));
    let held = one.take(&mut queue, 2);
    let busy = two.take(&mut queue, 1);
    let facts = one.die(&mut queue, held[0], lost(4, Suspect::Test(5)));
    let fence = held[0].fence;
    assert_eq!(facts, [Fact::Interrupted { unit: UnitId(0), fence, final_below: 4, suspect: Some(Suspect::Test(5)) }]);
    assert_eq!(two.take(&mut queue, 5), [], "drains, so that it can take the suspect");
    let suspect = only(&mut queue, &mut three);
    assert_eq!((suspect.unit, suspect.from, suspect.until, suspect.suspect), (UnitId(0), 4, None, true));
    assert_eq!(three.take(&mut queue, 5), [], "nothing is added");
    let rest = two.tell(&mut queue, busy[0], End::Complete(ids(1)));
    assert_eq!(rest.remaining, Remaining { pending: 28, leased: 1 });
    let done = three.tell(&mut queue, suspect, End::Complete(ids(1)));
    assert_eq!(done.facts, [Fact::Finished { unit: UnitId(0), fence: suspect.fence }]);
    assert_eq!(units(&three.take(&mut queue, 2)), [1, 3]);
}

fn a_poison_test_is_named_after_two_sessions_and_the_rest_runs<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let (mut one, mut two, mut three) = (Session::new(1, 1), Session::new(1, 2), Session::new(1, 3));
    let lease = only(&mut queue, &mut one);
    one.die(&mut queue, lease, lost(5, Suspect::Test(5)));
    let lease = only(&mut queue, &mut two);
    let (unit, fence, suspect) = (lease.unit, lease.fence, Suspect::Test(5));
    let facts = two.die(&mut queue, lease, lost(5, suspect));
    let interrupted = Fact::Interrupted { unit, fence, final_below: 5, suspect: Some(suspect) };
    assert_eq!(facts, [interrupted, Fact::Crashed { unit, fence, suspect, cause: Cause::Test }]);
    let behind = only(&mut queue, &mut three);
    assert_eq!((behind.from, behind.until, behind.suspect), (6, None, false));
    assert_eq!(three.tell(&mut queue, behind, End::Complete(ids(1))).state, State::Closed);
}

fn results_lost_in_the_buffer_run_again_up_to_the_crashed_test<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    for number in 1..=2 {
        let mut session = Session::new(1, number);
        let lease = only(&mut queue, &mut session);
        assert_eq!((lease.from, lease.until), (0, None));
        session.die(&mut queue, lease, lost(0, Suspect::Test(6)));
    }
    let mut session = Session::new(1, 3);
    let before = only(&mut queue, &mut session);
    assert_eq!((before.from, before.until, before.suspect), (0, Some(6), false));
    let (unit, fence) = (before.unit, before.fence);
    let reply = session.tell(&mut queue, before, End::Complete(ids(1)));
    assert_eq!(reply.facts, [Fact::Interrupted { unit, fence, final_below: 6, suspect: None }]);
    let behind = only(&mut queue, &mut session);
    assert_eq!((behind.from, behind.until), (7, None));
    assert_eq!(session.tell(&mut queue, behind, End::Complete(ids(1))).state, State::Closed);
}

fn a_deadline_is_final_at_once<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let mut one = Session::new(1, 1);
    let lease = only(&mut queue, &mut one);
    let (unit, fence, suspect) = (lease.unit, lease.fence, Suspect::Test(9));
    let end = Partial { listing: Some(ids(1)), final_below: 9, suspect: Some(suspect), rest: false, cause: Cause::Deadline };
    let facts = one.die(&mut queue, lease, End::Partial(end));
    let crashed = Fact::Crashed { unit, fence, suspect, cause: Cause::Deadline };
    assert_eq!(facts[1..], [crashed, Fact::Finished { unit, fence }], "it was the last test");
    let mut queue = S::filled(plain(&[None]), policy());
    let mut one = Session::new(1, 1);
    let lease = only(&mut queue, &mut one);
    let beside = Partial { suspect: None, final_below: 0, ..end };
    assert_eq!(one.die(&mut queue, lease, End::Partial(beside)).len(), 1, "no suspect, no crash");
}

fn a_unit_that_cannot_be_loaded_is_given_up<S: Subject>() {
    let mut queue = S::filled(plain(&[None, None]), policy());
    let end = Partial { listing: None, final_below: 3, suspect: Some(Suspect::Loading), rest: true, cause: Cause::Test };
    let mut facts = Vec::new();
    for number in 1..=2 {
        let mut session = Session::new(1, number);
        let lease = only(&mut queue, &mut session);
        assert_eq!((lease.unit, lease.from, lease.suspect), (UnitId(0), 0, number == 2));
        facts = session.die(&mut queue, lease, End::Partial(end));
    }
    assert!(matches!(facts[1..], [Fact::Crashed { suspect: Suspect::Loading, .. }, Fact::GivenUp { unit: UnitId(0) }]), "{facts:?}");
    assert_eq!(only(&mut queue, &mut Session::new(1, 3)).unit, UnitId(1));
}

fn another_suspect_has_its_own_count_but_no_unit_stalls_for_ever<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let mut named = Vec::new();
    for (number, suspect) in (1..).zip([9, 8, 7, 6, 5, 4]) {
        let mut session = Session::new(1, number);
        let lease = only(&mut queue, &mut session);
        let facts = session.die(&mut queue, lease, lost(0, Suspect::Test(suspect)));
        named.extend(
            facts.into_iter().filter_map(|fact| if let Fact::Crashed { suspect, .. } = fact { Some((number, suspect)) } else { None }),
        );
    }
    assert_eq!(named, [(4, Suspect::Test(6))], "the fourth loss without any progress");
}

fn a_silent_session_gives_back_what_it_had_and_its_mark_is_the_suspect<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(100); 30]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let held = one.take(&mut queue, 3);
    let started = vec![Started { unit: held[1].unit, fence: held[1].fence, at: Suspect::Test(3) }];
    queue.step(1_000, &Step { started, ..one.next() }).unwrap();
    for now in [8_000, 15_000] {
        assert_eq!(queue.step(now, &two.next()).unwrap().facts, []);
    }
    assert_eq!(queue.next_expiry(), Some(21_000));
    let facts = queue.step(21_000, &two.next()).unwrap().facts;
    let interrupted = Fact::Interrupted { unit: held[1].unit, fence: held[1].fence, final_below: 0, suspect: Some(Suspect::Test(3)) };
    assert_eq!(facts, [Fact::SessionExpired { session: one.id }, interrupted]);
    assert_eq!(queue.step(21_001, &one.next()), Err(StepError::SessionOver(one.id)));
    let suspect = only(&mut queue, &mut two);
    assert_eq!((suspect.unit, suspect.suspect), (UnitId(1), true));
    let others = Session::new(1, 2).take(&mut queue, 2);
    assert_eq!(others.iter().map(|lease| (lease.unit.0, lease.suspect)).collect::<Vec<_>>(), [(0, false), (2, false)]);
}

fn without_marks_a_lost_sessions_units_go_alone_and_count_only_then<S: Subject>() {
    let mut queue = S::filled(plain(&[Some(100); 8]), Policy { max_losses: 1, lease_ms: 1_000, ..policy() });
    let mut one = Session::new(1, 1);
    assert_eq!(units(&one.take(&mut queue, 2)), [0, 1]);
    for now in [400, 800] {
        assert_eq!(queue.expire(now), []);
    }
    assert_eq!(queue.expire(1_000), [Fact::SessionExpired { session: one.id }]);
    let mut two = Session::new(1, 2);
    let alone = queue.step(1_000, &Step { want: 2, ..two.next() }).unwrap().leases;
    assert_eq!((units(&alone), alone[0].suspect), (vec![0], true));
    for now in [1_400, 1_800] {
        assert_eq!(queue.expire(now), []);
    }
    let facts = queue.expire(2_000);
    assert!(matches!(facts[2..], [Fact::Crashed { cause: Cause::Outside, .. }, Fact::GivenUp { unit: UnitId(0) }]), "{facts:?}");
}

fn when_nobody_was_heard_sessions_get_the_time_back_once<S: Subject>() {
    let mut queue = S::filled(plain(&[None, None]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    only(&mut queue, &mut one);
    only(&mut queue, &mut two);
    assert_eq!(queue.step(3_600_000, &two.next()).unwrap().facts, []);
    assert_eq!(queue.step(3_600_001, &one.next()).unwrap().facts, []);
    assert_eq!(queue.expire(7_200_000), []);
    let facts = queue.expire(7_220_000);
    assert_eq!(facts, [one.id, two.id].map(|session| Fact::SessionExpired { session }));
}

fn changed_ids_void_the_unit_and_it_runs_whole_from_then_on<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(1, 2));
    let first = only(&mut queue, &mut one);
    let unit = first.unit;
    one.die(&mut queue, first, lost(4, Suspect::Test(4)));
    let second = only(&mut queue, &mut two);
    let facts = two.tell(&mut queue, second, End::Complete(ids(2))).facts;
    assert_eq!(facts, [Fact::Superseded { unit, reason: Superseded::IdsChanged }]);
    let mut last = Vec::new();
    for (number, hash) in [(3, 3), (4, 4)] {
        let mut session = Session::new(1, number);
        let lease = only(&mut queue, &mut session);
        assert_eq!((lease.from, lease.until), (0, None));
        let end = Partial { listing: Some(ids(hash)), final_below: 5, suspect: Some(Suspect::Test(5)), rest: true, cause: Cause::Test };
        last = session.die(&mut queue, lease, End::Partial(end));
        let final_below = if number == 3 { 0 } else { 5 };
        assert_eq!(last[0], Fact::Interrupted { unit, fence: lease.fence, final_below, suspect: Some(Suspect::Test(5)) });
    }
    assert!(matches!(last[1..], [Fact::Crashed { suspect: Suspect::Test(5), .. }, Fact::GivenUp { .. }]), "{last:?}");
}

fn slices_that_disagree_are_void_and_the_fallback_runs<S: Subject>() {
    let mut queue = S::filled(sliced(), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let (first, second) = (only(&mut queue, &mut one), only(&mut queue, &mut two));
    one.tell(&mut queue, first, End::Complete(ids(1)));
    let other = Partial { listing: Some(ids(2)), final_below: 1, suspect: None, rest: true, cause: Cause::Outside };
    let facts = two.die(&mut queue, second, End::Partial(other));
    assert_eq!(facts, [0, 1].map(|unit| Fact::Superseded { unit: UnitId(unit), reason: Superseded::IdsChanged }));
    let fallback = only(&mut queue, &mut one);
    assert_eq!((fallback.unit, fallback.from), (UnitId(3), 0));
    assert_eq!(one.tell(&mut queue, fallback, End::Complete(ids(3))).remaining, Remaining { pending: 1, leased: 0 });
}

fn slices_that_agree_leave_the_fallback_asleep<S: Subject>() {
    let mut queue = S::filled(sliced(), policy());
    let mut one = Session::new(1, 1);
    for unit in 0..3 {
        let lease = only(&mut queue, &mut one);
        assert_eq!(lease.unit, UnitId(unit));
        one.tell(&mut queue, lease, End::Complete(ids(1)));
    }
    assert_eq!(queue.step(0, &one.next()).unwrap().state, State::Closed);
}

fn another_attempt_opens_the_queue_and_goes_rather_elsewhere<S: Subject>() {
    let mut queue = S::filled(plain(&[None, None, None]), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let (first, second) = (only(&mut queue, &mut one), only(&mut queue, &mut two));
    one.tell(&mut queue, first, End::Complete(ids(1)));
    assert_eq!(queue.retry(UnitId(0), one.id), UnitId(3));
    assert_eq!(only(&mut queue, &mut one).unit, UnitId(2), "what failed here waits while there is anything else");
    two.tell(&mut queue, second, End::Complete(ids(2)));
    let again = only(&mut queue, &mut two);
    assert_eq!((again.unit, again.from, again.until, again.suspect), (UnitId(3), 0, None, false), "before all that are ordinary");
    let failed = two.tell(&mut queue, again, End::Complete(ids(1)));
    assert_eq!(failed.facts, [Fact::Finished { unit: UnitId(3), fence: again.fence }]);
    queue.retry(UnitId(0), two.id);
    assert_eq!(two.take(&mut queue, 9).len(), 1, "nobody else is free");
    // A shard that waits for work is asked first, and one that is gone is not waited for.
    queue.retry(UnitId(0), one.id);
    let mut three = Session::new(3, 1);
    assert_eq!(three.take(&mut queue, 0), []);
    let third = Lease { unit: UnitId(2), fence: Fence(3), from: 0, until: None, suspect: false };
    one.tell(&mut queue, third, End::Complete(ids(3)));
    assert_eq!(one.take(&mut queue, 9), []);
    let close = Step { close: true, ..three.next() };
    queue.step(0, &close).unwrap();
    assert_eq!(units(&one.take(&mut queue, 9)), [5]);
}

fn another_attempt_that_is_lost_comes_back<S: Subject>() {
    let mut queue = S::filled(plain(&[None]), policy());
    let mut one = Session::new(1, 1);
    let lease = only(&mut queue, &mut one);
    assert_eq!(one.tell(&mut queue, lease, End::Complete(ids(1))).state, State::Closed);
    let unit = queue.retry(UnitId(0), one.id);
    let again = only(&mut queue, &mut one);
    let facts = one.die(&mut queue, again, lost(0, Suspect::Test(4)));
    assert_eq!(facts, [Fact::Interrupted { unit, fence: again.fence, final_below: 0, suspect: Some(Suspect::Test(4)) }]);
    let mut next = Session::new(1, 2);
    let third = only(&mut queue, &mut next);
    assert_eq!((third.unit, third.suspect), (unit, true));
    assert_eq!(next.tell(&mut queue, third, End::Complete(ids(1))).state, State::Closed);
}

fn units_go_to_sessions_of_their_suite_alone<S: Subject>() {
    let units = [0, 1, 0].map(|suite| QueueUnit { suite: SuiteId(suite), predicted_ms: Some(10_000), role: Role::Plain });
    let mut queue = S::filled(units.to_vec(), policy());
    let (mut one, mut two) = (Session::new(1, 1), Session::new(2, 1));
    let ask = |session: &mut Session, queue: &mut S| {
        let call = Step { suite: SuiteId(1), want: 9, ..session.next() };
        queue.step(0, &call).unwrap().leases
    };
    let held = ask(&mut two, &mut queue);
    assert_eq!(held.iter().map(|lease| lease.unit.0).collect::<Vec<_>>(), [1]);
    let call = Step {
        suite: SuiteId(1),
        want: 9,
        results: vec![UnitResult { unit: held[0].unit, fence: held[0].fence, end: End::Complete(ids(1)) }],
        ..two.next()
    };
    let reply = queue.step(0, &call).unwrap();
    assert_eq!((reply.leases, reply.state), (vec![], State::Open), "the others are not its business");
    let first = only(&mut queue, &mut one);
    assert_eq!((first.unit, first.fence), (UnitId(0), Fence(2)));
    // Another attempt is of the suite of what failed, and nobody of another suite is waited for.
    assert_eq!(queue.retry(UnitId(0), one.id), UnitId(3));
    assert_eq!(ask(&mut two, &mut queue), []);
    one.tell(&mut queue, first, End::Complete(ids(1)));
    assert_eq!(only(&mut queue, &mut one).unit, UnitId(2));
}

fn a_cancelled_queue_takes_results_and_gives_nothing<S: Subject>() {
    let mut queue = S::filled(plain(&[None, None]), policy());
    let mut one = Session::new(1, 1);
    let lease = only(&mut queue, &mut one);
    queue.cancel();
    let reply = one.tell(&mut queue, lease, End::Complete(ids(1)));
    assert_eq!(reply.facts, [Fact::Finished { unit: lease.unit, fence: Fence(1) }]);
    assert_eq!(queue.step(0, &Step { want: 9, ..one.next() }).unwrap(), Reply { facts: vec![], state: State::Cancelled, ..reply });
}

fn an_empty_queue_is_closed<S: Subject>() {
    let mut queue = S::filled(Vec::new(), policy());
    let mut one = Session::new(1, 1);
    assert_eq!(queue.step(0, &Step { want: 9, ..one.next() }).unwrap(), Reply { state: State::Closed, ..Reply::default() });
}

#[test]
fn slices_and_fallbacks_without_each_other_are_refused() {
    let of = |roles: &[Role]| {
        let units = roles.iter().map(|&role| QueueUnit { suite: SuiteId::default(), predicted_ms: None, role }).collect();
        Queue::new(EPOCH, units, policy()).err()
    };
    assert_eq!(of(&[Role::Slice(0), Role::Fallback(1)]), Some(QueueError::Unpaired(0)));
    assert_eq!(of(&[Role::Fallback(2)]), Some(QueueError::Unpaired(2)));
    assert_eq!(of(&[Role::Slice(2), Role::Fallback(2), Role::Fallback(2)]), Some(QueueError::Unpaired(2)));
    assert_eq!(of(&[Role::Slice(2), Role::Fallback(2), Role::Plain]), None);
}
