import pytest


class TestSkipped:
    pytestmark = pytest.mark.skip("all")

    def test_one(self):
        assert False


def test_one():
    pass
