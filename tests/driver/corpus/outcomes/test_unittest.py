import unittest


class Case(unittest.TestCase):
    prepared = 0

    @classmethod
    def setUpClass(cls):
        cls.prepared += 1

    @classmethod
    def tearDownClass(cls):
        assert cls.prepared == 1

    def setUp(self):
        self.addCleanup(lambda: None)

    def test_one(self):
        self.assertEqual(self.prepared, 1)

    def test_fails(self):
        self.assertEqual(1, 2)

    @unittest.skip("no")
    def test_skipped(self):
        pass

    @unittest.expectedFailure
    def test_expected(self):
        self.fail()

    @unittest.expectedFailure
    def test_unexpected(self):
        pass

    def test_skips_itself(self):
        raise unittest.SkipTest("inside")


class BrokenClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        raise RuntimeError("class set-up")

    def test_never(self):
        pass

    def test_never_either(self):
        pass


@unittest.skip("all of it")
class SkippedClass(unittest.TestCase):
    def test_never(self):
        assert False
