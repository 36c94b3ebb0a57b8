#!/usr/bin/env python3
"""The contract of the unittest and Django drivers: a driven run is a plain run, but for the differences that are named here.

    python3 unittest_contract.py --python VENV/bin/python [--only PART]

Every project of `corpus/unittest_*` and `corpus/django_shop` is run plainly and driven. Compared: test ids, their order within a file, outcomes, what
the result heard of each test, how often each fixture ran. Then the same driven by two shards, and cut. The probe is the projects' own `sitecustomize`.

Documented differences:
- A test whose class or module could not be set up is told with that reason; unittest tells the reason alone. An error of `tearDownClass` or
  `tearDownModule` is told of the last test that ran before it.
- A file that cannot be loaded is one errored test, named after the file; one that skips itself is one skipped test.
- `load_tests` of a module is called by every unit of it, that of a package once in each shard.
- Fixtures of a module run once for each file or slice of it.
- Django: its database is made whether or not tests use it (with several, every shard loads all tests, to know). Each file begins with what migrations put into them. Tests of one kind come before
  those of another within a file, not over all of them. A runner's `build_suite` is called for the list and for every file.
- `-f`, `--failfast`, `--parallel` and `--pdb` are off.
"""
import argparse
import collections
import concurrent.futures
import os
import subprocess
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from contract import Place, by_file, differing, expect  # noqa: E402
from peer import UNITTEST, Peer, Unit  # noqa: E402

WORDS = {"addFailure": "failed", "addError": "errored", "addUnexpectedSuccess": "failed", "addExpectedFailure": "expected_failure", "addSkip": "skipped"}
WORST = ["failed", "errored", "expected_failure", "skipped"]
# What plain unittest tells of a fixture, the driver tells of tests.
FIXTURES = {
    "test_broken_fixtures.py::SetUp::test_a": "errored", "test_broken_fixtures.py::SetUp::test_b": "errored",
    "test_broken_fixtures.py::Skips::test_a": "skipped", "test_broken_fixtures.py::TearDown::test_b": "errored",
    "shop/tests/test_a.py::DKeeps::test_first": "errored", "test_broken_module.py::One::test_a": "errored", "test_broken_module.py::Two::test_a": "errored",
}
BROKEN = {name: "errored" for name in (
    "halves/__init__.py", "test_load_tests.py", "test_missing.py", "test_raises.py", "test_syntax.py",
)}
WHOLE = {"SPLITCI_PYTHON_WHOLE": "1"}


class Case:
    """One project with one command. `differs` has the tests of which plain unittest says something else;
    with `loads_all` every shard loads every file."""

    def __init__(self, name, project, args=("-m", "unittest"), env=None, cut=None, differs=None, plain_args=(), loads_all=False):
        self.name, self.project, self.args, self.env, self.cut = name, project, list(args), env or {}, cut
        self.differs, self.plain_args, self.loads_all = differs or {}, list(plain_args), loads_all or "SPLITCI_PYTHON_WHOLE" in self.env


UNITTESTS = ["-m", "unittest"]
DISCOVER = UNITTESTS + ["discover"]
DJANGO = ["manage.py", "test"]
SKIPPED = {"test_skips.py": "skipped"}
ALL = dict(FIXTURES, **SKIPPED)
FIRST_ALONE = {"test_broken_fixtures.py::TearDown::test_a": "errored"}
CASES = [
    Case("outcomes", "unittest_outcomes", differs=ALL, cut="test_plain.py"),
    Case("outcomes, verbose and buffered", "unittest_outcomes", UNITTESTS + ["-v", "-b"], differs=ALL, cut="test_fixtures.py"),
    Case("outcomes, quiet, with locals", "unittest_outcomes", UNITTESTS + ["-q", "--locals", "-c"], differs=ALL),
    Case("outcomes, whole", "unittest_outcomes", env=WHOLE, differs=ALL, cut="test_there.py"),
    Case("outcomes, -k", "unittest_outcomes", UNITTESTS + ["-k", "test_a", "-k", "*Plain.test_p*"], differs=dict(ALL, **FIRST_ALONE), cut="test_plain.py"),
    Case("outcomes, discover", "unittest_outcomes", DISCOVER, differs=ALL, cut="test_there.py"),
    Case("outcomes, discover below", "unittest_outcomes", DISCOVER + ["-s", "pkg", "-t", "."]),
    Case("outcomes, discover a package by name", "unittest_outcomes", DISCOVER + ["pkg"]),
    Case("outcomes, discover a pattern", "unittest_outcomes", DISCOVER + ["-p", "test_[fst]*.py"], cut="test_fixtures.py"),
    Case("outcomes, modules", "unittest_outcomes", UNITTESTS + ["test_fixtures", "pkg/test_inner.py"], cut="test_fixtures.py", loads_all=True),
    Case("outcomes, a class and a method", "unittest_outcomes", UNITTESTS + ["test_fixtures.Second", "test_plain.Plain.test_parts"], loads_all=True),
    Case("outcomes, warnings are errors", "unittest_outcomes", ["-W", "error", "-X", "dev"] + UNITTESTS, differs=ALL),
    Case("broken", "unittest_broken", differs=BROKEN),
    Case("broken, whole", "unittest_broken", env=WHOLE, differs=BROKEN),
    Case("django", "django_shop", DJANGO, cut="shop/tests/test_a.py", differs=FIXTURES),
    Case("django, whole", "django_shop", DJANGO, env=WHOLE, cut="shop/tests/test_a.py", differs=FIXTURES),
    Case("django, labels", "django_shop", DJANGO + ["shop.tests.test_b", "shop/tests", "-v", "2"], differs=FIXTURES, loads_all=True),
    Case("django, a class", "django_shop", DJANGO + ["shop.tests.test_a.CData"]),
    Case("django, --tag", "django_shop", DJANGO + ["--tag", "slow", "--tag", "quick"]),
    Case("django, --exclude-tag", "django_shop", DJANGO + ["--exclude-tag=slow", "-b"], cut="shop/tests/test_a.py", differs=FIXTURES),
    Case("django, -k", "django_shop", DJANGO + ["-k", "test_f"]),
    Case("django, --shuffle", "django_shop", DJANGO + ["--shuffle", "11"], cut="shop/tests/test_a.py"),
    Case("django, --shuffle by the run's seed", "django_shop", DJANGO + ["--shuffle"], plain_args=["7"]),
    Case("django, --reverse", "django_shop", DJANGO + ["--reverse", "--timing", "--debug-sql"], cut="shop/tests/test_a.py"),
    Case("django, --keepdb", "django_shop", DJANGO + ["--keepdb", "--settings", "site_settings"], differs=FIXTURES),
    Case("django, a runner of its own", "django_shop", DJANGO, env={"OWN_RUNNER": "1"}, cut="shop/tests/test_a.py", differs=FIXTURES),
    Case("django, two databases", "django_shop", DJANGO, env={"TWO_DATABASES": "1"}, differs=FIXTURES, loads_all=True),
    Case("django, two databases, whole", "django_shop", DJANGO, env=dict(WHOLE, TWO_DATABASES="1"), differs=FIXTURES),
    Case("django, no database", "django_shop", DJANGO + ["-p", "simple.py"], env={"NO_DATABASE": "1"}),
    Case("django, a script", "django_shop", ["run_tests.py"], cut="shop/tests/test_b.py", differs=FIXTURES),
]


def fold(events):
    """The outcome of one test, from what its result heard."""
    words = [WORDS.get(name, bad) for name, _, bad in events]
    return next((word for word in WORST if word in words), "passed" if "addSuccess" in [name for name, _, _ in events] else "nothing")


def plain_outcomes(seen):
    """(id, outcome) of the tests that ran, in order; what was said of fixtures is left out."""
    pairs, running = [], None
    for event in seen["events"]:
        if event[0] == "startTest":
            running = [event]
        elif running and event[1] == running[0][1]:
            running.append(event)
            if event[0] == "stopTest":
                pairs.append((event[1], fold(running)))
                running = None
        elif event[0] != "stopTest" and event[1].count("::") > 1:
            # Of a test that was never begun: Django's that could not be, those that Python 3.12.1 skips.
            pairs.append((event[1], fold([event])))
    return pairs


def command(python, case):
    return [python] + case.args


def environment(place, case):
    return dict(case.env, CONTRACT_OUT=place.out, PYTHONPATH=os.path.join(HERE, "unittest_probe"), PYTHONDONTWRITEBYTECODE="1", PYTHONHASHSEED="5")


def plain(python, case):
    with Place(case.project) as place:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SPLITCI"))}
        env.update(environment(place, case))
        ended = subprocess.run(command(python, case) + case.plain_args, cwd=place.path, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        expect(os.path.exists(place.out), "the plain run failed", ended.stdout.decode(), ended.stderr.decode())
        seen = place.seen()
    seen["status"], seen["pairs"] = ended.returncode, plain_outcomes(seen)
    expect(seen["pairs"], "the plain run ran nothing", ended.stdout.decode(), ended.stderr.decode())
    return seen


def driven(python, case, choose=None, shards=1, shard=1):
    with Place(case.project) as place:
        session = Peer(command(python, case), place.path, choose, environment(place, case), shards=shards, shard=shard, driver=UNITTEST).run()
        expect(session.violation is None and session.bye is not None and os.path.exists(place.out), "the session broke", session.transcript())
        session.seen = place.seen()
    expect(session.clean(), "the session did not close in order", session.transcript())
    return session


def compare_outcomes(case, expected, pairs, session):
    for name, outcome in case.differs.items():
        if any(name.split("::")[0] == file for file in session.units):
            expect([pair for pair in pairs if pair[0] == name] in ([(name, outcome)], []), "%s is not %s" % (name, outcome), session.transcript())
    left, right = ([pair for pair in one if pair[0] not in case.differs and "::" in pair[0]] for one in (expected, pairs))
    left, right = by_file(known(left)), by_file(known(right))
    gone = differing(left, right)
    expect(not gone, "outcomes differ", *gone, session.transcript())


def known(pairs):
    """Of tests with names of their own, what both sides call them."""
    return [(name.split("(")[0].split(" [")[0], outcome) for name, outcome in pairs]


def heard(seen, case):
    """What the result was told, however often, of tests of which both sides say the same."""
    return collections.Counter(tuple(event) for event in seen["events"] if event[1] not in case.differs and event[1].count("::") > 1)


def compare_all(case, expected, session):
    compare_outcomes(case, expected["pairs"], session.outcomes(), session)
    gone = differing(heard(expected, case), heard(session.seen, case))
    expect(not gone, "the result heard something else", *gone)
    gone = differing(expected["notes"], session.seen["notes"])
    expect(not gone, "fixtures ran differently often", *gone, session.transcript())
    bad = any(outcome in ("failed", "errored") for _, outcome in session.outcomes())
    expect(session.bye["status"] == session.status == expected["status"] == int(bad), "the status is %d" % session.status, session.transcript())


def compare_shards(python, case, expected, whole):
    """Two shards have everything once; each loads its own files."""
    pairs, notes, lists = [], collections.Counter(), []
    for shard in (0, 1):
        session = driven(python, case, lambda units, shard=shard: [Unit(name) for name in reversed(units[shard::2])], 2, shard + 1)
        for n, unit in enumerate(session.given):
            there = whole.declared[whole.units.index(unit.name)]
            expect(session.declared[n] == there, "%s declares other tests" % unit.name, there, session.declared[n])
        pairs += session.outcomes()
        lists.append(session.units)
        notes.update(session.seen["notes"])
    expect(lists[0] == lists[1], "shards list different files", *lists)
    compare_outcomes(case, expected["pairs"], pairs, session)
    once = ("setUp ", "setUpClass", "setUpModule", "setUpTestData", "tearDown ", "tearDownClass", "tearDownModule", "class cleanup", "module cleanup", "scenario")
    once += () if case.loads_all else ("import pkg.test_inner", "import test_b")
    gone = differing(*({name: n for name, n in one.items() if name.startswith(once)} for one in (expected["notes"], notes)))
    expect(not gone, "fixtures ran differently often in two shards", *gone)


def compare_cuts(python, case, whole):
    """A cut file: a part by names, the rest, pieces by place, the file twice; all in one session, and each sees the same list."""
    unit = whole.units.index(case.cut)
    ids = whole.declared[unit]
    outcome_of = {ordinal: result["outcome"] for n, ordinal, result in whole.finished if n == unit}
    chosen = ids[1::3]
    first, end, half = 1, max(1, len(ids) - 2), len(ids) // 2
    parts = [
        (Unit(case.cut, 0, (), 0, half), range(half)), (Unit(whole.units[unit - 1]), ()), (Unit(case.cut, 0, (), half), range(half, len(ids))),
        (Unit(case.cut, 1, chosen), [o for o in outcome_of if ids[o] in chosen]), (Unit(case.cut, 2, chosen), [o for o in outcome_of if ids[o] not in chosen]),
        (Unit(case.cut, 0, (), first, end), range(first, end)),
        (Unit(case.cut, 1 | 0x80, chosen, first, end), [o for o in range(first, end) if ids[o] in chosen]), (Unit(case.cut), range(len(ids))),
        (Unit(case.cut), range(len(ids))),
    ]
    session = driven(python, case, lambda _: [part for part, _ in parts])
    got = collections.defaultdict(dict)
    for n, ordinal, result in session.finished:
        got[n][ordinal] = result["outcome"]
    for n, (part, wanted) in enumerate(parts):
        if part.name == case.cut:
            expect(session.declared[n] == ids, "part %d sees another list" % n, ids, session.declared[n])
            expect(got[n] == {o: outcome_of[o] for o in wanted}, "part %d ran something else" % n, got[n], outcome_of, session.transcript())


def check(python, case):
    expected = plain(python, case)
    session = driven(python, case)
    compare_all(case, expected, session)
    for name, outcome in case.differs.items():
        if case.name in ("outcomes", "broken") and name.split("::")[0] in session.units:
            expect((name, outcome) in session.outcomes(), "%s is not told" % name, session.transcript())
    compare_shards(python, case, expected, session)
    if case.cut:
        compare_cuts(python, case, session)


def one(job):
    python, case = job
    try:
        check(python, case)
        return case.name, None
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) else traceback.format_exc()
        return case.name, trace + str(error)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in case.name]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for name, error in pool.map(one, [(os.path.abspath(options.python), case) for case in cases]):
            failed += error is not None
            print("%s: %s" % (name, "ok" if error is None else "DIFFERS\n" + error), flush=True)
    print("%d of %d cases hold" % (len(cases) - failed, len(cases)))
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
