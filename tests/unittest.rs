//! unittest and Django's test runner, all the way through: found without configuration, split, reproduced, and never green by accident. What the
//! drivers do within the framework is held by `driver_contract`.

use std::time::Duration;

use splitci_tests::engine::{expect_no_containers, require};
use splitci_tests::python::Python;
use splitci_tests::{Facts, Sandbox};

const CART: &str = "import unittest\n\n\nclass Cart(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls):\n        cls.ready = True\n\n    \
                    def test_adds(self):\n        self.assertTrue(self.ready)\n\n    def test_total(self):\n        self.assertEqual(3, 4)\n\n    \
                    @unittest.skip('later')\n    def test_ships(self):\n        pass\n";
const TAX: &str = "import unittest\n\n\nclass Tax(unittest.TestCase):\n    pass\n\n\nfor band in range(5):\n    setattr(Tax, f'test_band_{band}', lambda self: None)\n";
const MANAGE: &str = "import os\nimport sys\n\nfrom django.core.management import execute_from_command_line\n\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'\n\
                      execute_from_command_line(sys.argv)\n";
const SETTINGS: &str = "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth']\n\
                        DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'real.db', 'TEST': {'NAME': 'test.db'}}}\n";
const USERS: &str = "import time\n\nfrom django.contrib.auth.models import User\nfrom django.test import TestCase\n\n\nclass Users(TestCase):\n    \
                     def test_alone(self):\n        User.objects.create(username='ann')\n        time.sleep(0.3)\n        self.assertEqual(User.objects.count(), 1)\n";

fn unittests() -> Sandbox {
    Sandbox::empty().file("tests/__init__.py", "").file("tests/test_cart.py", CART).file("tests/test_tax.py", TAX)
}

fn site() -> Sandbox {
    let sandbox = Sandbox::empty().file("manage.py", MANAGE).file("site_settings.py", SETTINGS).file("shop/__init__.py", "");
    for n in 0..4 {
        sandbox.write(&format!("shop/test_{n}.py"), USERS);
    }
    sandbox
}

fn facts(sandbox: &Sandbox, line: &str, exit: i32) -> Facts {
    // Django is in one environment of ours only.
    let python = Python::named("pytest9");
    let done = sandbox.splitci_with(&python, &format!("{line} --json")).patience(Duration::from_mins(6)).run();
    done.expect_exit(exit);
    sandbox.expect_no_processes();
    done.facts()
}

#[test]
fn unittests_are_found_split_and_reproduced() {
    let sandbox = unittests();
    let red = facts(&sandbox, "run --engine process --shards 2", 1);
    assert_eq!(red.exceptions(), ["tests/test_cart.py::Cart::test_ships: skipped", "tests/test_cart.py::Cart::test_total: failed"]);
    assert_eq!((red.count("passed"), red.total()), (6, 8));
    let again = facts(&sandbox, &format!("repro {} --test tests/test_cart.py::Cart::test_total", red.run), 1);
    assert_eq!(again.exceptions(), red.exceptions(), "up to and including the test");
    sandbox.write("tests/test_cart.py", &CART.replace("(3, 4)", "(4, 4)"));
    let green = facts(&sandbox, "run --engine process --shards 2 --failed", 0);
    assert_eq!((green.count("passed"), green.total()), (1, 1));
    facts(&sandbox, "run --engine process --shards 2", 0);
    let one = facts(&sandbox, "run --engine process tests/test_tax.py", 0);
    assert_eq!((one.count("passed"), one.total()), (5, 5), "a path is what it is for other frameworks");
    let folder = facts(&sandbox, "run --engine process tests", 0);
    assert_eq!((folder.count("passed"), folder.total()), (7, 8));
    sandbox.expect_no_private_directories();
}

#[test]
fn a_django_project_is_found_and_its_shards_have_databases_of_their_own() {
    let sandbox = site();
    let green = facts(&sandbox, "run --engine process --shards 3", 0);
    assert_eq!((green.count("passed"), green.total()), (4, 4));
    assert!(green.tests_of_shard.len() > 1, "several shards ran something: {:?}", green.tests_of_shard);
    let left = sandbox.listing().iter().filter(|path| path.extension().is_some_and(|extension| extension == "db")).count();
    assert_eq!(left, 0, "test databases are gone, and the real one was never made: {:?}", sandbox.listing());
    let one = facts(&sandbox, "run --engine process shop/test_1.py", 0);
    assert_eq!((one.count("passed"), one.total()), (1, 1));
}

#[test]
fn init_writes_the_framework_that_is_there() {
    for (sandbox, framework) in [(unittests(), "unittest"), (site(), "django"), (unittests().file("pytest.ini", "[pytest]\n"), "pytest")] {
        sandbox.splitci("init").run().expect_exit(0);
        let text = fs_err::read_to_string(sandbox.project().join("splitci.toml")).expect("it was written");
        assert!(text.contains(&format!("\nframework = \"{framework}\"\n")), "{framework}: {text}");
        let doctor = sandbox.splitci("doctor").run();
        doctor.expect_says(&format!("{framework}: `"));
    }
}

#[test]
fn a_test_that_ends_its_process_is_named() {
    for (leaving, outcome) in [
        ("sys.exit(0)", "errored"),
        ("os._exit(0)", "crashed: exit 0"),
        ("os.abort()", "crashed: signal 6"),
        ("os.kill(os.getpid(), 9)", "crashed: signal 9"),
    ] {
        let text = format!(
            "import os\nimport sys\nimport unittest\n\n\nclass Cart(unittest.TestCase):\n    def test_a(self):\n        pass\n\n    def test_leaves(self):\n        \
             {leaving}\n\n    def test_z(self):\n        pass\n"
        );
        for sandbox in [Sandbox::empty().file("test_cart.py", &text), site().file("shop/test_cart.py", &text)] {
            let red = facts(&sandbox, "run --engine process --shards 2", 1);
            let bad = red.exceptions();
            assert_eq!(bad.len(), 1, "{leaving}: {bad:?}");
            assert!(bad[0].ends_with(&format!("test_cart.py::Cart::test_leaves: {outcome}")), "{leaving}: {bad:?}");
            assert_eq!(red.count("passed") + 1, red.total(), "the others ran");
        }
    }
}

#[test]
fn a_status_after_passing_and_an_empty_suite_are_no_green() {
    let late = "import atexit\nimport os\nimport unittest\n\natexit.register(os._exit, 3)\n\n\nclass Cart(unittest.TestCase):\n    def test_a(self):\n        pass\n";
    facts(&Sandbox::empty().file("test_cart.py", late), "run --engine process", 1);
    facts(&Sandbox::empty().file("test_cart.py", "import unittest\n"), "run --engine process", 4);
    let hangs = late.replace("pass\n", "import time; time.sleep(60)\n").replace("atexit.register(os._exit, 3)\n", "");
    let sandbox = Sandbox::empty().file("test_cart.py", &hangs).file("splitci.toml", "[run.timeout]\ntest = \"2s\"\n");
    let red = facts(&sandbox, "run --engine process", 1);
    assert_eq!(red.exceptions(), ["test_cart.py::Cart::test_a: crashed: timed out"]);
}

#[test]
fn a_slow_file_is_sliced_between_its_classes() {
    let class = |n: u32| format!("class Case{n}(Slow):\n    pass\n\n\n");
    let base = "import time\nimport unittest\n\n\nclass Slow:\n    pass\n\n\nfor n in range(4):\n    setattr(Slow, f'test_{n}', lambda self: time.sleep(0.1))\n\n\n";
    let classes = (0..6).map(class).collect::<String>().replace("(Slow)", "(Slow, unittest.TestCase)");
    let sandbox = Sandbox::empty().file("test_slow.py", &format!("{base}{classes}")).file("test_quick.py", TAX);
    facts(&sandbox, "run --engine process --shards 3", 0);
    let second = facts(&sandbox, "run --engine process --shards 3", 0);
    assert!(second.slices > 0, "a file that slow is sliced");
    assert_eq!((second.count("passed"), second.total(), second.superseded), (29, 29, 0));
}

#[test]
fn both_run_in_containers() {
    require();
    let dockerfile = "FROM debian:bookworm-slim\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends python3 python3-django \\\n \
                      && rm -rf /var/lib/apt/lists/*\nWORKDIR /app\nCOPY . .\n";
    let sandbox = unittests().file("Dockerfile", dockerfile);
    let red = facts(&sandbox, "run --shards 2", 1);
    assert_eq!((red.count("passed"), red.total()), (6, 8));
    expect_no_containers(&red.run);
    let sandbox = site().file("Dockerfile", dockerfile);
    let green = facts(&sandbox, "run --shards 2", 0);
    assert_eq!((green.count("passed"), green.total()), (4, 4));
    expect_no_containers(&green.run);
}
