//! What all tests of Docker stand on: a connection to the engine of this machine, and names that nobody else has.

use std::collections::BTreeMap;
use std::sync::Arc;

use splitci_coordinator::docker::{self, Docker};

/// Connects to the engine of this machine, as the environment says.
pub(crate) async fn connect() -> Arc<Docker> {
    splitci_tests::engine::require();
    Arc::new(docker::connect(None, &environment()).await.expect("an engine"))
}

/// The environment as the coordinator gets it.
#[expect(clippy::disallowed_methods, reason = "a test program has to start somewhere")]
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

/// A name that no other test has.
pub(crate) fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}-{name}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
