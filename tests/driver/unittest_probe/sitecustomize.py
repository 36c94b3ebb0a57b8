"""Writes down what a run of unittest was: what its result heard of each test, and how often fixtures ran. Knows nothing of the driver.

It is the application's own `sitecustomize`, in the plain run and in the driven one alike; the contract compares the two.
"""
import atexit
import collections
import functools
import json
import os
import sys
import unittest

import contract_notes

ROOT = os.getcwd()
PID = os.getpid()
SEEN = {"events": [], "notes": contract_notes.NOTES}


def tag(suite, file):
    """Of tests, the file that they were loaded for."""
    for test in suite:
        if hasattr(test, "__iter__"):
            tag(test, file)
        elif not hasattr(test, "_contract_file"):
            test._contract_file = os.path.relpath(file, ROOT)


def load(self, module, *args, **kwargs):
    suite = unittest_load(self, module, *args, **kwargs)
    tag(suite, module.__file__)
    return suite


unittest_load = unittest.TestLoader.loadTestsFromModule
unittest.TestLoader.loadTestsFromModule = load


def name_of(test):
    test = getattr(test, "test_case", test)
    kind = type(test)
    if kind.__module__ in ("unittest.loader", "unittest.suite") or not hasattr(test, "_testMethodName"):
        return str(test.id() if hasattr(test, "id") else test)
    file = getattr(test, "_contract_file", None) or os.path.relpath(sys.modules[kind.__module__].__file__, ROOT)
    if kind.__module__ == "doctest":
        return "%s::%s" % (file, test.id())
    return "::".join([file] + kind.__qualname__.split(".") + [test._testMethodName])


def hear(name):
    original = getattr(unittest.TestResult, name)

    @functools.wraps(original)
    def heard(self, test, *more, **named):
        bad = name == "addSubTest" and more[1] is not None and ("failed" if issubclass(more[1][0], test.failureException) else "errored")
        SEEN["events"].append([name, name_of(test), bad or ""])
        return original(self, test, *more, **named)

    setattr(unittest.TestResult, name, heard)


for method in ("startTest", "stopTest", "addSuccess", "addError", "addFailure", "addSkip", "addExpectedFailure", "addUnexpectedSuccess", "addSubTest"):
    hear(method)


@atexit.register
def write():
    if os.getpid() == PID and os.environ.get("CONTRACT_OUT"):
        with open(os.environ["CONTRACT_OUT"], "w") as file:
            json.dump(dict(SEEN, notes=collections.Counter(SEEN["notes"])), file)
