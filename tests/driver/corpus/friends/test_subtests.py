import unittest

import pytest


def test_some_fail(subtests):
    for n in range(4):
        with subtests.test(msg="number", n=n):
            print("n is", n)
            assert n % 2 == 0


def test_all_pass(subtests):
    for n in range(2):
        with subtests.test(n=n):
            pass


def test_one_skips(subtests):
    with subtests.test(n=1):
        pytest.skip("this one")


def test_one_fails_then_test_goes_on(subtests):
    with subtests.test(n=1):
        raise ValueError("inside")
    assert True


class Case(unittest.TestCase):
    def test_some_fail(self):
        for n in range(3):
            with self.subTest(n=n):
                self.assertNotEqual(n, 1)

    def test_all_pass(self):
        for n in range(3):
            with self.subTest(n=n):
                pass
