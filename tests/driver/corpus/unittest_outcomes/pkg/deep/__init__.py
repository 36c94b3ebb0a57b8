import os

from contract_notes import note


def load_tests(loader, tests, pattern):
    note("load_tests deep")
    tests.addTests(loader.discover(start_dir=os.path.dirname(__file__), pattern=pattern))
    return tests
