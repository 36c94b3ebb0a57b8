import unittest

from contract_notes import note


def setUpModule():
    note("setUpModule broken")
    raise OSError("in setUpModule")


def tearDownModule():
    note("never")


class One(unittest.TestCase):
    def test_a(self):
        note("never")


class Two(unittest.TestCase):
    def test_a(self):
        note("never")
