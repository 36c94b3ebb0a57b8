//! What an ignore file leaves, beside what this machine's docker client sends: the same cases each time, and others each time. `soak ignore` has more.

use std::time::{SystemTime, UNIX_EPOCH};

use splitci_tests::ignores::{check, soak};

#[test]
fn known_ignore_files_mean_what_they_mean_to_docker() {
    splitci_tests::engine::require();
    let same = soak(15, 1).expect("no difference");
    assert!(same >= 13, "both send the same in {same} of 15");
}

#[test]
fn fresh_ignore_files_mean_what_they_mean_to_docker() {
    splitci_tests::engine::require();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let seed = u64::try_from(now % u128::from(u64::MAX)).expect("in range");
    for seed in seed..seed + 10 {
        check(seed).expect("no difference");
    }
}
