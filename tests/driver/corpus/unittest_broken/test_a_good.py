import unittest


class Good(unittest.TestCase):
    def test_a(self):
        pass
