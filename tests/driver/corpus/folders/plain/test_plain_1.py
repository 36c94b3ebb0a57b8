import pytest


def test_one(root_session):
    pass


@pytest.mark.parametrize("n", [1, 2])
def test_two(n, root_package):
    pass
