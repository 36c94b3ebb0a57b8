#!/usr/bin/env python3
"""What the driver costs: no-op tests, plain pytest and driven, interleaved; slope between two sizes, and intercept.

    python3 measure.py --python VENV/bin/python [--rounds 15] [--small 2000] [--large 20000]

Wall and CPU of the framework's process. Every round checks the number of tests. Identical plain pairs differ by a tenth of a second and more on a
busy machine: only medians of many rounds say something.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from peer import Peer  # noqa: E402


def suite(directory, tests):
    for n in range(100):
        with open(os.path.join(directory, "test_%03d.py" % n), "w") as file:
            file.write("".join("def test_%03d():\n    assert 1 + 1 == 2\n\n\n" % t for t in range(tests // 100)))
    open(os.path.join(directory, "pytest.ini"), "w").write("[pytest]\n")


def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def plain(python, directory, tests):
    before, start = children(), time.monotonic()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SPLITCI", "PYTHON"))}
    env.update(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    with tempfile.TemporaryFile() as out:
        subprocess.run([python, "-m", "pytest"], cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True)
        wall = time.monotonic() - start
        out.seek(0)
        assert b"%d passed" % tests in out.read()
    return wall, children() - before


def driven(python, directory, tests):
    before = children()
    session = Peer([python, "-m", "pytest"], directory, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, timeout=600).run()
    assert session.green() and len(session.finished) == tests, session.transcript()
    return session.wall, children() - before


def compare(name, rounds, sizes, suite, plain, driven):
    """Measures pairs of `plain(directory, tests)` and `driven(directory, tests)` in what `suite(directory, tests)` wrote; prints each and the medians."""
    with tempfile.TemporaryDirectory() as base:
        directories = {}
        for tests in sizes:
            directories[tests] = os.path.join(base, str(tests))
            os.mkdir(directories[tests])
            suite(directories[tests], tests)
            # Warms byte code and caches.
            plain(directories[tests], tests)
        gained = {tests: ([], []) for tests in sizes}
        for number in range(rounds):
            for tests in sizes:
                pair = [plain, driven] if number % 2 else [driven, plain]
                measured = {run: run(directories[tests], tests) for run in pair}
                for kind in (0, 1):
                    gained[tests][kind].append(measured[driven][kind] - measured[plain][kind])
                print("%d tests: plain %.2f s wall %.2f s cpu, driven %+.0f ms wall %+.0f ms cpu" % (
                    tests, *measured[plain], gained[tests][0][-1] * 1e3, gained[tests][1][-1] * 1e3), flush=True)
    for kind, what in enumerate(("wall", "cpu")):
        small, large = (statistics.median(gained[tests][kind]) for tests in sizes)
        slope = (large - small) / (sizes[1] - sizes[0])
        print("%s, %s: %+.4f ms a test, %+.0f ms at the start" % (name, what, slope * 1e3, (small - slope * sizes[0]) * 1e3), flush=True)


def options():
    """What every measurement takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--small", type=int, default=2000)
    parser.add_argument("--large", type=int, default=20000)
    return parser


def main():
    parser = options()
    parser.add_argument("--python", required=True)
    given = parser.parse_args()
    python = os.path.abspath(given.python)
    compare("pytest", given.rounds, (given.small, given.large), suite, partial(plain, python), partial(driven, python))


if __name__ == "__main__":
    main()
