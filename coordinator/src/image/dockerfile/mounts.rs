//! The cache mounts of `RUN` steps that may travel between machines, and why the others stay.
//!
//! A mount is the same as another one for the builder if its id and its owner and mode are. What says so is kept as it is written, since it is written again for
//! the step that looks into the mount. In any doubt a mount stays where it is: one that is taken for another would bring the wrong files.

use super::Base;
use super::lines::Instruction;

/// A cache mount of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// Where the step has it, as it is written.
    pub target: String,
    /// Its own id, if it has one; else it goes by its target.
    pub id: Option<String>,
    /// What else makes it this mount, as it is written: `uid=`, `gid=`, `mode=`, `sharing=`.
    pub options: Vec<String>,
    /// The step, in one line.
    pub step: String,
    /// What the step's stage is built upon; nothing if that is nothing.
    pub base: Option<Base>,
}

impl CacheMount {
    /// What the builder knows it by, apart from the namespace.
    pub fn name(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.target)
    }

    /// Everything that makes it this mount.
    pub fn identity(&self) -> String {
        let shown = |option: &&String| !option.starts_with("sharing=");
        let options: Vec<_> = self.options.iter().filter(shown).map(String::as_str).collect();
        format!("{} {}", self.name(), options.join(","))
    }
}

/// The cache mounts of a step, and for each that stays, why.
pub(super) fn of_run(instruction: &Instruction) -> Vec<Result<CacheMount, String>> {
    let step = step(instruction);
    instruction.flags("mount").filter_map(|mount| of_mount(&mount.text, &step)).collect()
}

/// The step as the builder names it.
fn step(instruction: &Instruction) -> String {
    let mounts = instruction.flags("mount").map(|mount| format!("--mount={}", mount.text));
    mounts.chain(instruction.rest.split_whitespace().map(str::to_owned)).collect::<Vec<_>>().join(" ")
}

fn of_mount(mount: &str, step: &str) -> Option<Result<CacheMount, String>> {
    let mut found = CacheMount { target: String::new(), id: None, options: Vec::new(), step: step.to_owned(), base: None };
    let mut stays = None;
    let mut is_cache = false;
    for part in mount.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "type" => is_cache = value.eq_ignore_ascii_case("cache"),
            "target" | "dst" | "destination" => value.clone_into(&mut found.target),
            "id" => found.id = Some(value.to_owned()),
            "uid" | "gid" | "mode" | "sharing" => found.options.push(format!("{name}={value}")),
            "ro" | "readonly" | "rw" | "readwrite" => {}
            "from" => stays = Some("it begins with files of an image"),
            "source" | "src" => stays = Some("it is a part of something else"),
            _ => stays = Some("it has an option that is not known here"),
        }
    }
    if mount.contains('$') {
        // Engines differ in whether they fill a variable in here, and where it is not, the name with the dollar is the mount's.
        stays = Some("it is named by a variable");
    } else if !mount.chars().all(|character| character.is_ascii_alphanumeric() || "-_./=,:@+".contains(character))
        || found.target.is_empty()
    {
        stays = Some("its name is not plain");
    }
    found.options.sort();
    match stays {
        _ if !is_cache => None,
        Some(why) => Some(Err(format!("the build mount `{}` does not travel: {why}", found.name()))),
        None => Some(Ok(found)),
    }
}
