//! The shape of the code, checked: which room knows which, where foreign crates come in, what is pure, how long things are.
//!
//! The table of arrows is the architecture. Changing it is a change of design: a commit of its own, with the reason.
//! Only shipped code counts: comments, strings and what stands behind `#[cfg(test)]` are taken out before anything is looked for.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

#[path = "architecture/lists.rs"]
mod lists;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rooms of the coordinator, and which others they may name. `model` is for everybody.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("tunnel", &[]),
    ("balancer", &["tunnel"]),
    ("config", &[]),
    ("content", &[]),
    ("deployment", &[]),
    ("framework", &[]),
    ("plan", &[]),
    ("queue", &[]),
    ("proof", &[]),
    ("program", &[]),
    ("trust", &["program"]),
    ("tally", &["content"]),
    ("vault", &["content", "trust"]),
    ("registry", &[]),
    ("docker", &["tunnel"]),
    ("image", &["docker"]),
    ("mounts", &["content", "docker", "image", "trust", "vault"]),
    ("engine", &["docker"]),
    ("fleet", &["docker", "engine"]),
    ("history", &[]),
    ("hooks", &["program"]),
    ("report", &["history", "proof"]),
    ("gate", &["proof", "trust"]),
    ("promotion", &["gate", "registry", "trust"]),
    ("candidate", &["config", "docker", "gate", "history", "registry", "trust"]),
    ("rollout", &["balancer", "deployment", "docker", "engine", "fleet", "hooks", "promotion"]),
    (
        "delivery",
        &[
            "balancer",
            "candidate",
            "config",
            "deployment",
            "docker",
            "engine",
            "fleet",
            "gate",
            "hooks",
            "promotion",
            "registry",
            "rollout",
            "trust",
            "tunnel",
        ],
    ),
    ("reuse", &["proof"]),
    ("run", &["plan", "queue", "engine", "framework", "proof"]),
    (
        "pipeline",
        &[
            "config",
            "content",
            "docker",
            "engine",
            "framework",
            "history",
            "image",
            "mounts",
            "plan",
            "proof",
            "queue",
            "report",
            "reuse",
            "run",
            "tally",
            "trust",
            "vault",
        ],
    ),
];

/// Rooms and files that are brains: input and time in, effects out.
const PURE: &[&str] = &[
    "model/",
    "deployment/",
    "framework/",
    "gate/",
    "plan/",
    "queue/",
    "proof/",
    "report/",
    "reuse/",
    "balancer/answer.rs",
    "balancer/change.rs",
    "balancer/fit.rs",
    "balancer/order.rs",
    "balancer/server.rs",
    "image/key.rs",
    "image/ignore.rs",
    "image/watch.rs",
    "mounts/manifest.rs",
    "mounts/worth.rs",
    "registry/digest.rs",
    "registry/manifest.rs",
    "registry/proof.rs",
    "run/machine",
    "trust/dsse.rs",
    "trust/envelope.rs",
    "trust/list.rs",
    "trust/mac.rs",
    "trust/seal.rs",
];

/// What a brain does not touch.
const IMPURE: &[&str] = &[
    "async ",
    ".await",
    "tokio",
    "std::fs",
    "fs_err",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "rand::",
];

/// Who may name `registry::transfer`, which asks nobody whether an image may be released: only what takes an approval.
const PROMOTERS: &[&str] = &["coordinator/src/promotion/mod.rs"];

/// Foreign crates and the places that may name them.
const DOORS: &[(&str, &[&str])] = &[
    ("bollard", &["coordinator/src/docker/"]),
    ("bollard_buildkit_proto", &["coordinator/src/docker/session/"]),
    ("tonic", &["coordinator/src/docker/session/"]),
    ("hyper", &["coordinator/src/docker/session/"]),
    ("tar", &["coordinator/src/docker/", "coordinator/src/content/"]),
    ("redis", &["coordinator/src/content/"]),
    ("object_store", &["coordinator/src/content/"]),
    ("oci_client", &["coordinator/src/content/", "coordinator/src/registry/"]),
    ("reqwest", &["coordinator/src/docker/", "coordinator/src/hooks/post.rs", "coordinator/src/registry/"]),
    ("toml", &["coordinator/src/config/", "tests/"]),
    ("strsim", &["coordinator/src/config/"]),
    ("quick_junit", &["coordinator/src/report/"]),
    ("p256", &["coordinator/src/trust/"]),
    ("pkcs8", &["coordinator/src/trust/"]),
    ("sha2", &["coordinator/src/registry/digest.rs", "coordinator/src/trust/"]),
    ("getrandom", &["coordinator/src/trust/"]),
    ("rustls", &["coordinator/src/docker/session/wire.rs", "cli/src/tls.rs"]),
    ("zstd", &["coordinator/src/content/", "coordinator/src/history/", "coordinator/src/image/kept.rs", "cli/"]),
    ("clap", &["cli/src/args", "cli/src/main.rs"]),
    ("clap_complete", &["cli/src/"]),
    ("indicatif", &["cli/src/ui/"]),
    ("console", &["cli/src/ui/"]),
    ("crossterm", &["cli/src/ui/"]),
];

/// What the coordinator leaves to its callers.
const NOT_IN_THE_COORDINATOR: &[&str] = &["println!", "print!", "std::env", "home_dir", "io::stdout", "io::stderr", "process::exit"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "errors", "types", "misc", "prelude", "imp", "shared"];

const LINES_OF_A_FILE: usize = 400;
const CRATES_OF_THE_WORKER: usize = 70;

fn root() -> PathBuf {
    splitci_tests::root()
}

/// Rust files below a directory, by path from the repository's root.
fn files(below: &str) -> BTreeMap<String, String> {
    let walk = walkdir::WalkDir::new(root().join(below)).into_iter().map(|entry| entry.expect("a readable tree"));
    let rust = walk.filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
    rust.map(|entry| (relative(entry.path()), fs_err::read_to_string(entry.path()).expect("a text"))).collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned()
}

fn every_file() -> BTreeMap<String, String> {
    ["coordinator", "worker", "cli", "tests"].into_iter().flat_map(files).collect()
}

/// Shipped code: without comments, without the insides of strings, without what only tests see.
fn shipped(path: &str, text: &str) -> String {
    if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("/contract.rs") {
        return String::new();
    }
    without_strings_and_comments(text.split("#[cfg(test)]\nmod ").next().unwrap_or_default())
}

fn without_strings_and_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(end) = raw_string(rest) {
            end
        } else if first == '"' {
            kept.push_str("\"\"");
            string(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            rest[2..].find('\'').map_or(rest.len(), |at| at + 3)
        } else {
            kept.push(first);
            first.len_utf8()
        };
        rest = &rest[skip..];
    }
    kept
}

fn raw_string(text: &str) -> Option<usize> {
    let marks = text.strip_prefix('r')?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = hashes + 2;
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Every path of the code that starts at the crate or climbs by `super`, as names from the crate's root: `use` groups are written out.
fn paths(module: &[&str], code: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for keyword in ["crate::", "super::"] {
        for (at, _) in code.match_indices(keyword) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') || code[..at].ends_with("super::") {
                continue;
            }
            spell_out(module, &code[at..], &mut found);
        }
    }
    found
}

fn spell_out(module: &[&str], text: &str, found: &mut BTreeSet<Vec<String>>) {
    let mut base: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
    let mut rest = text;
    if let Some(after) = rest.strip_prefix("crate::") {
        base.clear();
        rest = after;
    }
    while let Some(after) = rest.strip_prefix("super::") {
        base.pop();
        rest = after;
    }
    let Some(group) = rest.strip_prefix('{') else {
        base.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        found.insert(base);
        return;
    };
    let mut depth = 0;
    let mut name = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.insert(base.iter().cloned().chain([std::mem::take(&mut name)]).collect());
            }
            c if depth == 0 && !c.is_whitespace() => name.push(c),
            _ => {}
        }
    }
    let name = name.split("::").next().unwrap_or_default().to_owned();
    found.insert(base.into_iter().chain([name]).collect());
}

/// The module of a file, as names from its crate's root.
fn module(path: &str) -> Vec<&str> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let trimmed = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    trimmed.split('/').filter(|name| *name != "lib" && *name != "main").collect()
}

/// Rooms that a file of the coordinator names, apart from its own and the model.
fn named_rooms(path: &str, text: &str) -> BTreeSet<String> {
    let module = module(path);
    let own = module.first().copied().unwrap_or_default();
    let first = |names: Vec<String>| names.first().map(|name| name.split("::").next().unwrap_or_default().to_owned());
    let rooms = paths(&module, &shipped(path, text)).into_iter().filter_map(first);
    rooms.filter(|room| room != own && room != "model" && ARROWS.iter().any(|(known, _)| known == room)).collect()
}

#[test]
fn rooms_of_the_coordinator_name_only_those_below_them() {
    let table: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in files("coordinator/src") {
        let Some(&room) = module(&path).first() else { continue };
        let allowed = table.get(room).unwrap_or_else(|| panic!("{path}: the room {room} is not in the table of arrows"));
        wrong.extend(named_rooms(&path, &text).into_iter().filter(|to| !allowed.contains(&to.as_str())).map(|to| format!("{path} → {to}")));
    }
    assert!(wrong.is_empty(), "arrows that the table does not have: {wrong:#?}");
}

#[test]
fn the_table_of_arrows_has_no_ring() {
    for (place, (room, below)) in ARROWS.iter().enumerate() {
        for lower in *below {
            let at = ARROWS.iter().position(|(name, _)| name == lower);
            assert!(at.is_some_and(|at| at < place), "{room} → {lower} does not point downwards");
        }
    }
}

/// T5: there is no way into the release repository beside the gate.
#[test]
fn only_who_has_an_approval_carries_images_on() {
    for (path, text) in files("coordinator/src").into_iter().chain(files("cli/src")) {
        let code = shipped(&path, &text);
        let may = path.starts_with("coordinator/src/registry/") || PROMOTERS.iter().any(|promoter| path.starts_with(promoter));
        assert!(may || !(code.contains("registry::transfer") || code.contains("transfer::")), "{path} names the transfer of images");
    }
}

#[test]
fn brains_touch_neither_clock_nor_disk_nor_threads() {
    let mut wrong = Vec::new();
    for (path, text) in files("coordinator/src") {
        if PURE.iter().any(|pure| path.starts_with(&format!("coordinator/src/{pure}"))) {
            let code = shipped(&path, &text);
            wrong.extend(IMPURE.iter().filter(|word| code.contains(**word)).map(|word| format!("{path}: {word}")));
        }
    }
    assert!(wrong.is_empty(), "in pure rooms: {wrong:#?}");
}

/// T5: there is no second way to an approval, so there is no check that can be skipped.
#[test]
fn an_approval_is_made_in_one_place() {
    let mut made = Vec::new();
    for (path, text) in every_file() {
        let code = shipped(&path, &text);
        for word in ["Approval {", "Approval{"] {
            let before = code.match_indices(word).map(|(at, _)| code[..at].lines().next_back().unwrap_or_default().trim().to_owned());
            let other = ["pub struct", "impl", "pub enum"];
            made.extend(before.filter(|before| !other.contains(&before.as_str())).map(|before| format!("{path}: {before}")));
        }
    }
    assert_eq!(made, ["coordinator/src/gate/decide.rs: Ok(grounds) => Ok("]);
}

#[test]
fn a_foreign_crate_has_one_door() {
    let mut wrong = Vec::new();
    for (path, text) in every_file() {
        let code = shipped(&path, &text);
        for (name, doors) in DOORS {
            let named = code.contains(&format!("{name}::")) && names_crate(&code, name);
            if named && !doors.iter().any(|door| path.starts_with(door)) {
                wrong.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "crates named outside of their room: {wrong:#?}");
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn the_coordinator_never_prints_and_never_reads_the_environment() {
    let mut wrong = Vec::new();
    for (path, text) in files("coordinator/src") {
        // Constants of the build are no environment.
        let code = shipped(&path, &text).replace("std::env::consts", "");
        wrong.extend(NOT_IN_THE_COORDINATOR.iter().filter(|word| code.contains(**word)).map(|word| format!("{path}: {word}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_worker_knows_the_protocol_and_no_framework() {
    for (path, text) in files("worker") {
        let code = shipped(&path, &text).to_lowercase();
        for framework in ["pytest", "rspec", "minitest", "unittest", "jest", "python", "ruby"] {
            assert!(!code.contains(framework), "{path} names {framework}");
        }
        if path.starts_with("worker/src/protocol/") {
            assert!(!code.contains("supervise"), "{path}: the protocol knows nothing of the program");
        }
    }
}

#[test]
fn the_worker_stays_small() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--package", "splitci-worker", "--edges", "normal", "--prefix", "none", "--no-dedupe"])
        .current_dir(root())
        .output()
        .expect("start cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<_> = tree.lines().collect();
    assert!(crates.len() <= CRATES_OF_THE_WORKER, "{} crates: {crates:#?}", crates.len());
    for heavy in ["clap ", "zstd ", "blake3 ", "bollard ", "splitci-coordinator "] {
        assert!(!tree.contains(heavy), "the worker depends on {heavy}");
    }
}

#[test]
fn the_command_line_reaches_the_coordinator_by_its_front() {
    for (path, text) in files("cli/src") {
        let code = shipped(&path, &text);
        for behind in
            ["splitci_coordinator::docker", "splitci_coordinator::queue", "splitci_coordinator::engine", "splitci_coordinator::run::"]
        {
            assert!(!code.contains(behind), "{path} names {behind}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = every_file().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "without an introduction: {silent:#?}");
}

#[test]
fn no_file_has_an_empty_name() {
    for path in every_file().into_keys() {
        for part in Path::new(&path).components() {
            let name = part.as_os_str().to_string_lossy();
            assert!(!EMPTY_NAMES.contains(&name.trim_end_matches(".rs")), "{path}: name it after what is inside");
        }
    }
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (path, text) in every_file() {
        let lines = shipped(&path, &text).lines().filter(|line| !line.trim().is_empty()).count();
        if lines > LINES_OF_A_FILE {
            long.push(format!("{path}: {lines}"));
        }
    }
    assert!(long.is_empty(), "more than {LINES_OF_A_FILE} lines of code: {long:#?}");
}

#[test]
fn most_functions_are_short() {
    let mut lengths: Vec<(usize, String)> = Vec::new();
    for (path, text) in every_file() {
        lengths.extend(functions(&shipped(&path, &text)).into_iter().map(|(name, lines)| (lines, format!("{path} {name}"))));
    }
    lengths.sort();
    let p95 = lengths.len() * 95 / 100;
    if let Some((lines, name)) = lengths.get(p95) {
        assert!(*lines <= 40, "one function of twenty is longer than 40 lines, e.g. {name} with {lines}");
    }
}

/// Names of functions and how many lines of code they have.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '(');
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(body) = code[at..].find(['{', ';']).map(|open| at + open) else { continue };
        if !starts_word || name.is_empty() || code[body..].starts_with(';') {
            continue;
        }
        let mut depth = 0_usize;
        let end = code[body..].find(|c| {
            depth = match c {
                '{' => depth + 1,
                '}' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        let text = &code[body..end.map_or(code.len(), |end| body + end + 1)];
        found.push((name, text.lines().filter(|line| !line.trim().is_empty()).count()));
    }
    found
}

#[test]
fn the_top_level_holds_nothing_else() {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("start git");
    if !output.status.success() {
        return; // An unpacked source without its history.
    }
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let top: BTreeSet<_> = listed.lines().filter_map(|path| path.split('/').next()).filter(|name| !name.starts_with('.')).collect();
    let known =
        ["Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "cli", "coordinator", "fixtures", "tests", "worker"];
    let extra: Vec<_> = top.iter().filter(|name| !known.contains(name)).collect();
    assert!(extra.is_empty(), "at the top level: {extra:?}");
}

#[test]
fn a_driver_needs_nothing_that_is_not_there() {
    let standard = [
        "_socket",
        "atexit",
        "builtins",
        "collections",
        "faulthandler",
        "functools",
        "hashlib",
        "io",
        "itertools",
        "mmap",
        "os",
        "posix",
        "random",
        "select",
        "signal",
        "socket",
        "struct",
        "sys",
        "threading",
        "time",
        "traceback",
        "types",
        "warnings",
        "pathlib",
        "re",
        "copy",
        "unittest",
        // The framework itself, and the application's module that one of ours stands before.
        "pytest",
        "_pytest",
        "django",
        "sitecustomize",
    ];
    let walk = walkdir::WalkDir::new(root().join("coordinator/src/framework")).into_iter().filter_map(Result::ok);
    for entry in walk.filter(|entry| entry.path().extension().is_some_and(|end| end == "py")) {
        let text = fs_err::read_to_string(entry.path()).expect("a text");
        for line in text.lines().map(str::trim) {
            let Some(names) = line.strip_prefix("import ").or_else(|| line.strip_prefix("from ")) else { continue };
            for name in names.split(" import ").next().unwrap_or_default().split(',') {
                let top = name.trim().split([' ', '.']).next().unwrap_or_default();
                let ours = top.starts_with("splitci_");
                assert!(ours || standard.contains(&top), "{}: imports {top}", relative(entry.path()));
            }
        }
    }
}

#[test]
fn the_reader_of_code_knows_groups_and_supers() {
    let found = |path: &str, text: &str| named_rooms(path, text).into_iter().collect::<Vec<_>>();
    assert_eq!(found("coordinator/src/run/machine.rs", "use crate::{queue::{Queue, Step}, model::Unit, plan};"), ["plan", "queue"]);
    assert_eq!(found("coordinator/src/run/mod.rs", "use super::engine::Engine; use super::model;"), ["engine"]);
    assert_eq!(found("coordinator/src/run/machine.rs", "fn f() { super::super::docker::connect() }"), ["docker"]);
    assert_eq!(found("coordinator/src/run/machine.rs", "use super::docker; // crate::queue\nlet s = \"crate::plan\";"), [""; 0]);
    assert_eq!(found("coordinator/src/run/machine.rs", "#[cfg(test)]\nmod tests { use crate::queue; }"), [""; 0]);
    assert_eq!(functions("fn a() { x;\n y;\n }\nfn b() { }"), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
}
