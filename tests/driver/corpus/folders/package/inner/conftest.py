import pytest

built = []


@pytest.fixture(scope="session", autouse=True)
def package_inner_session():
    built.append("session")
    yield
    built.append("ended")


@pytest.fixture(scope="package", autouse=True)
def package_inner_package():
    yield


@pytest.fixture(scope="module", autouse=True)
def package_inner_module():
    yield


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "inner":
            item.add_marker("from_package_inner")


def pytest_runtest_setup(item):
    assert built == ["session"] or not built, built
