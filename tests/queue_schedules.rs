//! The queue under random schedules: the same ones each time, and others each time. `soak` runs as many as one likes.

use proptest::prelude::*;
use splitci_coordinator::queue::Queue;
use splitci_tests::schedules::{Stats, schedule, soak};

#[test]
fn known_schedules_break_nothing_and_reach_every_kind_of_trouble() {
    let stats = soak(1_500, 1).unwrap();
    let Stats { refused, repeated, overtaken, expired, interrupted, crashed, given_up, superseded, cancelled, retried, .. } = stats;
    let troubles = [refused, repeated, overtaken, expired, interrupted, crashed, given_up, superseded, cancelled, retried];
    assert!(troubles.iter().all(|&trouble| trouble > 10), "{stats:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fresh_schedules_break_nothing(seed: u64) {
        prop_assert_eq!(schedule::<Queue>(seed, &mut Stats::default()), Ok(()));
    }
}
