//! Random ignore files over random trees, judged by this machine's own docker client: what it sends is what our walk must find.
//!
//! A case is made by one seed. Malformed patterns and the accidents that we do not copy (see `image::ignore`) are not made.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use splitci_coordinator::image::context::Context;

use crate::schedules::dice::Dice;

/// Debian's client, which has BuildKit built in. Others that may stand before it need a plugin for that.
pub const DOCKER: &str = "/usr/bin/docker";

const NAMES: &[&str] =
    &["a", "b", "ab", "abc", "a.b", "x.log", "y.log", "log", "src", "test", "a-b", "a b", "é", ".git", "[x]", "a*", "README.md"];

/// Compares many cases; says where the first difference is.
pub fn soak(cases: u64, first_seed: u64) -> Result<(), String> {
    (first_seed..first_seed + cases).try_for_each(check)
}

/// Compares one case.
pub fn check(seed: u64) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let root = tempfile::tempdir().expect("a folder");
    fill(&mut dice, root.path(), 2);
    let patterns: Vec<String> = (0..=dice.below(5)).map(|_| pattern(&mut dice)).collect();
    let ignore = patterns.join("\n");
    let name = if dice.chance(300) { "Dockerfile.dockerignore" } else { ".dockerignore" };
    fs_err::write(root.path().join(name), &ignore).expect("written");
    fs_err::write(root.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").expect("written");
    let (ours, theirs) = (ours(root.path()), theirs(root.path()));
    if ours == theirs {
        return Ok(());
    }
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    Err(format!("seed {seed}, {name}: {ignore:?}\nonly we send {:?}\nonly docker sends {:?}", only(&ours, &theirs), only(&theirs, &ours)))
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
        9 => format!("**{plain}"),
        10 => "Dockerfile*".to_owned(),
        _ => plain,
    }
}
