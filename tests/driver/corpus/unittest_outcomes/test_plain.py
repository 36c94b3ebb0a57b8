import unittest

from contract_notes import note


class Plain(unittest.TestCase):
    def setUp(self):
        note("setUp " + self._testMethodName)
        self.addCleanup(note, "cleanup " + self._testMethodName)

    def tearDown(self):
        note("tearDown " + self._testMethodName)

    def test_passes(self):
        print("passes and prints")

    def test_fails(self):
        print("fails and prints")
        self.assertEqual([1, 2], [1, 3])

    def test_errs(self):
        {}["key"]

    def test_exits(self):
        raise SystemExit(0)

    @unittest.skip("not now")
    def test_skipped(self):
        note("never")

    def test_skips_itself(self):
        self.skipTest("not here")

    @unittest.expectedFailure
    def test_expected(self):
        self.fail("as it does")

    @unittest.expectedFailure
    def test_unexpected(self):
        pass

    def test_cleanup_fails(self):
        self.addCleanup(self.fail, "in the cleanup")

    def test_parts(self):
        for n in range(4):
            with self.subTest(n=n):
                self.assertTrue(n % 2 == 0, "odd")

    def test_parts_err(self):
        for n in range(2):
            with self.subTest(n=n):
                1 / n

    def test_parts_pass(self):
        for n in range(3):
            with self.subTest(n=n):
                pass

    def test_parts_skip(self):
        for n in range(2):
            with self.subTest(n=n):
                if n:
                    self.skipTest("odd")


@unittest.skip("the whole class")
class Skipped(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        note("never")

    def test_one(self):
        pass

    def test_two(self):
        pass


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        note("asyncSetUp")

    async def test_passes(self):
        self.addAsyncCleanup(self.clean)

    async def test_fails(self):
        self.fail("asynchronously")

    async def clean(self):
        note("asyncCleanup")


class Outer:
    class Inner(unittest.TestCase):
        def test_hidden(self):
            note("never")


class Single(unittest.TestCase):
    def runTest(self):
        note("runTest")
