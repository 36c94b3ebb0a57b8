import sys

import pytest


def test_passes(whole_run, per_module):
    print("seen only on failure")


def test_fails(per_module):
    left, right = 1, 2
    print("to stdout")
    print("to stderr", file=sys.stderr)
    assert left == right


def test_raises():
    raise ValueError("two\nlines")


def test_breaks_before(breaks_before):
    pass


def test_breaks_after(breaks_after):
    pass


def test_fails_and_breaks_after(breaks_after):
    assert False


@pytest.mark.skip(reason="not today")
def test_skipped():
    assert False


@pytest.mark.skipif(True, reason="never here")
def test_skipped_if():
    assert False


def test_skips_itself():
    pytest.skip("inside")


@pytest.mark.xfail(reason="known")
def test_expected():
    assert False


@pytest.mark.xfail(reason="known")
def test_unexpected():
    pass


@pytest.mark.xfail(strict=True, reason="known")
def test_unexpected_strict():
    pass


@pytest.mark.xfail(run=False, reason="not run")
def test_expected_not_run():
    sys.exit(1)


def test_expects_itself():
    pytest.xfail("inside")


def test_exits():
    sys.exit(3)


@pytest.mark.xfail(raises=KeyError)
def test_expected_otherwise():
    raise ValueError


@pytest.mark.slow
@pytest.mark.team("a")
@pytest.mark.parametrize("x", [1, 2])
@pytest.mark.parametrize("y", ["a", pytest.param("b", marks=pytest.mark.skip(reason="b"))])
def test_variants(x, y):
    assert x
