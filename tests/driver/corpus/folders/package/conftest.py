import pytest

built = []


@pytest.fixture(scope="session", autouse=True)
def package_session():
    built.append("session")
    yield
    built.append("ended")


@pytest.fixture(scope="package", autouse=True)
def package_package():
    yield


@pytest.fixture(scope="module", autouse=True)
def package_module():
    yield


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "package":
            item.add_marker("from_package")


def pytest_runtest_setup(item):
    assert built == ["session"] or not built, built
