import unittest

from contract_notes import note


def setUpModule():
    note("setUpModule fixtures")
    unittest.addModuleCleanup(note, "module cleanup")


def tearDownModule():
    note("tearDownModule fixtures")


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        note("setUpClass " + cls.__name__)
        cls.addClassCleanup(note, "class cleanup " + cls.__name__)

    @classmethod
    def tearDownClass(cls):
        note("tearDownClass " + cls.__name__)


class First(Base):
    def test_a(self):
        pass

    def test_b(self):
        pass

    def test_c(self):
        pass


class Second(Base):
    def test_a(self):
        self.fail("in the second")

    def test_b(self):
        pass
