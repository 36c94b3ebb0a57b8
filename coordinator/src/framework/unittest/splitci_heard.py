"""What a unittest result and its suites say while a unit runs, folded into one outcome for each test. Used by splitci's drivers for unittest and Django.

Suites tear down one class and set up the next without a word to anybody but the result, and a result hears of a broken fixture under a made-up
name. So the suites' own step from test to test is listened to as well: it says whose fixtures are set up now (which is what the slot shows), and
whose were torn down. The last result of a class is held until then: a failing `tearDownClass` or `tearDownModule` is told of the test before it.
"""
import collections
import functools
import os
import re
import sys
import traceback
import unittest

from splitci_wire import ERRORED, EXPECTED_FAILURE, FAILED, SKIPPED, Lost, Result, one_line

LOCATION = re.compile(r'^\s*File "(.+?)", line (\d+)', re.MULTILINE)
# Of a result, the methods that say how a test ended, and its lists that have the text of it.
ENDS = {
    "addSuccess": (), "addError": ("errors",), "addFailure": ("failures",), "addSkip": (), "addExpectedFailure": ("expectedFailures",),
    "addUnexpectedSuccess": (), "addSubTest": ("failures", "errors"),
}
# unittest leaves frames of modules that have this out of its traces.
__unittest = True
BAD = ("addError", "addFailure", "addUnexpectedSuccess")


def trace(kind, error, frames):
    """An exception as text, from the first frame that is neither unittest's nor ours."""
    while frames is not None and "__unittest" in frames.tb_frame.f_globals:
        frames = frames.tb_next
    return "".join(traceback.format_exception(kind, error, frames)).rstrip()


def leaves(suite):
    """The tests of a suite, in their order."""
    for test in suite:
        if test is not None:
            if hasattr(test, "__iter__"):
                yield from leaves(test)
            else:
                yield test


def suites(suite):
    """A suite and all that are in it."""
    yield suite
    for test in suite:
        if test is not None and hasattr(test, "__iter__"):
            yield from suites(test)


class Ears:
    """Put on a result: its own methods do what they always did, and are overheard."""

    def __init__(self, driver, result):
        self.driver, self.result, self.bad = driver, result, 0
        self.originals = {}
        for name in ("startTest", "stopTest") + tuple(ENDS):
            original = getattr(result, name, None)
            if original is not None:
                self.originals[name] = original
                setattr(result, name, functools.partial(self.hear, name, original))
        driver.accuse = self.accuse

    def accuse(self, test, failure):
        """Tells the result what it did not hear by itself. One that keeps output back expects to do so whenever an error comes."""
        result = self.result
        kept_back = getattr(result, "buffer", False) and sys.stdout is not getattr(result, "_stdout_buffer", None) and hasattr(result, "_setupStdout")
        if kept_back:
            result._setupStdout()
        try:
            self.originals["addError"](test, failure)
        finally:
            if kept_back:
                result._restoreStdout()
                result._mirrorOutput = False

    def take_off(self):
        for name in self.originals:
            self.result.__dict__.pop(name, None)

    def hear(self, name, original, test, *more, **named):
        driver, course = self.driver, self.driver.course
        if driver.getpid() != driver.pid:
            return self.hear_in_a_fork(name, more)
        if course is None:
            value = original(test, *more, **named)
            if name in BAD:
                driver.errors.append("%s\n%s" % (test, self.text_of(name, test, more)))
            return value
        if name == "startTest":
            course.start(test)
            return original(test, *more, **named)
        if name == "stopTest":
            course.stop(test, self.printed())
            return original(test, *more, **named)
        value = original(test, *more, **named)
        about = more[0] if name == "addSubTest" else test
        course.add(name, test, about, more, self.text_of(name, about, more))
        return value

    def hear_in_a_fork(self, name, more):
        """A fork that came back into the runner: it ends with its test, and counts nothing."""
        error = more[-1] if more else None
        if name in BAD or (name == "addSubTest" and error is not None):
            value = error[1] if isinstance(error, tuple) else None
            self.bad = (value.code if isinstance(value.code, int) else int(value.code is not None)) if isinstance(value, SystemExit) else 1
        if name in ("startTest", "stopTest"):
            self.driver.leave(self.bad)

    def text_of(self, name, about, more):
        """What the result itself wrote of it."""
        for attribute in ENDS[name]:
            entries = getattr(self.result, attribute, None)
            if isinstance(entries, list) and entries and entries[-1][0] is about and isinstance(entries[-1][1], str):
                return entries[-1][1].rstrip()
        error = more[-1] if more else None
        if isinstance(error, tuple) and len(error) == 3 and error[0] is not None:
            return trace(*error)
        return ""

    def printed(self):
        """What the test printed, where the result keeps it back."""
        if not getattr(self.result, "buffer", False):
            return ""
        texts = (("stdout", getattr(self.result, "_stdout_buffer", None)), ("stderr", getattr(self.result, "_stderr_buffer", None)))
        texts = [(name, buffer.getvalue()) for name, buffer in texts if hasattr(buffer, "getvalue")]
        return "".join("--- Captured %s ---\n%s\n" % (name, text.rstrip("\n")) for name, text in texts if text)


class Case:
    """What was said of one test: of itself, and of its parts."""

    def __init__(self, ordinal, test):
        self.ordinal, self.test, self.said, self.output = ordinal, test, [], ""


Said = collections.namedtuple("Said", "name about error text")


class Gone:
    """Stands for a class whose fixtures are over, in the same module."""


class Course:
    """One unit's way through its suites. Tells the worker of every chosen test once, in their order."""

    def __init__(self, driver, unit, file, tests, chosen):
        self.driver, self.wire, self.result = driver, driver.wire, driver.result
        self.unit, self.file, self.tests = unit, file, tests
        self.expected, self.early = collections.deque(chosen), {}
        self.ordinals = collections.defaultdict(collections.deque)
        for ordinal in chosen:
            self.ordinals[id(tests[ordinal])].append(ordinal)
        self.since = driver.clock()
        # The test that started; the one whose fixtures are set up; the one that is over, with its result; what its fixtures had to say.
        self.case = self.upcoming = self.held = None
        self.troubles, self.blame = [], []

    # The run

    def run(self, suite):
        while True:
            self.listen(suite)
            try:
                suite(self.result)
                self.driver.stay_alone()
                self.settle()
                self.release()
                break
            except Lost:
                raise
            except BaseException as error:
                self.driver.stay_alone(1)
                self.escaped(error)
            left = self.waiting()
            if not left:
                self.release()
                break
            suite = unittest.TestSuite(self.tests[ordinal] for ordinal in left)
        self.forget(None)
        if getattr(self.result, "shouldStop", False) and self.waiting():
            raise StopIteration("the run was stopped by `stop` of its result, before all tests had run")
        for ordinal in self.waiting():
            self.blamed(ordinal, RuntimeError("unittest did not run it"))

    def listen(self, suite):
        for one in suites(suite):
            original = getattr(one, "_tearDownPreviousClass", None)
            if original is not None and not isinstance(original, functools.partial):
                one._tearDownPreviousClass = functools.partial(self.step, original)

    def waiting(self):
        return [ordinal for ordinal in self.expected if ordinal not in self.early and (self.held is None or self.held[0] != ordinal)]

    def forget(self, kind):
        """What the result remembers of the suites' way, as it is at a start."""
        self.result._testRunEntered = False
        self.result._previousTestClass = kind
        if kind is None:
            self.result._moduleSetUpFailed = False

    def escaped(self, error):
        """A test or a fixture wanted the run to end. A plain run would; this one names it and goes on."""
        ordinal = self.case.ordinal if self.case else self.upcoming
        previous = getattr(self.result, "_previousTestClass", None)
        if self.upcoming is not None and not self.case:
            # The class before is torn down already; its module is not.
            previous = previous and type("Gone", (Gone,), {"__module__": previous.__module__})
        self.forget(previous)
        self.case = self.upcoming = None
        if ordinal is None:
            ordinal = self.held[0] if self.held else next(iter(self.waiting()), None)
        if ordinal is None:
            self.driver.errors.append("%s: %s" % (self.file, trace(type(error), error, error.__traceback__)))
            return
        if self.held and self.held[0] == ordinal:
            self.held = None
        self.release()
        self.blamed(ordinal, error)

    def blamed(self, ordinal, error):
        """A bad end that the runner does not know of yet: its status is to say so, too."""
        failure = (type(error), error, error.__traceback__)
        self.driver.accuse(self.tests[ordinal], failure)
        self.tell(ordinal, self.failure(ERRORED, [Said("addError", self.tests[ordinal], failure, trace(*failure))]))

    # What the suites say

    def step(self, original, test, result):
        """A suite goes on to a test, or to its end: the class before is torn down, and the next is set up."""
        if result is not self.result or self.driver.course is not self:
            return original(test, result)
        self.driver.stay_alone()
        self.settle()
        original(test, result)
        self.driver.stay_alone()
        ordinals = self.ordinals.get(id(test))
        if ordinals:
            if self.held and type(self.tests[self.held[0]]) is not type(test):
                self.release()
            self.upcoming = ordinals[0]
            self.wire.at(self.unit, self.upcoming)

    def settle(self):
        """The test before is over, whether or not it began."""
        if self.case is not None:
            self.finish()
        if self.upcoming is None:
            return
        ordinal, self.upcoming = self.upcoming, None
        self.ordinals[id(self.tests[ordinal])].popleft()
        if self.troubles:
            self.blame, self.troubles = self.troubles, []
        if not self.blame:
            self.blamed(ordinal, RuntimeError("unittest did not run it"))
        elif any(said.name in BAD for said in self.blame):
            self.tell(ordinal, self.failure(ERRORED, [said for said in self.blame if said.name in BAD], "%s: " % self.blame[0].about))
        else:
            self.tell(ordinal, Result(SKIPPED, one_line(self.blame[0].text)))

    def trouble(self, said):
        """A fixture of a class or a module failed, or wants its tests to be skipped."""
        if not str(said.about).startswith("tearDown"):
            self.troubles.append(said)
        elif said.name not in BAD:
            pass
        elif self.held is None:
            self.driver.errors.append("%s: %s\n%s" % (self.file, said.about, said.text))
        else:
            self.too_late(said, "%s: " % said.about)

    def too_late(self, said, prefix):
        """Something failed after a test had its result."""
        if said.name not in BAD:
            return
        ordinal, seconds, result, _ = self.held
        late = self.failure(ERRORED, [said], prefix)
        if result is not None and result.outcome in (FAILED, ERRORED):
            result.details += "\n\n%s\n%s" % (said.about, late.details)
        else:
            result = late
        self.held = (ordinal, seconds, result, None)

    # What the result says

    def start(self, test):
        if self.case is not None:
            self.finish()
        ordinals = self.ordinals.get(id(test))
        if not ordinals:
            return
        ordinal = ordinals.popleft()
        if self.upcoming != ordinal:
            self.wire.at(self.unit, ordinal)
        self.upcoming, self.blame = None, []
        for said in self.troubles:
            self.driver.errors.append("%s: %s\n%s" % (self.file, said.about, said.text))
        self.troubles = []
        self.release()
        self.case = Case(ordinal, test)

    def add(self, name, test, about, more, text):
        test = getattr(test, "test_case", test)
        if (self.case is None or self.case.test is not test) and self.ordinals.get(id(test)):
            # Some say how a test ended that they did not begin.
            self.start(test)
        error = more[-1] if more else None
        said = Said(name, about, error, text or (str(error) if name == "addSkip" else ""))
        if self.case is not None and self.case.test is test:
            self.case.said.append(said)
        elif self.held is not None and self.tests[self.held[0]] is test:
            # Django looks at the database when the test is over.
            self.too_late(said, "")
        else:
            self.trouble(said._replace(about=test.id() if hasattr(test, "id") else test))

    def stop(self, test, output):
        if self.case is None or self.case.test is not test:
            return
        self.case.output = output
        if self.case.said:
            # Else somebody else may know the reason.
            self.finish()

    def finish(self):
        case, self.case = self.case, None
        result = self.judge(case)
        self.release()
        now = self.driver.clock()
        self.held = (case.ordinal, now - self.since, result, now)
        self.since = now

    # To the worker

    def release(self):
        if self.held is not None:
            ordinal, seconds, result, now = self.held
            self.held = None
            self.deliver(ordinal, seconds, result, now)

    def tell(self, ordinal, result):
        self.release()
        now = self.driver.clock()
        seconds, self.since = now - self.since, now
        self.deliver(ordinal, seconds, result, now)

    def deliver(self, ordinal, seconds, result, now):
        self.wire.check()
        self.early[ordinal] = (seconds, result)
        while self.expected and self.expected[0] in self.early:
            ordinal = self.expected.popleft()
            seconds, result = self.early.pop(ordinal)
            if result is None:
                self.wire.passed(self.unit, ordinal, seconds, now or self.driver.clock())
            else:
                self.wire.finished(self.unit, ordinal, seconds, result)

    # Judging

    def judge(self, case):
        """The result, or `None` for a plain pass."""
        names = [said.name for said in case.said]
        bad = [said for said in case.said if said.name in ("addFailure", "addError") or (said.name == "addSubTest" and said.error is not None)]
        if bad:
            failed = any(said.name == "addFailure" or (said.name == "addSubTest" and self.is_failure(case.test, said)) for said in bad)
            result = self.failure(FAILED if failed else ERRORED, bad)
        elif "addUnexpectedSuccess" in names:
            result = Result(FAILED, "it passed though it was expected to fail")
        elif "addExpectedFailure" in names:
            result = self.failure(EXPECTED_FAILURE, [said for said in case.said if said.name == "addExpectedFailure"])
        elif "addSkip" in names:
            result = Result(SKIPPED, one_line(next(said.text for said in case.said if said.name == "addSkip")))
        elif "addSuccess" in names:
            return None
        else:
            self.driver.accuse(case.test, (RuntimeError, RuntimeError("nothing was reported for this test"), None))
            result = Result(ERRORED, "unittest reported nothing for this test: its `run` or its result swallowed it")
        result.output = case.output
        return result

    @staticmethod
    def is_failure(test, said):
        kind = getattr(test, "failureException", AssertionError)
        return issubclass(said.error[0], kind)

    def failure(self, outcome, bad, prefix=""):
        first = bad[0]
        file, line = self.place_of(first)
        described = getattr(first.about, "_subDescription", None)
        if described is not None and first.name == "addSubTest":
            prefix = described() + " "
        details = "\n\n".join(said.text if len(bad) == 1 else "%s\n%s" % (said.about, said.text) for said in bad)
        return Result(outcome, one_line(prefix + self.reason(first)), file, line, "", details)

    @staticmethod
    def reason(said):
        error = said.error[1] if isinstance(said.error, tuple) else None
        if isinstance(error, ImportError) and str(error).startswith("Failed to import test module"):
            return [line for line in str(error).splitlines() if line.strip()][-1]
        if isinstance(error, SystemExit) and said.name != "addSubTest":
            return "`sys.exit` was called, with status %s" % error.code
        if isinstance(error, BaseException):
            return one_line("".join(traceback.format_exception_only(type(error), error)))
        return one_line(said.text)

    def place_of(self, said):
        """File and line: of the innermost frame that is the project's own, in the test's file where a library raised."""
        error = said.error[1] if isinstance(said.error, tuple) else None
        places = []
        if isinstance(error, ImportError) and str(error).startswith("Failed to import test module"):
            places = [(file, int(line)) for file, line in LOCATION.findall(str(error))]
        elif isinstance(said.error, tuple) and said.error[2] is not None:
            frames = traceback.walk_tb(said.error[2])
            places = [(frame.f_code.co_filename, line) for frame, line in frames if "__unittest" not in frame.f_globals]
        places = [(self.driver.relative(file), line) for file, line in places]
        for wanted in ([self.file] if places and self.foreign(places[-1][0]) else []) + [None]:
            for file, line in reversed(places):
                if file == wanted or (wanted is None and not self.foreign(file)):
                    return file, line
        return places[-1] if places else ("", 0)

    @staticmethod
    def foreign(file):
        return os.path.isabs(file) or file.startswith("<") or "site-packages" in file.split(os.sep)
