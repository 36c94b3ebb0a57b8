//! A large suite that nobody here wrote, unmodified and without configuration: the same tests with the same outcomes as plain pytest gives,
//! as local processes and in containers.
//!
//! The suite is parso's, from its source distribution: 1,989 tests in 40 files, with doctests, parametrised ids of all sorts, a session fixture
//! and warnings as errors. It comes from the package index that pip is set up to use, once.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use splitci_coordinator::model::event::EventKind;
use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::python::Python;
use splitci_tests::{Done, Sandbox, plain};

const SUITE: &str = "parso==0.8.7";
const TESTS: usize = 1989;

/// The unpacked source distribution.
fn suite() -> PathBuf {
    let directory = splitci_tests::scratch().join("suites");
    let unpacked = directory.join(SUITE.replace("==", "-"));
    let lock = fs_err::File::create(splitci_tests::scratch().join("suites.lock")).expect("make a lock file");
    lock.file().lock().expect("lock the suites");
    if !unpacked.exists() {
        fs_err::create_dir_all(&directory).expect("make the directory");
        run(Python::with_friends()
            .command("python")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"])
            .arg(&directory)
            .arg(SUITE));
        run(Command::new("tar").arg("-xf").arg(unpacked.with_added_extension("tar.gz")).arg("-C").arg(&directory));
    }
    unpacked
}

fn run(command: &mut Command) {
    let output = command.output().expect("start a program");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    run(Command::new("cp").arg("-a").arg(suite().join(".")).arg(sandbox.project()));
    sandbox
}

fn expect_the_same(file: &Path, done: &Done) {
    done.expect_exit(0);
    let plain = plain::read(file).expect("the plain run wrote its outcomes");
    let differences = plain::differences(&plain, &done.facts());
    assert!(differences.is_empty(), "{} differences: {differences:#?}", differences.len());
    assert_eq!(plain::count(&plain), TESTS, "tests of the plain run");
}

#[test]
fn as_processes_it_comes_to_the_same_as_plain_pytest() {
    let plain_sandbox = sandbox();
    let file = plain_sandbox.outside("plain");
    run(Python::with_friends()
        .command("pytest")
        .args(["-q", "-p", "plain_outcomes"])
        .current_dir(plain_sandbox.project())
        .env("PYTHONPATH", plain::plugins("pytest"))
        .env("PLAIN_OUTCOMES", &file));
    let sandbox = sandbox();
    let done = sandbox.splitci("run --engine process --shards 4 --json").patience(Duration::from_mins(10)).run();
    expect_the_same(&file, &done);
    // Again: now with durations, so that slow files are sliced.
    let again = sandbox.splitci("run --engine process --shards 4 --json").patience(Duration::from_mins(10)).run();
    expect_the_same(&file, &again);
    sandbox.expect_no_processes();
}

#[test]
fn in_containers_it_comes_to_the_same_as_plain_pytest() {
    require();
    let sandbox = sandbox().dockerfile();
    let done = sandbox.splitci("run --engine docker --shards 4 --json").patience(Duration::from_mins(10)).run();
    let image = done.events().into_iter().find_map(|event| match event.kind {
        EventKind::ImageReady { identity, .. } => Some(identity.config),
        _ => None,
    });
    let out = sandbox.outside("plain");
    fs_err::create_dir_all(&out).expect("make a directory");
    run(Command::new("docker")
        .args(["run", "--rm", "--env", "PYTHONPATH=/plugin", "--env", "PLAIN_OUTCOMES=/out/outcomes", "--volume"])
        .arg(format!("{}:/plugin:ro", plain::plugins("pytest").display()))
        .arg("--volume")
        .arg(format!("{}:/out", out.display()))
        .arg(image.unwrap_or_default())
        .args(["pytest", "-q", "-p", "plain_outcomes"]));
    expect_the_same(&out.join("outcomes"), &done);
    expect_no_containers(&done.facts().run);
}
