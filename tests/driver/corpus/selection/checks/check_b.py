import pytest

pytestmark = pytest.mark.slow


def check_only_slow():
    pass
