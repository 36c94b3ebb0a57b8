#!/usr/bin/env python3
"""What test code does to a runner by accident, and what the driver must answer: the right test named, never a green that proves nothing.

    python3 faults.py --python 9=VENV/bin/python [...] [--only PART]
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from peer import CLOSING, NONE, Peer, Unit  # noqa: E402

FAULTS = []


def fault(function):
    FAULTS.append(function)
    return function


class Run:
    """Runs a project given as texts."""

    def __init__(self, major, python):
        self.major, self.python = major, python

    def __call__(self, files, args=(), plugins=(), **options):
        with tempfile.TemporaryDirectory(prefix="splitci-fault-") as directory:
            self.directory = directory
            for name, text in dict({"pytest.ini": "[pytest]\n"}, **files).items():
                path = os.path.join(directory, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(textwrap.dedent(text))
            env = dict(options.pop("env", {}), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
            argv = [self.python, "-m", "pytest"] + [word for name in plugins for word in ("-p", name)] + list(args)
            before = options.pop("before", None)
            peer = Peer(argv, directory, env=env, **options)
            if before:
                before(peer)
            session = peer.run()
            session.left = sorted(os.listdir(directory))
            return session


def expect(condition, session, what=""):
    if not condition:
        raise AssertionError("%s\n%s\nfinished %r\nnotices %r" % (what, session.transcript(), session.finished, session.notices))


def outcomes(session):
    return {name.split("::")[-1]: outcome for name, outcome in session.outcomes()}


def all_pass(session, tests):
    expect(session.green() and len(session.finished) == tests, session, "%d passes were expected" % tests)
    for _, _, result in session.finished:
        expect(0 <= result["micros"] < 30e6, session, "a duration of %d" % result["micros"])


# Time and input replaced -------------------------------------------------------------------------------------------------------------------


@fault
def time_is_frozen_or_mocked(run):
    session = run({
        "conftest.py": """
            import freezegun
            import pytest


            @pytest.fixture(scope="session", autouse=True)
            def frozen():
                with freezegun.freeze_time("1999-01-01", tick=False):
                    yield
        """,
        "test_time.py": """
            import time
            from unittest import mock

            import freezegun


            def test_frozen():
                assert time.gmtime().tm_year == 1999
                assert time.perf_counter() == time.perf_counter()


            @freezegun.freeze_time("2030-01-01")
            def test_frozen_again():
                assert time.gmtime().tm_year == 2030


            def test_mocked():
                for name in ("time", "monotonic", "perf_counter", "time_ns", "perf_counter_ns", "sleep"):
                    mock.patch.object(time, name, side_effect=lambda *_: -1e18).start()


            def test_after():
                assert time.time() == -1e18
        """,
    })
    all_pass(session, 4)


@fault
def time_is_frozen_before_the_session(run):
    all_pass(run({
        "conftest.py": "import freezegun\n\nfreezegun.freeze_time('1999-01-01').start()\n",
        "test_time.py": "import time\n\n\ndef test_frozen():\n    assert time.gmtime().tm_year == 1999\n",
    }), 1)


@fault
def gevent_replaces_sockets_and_os(run):
    for place in ("conftest.py", "test_first.py"):
        files = {
            "test_second.py": "import gevent\n\n\ndef test_two():\n    done = []\n    gevent.spawn(done.append, 1).join()\n    assert done\n",
            "test_first.py": "def test_one():\n    pass\n",
        }
        files[place] = "from gevent import monkey\n\nmonkey.patch_all()\n" + files.get(place, "")
        all_pass(run(files), 2)


@fault
def files_are_fake(run):
    session = run({
        "conftest.py": """
            import pytest


            @pytest.fixture(scope="module")
            def module_files(fs_module):
                yield fs_module
        """,
        "test_fake.py": """
            import os


            def test_fake(fs):
                fs.create_file("/nowhere/x")
                assert os.path.exists("/nowhere/x")
                os.close(os.open("/nowhere/x", os.O_RDONLY))


            def test_fake_module(module_files):
                assert not os.path.exists("/usr")


            def test_fake_fails(module_files):
                assert os.path.exists("/usr")


            def test_fake_still(module_files):
                os.getpid()
        """,
        "test_real.py": "import os\n\n\ndef test_real():\n    assert os.path.exists('/usr')\n",
    }, plugins=["pyfakefs.pytest_plugin"])
    expected = {"test_fake": "passed", "test_fake_module": "passed", "test_fake_fails": "failed", "test_fake_still": "passed", "test_real": "passed"}
    expect(outcomes(session) == expected and session.clean(), session)


@fault
def everything_is_mocked_in_a_test(run):
    all_pass(run({"test_mock.py": """
        import os
        import socket
        import struct
        import sys
        from unittest import mock


        def test_mocked():
            for module, names in ((os, ("getpid", "_exit", "write", "read", "open")), (struct, ("pack", "unpack_from")), (socket, ("socket",))):
                for name in names:
                    mock.patch.object(module, name, side_effect=RuntimeError("mocked")).start()


        def test_after():
            mock.patch.stopall()
            sys.modules.pop("struct", None)
            sys.modules.pop("splitci_pytest_driver", None)


        def test_long_after():
            pass
    """}), 3)


@fault
def directory_and_environment_change(run):
    all_pass(run({
        "test_a.py": """
            import os
            import tempfile


            def test_moves():
                os.chdir(tempfile.mkdtemp())


            def test_removes():
                os.rmdir(os.getcwd())


            def test_clears():
                os.environ.clear()
        """,
        "test_b.py": "def test_after():\n    pass\n",
    }), 4)


# Processes ---------------------------------------------------------------------------------------------------------------------------------


@fault
def a_fork_comes_back_into_the_runner(run):
    session = run({"test_fork.py": """
        import os


        def test_before():
            pass


        def test_forks():
            pid = os.fork()
            if pid:
                os.waitpid(pid, 0)
            else:
                with open("child", "a") as file:
                    file.write("x")


        def test_after():
            with open("after", "a") as file:
                file.write("x")
    """, "test_more.py": """
        def test_counts():
            assert open("child").read() == "x"
            assert open("after").read() == "x"
    """})
    all_pass(session, 4)


@fault
def a_fork_fails_in_the_child_only(run):
    session = run({"test_fork.py": """
        import os


        def test_forks():
            pid = os.fork()
            assert pid, "the child fails"
            assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 1


        def test_forks_and_exits():
            pid = os.fork()
            if not pid:
                raise SystemExit(0)
            os.waitpid(pid, 0)


        def test_forks_and_interrupts():
            pid = os.fork()
            if not pid:
                raise KeyboardInterrupt
            os.waitpid(pid, 0)
    """})
    all_pass(session, 3)


@fault
def a_fork_comes_back_from_a_fixture_or_a_module(run):
    session = run({
        "conftest.py": """
            import os

            import pytest


            def fork():
                pid = os.fork()
                if pid:
                    os.waitpid(pid, 0)


            @pytest.fixture(scope="session", autouse=True)
            def forking():
                fork()
                yield
                fork()


            def pytest_collection_modifyitems(items):
                fork()
        """,
        "test_fork.py": "from conftest import fork\n\nfork()\n\n\ndef test_one():\n    pass\n",
        "test_more.py": "def test_two():\n    pass\n",
    })
    all_pass(session, 2)


@fault
def a_fork_outlives_its_test(run):
    all_pass(run({"test_fork.py": """
        import os
        import time


        def test_forks():
            if not os.fork():
                time.sleep(1)
                os._exit(0)


        def test_after():
            pass
    """}), 2)


@fault
def pools_of_processes_work(run):
    all_pass(run({"test_pool.py": """
        import multiprocessing


        def work(n):
            return n * 2


        def test_pool():
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    assert pool.map(work, range(4)) == [0, 2, 4, 6]
    """}), 1)


@fault
def a_test_starts_a_pytest(run):
    session = run({
        "conftest.py": "pytest_plugins = ['pytester']\n",
        "inner/test_inner.py": "def test_inner():\n    assert False\n",
        "test_nested.py": """
            import os
            import subprocess
            import sys

            import pytest


            def test_in_a_process():
                assert not [name for name in os.environ if name.startswith(("SPLITCI_DRIVER", "SPLITCI_SAVED", "SPLITCI_PYTHON"))]
                assert os.environ.get("PYTEST_PLUGINS") is None
                assert os.environ["PYTHONPATH"] == "/somewhere"
                assert not [path for path in sys.path if "splitci" in path and os.path.exists(os.path.join(path, "splitci_pytest_driver.py"))]
                ended = subprocess.run([sys.executable, "-m", "pytest", "inner"], stdout=subprocess.PIPE)
                assert ended.returncode == 1 and b"1 failed" in ended.stdout


            def test_in_this_process():
                assert pytest.main(["inner", "-p", "no:terminal"]) == 1


            def test_pytester(pytester):
                pytester.makepyfile("def test_one(): pass")
                pytester.runpytest_inprocess().assert_outcomes(passed=1)
                pytester.runpytest_subprocess().assert_outcomes(passed=1)


            def test_hooks(pytester):
                pytester.makepyfile("import pytest\\n\\n\\n@pytest.mark.skip\\ndef test_one(): pass")
                items, recorded = pytester.inline_genitems()
                assert len(items) == 1
        """,
    }, args=["test_nested.py"], env={"PYTHONPATH": "/somewhere"})
    all_pass(session, 4)


@fault
def a_conftest_starts_a_pytest(run):
    session = run({
        "conftest.py": """
            import os
            import subprocess
            import sys

            if not os.environ.get("NESTED"):
                ended = subprocess.run([sys.executable, "-m", "pytest", "test_one.py"], env=dict(os.environ, NESTED="1"), stdout=subprocess.PIPE)
                assert ended.returncode == 0 and b"1 passed" in ended.stdout
        """,
        "test_one.py": "def test_one():\n    pass\n",
    })
    all_pass(session, 1)


@fault
def a_conftest_starts_itself_again(run):
    all_pass(run({
        "conftest.py": """
            import os
            import sys

            if "LD_THING" not in os.environ:
                os.environ["LD_THING"] = "1"
                os.execv(sys.executable, [sys.executable, "-m", "pytest"])
        """,
        "test_one.py": "def test_one():\n    pass\n",
    }), 1)


@fault
def a_script_runs_pytest(run):
    session = run({
        "go.py": "import sys\n\nimport pytest\n\nsys.exit(pytest.main(['-q']))\n",
        "test_one.py": "def test_one():\n    pass\n",
    }, before=lambda peer: setattr(peer, "argv", [peer.argv[0], "go.py"]))
    all_pass(session, 1)


@fault
def a_second_session_is_no_green(run):
    session = run({
        "go.sh": "$PYTHON -m pytest test_one.py && exec $PYTHON -m pytest test_two.py\n",
        "test_one.py": "def test_one():\n    pass\n",
        "test_two.py": "def test_two():\n    pass\n",
    }, env={"PYTHON": run.python}, before=lambda peer: setattr(peer, "argv", ["sh", "go.sh"]))
    expect(not session.green() and session.status == 70, session)


# Ends before their time --------------------------------------------------------------------------------------------------------------------


def ended_in(session, name, status):
    """The process died and the slot names the test."""
    expect(not session.clean() and session.bye is None and session.status == status, session)
    unit, ordinal = session.slot
    expect(session.declared[unit][ordinal].endswith(name), session, "the slot names another test")


@fault
def a_test_ends_the_process(run):
    for body, status in (("os._exit(0)", 0), ("os._exit(3)", 3), ("os.abort()", -6), ("os.kill(os.getpid(), 9)", -9)):
        session = run({"test_ends.py": """
            import os


            def test_before():
                pass


            def test_ends():
                %s


            def test_after():
                pass
        """ % body})
        ended_in(session, "::test_ends", status)


@fault
def a_module_ends_the_process(run):
    session = run({"test_a.py": "def test_a():\n    pass\n", "test_b.py": "import os\n\nos._exit(0)\n"})
    expect(not session.clean() and session.bye is None and session.slot == (1, NONE), session)
    expect(outcomes(session) == {"test_a": "passed"}, session)


@fault
def a_careful_unit_loses_nothing(run):
    files = {"test_ends.py": "import os\n\n\ndef test_one():\n    pass\n\n\ndef test_two():\n    pass\n\n\ndef test_ends():\n    os._exit(0)\n"}
    session = run(files, choose=lambda units: [Unit(units[0], 0x80)])
    expect(outcomes(session) == {"test_one": "passed", "test_two": "passed"}, session)
    ended_in(session, "::test_ends", 0)


@fault
def a_test_leaves_by_exit_or_interrupt(run):
    session = run({
        "conftest.py": """
            import pytest

            ended = []


            @pytest.fixture(autouse=True)
            def ends():
                yield
                ended.append(1)


            @pytest.fixture(scope="module")
            def module_ends():
                yield
                ended.append("module")
        """,
        "test_exits.py": """
            import os
            import signal
            import sys

            import pytest


            def test_sys_exit():
                sys.exit(0)


            def test_pytest_exit(module_ends):
                print("printed before")
                pytest.exit("no more")


            def test_interrupt():
                raise KeyboardInterrupt


            def test_signal():
                os.kill(os.getpid(), signal.SIGINT)


            def test_generator_exit():
                raise GeneratorExit


            @pytest.fixture
            def exits():
                yield
                pytest.exit("in tear-down", returncode=0)


            def test_exit_in_teardown(exits):
                pass


            def test_after():
                pass
        """,
        "test_more.py": """
            from conftest import ended


            def test_torn_down():
                assert ended == [1, 1, 1, 1, 1, 1, 1, "module"], ended
        """,
    })
    found = outcomes(session)
    expect(found.pop("test_after") == "passed" and found.pop("test_torn_down") == "passed", session)
    expect(found.pop("test_sys_exit") == "failed" and found.pop("test_generator_exit") == "failed", session)
    expect(set(found.values()) == {"errored"} and len(found) == 4, session)
    expect(session.clean() and session.status == 1, session)
    exited = session.result("test_pytest_exit")
    expect(exited["message"] == "pytest.exit: no more" and "printed before" in exited["output"], session, repr(exited))
    expect(any("test_interrupt" in text for text in session.notices), session)


@fault
def a_module_leaves_by_exit_or_interrupt(run):
    for body in ("import sys\nsys.exit(0)", "import pytest\npytest.exit('x', returncode=0)", "raise KeyboardInterrupt"):
        session = run({"test_a.py": body + "\n\n\ndef test_never():\n    pass\n", "test_b.py": "def test_b():\n    pass\n"})
        expect(dict(session.outcomes()) == {"test_a.py": "errored", "test_b.py::test_b": "passed"}, session, body)
        expect(session.clean() and session.status == 1, session, body)


@fault
def a_conftest_leaves(run):
    for body, text in (
        ("import sys\nsys.exit(0)", "SystemExit"), ("import pytest\npytest.exit('enough', returncode=0)", "enough"),
        ("import not_there_at_all", "not_there_at_all"), ("def broken(:", "SyntaxError"), ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ):
        session = run({"conftest.py": body + "\n", "test_a.py": "def test_a():\n    pass\n"})
        expect(not session.green() and not session.finished, session, body)
        expect(session.bye is not None and text in session.bye["errors"], session, body)


@fault
def a_conftest_in_a_folder_fails(run):
    session = run({
        "sub/conftest.py": "import not_there_at_all\n", "sub/test_a.py": "def test_a():\n    pass\n", "test_b.py": "def test_b():\n    pass\n",
    })
    expect(not session.green() and not session.clean() or session.status == 1, session)
    said = [result["details"] for _, _, result in session.finished] + [session.bye["errors"]]
    expect(any("not_there_at_all" in text for text in said), session)
    session = run({"sub/conftest.py": "import sys\nsys.exit(0)\n", "sub/test_a.py": "def test_a():\n    pass\n"})
    expect(not session.green(), session)


@fault
def hooks_fail(run):
    for hook, args in (
        ("pytest_configure", "config"), ("pytest_sessionstart", "session"), ("pytest_collection_modifyitems", "items"),
        ("pytest_collection_finish", "session"), ("pytest_runtest_logreport", "report"), ("pytest_runtest_makereport", "item"),
        ("pytest_runtest_logstart", "nodeid"), ("pytest_sessionfinish", "session"), ("pytest_unconfigure", "config"),
        ("pytest_terminal_summary", "terminalreporter"), ("pytest_runtestloop", "session"), ("pytest_collection", "session"),
    ):
        session = run({"conftest.py": "def %s(%s):\n    raise RuntimeError('hook failed')\n" % (hook, args), "test_a.py": "def test_a():\n    pass\n"})
        expect(not session.green() and session.bye is not None, session, hook)
        said = [result["details"] for _, _, result in session.finished] + [session.bye["errors"]]
        expect(any("hook failed" in text for text in said), session, hook)


@fault
def a_plugin_takes_the_loop(run):
    session = run({
        "conftest.py": "def pytest_runtestloop(session):\n    return True\n", "test_a.py": "def test_a():\n    pass\n",
    })
    expect(not session.green() and "loop" in session.bye["errors"], session)
    session = run({
        "conftest.py": "seen = []\n\n\ndef pytest_runtestloop(session):\n    seen.append(1)\n",
        "test_a.py": "from conftest import seen\n\n\ndef test_a():\n    assert seen == [1]\n",
    })
    all_pass(session, 1)


@fault
def a_plugin_swallows_a_test(run):
    session = run({
        "conftest.py": "def pytest_runtest_protocol(item):\n    if 'gone' in item.name:\n        return True\n",
        "test_a.py": "def test_a():\n    pass\n\n\ndef test_gone():\n    assert False\n",
    })
    expect(outcomes(session) == {"test_a": "passed", "test_gone": "errored"}, session)
    session = run({"test_a.py": "def test_a():\n    assert False\n"}, args=["--setup-only"])
    expect(outcomes(session) == {"test_a": "skipped"}, session)


@fault
def the_session_is_stopped(run):
    for how in ("session.shouldstop = 'enough of it'", "session.shouldfail = 'enough of it'"):
        session = run({
            "conftest.py": "def pytest_runtest_teardown(item):\n    session = item.session\n    %s\n" % how,
            "test_a.py": "def test_a():\n    pass\n\n\ndef test_b():\n    pass\n",
        })
        expect(not session.clean() and "enough of it" in session.bye["errors"], session)
        expect(outcomes(session) == {"test_a": "passed"}, session)


@fault
def session_teardown_fails(run):
    for body in ("raise RuntimeError('at the end')", "import pytest; pytest.exit('at the end')", "raise SystemExit('at the end')", "assert 'at the end' == 1"):
        session = run({
            "conftest.py": "import pytest\n\n\n@pytest.fixture(scope='session', autouse=True)\ndef ends():\n    yield\n    %s\n" % body,
            "test_a.py": "def test_a():\n    pass\n",
        })
        expect(not session.clean() and "at the end" in session.bye["errors"] and session.status == 1, session)
        expect(outcomes(session) == {"test_a": "passed"}, session)


@fault
def the_process_ends_with_another_status(run):
    session = run({
        "conftest.py": "import atexit\nimport os\n\natexit.register(os._exit, 5)\n", "test_a.py": "def test_a():\n    pass\n",
    })
    expect(not session.clean() and session.bye["status"] == 0 and session.status == 5, session)
    session = run({
        "conftest.py": "def pytest_sessionfinish(session):\n    session.exitstatus = 7\n", "test_a.py": "def test_a():\n    pass\n",
    })
    expect(not session.clean() and session.bye["status"] == 7 and session.status == 7, session)


# The line to the worker --------------------------------------------------------------------------------------------------------------------


@fault
def a_test_closes_every_descriptor(run):
    session = run({"test_close.py": """
        import os
        import socket


        def test_before():
            pass


        def test_closes():
            os.closerange(3, 4096)


        def test_after():
            pass
    """}, args=["-s"])
    expect(not session.green() and session.bye is None and session.status != 0, session)
    session = run({"test_close.py": """
        import os
        import socket

        kept = []


        def test_closes_and_opens():
            os.closerange(3, 64)
            while not kept or kept[-1].fileno() < 60:
                kept.append(open("mine", "wb"))


        def test_after():
            pass


        def teardown_module():
            assert os.path.getsize("mine") == 0
    """}, args=["-s"])
    expect(not session.green() and session.bye is None and session.status != 0, session)


@fault
def the_worker_goes_away(run):
    def leave(peer):
        kept = Peer._hand_over

        def close(connection):
            if peer.waiting and peer.session.ended:
                connection.shutdown(2)
            else:
                kept(peer, connection)

        peer._hand_over = close

    session = run({"test_a.py": "def test_a():\n    pass\n", "test_b.py": "def test_b():\n    pass\n"}, before=leave)
    expect(session.bye is None and session.status == 70, session)


@fault
def tests_print_junk(run):
    session = run({"test_junk.py": """
        import os
        import sys

        JUNK = bytes(range(256)) * 3 + b"\\xff\\xfe\\x01\\x00\\x00\\x00\\x07"


        def test_bytes():
            os.write(1, JUNK)
            os.write(2, JUNK)
            assert False


        def test_text():
            print("\\udcff \\ud800 \\U0001f600 \\x00")
            raise ValueError("\\udcff\\x00")


        def test_frames():
            sys.stdout.buffer.write(b"\\x05\\x00\\x00\\x00\\x07\\x00\\x00\\x00\\x00")
            sys.__stdout__.write("x")


        def test_much():
            print("y" * 5000000)
            assert False, "z" * 5000000
    """})
    expect(outcomes(session) == {"test_bytes": "failed", "test_text": "failed", "test_frames": "passed", "test_much": "failed"}, session)
    expect(session.clean(), session)
    expect("\U0001f600" in session.result("test_text")["output"] and "\\udcff" in session.result("test_text")["message"], session)
    much = session.result("test_much")
    expect(1e6 < len(much["output"]) < 3e6 and "characters ..." in much["output"] and len(much["message"]) < 3000, session)
    expect(session.result("test_bytes")["file"] == "test_junk.py" and session.result("test_bytes")["line"] == 11, session)


@fault
def signal_handlers_are_the_tests_own(run):
    all_pass(run({"test_signals.py": """
        import faulthandler
        import signal


        def test_handlers():
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                assert signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler, None), number
            got = []
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGHUP):
                old = signal.signal(number, lambda *_: got.append(1))
                signal.raise_signal(number)
                signal.signal(number, old)
            assert len(got) == 5


        def test_dump_is_left_alone():
            faulthandler.disable()
            faulthandler.enable()


        def test_sigpipe():
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)


        def test_after():
            pass
    """}), 4)


@fault
def stacks_are_dumped_on_demand(run):
    def dump(peer):
        def wait():
            while peer.session.hello is None or len(peer.session.declared) < 1:
                time.sleep(0.01)
            time.sleep(0.3)
            os.kill(peer.session.hello["pid"], 50)

        threading.Thread(target=wait, daemon=True).start()

    session = run({"test_slow.py": "import time\n\n\ndef test_waits_for_long():\n    time.sleep(1.5)\n"}, before=dump)
    all_pass(session, 1)
    expect(b"test_waits_for_long" in session.stderr and b"most recent call first" in session.stderr, session)


@fault
def a_late_alarm_is_not_silent(run):
    session = run({"test_alarm.py": """
        import signal
        import time


        def fire(*_):
            raise TimeoutError("late alarm")


        def test_arms():
            signal.signal(signal.SIGALRM, fire)
            signal.setitimer(signal.ITIMER_REAL, 0.0001)


        def test_waits():
            time.sleep(0.5)
    """})
    expect(not session.green(), session)


# Options -----------------------------------------------------------------------------------------------------------------------------------

FAILING = {"test_a.py": "def test_a():\n    assert False\n\n\ndef test_b():\n    assert False\n", "test_c.py": "def test_c():\n    pass\n"}


@fault
def stopping_early_is_off_and_said(run):
    for args in (["-x"], ["--maxfail=1"], ["--exitfirst", "--sw"]):
        session = run(FAILING, args=args)
        expect(outcomes(session) == {"test_a": "failed", "test_b": "failed", "test_c": "passed"} and session.clean(), session)
        expect(any("--fail-fast" in text for text in session.notices), session)


@fault
def last_failures_work(run):
    files = dict(FAILING)
    files[".pytest_cache/v/cache/lastfailed"] = '{"test_a.py::test_b": true}'
    session = run(files, args=["--lf"])
    expect(outcomes(session) == {"test_b": "failed"} and session.clean(), session)
    session = run(files, args=["--ff"])
    expect(len(session.finished) == 3 and session.clean(), session)


@fault
def collecting_only_is_refused(run):
    session = run(FAILING, args=["--collect-only"])
    expect(not session.finished and "splitci plan" in session.bye["errors"] and session.status == 4, session)


@fault
def usage_errors_are_told(run):
    session = run(FAILING, args=["not_there.py"])
    expect("not_there.py" in session.bye["errors"] and session.bye["status"] == session.status == 4, session)
    session = run(FAILING, args=["test_a.py::test_not_there"])
    expect("test_not_there" in session.bye["errors"] and session.bye["status"] == session.status == 4, session)


@fault
def names_that_are_gone_are_errors(run):
    def remove(units):
        os.remove(os.path.join(run.directory, "test_c.py"))
        return [Unit("test_c.py"), Unit("test_never_was.py"), Unit("test_a.py"), Unit("test_a.py", 0, (), 1)]

    session = run(FAILING, choose=remove)
    pairs = session.outcomes()
    expect(pairs[0] == ("test_c.py", "errored") and pairs[1] == ("test_never_was.py", "errored") and len(pairs) == 5, session)
    expect("not found" in session.finished[1][2]["message"] and session.clean(), session)


@fault
def nothing_to_do_is_no_error(run):
    session = run(FAILING, choose=lambda units: [])
    expect(session.clean() and session.status == 0 and not session.green(), session)
    session = run({"test_a.py": "\n"})
    expect(session.clean() and session.status == 0 and session.declared == {0: []}, session)
    session = run({"readme": "\n"})
    expect(session.clean() and session.units == [], session)


@fault
def xdist_is_off(run):
    session = run(dict(FAILING, **{"pytest.ini": "[pytest]\naddopts = -n 2 --dist=loadfile\n"}), plugins=["xdist"])
    expect(len(session.finished) == 3 and session.clean() and any("xdist" in text for text in session.notices), session)


@fault
def coverage_is_kept_and_not_judged(run):
    session = run({
        "pytest.ini": "[pytest]\naddopts = --cov=code --cov-fail-under=99\n", "code.py": "def f():\n    return 1\n\n\ndef g():\n    return 2\n",
        "test_a.py": "import code\n\n\ndef test_a():\n    assert code.f() == 1\n", ".coveragerc": "[run]\n[report]\nfail_under = 98\n",
        "conftest.py": "import sys\n\nsys.modules.pop('code', None)\nsys.path.insert(0, '.')\n",
    }, plugins=["pytest_cov"], env={"COVERAGE_FILE": ".coverage.1.1"})
    all_pass(session, 1)
    expect(any("coverage threshold" in text for text in session.notices) and ".coverage.1.1" in session.left, session, str(session.left))


@fault
def shards_write_their_own_files(run):
    session = run({
        "pytest.ini": "[pytest]\naddopts = --junitxml=report.xml --basetemp=temporary\n",
        "test_a.py": "def test_a(tmp_path, cache):\n    cache.set('x', 1)\n    assert 'temporary.shard2' in str(tmp_path)\n",
    }, shard=2)
    all_pass(session, 1)
    expect("report.shard2.xml" in session.left and "temporary.shard2" in session.left, session, str(session.left))
    expect(".pytest_cache" not in session.left and any("--junit" in text for text in session.notices), session, str(session.left))
    session = run({"pytest.ini": "[pytest]\naddopts = --junitxml=report.xml\n", "test_a.py": "def test_a():\n    pass\n"}, shards=1)
    expect("report.xml" in session.left and not session.notices, session, str(session.left))


@fault
def shards_have_databases_of_their_own(run):
    files = {
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = site_settings\npythonpath = .\n",
        "site_settings.py": """
            SECRET_KEY = "x"
            DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "real.db", "TEST": {"NAME": "test.db"}}}
            INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]
        """,
        "test_a.py": """
            import os

            from django.db import connection


            def test_a(db):
                assert os.path.basename(str(connection.settings_dict["NAME"])) == os.environ["EXPECTED"]
        """,
    }
    for shard, name in ((1, "test.db"), (2, "test.db_2")):
        all_pass(run(files, plugins=["pytest_django.plugin"], shard=shard, env={"EXPECTED": name}), 1)


@fault
def the_seed_is_the_runs(run):
    files = {"test_a.py": "import random\n\n\ndef test_a():\n    assert random.randint(0, 10**9) == -1\n"}
    two = [run(files, plugins=["pytest_randomly"], seed=12345) for _ in range(2)]
    expect(two[0].hello["seed"] == 12345 and two[0].result("test_a")["message"] == two[1].result("test_a")["message"], two[0])
    session = run(files, plugins=["pytest_randomly"], args=["--randomly-seed=99"], seed=12345)
    expect(session.hello["seed"] == 99, session)


@fault
def results_say_where_and_why(run):
    session = run({
        "tests/test_where.py": """
            import pytest

            from .deep import fails


            def test_fails():
                print("out")
                fails()


            @pytest.mark.skip(reason="no\\nreason")
            def test_skipped():
                pass


            @pytest.mark.xfail(reason="later")
            def test_expected():
                assert 0


            @pytest.fixture
            def broken():
                raise KeyError("fixture")


            def test_errored(broken):
                pass


            def test_in_teardown(request):
                request.addfinalizer(lambda: 1 / 0)
        """,
        "tests/deep.py": "def fails():\n    raise ValueError('deep\\nsecond line')\n", "tests/__init__.py": "",
        "tests/test_syntax.py": "def f():\n    return\n\n\nx = = 1\n", "tests/test_import.py": "import os\nimport nothing_of_the_kind\n",
    })
    for name, outcome, file, line, message in (
        ("test_fails", "failed", "tests/deep.py", 2, "ValueError: deep"), ("test_skipped", "skipped", "tests/test_where.py", 12, "no"),
        ("test_expected", "expected_failure", "tests/test_where.py", 19, "later"), ("test_errored", "errored", "tests/test_where.py", 24, "KeyError: 'fixture'"),
        ("test_in_teardown", "errored", "tests/test_where.py", 32, "ZeroDivisionError: division by zero"),
        ("test_syntax", "errored", "tests/test_syntax.py", 5, "SyntaxError: invalid syntax"),
        ("test_import", "errored", "tests/test_import.py", 2, "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
    ):
        result = session.result(name)
        said = (result["outcome"], result["file"], result["line"], result["message"])
        expect(said == (outcome, file, line, message), session, "%s: %r" % (name, said))
    failed = session.result("test_fails")
    expect("--- Captured stdout call ---\nout\n" in failed["output"] and "def fails():" in failed["details"] and failed["micros"] > 0, session)


def one(job):
    major, python, function = job
    started = time.monotonic()
    try:
        function(Run(major, python))
        return major, function.__name__, None, time.monotonic() - started
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
        return major, function.__name__, trace + str(error), time.monotonic() - started


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", action="append", required=True, metavar="MAJOR=PROGRAM")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    pythons = [(int(major), os.path.abspath(python)) for major, _, python in (entry.partition("=") for entry in options.python)]
    jobs = [(major, python, function) for function in FAULTS for major, python in pythons if options.only in function.__name__]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for major, name, error, seconds in pool.map(one, jobs):
            failed += error is not None
            print("pytest %d, %s: %s" % (major, name.replace("_", " "), "ok" if error is None else "WRONG\n" + error), flush=True)
    print("%d of %d faults are answered" % (len(jobs) - failed, len(jobs)))
    sys.exit(1 if failed or not jobs else 0)


if __name__ == "__main__":
    main()
