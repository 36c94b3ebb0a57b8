import doctest
import unittest

import documented
from contract_notes import note


class Around(unittest.TestSuite):
    """A suite with a fixture of its own."""

    def run(self, result, debug=False):
        note("around")
        return super().run(result, debug)


class Scenario(unittest.TestCase):
    def __init__(self, name, scenario="plain"):
        super().__init__(name)
        self.scenario = scenario

    def test_it(self):
        note("scenario " + self.scenario)


def load_tests(loader, tests, pattern):
    note("load_tests " + str(pattern))
    suite = Around(Scenario("test_it", name) for name in ("one", "two"))
    suite.addTests(doctest.DocTestSuite(documented))
    tests.addTest(suite)
    return tests
