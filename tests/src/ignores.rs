//! Random ignore files over random trees, judged by this machine's own docker client: what it sends is what our walk must find.
//!
//! A case is made by one seed. Malformed patterns and the accidents that we do not copy (see `image::ignore`) are not made, nor is `**name`, whose meaning changed. Debian's client is of 2020, and
//! two of its rules are no longer docker's: a pattern counts for what is below a directory that it matches if it has as many parts as the directory's
//! path, and an exception does so even where nothing was excluded; an excluded directory is not looked into unless an exception begins with its very name. So it is held to those rules, pattern by pattern, and our walk
//! must find what it sends wherever they come to the same. What later clients send is in `fixtures/captures/dockerignore`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use splitci_coordinator::image::context::Context;
use splitci_coordinator::image::ignore::{Ignore, Matched};

use crate::schedules::dice::Dice;

/// Debian's client, which has BuildKit built in. Others that may stand before it need a plugin for that.
pub const DOCKER: &str = "/usr/bin/docker";

const NAMES: &[&str] =
    &["a", "b", "ab", "abc", "a.b", "x.log", "y.log", "log", "src", "test", "a-b", "a b", "é", ".git", "[x]", "a*", "README.md"];

/// Compares many cases; says in how many both send the same, or where the first difference is that the rules do not explain.
pub fn soak(cases: u64, first_seed: u64) -> Result<u64, String> {
    (first_seed..first_seed + cases).try_fold(0, |same, seed| Ok(same + u64::from(check(seed)?)))
}

/// Compares one case; says whether both send the same.
pub fn check(seed: u64) -> Result<bool, String> {
    let mut dice = Dice::new(seed);
    let root = tempfile::tempdir().expect("a folder");
    fill(&mut dice, root.path(), 2);
    let patterns: Vec<String> = (0..=dice.below(5)).map(|_| pattern(&mut dice)).collect();
    let text = patterns.join("\n");
    let name = if dice.chance(300) { "Dockerfile.dockerignore" } else { ".dockerignore" };
    fs_err::write(root.path().join(name), &text).expect("written");
    fs_err::write(root.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("written");
    let (ours, theirs) = (ours(root.path()), theirs(root.path()));
    let rules = Rules::read(&text);
    let all = everything(root.path());
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    let differ = |what: &str, one: &BTreeSet<String>| {
        Err(format!("seed {seed}, {name}: {text:?}\nonly {what} {:?}\nonly docker {:?}", only(one, &theirs), only(&theirs, one)))
    };
    let expected = rules.sent(&all);
    if expected != theirs {
        return differ("by its rules", &expected);
    }
    if ours != theirs && !all.keys().any(|path| rules.are_older(path)) {
        return differ("we", &ours);
    }
    Ok(ours == theirs)
}

/// The rules of Debian's client, upon our reading of each pattern by itself.
struct Rules {
    /// Whether it is an exception, its text, and the pattern alone.
    patterns: Vec<(bool, String, Ignore)>,
    ours: Ignore,
}

impl Rules {
    fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        let patterns = lines.map(|line| {
            let body = line.strip_prefix('!').unwrap_or(line).trim();
            // Behind a blank, a number sign begins no comment.
            (line.starts_with('!'), shortest(body), Ignore::parse(format!(" {body}").as_bytes()).expect("a good pattern"))
        });
        Self { patterns: patterns.collect(), ours: Ignore::parse(text.as_bytes()).expect("a good ignore file") }
    }

    /// The last pattern that matches the path or the directory above it that has as many parts.
    fn excludes(&self, path: &str) -> bool {
        let by_itself = |pattern: &Ignore, path: &str| pattern.judge(path.as_bytes(), &Matched::default()).0;
        let matches = |text: &str, pattern: &Ignore| {
            by_itself(pattern, path) || parents(path).nth(text.matches('/').count()).is_some_and(|above| by_itself(pattern, above))
        };
        self.patterns.iter().rev().find(|(_, text, pattern)| matches(text, pattern)).is_some_and(|(exception, ..)| !exception)
    }

    fn looks_for(&self, path: &str) -> bool {
        parents(path).all(|above| !self.excludes(above) || self.names(above))
    }

    /// Whether an exception begins with this directory.
    fn names(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        self.patterns.iter().any(|(exception, text, _)| *exception && format!("{text}/").starts_with(&below))
    }

    fn sent(&self, all: &BTreeMap<String, bool>) -> BTreeSet<String> {
        let sent = |path: &str, directory: bool| self.looks_for(path) && (!self.excludes(path) || (directory && self.names(path)));
        let sent: Vec<_> = all.iter().filter(|(path, directory)| sent(path, **directory)).map(|(path, _)| path).collect();
        sent.iter().flat_map(|path| parents(path).chain([path.as_str()])).map(str::to_owned).collect()
    }

    /// Whether they say something else of this path than the rules of today.
    fn are_older(&self, path: &str) -> bool {
        !self.looks_for(path) || self.excludes(path) != is_excluded(&self.ours, path) || (self.excludes(path) && self.names(path))
    }
}

/// A pattern without detours: `./a/../b/` is `b`.
fn shortest(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/').filter(|part| !["", "."].contains(part)) {
        if part != ".." || parts.pop().is_none() {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

fn is_excluded(ignore: &Ignore, path: &str) -> bool {
    let mut matched = Matched::default();
    for above in parents(path) {
        (_, matched) = ignore.judge(above.as_bytes(), &matched);
    }
    ignore.judge(path.as_bytes(), &matched).0
}

/// Every path, and whether it is a directory.
fn everything(root: &Path) -> BTreeMap<String, bool> {
    let walk = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(|entry| entry.expect("a readable tree"));
    let named = |entry: &walkdir::DirEntry| entry.path().strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
    walk.map(|entry| (named(&entry), entry.file_type().is_dir())).collect()
}

fn ours(root: &Path) -> BTreeSet<String> {
    let context = Context::walk(root, &root.join("Dockerfile")).expect("walkable");
    context.entries.iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
}

fn theirs(root: &Path) -> BTreeSet<String> {
    let mut docker = Command::new(DOCKER);
    docker.args(["build", "--quiet", "--output", "type=tar,dest=-", "."]).current_dir(root).env("DOCKER_BUILDKIT", "1");
    let built = docker.stdin(Stdio::null()).output().expect("start docker");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut tar = Command::new("tar")
        .args(["--list", "--quoting-style=literal"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start tar");
    let mut input = tar.stdin.take().expect("piped");
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut input, &built.stdout));
    let listed = tar.wait_with_output().expect("a list");
    writing.join().expect("a thread").expect("written");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed.lines().map(|path| path.trim_start_matches("./").trim_end_matches('/').to_owned()).filter(|path| !path.is_empty()).collect()
}

fn fill(dice: &mut Dice, directory: &Path, depth: u32) {
    for _ in 0..2 + dice.below(4) {
        let place = directory.join(dice.of(NAMES).expect("a name"));
        if place.exists() {
            continue;
        }
        if depth > 0 && dice.chance(666) {
            fs_err::create_dir(&place).expect("made");
            fill(dice, &place, depth - 1);
        } else {
            fs_err::write(&place, "x").expect("written");
        }
    }
}

fn pattern(dice: &mut Dice) -> String {
    let segments: Vec<String> = (0..=dice.below(3)).map(|_| segment(dice)).collect();
    let mut pattern = segments.join("/");
    match dice.below(12) {
        0 => pattern.insert(0, '/'),
        1 => pattern.insert_str(0, "./"),
        2 => pattern.push('/'),
        3 => pattern.push_str("/**"),
        4 => pattern.insert_str(0, "**/"),
        5 => pattern.push_str("/../src"),
        _ => {}
    }
    if dice.chance(333) {
        pattern.insert_str(0, if dice.chance(200) { "! " } else { "!" });
    }
    match dice.below(15) {
        0 => format!("  {pattern} \t"),
        1 => format!("#{pattern}"),
        2 => format!(" #{pattern}"),
        3 => format!("{pattern}\r"),
        _ => pattern,
    }
}

fn segment(dice: &mut Dice) -> String {
    let name = dice.of(NAMES).expect("a name");
    let plain = name.replace('[', r"\[").replace('*', r"\*");
    match dice.below(15) {
        0 | 1 => "*".to_owned(),
        2 => "**".to_owned(),
        3 => format!("*{}", name.chars().last().filter(|c| c.is_alphanumeric()).unwrap_or('g')),
        4 => format!("{}*", name.chars().next().filter(|c| c.is_alphanumeric()).unwrap_or('a')),
        5 => "*.log".to_owned(),
        6 => "?".to_owned(),
        7 => "[a-c]*".to_owned(),
        8 => "[^a-c]".to_owned(),
        9 => "Dockerfile*".to_owned(),
        _ => plain,
    }
}
