//! Several suites in one run: listed before anything runs, shards shared, one verdict, and none that hides behind the others.

use std::time::Duration;

use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::{Done, Facts, Sandbox};

const CONFIG: &str = "[[suite]]\nname = \"api\"\ndirectory = \"api\"\n\n[[suite]]\nname = \"web\"\ndirectory = \"web\"\n\n[[suite]]\nname = \"smoke\"\n\
                      framework = \"generic\"\ncommand = \"sh check.sh {units}\"\nfiles = [\"checks/*\"]\n";
const CART_TEST: &str =
    "import os\n\n\ndef test_place():\n    assert os.path.basename(os.getcwd()) == \"api\"\n\n\ndef test_total():\n    assert 3 == 3\n";
const PAGE_SPEC: &str =
    "RSpec.describe 'Page' do\n  it('opens') { expect(Dir.pwd).to end_with '/web' }\n  it('closes') { expect(1).to eq 1 }\nend\n";
const CHECK: &str = "grep -q good \"$1\"\n";

/// Three frameworks in three places: six tests.
fn shop() -> Sandbox {
    let sandbox = Sandbox::empty().file("splitci.toml", CONFIG).file("api/conftest.py", "").file("api/tests/test_cart.py", CART_TEST);
    let sandbox = sandbox.file("web/spec/page_spec.rb", PAGE_SPEC).file("check.sh", CHECK);
    sandbox.file("checks/disk", "good\n").file("checks/net", "good\n")
}

fn run(sandbox: &Sandbox, line: &str) -> Done {
    let done = sandbox.splitci(line).patience(Duration::from_mins(6)).run();
    sandbox.expect_no_processes();
    done
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    // What comes after `--` is the framework's.
    let (own, theirs) = line.split_once(" -- ").unwrap_or((line, ""));
    let done = run(sandbox, &format!("{own} --json -- {theirs}"));
    done.expect_exit(exit);
    done.facts()
}

const ALL: [&str; 6] = [
    "api:tests/test_cart.py::test_place",
    "api:tests/test_cart.py::test_total",
    "smoke:checks/disk",
    "smoke:checks/net",
    "web:spec/page_spec.rb::Page::closes",
    "web:spec/page_spec.rb::Page::opens",
];

#[test]
fn suites_are_one_run_with_one_verdict() {
    for shards in [1, 2, 3, 5] {
        let sandbox = shop();
        let green = facts(&sandbox, &format!("run --engine process --shards {shards}"), 0);
        let ids: Vec<_> = green.outcomes.keys().map(String::as_str).collect();
        assert_eq!((ids, green.exceptions().len(), green.unclean_sessions()), (ALL.to_vec(), 0, 0), "{shards} shards");
        let summary = run(&sandbox, "report last");
        summary.expect_says("suite   api: 2 tests: 2 passed\nsuite   web: 2 tests: 2 passed\nsuite   smoke: 2 tests: 2 passed");
        summary.expect_says("PASSED  6 tests: 6 passed");
        // With what was learnt it is the same.
        facts(&sandbox, &format!("run --engine process --shards {shards}"), 0);
        sandbox.expect_no_private_directories();
    }
}

#[test]
fn a_failure_is_named_with_its_suite_reproduced_and_run_again() {
    let sandbox = shop().file("api/tests/test_cart.py", &CART_TEST.replace("3 == 3", "3 == 4"));
    let done = run(&sandbox, "run --engine process --shards 2 --junit junit.xml");
    done.expect_exit(1).expect_says("FAILED  api:tests/test_cart.py::test_total").expect_says("api/tests/test_cart.py:9: assert 3 == 4");
    let junit = fs_err::read_to_string(sandbox.project().join("junit.xml")).expect("a report");
    assert!(junit.contains("classname=\"api.tests.test_cart\"") && junit.contains("file=\"api/tests/test_cart.py\" line=\"9\""), "{junit}");
    assert!(junit.contains("classname=\"web.spec.page_spec.Page\"") && junit.contains("file=\"web/spec/page_spec.rb\""), "{junit}");
    for id in ["api:tests/test_cart.py::test_total", "tests/test_cart.py::test_total"] {
        // The second one is a reproduction of a reproduction, which has one suite.
        let again = facts(&sandbox, &format!("repro last --test {id}"), 1);
        assert_eq!((again.total(), again.exceptions()), (2, vec!["api:tests/test_cart.py::test_total: failed".to_owned()]));
    }
    sandbox.write("api/tests/test_cart.py", CART_TEST);
    let green = facts(&sandbox, "run --failed --engine process --shards 2", 0);
    assert_eq!(green.outcomes.keys().collect::<Vec<_>>(), ["api:tests/test_cart.py::test_total"], "and no other suite is started");
}

#[test]
fn each_shard_is_reproduced_session_by_session() {
    let sandbox = shop();
    let green = facts(&sandbox, "run --engine process --shards 1", 0);
    let done = run(&sandbox, &format!("repro {} --shard 1 --engine process", green.run));
    done.expect_exit(2);
    let done = run(&sandbox, &format!("repro {} --shard 1", green.run));
    done.expect_exit(0);
    for count in ["PASSED  2 tests"; 3] {
        done.expect_says(count);
    }
    assert_eq!(done.stdout.matches("PASSED  2 tests").count(), 3, "{done}");
}

#[test]
fn one_file_in_two_suites_is_two_files() {
    let config =
        "[[suite]]\nname = \"one\"\nframework = \"pytest\"\n\n[[suite]]\nname = \"two\"\nframework = \"pytest\"\nargs = [\"-q\"]\n";
    // It passes but the first time, whoever else runs it at that moment: what passed in one suite makes nothing good in the other.
    let test = "import os\nfrom pathlib import Path\n\n\ndef test_once():\n    place = Path(os.environ[\"SANDBOX_OUTSIDE\"]) / \"once\"\n    try:\n        \
                place.touch(exist_ok=False)\n    except FileExistsError:\n        return\n    assert False\n";
    let sandbox = Sandbox::empty().file("splitci.toml", config).file("tests/test_once.py", test);
    let red = facts(&sandbox, "run --engine process --shards 1", 1);
    assert_eq!((red.total(), red.count("passed"), red.count("failed")), (2, 1, 1));
    let failed = red.exceptions().pop().and_then(|line| line.split(": ").next().map(str::to_owned)).expect("one failed");
    let again = facts(&sandbox, "run --failed --engine process --shards 1", 0);
    assert_eq!(again.outcomes.keys().collect::<Vec<_>>(), [&failed]);
    fs_err::remove_file(sandbox.outside("once")).expect("touched");
    let flaky = facts(&sandbox, "run --engine process --shards 2 --retries 1", 0);
    assert_eq!((flaky.total(), flaky.before.len()), (2, 1));
    let both = run(&sandbox, "run --engine process tests/test_once.py");
    both.expect_exit(2).expect_says("`tests/test_once.py` is in the suites one, two").expect_says("--suite NAME");
    assert_eq!(facts(&sandbox, "run --engine process --suite two tests/test_once.py -- -k once", 0).total(), 1);
}

#[test]
fn an_empty_suite_does_not_hide_behind_the_others() {
    let sandbox = shop().file("web/spec/page_spec.rb", "RSpec.describe('Page') {}\n");
    let done = run(&sandbox, "run --engine process --shards 2");
    done.expect_exit(4).expect_says("EMPTY   no test of web ran: 4 tests: 4 passed");
    run(&sandbox, "run --engine process --shards 2 --allow-empty").expect_exit(0);
    // All of it skipped is empty, too.
    sandbox.write("web/spec/page_spec.rb", "RSpec.describe('Page') { it('opens', skip: 'later') {} }\n");
    run(&sandbox, "run --engine process --shards 3").expect_exit(4).expect_says("no test of web ran");
}

#[test]
fn a_suite_that_cannot_start_leaves_no_green() {
    let absent = "[[suite]]\nname = \"lost\"\nframework = \"pytest\"\ncommand = \"no-such-program\"\n";
    let sandbox = shop().file("splitci.toml", &format!("{CONFIG}\n{absent}"));
    run(&sandbox, "run --engine process --shards 3").expect_exit(2).expect_says("no-such-program");
    run(&sandbox, "run --engine process --shards 1").expect_exit(2).expect_says("no-such-program");
    run(&sandbox, "doctor --engine process").expect_exit(2).expect_says("`no-such-program` is not there");
    let broken = shop().file("api/conftest.py", "raise SystemExit(0)\n");
    for shards in [1, 4] {
        let done = run(&broken, &format!("run --engine process --shards {shards}"));
        done.expect_exit(1).expect_says("SystemExit: 0").expect_says("FAILED  0 tests; incomplete");
        broken.expect_no_private_directories();
    }
}

#[test]
fn what_cannot_start_is_named_by_its_own_command() {
    let sandbox = shop().file("web/spec/page_spec.rb", &PAGE_SPEC.replace("eq 1", "eq 2"));
    facts(&sandbox, "run --engine process --shards 2", 1);
    // Only the second suite of three takes part.
    sandbox.write(
        "splitci.toml",
        &CONFIG.replace("directory = \"web\"", "directory = \"web\"\nframework = \"rspec\"\ncommand = \"no-such-rspec\""),
    );
    run(&sandbox, "run --failed --engine process").expect_exit(2).expect_says("another command than `no-such-rspec`");
}

#[test]
fn a_test_that_ends_its_process_is_named_and_the_other_suites_run() {
    let crash = "import os\n\n\ndef test_exit():\n    os._exit(0)\n\n\ndef test_fine():\n    pass\n";
    for shards in [1, 3] {
        let sandbox = shop().file("api/tests/test_exit.py", crash);
        let red = facts(&sandbox, &format!("run --engine process --shards {shards}"), 1);
        assert_eq!(red.exceptions(), ["api:tests/test_exit.py::test_exit: crashed: exit 0"]);
        assert_eq!(red.total(), 8, "and all others ran");
    }
}

#[test]
fn a_session_that_makes_room_for_another_suite_is_judged_like_the_last_one() {
    let hook = "def pytest_sessionfinish(session):\n    session.exitstatus = 3\n";
    for shards in [1, 2] {
        let sandbox = shop().file("api/conftest.py", hook);
        let done = run(&sandbox, &format!("run --engine process --shards {shards}"));
        done.expect_exit(1).expect_says("exited with status 3").expect_says("6 tests: 6 passed");
    }
}

#[test]
fn paths_and_arguments_find_their_suite() {
    let sandbox = shop();
    assert_eq!(facts(&sandbox, "run --engine process api/tests/test_cart.py::test_total", 0).total(), 1);
    assert_eq!(facts(&sandbox, "run --engine process api web/spec", 0).total(), 4);
    assert_eq!(facts(&sandbox, "run --engine process checks/disk", 0).outcomes.keys().collect::<Vec<_>>(), ["smoke:checks/disk"]);
    assert_eq!(facts(&sandbox, "run --engine process --suite web --suite smoke", 0).total(), 4);
    assert_eq!(facts(&sandbox, "run --engine process --suite api -- -k total", 0).total(), 1);
    assert_eq!(facts(&sandbox, "-C api run --engine process tests", 0).total(), 2);
    run(&sandbox, "run --engine process -- -k total").expect_exit(2).expect_says("there are several suites").expect_says("--suite NAME");
    run(&sandbox, "run --engine process --suite wbe").expect_exit(2).expect_says("did you mean `web`?");
    run(&sandbox, "run --engine process --suite api web/spec").expect_exit(2).expect_says("is not in the project");
    let plan = run(&sandbox, "plan --engine process");
    plan.expect_exit(0).expect_says("api:tests/test_cart.py").expect_says("4 units");
}

#[test]
fn the_file_is_checked_as_a_whole() {
    let faults = |config: &str, said: &str| {
        let sandbox = shop().file("splitci.toml", config);
        run(&sandbox, "run --engine process").expect_exit(2).expect_says(said);
    };
    faults("[[suite]]\ndirectory = \"api\"\n\n[[suite]]\nname = \"web\"\ndirectory = \"web\"\n", "splitci.toml:1, key `suite`");
    faults("[[suite]]\nname = \"a\"\ndirectory = \"api\"\n\n[[suite]]\nname = \"a\"\ndirectory = \"web\"\n", "two suites are called `a`");
    faults("[[suite]]\nname = \"a:b\"\n", "expected a name of letters");
    faults("[[suite]]\nname = \"a\"\ndirectory = \"apy\"\n", "there is no directory `apy`");
    faults("[[suite]]\nname = \"a\"\ndirectory = \"..\"\n", "is not in the project");
    faults("[[suite]]\nname = \"a\"\nframwork = \"pytest\"\n", "did you mean `suite.framework`?");
    faults("[suite]\nname = \"a\"\n\n[[suite]]\nname = \"b\"\n", "cannot read this as TOML");
}

#[test]
fn init_writes_a_table_for_each_framework_that_is_found() {
    let sandbox = Sandbox::empty().file("pytest.ini", "[pytest]\n").file("tests/test_a.py", "def test_a():\n    pass\n");
    let sandbox = sandbox.file(".rspec", "").file("spec/a_spec.rb", "RSpec.describe('A') { it('is') {} }\n");
    run(&sandbox, "run --engine process").expect_exit(2).expect_says("more than one test framework was found: pytest, rspec");
    run(&sandbox, "init").expect_exit(0);
    let green = facts(&sandbox, "run --engine process --shards 2", 0);
    assert_eq!(green.outcomes.keys().collect::<Vec<_>>(), ["pytest:tests/test_a.py::test_a", "rspec:spec/a_spec.rb::A::is"]);
    run(&sandbox, "doctor --engine process").expect_exit(0).expect_says("pytest: pytest: ").expect_says("rspec: rspec: `rspec`");
}

#[test]
fn suites_share_the_shards_of_one_image() {
    require();
    let dockerfile = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends python3 python3-pytest ruby ruby-rspec \\\n \
                      && rm -rf /var/lib/apt/lists/*\nWORKDIR /app\nCOPY . .\n";
    let sandbox = shop().file("Dockerfile", dockerfile).file("api/tests/test_cart.py", &CART_TEST.replace("3 == 3", "3 == 4"));
    for shards in [1, 3] {
        let red = facts(&sandbox, &format!("run --shards {shards}"), 1);
        assert_eq!((red.total(), red.exceptions()), (6, vec!["api:tests/test_cart.py::test_total: failed".to_owned()]));
        expect_no_containers(&red.run);
        let again = facts(&sandbox, &format!("repro {} --test api:tests/test_cart.py::test_total", red.run), 1);
        assert_eq!(again.total(), 2);
    }
}
