"""splitci's driver for unittest: runs inside the user's own `python -m unittest` and feeds it one test file at a time.

- One ordinary discovery with the user's own arguments, in which test files are kept instead of loaded; a unit loads its own. What discovery cannot
  keep (tests that are named, packages with a `load_tests` of their own) is loaded by every shard and belongs to the file that defines it.
- The runner, its result and the suites are the user's: the runner gets a suite that asks the worker for units and runs each with that result.
  Fixtures of classes and modules end with their unit.
- Nothing is green by omission: an exit in a fixture, a test that nobody reported, an end before its time become errors.
"""
import copy
import functools
import os
import re
import sys
import traceback
import unittest

from splitci_heard import Course, Ears, leaves, suites
from splitci_wire import CLOSING, LOST_STATUS, NONE, Lost, Session, dump_stacks_on_signal, encode, find_address

# unittest leaves frames of modules that have this out of its traces.
__unittest = True
FailedTest = unittest.loader._FailedTest
ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
LISTING = object()
# What a unittest of Python 3.12 and later says when it ran nothing.
NO_TESTS_STATUS = 5
NOT_CALLED = "the tests were not run: the runner did not call the suite that it was given"


def begin(program, call):
    """The first unittest program of this process."""
    driver = claim(functools.partial(Driver, framework="unittest", release=sys.version.split()[0]))
    if driver is None:
        return call()
    driver.take(program)
    return driver.outermost(call, lambda _: not program.result.wasSuccessful())


DRIVER = None


def claim(make):
    """The driver of this process, if there is a worker and nobody in the process was earlier."""
    global DRIVER
    if DRIVER is not None:
        return None
    address = find_address(os.environ)
    if address is None:
        return None
    dump_stacks_on_signal()
    DRIVER = make(address)
    return DRIVER


def is_stand_in(test):
    """Whether it is unittest's own word for a file that it could not load, or that did not want to be."""
    return isinstance(test, FailedTest) or (type(test).__module__, type(test).__name__) == ("unittest.loader", "ModuleSkipped")


def id_of(test, file):
    """A test's name: its file, its class, its method. What stands for a file that could not be loaded has the file's."""
    kind = type(test)
    if is_stand_in(test):
        return file
    own = test.id() if hasattr(test, "id") else str(test)
    method = getattr(test, "_testMethodName", None)
    if method is None or kind.__module__ in ("doctest", "unittest.case"):
        return "%s::%s" % (file, ADDRESS.sub("0x", str(own)))
    usual = "%s.%s.%s" % (kind.__module__, kind.__qualname__, method)
    more = "" if own == usual else own[len(usual):] if own.startswith(usual) else " [%s]" % own
    return "%s::%s::%s%s" % (file, kind.__qualname__.replace(".", "::"), method, ADDRESS.sub("0x", more))


def fresh(suite):
    """A suite forgets the tests that it has run. This one has all of them, for another time."""
    if not hasattr(suite, "_tests"):
        return suite
    suite = copy.copy(suite)
    suite._tests = [fresh(test) for test in suite._tests]
    return suite


class Kept(FailedTest):
    """Stands for a file that was found and not loaded, wherever suites are sorted and filtered."""


class Place:
    """Where a file was found: enough to load it as it would have been."""

    def __init__(self, shelf, path, arguments, call):
        self.shelf, self.path, self.arguments, self.call = shelf, path, arguments, call
        self.top = shelf.loader._top_level_dir

    def open(self):
        loader = self.shelf.loader
        before, loader._top_level_dir = loader._top_level_dir, self.top
        try:
            tests, _ = self.shelf.find(self.path, *self.arguments)
        finally:
            loader._top_level_dir = before
        if tests is None:
            raise FileNotFoundError("%s is not there any more" % self.path)
        return tests


class Unit:
    """What a file name stands for: places to be loaded from, and tests that are loaded already."""

    def __init__(self):
        self.places, self.items = [], []


class Shelf:
    """A test loader that keeps files while they are listed, and afterwards finds one unit's alone."""

    def __init__(self, driver, loader):
        self.driver, self.loader = driver, loader
        self.find, self.discovered, self.named = loader._find_test_path, loader.discover, loader.loadTestsFromName
        loader._find_test_path, loader.discover, loader.loadTestsFromName = self.find_path, self.discover, self.by_name

    def find_path(self, path, pattern, *more):
        driver = self.driver
        if driver.mode is not LISTING:
            return self.find(path, pattern, *more)
        driver.tops.add(self.loader._top_level_dir)
        if driver.whole or not os.path.isfile(path):
            # A package's own tests. What its `load_tests` does with a loader is its business, and is done to real tests.
            with driver.plainly():
                tests, recurses = self.find(path, pattern, *more)
            package = os.path.join(path, "__init__.py") if os.path.isdir(path) else path
            several = os.path.isdir(path) and not recurses
            driver.own(tests, lambda test: driver.file_of(test) or self.file_for(test) or package if several else package)
            return tests, recurses
        name = os.path.basename(path)
        if not unittest.loader.VALID_MODULE_NAME.match(name) or not self.loader._match_path(name, path, pattern):
            return None, False
        driver.unit(path).places.append(Place(self, path, (pattern,) + more, driver.calls))
        return self.loader.suiteClass([Kept(path, None)]), False

    def file_for(self, test):
        """The file that a test stands for which could not be loaded, or skipped itself."""
        if not is_stand_in(test):
            return None
        path = os.path.join(self.loader._top_level_dir, *test._testMethodName.split(".")) + ".py"
        return path if os.path.isfile(path) else None

    def discover(self, *args, **kwargs):
        driver = self.driver
        if driver.mode is None:
            return self.discovered(*args, **kwargs)
        if driver.mode is not LISTING:
            with driver.plainly() as unit:
                found = [place.open() for place in unit.places if place.call == driver.calls]
            driver.calls += 1
            return self.loader.suiteClass(found)
        try:
            return self.discovered(*args, **kwargs)
        finally:
            driver.calls += 1

    def by_name(self, name, module=None):
        driver = self.driver
        if driver.mode is None:
            return self.named(name, module)
        if module is None and os.path.isdir(name):
            return self.discover(name, top_level_dir=top_of(name))
        if driver.mode is not LISTING:
            return self.loader.suiteClass()
        with driver.plainly():
            tests = self.named(dotted(name), module)
        driver.own(tests, lambda test: driver.file_of(test) or file_named(name))
        return tests


def top_of(directory):
    """The directory that a package's name begins in."""
    directory = os.path.abspath(directory)
    while os.path.exists(os.path.join(directory, "__init__.py")) and os.path.dirname(directory) != directory:
        directory = os.path.dirname(directory)
    return directory


def dotted(name):
    """`a/test_b.py::C::test_d` as unittest has it."""
    path, _, rest = name.partition("::")
    if path.endswith(".py") and not os.path.isabs(path):
        path = os.path.normpath(path)[:-3].replace(os.sep, ".")
    return ".".join(filter(None, [path] + rest.split("::")))


def file_named(name):
    """The file that a dotted name begins with, if there is one."""
    parts = dotted(name).split(".")
    while parts:
        if os.path.isfile(os.path.join(*parts) + ".py"):
            return os.path.join(*parts) + ".py"
        parts.pop()
    return name


class Plainly:
    """For as long as it is entered, loaders do what they always do."""

    def __init__(self, driver):
        self.driver = driver

    def __enter__(self):
        self.mode, self.driver.mode = self.driver.mode, None
        return self.mode

    def __exit__(self, *_):
        self.driver.mode = self.mode


class Feed(unittest.TestSuite):
    """What the runner is given in the place of all tests: asks the worker for units, and runs them."""

    def __init__(self, driver):
        super().__init__()
        self.driver = driver

    def __iter__(self):
        """Those who look into it see what is loaded already."""
        return (test for unit in self.driver.units.values() for test in leaves(unit.items))

    def countTestCases(self):
        return sum(1 for _ in self)

    def run(self, result, debug=False):
        self.driver.feed(result)
        return result


class Driver(Session):
    """In the process that the worker started, and nowhere else."""

    def __init__(self, address, framework, release):
        super().__init__(address, framework, release)
        self.root = os.getcwd()
        self.tops = {self.root}
        self.units, self.owners = {}, {}
        self.mode, self.calls = None, 0
        self.rebuild = self.result = self.course = None
        self.entered = self.fed = self.stopped = False

    def plainly(self):
        return Plainly(self)

    # The program

    def take(self, program):
        """Its discovery and its run are ours; options that would end the run early are off."""
        create, run = program.createTests, program.runTests

        def create_tests(*args, **kwargs):
            def build():
                create(*args, **kwargs)
                return program.test

            self.speak()
            self.build(program.testLoader, build)
            program.test = Feed(self)

        def run_tests():
            self.settle(program, "failfast", False, "-f does not count over shards and is off: use `splitci run --fail-fast`")
            run()

        program.createTests, program.runTests = create_tests, run_tests

    def settle(self, holder, name, value, notice):
        if getattr(holder, name, None):
            setattr(holder, name, value)
            self.notice(notice)

    def outermost(self, call, status):
        """Calls what ends the process, and has the last word when it does. What a call that comes back means for the process, `status` knows."""
        if self.entered:
            return call()
        self.entered = True
        try:
            value = call()
        except BaseException as error:
            self.stay_alone_if_begun(error)
            if self.ended(error):
                raise SystemExit(0)
            if isinstance(error, Lost):
                sys.stderr.write("splitci: %s\n" % error)
                raise SystemExit(LOST_STATUS)
            raise
        self.stay_alone_if_begun(None)
        self.last_word(int(status(value)))
        return value

    def stay_alone_if_begun(self, error):
        if self.pid is not None:
            self.stay_alone(status_of(error))

    def ended(self, error):
        """Says why, and as what, the process ends. Whether its status was unittest's word for a shard that had nothing to do."""
        if isinstance(error, Lost):
            return False
        status = status_of(error)
        if self.wire is None and status == 2 and isinstance(error, SystemExit):
            # Its arguments were refused, as everybody sees.
            return False
        idle = self.stopped and status == NO_TESTS_STATUS and self.result.testsRun == 0 and self.result.wasSuccessful()
        if not isinstance(error, SystemExit):
            self.errors.append(describe(error))
        elif not self.stopped and not self.errors:
            self.errors.append(NOT_CALLED if self.rebuild and not self.fed else "the run was ended before its time, with status %d" % status)
            # An exit that another error led to says nothing by itself.
            if error.__context__ is not None:
                self.errors.append(describe(error.__context__))
        self.last_word(0 if idle else status)
        return idle

    def last_word(self, status):
        if not self.fed and not self.errors:
            self.errors.append(NOT_CALLED)
        try:
            if self.pid is None:
                self.speak()
        except Lost as error:
            sys.stderr.write("splitci: %s\n" % error)
        self.bye(status)

    # Listing

    def build(self, loader, rebuild):
        """One ordinary building of the suite, for the list of units. `rebuild` makes it once more, and then only one unit's tests are found."""
        Shelf(self, loader)
        self.rebuild = rebuild
        self.mode = LISTING
        try:
            suite = rebuild()
        finally:
            self.mode = None
        self.give(suite)

    def give(self, suite):
        """Every test that is loaded already to its file; a suite whose tests are of one file as it is, for it may be of a kind of its own."""
        tests = list(leaves(suite))
        owners = {None if isinstance(test, Kept) else self.owner_of(test) for test in tests}
        if len(owners) == 1 and None not in owners:
            self.unit(owners.pop()).items.append(suite)
            return
        for test in suite:
            if hasattr(test, "__iter__"):
                self.give(test)
            elif test is not None and not isinstance(test, Kept):
                self.unit(self.owner_of(test)).items.append(test)

    def unit(self, path):
        return self.units.setdefault(encode(self.relative(path)), Unit())

    def relative(self, path):
        path = os.path.join(self.root, path)
        return path[len(self.root) + 1:] if path.startswith(self.root + os.sep) else path

    def own(self, tests, owner):
        for test in leaves(tests or ()):
            # The test is kept, too: as long as it is there, its number is its own.
            self.owners.setdefault(id(test), (test, owner(test)))

    def owner_of(self, test):
        known = self.owners.get(id(test))
        return known[1] if known else self.file_of(test) or type(test).__module__

    def file_of(self, test):
        """The file that defines a test's class, if it is one of those that tests are looked for in."""
        file = getattr(sys.modules.get(type(test).__module__), "__file__", None)
        if not file or is_stand_in(test):
            return None
        return file if any(os.path.join(self.root, file).startswith(top + os.sep) for top in self.tops) else None

    # Running

    def feed(self, result):
        """All that the runner does between the start of its result and its end."""
        self.stay_alone()
        self.fed, self.result = True, result
        ears = Ears(self, result)
        try:
            self.list_units(list(self.units))
            self.serve()
            self.stopped = True
            self.wire.at(NONE, CLOSING)
        except StopIteration as stop:
            self.errors.append(str(stop))
        finally:
            ears.take_off()

    def run_unit(self, order):
        self.wire.at(order.unit, NONE)
        file = order.name.decode("utf-8", "replace")
        suite = self.load(order.name, file)
        self.stay_alone()
        tests = list(leaves(suite))
        ids = [encode(id_of(test, file)) for test in tests]
        # What stands for a failed loading is told whatever was asked for: in the middle of a file there is nothing else to say.
        chosen = [
            ordinal
            for ordinal, test in enumerate(tests)
            if isinstance(test, FailedTest) or (order.first <= ordinal < order.end and order.wants(ids[ordinal]))
        ]
        self.declare(order, ids, chosen)
        self.course = Course(self, order.unit, file, tests, chosen)
        if len(chosen) != len(tests):
            suite = self.pruned(suite, {id(tests[ordinal]) for ordinal in chosen})
        self.course.run(suite)
        self.course = None
        self.after_unit(tests)
        self.end_unit(order.unit)

    def after_unit(self, tests):
        """For those who have to clean up."""

    def load(self, name, file):
        """A unit's tests, in a suite of their own."""
        unit = self.units.get(name)
        if unit is None:
            return unittest.TestSuite([FailedTest(file, ImportError("%s was not found by unittest" % file))])
        suite = unittest.TestSuite(fresh(item) for item in unit.items)
        if unit.places:
            self.mode, self.calls = unit, 0
            try:
                suite.addTest(self.rebuild())
            except Exception as error:
                self.stay_alone(1)
                suite.addTest(FailedTest(file, error))
            except SystemExit as error:
                self.stay_alone(status_of(error))
                suite.addTest(FailedTest(file, RuntimeError("`sys.exit` was called while the file was loaded, with status %d" % status_of(error))))
            finally:
                self.mode = None
        return suite

    def pruned(self, suite, wanted):
        """Leaves out tests that are not to run; suites of other kinds stay what they are."""
        for one in suites(suite):
            if not hasattr(one, "_tests"):
                return unittest.TestSuite(test for test in leaves(suite) if id(test) in wanted)
        for one in list(suites(suite)):
            one._tests = [test for test in one if hasattr(test, "__iter__") or id(test) in wanted]
        return suite


def status_of(error):
    """The status of a process that ends with this."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return int(error is not None)


def describe(error):
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
