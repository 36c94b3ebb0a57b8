def load_tests(loader, tests, pattern):
    raise ValueError("in load_tests")
