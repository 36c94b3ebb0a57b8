import pytest

built = []


@pytest.fixture(scope="session", autouse=True)
def plain_session():
    built.append("session")
    yield
    built.append("ended")


@pytest.fixture(scope="package", autouse=True)
def plain_package():
    yield


@pytest.fixture(scope="module", autouse=True)
def plain_module():
    yield


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "plain":
            item.add_marker("from_plain")


def pytest_runtest_setup(item):
    assert built == ["session"] or not built, built
