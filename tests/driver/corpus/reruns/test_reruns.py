import pytest

attempts = []


@pytest.fixture(scope="module")
def shared():
    yield


@pytest.mark.flaky(reruns=2)
def test_third_time(shared):
    attempts.append(1)
    assert len(attempts) == 3


@pytest.mark.flaky(reruns=1)
def test_never(shared):
    assert False


def test_plain():
    pass


class TestClass:
    tried = 0

    @pytest.mark.flaky(reruns=1)
    def test_second_time(self, shared):
        type(self).tried += 1
        assert self.tried == 2
