//! Why an image is built and not reused: what its key is made of beside what earlier keys were made of, in words. And what about the inputs themselves
//! makes reuse unlikely.
//!
//! Nothing here looks at anything but its arguments. Values that look secret come in as codes (see `kept`), and are not shown even so.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::context::in_order;
use super::dockerfile::Reach;
use super::kept::{Kept, looks_secret};
use super::key::{ContextItem, ItemContent, KeyInputs};

/// Paths that are named of each kind of change.
const NAMED: usize = 3;
/// So many builds show whether something changes in every one.
const SHOWS: usize = 3;
/// Directories of a context that are named as never copied.
const DIRECTORIES: usize = 5;

/// What differs between the inputs of an earlier key and those of another, a sentence each, what says most first.
pub fn differences(then: &KeyInputs, now: &KeyInputs) -> Vec<String> {
    let mut said = Vec::new();
    let mut differs = |what: &str, then: String, now: String| {
        if then != now {
            said.push(format!("{what} is {now} (was {then})"));
        }
    };
    differs("the platform", then.platform.clone(), now.platform.clone());
    differs("the engine's version", then.engine_line.clone(), now.engine_line.clone());
    differs("the engine's kind of image store", store(then).to_owned(), store(now).to_owned());
    differs("`cache.epoch`", optional(then.epoch.as_ref()), optional(now.epoch.as_ref()));
    if then.age != now.age {
        said.push("images of that age are too old (`cache.max_age`)".to_owned());
    }
    said.extend(bases(&then.bases, &now.bases));
    said.extend(arguments(&then.args, &now.args));
    if then.dockerfile.text != now.dockerfile.text {
        let name = String::from_utf8_lossy(&now.dockerfile.name).into_owned();
        said.push(match first_line(&then.dockerfile.text, &now.dockerfile.text) {
            Some(line) => format!("`{name}` changed, from line {line} on"),
            None => format!("`{name}` changed"),
        });
    } else if then.dockerfile.name != now.dockerfile.name {
        said.push("the Dockerfile has another name".to_owned());
    }
    if then.ignore != now.ignore {
        let name = now.ignore.as_ref().or(then.ignore.as_ref()).map(|file| String::from_utf8_lossy(&file.name).into_owned());
        said.push(format!("`{}` changed", name.unwrap_or_default()));
    }
    said.extend(files(&then.context, &now.context));
    said.extend(rest(then, now));
    said
}

/// How much differs, for finding the nearest.
fn distance(then: &KeyInputs, now: &KeyInputs) -> usize {
    let changed = changes(&then.context, &now.context);
    differences(then, now).len() + changed.contents.len() + changed.new.len() + changed.gone.len() + changed.modes.len()
}

/// The one that differs least; of several the first.
pub fn nearest<'a>(now: &KeyInputs, all: impl IntoIterator<Item = &'a Kept>) -> Option<&'a Kept> {
    all.into_iter().min_by_key(|kept| distance(&kept.inputs, now))
}

fn store(inputs: &KeyInputs) -> &'static str {
    if inputs.containerd_store { "containerd's" } else { "its own" }
}

fn optional(text: Option<&String>) -> String {
    text.map_or_else(|| "not set".to_owned(), |text| format!("`{text}`"))
}

fn rest(then: &KeyInputs, now: &KeyInputs) -> Vec<String> {
    let rows = [
        (then.target != now.target, "the target stage differs"),
        (then.labels != now.labels, "labels differ"),
        (then.network != now.network, "the network of `RUN` steps differs"),
        (then.add_hosts != now.add_hosts, "extra hosts differ (`shard.add_host`)"),
        (then.shm_size != now.shm_size, "the size of /dev/shm differs (`shard.shm_size`)"),
        (then.secrets != now.secrets, "ids of secrets differ"),
        (then.ssh != now.ssh, "ids of SSH agents differ"),
    ];
    rows.into_iter().filter(|(differs, _)| *differs).map(|(_, text)| text.to_owned()).collect()
}

fn bases(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let name = |name: &str| name.trim_end().replace(' ', " for ");
    let mut said = Vec::new();
    for (base, id) in now {
        match then.get(base) {
            Some(before) if before == id => {}
            Some(before) => said.push(format!("base `{}` is now {} (was {})", name(base), short(id), short(before))),
            None => said.push(format!("base `{}` is new", name(base))),
        }
    }
    said.extend(then.keys().filter(|base| !now.contains_key(*base)).map(|base| format!("base `{}` is gone", name(base))));
    said
}

/// As much of a digest as people compare.
fn short(id: &str) -> String {
    match id.split_once(':') {
        Some((kind, hex)) => format!("{kind}:{}", hex.get(..12).unwrap_or(hex)),
        None if id.is_empty() => "not there".to_owned(),
        None => id.to_owned(),
    }
}

fn arguments(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let mut said = Vec::new();
    for name in names {
        match (then.get(name), now.get(name)) {
            (Some(before), Some(after)) if before == after => {}
            (Some(_), Some(_)) if looks_secret(name) => said.push(format!("build argument `{name}` differs; its value is not shown")),
            (Some(before), Some(after)) => said.push(format!("build argument `{name}` is `{after}` (was `{before}`)")),
            (None, _) => said.push(format!("build argument `{name}` is new")),
            (_, None) => said.push(format!("build argument `{name}` is gone")),
        }
    }
    said
}

/// The first line that differs, from 1.
fn first_line(then: &[u8], now: &[u8]) -> Option<usize> {
    let (then, now): (Vec<_>, Vec<_>) = (then.split(|byte| *byte == b'\n').collect(), now.split(|byte| *byte == b'\n').collect());
    (0..then.len().max(now.len())).find(|at| then.get(*at) != now.get(*at)).map(|at| at + 1)
}

/// What became of entries.
#[derive(Debug, Default)]
struct Changes<'a> {
    contents: Vec<&'a ContextItem>,
    new: Vec<&'a ContextItem>,
    gone: Vec<&'a ContextItem>,
    /// Those that differ in nothing but their mode, before and after.
    modes: Vec<(&'a ContextItem, u32)>,
}

fn changes<'a>(then: &'a [ContextItem], now: &'a [ContextItem]) -> Changes<'a> {
    let mut changes = Changes::default();
    let (mut before, mut after) = (then.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => in_order(&old.path, &new.path),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        match (old, new) {
            (Some(old), None) => changes.gone.push(old),
            (None, Some(new)) => changes.new.push(new),
            (Some(old), Some(new)) if (&old.content, &old.attributes) != (&new.content, &new.attributes) => changes.contents.push(new),
            (Some(old), Some(new)) if old.mode != new.mode => changes.modes.push((new, old.mode)),
            _ => {}
        }
    }
}

fn files(then: &[ContextItem], now: &[ContextItem]) -> Vec<String> {
    let changes = changes(then, now);
    let mut said = Vec::new();
    said.extend(named(&changes.contents, "changed"));
    said.extend(named(&changes.new, if changes.new.len() == 1 { "is new" } else { "are new" }));
    said.extend(named(&changes.gone, if changes.gone.len() == 1 { "is gone" } else { "are gone" }));
    if let Some((first, before)) = changes.modes.first() {
        let (path, now) = (shown(&first.path), first.mode);
        said.push(match changes.modes.len() {
            1 => format!("the mode of `{path}` is {now:o} (was {before:o})"),
            count => format!("modes of {count} entries differ, e.g. that of `{path}`, which is {now:o} (was {before:o})"),
        });
    }
    said
}

fn named(items: &[&ContextItem], what: &str) -> Option<String> {
    // A directory says nothing that its files do not.
    let files: Vec<_> = items.iter().filter(|item| item.content != ItemContent::Directory).collect();
    let all = if files.is_empty() { items.iter().collect() } else { files };
    let names = all.iter().take(NAMED).map(|item| format!("`{}`", shown(&item.path))).collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => None,
        count if count > NAMED => Some(format!("{names} and {} more {what}", count - NAMED)),
        _ => Some(format!("{names} {what}")),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

/// What makes reuse unlikely, a sentence each: seen in the inputs, in earlier ones (the last one first), and in what is sent.
pub fn advice(now: &KeyInputs, earlier: &[Kept], sent: &[ContextItem], reach: &Reach) -> Vec<String> {
    let mut said = Vec::new();
    if now.context.iter().any(|item| item.path == b".git" || item.path.starts_with(b".git/")) {
        said.push(
            "`.git` is in the context: every commit, and many a look at the repository, builds anew; exclude it in .dockerignore"
                .to_owned(),
        );
    }
    said.extend(restless(earlier).into_iter().map(|name| {
        format!("build argument `{name}` is another one in every build: declare it after the last step that is slow, or do without it")
    }));
    said.extend(never_copied(sent, reach));
    said
}

/// Arguments that no two builds in a row had in common.
fn restless(earlier: &[Kept]) -> Vec<&str> {
    if earlier.len() < SHOWS {
        return Vec::new();
    }
    let names: BTreeSet<&String> = earlier.iter().flat_map(|kept| kept.inputs.args.keys()).collect();
    let always = |name: &&&String| earlier.windows(2).all(|pair| pair[0].inputs.args.get(**name) != pair[1].inputs.args.get(**name));
    names.iter().filter(always).map(|name| name.as_str()).collect()
}

/// What is sent and cannot be reached.
fn never_copied(sent: &[ContextItem], reach: &Reach) -> Option<String> {
    let mut count = 0_usize;
    let mut tops: BTreeMap<String, usize> = BTreeMap::new();
    for item in sent.iter().filter(|item| matches!(item.content, ItemContent::File(_)) && !reach.covers(&item.path)) {
        let top = item.path.split(|byte| *byte == b'/').next().unwrap_or_default();
        // Docker's own files are always sent.
        if !top.eq_ignore_ascii_case(b"Dockerfile") && !top.ends_with(b".dockerignore") {
            count += 1;
            *tops.entry(shown(top)).or_default() += 1;
        }
    }
    let mut tops: Vec<_> = tops.into_iter().collect();
    tops.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let names = tops.iter().take(DIRECTORIES).map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = if tops.len() > DIRECTORIES { " …" } else { "" };
    let are = if count == 1 { "1 file is".to_owned() } else { format!("{count} files are") };
    (count > 0).then(|| format!("{are} sent and never copied: exclude them in .dockerignore, and builds begin sooner ({names}{more})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::key::{Key, NamedText};
    use std::sync::Arc;

    fn item(path: &str, seed: u8) -> ContextItem {
        ContextItem { path: path.into(), mode: 0o644, content: ItemContent::File([seed; 32]), attributes: None }
    }

    fn inputs() -> KeyInputs {
        KeyInputs {
            platform: "linux/amd64".into(),
            engine_line: "20.10".into(),
            dockerfile: NamedText { name: b"Dockerfile".to_vec(), text: b"FROM debian\nCOPY . .\n".to_vec() },
            args: [("GIT_SHA", "a"), ("NPM_TOKEN", "code")].map(|(name, value)| (name.into(), value.into())).into(),
            bases: [("debian ".to_owned(), "sha256:0123456789abcdef".to_owned())].into(),
            context: Arc::new(vec![item("a", 1), item("b/c", 1), item("b-", 1)]),
            ..KeyInputs::default()
        }
    }

    #[test]
    fn the_same_inputs_have_nothing_to_tell() {
        assert_eq!(differences(&inputs(), &inputs()), [""; 0]);
    }

    #[test]
    fn each_difference_is_told_in_words() {
        let mut now = inputs();
        now.bases =
            [("debian ".to_owned(), "sha256:fedcba9876543210".to_owned()), ("node:20 linux/arm64".to_owned(), "x".to_owned())].into();
        now.args = [("GIT_SHA", "b"), ("NPM_TOKEN", "other"), ("NEW", "1")].map(|(name, value)| (name.into(), value.into())).into();
        now.dockerfile.text = b"FROM debian\nCOPY a b\n".to_vec();
        now.ignore = Some(NamedText { name: b".dockerignore".to_vec(), text: b"x".to_vec() });
        let mut b = item("b-", 1);
        b.mode = 0o755;
        now.context = Arc::new(vec![item("a", 2), item("b/d", 1), b, item("x\n", 1), item("y", 1), item("z", 1)]);
        now.epoch = Some("2".into());
        now.age = Some(1);
        now.shm_size = Some(1);
        insta::assert_snapshot!(differences(&inputs(), &now).join("\n"), @r"
        `cache.epoch` is `2` (was not set)
        images of that age are too old (`cache.max_age`)
        base `debian` is now sha256:fedcba987654 (was sha256:0123456789ab)
        base `node:20 for linux/arm64` is new
        build argument `GIT_SHA` is `b` (was `a`)
        build argument `NEW` is new
        build argument `NPM_TOKEN` differs; its value is not shown
        `Dockerfile` changed, from line 2 on
        `.dockerignore` changed
        `a` changed
        `b/d`, `x\n`, `y` and 1 more are new
        `b/c` is gone
        the mode of `b-` is 755 (was 644)
        the size of /dev/shm differs (`shard.shm_size`)
        ");
    }

    fn kept(seed: u8, inputs: KeyInputs) -> Kept {
        Kept { key: Key::from_bytes([seed; 32]), made: 0, took_ms: 0, inputs }
    }

    #[test]
    fn the_nearest_is_the_one_with_the_fewest_changes() {
        let far = KeyInputs { context: Arc::new(vec![item("q", 1), item("r", 1), item("s", 1)]), ..inputs() };
        let near = KeyInputs { context: Arc::new(vec![item("a", 7), item("b/c", 1), item("b-", 1)]), ..inputs() };
        let all = [kept(1, far), kept(2, near)];
        assert_eq!(nearest(&inputs(), &all).map(|kept| kept.key), Some(Key::from_bytes([2; 32])));
        assert_eq!(nearest(&inputs(), []), None);
    }

    #[test]
    fn what_makes_reuse_unlikely_is_said() {
        let with =
            |sha: &str| kept(1, KeyInputs { args: [("GIT_SHA".to_owned(), sha.to_owned()), ("A".into(), "1".into())].into(), ..inputs() });
        let mut now = inputs();
        now.context = Arc::new(vec![item(".git/HEAD", 1)]);
        let sent = [item("Dockerfile", 1), item("docs/a", 1), item("docs/b", 1), item("src/a", 1)];
        let reach = crate::image::dockerfile::outside(b"FROM a\nCOPY src /x", &crate::image::dockerfile::Choices::default()).reach;
        insta::assert_snapshot!(advice(&now, &[with("c"), with("b"), with("a")], &sent, &reach).join("\n"), @r"
        `.git` is in the context: every commit, and many a look at the repository, builds anew; exclude it in .dockerignore
        build argument `GIT_SHA` is another one in every build: declare it after the last step that is slow, or do without it
        2 files are sent and never copied: exclude them in .dockerignore, and builds begin sooner (`docs`)
        ");
        assert_eq!(advice(&inputs(), &[with("b"), with("a")], &[], &reach), [""; 0]);
    }
}
