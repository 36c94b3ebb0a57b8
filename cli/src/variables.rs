//! Every environment variable that this program looks at, in one place. `main` reads the environment once; everybody else is handed the map.
//!
//! The keys of `splitci.toml` have variables too (`SPLITCI_RUN_SHARDS`): `config` knows those, and `HOME`, `XDG_STATE_HOME` and docker's own.

use std::collections::BTreeMap;

/// The environment, as read at the start.
pub(crate) type Env = BTreeMap<String, String>;

/// A directory with workers to use instead of the one inside: `splitci-worker-linux-<arch>`.
pub(crate) const WORKER_DIR: &str = "SPLITCI_WORKER_DIR";
/// What the private key is encrypted with. The key itself is the variable of `trust.key`: `SPLITCI_KEY`.
pub(crate) const KEY_PASSPHRASE: &str = "SPLITCI_KEY_PASSPHRASE";
/// A file of policies, instead of the protected ref in git.
pub(crate) const POLICY: &str = "SPLITCI_POLICY";
/// Who is at work, for locks and journals.
pub(crate) const USER: &str = "USER";
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
/// `true` in GitHub Actions.
pub(crate) const GITHUB_ACTIONS: &str = "GITHUB_ACTIONS";
/// The file that GitHub shows beside a job.
pub(crate) const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";
/// Where GitHub has checked the repository out.
pub(crate) const GITHUB_WORKSPACE: &str = "GITHUB_WORKSPACE";
/// `true` in GitLab CI.
pub(crate) const GITLAB_CI: &str = "GITLAB_CI";
/// Where GitLab has checked the repository out.
pub(crate) const CI_PROJECT_DIR: &str = "CI_PROJECT_DIR";
/// `true` in Buildkite.
pub(crate) const BUILDKITE: &str = "BUILDKITE";
/// Where Buildkite has checked the repository out.
pub(crate) const BUILDKITE_CHECKOUT: &str = "BUILDKITE_BUILD_CHECKOUT_PATH";

/// Whether a variable is there and not empty.
pub(crate) fn is_set(env: &Env, name: &str) -> bool {
    env.get(name).is_some_and(|value| !value.is_empty())
}
