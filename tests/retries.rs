//! Failed tests are tried again: with real frameworks, and tests that are flaky by a counter outside of the project.

use std::time::Duration;

use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::{Done, Facts, Sandbox};

/// A helper that counts its calls in a file: `runs("name")` is 1 at first.
const COUNTER: &str = "import os\nfrom pathlib import Path\n\n\ndef runs(name):\n    \
                       file = Path(os.environ.get(\"COUNTERS\", os.environ.get(\"SANDBOX_OUTSIDE\", \"/tmp\"))) / name\n    \
                       with file.open(\"a\") as out:\n        out.write(\"x\")\n    return len(file.read_text())\n";
const FLAKY: &str = "import pytest\n\nfrom counter import runs\n\n\n@pytest.fixture(scope=\"module\")\ndef place():\n    \
                     return runs(\"module\")\n\n\ndef test_fine():\n    runs(\"fine\")\n\n\ndef test_flaky(place):\n    print(\"printed at\", place)\n    \
                     assert runs(\"flaky\") > 1, \"not yet\"\n\n\ndef test_also_fine():\n    pass\n";
/// No session runs a test before all are up, and the file that fails ends last: there is another shard then that waits for work.
const TOGETHER: &str = "import os\nimport time\n\nimport pytest\n\nfrom counter import runs\n\n\n@pytest.fixture(scope=\"session\", autouse=True)\n\
                        def together():\n    from pathlib import Path\n\n    runs(\"sessions\")\n    shards = int(os.environ[\"SPLITCI_SHARDS\"])\n    \
                        while len((Path(os.environ[\"SANDBOX_OUTSIDE\"]) / \"sessions\").read_text()) < shards:\n        time.sleep(0.01)\n\n\n\
                        @pytest.fixture(autouse=True)\ndef last(request):\n    yield\n    if request.node.name == \"test_also_fine\":\n        \
                        time.sleep(0.5)\n";
const RED: &str = "from counter import runs\n\n\ndef test_red():\n    assert runs(\"red\") > 100\n";

const CART_SPEC: &str = "def runs(name)\n  file = File.join(ENV['SANDBOX_OUTSIDE'], name)\n  File.write(file, 'x', mode: 'a')\n  File.size(file)\nend\n\n\
                         RSpec.describe 'Cart' do\n  before(:all) { @place = runs('group') }\n  it('adds') { expect(1).to eq 1 }\n  \
                         it('totals') { expect(@place).to be > 0; expect(runs('totals')).to be > 1 }\nend\n";
const CART_TEST: &str = "require 'minitest/autorun'\n\nclass CartTest < Minitest::Test\n  def runs(name)\n    \
                         file = File.join(ENV['SANDBOX_OUTSIDE'], name)\n    File.write(file, 'x', mode: 'a')\n    File.size(file)\n  end\n\n  \
                         def test_adds\n    assert_equal 2, 1 + 1\n  end\n\n  def test_total\n    assert_operator runs('total'), :>, 1\n  end\nend\n";

fn flaky() -> Sandbox {
    Sandbox::empty().file("counter.py", COUNTER).file("conftest.py", "").file("tests/test_flaky.py", FLAKY)
}

fn run(sandbox: &Sandbox, line: &str) -> Done {
    sandbox.splitci(line).patience(Duration::from_mins(5)).run()
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    let done = run(sandbox, &format!("{line} --json"));
    done.expect_exit(exit);
    sandbox.expect_no_processes();
    done.facts()
}

fn count(sandbox: &Sandbox, name: &str) -> usize {
    fs_err::read(sandbox.outside(name)).map_or(0, |bytes| bytes.len())
}

const ID: &str = "tests/test_flaky.py::test_flaky";

#[test]
fn a_flaky_test_is_green_and_named() {
    for shards in [1, 2] {
        let sandbox = flaky().file("conftest.py", TOGETHER).file("tests/test_other.py", "def test_other():\n    pass\n");
        let green = facts(&sandbox, &format!("run --engine process --shards {shards} --retries 2"), 0);
        assert_eq!(green.exceptions(), Vec::<String>::new());
        assert_eq!((green.total(), green.before.get(ID)), (4, Some(&vec!["failed".to_owned()])));
        assert_eq!((count(&sandbox, "flaky"), count(&sandbox, "fine")), (2, 1), "once more, and it alone");
        assert_eq!(count(&sandbox, "module"), 2, "its module's fixture was set up anew");
        let ran: Vec<_> = green.ran_in.iter().filter(|(id, _)| id == ID).map(|(_, session)| session.shard.0).collect();
        assert_eq!((ran.len(), ran[0] == ran[1]), (2, shards == 1), "rather in another shard");
        sandbox.expect_no_private_directories();
    }
}

#[test]
fn every_report_names_a_flaky_test_and_its_first_failure() {
    let sandbox = flaky();
    let done = run(&sandbox, "run --engine process --shards 1 --retries 1 --junit junit.xml");
    done.expect_exit(0).expect_says(&format!("FLAKY   {ID}")).expect_says("tests/test_flaky.py:17: AssertionError: not yet");
    done.expect_says("PASSED  3 tests: 3 passed, 1 of them flaky").expect_says("passed in session 1.1 when it was tried again");
    let junit = fs_err::read_to_string(sandbox.project().join("junit.xml")).expect("a report");
    assert!(junit.contains("<flakyFailure") && junit.contains("not yet") && junit.contains("printed at 1"), "{junit}");
    assert!(junit.contains("failures=\"0\"") && junit.matches("<testcase").count() == 3, "{junit}");
    let json: serde_json::Value = serde_json::from_str(&run(&sandbox, "report last --format json").stdout).expect("a report");
    let test = json["tests"].as_array().and_then(|tests| tests.iter().find(|test| test["id"] == ID)).expect("the test").clone();
    assert_eq!((&test["flaky"], &test["outcome"], &json["counts"]["flaky"]), (&true.into(), &"passed".into(), &1.into()));
    let tries: Vec<_> = test["tries"].as_array().expect("tries").iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(tries, ["failed", "passed"]);
    assert!(test["tries"][0]["output"].as_str().is_some_and(|text| text.contains("printed at 1")), "{test}");
    run(&sandbox, "report last --format markdown").expect_says("flaky: it failed, and passed when it was tried again");
}

#[test]
fn flaky_may_be_worth_a_failure() {
    let sandbox = flaky().file("splitci.toml", "[run]\nflaky = \"fail\"\n");
    let done = run(&sandbox, "run --engine process --shards 1 --retries 1 --junit junit.xml");
    done.expect_exit(1).expect_says(&format!("FAILED  {ID}")).expect_says("it passed when it was tried again");
    done.expect_says("1 failed, 1 of them flaky");
    let junit = fs_err::read_to_string(sandbox.project().join("junit.xml")).expect("a report");
    assert!(junit.contains("failures=\"1\""), "{junit}");
    fs_err::remove_file(sandbox.outside("flaky")).expect("counted");
    run(&sandbox, "run --engine process --shards 1 --retries 1 --flaky pass").expect_exit(0);
    run(&sandbox, "run --engine process --flaky sometimes").expect_exit(2).expect_says("`pass` or `fail`");
}

#[test]
fn a_test_that_goes_on_failing_is_red_after_its_retries() {
    let sandbox = flaky().file("tests/test_red.py", RED);
    let red = facts(&sandbox, "run --engine process --shards 2 --retries 3", 1);
    assert_eq!(red.exceptions(), ["tests/test_red.py::test_red: failed"]);
    assert_eq!(count(&sandbox, "red"), 4);
    let again = run(&sandbox, &format!("repro {} --test tests/test_red.py::test_red", red.run));
    again.expect_exit(1);
    assert_eq!(count(&sandbox, "red"), 5, "a reproduction tries nothing again");
}

#[test]
fn fail_fast_waits_for_a_failure_that_is_final() {
    let sandbox = flaky();
    facts(&sandbox, "run --engine process --shards 1 --retries 1 --fail-fast", 0);
    let red = flaky().file("tests/test_red.py", RED);
    let done = run(&red, "run --engine process --shards 1 --retries 1 --fail-fast --order defined");
    done.expect_exit(1).expect_says("stopped at the first failure");
    assert_eq!(count(&red, "red"), 2);
}

#[test]
fn where_too_much_fails_it_is_not_chance() {
    let test = "import pytest\n\nfrom counter import runs\n\n\n@pytest.mark.parametrize(\"n\", range(30))\ndef test_red(n):\n    assert runs(f\"red{n}\") > 1\n";
    let sandbox = Sandbox::empty().file("counter.py", COUNTER).file("conftest.py", "").file("tests/test_red.py", test);
    let done = run(&sandbox, "run --engine process --shards 1 --retries 2");
    done.expect_exit(1)
        .expect_says("20 tests that failed were not tried again")
        .expect_says("30 tests: 10 passed, 20 failed, 10 of them flaky");
    let tried = (0..30).filter(|n| count(&sandbox, &format!("red{n}")) == 2).count();
    assert_eq!(tried, 10);
}

#[test]
fn a_test_that_crashes_when_it_is_tried_again_is_red() {
    let test = "import os\n\nfrom counter import runs\n\n\ndef test_worse():\n    if runs(\"worse\") > 1:\n        os._exit(0)\n    assert 0\n\n\ndef test_fine():\n    pass\n";
    let sandbox = Sandbox::empty().file("counter.py", COUNTER).file("conftest.py", "").file("tests/test_worse.py", test);
    let done = run(&sandbox, "run --engine process --shards 2 --retries 3");
    done.expect_exit(1).expect_says("CRASHED tests/test_worse.py::test_worse").expect_says("2 tests: 1 passed, 1 crashed");
    sandbox.expect_no_processes();
}

#[test]
fn a_file_that_has_other_tests_the_second_time_makes_nothing_good() {
    let test = "import pytest\n\nfrom counter import runs\n\n\ndef pytest_generate_tests(metafunc):\n    \
                metafunc.parametrize(\"n\", range(2 if runs(\"loads\") == 1 else 1))\n\n\ndef test_n(n):\n    assert n == 0 and runs(\"n\") > 1\n";
    let sandbox = Sandbox::empty().file("counter.py", COUNTER).file("conftest.py", "").file("tests/test_n.py", test);
    let done = run(&sandbox, "run --engine process --shards 1 --retries 2");
    done.expect_exit(1).expect_says("FAILED  2 tests").expect_says("tests/test_n.py lists other tests when it is loaded once more");
}

#[test]
fn a_session_lost_in_the_middle_of_another_attempt_loses_nothing() {
    let test = "import os\nimport signal\n\nfrom counter import runs\n\n\ndef test_fragile():\n    time = runs(\"fragile\")\n    if time == 2:\n        \
                os.kill(os.getpid(), signal.SIGKILL)\n    assert time > 2\n\n\ndef test_fine():\n    pass\n";
    let sandbox = Sandbox::empty().file("counter.py", COUNTER).file("conftest.py", "").file("tests/test_fragile.py", test);
    let green = facts(&sandbox, "run --engine process --shards 1 --retries 1", 0);
    assert_eq!((green.total(), green.suspects, count(&sandbox, "fragile")), (2, 1, 3));
    assert_eq!(green.before.get("tests/test_fragile.py::test_fragile"), Some(&vec!["failed".to_owned()]));
    run(&sandbox, "report last").expect_says("failed in session 1.1, passed in session 1.2");
}

#[test]
fn a_second_skip_and_a_file_that_cannot_be_loaded_make_nothing_good() {
    let skips = "import pytest\n\nfrom counter import runs\n\n\ndef test_skips():\n    if runs(\"skips\") > 1:\n        pytest.skip(\"enough\")\n    assert 0\n";
    let broken = "from counter import runs\n\nassert runs(\"broken\") > 1\n\n\ndef test_fine():\n    pass\n";
    let sandbox = Sandbox::empty().file("counter.py", COUNTER).file("conftest.py", "");
    let sandbox = sandbox.file("tests/test_skips.py", skips).file("tests/test_broken.py", broken);
    let red = facts(&sandbox, "run --engine process --shards 1 --retries 3", 1);
    assert_eq!(count(&sandbox, "skips"), 2);
    assert_eq!(red.exceptions(), ["tests/test_broken.py: errored", "tests/test_skips.py::test_skips: skipped"]);
    run(&sandbox, "report last").expect_says("1 failed").expect_says("1 errored");
}

#[test]
fn specs_are_tried_again() {
    for shards in [1, 2] {
        let sandbox =
            Sandbox::empty().file("spec/cart_spec.rb", CART_SPEC).file("spec/tax_spec.rb", "RSpec.describe('Tax') { it('is') {} }\n");
        let green = facts(&sandbox, &format!("run --engine process --shards {shards} --retries 1"), 0);
        assert_eq!((green.total(), green.before.len(), green.exceptions().len()), (3, 1, 0));
        assert_eq!((count(&sandbox, "totals"), count(&sandbox, "group")), (2, 2), "with the hooks of its group");
    }
}

#[test]
fn suites_that_are_loaded_whole_are_tried_again_in_the_same_session() {
    let unittest = "import unittest\n\nfrom counter import runs\n\n\nclass TestCart(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls):\n        \
                    cls.place = runs(\"class\")\n\n    def test_cart(self):\n        assert self.place > 1 and runs(\"cart\") == 1\n";
    let sandbox = flaky().file("tests/test_cart.py", unittest).file("splitci.toml", "[pytest]\nwhole = true\n");
    let green = facts(&sandbox, "run --engine process --shards 1 --retries 1", 0);
    assert_eq!((green.total(), green.before.len(), count(&sandbox, "class")), (4, 2, 2));
    let specs = Sandbox::empty().file("spec/cart_spec.rb", CART_SPEC).file("splitci.toml", "[ruby]\nwhole = true\n");
    let green = facts(&specs, "run --engine process --shards 1 --retries 1", 0);
    assert_eq!((green.total(), green.before.len(), count(&specs, "group")), (2, 1, 2));
    let tests = Sandbox::empty().file("test/cart_test.rb", CART_TEST).file("splitci.toml", "[ruby]\nwhole = true\n");
    let green = facts(&tests, "run --engine process --shards 1 --retries 1", 0);
    assert_eq!((green.total(), green.before.len()), (2, 1));
}

#[test]
fn a_file_that_is_one_test_is_tried_again() {
    let tool = "#!/bin/sh\necho x >> \"$SANDBOX_OUTSIDE/$(basename $1)\"\n[ $(wc -l < \"$SANDBOX_OUTSIDE/$(basename $1)\") -gt 1 ]\n";
    let config = "[suite]\nframework = \"generic\"\ncommand = \"sh tool.sh {units}\"\nfiles = [\"checks/*\"]\nresults = \"exit\"\n";
    let sandbox = Sandbox::empty().file("tool.sh", tool).file("splitci.toml", config).file("checks/one", "").file("checks/two", "");
    let green = facts(&sandbox, "run --engine process --shards 2 --retries 1", 0);
    assert_eq!((green.total(), green.before.len(), green.exceptions().len()), (2, 2, 0));
    let lines = |name| fs_err::read_to_string(sandbox.outside(name)).expect("counted").lines().count();
    assert_eq!((lines("one"), lines("two")), (2, 2));
}

#[test]
fn groups_that_a_spec_only_requires_are_not_made_good_by_their_absence() {
    let shared = "RSpec.describe('Shared') { it('is flaky') { file = File.join(ENV['SANDBOX_OUTSIDE'], 'shared'); File.write(file, 'x', mode: 'a'); \
                  expect(File.size(file)).to be > 1 } }\n";
    let spec = "require_relative '../lib/shared'\n\nRSpec.describe('Cart') { it('is') {} }\n";
    let sandbox = Sandbox::empty().file("lib/shared.rb", shared).file("spec/cart_spec.rb", spec);
    // In the session that has loaded it, the group is not declared a second time: that is no pass.
    run(&sandbox, "run --engine process --shards 1 --retries 2").expect_exit(1).expect_says("FAILED  2 tests");
}

#[test]
fn minitests_are_tried_again() {
    for shards in [1, 2] {
        let tax = "require 'minitest/autorun'\n\nclass TaxTest < Minitest::Test\n  def test_is\n    assert true\n  end\nend\n";
        let sandbox = Sandbox::empty().file("test/cart_test.rb", CART_TEST).file("test/tax_test.rb", tax);
        let green = facts(&sandbox, &format!("run --engine process --shards {shards} --retries 1"), 0);
        assert_eq!((green.total(), green.before.len(), green.exceptions().len()), (3, 1, 0));
        assert_eq!(count(&sandbox, "total"), 2);
    }
}

#[test]
fn a_flaky_test_in_containers_is_green_and_named() {
    require();
    let sandbox = flaky().dockerfile().file("tests/test_other.py", "def test_other():\n    pass\n");
    let counters = sandbox.outside("counters");
    fs_err::create_dir_all(&counters).expect("a directory");
    let line = format!("run --engine docker --shards 2 --retries 2 --env COUNTERS=/counters --volume {}:/counters", counters.display());
    let green = facts(&sandbox, &line, 0);
    assert_eq!((green.total(), green.before.get(ID)), (4, Some(&vec!["failed".to_owned()])));
    run(&sandbox, "report last").expect_says(&format!("FLAKY   {ID}"));
    expect_no_containers(&green.run);
}
