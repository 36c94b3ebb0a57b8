//! Keys as people and CI systems handle them: made, handed on, listed, shown. Nothing private is ever printed that was not asked for.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use splitci_tests::{Done, Sandbox};

/// A key pair in a sandbox: the private half as a file, the public one as text.
fn make(sandbox: &Sandbox, name: &str) -> (String, String) {
    let file = sandbox.outside(name);
    let made = sandbox.splitci(&format!("keys new --out {}", file.display())).run();
    made.expect_exit(0);
    let private = fs_err::read_to_string(&file).expect("the private key");
    expect_nothing_private(&made, &private);
    (private, made.stdout)
}

/// Fails if a part of a private key was printed.
fn expect_nothing_private(done: &Done, private: &str) {
    let body: String = private.lines().filter(|line| !line.starts_with("-----")).collect();
    let shown = |part: &[u8]| [&done.stdout, &done.stderr].iter().any(|text| text.contains(&*String::from_utf8_lossy(part)));
    // Before it stands which curve the key is of, and after it its public half.
    assert!(!body.as_bytes()[48..88].windows(16).any(shown), "a part of the private key is shown by {done}");
}

fn shown(done: &Done) -> Value {
    done.expect_exit(0);
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("not JSON: {error}: {done}"))
}

#[test]
fn a_new_key_is_a_file_of_its_owner_and_is_never_overwritten() {
    let sandbox = Sandbox::empty();
    let (private, public) = make(&sandbox, "main.pem");
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n") && public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let path = sandbox.outside("main.pem");
    assert_eq!(fs_err::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let again = sandbox.splitci(&format!("keys new --out {}", path.display())).run();
    again.expect_exit(2).expect_says("never overwritten");
    assert_eq!(fs_err::read_to_string(&path).expect("there"), private);

    let made = sandbox.splitci("keys new --json").run();
    let file = shown(&made)["file"].as_str().expect("a file").to_owned();
    assert!(!file.starts_with(&*sandbox.project().to_string_lossy()), "a key in the project ends in its image: {file}");
    expect_nothing_private(&made, &fs_err::read_to_string(file).expect("the private key"));
}

#[test]
fn a_key_is_printed_only_where_that_is_asked_for() {
    let piped = Sandbox::empty().splitci("keys new --out -").run();
    piped.expect_exit(0);
    assert!(piped.stdout.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{piped}");
    assert!(!piped.stderr.contains("PRIVATE") && piped.stderr.contains("-----BEGIN PUBLIC KEY-----"), "{piped}");
}

#[test]
fn a_key_is_trusted_as_the_list_says() {
    let sandbox = Sandbox::empty();
    let (main, public) = make(&sandbox, "main.pem");
    let (pull, pull_public) = make(&sandbox, "pull.pem");
    let (other, _) = make(&sandbox, "other.pem");
    sandbox.write("keys/main.pem", &public);
    sandbox.write("splitci.toml", &format!("[trust]\nprotected = [\"keys/main.pem\"]\npull = [\"\"\"{pull_public}\"\"\"]\n"));
    let level = |key: &str, private: &str| {
        let done = sandbox.splitci("keys show --json").env("SPLITCI_KEY", key).run();
        expect_nothing_private(&done, private);
        shown(&done)["level"].as_str().expect("a level").to_owned()
    };
    assert_eq!(level(&main, &main), "protected");
    assert_eq!(level(&pull.replace('\n', "\\n"), &pull), "pull");
    assert_eq!(level(&sandbox.outside("main.pem").to_string_lossy(), &main), "protected");
    assert_eq!(level(&other, &other), "local");
    let named = format!("keys show --key {}", sandbox.outside("pull.pem").display());
    sandbox.splitci(&named).env("SPLITCI_KEY", &main).run().expect_says("level  pull (by `[trust]`)").expect_says(&pull_public);
    // What a pull request calls itself does not matter.
    let vain = sandbox.splitci("keys show").env("SPLITCI_KEY", &pull).env("SPLITCI_TRUST_PARTITION", "pr/../protected").run();
    vain.expect_exit(0).expect_says("level  pull, partition pr/../protected (by `[trust]`)");
    // A job of a fork gets an empty secret.
    sandbox.splitci("keys show").env("SPLITCI_KEY", "").run().expect_exit(0).expect_says("no key yet");
}

#[test]
fn a_passphrase_comes_with_the_environment() {
    let sandbox = Sandbox::empty();
    let file = sandbox.outside("locked.pem");
    let line = format!("keys new --passphrase --out {}", file.display());
    sandbox.splitci(&line).run().expect_exit(2).expect_says("set `SPLITCI_KEY_PASSPHRASE`");
    let made = sandbox.splitci(&line).env("SPLITCI_KEY_PASSPHRASE", "correct horse").run();
    made.expect_exit(0);
    assert!(fs_err::read_to_string(&file).expect("there").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let show = format!("keys show --key {}", file.display());
    let with = |passphrase: Option<&str>| match passphrase {
        Some(passphrase) => sandbox.splitci(&show).env("SPLITCI_KEY_PASSPHRASE", passphrase).run(),
        None => sandbox.splitci(&show).run(),
    };
    with(Some("correct horse")).expect_exit(0).expect_says(&made.stdout);
    with(None).expect_exit(2).expect_says("the key is encrypted");
    let wrong = with(Some("battery staple"));
    wrong.expect_exit(2).expect_says("the passphrase does not open the key");
    assert!(![&wrong.stdout, &wrong.stderr, &made.stderr].iter().any(|text| text.contains("horse") || text.contains("staple")));
}

#[test]
fn a_private_key_has_no_place_where_everybody_reads() {
    let sandbox = Sandbox::empty();
    let (private, public) = make(&sandbox, "main.pem");
    for text in [format!("[trust]\nkey = \"\"\"{private}\"\"\"\n"), format!("[trust]\nprotected = [\"\"\"{private}\"\"\"]\n")] {
        sandbox.write("splitci.toml", &text);
        let done = sandbox.splitci("keys show --json").env("SPLITCI_KEY", "").run();
        // A list is looked at when there is a key to look up.
        let done = if done.code == Some(0) { sandbox.splitci("keys show").env("SPLITCI_KEY", &private).run() } else { done };
        done.expect_exit(2).expect_says("private key");
        expect_nothing_private(&done, &private);
    }
    sandbox.write("splitci.toml", "");
    let line = sandbox.splitci("keys show").arg("--key").arg(&private).run();
    line.expect_exit(2).expect_says("a private key does not belong there").expect_says("command line, `--key`");
    expect_nothing_private(&line, &private);
    let swapped = sandbox.splitci("keys show").env("SPLITCI_KEY", &public).run();
    swapped.expect_exit(2).expect_says("this is not a private key of P-256 in PEM");
}

#[test]
fn a_list_that_cannot_be_read_is_told_with_its_place() {
    let sandbox = Sandbox::empty();
    let (private, _) = make(&sandbox, "main.pem");
    for (list, words) in [
        ("protected = [3]", "splitci.toml:2, key `trust.protected`"),
        ("protected = [{ key = \"a.pem\", level = \"release\" }]", "expected a list of public keys"),
        ("local = [\"a.pem\"]", "there is no key `trust.local`"),
        ("protected = [\"a.pem\"]", "a.pem"),
    ] {
        sandbox.write("splitci.toml", &format!("[trust]\n{list}\n"));
        sandbox.splitci("keys show").env("SPLITCI_KEY", &private).run().expect_exit(2).expect_says(words);
    }
}

#[test]
fn processes_that_start_at_once_make_one_key_for_their_machine() {
    let sandbox = Sandbox::empty();
    let line = "cache import there-is-none";
    let running: Vec<_> = (0..6).map(|_| sandbox.splitci(line).env("SPLITCI_CACHE_DIR", sandbox.outside("cache")).start()).collect();
    for one in running {
        one.wait().expect_exit(2).expect_says("there-is-none");
    }
    let mode = fs_err::metadata(sandbox.state().join("key.pem")).expect("a key").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let left = fs_err::read_dir(sandbox.state()).expect("read").flatten().map(|entry| entry.file_name().into_string().expect("text"));
    let left: Vec<String> = left.filter(|name| name.contains(".new")).collect();
    assert!(left.is_empty(), "{left:?}");
    let first = shown(&sandbox.splitci("keys show --json").run());
    assert_eq!((first["level"].as_str(), first["listed"].as_bool()), (Some("local"), Some(false)));
    assert_eq!(shown(&sandbox.splitci("keys show --json").run())["id"], first["id"]);
}
