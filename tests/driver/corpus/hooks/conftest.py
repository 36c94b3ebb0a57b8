import pytest


def pytest_generate_tests(metafunc):
    if "generated" in metafunc.fixturenames:
        metafunc.parametrize("generated", [1, 2, 3])


def pytest_collection_modifyitems(session, config, items):
    items.sort(key=lambda item: item.name, reverse=True)
    dropped = [item for item in items if "dropped" in item.name]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if "dropped" not in item.name]
    for item in items:
        if "slow" in item.name:
            item.add_marker(pytest.mark.skip(reason="added late"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.user_properties.append(("seen", "yes"))
    if "forgiven" in item.name and report.failed:
        report.outcome = "passed"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    assert nextitem is None or isinstance(nextitem, pytest.Item)
    assert nextitem is None or nextitem.nodeid and nextitem.name and nextitem.path and nextitem.parent
