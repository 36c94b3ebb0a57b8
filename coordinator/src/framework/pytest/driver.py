"""splitci's driver for pytest 7, 8 and 9: runs inside the user's own pytest and feeds it one file at a time.

PYTEST_DONT_REWRITE

The wire is `splitci_wire.py`. Three rules hold everywhere below:
- One ordinary collection with the user's arguments, in which `File` nodes are kept instead of opened; a unit opens its own. Session fixtures
  live until bye, everything below the session ends with its unit.
- Whatever test code may replace (clock, os, socket, struct) is bound to instances before test code exists; module globals are not safe
  (freezegun and pyfakefs rewrite them), patched modules are not either (gevent).
- Nothing is green by omission: an exception that escapes a test, a test without a report, an end before its time become errors.

Only the standard library and pytest are needed, and nothing waits for the worker while tests run.
"""
import io
import os
import re
import sys
import traceback

import pytest

from splitci_wire import (
    CLOSING, ERRORED, EXPECTED_FAILURE, FAILED, LOST_STATUS, NONE, RUN_DIRECTORY, SKIPPED, UNEXPECTED_PASS, Lost, Result, Session, dump_stacks_on_signal, encode,
    find_address, leave_path, one_line,
)

leave_path()
ADDRESS = find_address(os.environ)
if ADDRESS is not None:
    dump_stacks_on_signal()


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config):
    """The first hook that has a configuration. A conftest that cannot be loaded ends pytest before any session: said here."""
    if ADDRESS is None:
        yield
        return
    driver = Driver(ADDRESS, early_config)
    early_config.pluginmanager.register(driver, "splitci-driver")
    outcome = yield
    if outcome.excinfo is not None:
        driver.refuse(early_config, outcome.excinfo[1])


# Text ------------------------------------------------------------------------------------------------------------------------------------


def describe(error):
    """An exception as text, with the part of its trace that is not ours."""
    if type(error).__name__ == "ConftestImportFailure":
        cause = error.cause if hasattr(error, "cause") else error.excinfo[1]
        return "cannot load %s\n%s" % (error.path, describe(cause))
    if isinstance(error, pytest.UsageError):
        return "usage: " + ("\n".join(str(part) for part in error.args) or type(error).__name__)
    if isinstance(error, pytest.exit.Exception) or type(error).__name__ in ("Interrupted", "Failed"):
        return "\n".join(str(part) for part in error.args) or type(error).__name__
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


def trace(report):
    """What pytest prints of a failure. Its own `longreprtext` loses the first line's indentation."""
    try:
        from _pytest._io import TerminalWriter

        text = io.StringIO()
        writer = TerminalWriter(text)
        writer.hasmarkup = False
        report.longrepr.toterminal(writer)
        return text.getvalue().strip("\n")
    except (AttributeError, ImportError):
        return report.longreprtext


# Results ---------------------------------------------------------------------------------------------------------------------------------


LOCATION = re.compile(r'^(?:E\s+)?(?:File "(.+?)", line (\d+)|(\S[^\n]*?):(\d+): )', re.MULTILINE)


class Judge:
    """Folds the reports of one test, or of one file's loading, into a result."""

    def __init__(self, directory):
        self.directory = directory.rstrip("/") + "/"

    def relative(self, path):
        path = str(path)
        return path[len(self.directory):] if path.startswith(self.directory) else path

    def test(self, reports):
        """The result, or `None` for a plain pass."""
        called = False
        plain = True
        for report in reports:
            if report.outcome != "passed" or getattr(report, "wasxfail", None) is not None:
                plain = False
            elif report.when == "call" and not hasattr(report, "context"):
                called = True
        if plain and called:
            return None
        if not reports:
            return Result(ERRORED, "pytest reported nothing for this test: a plugin swallowed it")
        return self._odd(reports, called)

    def _odd(self, reports, called):
        bad = [report for report in reports if report.outcome == "failed"]
        if bad:
            outcome = ERRORED if all(report.when in ("setup", "teardown") for report in bad) else FAILED
            # The body's own failure comes first, whatever its tear-down did then.
            bad.sort(key=lambda report: report.when in ("setup", "teardown"))
            return self._failure(outcome, bad, reports)
        for report in reports:
            if hasattr(report, "context") or report.outcome == "rerun":
                continue
            expected = getattr(report, "wasxfail", None)
            if expected is not None:
                outcome = UNEXPECTED_PASS if report.outcome == "passed" else EXPECTED_FAILURE
                result = self._failure(outcome, [report], reports)
                result.message = one_line(str(expected))
                return result
            if report.outcome == "skipped":
                return self._skip(report, reports)
        if called:
            return None
        return Result(SKIPPED, "its body was not called", output=self._output(reports))

    def _failure(self, outcome, bad, reports):
        file, line, message = self._crash(bad[0])
        details = "\n\n".join(filter(None, (trace(report) for report in bad if report.longrepr)))
        return Result(outcome, message, file, line, self._output(reports), details)

    def _crash(self, report):
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            path, line = crash.path, crash.lineno
            if self._foreign(path):
                path, line = self._own_line(report) or (path, line)
            return self.relative(path), int(line), one_line(str(crash.message))
        text = report.longreprtext if report.longrepr else ""
        reasons = [line[1:] for line in text.splitlines() if line.startswith("E ")]
        message = one_line(reasons[-1] if reasons else text) or report.outcome
        places = LOCATION.findall(text)
        if not places:
            return "", 0, message
        quoted, quoted_line, plain, plain_line = places[-1]
        return self.relative(quoted or plain), int(quoted_line or plain_line), message

    def _foreign(self, path):
        """Whether a place is in a library: outside the project, or installed inside it."""
        path = self.relative(path)
        return os.path.isabs(path) or "site-packages" in path.split(os.sep)

    def _own_line(self, report):
        """Where the test itself stood when a library of others raised: the last frame in the test's file."""
        entries = getattr(getattr(report.longrepr, "reprtraceback", None), "reprentries", None) or []
        file = str(report.location[0]) if getattr(report, "location", None) else ""
        for entry in reversed(entries):
            place = getattr(entry, "reprfileloc", None)
            if place is not None and file and self.relative(place.path) == self.relative(file):
                return place.path, place.lineno
        return None

    def _skip(self, report, reports):
        where = report.longrepr
        if isinstance(where, tuple) and len(where) == 3:
            file, line, reason = where
            reason = str(reason)
            reason = reason[len("Skipped: "):] if reason.startswith("Skipped: ") else reason
            return Result(SKIPPED, one_line(reason), self.relative(file), int(line or 0), self._output(reports))
        return Result(SKIPPED, one_line(str(where)), output=self._output(reports))

    @staticmethod
    def _output(reports):
        sections = []
        for report in reports:
            # Each report repeats the sections of those before it.
            sections.extend(section for section in report.sections if section not in sections)
        return "".join("--- %s ---\n%s\n" % (name, text.rstrip("\n")) for name, text in sections)

    def loading(self, report):
        """A collector that failed or was skipped."""
        if report.outcome == "skipped":
            return self._skip(report, [report])
        return self._failure(ERRORED, [report], [report])


class Stub:
    """A test that stands for something that could not be loaded."""

    def __init__(self, name, result):
        self.nodeid, self.result = name, result


class Unit:
    """What a file name stands for: kept nodes to be opened, items that came without a file, collectors that failed."""

    def __init__(self):
        self.nodes, self.items, self.stubs = [], [], []


class EndOfUnit(pytest.Item):
    """Stands for the next item at a unit's end. Its only parent is the session, so everything below the session is torn down."""

    def runtest(self):
        raise RuntimeError("the end of a unit cannot be run")


class ListingHooks:
    """`config.hook` while files are listed: plugins shall see items when there are some, not an empty list."""

    def __init__(self, hook):
        self._hook = hook

    def __getattr__(self, name):
        if name in ("pytest_collection_modifyitems", "pytest_collection_finish"):
            return lambda **_: []
        return getattr(self._hook, name)


# The plugin ------------------------------------------------------------------------------------------------------------------------------


def copy_files(source, target):
    """The files of one directory, without those below it."""
    os.makedirs(target, exist_ok=True)
    for entry in os.scandir(source):
        if entry.is_file():
            with open(entry.path, "rb") as old, open(os.path.join(target, entry.name), "wb") as new:
                new.write(old.read())


class SeparateDatabases:
    """What pytest-django does for the workers of xdist: each shard but the first adds its number to the names of its test databases."""

    def __init__(self, django, shard):
        self.django, self.shard = django, shard

    @pytest.fixture(scope="session")
    def django_db_modify_db_settings_xdist_suffix(self):
        self.django.skip_if_no_django()
        self.django._set_suffix_to_test_databases(suffix=self.shard)


class NoContext:
    """For a pytest without its warnings plugin."""

    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


class Driver(Session):
    """Registered in the pytest that was started by the worker; nowhere else."""

    def __init__(self, address, config):
        super().__init__(address, "pytest", pytest.__version__)
        self.session = None
        self.listing = False
        self.looped = False
        self.units = {}
        self.reports = []
        self.stubs = []
        self.plugins = 0
        self.judge = Judge(str(config.invocation_params.dir))

    # Speaking

    def speak(self):
        try:
            super().speak()
        except Lost as error:
            raise pytest.exit.Exception("splitci: %s" % error, LOST_STATUS)

    def refuse(self, config, error):
        """pytest ends before it has a session."""
        if self.wire is not None:
            return
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        else:
            status = 4
        self.errors.append(describe(error))
        self.speak()
        self.bye(status)

    # Options

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config):
        option = config.option
        if getattr(option, "collectonly", False):
            error = pytest.UsageError("--collect-only runs nothing: use `splitci plan`")
            self.refuse(config, error)
            raise error
        self.check_expressions(config)
        self.settle_stopping(option)
        self.settle_workers(option)
        self.settle_seed(config)
        self.settle_files(config)
        self.settle_databases(config)
        self.whole = self.whole or any("::" in str(argument) for argument in config.args) or any(
            getattr(option, name, False) for name in ("lf", "failedfirst", "newfirst")
        )

    def check_expressions(self, config):
        """`-k` and `-m` are read where items are chosen, file by file: what cannot be read is better said once."""
        try:
            from _pytest.mark.expression import Expression
        except ImportError:
            return
        for name, option in (("keyword", "-k"), ("markexpr", "-m")):
            text = (getattr(config.option, name, "") or "").strip()
            try:
                Expression.compile(text)
            except Exception as error:
                error = pytest.UsageError("Wrong expression passed to '%s': %s: %s" % (option, text, error))
                self.refuse(config, error)
                raise error

    def settle_stopping(self, option):
        if getattr(option, "maxfail", 0):
            option.maxfail = 0
            self.notice("-x and --maxfail do not count over shards and are off: use `splitci run --fail-fast`")
        if getattr(option, "stepwise", False) or getattr(option, "stepwise_skip", False):
            option.stepwise = option.stepwise_skip = False
            self.notice("--stepwise is off inside a shard")

    def settle_workers(self, option):
        if getattr(option, "numprocesses", None) or getattr(option, "dist", "no") != "no":
            option.numprocesses, option.dist, option.tx = None, "no", []
            self.notice("pytest-xdist is off inside a shard: use `splitci run --shards N`")
        if hasattr(option, "distload"):
            option.distload = False

    def settle_seed(self, config):
        chosen = getattr(config.option, "randomly_seed", None)
        plugin = sys.modules.get("pytest_randomly")
        if plugin is None or chosen is None:
            return
        if chosen == "default" or chosen == getattr(plugin, "default_seed", None):
            config.option.randomly_seed = chosen = self.seed % 2**32
        if isinstance(chosen, int):
            self.seed = chosen

    def settle_files(self, config):
        """Shards of one directory must not write the same files."""
        option, several = config.option, self.address.shards > 1
        if several:
            for name in ("xmlpath", "log_file"):
                path = getattr(option, name, None)
                if path:
                    stem, extension = os.path.splitext(path)
                    setattr(option, name, "%s.shard%s%s" % (stem, self.address.shard, extension))
            if getattr(option, "xmlpath", None):
                self.notice("--junitxml: each shard writes its own part; `splitci run --junit FILE` writes the whole")
        if not self.address.shared:
            return
        if several:
            # Sessions of one user clean up after each other, and disturb each other at it.
            given = getattr(option, "basetemp", None)
            option.basetemp = "%s.shard%s" % (given, self.address.shard) if given else os.path.join(RUN_DIRECTORY, "tmp")
        self.move_cache(config)

    def settle_databases(self, config):
        """Shards may have one database server between them."""
        django = sys.modules.get("pytest_django.fixtures")
        if self.address.shards > 1 and self.address.shard != "1" and hasattr(django, "_set_suffix_to_test_databases"):
            config.pluginmanager.register(SeparateDatabases(django, self.address.shard), "splitci-databases")

    @staticmethod
    def move_cache(config):
        """A cache directory of the session's own, with what the last run knew of failures."""
        known = getattr(config, "_inicache", None)
        if known is None or not config.pluginmanager.hasplugin("cacheprovider"):
            return
        path = os.path.join(str(config.rootpath), os.path.expandvars(str(config.getini("cache_dir"))), "v", "cache")
        moved = os.path.join(RUN_DIRECTORY, "pytest-cache")
        try:
            copy_files(path, os.path.join(moved, "v", "cache"))
        except OSError:
            # There is no cache, or not one that this user may read.
            pass
        known["cache_dir"] = moved

    # Listing

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session):
        self.session = session
        self.speak()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection(self, session):
        self.listing = True
        if self.whole:
            outcome = yield
        else:
            hook = session.config.hook
            session.genitems = self.keep_files(session)
            session.config.hook = ListingHooks(hook)
            try:
                outcome = yield
            finally:
                session.config.hook = hook
                del session.genitems
        self.listing = False
        if outcome.excinfo is not None:
            self.errors.append(describe(outcome.excinfo[1]))
            return
        # What could not be listed counts in the session that tells it: in another one its status would be somebody's word.
        session.testsfailed = 0
        for item in session.items:
            self.unit_of(item).items.append(item)

    def keep_files(self, session):
        """In place of `Session.genitems`: a file is kept unopened. pytest 8 and later list a node once."""
        genitems = session.genitems
        keep_twice = session.config.getoption("keepduplicates", False) or pytest.version_tuple[0] < 8
        seen = set()

        def keeping(node):
            is_file = isinstance(node, pytest.File) and not isinstance(node, (pytest.Item, pytest.Package))
            if not is_file:
                for item in genitems(node):
                    # Items without a file have their place in the list too.
                    self.unit_of(item)
                    yield item
            elif keep_twice or node not in seen:
                seen.add(node)
                self.unit(node.nodeid).nodes.append(node)

        return keeping

    def unit(self, name):
        return self.units.setdefault(encode(name or "."), Unit())

    def unit_of(self, item):
        file = item.getparent(pytest.File)
        return self.unit(file.nodeid if file is not None else item.nodeid.split("::")[0])

    def pytest_collectreport(self, report):
        if report.outcome == "passed":
            return
        stub = Stub(report.nodeid or ".", self.judge.loading(report))
        if self.listing:
            self.unit(report.nodeid.split("::")[0]).stubs.append(stub)
        else:
            self.stubs.append(stub)

    # Running

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self.stay_alone()
        if self.others_loop(session):
            return True
        self.looped = True
        self.settle_coverage(session.config)
        self.end = EndOfUnit.from_parent(session, name="end of unit")
        self.catch_warnings = self.warning_context(session.config)
        try:
            self.list_units(self.units)
            self.serve()
        except Lost as error:
            raise pytest.exit.Exception("splitci: %s" % error, LOST_STATUS)
        self.close(session)
        return True

    def others_loop(self, session):
        """Ours takes the place of pytest's own loop alone. Whether a plugin ran the tests in its way, which nobody then followed."""
        own = (self, session.config.pluginmanager.getplugin("main"))
        for impl in reversed(session.config.hook.pytest_runtestloop.get_hookimpls()):
            wraps = impl.hookwrapper or getattr(impl, "wrapper", False)
            if not wraps and impl.plugin not in own and impl.function(*(session for _ in impl.argnames)) is not None:
                return True
        return False

    def settle_coverage(self, config):
        plugin = config.pluginmanager.getplugin("_cov")
        options = getattr(plugin, "options", None)
        if getattr(options, "cov_fail_under", None):
            options.cov_fail_under = None
            self.notice("coverage threshold not checked: a shard sees only a part")

    @staticmethod
    def warning_context(config):
        """Warnings while a file is loaded are the user's to filter, as in an ordinary collection."""
        if config.pluginmanager.hasplugin("warnings"):
            try:
                from _pytest.warnings import catch_warnings_for_item

                return lambda: catch_warnings_for_item(config=config, ihook=config.hook, when="collect", item=None)
            except ImportError:
                pass
        return NoContext

    def run_unit(self, order):
        wire = self.wire
        wire.at(order.unit, NONE)
        tests = self.load(order)
        self.stay_alone()
        ids = [encode(test.nodeid) for test in tests]
        # What stands for a failed loading is told whatever was asked for: in the middle of a file there is nothing else to say.
        chosen = [
            ordinal
            for ordinal, test in enumerate(tests)
            if isinstance(test, Stub) or (order.first <= ordinal < order.end and order.wants(ids[ordinal]))
        ]
        self.declare(order, ids, chosen)
        following = [tests[ordinal] for ordinal in chosen if not isinstance(tests[ordinal], Stub)][1:] + [self.end]
        following.reverse()
        for ordinal in chosen:
            test = tests[ordinal]
            wire.at(order.unit, ordinal)
            if isinstance(test, Stub):
                self.session.testsfailed += test.result.outcome in (FAILED, ERRORED)
                wire.finished(order.unit, ordinal, 0, test.result)
            else:
                self.run_test(order.unit, ordinal, test, following.pop())
        self.end_unit(order.unit)

    def load(self, order):
        """The tests of a file in the order in which they run, those that stand for a failed loading first."""
        name = order.name.decode("utf-8", "replace")
        unit = self.units.get(order.name)
        if unit is None:
            return [Stub(name, Result(ERRORED, "%s was not found by pytest" % name))]
        if self.whole or not (unit.nodes or unit.items):
            return unit.stubs + unit.items
        self.stubs = []
        try:
            items = self.open(unit)
        except BaseException as error:
            self.stay_alone(1)
            if self.session.shouldstop or self.session.shouldfail:
                raise
            return [Stub(name, Result(ERRORED, one_line(str(error)) or type(error).__name__, details=describe(error)))]
        return unit.stubs + self.stubs + items

    def open(self, unit):
        """What `Session.perform_collect` does after it has listed the files, for one of them."""
        session = self.session
        if hasattr(session, "_collection_cache"):
            session._collection_cache = {}
        session.items = items = []
        hook = session.config.hook
        with self.catch_warnings():
            try:
                for node in unit.nodes:
                    items.extend(session.genitems(node))
                items.extend(unit.items)
                session.testscollected += len(items)
                self.check_plugins(session.config.pluginmanager)
                hook.pytest_collection_modifyitems(session=session, config=session.config, items=items)
            finally:
                hook.pytest_collection_finish(session=session)
        return items

    def check_plugins(self, manager):
        """Plugins that a module brought are checked for hooks that do not exist; it costs as much as loading a small file."""
        known = len(manager.get_plugins())
        if known != self.plugins:
            self.plugins = known
            manager.check_pending()

    def pytest_runtest_logreport(self, report):
        self.reports.append(report)

    def run_test(self, unit, ordinal, item, following):
        self.reports = reports = []
        start = self.clock()
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except BaseException as error:
            self.stay_alone(1)
            result = self.escaped(item, following, error)
        else:
            if self.getpid() != self.pid:
                self.leave(int(any(report.outcome == "failed" for report in reports)))
            result = self.judge.test(reports)
        self.wire.check()
        end = self.clock()
        if result is None:
            self.wire.passed(unit, ordinal, end - start, end)
        else:
            self.wire.finished(unit, ordinal, end - start, result)
        session = self.session
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def escaped(self, item, following, error):
        """A test interrupted pytest itself. A plain run would end here with tests unrun; this one names the test and goes on."""
        self.session.testsfailed += 1
        details = [describe(error)]
        try:
            self.session._setupstate.teardown_exact(following)
        except BaseException as second:
            self.stay_alone(1)
            details.append(describe(second))
        name = type(error).__name__
        if isinstance(error, (KeyboardInterrupt, pytest.exit.Exception)):
            name = "pytest.exit" if isinstance(error, pytest.exit.Exception) else name
            self.notice("%s ended its run with %s: the others go on" % (item.nodeid, name))
        message = one_line("%s: %s" % (name, error) if str(error) else name)
        return Result(ERRORED, message, output=self.captured(item), details="\n\n".join(details))

    def captured(self, item):
        """What a test printed that did not get to its reports."""
        sections = ["--- Captured %s %s ---\n%s\n" % (key, when, text) for when, key, text in getattr(item, "_report_sections", [])]
        manager = self.session.config.pluginmanager.getplugin("capturemanager")
        try:
            rest = zip(("stdout", "stderr"), manager.read_global_capture())
        except Exception:
            rest = ()
        return "".join(sections + ["--- Captured %s ---\n%s\n" % (key, text) for key, text in rest if text])

    # Closing

    def close(self, session):
        """Session fixtures end here, not with the last test: nobody knew that it was the last."""
        self.wire.at(NONE, CLOSING)
        self.reports = []
        try:
            session._setupstate.teardown_exact(None)
        except BaseException as error:
            self.stay_alone(1)
            session.testsfailed += 1
            self.errors.append("error in the tear-down of the session\n" + describe(error))
        self.stay_alone()

    def pytest_internalerror(self, excrepr):
        self.errors.append("pytest failed\n" + str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo):
        self.errors.append("pytest was interrupted: " + describe(excinfo.value))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session):
        self.settle_emptiness(session)
        outcome = yield
        self.settle_emptiness(session)
        if outcome.excinfo is not None:
            self.errors.append("error while the session finished\n" + describe(outcome.excinfo[1]))

    def settle_emptiness(self, session):
        """A shard without tests is an ordinary thing; whether nothing ran at all is not ours to say. With tests the status is somebody's word."""
        if session.exitstatus == 5 and self.wire is not None and self.wire.sent == 0:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_unconfigure(self, config):
        outcome = yield
        if outcome.excinfo is not None:
            self.errors.append("error while pytest was unconfigured\n" + describe(outcome.excinfo[1]))
        if self.session is not None:
            for stopped in (self.session.shouldfail, self.session.shouldstop):
                if stopped:
                    self.errors.append("the session was stopped: %s" % stopped)
            if not self.looped and not self.errors:
                self.errors.append("another plugin took the test loop")
            self.finish(int(self.session.exitstatus))
        elif self.errors:
            self.finish(3)

    def finish(self, status):
        if self.pid is not None and self.getpid() != self.pid:
            return
        if self.wire is None and self.pid is None:
            self.speak()
        self.bye(status)
