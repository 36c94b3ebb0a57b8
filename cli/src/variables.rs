//! Every environment variable that this program looks at, in one place. `main` reads the environment once; everybody else is handed the map.
//!
//! The keys of `splitci.toml` have variables too (`SPLITCI_RUN_SHARDS`): `config` knows those, and `HOME`, `XDG_STATE_HOME` and docker's own.

use std::collections::BTreeMap;

/// The environment, as read at the start.
pub(crate) type Env = BTreeMap<String, String>;

/// A directory with workers to use instead of the one inside: `splitci-worker-linux-<arch>`.
pub(crate) const WORKER_DIR: &str = "SPLITCI_WORKER_DIR";
/// Set to anything: no colour (no-color.org).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `0`: no colour.
pub(crate) const CLICOLOR: &str = "CLICOLOR";
/// Anything but `0`: colour even without a terminal.
pub(crate) const CLICOLOR_FORCE: &str = "CLICOLOR_FORCE";
/// `dumb`: neither colour nor live progress.
pub(crate) const TERM: &str = "TERM";
/// Where the report of a panic goes.
pub(crate) const TMPDIR: &str = "TMPDIR";

/// Whether a variable is there and not empty.
pub(crate) fn is_set(env: &Env, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.is_empty())
}
