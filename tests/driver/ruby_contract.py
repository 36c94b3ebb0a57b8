#!/usr/bin/env python3
"""The contract of the RSpec and Minitest drivers: a driven run is a plain run, but for the differences that are named here.

    python3 ruby_contract.py [--only PART]

Every project of `corpus/rspec_*` and `corpus/minitest_*` is run plainly and driven. Compared: test ids, their order within a file (RSpec) or a class
(Minitest), outcomes, how often each hook, reporter and plugin was called. Then the same driven by two shards, and cut.

Documented differences:
- Files are loaded one by one: what a spec file configures, or shares with others, is seen by it and by files loaded after it (`whole` loads all files
  first, as a plain run does).
- `filter_run_when_matching :focus`, and `filter_run :focus` with `run_all_when_everything_filtered`, hold within a file: files that have no focus run
  as a whole. `--fail-fast` is off.
- A file that cannot be loaded is one errored test; the others run. A `before(:suite)` hook that comes with a spec file and fails makes that file one
  errored test, and each that the shard is given after it; what ran before it stays.
- Minitest shuffles the classes of a file, not those of all files; tests of a class that runs in parallel elsewhere run in turn.
- A class of Minitest none of whose tests are to run is not called at all. Of a class that several files make, each file's tests are shuffled by
  themselves. Before Minitest 5.16 the order of tests depended on all classes that ran before: here it is one of the seed alone.
- A listener of RSpec is told to expect a million examples at the start: nobody knows how many it will be.
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
from contract import Place, differing, expect  # noqa: E402
from peer import MINITEST, RSPEC, Peer, Unit  # noqa: E402


class Case:
    """One project with one set of arguments. `more` names tests that only the driven run has, `broken` files that cannot be loaded."""

    def __init__(self, name, project, args=(), env=None, cut=None, whole=False, broken=(), more=(), reports=(), shards=True, plain_args=(), uncounted=()):
        self.name, self.project, self.args, self.env, self.cut, self.whole = name, project, list(args), env or {}, cut, whole
        self.broken, self.more, self.reports, self.shards, self.plain_args, self.uncounted = broken, more, reports, shards, list(plain_args), uncounted
        self.driver = RSPEC if project.startswith("rspec") else MINITEST


WHOLE = {"SPLITCI_RUBY_WHOLE": "1"}
BROKEN_SPECS = ["spec/%s_spec.rb" % name for name in ("b_raises", "c_syntax", "d_missing", "e_shared")]
BROKEN_TESTS = ["test/%s_test.rb" % name for name in ("b_raises", "c_syntax", "d_missing")]
UNFOCUSED = ["focused/%s_check.rb::%s::is not in focus" % (name, name) for name in ("five", "six")]
CASES = [
    Case("outcomes", "rspec_outcomes", cut="spec/a_plain_spec.rb"),
    Case("outcomes, whole", "rspec_outcomes", env=WHOLE, whole=True, cut="spec/d_shared_spec.rb"),
    Case("outcomes, random", "rspec_outcomes", ["--order", "rand:11"], cut="spec/a_plain_spec.rb"),
    Case("outcomes, random, whole", "rspec_outcomes", ["--order", "rand:11"], env=WHOLE, whole=True, cut="spec/deep/f_more_spec.rb"),
    Case("outcomes, --seed", "rspec_outcomes", ["--seed", "4711"], cut="spec/deep/f_more_spec.rb"),
    Case("outcomes, random by configuration", "rspec_outcomes", env={"ORDER": "random"}, plain_args=["--seed", "7"], cut="spec/b_pending_spec.rb"),
    Case("outcomes, of the helper", "rspec_outcomes", cut="spec/support/shared.rb"),
    Case("outcomes, pending", "rspec_outcomes", ["--seed", "7"], cut="spec/b_pending_spec.rb"),
    Case("outcomes, of one folder and a file", "rspec_outcomes", ["spec/deep", "spec/b_pending_spec.rb"]),
    Case("outcomes, one file twice", "rspec_outcomes", ["spec/d_shared_spec.rb", "./spec/d_shared_spec.rb"]),
    Case("outcomes, by tag", "rspec_outcomes", ["--tag", "tagged"], cut="spec/deep/f_more_spec.rb"),
    Case("selection", "rspec_selection"),
    Case("selection, --tag", "rspec_selection", ["--tag", "quick"], cut="checks/two_check.rb"),
    Case("selection, --tag of a value", "rspec_selection", ["--tag", "price:3"]),
    Case("selection, --tag ~", "rspec_selection", ["--tag", "~slow", "-t", "~quick"]),
    Case("selection, --example", "rspec_selection", ["--example", "two is"]),
    Case("selection, --example-matches", "rspec_selection", ["-E", "quick( too)?$"]),
    Case("selection, lines", "rspec_selection", ["checks/one_check.rb:2:7", "checks/two_check.rb:4", "checks/slow/three_check.rb"]),
    Case("selection, lines of later files", "rspec_selection", ["checks/one_check.rb", "checks/two_check.rb:12", "checks/slow/three_check.rb:3"]),
    Case("selection, ids", "rspec_selection", ["checks/one_check.rb[1:1,1:4:2]", "checks/two_check.rb[1:2]"]),
    Case("selection, another pattern", "rspec_selection", ["--pattern", "checks/slow/*_check.rb"]),
    Case("selection, excluded", "rspec_selection", ["--exclude-pattern", "**/slow/*_check.rb"]),
    Case("focus", "rspec_selection", ["focused/four_check.rb"], env={"FOCUS": "1"}, cut="focused/four_check.rb"),
    Case("focus, two files", "rspec_selection", ["focused"], env={"FOCUS": "1"}, more=UNFOCUSED),
    Case("focus, whole", "rspec_selection", ["focused"], env=dict(WHOLE, FOCUS="1"), whole=True),
    Case("focus, as it once was", "rspec_selection", ["focused"], env={"OLD_FOCUS": "1"}, more=UNFOCUSED),
    Case("focus, as it once was, nothing in it", "rspec_selection", ["checks"], env={"OLD_FOCUS": "1"}),
    Case("focus, as it once was, whole", "rspec_selection", ["focused"], env=dict(WHOLE, OLD_FOCUS="1"), whole=True),
    Case("focus, as it once was, nothing in it, whole", "rspec_selection", ["checks"], env=dict(WHOLE, OLD_FOCUS="1"), whole=True),
    Case("reporters", "rspec_reporters", reports=["own.txt"], cut="spec/a_spec.rb"),
    Case("reporters, profile", "rspec_reporters", ["--profile", "3", "--format", "progress"], env={"PROFILE": "1"}),
    Case("broken", "rspec_broken", broken=BROKEN_SPECS),
    Case("broken, whole", "rspec_broken", broken=BROKEN_SPECS, env=WHOLE, whole=True),
    Case("across files, whole", "rspec_across", env=WHOLE, whole=True, cut="spec/a_defines_spec.rb", shards=False),
    Case("outcomes", "minitest_outcomes", ["--seed", "3"], cut="test/plain_test.rb"),
    Case("outcomes, whole", "minitest_outcomes", ["--seed", "3"], env=WHOLE, whole=True, cut="test/orders_test.rb"),
    Case("outcomes, SEED", "minitest_outcomes", env={"SEED": "1234"}, cut="test/deep/test_prefixed.rb"),
    Case("outcomes, -n", "minitest_outcomes", ["-n", "/a/", "--seed", "3"], cut="test/spec_test.rb"),
    Case("outcomes, -n of one", "minitest_outcomes", ["-n", "PlainTest#test_passes"], uncounted=["class run"]),
    Case("outcomes, -e", "minitest_outcomes", ["-e", "/made|Spec/", "--seed", "3"]),
    Case("outcomes, -n and -e, verbose", "minitest_outcomes", ["-n", "/test_[a-m]/", "-e", "test_fails", "-v", "--seed", "3"], uncounted=["class run"]),
    Case("outcomes, of the helper", "minitest_outcomes", ["--seed", "5"], cut="test/test_helper.rb"),
    Case("outcomes, of an old Minitest", "minitest_outcomes", ["--seed", "3"], cut="test/plain_test.rb", env={"OLD_MINITEST": "5.15.0"}),
    Case("outcomes, two files", "minitest_outcomes", ["test/plain_test.rb", "test/deep", "--seed", "3"]),
    Case("reporters", "minitest_reporters", ["--own"], cut="test/b_test.rb"),
    Case("reporters, none", "minitest_reporters", ["--no-plugins"]),
    Case("reporters, of minitest-reporters", "minitest_reporters", env={"MINITEST_REPORTERS": "1"}),
    Case("reporters, minitest-hooks", "minitest_reporters", env={"MINITEST_HOOKS": "1"}, cut="test/c_test.rb"),
    Case("broken", "minitest_broken", broken=BROKEN_TESTS),
]


def files_of(case, path):
    """What the driver finds by itself, and a plain run has to be told."""
    given = [word for word in case.args if os.path.exists(os.path.join(path, word))] or ["test"]
    found = []
    for one in given:
        if os.path.isfile(os.path.join(path, one)):
            found.append(one)
        for folder, _, names in os.walk(os.path.join(path, one)):
            found += [os.path.relpath(os.path.join(folder, name), path) for name in names if name.endswith("_test.rb") or name.startswith("test_")]
    return sorted(name for name in found if not name.endswith("test_helper.rb"))


def command(case, path, is_plain):
    if case.driver is RSPEC:
        return ["rspec", "-I", HERE, "-r", "ruby_probe"] + case.args + (case.plain_args if is_plain else [])
    script = 'gem "minitest", ENV["OLD_MINITEST"] if ENV["OLD_MINITEST"]; require "ruby_probe"; require "minitest/autorun"; require "test_helper" if File.exist?("test/test_helper.rb")'
    if is_plain:
        # A file that cannot be loaded ends a plain run: without those.
        files = [os.path.join(path, name) for name in files_of(case, path) if name not in case.broken]
        script += "".join('; require "%s"' % name for name in files)
    return ["ruby", "-Ilib", "-Itest", "-I" + HERE, "-e", script, "--"] + [word for word in case.args if not is_plain or not os.path.exists(os.path.join(path, word))]


def reports(place, case):
    texts = {}
    for name in case.reports:
        with open(os.path.join(place.path, name)) as file:
            texts[name] = file.read()
    return texts


def plain(case):
    with Place(case.project) as place:
        if case.driver is RSPEC:
            for name in case.broken:
                os.remove(os.path.join(place.path, name))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RUBY", "SPLITCI", "BUNDLE"))}
        # What the driver does: the seed of the run, and one test at a time.
        env.update({"SEED": "7", "MT_CPU": "1"}, **dict(case.env, CONTRACT_OUT=place.out))
        ended = subprocess.run(command(case, place.path, True), cwd=place.path, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        expect(os.path.exists(place.out), "the plain run failed", ended.stdout.decode(), ended.stderr.decode())
        seen = place.seen()
        seen["status"], seen["reports"] = ended.returncode, reports(place, case)
    seen["tests"] = [tuple(pair) for pair in seen["tests"]]
    expect(seen["tests"], "the plain run ran nothing", ended.stdout.decode(), ended.stderr.decode())
    return seen


def driven(case, choose=None, shards=1, shard=1):
    with Place(case.project) as place:
        env = dict(case.env, CONTRACT_OUT=place.out, DRIVEN="1")
        session = Peer(command(case, place.path, False), place.path, choose, env, shards=shards, shard=shard, driver=case.driver).run()
        expect(session.violation is None and session.bye is not None and os.path.exists(place.out), "the session broke", session.transcript())
        session.seen, session.reports = place.seen(), reports(place, case) if shards == 1 and choose is None else {}
    expect(session.clean(), "the session did not close in order", session.transcript())
    return session


def together(case, pairs):
    """Tests by what keeps their order: the file, and for Minitest the class."""
    parts = collections.OrderedDict()
    for name, outcome in pairs:
        parts.setdefault(name.split("#")[0] if case.driver is MINITEST else name.split("::")[0], []).append((name, outcome))
    unordered = "" if "OLD_MINITEST" in case.env else "Reopened"
    return {part: sorted(tests) if unordered in part and case.driver is MINITEST else tests for part, tests in parts.items()}


def compare_outcomes(case, expected, pairs, session):
    left, right = together(case, expected), together(case, pairs)
    for name in case.broken:
        expect(right.pop(name, None) == [(name, "errored")], "%s is not one errored test" % name, session.transcript())
    for name in case.more:
        expect([pair for pair in pairs if pair[0] == name], "%s did not run" % name)
        right.pop(name.split("::")[0])
    gone = differing(left, right)
    expect(not gone, "outcomes differ", *gone, session.transcript())


def compare_counts(case, expected, session):
    if case.more or (case.broken and case.driver is RSPEC):
        return
    gone = differing(*({name: n for name, n in seen["counts"].items() if name not in case.uncounted} for seen in (expected, session.seen)))
    expect(not gone, "hooks were called differently often", *gone, session.transcript())
    gone = differing(expected["reports"], session.reports)
    expect(not gone, "reports differ", *gone)


def compare_shards(case, expected, whole):
    """Two shards have everything once; what is of the suite once each, at most."""
    pairs, counts, lists = [], collections.Counter(), []
    for shard in (0, 1):
        session = driven(case, lambda units, shard=shard: [Unit(name) for name in reversed(units[shard::2])], 2, shard + 1)
        for n, unit in enumerate(session.given):
            alone, known = session.declared[n], whole.declared[whole.units.index(unit.name)]
            expect(alone == known, "%s declares other tests" % unit.name, known, alone)
        pairs += session.outcomes()
        lists.append(session.units)
        for name, n in session.seen["counts"].items():
            once = expected["counts"].get(name, 0) == 1
            expect(not once or n <= 1, "%s was called %d times" % (name, n))
            counts[name] += n
    expect(lists[0] == lists[1], "shards list different files", *lists)
    compare_outcomes(case, expected["tests"], pairs, session)
    if not case.more and not case.broken:
        often = {name: n for name, n in expected["counts"].items() if n > 2}
        gone = differing(often, {name: n for name, n in counts.items() if name in often})
        expect(not gone, "hooks were called differently often by two shards", *gone)


def compare_cuts(case, whole):
    """A cut file: a part by names, the rest, pieces by place, the file before and after; all in one session, and each sees the same list."""
    unit = whole.units.index(case.cut)
    ids = whole.declared[unit]
    outcome_of = {ordinal: result["outcome"] for n, ordinal, result in whole.finished if n == unit}
    chosen = ids[1::3]
    first, end = 1, max(1, len(ids) - 2)
    half = len(ids) // 2
    other = whole.units[unit - 1]
    parts = [
        (Unit(case.cut, 0, (), 0, half), range(half)), (Unit(other), range(len(ids))), (Unit(case.cut, 0, (), half), range(half, len(ids))),
        (Unit(case.cut, 1, chosen), [o for o in outcome_of if ids[o] in chosen]), (Unit(case.cut, 2, chosen), [o for o in outcome_of if ids[o] not in chosen]),
        (Unit(case.cut, 0, (), first, end), range(first, end)),
        (Unit(case.cut, 1 | 0x80, chosen, first, end), [o for o in range(first, end) if ids[o] in chosen]), (Unit(case.cut), range(len(ids))),
        (Unit(case.cut), range(len(ids))),
    ]
    session = driven(case, lambda _: [part for part, _ in parts])
    got = collections.defaultdict(dict)
    for n, ordinal, result in session.finished:
        got[n][ordinal] = result["outcome"]
    for n, (part, wanted) in enumerate(parts):
        if part.name == case.cut:
            expect(session.declared[n] == ids, "part %d sees another list" % n, ids, session.declared[n])
            expect(got[n] == {o: outcome_of[o] for o in wanted}, "part %d ran something else" % n, got[n], outcome_of, session.transcript())


def check(case):
    expected = plain(case)
    session = driven(case)
    compare_outcomes(case, expected["tests"], session.outcomes(), session)
    compare_counts(case, expected, session)
    bad = any(outcome in ("failed", "errored") for _, outcome in session.outcomes())
    expect(session.bye["status"] == int(bad), "the status is %d" % session.bye["status"], session.transcript())
    expect(case.broken or case.more or session.status == expected["status"], "the status was %d" % expected["status"])
    if case.shards:
        compare_shards(case, expected, session)
    if case.cut:
        compare_cuts(case, session)


def one(case):
    try:
        check(case)
        return case, None
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) else traceback.format_exc()
        return case, trace + str(error)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in "%s, %s" % (case.project, case.name)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for case, error in pool.map(one, cases):
            failed += error is not None
            print("%s, %s: %s" % (case.project, case.name, "ok" if error is None else "DIFFERS\n" + error), flush=True)
    print("%d of %d cases hold" % (len(cases) - failed, len(cases)))
    sys.exit(1 if failed or not cases else 0)


if __name__ == "__main__":
    main()
