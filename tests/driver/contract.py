#!/usr/bin/env python3
"""The contract of the pytest driver: a driven run is a plain run, but for the differences that are named here.

    python3 contract.py --python 9=VENV/bin/python [--python 8=...] [--only PART]

Every project of `corpus/` is run plainly and driven, under every pytest given. Compared: test ids, their order within a file, outcomes, fixture names
and markers of each test, how often each fixture was set up, how often each hook was called, warnings. Then the same driven by two shards, and cut.

Documented differences:
- `pytest_collection_modifyitems`, `pytest_collection_finish` and `pytest_deselected` are called for each file, with that file's items (`whole`
  calls them once). Sorting or fixture parameters of a wider scope take effect within a file, and a warning that they cause is seen in each.
- A file that is listed twice (`--keep-duplicates`) runs its tests twice in one go.
- A fixture of package scope is set up once for each file that uses it.
- A file that cannot be loaded is one errored test; the others run (a plain run stops, unless `--continue-on-collection-errors`).
- Session fixtures are torn down after the last test has been reported; an error there is an error of the session.
"""
import argparse
import collections
import concurrent.futures
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from peer import Peer, Unit  # noqa: E402

ONCE_A_FILE = ("pytest_collection_modifyitems", "pytest_collection_finish")
FOR_EACH_FILE = ONCE_A_FILE + ("pytest_deselected",)


class Case:
    """One project with one set of arguments."""

    def __init__(self, name, project, args=(), plugins=(), majors=(7, 8, 9), whole=False, plain_args=(), compare_order=True, cut=None, env=None, compare_fixtures=True):
        self.name, self.project, self.args, self.plugins, self.majors = name, project, list(args), list(plugins), majors
        self.whole, self.plain_args, self.compare_order, self.cut, self.env = whole, list(plain_args), compare_order, cut, env or {}
        self.compare_fixtures = compare_fixtures


GOES_ON = ["--continue-on-collection-errors"]
CASES = [
    Case("outcomes", "outcomes", cut="test_plain.py"),
    Case("outcomes, whole", "outcomes", whole=True, env={"SPLITCI_PYTHON_WHOLE": "1"}, cut="test_classes.py"),
    Case("outcomes, verbose, no capture", "outcomes", ["-v", "-s", "-rA", "--durations=3"], majors=(9,)),
    Case("outcomes, without terminal", "outcomes", ["-p", "no:terminal"], majors=(7, 9)),
    Case("outcomes, few plugins", "outcomes", ["-p", "no:cacheprovider", "-p", "no:warnings", "-p", "no:logging", "-p", "no:faulthandler"], majors=(7, 9)),
    Case("outcomes, native traces", "outcomes", ["--tb=native", "-q", "--runxfail"], majors=(8,)),
    Case("folders", "folders"),
    Case("folders, overlapping arguments", "folders", ["package", "plain/deep", "package/inner/test_package_inner_1.py", "plain"]),
    Case("folders, one file twice", "folders", ["plain/test_plain_1.py", "plain/test_plain_1.py"], compare_order=False),
    Case("folders, keep duplicates", "folders", ["--keep-duplicates", "plain", "plain"], compare_fixtures=False),
    Case("folders, from inside", "folders", ["--rootdir=.", "package/inner"]),
    Case("folders, importlib", "folders", ["--import-mode=importlib", "package"], majors=(7, 9)),
    Case("folders, as packages", "folders", ["--pyargs", "package.inner"]),
    Case("selection", "selection"),
    Case("selection, -k", "selection", ["-k", "quick"]),
    Case("selection, -k of one file", "selection", ["-k", "more and not check_a"]),
    Case("selection, -m", "selection", ["-m", "not slow"]),
    Case("selection, --deselect", "selection", ["--deselect", "checks/check_a.py::CheckThings", "--deselect", "more/check_c.py::check_other"]),
    Case("selection, --ignore", "selection", ["--ignore=checks/check_a.py", "--ignore-glob=*_c.py"]),
    Case("selection, a file and a folder", "selection", ["more", "checks/check_b.py"]),
    Case("selection, ids", "selection", ["checks/check_a.py::CheckThings::check_quick", "more/check_c.py::check_other", "checks/check_b.py"], whole=True),
    Case("doctests", "doctests"),
    Case("collectors", "collectors"),
    Case("broken", "broken", plain_args=GOES_ON),
    Case("broken, whole", "broken", plain_args=GOES_ON, whole=True, env={"SPLITCI_PYTHON_WHOLE": "1"}),
    Case("hooks", "hooks"),
    Case("namespace", "namespace"),
    Case("asyncio", "asyncio", plugins=["pytest_asyncio"]),
    Case("django", "django", plugins=["pytest_django.plugin"]),
    Case("mock, subtests, timeout", "friends", plugins=["pytest_mock", "pytest_timeout", "pytest_subtests"], majors=(7, 8)),
    Case("mock, subtests, timeout", "friends", plugins=["pytest_mock", "pytest_timeout"], majors=(9,)),
    Case("reruns", "reruns", plugins=["pytest_rerunfailures"]),
    Case("forked", "forked", plugins=["pytest_forked"]),
    Case("randomly", "outcomes", ["-p", "no:cacheprovider", "--randomly-seed=11"], plugins=["pytest_randomly"], compare_order=False),
    Case("random once", "folders", plugins=["pytest_randomly"], plain_args=["--randomly-seed=7"], compare_order=False),
    Case("warnings are errors", "outcomes", ["-W", "error"], plain_args=GOES_ON),
]


def fold(reports):
    """The outcome of one test, from its reports, as pytest's summary counts it."""
    last = [report for report in reports if report[0] != "rerun"]
    if any(outcome == "failed" and when not in ("setup", "teardown") for when, outcome, _, _ in last):
        return "failed"
    if any(outcome == "failed" for _, outcome, _, _ in last):
        return "errored"
    for when, outcome, expected, sub in last:
        if not sub and expected:
            return "unexpected_pass" if outcome == "passed" else "expected_failure"
        if not sub and outcome == "skipped":
            return "skipped"
    return "passed"


def by_file(pairs):
    files = collections.OrderedDict()
    for name, outcome in pairs:
        files.setdefault(name.split("::")[0], []).append((name, outcome))
    return files


class Place:
    """A copy of a project, where one run may leave what it wants."""

    def __init__(self, project):
        self.path = os.path.join(tempfile.mkdtemp(prefix="splitci-contract-"), project)
        shutil.copytree(os.path.join(HERE, "corpus", project), self.path)
        self.out = self.path + ".json"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(os.path.dirname(self.path), ignore_errors=True)

    def seen(self):
        with open(self.out) as file:
            return json.load(file)


def command(python, case):
    plugins = list(itertools.chain.from_iterable(("-p", name) for name in ["contract_probe"] + case.plugins))
    return [python, "-m", "pytest"] + plugins + case.args


def environment(place, case):
    return dict(case.env, CONTRACT_OUT=place.out, PYTHONPATH=HERE, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1", PYTHONHASHSEED="5")


def plain(python, case):
    with Place(case.project) as place:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SPLITCI"))}
        env.update(environment(place, case))
        ended = subprocess.run(command(python, case) + case.plain_args, cwd=place.path, env=env, capture_output=True, timeout=120)
        if not os.path.exists(place.out):
            raise AssertionError("the plain run failed: %s %s" % (ended.stdout.decode(), ended.stderr.decode()))
        seen = place.seen()
    seen["status"] = ended.returncode
    seen["stdout"] = ended.stdout.decode("utf-8", "replace")
    rounds = collections.Counter()
    pairs = [(name, outcome) for name, outcome in seen["collect"]]
    for name in seen["order"]:
        pairs.append((name, fold(seen["reports"][name][rounds[name]])))
        rounds[name] += 1
    seen["pairs"] = pairs
    return seen


def driven(python, case, choose=None, shards=1, shard=1):
    with Place(case.project) as place:
        session = Peer(command(python, case), place.path, choose, environment(place, case), shards=shards, shard=shard).run()
        if session.violation or session.bye is None or not os.path.exists(place.out):
            raise AssertionError("the session broke\n" + session.transcript())
        session.seen = place.seen()
    return session


def expect(condition, what, *more):
    if not condition:
        raise AssertionError("\n".join([what] + [str(one) for one in more]))


def differing(left, right):
    keys = sorted(set(left) | set(right))
    return ["%s: plain %r, driven %r" % (key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]


def compare_outcomes(case, expected, pairs, session):
    left, right = by_file(expected), by_file(pairs)
    if not case.compare_order:
        left, right = ({name: sorted(tests) for name, tests in files.items()} for files in (left, right))
    gone = differing(left, right)
    expect(not gone, "outcomes differ", *gone, session.transcript())


def compare_all(case, expected, session):
    compare_outcomes(case, expected["pairs"], session.outcomes(), session)
    expect(session.clean(), "the session did not close in order", session.transcript())
    bad = any(outcome in ("failed", "errored") for _, outcome in session.outcomes())
    expect(session.bye["status"] == int(bad), "the status is %d" % session.bye["status"], session.transcript())
    gone = differing(expected["tests"], session.seen["tests"])
    expect(not gone, "fixtures or markers of tests differ", *gone)
    hooks = [{name: n for name, n in seen["hooks"].items() if name not in FOR_EACH_FILE} for seen in (expected, session.seen)]
    gone = differing(*hooks)
    expect(not gone, "hooks were called differently often", *gone)
    for name in ONCE_A_FILE:
        times = 1 if case.whole else len(session.given)
        expect(session.seen["hooks"].get(name, 0) == times, "%s was called %r times, not %d" % (name, session.seen["hooks"].get(name), times))
    fixtures = [{name: n for name, n in seen["fixtures"].items() if not name.startswith("package ")} for seen in (expected, session.seen)]
    gone = differing(*fixtures)
    expect(not gone or not case.compare_fixtures, "fixtures were set up differently often", *gone)
    expect(expected["warnings"] == session.seen["warnings"], "warnings: plain %d, driven %d" % (expected["warnings"], session.seen["warnings"]))
    files = list(by_file((name, None) for name in expected["order"]))
    if case.compare_order:
        order = [name for name in session.units if name in files]
        expect(order == files or case.whole, "files are listed in another order", files, session.units)


def compare_shards(python, case, expected):
    """Two shards have everything once, and each session fixture at most once each."""
    pairs, lists = [], []
    for shard in (0, 1):
        session = driven(python, case, lambda units, shard=shard: [Unit(name) for name in reversed(units[shard::2])], 2, shard + 1)
        expect(session.clean(), "a shard did not close in order", session.transcript())
        pairs += session.outcomes()
        lists.append(session.units)
        often = {name: n for name, n in session.seen["fixtures"].items() if name.startswith("session ") and n > 1}
        often = {name: n for name, n in often.items() if expected["fixtures"].get(name, 0) == 1}
        expect(not often, "session fixtures were set up again: %r" % often)
    expect(lists[0] == lists[1], "shards list different files", *lists)
    order = list(by_file(expected["pairs"]))
    pairs.sort(key=lambda pair: order.index(pair[0].split("::")[0]) if pair[0].split("::")[0] in order else -1)
    compare_outcomes(case, expected["pairs"], pairs, session)


def compare_cuts(python, case, whole):
    """A cut file: a part by names, the rest, and a piece from the middle; all in one session, and each sees the same list."""
    unit = whole.units.index(case.cut)
    ids = whole.declared[unit]
    chosen = ids[1::3]
    first, end = 1, len(ids) - 2
    units = [Unit(case.cut, 1, chosen), Unit(case.cut, 2, chosen), Unit(case.cut, 0, (), first, end), Unit(case.cut, 1 | 0x80, chosen, first, end)]
    session = driven(python, case, lambda _: units)
    expect(session.clean(), "the cut session did not close in order", session.transcript())
    expect(all(session.declared[n] == ids for n in range(4)), "the parts see different lists", session.declared)
    pairs = {(unit, ordinal): result["outcome"] for unit, ordinal, result in session.finished}
    outcome_of = {ordinal: result["outcome"] for n, ordinal, result in whole.finished if n == unit}
    for n, wanted in enumerate((
        [o for o in outcome_of if ids[o] in chosen], [o for o in outcome_of if ids[o] not in chosen], range(first, end),
        [o for o in range(first, end) if ids[o] in chosen],
    )):
        got = {ordinal: outcome for (number, ordinal), outcome in pairs.items() if number == n}
        expect(got == {o: outcome_of[o] for o in wanted}, "part %d ran something else" % n, got, outcome_of)


def check(major, python, case):
    expected = plain(python, case)
    session = driven(python, case)
    compare_all(case, expected, session)
    if case.name == case.project:
        compare_shards(python, case, expected)
    if case.cut:
        compare_cuts(python, case, session)


def one(job):
    major, python, case = job
    try:
        check(major, python, case)
        return major, case.name, None
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) else traceback.format_exc()
        return major, case.name, trace + str(error)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", action="append", required=True, metavar="MAJOR=PROGRAM")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    pythons = [(int(major), python) for major, _, python in (entry.partition("=") for entry in options.python)]
    jobs = [(major, python, case) for case in CASES for major, python in pythons if major in case.majors and options.only in case.name]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for major, name, error in pool.map(one, jobs):
            failed += error is not None
            print("pytest %d, %s: %s" % (major, name, "ok" if error is None else "DIFFERS\n" + error), flush=True)
    print("%d of %d cases hold" % (len(jobs) - failed, len(jobs)))
    sys.exit(1 if failed or not jobs else 0)


if __name__ == "__main__":
    main()
