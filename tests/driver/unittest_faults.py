#!/usr/bin/env python3
"""What test code does to unittest and Django by accident, and what the driver must answer: the right test named, never a green that proves nothing.

    python3 unittest_faults.py --python VENV/bin/python [--only PART]
"""
import argparse
import concurrent.futures
import os
import re
import signal
import sys
import tempfile
import textwrap
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from peer import CLOSING, NONE, UNITTEST, Peer, Unit  # noqa: E402

FAULTS = []
SETTINGS = """
    import os
    SECRET_KEY = "x"
    INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "real.db", "TEST": {"NAME": "test.db"}}}
"""
MANAGE = """
    import os
    import sys

    from django.core.management import execute_from_command_line

    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    execute_from_command_line(sys.argv)
"""


def fault(function):
    FAULTS.append(function)
    return function


class Run:
    """Runs a project given as texts."""

    def __init__(self, python):
        self.python = python

    def __call__(self, files, args=("-m", "unittest"), **options):
        with tempfile.TemporaryDirectory(prefix="splitci-fault-") as directory:
            for name, text in files.items():
                path = os.path.join(directory, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(textwrap.dedent(text))
            env = dict({"PYTHONDONTWRITEBYTECODE": "1"}, **options.pop("env", {}))
            argv = options.pop("wrapper", []) + [options.pop("python", self.python)] + list(args)
            before = options.pop("before", None)
            peer = Peer(argv, directory, env={name: value.replace("{here}", directory) for name, value in env.items()}, driver=UNITTEST, **options)
            if before:
                before(peer)
            session = peer.run()
            session.left = {}
            for name in os.listdir(directory):
                if os.path.isfile(os.path.join(directory, name)):
                    with open(os.path.join(directory, name), errors="replace") as file:
                        session.left[name] = file.read()
            return session

    def around(self, body, fixtures="", head="", args=("-m", "unittest"), **options):
        """A test before, the culprit, one after, and a second file."""
        return self({"test_a.py": case({"a_first": "pass", "b_culprit": body, "c_after": "pass"}, fixtures, head), "test_b.py": case({"second": "pass"})}, args, **options)

    def django(self, files, args=("manage.py", "test"), **options):
        return self(dict({"manage.py": MANAGE, "site_settings.py": SETTINGS}, **files), args, **options)


def case(bodies, fixtures="", head=""):
    """A file with these tests: {name: body}."""
    text = "import os, signal, subprocess, sys, threading, time, unittest\n%s\n\nclass Case(unittest.TestCase):\n%s\n" % (head, textwrap.indent(fixtures, "    "))
    for name, body in bodies.items():
        text += "    def test_%s(self):\n%s\n" % (name, textwrap.indent(textwrap.dedent(body), "        "))
    return text


def expect(condition, session, what=""):
    if not condition:
        raise AssertionError("%s\n%s\nfinished %r\nnotices %r" % (what, session.transcript(), session.finished, session.notices))


def outcomes(session):
    return {name.split("::")[-1].split("_")[-1] if "::" in name else name: outcome for name, outcome in session.outcomes()}


def all_pass(session, tests):
    expect(session.green() and len(session.finished) == tests, session, "%d passes were expected" % tests)
    for _, _, result in session.finished:
        expect(0 <= result["micros"] < 30e6, session, "a duration of %d" % result["micros"])


def one_is_bad(session, outcome, *words, name="culprit", others=("first", "after", "second")):
    """The culprit, and it alone, is named; the others ran."""
    wanted = dict({one: "passed" for one in others}, **{name: outcome})
    expect(outcomes(session) == wanted and session.clean() and session.status == 1, session)
    result = session.result(name)
    for word in words:
        expect(word in result["message"] + result["details"], session, "%r is not told" % word)
    return result


def slot_names(session, word, status):
    """The process is gone, without a bye; what it ran stands in the slot."""
    expect(session.bye is None and not session.clean() and session.status == status, session)
    unit, ordinal = session.slot
    name = session.given[unit].name if ordinal == NONE else session.declared[unit][ordinal]
    expect(word in name, session, "the slot names %s" % name)


def told(session, *words):
    """Something is wrong outside of any test, and it is told."""
    expect(not session.green() and session.bye is not None and session.bye["errors"], session, "no error was told")
    for word in words:
        expect(word in session.bye["errors"], session, "%r is not told" % word)


# Ways in -----------------------------------------------------------------------------------------------------------------------------------


SEES_NOTHING = """
    here = [name for name in os.environ if name.startswith(("SPLITCI_DRIVER", "SPLITCI_SAVED", "SPLITCI_PYTHON"))]
    self.assertEqual((here, os.environ.get("PYTHONPATH")), ([], os.environ.get("EXPECTED")))
    self.assertFalse([path for path in sys.path if os.path.exists(os.path.join(path, "splitci_wire.py"))])
"""


@fault
def the_environment_is_the_users(run):
    all_pass(run({"test_a.py": case({"sees": SEES_NOTHING})}), 1)
    all_pass(run({"test_a.py": case({"sees": SEES_NOTHING}, head="assert not [name for name in os.environ if name.startswith('SPLITCI_D')]")}, env={"PYTHONPATH": "/somewhere", "EXPECTED": "/somewhere"}), 1)
    all_pass(run.django({"test_a.py": case({"sees": SEES_NOTHING})}), 1)


@fault
def the_applications_sitecustomize_is_loaded(run):
    own = {"own/sitecustomize.py": "import builtins\nbuiltins.customized = __name__, __file__\n"}
    sees = "import builtins, sitecustomize\nself.assertEqual(builtins.customized, ('sitecustomize', sitecustomize.__file__))\nself.assertIn('own', sitecustomize.__file__)"
    all_pass(run(dict(own, **{"test_a.py": case({"sees": sees})}), env={"PYTHONPATH": "{here}/own"}), 1)
    session = run({"test_a.py": case({"sees": "with self.assertRaises(ImportError):\n    import sitecustomize"})}, args=("-s", "-m", "unittest"))
    expect(session.finished and session.violation is None, session)


@fault
def a_broken_sitecustomize_is_the_applications_business(run):
    for text, said in (("raise ValueError('mine')\n", "Error in sitecustomize"), ("import nothing_of_the_kind\n", "Error in sitecustomize"), ("import sys\nsys.exit(3)\n", None)):
        session = run({"own/sitecustomize.py": text, "test_a.py": case({"one": "pass"})}, env={"PYTHONPATH": "{here}/own"})
        if said:
            all_pass(session, 1)
            expect(said in session.stderr.decode(), session)
        else:
            expect(session.hello is None and session.status not in (0, None), session)


@fault
def unittest_is_loaded_before_us(run):
    all_pass(run({"own/sitecustomize.py": "import unittest\n", "test_a.py": case({"one": "pass"})}, env={"PYTHONPATH": "{here}/own"}), 1)


@fault
def something_starts_unittest(run):
    test = {"test_a.py": case({"one": "pass"})}
    all_pass(run(test, wrapper=["sh", "-c", 'exec "$@"', "sh"]), 1)
    all_pass(run(dict(test, **{"go.py": "import os, subprocess, sys, unittest.mock\nsys.exit(subprocess.call([sys.executable, '-m', 'unittest']))\n"}), args=("go.py",)), 1)
    all_pass(run(dict(test, **{"go.py": "import os, sys\nos.execv(sys.executable, [sys.executable, '-m', 'unittest', '-v'])\n"}), args=("go.py",)), 1)
    all_pass(run(dict(test, **{"go.py": "import unittest\n\nunittest.main(module=None)\n"}), args=("go.py",)), 1)
    all_pass(run({"test_a.py": case({"one": "pass"}) + "\nif __name__ == '__main__':\n    unittest.main()\n"}, args=("test_a.py",)), 1)


@fault
def a_test_starts_a_unittest(run):
    inner = {"inner/test_inner.py": case({"inner": "self.fail()"}), "inner/sitecustomize.py": ""}
    session = run(dict(inner, **{"test_a.py": case({
        "process": "ended = subprocess.run([sys.executable, '-m', 'unittest', 'discover', 'inner'], stderr=subprocess.PIPE)\n"
                   "self.assertEqual(ended.returncode, 1)\nself.assertIn(b'failures=1', ended.stderr)",
        "here": "suite = unittest.TestLoader().discover('inner')\nresult = unittest.TextTestRunner(stream=open(os.devnull, 'w')).run(suite)\n"
                "self.assertEqual((result.testsRun, len(result.failures)), (1, 1))",
        "program": "program = unittest.main(None, argv=['x', 'discover', 'inner'], exit=False, testLoader=unittest.TestLoader(), testRunner=unittest.TextTestRunner(stream=open(os.devnull, 'w')))\n"
                   "self.assertEqual(program.result.testsRun, 1)",
    })}))
    all_pass(session, 3)


@fault
def a_module_starts_a_unittest(run):
    head = "if not os.environ.get('NESTED'):\n    os.environ['NESTED'] = '1'\n    subprocess.run([sys.executable, '-m', 'unittest', 'test_a'], check=True)\n"
    all_pass(run({"test_a.py": case({"one": "pass"}, head=head)}), 1)
    settings = textwrap.dedent(SETTINGS) + "import subprocess, sys\nif not os.environ.get('NESTED'):\n    os.environ['NESTED'] = '1'\n    " \
        "subprocess.run([sys.executable, '-c', 'import unittest; unittest.main(None, argv=[\"x\", \"test_b\"])'], check=True)\n"
    all_pass(run.django({"site_settings.py": settings, "test_b.py": case({"one": "pass"})}), 1)


@fault
def a_second_session_is_no_green(run):
    session = run({"go.sh": "$PYTHON -m unittest test_a && exec $PYTHON -m unittest test_b\n", "test_a.py": case({"one": "pass"}), "test_b.py": case({"two": "pass"})},
                  env={"PYTHON": run.python}, before=lambda peer: setattr(peer, "argv", ["sh", "go.sh"]))
    expect(not session.green() and session.status == 70, session)


# Ends before their time --------------------------------------------------------------------------------------------------------------------


@fault
def a_test_ends_the_process(run):
    for body, status in (("os._exit(0)", 0), ("os._exit(3)", 3), ("os.abort()", -6), ("os.kill(os.getpid(), 9)", -9), ("os.execvp('true', ['true'])", 0)):
        slot_names(run.around(body), "culprit", status)
    slot_names(run.django({"test_a.py": case({"one": "pass", "two": "os._exit(0)"})}), "two", 0)


@fault
def a_fixture_ends_the_process(run):
    two = "\n\nclass Other(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls):\n        os._exit(0)\n    def test_other(self):\n        pass\n"
    slot_names(run({"test_a.py": case({"one": "pass"}) + two}), "Other::test_other", 0)
    slot_names(run({"test_a.py": case({"one": "pass"}) + "\ndef setUpModule():\n    os._exit(0)\n"}), "one", 0)
    slot_names(run({"test_a.py": case({"one": "pass"}, "@classmethod\ndef tearDownClass(cls):\n    os._exit(0)\n")}), "one", 0)


@fault
def a_module_ends_the_process(run):
    session = run({"test_a.py": case({"one": "pass"}), "test_b.py": "import os\n\nos._exit(0)\n"})
    slot_names(session, "test_b.py", 0)
    expect(outcomes(session) == {"one": "passed"}, session)


@fault
def a_careful_unit_loses_nothing(run):
    session = run({"test_a.py": case({"a_one": "pass", "b_two": "pass", "c_ends": "os._exit(0)"})}, choose=lambda units: [Unit(units[0], 0x80)])
    expect(outcomes(session) == {"one": "passed", "two": "passed"}, session)
    slot_names(session, "ends", 0)


@fault
def a_test_exits(run):
    for body in ("exit(0)", "sys.exit()", "sys.exit('word')", "raise SystemExit(0)"):
        one_is_bad(run.around(body), "errored", "`sys.exit` was called")
    for more in ((), ("-b",)):
        one_is_bad(run.around("print('out')\nraise KeyboardInterrupt", args=("-m", "unittest") + more), "errored", "KeyboardInterrupt")
    one_is_bad(run.around("raise GeneratorExit"), "errored", "GeneratorExit")
    session = run.django({"test_a.py": case({"a_first": "pass", "b_culprit": "raise KeyboardInterrupt", "c_after": "pass"}), "test_b.py": case({"second": "pass"})})
    one_is_bad(session, "errored", "KeyboardInterrupt")


@fault
def a_fixture_exits(run):
    for fixtures in ("def setUp(self):\n    if 'culprit' in self.id():\n        sys.exit(0)", "def tearDown(self):\n    if 'culprit' in self.id():\n        sys.exit(0)",
                     "def run(self, result=None):\n    super().run(result)\n    if 'culprit' in self.id():\n        sys.exit(0)"):
        session = run.around("pass", fixtures)
        expect(not session.green() and session.clean() and len(session.finished) == 4, session, fixtures)
    for name, more in (("setUpClass", ()), ("tearDownClass", ()), ("setUpClass", ("-b",)), ("tearDownClass", ("-b",))):
        session = run.around("pass", "@classmethod\ndef %s(cls):\n    print('out')\n    sys.exit(0)" % name, args=("-m", "unittest") + more)
        expect(session.clean() and not session.green() and len(session.finished) == 4 and outcomes(session)["second"] == "passed", session, name)
        expect("`sys.exit` was called" in session.result("after")["message"], session)
    for name in ("setUpModule", "tearDownModule"):
        session = run.around("pass", head="def %s():\n    sys.exit(0)\n" % name)
        expect(session.clean() and not session.green() and len(session.finished) == 4 and outcomes(session)["second"] == "passed", session, name)


@fault
def a_file_ends_while_it_is_loaded(run):
    for text, word in (("sys.exit(0)", "SystemExit: 0"), ("raise ValueError('loading')", "loading"), ("raise BaseException('base')", "base"), ("def f(n):\n    f(n)\nf(1)", "recursion"),
                       ("def load_tests(*_):\n    raise ValueError('in load')", "in load"), ("def load_tests(*_):\n    sys.exit(0)", "status 0"), ("def load_tests(*_):\n    pass", "")):
        session = run({"test_a.py": case({"first": "pass"}) + "\n" + text + "\n", "test_b.py": case({"second": "pass"})})
        expect(session.clean() and not session.green() and outcomes(session)["second"] == "passed", session, text)
        expect(word in session.result("test_a.py")["message"], session, word)


@fault
def a_process_ends_with_another_status(run):
    for code in ("os._exit(3)", "os._exit(0)"):
        session = run.around("pass", head="import atexit\natexit.register(lambda: %s)\n" % code)
        expect(session.green() == (code == "os._exit(0)") and len(session.finished) == 4, session, code)
    session = run.around("self.fail()", head="import atexit\natexit.register(lambda: os._exit(0))\n")
    expect(not session.green() and outcomes(session)["culprit"] == "failed", session)
    session = run({"go.py": "import sys, unittest\nunittest.main(None, argv=['x'], exit=False)\nsys.exit(3)\n", "test_a.py": case({"one": "pass"})}, args=("go.py",))
    expect(not session.green() and session.status == 3, session)
    session = run({"go.py": "import unittest\nunittest.main(None, argv=['x'], exit=False)\n", "test_a.py": case({"one": "self.fail()"})}, args=("go.py",))
    expect(not session.green() and session.status == 0, session)
    after = textwrap.dedent(MANAGE).replace("execute_from_command_line(sys.argv)", "try:\n    execute_from_command_line(sys.argv)\nfinally:\n    sys.exit(3)")
    session = run.django({"manage.py": after, "test_a.py": case({"one": "pass"})})
    expect(not session.green() and session.status == 3, session)


@fault
def a_result_is_stopped_or_says_nothing(run):
    session = run.around("self._outcome.result.stop()")
    told(session, "stopped")
    expect(outcomes(session) == {"first": "passed", "culprit": "passed"}, session)
    for more in ((), ("-b",)):
        swallows = "def run(self, result=None):\n    if 'culprit' not in self.id():\n        super().run(result)"
        one_is_bad(run.around("pass", swallows, args=("-m", "unittest") + more), "errored", "did not run")
    one_is_bad(run.around("pass", "def run(self, result=None):\n    if 'culprit' in self.id():\n        result.startTest(self)\n        result.stopTest(self)\n    else:\n"
                                  "        super().run(result)"), "errored", "reported nothing")
    own = "import sys, unittest\n\nclass Runner:\n    def run(self, suite):\n        return unittest.TestResult()\n\nunittest.main(None, testRunner=Runner())\n"
    told(run({"go.py": own, "test_a.py": case({"one": "pass"})}, args=("go.py",)), "were not run")


# Time, input and memory replaced -----------------------------------------------------------------------------------------------------------


@fault
def everything_is_mocked_in_a_test(run):
    body = """
        from unittest import mock
        import socket, struct
        for module, names in ((os, ("getpid", "_exit", "write", "read", "open")), (struct, ("pack", "unpack_from")), (socket, ("socket",)),
                              (time, ("time", "monotonic", "perf_counter"))):
            for name in names:
                mock.patch.object(module, name, side_effect=RuntimeError("mocked")).start()
    """
    stop = "from unittest import mock\nmock.patch.stopall()"
    all_pass(run({"test_a.py": case({"a_mocks": body, "b_after": "pass"}), "test_b.py": case({"second": "pass", "stops": stop})}), 4)


@fault
def time_is_frozen_and_sockets_are_green(run):
    all_pass(run.around("pass", head="import freezegun\nfreezegun.freeze_time('1999-01-01').start()\n"), 4)
    all_pass(run.around("import gevent\ngevent.sleep(0)", head="from gevent import monkey\nmonkey.patch_all()\n"), 4)
    manage = "from gevent import monkey\nmonkey.patch_all()\n" + textwrap.dedent(MANAGE)
    all_pass(run.django({"manage.py": manage, "test_a.py": case({"one": "import gevent\ngevent.sleep(0)"})}), 1)
    fake = "from pyfakefs.fake_filesystem_unittest import Patcher\nself.enterContext(Patcher())\nself.assertFalse(os.path.exists('/usr'))"
    all_pass(run.around(fake), 4)


@fault
def directory_environment_and_modules_change(run):
    for body in ("import tempfile\nos.chdir(tempfile.mkdtemp())\nos.rmdir(os.getcwd())", "os.environ.clear()", "sys.path[:] = []",
                 "sys.modules.pop('splitci_wire')\nsys.modules.pop('struct', None)"):
        session = run({"pkg/__init__.py": "", "pkg/test_a.py": case({"a_first": "pass", "b_changes": body, "c_after": "pass"}, "def setUp(self):\n    self.path = list(sys.path)\n"
                                                                    "def tearDown(self):\n    sys.path[:] = self.path\n"), "pkg/test_b.py": case({"second": "pass"})})
        all_pass(session, 4)


@fault
def descriptors_are_closed(run):
    session = run.around("os.closerange(3, 64)")
    expect(not session.green() and "descriptor" in session.stderr.decode() and session.status == 70, session)


# Processes and threads ---------------------------------------------------------------------------------------------------------------------

FORK = "pid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\n"


@fault
def a_fork_comes_back_into_the_runner(run):
    mark = "open('marks', 'a').write('x')"
    places = [
        {"test_a.py": case({"a_forks": FORK, "b_after": mark})},
        {"test_a.py": case({"a_forks": "pass", "b_after": mark}, "@classmethod\ndef setUpClass(cls):\n" + textwrap.indent(FORK, "    "))},
        {"test_a.py": case({"a_forks": "pass", "b_after": mark}, "def tearDown(self):\n" + textwrap.indent(FORK, "    "))},
        {"test_a.py": case({"a_forks": "pass", "b_after": mark}, head=FORK)},
        {"test_a.py": case({"a_forks": "pass", "b_after": mark}, head="def setUpModule():\n" + textwrap.indent(FORK, "    "))},
        {"test_a.py": case({"a_forks": "pass", "b_after": mark}, head="def tearDownModule():\n" + textwrap.indent(FORK, "    "))},
    ]
    for files in places:
        session = run(dict(files, **{"test_b.py": case({"second": mark})}))
        all_pass(session, 3)
        expect(session.left["marks"] == "xx", session, "the fork ran the rest, too: %r" % files)
        expect(len(re.findall(rb"^Ran ", session.stderr, re.M)) == 1, session, "two summaries")


@fault
def a_fork_fails_in_the_child_only(run):
    all_pass(run({"test_a.py": case({
        "fails": "pid = os.fork()\nself.assertTrue(pid)\nself.assertEqual(os.WEXITSTATUS(os.waitpid(pid, 0)[1]), 1)",
        "exits": "pid = os.fork()\nif not pid:\n    sys.exit(0)\nself.assertEqual(os.WEXITSTATUS(os.waitpid(pid, 0)[1]), 0)",
        "interrupts": "pid = os.fork()\nif not pid:\n    raise KeyboardInterrupt\nos.waitpid(pid, 0)",
    })}), 3)


@fault
def a_fork_or_a_thread_outlives_its_test(run):
    all_pass(run.around("if not os.fork():\n    time.sleep(1)\n    os._exit(0)"), 4)
    all_pass(run.around("threading.Thread(target=time.sleep, args=(0.3,)).start()"), 4)


@fault
def pools_of_processes_work(run):
    body = "import multiprocessing\nfor method in ('fork', 'spawn'):\n    with multiprocessing.get_context(method).Pool(2) as pool:\n        self.assertEqual(pool.map(abs, [-1, 2]), [1, 2])"
    all_pass(run.around(body), 4)


@fault
def stacks_are_shown_on_a_signal(run):
    def before(peer):
        def send():
            time.sleep(1.5)
            os.kill(peer.session.hello["pid"], 50)
        threading.Thread(target=send).start()
    session = run.around("time.sleep(3)", before=before, args=("-m", "unittest", "-b"))
    all_pass(session, 4)
    expect(b"test_b_culprit" in session.stderr, session, "no stack")


# Results -----------------------------------------------------------------------------------------------------------------------------------


@fault
def results_say_where_and_why(run):
    session = run({
        "tests/__init__.py": "", "tests/deep.py": "def fails():\n    print('out')\n    raise ValueError('deep\\nsecond line')\n",
        "tests/test_where.py": """
            import json
            import unittest

            from .deep import fails


            class Where(unittest.TestCase):
                def test_deep(self):
                    fails()

                def test_library(self):
                    json.loads("{")

                def test_asserts(self):
                    self.assertEqual({"a": 1}, {"a": 2})

                @unittest.skip("no\\nreason")
                def test_skip(self):
                    pass
        """,
        "tests/test_syntax.py": "def f():\n    return\n\n\nx = = 1\n", "tests/test_import.py": "import os\nimport nothing_of_the_kind\n",
    }, args=("-m", "unittest", "-b"))
    for name, outcome, file, line, message in (
        ("test_deep", "errored", "tests/deep.py", 3, "ValueError: deep"), ("test_library", "errored", "tests/test_where.py", 13, "json.decoder.JSONDecodeError: Expecting"),
        ("test_asserts", "failed", "tests/test_where.py", 16, "AssertionError: {'a': 1} != {'a': 2}"), ("test_skip", "skipped", "", 0, "no"),
        ("test_syntax", "errored", "tests/test_syntax.py", 5, "SyntaxError: invalid syntax"),
        ("test_import", "errored", "tests/test_import.py", 2, "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
    ):
        result = session.result(name)
        said = (result["outcome"], result["file"], result["line"], result["message"][:len(message)])
        expect(said == (outcome, file, line, message), session, "%s: %r" % (name, said))
    deep = session.result("test_deep")
    expect("--- Captured stdout ---\nout\n" in deep["output"] and "fails()" in deep["details"] and deep["micros"] > 0, session)


@fault
def fixtures_of_a_class_are_named(run):
    session = run.around("pass", "@classmethod\ndef tearDownClass(cls):\n    raise ValueError('late')")
    one_is_bad(session, "errored", "tearDownClass", "ValueError: late", name="after", others=("first", "culprit", "second"))
    session = run.around("pass", "@classmethod\ndef setUpClass(cls):\n    raise ValueError('early')\n@classmethod\ndef tearDownClass(cls):\n    pass")
    expect(outcomes(session) == {"first": "errored", "culprit": "errored", "after": "errored", "second": "passed"} and session.clean(), session)
    session = run.around("pass", head="def tearDownModule():\n    raise ValueError('late')\n")
    one_is_bad(session, "errored", "tearDownModule", "ValueError: late", name="after", others=("first", "culprit", "second"))


@fault
def one_name_is_there_twice(run):
    text = case({"one": "pass"}) + "\ndef load_tests(loader, tests, pattern):\n    tests.addTests(loader.loadTestsFromTestCase(Case))\n    return tests\n"
    session = run({"test_a.py": text})
    all_pass(session, 2)
    expect(session.declared[0][0] == session.declared[0][1], session)


@fault
def nothing_to_do_is_no_error(run):
    for python in [run.python]:
        session = run({"test_a.py": case({"one": "pass"})}, choose=lambda units: [], python=python)
        expect(session.clean() and session.status == 0 and not session.green(), session)
        session = run({"readme": ""}, python=python)
        expect(session.clean() and session.units == [] and session.status == 0, session)
        session = run({"test_a.py": "\n"}, python=python)
        expect(session.clean() and session.declared == {0: []} and not session.green(), session)


@fault
def a_unit_is_gone(run):
    def remove(units):
        for name in os.listdir("/tmp"):
            path = os.path.join("/tmp", name, "test_gone.py")
            if name.startswith("splitci-fault-") and os.path.exists(path):
                os.unlink(path)
        return [Unit(name) for name in units] + [Unit("test_never.py")]
    session = run({"test_gone.py": case({"one": "pass"}), "test_there.py": case({"two": "pass"})}, choose=remove)
    expect(outcomes(session) == {"test_gone.py": "errored", "two": "passed", "test_never.py": "errored"} and session.clean() and session.status == 1, session)


@fault
def options_are_refused(run):
    session = run({"test_a.py": case({"one": "pass"})}, args=("-m", "unittest", "--nonsense"))
    expect(session.hello is None and session.status == 2, session)
    session = run.django({"test_a.py": case({"one": "pass"})}, args=("manage.py", "test", "--nonsense"))
    expect(session.hello is None and session.status == 2, session)
    session = run({"test_a.py": case({"one": "self.fail()", "two": "pass"})}, args=("-m", "unittest", "-f"))
    expect(len(session.finished) == 2 and any("fail-fast" in text for text in session.notices), session)


# Django ------------------------------------------------------------------------------------------------------------------------------------


@fault
def settings_and_databases_fail(run):
    test = {"test_a.py": case({"one": "pass"})}
    told(run.django(dict(test, **{"site_settings.py": "raise ValueError('in the settings')\n"})), "in the settings")
    told(run.django(dict(test, **{"site_settings.py": textwrap.dedent(SETTINGS).replace('"test.db"', '"/nowhere/test.db"')})), "unable to open database file")
    check = "\nfrom django.core import checks\n@checks.register\ndef check(**_):\n    return [checks.Error('checked')]\n"
    told(run.django(dict(test, **{"site_settings.py": textwrap.dedent(SETTINGS) + check})), "checked")
    told(run.django(test, args=("manage.py", "test", "--testrunner", "nowhere.Runner")), "nowhere")
    session = run.django(dict(test, **{"site_settings.py": "import os\nos._exit(0)\n"}))
    expect(session.hello is None and session.status == 0 and not session.green(), session)


@fault
def shards_have_databases_of_their_own(run):
    name = "from django.db import connection\nself.assertEqual(os.path.basename(str(connection.settings_dict['NAME'])), os.environ['EXPECTED'])"
    for shard, expected in ((1, "test.db"), (2, "test_2.db")):
        session = run.django({"test_a.py": case({"name": name}), "test_2.db": "left behind"}, shard=shard, env={"EXPECTED": expected})
        all_pass(session, 1)
        expect(("test_2.db" in session.left) == (shard == 1), session)


@fault
def a_database_is_filled_again(run):
    tests = """
        from django.contrib.auth.models import Permission
        from django.test import TestCase, TransactionTestCase


        class Case(%s):
            def test_%s(self):
                %s
    """
    empty = "Permission.objects.all().delete()"
    full = "self.assertTrue(Permission.objects.filter(codename='add_user', content_type__model='user').exists())"
    files = {"test_a.py": tests % ("TransactionTestCase", "empties", empty), "test_b.py": tests % ("TestCase", "full", full), "test_c.py": tests % ("TransactionTestCase", "full", full)}
    all_pass(run.django(files), 3)
    # The rows of these are made by a signal, not by a migration.
    all_pass(run.django(dict(files, **{"site_settings.py": textwrap.dedent(SETTINGS) + "MIGRATION_MODULES = {'auth': None, 'contenttypes': None}\n"})), 3)
    all_pass(run.django(files, choose=lambda units: [Unit(units[n]) for n in (2, 0, 1, 0, 2)]), 5)


@fault
def a_database_is_not_as_it_should_be_after_a_test(run):
    """Django finds out when the result has been told that the test is over."""
    tests = """
        from django.contrib.auth.models import Permission
        from django.test import TestCase


        class Case(TestCase):
            def test_a_first(self):
                pass

            def test_b_culprit(self):
                Permission.objects.create(content_type_id=4711, codename="x", name="x")

            def test_c_after(self):
                pass
    """
    one_is_bad(run.django({"test_a.py": tests, "test_b.py": case({"second": "pass"})}), "errored", "IntegrityError", "4711")


@fault
def a_thread_never_ends(run):
    session = None
    try:
        session = run.around("threading.Thread(target=time.sleep, args=(60,)).start()", timeout=5)
    except AssertionError as error:
        if "did not end in time" not in str(error):
            raise
    if session is not None:
        raise AssertionError("a process that never ends ended")


def one(job):
    python, function = job
    try:
        function(Run(python))
        return function.__name__, None
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
        return function.__name__, trace + str(error)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    faults = [function for function in FAULTS if options.only in function.__name__]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for name, error in pool.map(one, [(os.path.abspath(options.python), function) for function in faults]):
            failed += error is not None
            print("%s: %s" % (name.replace("_", " "), "ok" if error is None else "WRONG\n" + error), flush=True)
    print("%d of %d faults are answered" % (len(faults) - failed, len(faults)))
    sys.exit(1 if failed or not faults else 0)


if __name__ == "__main__":
    main()
