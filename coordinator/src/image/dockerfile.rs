//! What a Dockerfile takes from outside of its context: images it starts or copies from, its frontend, files it fetches.
//!
//! Pure, and lenient: BuildKit reads the file for real and reports its faults. What cannot be known here (a name made of a variable without value, a file
//! fetched without checksum) is said, so that nobody relies on a key that does not see it. Only stages that the target needs count.

use std::collections::{BTreeMap, BTreeSet};

mod lines;
mod variables;

use lines::Instruction;

/// What a Dockerfile takes from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Images, by reference, with the platform that is asked for.
    pub images: BTreeSet<Base>,
    /// What a key cannot see, in words.
    pub unseen: Vec<String>,
    /// A step may find files of an earlier build in a cache mount.
    pub cache_mounts: bool,
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
    from: String,
    platform: Option<String>,
    copies: Vec<String>,
    fetches: Vec<String>,
    cache_mounts: bool,
}

/// Reads what a Dockerfile takes from outside.
pub fn outside(text: &[u8], choices: &Choices<'_>) -> Outside {
    let text = String::from_utf8_lossy(text);
    let (directives, instructions) = lines::read(&text);
    let mut outside = Outside::default();
    if let Some(syntax) = directives.get("syntax") {
        outside.images.insert(Base { reference: syntax.clone(), platform: None });
    }
    let stages = stages(&instructions, choices, &mut outside);
    let wanted = match choices.target {
        Some(target) => position(&stages, target),
        None => stages.len().checked_sub(1),
    };
    if let Some(last) = wanted {
        visit(&stages, last, &mut BTreeSet::new(), &mut outside);
    }
    outside
}

fn stages(instructions: &[Instruction], choices: &Choices<'_>, outside: &mut Outside) -> Vec<Stage> {
    let mut variables = variables::of_platform(choices.platform);
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions {
        match (instruction.keyword.as_str(), stages.last_mut()) {
            ("ARG", None) => variables::declare(&instruction.words, &choices.args, &mut variables),
            ("FROM", _) => stages.extend(stage(instruction, &variables, outside)),
            ("COPY" | "ADD", Some(stage)) => {
                stage.copies.extend(instruction.flag("from").map(str::to_owned));
                if instruction.keyword == "ADD" && instruction.flag("checksum").is_none() {
                    stage.fetches.extend(instruction.words.iter().filter(|word| is_remote(word)).cloned());
                }
            }
            ("RUN", Some(stage)) => {
                stage.copies.extend(instruction.flags("mount").filter_map(mount_from));
                stage.cache_mounts |= instruction.flags("mount").any(may_be_cache);
            }
            _ => {}
        }
    }
    stages
}

fn stage(instruction: &Instruction, variables: &BTreeMap<String, String>, outside: &mut Outside) -> Option<Stage> {
    let written = instruction.words.first()?;
    let Some(from) = variables::expand(written, variables).filter(|name| !name.is_empty()) else {
        outside.unseen.push(format!("the base image `{written}` has a variable without a value"));
        return Some(Stage { from: "scratch".to_owned(), name: instruction.stage_name(), ..Stage::default() });
    };
    let platform = instruction.flag("platform").and_then(|written| variables::expand(written, variables));
    Some(Stage { name: instruction.stage_name(), from, platform, ..Stage::default() })
}

/// The stage of this name or number.
fn position(stages: &[Stage], name: &str) -> Option<usize> {
    let named = |stage: &Stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
    stages.iter().rposition(named).or_else(|| name.parse().ok().filter(|number| *number < stages.len()))
}

fn visit(stages: &[Stage], at: usize, seen: &mut BTreeSet<usize>, outside: &mut Outside) {
    if !seen.insert(at) {
        return;
    }
    let stage = &stages[at];
    outside.cache_mounts |= stage.cache_mounts;
    match position(&stages[..at], &stage.from) {
        // A number names a stage in COPY, never in FROM.
        Some(earlier) if stage.from.parse::<usize>().is_err() => visit(stages, earlier, seen, outside),
        _ => take_image(&stage.from, stage.platform.clone(), outside),
    }
    for copy in &stage.copies {
        match position(&stages[..at], copy) {
            Some(earlier) => visit(stages, earlier, seen, outside),
            None => take_image(copy, None, outside),
        }
    }
    for fetch in &stage.fetches {
        outside.unseen.push(format!("`ADD {fetch}` fetches something that has no checksum"));
    }
}

fn take_image(reference: &str, platform: Option<String>, outside: &mut Outside) {
    if reference.contains('$') {
        outside.unseen.push(format!("the image `{reference}` has a variable without a value"));
    } else if reference != "scratch" {
        outside.images.insert(Base { reference: reference.to_owned(), platform });
    }
}

fn mount_from(mount: &str) -> Option<String> {
    mount.split(',').find_map(|part| part.strip_prefix("from=")).map(str::to_owned)
}

/// Whether a mount may be a cache mount: one too many does no harm.
fn may_be_cache(mount: &str) -> bool {
    mount.contains('$') || mount.to_ascii_lowercase().contains("cache")
}

fn is_remote(word: &str) -> bool {
    ["http://", "https://", "git@", "git://", "ssh://"].iter().any(|scheme| word.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, target: Option<&str>, args: &[(&str, &str)]) -> Outside {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        outside(text.as_bytes(), &Choices { target, args, platform: "linux/arm64/v8" })
    }

    fn images(outside: &Outside) -> Vec<&str> {
        outside.images.iter().map(|base| base.reference.as_str()).collect()
    }

    #[test]
    fn only_what_the_target_needs_counts() {
        let text = "FROM a AS one\nFROM b as two\nCOPY --from=ONE /x /x\nFROM c\nRUN --mount=type=bind,from=d,target=/d --mount=type=cache,target=/c x";
        assert_eq!(images(&read(text, None, &[])), ["c", "d"]);
        assert_eq!(images(&read(text, Some("two"), &[])), ["a", "b"]);
        assert_eq!(images(&read(text, Some("0"), &[])), ["a"]);
        assert_eq!(images(&read("FROM a\nFROM b\nCOPY --from=0 / /", None, &[])), ["a", "b"]);
    }

    #[test]
    fn variables_are_filled_in_as_the_builder_does() {
        let text = "ARG TAG=3.11\nARG BASE=python:${TAG}-slim\nFROM --platform=$TARGETPLATFORM ${BASE} AS x\nFROM x";
        let found = read(text, None, &[("TAG", "3.12")]);
        assert_eq!(images(&found), ["python:3.12-slim"]);
        assert_eq!(found.images.first().and_then(|base| base.platform.as_deref()), Some("linux/arm64/v8"));
        assert_eq!(images(&read("FROM ${X:-a}:${TARGETARCH}${TARGETVARIANT:+.v}", None, &[])), ["a:arm64.v"]);
        let unknown = read("FROM $NOPE", None, &[]);
        assert!(unknown.images.is_empty() && unknown.unseen.len() == 1);
    }

    #[test]
    fn a_cache_mount_is_seen_where_the_target_needs_it() {
        let text = "FROM a AS one\nRUN --mount=target=/c,Type=Cache x\nFROM a AS two\nRUN --mount=type=bind,target=/c x\nFROM one AS three\nRUN --mount=type=$T,target=/t x";
        assert!(read(text, Some("one"), &[]).cache_mounts && read(text, Some("three"), &[]).cache_mounts);
        assert!(!read(text, Some("two"), &[]).cache_mounts);
        assert!(read("FROM a\nRUN --mount=type=$T,target=/t x", None, &[]).cache_mounts);
    }

    #[test]
    fn directives_and_continuations_are_understood() {
        let text = "# syntax = docker/dockerfile:1\n# escape=`\nFROM `\n# a comment\n  a:1 `\n  AS x\nRUN <<EOF\nFROM not/this\nEOF\nCOPY <<-'E' /f\n\tFROM nor/this\n\tE\nFROM x";
        assert_eq!(images(&read(text, None, &[])), ["a:1", "docker/dockerfile:1"]);
        assert_eq!(images(&read("FROM a\n# syntax=late", None, &[])), ["a"], "a directive comes first");
    }

    #[test]
    fn what_is_fetched_without_checksum_is_said() {
        let text = "FROM scratch\nADD https://x/y /\nADD --checksum=sha256:00 https://x/z /\nADD a /";
        let found = read(text, None, &[]);
        assert!(found.images.is_empty());
        assert_eq!(found.unseen, ["`ADD https://x/y` fetches something that has no checksum"]);
    }

    #[test]
    fn nonsense_is_left_to_the_builder() {
        assert_eq!(read("", None, &[]), Outside::default());
        assert_eq!(read("FROM\nRUN\n\\", Some("none"), &[]), Outside::default());
    }
}
