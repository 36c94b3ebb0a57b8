//! Keys of images under random changes: the same ones each time, and others each time. `soak keys` and `soak copies` try as many as one likes.
#![expect(clippy::disallowed_methods, reason = "a test reports by panicking")]

use std::sync::Arc;

use splitci_coordinator::docker;
use splitci_tests::keys::{copies, mutations};

#[test]
fn another_input_is_another_key() {
    mutations(50_000, 1).expect("the same changes each time");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    mutations(50_000, seed).expect("others each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_hold_something_else_have_another_key() {
    splitci_tests::engine::require();
    let docker = Arc::new(docker::connect(None, &std::env::vars().collect()).await.expect("an engine"));
    let copied = Box::pin(copies(12, 1, &docker)).await.expect("no two that hold something else have the same key");
    assert!(copied.pairs >= 10, "{copied:?}");
}
