import pytest


def setup_module(module):
    module.order = ["module"]


def teardown_module(module):
    assert module.order[-1] == "class"


class TestOuter:
    @classmethod
    def setup_class(cls):
        order.append("class")

    def setup_method(self, method):
        self.mine = 1

    def test_one(self):
        assert self.mine

    @pytest.mark.parametrize("n", range(3))
    def test_many(self, n):
        assert n < 3

    class TestInner:
        def test_deep(self):
            assert order == ["module", "class"]

    def test_after_inner(self):
        pass


@pytest.fixture(scope="module", params=["p", "q"])
def reordering(request):
    return request.param


def test_a(reordering):
    pass


def test_b(reordering):
    pass


class TestNoTests:
    pass


class TestWithInit:
    def __init__(self):
        pass

    def test_never(self):
        assert False
