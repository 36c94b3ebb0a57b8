import pytest


def check_quick():
    pass


@pytest.mark.slow
def check_slow():
    pass


class CheckThings:
    def check_quick(self):
        pass

    def test_no(self):
        assert False
