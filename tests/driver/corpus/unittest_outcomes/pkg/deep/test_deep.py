import unittest

from contract_notes import note


def setUpModule():
    note("setUpModule deep")


class Deep(unittest.TestCase):
    def test_a(self):
        pass
