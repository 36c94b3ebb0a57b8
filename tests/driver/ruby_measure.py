#!/usr/bin/env python3
"""What the Ruby drivers cost: no-op tests, plain and driven, interleaved; slope between two sizes, and intercept. `measure.py` is the same for pytest.

    python3 ruby_measure.py [--rounds 15] [--small 2000] [--large 20000] [--only rspec|minitest]
"""
import os
import subprocess
import sys
import tempfile
import time
from functools import partial

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from measure import children, compare, options  # noqa: E402
from peer import MINITEST, RSPEC, Peer  # noqa: E402

TESTS = 20


class Rspec:
    driver, command, plainly = RSPEC, ["rspec"], ["rspec"]

    @staticmethod
    def file(n):
        tests = "".join("  it(\"passes %d\") { expect(1 + 1).to eq(2) }\n" % t for t in range(TESTS))
        return "spec/a_%04d_spec.rb" % n, "RSpec.describe(\"group %d\") do\n%send\n" % (n, tests)

    @staticmethod
    def counts(tests):
        return b"%d examples, 0 failures" % tests


class Minitest:
    driver, command = MINITEST, ["ruby", "-Itest", "-e", "require 'minitest/autorun'", "--"]
    plainly = ["ruby", "-Itest", "-e", "require 'minitest/autorun'; Dir['test/*_test.rb'].sort.each { |file| require File.expand_path(file) }", "--"]

    @staticmethod
    def file(n):
        tests = "".join("  def test_%d\n    assert_equal 2, 1 + 1\n  end\n\n" % t for t in range(TESTS))
        return "test/a_%04d_test.rb" % n, "class A%04dTest < Minitest::Test\n%send\n" % (n, tests)

    @staticmethod
    def counts(tests):
        return b"%d runs, %d assertions, 0 failures" % (tests, tests)


FRAMEWORKS = {"rspec": Rspec, "minitest": Minitest}


def suite(framework, directory, tests):
    for n in range(tests // TESTS):
        name, text = framework.file(n)
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)


def plain(framework, directory, tests):
    before, start = children(), time.monotonic()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RUBY", "SPLITCI", "BUNDLE"))}
    with tempfile.TemporaryFile() as out:
        subprocess.run(framework.plainly, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True)
        wall = time.monotonic() - start
        out.seek(0)
        assert framework.counts(tests) in out.read()
    return wall, children() - before


def driven(framework, directory, tests):
    before = children()
    session = Peer(framework.command, directory, timeout=600, driver=framework.driver).run()
    assert session.green() and len(session.finished) == tests, session.transcript()
    return session.wall, children() - before


def main():
    parser = options()
    parser.add_argument("--only", choices=sorted(FRAMEWORKS))
    given = parser.parse_args()
    for name, framework in FRAMEWORKS.items():
        if given.only in (None, name):
            compare(name, given.rounds, (given.small, given.large), *(partial(each, framework) for each in (suite, plain, driven)))


if __name__ == "__main__":
    main()
