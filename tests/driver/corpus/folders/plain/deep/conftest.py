import pytest

built = []


@pytest.fixture(scope="session", autouse=True)
def plain_deep_session():
    built.append("session")
    yield
    built.append("ended")


@pytest.fixture(scope="package", autouse=True)
def plain_deep_package():
    yield


@pytest.fixture(scope="module", autouse=True)
def plain_deep_module():
    yield


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "deep":
            item.add_marker("from_plain_deep")


def pytest_runtest_setup(item):
    assert built == ["session"] or not built, built
