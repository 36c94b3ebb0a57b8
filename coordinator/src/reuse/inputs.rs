//! What a key of results was made of, as names and values that people know, so that a miss can be explained.
//!
//! Kept beside the results, one for each suite of a project: those of the last run. Values that nobody is to know come in as codes and are never shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::key::KeyInputs;

/// Longer values say nothing at a glance.
const LONGEST_SHOWN: usize = 60;

/// Names and values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Those of a key.
    pub fn of(key: &KeyInputs) -> Self {
        let mut all = BTreeMap::new();
        let mut set = |name: String, value: String| drop(all.insert(name, value));
        let image = &key.image;
        set("the image's platform".into(), image.platform.clone());
        set("the image's layers".into(), image.layers.join(" "));
        for row in &image.env {
            let (name, value) = row.split_once('=').unwrap_or((row, ""));
            set(format!("the image's variable {name}"), value.to_owned());
        }
        let entry = &image.entry;
        let lists = [("entrypoint", &entry.entrypoint), ("command", &image.command), ("shell", &image.shell), ("volumes", &image.volumes)];
        for (name, words) in lists {
            set(format!("the image's {name}"), words.join(" "));
        }
        set("the image's user".into(), entry.user.clone().unwrap_or_default());
        set("the image's directory".into(), entry.workdir.clone().unwrap_or_default());
        let launch = &key.launch;
        set("the test command".into(), launch.argv.join(" "));
        set("its directory".into(), launch.cwd.clone().unwrap_or_default());
        for (name, value) in launch.env.iter().chain(&key.proxies) {
            set(format!("variable {name}"), value.clone());
        }
        let driver = format!("{:?} {:?} {:?} {:?}", launch.files, launch.env_prepend, launch.env_remove, launch.dump_signal);
        set("splitci's driver".into(), code(driver.as_bytes()));
        set("splitci's worker".into(), code(&key.worker));
        for (section, settings) in [("suite", serde_json::to_value(&key.suite)), ("shard", serde_json::to_value(&key.container))] {
            for (name, value) in settings.iter().filter_map(serde_json::Value::as_object).flatten() {
                set(format!("`{section}.{name}`"), value.to_string());
            }
        }
        set("the longest time of a test, in milliseconds".into(), key.test_ms.to_string());
        set("the engine".into(), key.engine.join(" "));
        set("the seed".into(), key.seed.map(|seed| seed.to_string()).unwrap_or_default());
        set("`cache.epoch`".into(), key.epoch.clone().unwrap_or_default());
        Self(all)
    }

    /// How these differ from earlier ones, a sentence each.
    pub fn differences(&self, earlier: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(earlier.0.keys()).collect();
        let sentence = |name: &String| match (earlier.0.get(name), self.0.get(name)) {
            (Some(then), Some(now)) if then == now => None,
            (Some(then), Some(now)) if name == "the image's layers" => Some(layers(then, now)),
            (Some(then), Some(now)) => Some(match (shown(then), shown(now)) {
                (Some(then), Some(now)) => format!("{name} was {then} and is {now}"),
                _ => format!("{name} is another one"),
            }),
            (Some(_), None) => Some(format!("{name} is gone")),
            (None, _) => Some(format!("{name} is new")),
        };
        names.into_iter().filter_map(sentence).collect()
    }
}

fn layers(then: &str, now: &str) -> String {
    let (then, now): (Vec<_>, Vec<_>) = (then.split(' ').collect(), now.split(' ').collect());
    let same = then.iter().zip(&now).take_while(|(then, now)| then == now).count();
    format!("the image's content is another one from layer {} of {} on: `splitci cache why` says what changed", same + 1, now.len())
}

fn shown(value: &str) -> Option<String> {
    let plain = value.len() <= LONGEST_SHOWN && !value.starts_with("mac:") && !value.starts_with("code:");
    plain.then(|| if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") })
}

fn code(bytes: &[u8]) -> String {
    format!("code:{}", &blake3::hash(bytes).to_hex()[..16])
}
