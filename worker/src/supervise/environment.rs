//! The framework's environment, out of the worker's own and the agent's order. Pure.
//!
//! Own variables of splitci are taken away first, so that a splitci run inside a test does not inherit the outer run's driver; then the agent's
//! removals, settings and prependings are applied in that order. A prepended variable's old value is handed on for the driver to restore.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::protocol::message::Start;

/// A process's environment.
pub(super) type Environment = BTreeMap<OsString, OsString>;

const OWN: [&str; 2] = ["SPLITCI_RUN_DIR", "SPLITCI_SILENCE_MS"];
const OWN_PREFIXES: [&str; 2] = ["SPLITCI_DRIVER_", "SPLITCI_SAVED_"];

/// Composes the environment of a session whose files are in `run`.
pub(super) fn compose(base: &Environment, start: &Start, run: &Path) -> Environment {
    let mut env: Environment = base.iter().filter(|(name, _)| !is_own(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    for name in &start.env_remove {
        env.remove(name.as_ref() as &std::ffi::OsStr);
    }
    for (name, value) in &start.env {
        env.insert(name.into(), expand(value, run));
    }
    let mut added = Vec::new();
    for (name, value, separator) in &start.env_prepend {
        let mut joined = expand(value, run);
        match env.remove(name.as_ref() as &std::ffi::OsStr) {
            Some(old) => {
                if !old.is_empty() {
                    joined.push(separator);
                    joined.push(&old);
                }
                // Prepended to twice, the first old value is the one to restore.
                env.entry(format!("SPLITCI_SAVED_{name}").into()).or_insert(old);
            }
            None => added.push(name.as_str()),
        }
        env.insert(name.into(), joined);
    }
    if !added.is_empty() {
        env.insert("SPLITCI_DRIVER_ADDED".into(), added.join(",").into());
    }
    env.insert("SPLITCI_DRIVER_SOCKET".into(), run.join(super::place::SOCKET).into());
    env.insert("SPLITCI_DRIVER_SLOT".into(), run.join(super::place::SLOT).into());
    env
}

fn is_own(name: &std::ffi::OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    OWN.iter().any(|own| bytes == own.as_bytes()) || OWN_PREFIXES.iter().any(|prefix| bytes.starts_with(prefix.as_bytes()))
}

fn expand(value: &str, run: &Path) -> OsString {
    let mut expanded = OsString::new();
    for (n, piece) in value.split("{run}").enumerate() {
        if n > 0 {
            expanded.push(run);
        }
        expanded.push(piece);
    }
    expanded
}
