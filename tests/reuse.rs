//! Files that were proven before and are not run again: real runs in containers, one after the other, and what may never be reused.
#![expect(clippy::expect_used, reason = "a test reports by panicking")]

use std::time::Duration;

use splitci_coordinator::model::event::EventKind;
use splitci_tests::engine::{docker_says, expect_no_containers, require};
use splitci_tests::{Done, Facts, Sandbox};

const PURE: &str = "def test_one():\n    assert 1 + 1 == 2\n\n\ndef test_two():\n    assert 2 + 2 == 4\n";
/// Runs in which chance may keep a canary silent: twelve draws or tosses that all come out the same way are one in 4,096.
const WITHIN: usize = 12;

/// A project of four files with two tests each.
fn pure() -> Sandbox {
    require();
    let sandbox = Sandbox::empty().dockerfile();
    for name in ["a", "b", "c", "d"] {
        sandbox.write(&format!("tests/test_{name}.py"), PURE);
    }
    sandbox
}

/// A project of one file.
fn only(test: &str) -> Sandbox {
    require();
    Sandbox::empty().dockerfile().file("tests/test_it.py", test)
}

fn run(sandbox: &Sandbox, line: &str) -> Done {
    let shards = if line.contains("--shards") { "" } else { "--shards 2" };
    sandbox.splitci(&format!("run --engine docker {shards} {line}")).patience(Duration::from_mins(5)).run()
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    let done = run(sandbox, &format!("--json {line}"));
    done.expect_exit(exit);
    let facts = done.facts();
    expect_no_containers(&facts.run);
    facts
}

/// Files that were reused, and files that were run to see.
fn files(facts: &Facts) -> (usize, usize) {
    (facts.reused.len(), facts.canaries.len())
}

/// The records of a layer in the sandbox's cache.
fn records(sandbox: &Sandbox, layer: &str) -> Vec<std::path::PathBuf> {
    let walk = walkdir::WalkDir::new(sandbox.cache().join("v1/rec").join(layer)).into_iter();
    walk.map(|entry| entry.expect("it is kept")).filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

fn packs(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    records(sandbox, "results")
}

#[test]
fn what_was_proven_is_not_run_again_but_for_canaries() {
    let sandbox = pure();
    let first = facts(&sandbox, "--reuse", 0);
    assert_eq!((files(&first), first.total()), ((0, 0), 8));
    let told = run(&sandbox, "--reuse");
    told.expect_exit(0).expect_says("PASSED  8 tests: 6 reused, 2 passed").expect_says("2 run; 1 file run again to see: 1 as before");
    told.expect_says(&format!("proof   6 tests by run {}\n", first.run));
    for _ in 0..2 {
        let again = facts(&sandbox, "--reuse", 0);
        assert_eq!((files(&again), again.total()), ((3, 1), 2), "the canary alone is run");
        assert!(!again.reused.contains_key(&again.canaries[0]));
    }

    // In the project it would be a part of the image.
    let file = sandbox.outside("junit.xml");
    let without = facts(&sandbox, &format!("--reuse --junit {}", file.display()), 0);
    let junit = fs_err::read_to_string(file).expect("a report");
    assert_eq!(junit.matches("<property name=\"splitci.reused\" value=\"01").count(), 3 + 6, "files and tests: {junit}");
    assert!(junit.contains("tests=\"8\"") && junit.contains("failures=\"0\""), "{junit}");
    let replayed = sandbox.splitci(&format!("report {} --format junit", without.run)).run();
    assert_eq!(replayed.stdout, junit, "the record says the same");
    let json = sandbox.splitci(&format!("report {} --format json", without.run)).run().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["counts"]["reused"].as_u64(), json["counts"]["passed"].as_u64()), (Some(6), Some(2)));
    assert_eq!((json["reused"].as_array().map(Vec::len), json["canaries"][0]["shows"].as_str()), (Some(3), Some("agrees")));
}

#[test]
fn nothing_is_reused_unless_it_is_asked_for() {
    let sandbox = pure();
    for line in ["--reuse", "", "--reuse --fresh", "--reuse=false"] {
        assert_eq!(files(&facts(&sandbox, line, 0)), (0, 0), "{line:?}");
    }
    assert_eq!(files(&facts(&sandbox, "--reuse", 0)), (3, 1));
    sandbox.write("splitci.toml", "[cache]\nresults = true\ncanaries = 0\n");
    // The file is in the image too.
    assert_eq!(files(&facts(&sandbox, "", 0)), (0, 0));
    let all = run(&sandbox, "");
    all.expect_exit(0).expect_says("PASSED  8 tests: 8 reused");
    assert_eq!(files(&facts(&sandbox, "--fresh", 0)), (0, 0));
}

#[test]
fn where_all_is_proven_no_shard_is_started() {
    let sandbox = pure().file("splitci.toml", "[cache]\nresults = true\ncanaries = 0\n");
    let first = facts(&sandbox, "", 0);
    let told = run(&sandbox, "");
    told.expect_exit(0).expect_says("PASSED  8 tests: 8 reused").expect_says(&format!("4 files, as run {} listed them", first.run));
    let again = facts(&sandbox, "", 0);
    assert_eq!((files(&again), again.total()), ((4, 0), 0));
    assert_eq!(again.sessions.len(), 0, "there was nothing to do for a shard");
    let json = sandbox.splitci(&format!("report {} --format json", again.run)).run().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json["verdict"].as_str(), json["counts"]["reused"].as_u64()), (Some("passed"), Some(8)));

    // A list that cannot be believed is made anew.
    let list = records(&sandbox, "suite").pop().expect("it is kept");
    let kept = fs_err::read(&list).expect("readable");
    fs_err::write(&list, &kept[..kept.len() - 1]).expect("written");
    let listed = facts(&sandbox, "", 0);
    assert_eq!((files(&listed), listed.total()), ((4, 0), 0));
    assert_eq!(listed.sessions.len(), 1, "a damaged list is none");
    sandbox.write("tests/test_e.py", PURE);
    let more = facts(&sandbox, "", 0);
    assert_eq!((files(&more), more.total()), ((0, 0), 10), "another image has another list");
}

#[test]
fn what_a_fresh_run_shows_is_kept() {
    let sandbox = pure();
    let fresh = facts(&sandbox, "--reuse --fresh", 0);
    let again = run(&sandbox, "--reuse");
    again.expect_exit(0).expect_says(&format!("by run {}", fresh.run));
}

#[test]
fn another_image_command_environment_or_limit_is_another_matter() {
    let sandbox = pure();
    facts(&sandbox, "--reuse --env A=1", 0);
    assert_eq!(files(&facts(&sandbox, "--reuse --env A=1", 0)), (3, 1));
    for other in
        ["--env A=2", "--env B=1", "--env A=1 --network none", "--env A=1 --memory 300m", "--env A=1 --timeout 9m", "--env A=1 --seed 4"]
    {
        assert_eq!(files(&facts(&sandbox, &format!("--reuse {other}"), 0)), (0, 0), "{other}");
    }
    assert_eq!(files(&facts(&sandbox, "--reuse --env A=1 -- -v", 0)), (0, 0), "another command");
    let epoch = run(&sandbox, "--reuse --env A=1");
    epoch.expect_says("6 reused");
    sandbox.write("tests/test_a.py", "def test_one():\n    assert 1 == 1\n");
    assert_eq!(files(&facts(&sandbox, "--reuse --env A=1", 0)), (0, 0), "another image");
    sandbox.write("tests/test_a.py", PURE);
    assert_eq!(files(&facts(&sandbox, "--reuse --env A=1", 0)), (3, 1), "the first one again");
}

#[test]
fn a_file_is_explained() {
    let sandbox = pure();
    let why = |line: &str| sandbox.splitci(&format!("cache why --engine docker --shards 2 {line}")).run();
    let unbuilt = why("tests/test_a.py");
    unbuilt.expect_exit(2).expect_says("the project's image is not built yet");
    let first = facts(&sandbox, "--reuse --env A=1", 0);
    let known = why("--env A=1 tests/test_a.py::test_one tests/test_z.py");
    known
        .expect_exit(0)
        .expect_says(&format!("tests/test_a.py is not run again, but for a look now and then: run {} proved it", first.run));
    known.expect_says("tests/test_z.py is run: others passed");
    let other = why("--env A=2 --memory 300m tests/test_a.py");
    other.expect_exit(0).expect_says("is run: nothing was proven").expect_says("since the last run variable A was `1` and is `2`");
    other.expect_says("`shard.memory`");
    let json: serde_json::Value = serde_json::from_str(&why("--env A=1 --json tests/test_a.py").stdout).expect("JSON");
    assert_eq!((json["files"][0]["fate"].as_str(), json["files"][0]["by"].as_str()), (Some("reused"), Some(&*first.run)));
}

#[test]
fn another_image_with_the_same_content_is_the_same() {
    let sandbox = pure();
    let done = run(&sandbox, "--json --reuse");
    let image = done.events().into_iter().find_map(|event| match event.kind {
        EventKind::ImageReady { reference, .. } => Some(reference),
        _ => None,
    });
    let image = image.expect("an image");
    // A label changes the image's id and nothing that tests could see; a variable is seen.
    for (line, expected) in [("LABEL revision=2", (3, 1)), ("ENV REVISION=2", (0, 0))] {
        let other = format!("splitci-test/{}", line.split(' ').next().unwrap_or_default().to_lowercase());
        sandbox.write("other/Dockerfile", &format!("FROM {image}\n{line}\n"));
        docker_says(&format!("build -q -t {other} {}", sandbox.project().join("other").display()));
        assert_eq!(files(&facts(&sandbox, &format!("--reuse --image {other}"), 0)), expected, "{line}");
        docker_says(&format!("rmi {other}"));
    }
}

#[test]
fn values_by_name_count_and_are_kept_nowhere() {
    let sandbox = pure();
    let with = |value: &str| {
        let done = sandbox.splitci("run --engine docker --shards 2 --reuse --env TOKEN --json").env("TOKEN", value).run();
        done.expect_exit(0);
        files(&done.facts())
    };
    assert_eq!(with("hunter2-one"), (0, 0));
    assert_eq!(with("hunter2-one"), (3, 1));
    assert_eq!(with("hunter2-two"), (0, 0));
    assert_eq!((packs(&sandbox).len(), records(&sandbox, "standings").len()), (2, 1));
    for entry in walkdir::WalkDir::new(sandbox.cache()).into_iter().chain(walkdir::WalkDir::new(sandbox.state())).flatten() {
        let bytes = if entry.file_type().is_file() { fs_err::read(entry.path()).expect("readable") } else { Vec::new() };
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{:?} has a secret value in it", entry.path());
    }
}

#[test]
fn flaky_files_are_never_reused_nor_are_passes_at_a_second_try() {
    let flaky = "from pathlib import Path\n\n\ndef test_flaky():\n    file = Path('/tmp/tried')\n    tried = file.exists()\n    file.touch()\n    assert tried\n";
    let sandbox = pure().file("tests/test_flaky.py", flaky);
    let line = "--shards 1 --retries 1 --reuse";
    for run in 0..3 {
        let facts = facts(&sandbox, line, 0);
        assert!(
            !facts.reused.contains_key("tests/test_flaky.py") && !facts.canaries.contains(&"tests/test_flaky.py".to_owned()),
            "run {run}"
        );
        assert_eq!(files(&facts), if run == 0 { (0, 0) } else { (3, 1) });
    }
    run(&sandbox, line).expect_says("flaky of late, so run and not reused: tests/test_flaky.py (20 more runs)");
}

#[test]
fn failures_expected_ones_and_files_without_passes_are_run_again() {
    let tests = "import pytest\n\n\ndef test_fine():\n    pass\n\n\n";
    let sandbox = pure()
        .file("tests/test_red.py", &format!("{tests}def test_red():\n    assert False\n"))
        .file("tests/test_expected.py", &format!("{tests}@pytest.mark.xfail\ndef test_expected():\n    assert False\n"))
        .file("tests/test_skipped.py", "import pytest\n\n\n@pytest.mark.skip\ndef test_skipped():\n    pass\n")
        .file("tests/test_some.py", &format!("{tests}@pytest.mark.skip(reason='not here')\ndef test_skipped():\n    pass\n"));
    facts(&sandbox, "--reuse", 1);
    let again = facts(&sandbox, "--reuse", 1);
    assert_eq!(files(&again), (4, 1));
    for file in ["red", "expected", "skipped"] {
        let file = format!("tests/test_{file}.py");
        assert!(!again.reused.contains_key(&file) && !again.canaries.contains(&file), "{file}");
    }
}

#[test]
fn a_run_that_chooses_tests_of_its_own_keeps_nothing_for_the_whole() {
    let sandbox = pure();
    facts(&sandbox, "--reuse -- -k one", 0);
    let whole = facts(&sandbox, "--reuse", 0);
    assert_eq!((files(&whole), whole.total()), ((0, 0), 8));
    let some = facts(&sandbox, "--reuse tests/test_a.py::test_one", 0);
    assert_eq!((files(&some), some.total()), ((0, 0), 1));
    let chosen = facts(&sandbox, "--reuse -- -k one", 0);
    assert_eq!(
        (files(&chosen), chosen.total(), chosen.reused.values().sum::<usize>()),
        ((3, 1), 1, 3),
        "the same choice is the same command"
    );
}

/// Puts other bytes where an entry is: those that are there are for reading only.
fn replace(entry: &std::path::Path, bytes: &[u8]) {
    fs_err::remove_file(entry).expect("it is there");
    fs_err::write(entry, bytes).expect("written");
}

#[test]
fn what_is_forged_damaged_or_a_strangers_is_not_there() {
    let sandbox = pure();
    facts(&sandbox, "--reuse", 0);
    let pack = packs(&sandbox).pop().expect("a pack");
    let good = fs_err::read(&pack).expect("a pack");
    let forged: Vec<u8> = good.iter().map(|byte| if *byte == b'p' { b'q' } else { *byte }).collect();
    assert_ne!(forged, good);
    for (what, bytes) in
        [("forged", forged), ("cut off", good[..good.len() / 2].to_vec()), ("empty", Vec::new()), ("zeroed", vec![0; good.len()])]
    {
        replace(&pack, &bytes);
        assert_eq!(files(&facts(&sandbox, "--reuse", 0)), (0, 0), "{what}");
    }
    assert_eq!(files(&facts(&sandbox, "--reuse", 0)), (3, 1), "and it is kept anew");

    // The same image and command elsewhere have the same key, and another machine's signature.
    let stranger = pure();
    facts(&stranger, "--reuse", 0);
    let theirs = packs(&stranger).pop().expect("a pack");
    assert_eq!(theirs.file_name(), pack.file_name());
    replace(&pack, &fs_err::read(theirs).expect("a pack"));
    assert_eq!(files(&facts(&sandbox, "--reuse", 0)), (0, 0), "a stranger's");
    replace(&records(&sandbox, "standings")[0], b"{}");
    assert_eq!(files(&facts(&sandbox, "--reuse", 0)), (0, 0), "without a history");
}

#[test]
fn the_record_that_proved_it_may_be_gone() {
    let sandbox = pure();
    let first = facts(&sandbox, "--reuse", 0);
    fs_err::remove_dir_all(sandbox.state().join("runs")).expect("removed");
    let again = run(&sandbox, "--reuse");
    again.expect_exit(0).expect_says(&format!("by run {}, whose record is gone", first.run));
}

#[test]
fn two_runs_at_once_lose_nothing_of_each_other() {
    let sandbox = pure();
    let lines = ["tests/test_a.py tests/test_b.py", "tests/test_c.py tests/test_d.py"];
    let running: Vec<_> =
        lines.iter().map(|paths| sandbox.splitci(&format!("run --engine docker --shards 1 --reuse --json {paths}")).start()).collect();
    for running in running {
        running.wait().expect_exit(0);
    }
    for paths in lines {
        assert_eq!(files(&facts(&sandbox, &format!("--reuse {paths}"), 0)), (1, 1), "{paths}");
    }
}

#[test]
fn local_processes_and_mounted_directories_are_not_reused() {
    let sandbox = pure();
    for _ in 0..2 {
        let done = sandbox.splitci("run --engine process --shards 2 --reuse --json").run();
        done.expect_exit(0);
        let facts = done.facts();
        assert_eq!(files(&facts), (0, 0));
        assert!(facts.notices.iter().any(|text| text.contains("local processes have no image")), "{:?}", facts.notices);
        let facts = self::facts(&sandbox, &format!("--reuse --volume {}:/mounted", sandbox.outside("mounted").display()), 0);
        assert_eq!(files(&facts), (0, 0));
        assert!(facts.notices.iter().any(|text| text.contains("shard.volumes")), "{:?}", facts.notices);
    }
}

/// Runs it until a canary tells, which must be soon; returns the exit status of that run.
fn caught(sandbox: &Sandbox, line: &str, file: &str) -> i32 {
    for _ in 0..WITHIN {
        let done = run(sandbox, &format!("--json {line}"));
        let facts = done.facts();
        if facts.notices.iter().any(|text| text.starts_with(file) && text.contains("does not do what it did")) {
            let next = run(sandbox, &format!("--json {line}")).facts();
            assert!(!next.reused.contains_key(file) && !next.canaries.iter().any(|canary| canary == file), "it is run from now on");
            return done.code.unwrap_or(-1);
        }
    }
    panic!("{file} was not caught within {WITHIN} runs");
}

#[test]
fn a_test_of_the_time_is_caught() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let until = now + 60;
    let sandbox = only(&format!("import time\n\n\ndef test_time():\n    assert time.time() < {until}\n"));
    facts(&sandbox, "--reuse", 0);
    let left = until.saturating_sub(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs());
    std::thread::sleep(Duration::from_secs(left + 1));
    assert_eq!(caught(&sandbox, "--reuse", "tests/test_it.py"), 1, "and red, as it is now");
    run(&sandbox, "--reuse").expect_exit(1);
}

#[test]
fn a_test_of_chance_is_caught() {
    let sandbox = only(
        "import os\n\nimport pytest\n\n\ndef test_fine():\n    pass\n\n\ndef test_chance():\n    if os.urandom(1)[0] % 2:\n        pytest.skip()\n",
    );
    facts(&sandbox, "--reuse", 0);
    assert_eq!(caught(&sandbox, "--reuse", "tests/test_it.py"), 0, "nothing fails, and it is told all the same");
}

#[test]
fn a_test_named_after_its_host_is_caught() {
    let sandbox = only(
        "import socket\n\nimport pytest\n\n\n@pytest.mark.parametrize('host', [socket.gethostname()])\ndef test_host(host):\n    assert host\n",
    );
    facts(&sandbox, "--shards 1 --reuse", 0);
    assert_eq!(caught(&sandbox, "--shards 1 --reuse", "tests/test_it.py"), 0);
    run(&sandbox, "--shards 1 --reuse").expect_says("flaky of late, so run and not reused: tests/test_it.py");
}

#[test]
fn a_test_of_the_network_is_another_one_without_it() {
    let sandbox = only("import os\n\n\ndef test_network():\n    assert 'eth0' in os.listdir('/sys/class/net')\n");
    facts(&sandbox, "--reuse", 0);
    let off = facts(&sandbox, "--reuse --network none", 1);
    assert_eq!(files(&off), (0, 0));
}

#[test]
fn tests_that_need_what_others_left_are_caught() {
    let sandbox = only("from pathlib import Path\n\n\ndef test_needs():\n    assert Path('/tmp/left').exists()\n")
        .file("tests/test_before.py", "from pathlib import Path\n\n\ndef test_leaves():\n    Path('/tmp/left').touch()\n");
    let line = "--shards 1 --order defined --reuse";
    facts(&sandbox, line, 0);
    assert_eq!(caught(&sandbox, line, "tests/test_it.py"), 1, "alone it fails");
}

#[test]
fn a_canary_that_differs_is_told_loudly() {
    let sandbox = only(
        "import os\n\nimport pytest\n\n\ndef test_fine():\n    pass\n\n\n@pytest.mark.parametrize('n', [os.urandom(4).hex()])\ndef test_chance(n):\n    pass\n",
    );
    facts(&sandbox, "--shards 1 --reuse", 0);
    let told = run(&sandbox, "--shards 1 --reuse");
    told.expect_exit(0)
        .expect_says("DIFFERS tests/test_it.py")
        .expect_says("it is run in each of its next 20 runs")
        .expect_says("0 as before");
}
