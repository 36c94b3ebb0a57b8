//! Faults that a run must survive or name, as local processes. Each project is in `fixtures/faults/`, with what it must come to beside it.
//!
//! The sentences are the promise; `expected.toml` has the details. Whatever happens in a test, the verdict is right and the culprit is named,
//! and no process is left.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use splitci_coordinator::model::event::{EventKind, ShardLoss};
use splitci_tests::expected::{Expected, check, check_in};
use splitci_tests::{Facts, Sandbox};

fn survives(fault: &str) -> Facts {
    check(&format!("faults/{fault}"), "process").1
}

#[test]
fn a_test_that_ends_the_process_with_status_0_is_red() {
    survives("os_exit");
}

#[test]
fn a_test_that_raises_system_exit_fails_as_it_does_without_us() {
    survives("sys_exit");
}

#[test]
fn a_test_that_ends_the_session_in_order_is_red() {
    survives("pytest_exit");
}

#[test]
fn an_abort_is_named_with_its_signal() {
    survives("abort");
}

#[test]
fn a_segmentation_fault_is_named_with_its_signal() {
    survives("segfault");
}

#[test]
fn a_stack_overflow_is_named_with_its_signal() {
    survives("stack_overflow");
}

#[test]
fn a_framework_killed_once_costs_nothing_but_time() {
    let facts = survives("killed_once");
    assert_eq!(facts.suspects, 1, "the test that ran is tried again alone");
}

#[test]
fn a_status_of_its_own_after_passing_is_red() {
    survives("status_after_passing");
}

#[test]
fn a_status_of_its_own_at_exit_is_red() {
    survives("status_at_exit");
}

#[test]
fn a_framework_that_stops_itself_times_out() {
    survives("stops_itself");
}

#[test]
fn tests_that_never_end_time_out_one_by_one() {
    survives("never_ends");
}

#[test]
fn a_process_that_never_ends_after_its_last_word_is_red() {
    survives("thread_never_ends");
}

#[test]
fn a_fork_that_outlives_its_test_neither_holds_up_the_run_nor_outlives_it() {
    survives("fork_outlives");
}

#[test]
fn a_fork_that_returns_into_the_runner_counts_nothing() {
    survives("fork_returns");
}

#[test]
fn a_pytest_started_by_a_test_is_its_own_business() {
    survives("nested_pytest");
}

#[test]
fn a_flood_of_captured_output_is_cut_to_head_and_tail() {
    let facts = survives("flood");
    let failed = facts.told.iter().find(|(id, _)| id.ends_with("and_fails")).expect("its failure was told");
    assert!(failed.1.contains("the end"), "the tail is kept");
    assert!(failed.1.len() < 2 << 20, "{} bytes are kept", failed.1.len());
}

#[test]
fn a_flood_of_output_is_dropped_beyond_the_cap() {
    let facts = survives("flood_uncaptured");
    assert!(facts.output.len() <= 9 << 20, "{} bytes are kept", facts.output.len());
}

#[test]
fn bytes_that_are_no_text_are_shown_as_well_as_they_can_be() {
    survives("invalid_utf8");
}

#[test]
fn frames_of_ours_in_the_output_are_output() {
    survives("our_frames");
}

#[test]
fn a_test_that_dials_the_drivers_socket_changes_nothing() {
    survives("dials_the_socket");
}

#[test]
fn no_tests_at_all_is_exit_4() {
    survives("zero_tests");
}

#[test]
fn no_tests_at_all_is_fine_when_asked_for() {
    let sandbox = Sandbox::of("faults/zero_tests");
    sandbox.splitci("run --engine process --allow-empty").run().expect_exit(0);
}

#[test]
fn all_skipped_is_exit_4() {
    survives("all_skipped");
}

#[test]
fn a_file_without_tests_takes_nothing_away() {
    survives("file_without_tests");
}

#[test]
fn an_import_error_is_red_and_the_rest_runs() {
    survives("import_error");
}

#[test]
fn a_syntax_error_in_the_conftest_is_red_and_shown() {
    survives("conftest_syntax");
}

#[test]
fn a_syntax_error_in_a_conftest_below_is_red_and_shown() {
    survives("conftest_syntax_below");
}

#[test]
fn a_file_deleted_after_the_plan_is_red() {
    survives("deleted");
}

#[test]
fn two_tests_with_the_same_id_both_count() {
    survives("duplicate_ids");
}

#[test]
fn ids_that_change_between_loads_run_once() {
    survives("unstable_ids");
}

#[test]
fn slices_that_see_different_ids_are_run_again_in_one_piece() {
    // Where there are several shards, loading waits for a second process that loads: else a single quick shard would take all slices and agree with
    // itself.
    let slow = "import os\nimport pathlib\nimport random\nimport time\n\nimport pytest\n\n\
                loaded = pathlib.Path(os.environ['LOADED'])\n(loaded / str(os.getpid())).touch()\ndeadline = time.monotonic() + 60\n\
                while os.environ['SPLITCI_SHARDS'] != '1' and len(list(loaded.iterdir())) < 2 and time.monotonic() < deadline:\n    time.sleep(0.01)\n\n\n\
                @pytest.mark.parametrize('number', [str(random.random()) for _ in range(16)])\ndef test_any(number):\n    time.sleep(0.15)\n";
    let sandbox = Sandbox::empty().file("tests/test_slow.py", slow).file("tests/test_fast.py", "def test_one():\n    pass\n");
    let run = |shards: u32| {
        let loaded = tempfile::tempdir().expect("a folder");
        let line = format!("run --engine process --shards {shards} --env LOADED={} --json", loaded.path().display());
        let done = sandbox.splitci(&line).run();
        done.expect_exit(0);
        let facts = done.facts();
        assert_eq!(facts.count("passed"), 17, "every test counts once, of {done}");
        facts
    };
    assert_eq!(run(1).slices, 0, "nothing is known in the first run");
    let second = run(4);
    assert!(second.slices > 0, "a file that slow is sliced");
    assert!(second.superseded > 0, "its slices disagree");
    let third = run(1);
    assert_eq!((third.slices, third.superseded), (0, 0), "it is never sliced again");
}

#[test]
fn a_stable_slow_file_is_sliced_and_every_test_runs_once() {
    let slow =
        "import time\n\nimport pytest\n\n\n@pytest.mark.parametrize(\"number\", range(16))\ndef test_any(number):\n    time.sleep(0.15)\n";
    let sandbox = Sandbox::empty().file("tests/test_slow.py", slow).file("tests/test_fast.py", "def test_one():\n    pass\n");
    let run = || {
        let done = sandbox.splitci("run --engine process --shards 4 --json").run();
        done.expect_exit(0);
        done.facts()
    };
    run();
    let second = run();
    assert!(second.slices > 0, "a file that slow is sliced");
    assert_eq!((second.count("passed"), second.superseded), (17, 0));
    assert!(second.outcomes.values().all(|outcomes| outcomes.len() == 1), "each test once");
}

#[test]
fn frozen_time_does_not_reach_the_driver() {
    survives("freezegun");
}

#[test]
fn gevent_does_not_reach_the_driver() {
    survives("gevent");
}

#[test]
fn a_fake_file_system_does_not_reach_the_driver() {
    survives("pyfakefs");
}

#[test]
fn a_session_fixture_below_runs_once_in_a_shard() {
    let (sandbox, _) = check("faults/session_fixture", "process");
    let notes = fs_err::read_to_string(sandbox.outside("notes")).expect("the fixtures ran");
    let words: Vec<_> = notes.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(words, ["set-up", "module", "tear-down"]);
}

#[test]
fn one_poison_test_among_a_thousand_takes_no_other_down() {
    let sandbox = Sandbox::empty();
    let tests = (0..20).map(|test| format!("def test_{test:02}():\n    pass\n")).collect::<Vec<_>>().join("\n\n");
    for file in 0..50 {
        sandbox.write(&format!("tests/test_{file:02}.py"), &tests);
    }
    let poison = "import os\n\n\ndef test_before():\n    pass\n\n\ndef test_poison():\n    os.kill(os.getpid(), 9)\n\n\ndef test_after():\n    pass\n";
    sandbox.write("tests/test_17.py", poison);
    let expected: Expected = toml::from_str(
        "run = \"--shards 8\"\nexit = 1\npassed = 982\nsessions_lost = 2\nsays = [\"tests/test_17.py::test_poison\", \"SIGKILL\"]\n\
         [tests]\n\"tests/test_17.py::test_poison\" = \"crashed: signal 9\"\n",
    )
    .expect("TOML");
    check_in(&sandbox, &expected, "process");
}

/// A project with a test that tells its process and then waits to be dealt with.
fn waiting() -> Sandbox {
    let test = "import os\nimport time\nfrom pathlib import Path\n\nOUTSIDE = Path(os.environ[\"SANDBOX_OUTSIDE\"])\n\n\ndef test_before():\n    pass\n\n\n\
                def test_waits():\n    if not (OUTSIDE / \"seen\").exists():\n        (OUTSIDE / \"seen\").touch()\n        \
                (OUTSIDE / \"pids\").write_text(f\"{os.getpid()} {os.getppid()}\")\n        time.sleep(60)\n\n\ndef test_after():\n    pass\n";
    Sandbox::empty().file("tests/test_waiting.py", test)
}

/// Process of the framework and of its worker, once the test waits.
fn pids(sandbox: &Sandbox) -> (Pid, Pid) {
    let path = sandbox.outside("pids");
    for _ in 0..1200 {
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        let pids: Vec<_> = text.split(' ').filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
        if let [framework, worker] = pids[..] {
            return (framework, worker);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the test did not begin within a minute");
}

#[test]
fn a_framework_killed_from_outside_costs_nothing_but_time() {
    let sandbox = waiting();
    let running = sandbox.splitci("run --engine process --json").start();
    kill_process(pids(&sandbox).0, Signal::KILL).expect("kill the framework");
    let done = running.wait();
    done.expect_exit(0);
    assert_eq!(done.facts().count("passed"), 3);
    sandbox.expect_no_processes();
}

#[test]
fn a_worker_killed_from_outside_costs_nothing_but_time() {
    let sandbox = waiting();
    let mut running = sandbox.splitci("run --engine process --json").start();
    let (_, worker) = pids(&sandbox);
    kill_process(worker, Signal::KILL).expect("kill the worker");
    running.wait_for("the loss", |event| matches!(event, EventKind::ShardLost { cause: ShardLoss::Killed, .. }).then_some(()));
    let done = running.wait();
    done.expect_exit(0);
    assert_eq!(done.facts().count("passed"), 3);
    sandbox.expect_no_processes();
}

#[test]
fn a_splitci_killed_from_outside_leaves_no_process() {
    let sandbox = waiting();
    let running = sandbox.splitci("run --engine process --json").start();
    pids(&sandbox);
    running.signal(Signal::KILL);
    let done = running.wait();
    assert_eq!(done.signal, Some(9));
    sandbox.expect_no_processes();
}

#[test]
fn an_interrupt_ends_the_run_cleanly_and_says_so() {
    let sandbox = waiting();
    let running = sandbox.splitci("run --engine process --json").start();
    pids(&sandbox);
    running.signal(Signal::INT);
    let done = running.wait();
    done.expect_exit(130);
    assert_eq!(done.facts().exit, Some(130), "the record is closed");
    sandbox.expect_no_processes();
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    let sandbox = Sandbox::empty().file(
        "tests/test_deaf.py",
        "import os\nimport signal\nimport time\nfrom pathlib import Path\n\n\ndef test_deaf():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    \
         signal.signal(signal.SIGINT, signal.SIG_IGN)\n    (Path(os.environ[\"SANDBOX_OUTSIDE\"]) / \"pids\").write_text(f\"{os.getpid()} {os.getppid()}\")\n    \
         while True:\n        time.sleep(60)\n",
    );
    let running = sandbox.splitci("run --engine process --json").start();
    pids(&sandbox);
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    let second = std::time::Instant::now();
    running.signal(Signal::INT);
    let done = running.wait();
    assert!(second.elapsed() < Duration::from_secs(2), "it took {:?} after the second", second.elapsed());
    assert_eq!(done.code, Some(130), "of {done}");
    sandbox.expect_no_processes();
}

#[test]
fn a_termination_is_exit_143() {
    let sandbox = waiting();
    let running = sandbox.splitci("run --engine process --json").start();
    pids(&sandbox);
    running.signal(Signal::TERM);
    running.wait().expect_exit(143);
    sandbox.expect_no_processes();
}

#[test]
fn a_stopped_splitci_goes_on_where_it_was() {
    let sandbox = waiting();
    let running = sandbox.splitci("run --engine process --json").start();
    let (framework, _) = pids(&sandbox);
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(2));
    running.signal(Signal::CONT);
    kill_process(framework, Signal::KILL).expect("kill the framework");
    let done = running.wait();
    done.expect_exit(0);
    assert_eq!(done.facts().count("passed"), 3);
}

#[test]
fn a_record_that_cannot_be_written_is_no_proof() {
    let sandbox = Sandbox::of("sample");
    fs_err::create_dir_all(sandbox.state()).expect("make the state directory");
    let script = "mount -t tmpfs -o size=16k none \"$SPLITCI_STATE\" && exec \"$0\" \"$@\"";
    let own_mounts = ["--mount", "--map-root-user", "--user", "sh", "-c", script];
    let program = splitci_tests::program::binary();
    let splitci = splitci_tests::Splitci::through("unshare", own_mounts).arg(program).args(["run", "--engine", "process", "--shards", "2"]);
    let done = sandbox.dress(splitci, splitci_tests::python::Python::with_friends()).run();
    done.expect_exit(3).expect_says("No space left");
    sandbox.expect_no_processes();
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    let library = splitci_tests::scratch().join("jumping-clock.so");
    let source = splitci_tests::root().join("fixtures/clock/jumping.c");
    let compiled = std::process::Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc compiles the jumping clock");
    let sandbox = Sandbox::of("sample");
    let done = sandbox.splitci("run --engine process --shards 2 --json").env("LD_PRELOAD", library).run();
    done.expect_exit(0);
    let times: Vec<_> = done.events().iter().map(|event| event.at_ms).collect();
    assert!(times.is_sorted(), "times only grow: {times:?}");
    assert!(times.last().is_some_and(|last| *last < 60_000), "nothing took an hour: {times:?}");
}
