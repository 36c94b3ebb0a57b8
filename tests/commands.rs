//! What people expect of the commands around a run: a reproduction is one, `last` stays what it was, and whose fault it was shows in the exit status.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use splitci_coordinator::model::event::EventKind;
use splitci_tests::{Done, Facts, Running, Sandbox, Splitci};

const RED: &str = "def test_fine():\n    pass\n\n\ndef test_total():\n    assert 3 == 4\n";

fn run(sandbox: &Sandbox, line: &str) -> Done {
    sandbox.splitci(line).run()
}

fn facts(sandbox: &Sandbox, line: &str) -> Facts {
    run(sandbox, &format!("{line} --json")).facts()
}

#[test]
fn a_reproduction_that_runs_other_tests_is_not_green() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", RED);
    let red = facts(&sandbox, "run --engine process --shards 1");
    let test = format!("repro {} --test tests/test_cart.py::test_total", red.run);
    run(&sandbox, &test).expect_exit(1).expect_says("test_total");
    sandbox.write("tests/test_cart.py", "def test_ok():\n    pass\n");
    run(&sandbox, &test).expect_exit(2).expect_says("tests/test_cart.py::test_fine is not there any more");
    run(&sandbox, &format!("repro {} --shard 1", red.run)).expect_exit(2);
    sandbox.expect_no_private_directories();
}

#[test]
fn a_reproduction_takes_from_its_caller_what_no_record_holds() {
    let test = "import os\n\n\ndef test_variables():\n    assert (os.environ.get(\"BY_VALUE\"), os.environ.get(\"BY_NAME\"), os.environ.get(\"BY_FILE\")) == (\"1\", \"2\", \"3\")\n";
    let sandbox = Sandbox::empty().file("tests/test_env.py", test).file("my.env", "BY_FILE=3\n");
    let line = "run --engine process --shards 1 --env BY_VALUE=1 --env BY_NAME --env-file my.env --json";
    let green = sandbox.splitci(line).env("BY_NAME", "2").run();
    green.expect_exit(0);
    let repro = format!("repro {} --shard 1", green.facts().run);
    let given = sandbox.splitci(&repro).env("BY_NAME", "2").env("BY_FILE", "3").run();
    given.expect_exit(0).expect_says("taken from your environment").expect_says("BY_FILE, BY_NAME");
    sandbox.splitci(&format!("{repro} --env BY_NAME=2 --env-file my.env")).run().expect_exit(0);
    let missing = sandbox.splitci(&repro).env("BY_NAME", "2").run();
    missing.expect_exit(1).expect_says("not set here: BY_FILE");
}

#[test]
fn a_reproduction_is_not_the_last_run() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", RED).file("tests/test_more.py", RED);
    run(&sandbox, "run --engine process --shards 2").expect_exit(1);
    for _ in 0..2 {
        run(&sandbox, "repro last --test tests/test_cart.py::test_total").expect_exit(1);
    }
    let again = facts(&sandbox, "run --engine process --shards 2 --failed");
    assert_eq!(again.exceptions(), ["tests/test_cart.py::test_total: failed", "tests/test_more.py::test_total: failed"]);
    let here = facts(&sandbox, "run --engine process --shards 2 --failed tests/test_more.py");
    assert_eq!(here.exceptions(), ["tests/test_more.py::test_total: failed"]);
}

#[test]
fn a_failure_that_is_gone_is_told() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", &format!("{RED}\n\ndef test_tax():\n    assert 0\n"));
    run(&sandbox, "run --engine process --shards 1").expect_exit(1);
    sandbox.write("tests/test_cart.py", &RED.replace("3 == 4", "4 == 4"));
    run(&sandbox, "run --engine process --shards 1 --failed")
        .expect_exit(0)
        .expect_says("not there any more: tests/test_cart.py::test_tax");
}

#[test]
fn what_the_framework_refuses_is_the_invokers_fault() {
    let sandbox = Sandbox::empty().file("tests/test_cart.py", RED);
    for (line, words) in [
        ("run --engine process tests/nope.py", "nope.py"),
        ("run --engine process tests/test_cart.py::nope", "nope"),
        ("run --engine process -- -k (", "-k"),
        ("run --engine process -- --nope", "--nope"),
    ] {
        run(&sandbox, line).expect_exit(2).expect_says("refuses its command").expect_says(words);
    }
    run(&sandbox, "repro zzz").expect_exit(2).expect_says("no run is called `zzz`");
    run(&sandbox, "report zzz").expect_exit(2);
    run(&sandbox, "run --engine process --shards 1001").expect_exit(2).expect_says("from 1 to 1000");
}

#[test]
fn a_status_for_no_tests_after_tests_is_red() {
    let conftest = "def pytest_sessionfinish(session):\n    session.exitstatus = 5\n";
    let sandbox = Sandbox::empty().file("conftest.py", conftest).file("tests/test_fine.py", "def test_fine():\n    pass\n");
    run(&sandbox, "run --engine process --shards 1").expect_exit(1).expect_says("status 5");
}

#[test]
fn a_failure_names_the_tests_own_line() {
    let test = "import json\n\n\ndef test_json():\n    json.loads(\"{\")\n";
    let sandbox = Sandbox::empty().file("tests/test_json.py", test);
    let done = run(&sandbox, "run --engine process --shards 1");
    done.expect_exit(1).expect_says("tests/test_json.py:5: json.decoder.JSONDecodeError").expect_says("        def test_json():");
}

#[test]
fn a_timeout_shows_its_limit_and_where_the_test_stood() {
    let test = "import time\n\n\ndef test_still():\n    time.sleep(60)\n";
    let sandbox = Sandbox::empty().file("tests/test_still.py", test);
    let done = run(&sandbox, "run --engine process --shards 1 --timeout 1s");
    done.expect_exit(1).expect_says("longer than 1.0 s").expect_says("line 5 in test_still");
}

/// A red project of two files, one of which goes on for a minute.
fn lasting() -> Sandbox {
    let lasting = "import os\nimport time\nfrom pathlib import Path\n\n\ndef test_lasts():\n    \
                   (Path(os.environ[\"SANDBOX_OUTSIDE\"]) / \"begun\").touch()\n    time.sleep(0 if os.environ.get(\"SHORT\") else 60)\n    assert 0\n";
    Sandbox::empty().file("tests/test_lasting.py", lasting).file("tests/test_cart.py", RED)
}

/// Starts it and waits until the test that lasts has begun.
fn begun(sandbox: &Sandbox, splitci: Splitci) -> Running {
    let running = splitci.start();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !sandbox.outside("begun").exists() {
        assert!(Instant::now() < deadline, "the test did not begin within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    running
}

#[test]
fn an_interrupted_reproduction_ends_with_130_and_leaves_nothing() {
    let sandbox = lasting();
    let red = sandbox.splitci("run --engine process --shards 1 --json tests/test_lasting.py").env("SHORT", "1").run().facts();
    fs_err::remove_file(sandbox.outside("begun")).expect("the test has run");
    let repro = format!("repro {} --test tests/test_lasting.py::test_lasts", red.run);
    let running = begun(&sandbox, sandbox.splitci(&repro));
    running.signal(Signal::INT);
    running.wait().expect_exit(130).expect_says("INTERRUPTED");
    sandbox.expect_no_processes();
    sandbox.expect_no_private_directories();
}

#[test]
fn a_terminal_that_goes_away_ends_the_run_in_order() {
    let sandbox = lasting();
    let program = splitci_tests::program::binary().to_str().expect("a path");
    // The tests themselves may run under `nohup`, which is inherited.
    let line = ["--default-signal=HUP", program, "run", "--engine", "process", "--shards", "1", "tests/test_lasting.py"];
    let heeding = sandbox.dress(Splitci::through("env", line), splitci_tests::python::Python::with_friends());
    let running = begun(&sandbox, heeding);
    running.signal(Signal::HUP);
    running.wait().expect_exit(129).expect_says("INTERRUPTED");
    sandbox.expect_no_processes();
    sandbox.expect_no_private_directories();
}

#[test]
fn nohup_keeps_a_run_going() {
    let sandbox = lasting();
    let program = splitci_tests::program::binary().to_str().expect("a path");
    let line = [program, "run", "--engine", "process", "--shards", "1", "--timeout", "2s", "tests/test_lasting.py"];
    let nohup = sandbox.dress(Splitci::through("nohup", line), splitci_tests::python::Python::with_friends());
    let running = begun(&sandbox, nohup);
    running.signal(Signal::HUP);
    running.wait().expect_exit(1).expect_says("longer than 2.0 s");
    sandbox.expect_no_processes();
}

#[test]
fn a_run_in_a_container_is_swept_by_nobody_outside() {
    let sandbox = Sandbox::empty().file("tests/test_slow.py", "import time\n\n\ndef test_slow():\n    time.sleep(4)\n");
    let container = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let inside = Splitci::through("unshare", container).arg(splitci_tests::program::binary());
    let inside = inside.args(["run", "--engine", "process", "--shards", "1", "--json"]);
    let mut inside = sandbox.dress(inside, splitci_tests::python::Python::with_friends()).start();
    inside.wait_for("the test", |kind| matches!(kind, EventKind::UnitDeclared { .. }).then_some(()));
    // Outside its processes are seen under other numbers.
    run(&sandbox, "run --engine process --shards 1").expect_exit(0);
    let done = inside.wait();
    done.expect_exit(0);
    let facts = done.facts();
    assert_eq!((facts.count("passed"), facts.shards_lost, facts.sessions.len()), (1, 0, 1), "{done}");
    sandbox.expect_no_private_directories();
}
