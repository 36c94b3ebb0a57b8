//! What a Dockerfile takes from outside: images it starts or copies from, its frontend, files it fetches, and which files of its context.
//!
//! Pure, and lenient: BuildKit reads the file for real and reports its faults. What cannot be known here (a name made of a variable without value, a file
//! fetched without checksum) is said, so that nobody relies on a key that does not see it. Only stages that the target needs count.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

mod copies;
mod lines;
mod mounts;
mod reach;
#[cfg(test)]
mod tests;
mod variables;

pub use copies::{WholeCopy, copied_from};
use lines::{Instruction, Word};
pub use mounts::CacheMount;
pub use reach::{Reach, is_at_or_below};

/// What a Dockerfile takes from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Images, by reference, with the platform that is asked for.
    pub images: BTreeSet<Base>,
    /// What a key cannot see, in words.
    pub unseen: Vec<String>,
    /// A step may find files of an earlier build in a cache mount.
    pub cache_mounts: bool,
    /// Cache mounts that may travel, and why each of the others does not.
    pub mounts: Vec<Result<CacheMount, String>>,
    /// What the build can reach of its context.
    pub reach: Reach,
    /// Copies of whole directories.
    pub copies: Vec<WholeCopy>,
    /// What it can reach without these.
    pub beside: Reach,
    /// Where in the file each image is named.
    mentions: Vec<(Base, Range<usize>)>,
}

/// An image that is built upon or copied from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Base {
    /// As it is written, variables filled in.
    pub reference: String,
    /// Its own platform, if it asks for one.
    pub platform: Option<String>,
}

impl Base {
    /// Whether the reference pins the content.
    pub fn digest(&self) -> Option<&str> {
        self.reference.split_once('@').map(|(_, digest)| digest)
    }
}

/// What the caller decides about a build.
#[derive(Debug, Clone, Default)]
pub struct Choices<'a> {
    /// Stage that is built; the last one when absent.
    pub target: Option<&'a str>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Platform that is built for, and where.
    pub platform: &'a str,
}

#[derive(Debug, Default)]
struct Stage {
    name: Option<String>,
    from: Word,
    platform: Option<String>,
    copies: Vec<Word>,
    fetches: Vec<String>,
    cache_mounts: bool,
    mounts: Vec<Result<CacheMount, String>>,
    whole: Vec<WholeCopy>,
    /// Without those.
    reach: Reach,
}

/// Reads what a Dockerfile takes from outside.
pub fn outside(text: &[u8], choices: &Choices<'_>) -> Outside {
    let text = readable(text);
    let (directives, instructions) = lines::read(&text);
    let mut outside = Outside { reach: Reach::nothing(), beside: Reach::nothing(), ..Outside::default() };
    if let Some(syntax) = directives.get("syntax") {
        let reference = syntax.text.split_whitespace().next().unwrap_or_default();
        let place = syntax.place.as_ref().map(|place| place.start..place.start + reference.len());
        outside.take(&Word { text: reference.to_owned(), place }, None);
        if !is_docker_frontend(reference) {
            outside.may_reach_everything();
        }
    }
    let stages = stages(&instructions, choices, &mut outside);
    let wanted = match choices.target {
        Some(target) => position(&stages, target),
        None => stages.len().checked_sub(1),
    };
    match wanted {
        Some(last) => visit(&stages, last, &mut BTreeSet::new(), &mut outside),
        None => outside.may_reach_everything(),
    }
    outside
}

/// A text whose bytes are where they were, with a question mark for each that is no text.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// The Dockerfile as the builder sees it, with other names for these images. Every line keeps its number, and what stands before a name its column.
pub fn renamed(text: &[u8], outside: &Outside, names: &BTreeMap<Base, String>) -> Vec<u8> {
    let mut mentions: Vec<_> = outside.mentions.iter().filter_map(|(base, place)| Some((place, names.get(base)?))).collect();
    mentions.sort_by_key(|(place, _)| place.start);
    mentions.dedup_by_key(|(place, _)| place.start);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for (place, name) in mentions {
        out.extend_from_slice(&text[at..place.start]);
        out.extend_from_slice(name.as_bytes());
        at = place.end;
    }
    out.extend_from_slice(&text[at..]);
    out
}

/// The frontend whose language this is, whatever its version.
fn is_docker_frontend(reference: &str) -> bool {
    let name = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let name = name.split(['@', ':']).next().unwrap_or_default();
    ["docker/dockerfile", "docker/dockerfile-upstream"].contains(&name)
}

fn stages(instructions: &[Instruction], choices: &Choices<'_>, outside: &mut Outside) -> Vec<Stage> {
    let mut variables = variables::of_platform(choices.platform);
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions {
        match (instruction.keyword.as_str(), stages.last_mut()) {
            ("ARG", None) => {
                variables::declare(instruction.words.iter().map(|word| word.text.as_str()), &choices.args, &mut variables);
            }
            ("FROM", _) => stages.extend(stage(instruction, &variables, outside)),
            ("COPY" | "ADD", Some(stage)) => {
                stage.copies.extend(instruction.flag("from").cloned());
                if instruction.keyword == "ADD" && instruction.flag("checksum").is_none() {
                    stage.fetches.extend(reach::sources(instruction).into_iter().filter(|source| is_remote(source)));
                }
                match copies::whole(instruction) {
                    Some(copy) => stage.whole.push(copy),
                    None => stage.reach.add(reach::of_copy(instruction)),
                }
            }
            ("RUN", Some(stage)) => {
                stage.copies.extend(instruction.flags("mount").filter_map(mount_from));
                stage.mounts.extend(mounts::of_run(instruction));
                stage.cache_mounts |= instruction.flags("mount").any(|mount| may_be_cache(&mount.text));
                instruction.flags("mount").for_each(|mount| stage.reach.add(reach::of_mount(&mount.text)));
            }
            // What it triggers is another stage's.
            ("ONBUILD", Some(_)) => outside.may_reach_everything(),
            (keyword, Some(stage)) if !HARMLESS.contains(&keyword) => stage.reach = Reach::Everything,
            _ => {}
        }
    }
    stages
}

/// Instructions that take nothing from the context.
const HARMLESS: &[&str] = &[
    "ARG",
    "ENV",
    "CMD",
    "LABEL",
    "MAINTAINER",
    "EXPOSE",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

fn stage(instruction: &Instruction, variables: &BTreeMap<String, String>, outside: &mut Outside) -> Option<Stage> {
    let written = instruction.words.first()?;
    let (name, reach) = (instruction.stage_name(), Reach::nothing());
    let Some(from) = variables::expand(&written.text, variables).filter(|name| !name.is_empty()) else {
        outside.unseen.push(format!("the base image `{}` has a variable without a value", written.text));
        return Some(Stage { from: Word { text: "scratch".to_owned(), place: None }, name, reach, ..Stage::default() });
    };
    let platform = instruction.flag("platform").and_then(|written| variables::expand(&written.text, variables));
    Some(Stage { name, from: Word { text: from, place: written.place.clone() }, platform, reach, ..Stage::default() })
}

/// The stage of this name or number.
fn position(stages: &[Stage], name: &str) -> Option<usize> {
    let named = |stage: &Stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
    stages.iter().rposition(named).or_else(|| name.parse().ok().filter(|number| *number < stages.len()))
}

/// What a stage is built upon in the end; nothing if that is nothing.
fn root(stages: &[Stage], at: usize) -> Option<Base> {
    let Stage { from, platform, .. } = &stages[at];
    match position(&stages[..at], &from.text) {
        Some(earlier) if from.text.parse::<usize>().is_err() => root(stages, earlier),
        _ if from.text == "scratch" => None,
        _ => Some(Base { reference: from.text.clone(), platform: platform.clone() }),
    }
}

fn visit(stages: &[Stage], at: usize, seen: &mut BTreeSet<usize>, outside: &mut Outside) {
    if !seen.insert(at) {
        return;
    }
    let stage = &stages[at];
    outside.cache_mounts |= stage.cache_mounts;
    let base = root(stages, at);
    outside.mounts.extend(stage.mounts.iter().cloned().map(|mount| mount.map(|mount| CacheMount { base: base.clone(), ..mount })));
    outside.beside.add(stage.reach.clone());
    outside.reach.add(stage.reach.clone());
    stage.whole.iter().for_each(|copy| outside.reach.add(copy.reach()));
    outside.copies.extend(stage.whole.iter().cloned());
    match position(&stages[..at], &stage.from.text) {
        // A number names a stage in COPY, never in FROM.
        Some(earlier) if stage.from.text.parse::<usize>().is_err() => visit(stages, earlier, seen, outside),
        _ => outside.take(&stage.from, stage.platform.clone()),
    }
    for copy in &stage.copies {
        match position(&stages[..at], &copy.text) {
            Some(earlier) => visit(stages, earlier, seen, outside),
            None => outside.take(copy, None),
        }
    }
    for fetch in &stage.fetches {
        outside.unseen.push(format!("`ADD {fetch}` fetches something that has no checksum"));
    }
}

impl Outside {
    fn may_reach_everything(&mut self) {
        (self.reach, self.beside) = (Reach::Everything, Reach::Everything);
    }

    /// Takes an image, by what is written and what that comes to.
    fn take(&mut self, word: &Word, platform: Option<String>) {
        let reference = word.text.clone();
        if reference.contains('$') {
            self.unseen.push(format!("the image `{reference}` has a variable without a value"));
        } else if reference != "scratch" && !reference.is_empty() {
            let base = Base { reference, platform };
            match &word.place {
                Some(place) => self.mentions.push((base.clone(), place.clone())),
                None if base.digest().is_none() => {
                    self.unseen
                        .push(format!("the name of the image `{}` goes over the end of a line, and cannot be pinned", base.reference));
                }
                None => {}
            }
            self.images.insert(base);
        }
    }
}

/// The image or stage that is mounted from.
fn mount_from(mount: &Word) -> Option<Word> {
    let mut at = 0;
    for part in mount.text.split(',') {
        if let Some(from) = part.strip_prefix("from=") {
            let begin = at + part.len() - from.len();
            let place = mount.place.as_ref().map(|place| place.start + begin..place.start + begin + from.len());
            return Some(Word { text: from.to_owned(), place });
        }
        at += part.len() + 1;
    }
    None
}

/// Whether a mount may be a cache mount: one too many does no harm.
fn may_be_cache(mount: &str) -> bool {
    mount.contains('$') || mount.to_ascii_lowercase().contains("cache")
}

/// Whether what is added is fetched, and not said to be exactly one thing. Where it begins with a variable it may be anything.
fn is_remote(source: &str) -> bool {
    let fetched = ["http://", "https://", "git@", "git://", "ssh://", "github.com/", "$"].iter().any(|scheme| source.starts_with(scheme));
    let commit = source.rsplit_once('#').map(|(_, commit)| commit);
    let is_whole = |commit: &str| commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    fetched && !commit.is_some_and(is_whole)
}
