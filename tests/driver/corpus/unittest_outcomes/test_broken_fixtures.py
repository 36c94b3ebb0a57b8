import unittest

from contract_notes import note


class SetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        note("setUpClass SetUp")
        cls.addClassCleanup(note, "class cleanup SetUp")
        raise KeyError("in setUpClass")

    def test_a(self):
        note("never")

    def test_b(self):
        note("never")


class Skips(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("not this class")

    def test_a(self):
        note("never")


class TearDown(unittest.TestCase):
    @classmethod
    def tearDownClass(cls):
        note("tearDownClass TearDown")
        raise KeyError("in tearDownClass")

    def test_a(self):
        pass

    def test_b(self):
        pass


class Whole(unittest.TestCase):
    def test_a(self):
        note("Whole")
