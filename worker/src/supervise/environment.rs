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
                // Prepended to twice, the first old value is the one to restore; of one that was added there is none.
                if !added.contains(&name.as_str()) {
                    env.entry(format!("SPLITCI_SAVED_{name}").into()).or_insert(old);
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Limits;

    fn composed(base: &[(&str, &str)], change: impl FnOnce(&mut Start)) -> BTreeMap<String, String> {
        let limits = Limits { boot_ms: 0, test_ms: 0, finish_ms: 0, grace_ms: 0, test_output: 0, session_output: 0 };
        let (argv, env, env_remove) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = Start {
            session: 1,
            argv,
            cwd: None,
            env,
            env_prepend: Vec::new(),
            env_remove,
            files: Vec::new(),
            dump_signal: None,
            limits,
            terminal: None,
        };
        change(&mut start);
        let base = base.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let text = |text: OsString| text.into_string().expect("text");
        let composed = compose(&base, &start, Path::new("/r/s1"));
        composed.into_iter().map(|(name, value)| (text(name), text(value))).filter(|(name, _)| !name.ends_with("_SOCKET")).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        all.insert("SPLITCI_DRIVER_SLOT".into(), "/r/s1/slot".into());
        all
    }

    #[test]
    fn an_outer_runs_variables_are_not_inherited() {
        let outer =
            [("A", "1"), ("SPLITCI_RUN_DIR", "/x"), ("SPLITCI_SILENCE_MS", "9"), ("SPLITCI_SAVED_A", "0"), ("SPLITCI_DRIVER_SLOT", "/o")];
        assert_eq!(composed(&outer, |_| ()), pairs(&[("A", "1")]));
    }

    #[test]
    fn a_prepended_variable_keeps_its_old_value_for_the_driver() {
        let got = composed(&[("A", "old"), ("E", "")], |start| {
            start.env_prepend = ["A", "E", "N"].map(|name| (name.into(), "{run}/p".into(), ":".into())).to_vec();
        });
        let saved = [("SPLITCI_SAVED_A", "old"), ("SPLITCI_SAVED_E", ""), ("SPLITCI_DRIVER_ADDED", "N")];
        let set = [("A", "/r/s1/p:old"), ("E", "/r/s1/p"), ("N", "/r/s1/p")];
        assert_eq!(got, pairs(&[saved, set].concat()));
    }

    #[test]
    fn a_variable_prepended_to_twice_restores_its_first_value() {
        let got = composed(&[], |start| {
            start.env = vec![("A".into(), "first".into())];
            start.env_prepend = ["1", "2"].map(|value| ("A".into(), value.into(), " ".into())).to_vec();
        });
        assert_eq!(got, pairs(&[("A", "2 1 first"), ("SPLITCI_SAVED_A", "first")]));
    }

    #[test]
    fn removals_come_before_settings() {
        let got = composed(&[("A", "1"), ("B", "1")], |start| {
            start.env_remove = vec!["A".into(), "B".into()];
            start.env = vec![("B".into(), "{run}:{run}".into())];
        });
        assert_eq!(got, pairs(&[("B", "/r/s1:/r/s1")]));
    }
}
