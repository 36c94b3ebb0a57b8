import pytest


@pytest.fixture(scope="session")
def whole_run():
    yield "s"


@pytest.fixture(scope="module")
def per_module(whole_run):
    yield "m"


@pytest.fixture(scope="class", autouse=True)
def per_class():
    yield "c"


@pytest.fixture
def breaks_before():
    raise RuntimeError("set-up")


@pytest.fixture
def breaks_after():
    yield
    raise RuntimeError("tear-down")
