import pytest


@pytest.fixture(scope="session", autouse=True)
def root_session():
    yield


@pytest.fixture(scope="package")
def root_package():
    yield
