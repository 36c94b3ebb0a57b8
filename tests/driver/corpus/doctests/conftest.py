import pytest


@pytest.fixture(autouse=True)
def names(doctest_namespace):
    doctest_namespace["extra"] = 5
