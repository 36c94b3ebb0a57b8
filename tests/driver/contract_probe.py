"""A pytest plugin that writes down what a run was: outcomes, fixture set-ups, hook calls. Knows nothing of the driver.

Loaded in the plain run and in the driven one alike (`-p contract_probe`); the contract compares the two.
"""
import json
import os

import pytest

COUNTED = [
    "pytest_sessionstart", "pytest_sessionfinish", "pytest_collection", "pytest_collection_modifyitems", "pytest_collection_finish",
    "pytest_collectstart", "pytest_collectreport", "pytest_itemcollected", "pytest_deselected", "pytest_runtestloop",
    "pytest_runtest_protocol", "pytest_runtest_logstart", "pytest_runtest_logfinish", "pytest_runtest_setup", "pytest_runtest_call",
    "pytest_runtest_teardown", "pytest_runtest_makereport", "pytest_runtest_logreport", "pytest_exception_interact",
    "pytest_unconfigure", "pytest_make_collect_report", "pytest_generate_tests", "pytest_assertion_pass",
]
seen = {"hooks": {}, "fixtures": {}, "reports": {}, "order": [], "tests": {}, "collect": [], "warnings": 0}


def text(value):
    return str(value).encode("utf-8", "backslashreplace").decode()


def counting(name):
    def count():
        seen["hooks"][name] = seen["hooks"].get(name, 0) + 1

    count.__name__ = name
    return count


for name in COUNTED:
    if name not in ("pytest_runtest_logreport", "pytest_collectreport", "pytest_unconfigure", "pytest_runtest_setup"):
        globals()[name] = counting(name)


def pytest_collectreport(report):
    counting("pytest_collectreport")()
    if report.outcome != "passed":
        seen["collect"].append([text(report.nodeid), "errored" if report.outcome == "failed" else "skipped"])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    counting("pytest_runtest_setup")()
    seen["tests"].setdefault(text(item.nodeid), []).append({
        "fixtures": sorted(getattr(item, "fixturenames", [])),
        "markers": [text((mark.name, mark.args, sorted(mark.kwargs))) for mark in item.iter_markers()],
        "location": text(item.location),
    })


def goes_on(reports):
    """Whether a set-up after these is another attempt of the same test."""
    kinds = [kind for kind, _, _, _ in reports if kind != "teardown"]
    return bool(kinds) and kinds[-1] == "rerun"


def pytest_runtest_logreport(report):
    counting("pytest_runtest_logreport")()
    name = text(report.nodeid)
    if report.when == "setup" or name not in seen["reports"] or report.when == "???":
        if name not in seen["reports"] or not goes_on(seen["reports"][name][-1]):
            seen["reports"].setdefault(name, []).append([])
            seen["order"].append(name)
    kind = "rerun" if report.outcome == "rerun" else report.when
    expected = hasattr(report, "wasxfail")
    seen["reports"][name][-1].append([kind, report.outcome, expected, hasattr(report, "context")])


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef):
    key = "%s %s" % (fixturedef.scope, fixturedef.argname)
    # Names of fixtures that pytest makes up for setup_module and the like carry addresses.
    key = key.split("_fixture_for_")[0] if "0x" in key else key
    seen["fixtures"][key] = seen["fixtures"].get(key, 0) + 1
    yield


def pytest_warning_recorded(when):
    seen["warnings"] += when != "config"


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure():
    counting("pytest_unconfigure")()
    if os.environ.get("CONTRACT_OUT"):
        with open(os.environ["CONTRACT_OUT"], "w") as file:
            json.dump(seen, file)
