import unittest

from contract_notes import note

note("import pkg.test_inner")


class Inner(unittest.TestCase):
    def test_a(self):
        pass

    def test_b(self):
        self.assertIn("pkg", __name__)
