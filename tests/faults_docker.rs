//! Faults that need a real engine: what tests do to the inside of a container, and what happens to containers and to the engine from outside.
//!
//! An engine that is not there is a failure of these tests, not a reason to skip them.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use splitci_coordinator::model::event::EventKind;
use splitci_tests::engine::{Door, Manner, containers, docker, docker_says, expect_no_containers, require};
use splitci_tests::expected::check;
use splitci_tests::{Facts, Running, Sandbox};

fn survives(fault: &str) -> Facts {
    require();
    check(&format!("faults/{fault}"), "docker").1
}

/// T10: a status of 0 is not believed without the results of all tests.
#[test]
fn a_test_that_ends_the_process_with_status_0_is_red() {
    survives("os_exit");
}

#[test]
fn a_segmentation_fault_is_named_with_its_signal() {
    survives("segfault");
}

#[test]
fn tests_that_never_end_time_out_one_by_one() {
    survives("never_ends");
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
fn frames_of_ours_in_the_output_are_output() {
    survives("our_frames");
}

/// T10: test code cannot speak for the worker.
#[test]
fn nobody_writes_into_the_stream_of_process_1() {
    survives("writes_to_init");
}

#[test]
fn a_test_that_dials_the_drivers_socket_changes_nothing() {
    survives("dials_the_socket");
}

#[test]
fn a_test_that_takes_all_memory_is_named_and_the_rest_runs() {
    survives("out_of_memory");
}

#[test]
fn a_status_of_its_own_after_passing_is_red() {
    survives("status_after_passing");
}

#[test]
fn a_syntax_error_in_the_conftest_is_red_and_shown() {
    survives("conftest_syntax");
}

#[test]
fn all_skipped_is_exit_4() {
    survives("all_skipped");
}

/// A project whose tests take long enough to be dealt with.
fn slow(tests: usize) -> Sandbox {
    require();
    let sandbox = Sandbox::empty().dockerfile();
    for number in 0..tests {
        sandbox.write(&format!("tests/test_{number}.py"), "import time\n\n\ndef test_waits():\n    time.sleep(3)\n");
    }
    sandbox
}

/// Kills what runs of a run; it may be gone already.
fn kill(run: &str) {
    docker(&format!("kill {}", containers(run).join(" ")));
}

fn begin(sandbox: &Sandbox, options: &str) -> (Running, String) {
    let mut running = sandbox.splitci(&format!("run --engine docker --json {options}")).start();
    let run = running.wait_for("the start", |event| match event {
        EventKind::RunStarted(start) => Some(start.run.0.clone()),
        _ => None,
    });
    running.wait_for("a lease", |event| matches!(event, EventKind::UnitLeased { .. }).then_some(()));
    (running, run)
}

#[test]
fn a_container_killed_once_costs_nothing_but_time() {
    let sandbox = slow(4);
    let (running, run) = begin(&sandbox, "--shards 2");
    let first = containers(&run).pop();
    docker_says(&format!("kill {}", first.as_deref().unwrap_or("nothing")));
    let done = running.wait();
    done.expect_exit(0);
    let facts = done.facts();
    assert_eq!(facts.count("passed"), 4, "of {done}");
    assert_eq!(facts.shards_lost, 1, "of {done}");
    expect_no_containers(&run);
}

#[test]
fn a_test_whose_container_is_killed_every_time_is_no_proof() {
    let sandbox = slow(1);
    let (mut running, run) = begin(&sandbox, "--shards 1");
    let begun = |event: &EventKind| match event {
        EventKind::UnitDeclared { .. } => Some(true),
        EventKind::RunFinished { .. } => Some(false),
        _ => None,
    };
    let mut kills = 0;
    while running.wait_for("a test's beginning, or the end", begun) {
        kill(&run);
        kills += 1;
    }
    assert_eq!(kills, 2, "lost twice is enough");
    let done = running.wait();
    done.expect_exit(3);
    assert_eq!(done.facts().shards_started, 2, "nothing was left for another one to do: {done}");
    expect_no_containers(&run);
}

#[test]
fn a_splitci_killed_from_outside_leaves_no_container() {
    let sandbox = slow(8);
    let (running, run) = begin(&sandbox, "--shards 2");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal, Some(9));
    expect_no_containers(&run);
}

#[test]
fn an_interrupt_ends_the_containers_too() {
    let sandbox = slow(8);
    let (running, run) = begin(&sandbox, "--shards 2");
    running.signal(Signal::INT);
    running.wait().expect_exit(130);
    expect_no_containers(&run);
}

#[test]
fn an_engine_that_is_not_there_is_exit_3_with_a_way_out() {
    let sandbox = Sandbox::of("sample");
    let done = sandbox.splitci("run").env("DOCKER_HOST", "unix:///nowhere/engine.sock").run();
    done.expect_exit(3).expect_says("--engine process");
}

#[test]
fn an_engine_that_sends_everybody_away_is_exit_3() {
    let sandbox = Sandbox::of("sample");
    let door = Door::open(&sandbox.outside(""));
    door.set(Manner::Shut);
    let done = sandbox.splitci("run").env("DOCKER_HOST", door.address()).run();
    done.expect_exit(3).expect_says("--engine process");
}

#[test]
fn an_engine_that_never_answers_is_exit_3_within_a_minute() {
    let sandbox = Sandbox::of("sample");
    let door = Door::open(&sandbox.outside(""));
    door.set(Manner::Silent);
    let done = sandbox.splitci("run").env("DOCKER_HOST", door.address()).patience(Duration::from_mins(2)).run();
    done.expect_exit(3);
    assert!(done.took < Duration::from_mins(1), "it took {:?}", done.took);
}

#[test]
fn a_restart_of_the_engine_halfway_is_never_green_without_proof() {
    let sandbox = slow(6);
    let door = Door::open(&sandbox.outside(""));
    let mut running = sandbox.splitci("run --engine docker --json --shards 2").env("DOCKER_HOST", door.address()).start();
    let run = running.wait_for("the start", |event| match event {
        EventKind::RunStarted(start) => Some(start.run.0.clone()),
        _ => None,
    });
    running.wait_for("a lease", |event| matches!(event, EventKind::UnitLeased { .. }).then_some(()));
    // What a client sees of a restart: its streams end, nobody answers, its containers are dead, then somebody answers again.
    door.set(Manner::Shut);
    door.clear();
    kill(&run);
    std::thread::sleep(Duration::from_secs(2));
    door.set(Manner::Open);
    let done = running.wait();
    let passed = done.facts().count("passed");
    assert!(done.code == Some(3) || (done.code == Some(0) && passed == 6), "{passed} passed, of {done}");
    expect_no_containers(&run);
}

#[test]
fn an_engine_that_falls_silent_halfway_does_not_hold_the_run_for_ever() {
    let sandbox = slow(2);
    let door = Door::open(&sandbox.outside(""));
    let mut running = sandbox
        .splitci("run --engine docker --json --shards 1 --timeout 20s")
        .env("DOCKER_HOST", door.address())
        .patience(Duration::from_mins(4))
        .start();
    let run = running.wait_for("the start", |event| match event {
        EventKind::RunStarted(start) => Some(start.run.0.clone()),
        _ => None,
    });
    running.wait_for("a lease", |event| matches!(event, EventKind::UnitLeased { .. }).then_some(()));
    // Streams that are open go on; whatever is asked from now on is not answered.
    door.set(Manner::Silent);
    let started = Instant::now();
    let done = running.wait();
    assert!(started.elapsed() < Duration::from_mins(3), "it took {:?}", started.elapsed());
    assert!(matches!(done.code, Some(0 | 3)), "the tests themselves are fine, of {done}");
    expect_no_containers(&run);
}

/// A run of the sample in an image of this Dockerfile.
fn sample_in(dockerfile: &str, more: &[(&str, &str)]) -> Facts {
    require();
    let sandbox = Sandbox::of("sample").file("Dockerfile", dockerfile);
    for (path, content) in more {
        sandbox.write(path, content);
    }
    let done = sandbox.splitci("run --engine docker --json --shards 2").patience(Duration::from_mins(5)).run();
    done.expect_exit(0);
    let facts = done.facts();
    assert_eq!((facts.count("passed"), facts.count("expected_failure")), (53, 1), "of {done}");
    expect_no_containers(&facts.run);
    facts
}

const PYTEST: &str = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends python3 python3-pytest \\\n \
                      && rm -rf /var/lib/apt/lists/*\n";

#[test]
fn an_image_with_a_user_of_its_own_works() {
    sample_in(&format!("{PYTEST}RUN useradd app\nWORKDIR /app\nCOPY . .\nUSER app\n"), &[]);
}

#[test]
fn an_image_with_an_entrypoint_of_its_own_runs_it_first() {
    let entrypoint = "#!/bin/sh\nset -e\necho the entrypoint ran\nexport PREPARED=yes\nexec \"$@\"\n";
    let test = "import os\n\n\ndef test_the_entrypoint_ran():\n    assert os.environ[\"PREPARED\"] == \"yes\"\n";
    let dockerfile =
        format!("{PYTEST}COPY --chmod=755 entry.sh /entry.sh\nWORKDIR /app\nCOPY . .\nENTRYPOINT [\"/entry.sh\"]\nCMD [\"serve\"]\n");
    require();
    let sandbox = Sandbox::empty().file("Dockerfile", &dockerfile).file("entry.sh", entrypoint).file("tests/test_entry.py", test);
    let done = sandbox.splitci("run --engine docker --json").patience(Duration::from_mins(5)).run();
    done.expect_exit(0);
    assert_eq!(done.facts().count("passed"), 1);
}

#[test]
fn an_entrypoint_that_never_comes_to_the_command_is_exit_3_with_a_way_out() {
    require();
    let dockerfile =
        format!("{PYTEST}WORKDIR /app\nCOPY . .\nENTRYPOINT [\"/bin/sh\", \"-c\", \"echo waiting for the database; sleep 3600\"]\n");
    let sandbox = Sandbox::of("sample").file("Dockerfile", &dockerfile).file("splitci.toml", "[run.timeout]\nboot = \"3s\"\n");
    let done = sandbox.splitci("run --engine docker --shards 1").patience(Duration::from_mins(5)).run();
    done.expect_exit(3).expect_says("waiting for the database").expect_says("entrypoint = []");
}

#[test]
fn a_read_only_root_works() {
    sample_in(&format!("{PYTEST}WORKDIR /app\nCOPY . .\n"), &[("splitci.toml", "[shard]\nread_only = true\n")]);
}

#[test]
fn no_network_works() {
    sample_in(&format!("{PYTEST}WORKDIR /app\nCOPY . .\n"), &[("splitci.toml", "[shard]\nnetwork = \"none\"\n")]);
}

#[test]
fn an_image_without_a_shell_works() {
    let build = PYTEST.replacen("bookworm-slim", "bookworm-slim AS build", 1);
    let shells = "RUN [\"rm\", \"/bin/sh\", \"/bin/dash\", \"/bin/bash\", \"/bin/rm\"]\n";
    sample_in(&format!("{build}{shells}FROM scratch\nCOPY --from=build / /\nWORKDIR /app\nCOPY . .\n"), &[]);
}

#[test]
fn an_init_that_insists_on_process_1_gets_it() {
    let dockerfile = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends python3 python3-pytest tini \\\n \
                      && rm -rf /var/lib/apt/lists/*\nWORKDIR /app\nCOPY . .\nENTRYPOINT [\"/usr/bin/tini\", \"--\"]\n";
    sample_in(dockerfile, &[("splitci.toml", "[shard]\ninit = \"image\"\n")]);
}

#[test]
fn an_image_is_built_once_and_found_again() {
    require();
    let sandbox = Sandbox::of("sample").file("tests/test_more.py", "def test_more():\n    pass\n");
    let how = || {
        let done = sandbox.splitci("run --json").patience(Duration::from_mins(5)).run();
        done.expect_exit(0);
        done.events().into_iter().find_map(|event| match event.kind {
            EventKind::ImageReady { how, identity, .. } => Some((how, identity.config)),
            _ => None,
        })
    };
    let (first, second) = (how(), how());
    assert_eq!(first.map(|(_, config)| config), second.as_ref().map(|(_, config)| config.clone()));
    assert_eq!(second.map(|(how, _)| how), Some(splitci_coordinator::model::event::ImageSource::Found));
}

#[test]
fn a_build_that_fails_is_exit_5_and_shows_the_step_and_its_log() {
    require();
    let dockerfile = "FROM debian:bookworm-slim\nRUN echo before && printf '%s %s\\n' the reason && false\nCOPY . .\n";
    let sandbox = Sandbox::of("sample").file("Dockerfile", dockerfile);
    let done = sandbox.splitci("run").patience(Duration::from_mins(5)).run();
    done.expect_exit(5).expect_says("    the reason\n").expect_says("RUN echo before");
}

#[test]
fn a_project_below_its_dockerfile_runs_there() {
    require();
    let sandbox =
        Sandbox::empty().dockerfile().file("services/shop/tests/test_shop.py", "def test_shop():\n    pass\n").file(".git/HEAD", "");
    let done = sandbox.splitci("run --json -C services/shop").patience(Duration::from_mins(5)).run();
    done.expect_exit(0);
    assert_eq!(done.facts().outcomes.keys().next().map(String::as_str), Some("tests/test_shop.py::test_shop"));
    assert!(Path::new(&sandbox.project()).join("services/shop").is_dir());
}
