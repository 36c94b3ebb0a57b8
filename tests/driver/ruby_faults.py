#!/usr/bin/env python3
"""What Ruby test code does to a runner by accident, and what the drivers must answer: the right test named, never a green that proves nothing.

    python3 ruby_faults.py [--only PART]

Each fault is done to RSpec and to Minitest, but for those that only one of them knows.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import sys
import tempfile
import textwrap
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from peer import CLOSING, MINITEST, NONE, RSPEC, Peer, Unit  # noqa: E402

FAULTS = []


def fault(function):
    FAULTS.append((function, (RSPEC, MINITEST)))
    return function


def of_rspec(function):
    FAULTS.append((function, (RSPEC,)))
    return function


def of_minitest(function):
    FAULTS.append((function, (MINITEST,)))
    return function


# Plugins of gems that happen to be installed (Rails has one) make other words of a text than Minitest does.
NO_PLUGINS = {"MT_NO_PLUGINS": "1"}


class Run:
    """Runs a project given as texts."""

    def __init__(self, driver):
        self.driver = driver
        self.rspec = driver is RSPEC
        self.helper = "spec/spec_helper.rb" if self.rspec else "test/test_helper.rb"

    def file(self, name):
        return "spec/%s_spec.rb" % name if self.rspec else "test/%s_test.rb" % name

    def tests(self, bodies, before="", inside=""):
        """A file with these tests, in this order: {name: body}."""
        if self.rspec:
            tests = ["it(%r) do\n%s\nend" % (name, body) for name, body in bodies.items()]
            return "%s\nRSpec.describe('group') do\n%s\n%s\nend\n" % (before, inside, "\n".join(tests))
        tests = ["def test_%d_%s\n%s\nend" % (n, name, body) for n, (name, body) in enumerate(bodies.items())]
        name = "".join(name.capitalize() for name in bodies)
        return "%s\nclass %sTest < Minitest::Test\ni_suck_and_my_tests_are_order_dependent!\n%s\n%s\nend\n" % (before, name, inside, "\n".join(tests))

    def command(self, arguments=(), helper=True):
        if self.rspec:
            return ["rspec", "--order", "defined"] + (["--require", "spec_helper"] if helper else []) + list(arguments)
        return ["ruby", "-Ilib", "-Itest", "-e", 'require "test_helper"; require "minitest/autorun"' if helper else 'require "minitest/autorun"', "--"] + list(arguments)

    def __call__(self, files, args=(), **options):
        files = {name: textwrap.dedent(text) for name, text in files.items()}
        wrapper, env = options.pop("wrapper", []), options.pop("env", {})
        look = options.pop("look", ())
        files.setdefault(self.helper, "")
        with tempfile.TemporaryDirectory(prefix="splitci-fault-") as directory:
            for name, text in files.items():
                path = os.path.join(directory, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(text)
            session = Peer(wrapper + self.command(args), directory, env=env, driver=self.driver, **options).run()
            session.left = {}
            for name in look:
                if os.path.exists(os.path.join(directory, name)):
                    with open(os.path.join(directory, name)) as file:
                        session.left[name] = file.read()
        return session

    def around(self, body, **options):
        """A test before, the culprit, one after, and a second file."""
        before, inside = options.pop("before", ""), options.pop("inside", "")
        return self({
            self.file("a"): self.tests({"first": "", "culprit": body, "after": ""}, before, inside), self.file("b"): self.tests({"second": ""}),
        }, **options)


def expect(condition, session, what=""):
    if not condition:
        raise AssertionError("%s\n%s\nfinished %r\nnotices %r" % (what, session.transcript(), session.finished, session.notices))


def outcomes(session):
    """{last word of the id, or the name of a file: outcome}."""
    return {re.split(r"[^A-Za-z0-9]|_", name)[-1] if "::" in name else name: outcome for name, outcome in session.outcomes()}


def all_pass(session, tests):
    expect(session.green() and len(session.finished) == tests, session, "%d passes were expected" % tests)
    for _, _, result in session.finished:
        expect(0 <= result["micros"] < 30e6, session, "a duration of %d" % result["micros"])


def one_is_bad(session, outcome, *words, others=("first", "after", "second"), name="culprit"):
    """The culprit, and it alone, is named; the others ran."""
    wanted = dict({one: "passed" for one in others}, **{name: outcome})
    expect(outcomes(session) == wanted and session.clean() and session.status == 1, session)
    result = session.result(name)
    for word in words:
        expect(word in result["message"] + result["details"], session, "%r is not told" % word)
    return result


def slot_names(session, word):
    """The process is gone, without a bye; what it ran stands in the slot."""
    expect(session.bye is None and not session.clean(), session, "there was a bye")
    unit, ordinal = session.slot
    name = session.given[unit].name if ordinal == NONE else session.declared[unit][ordinal]
    expect(word in name, session, "the slot names %s" % name)


def told(session, *words):
    """Something is wrong outside of any test, and it is told."""
    expect(not session.green() and session.bye is not None and session.bye["errors"], session, "no error was told")
    for word in words:
        expect(word in session.bye["errors"], session, "%r is not told" % word)


# A process that ends -----------------------------------------------------------------------------------------------------------------------


@fault
def a_test_ends_the_process_at_once(run):
    for body in ("exit!(0)", "exit!", "Process.exit!(true)", "Kernel.exit!(0)"):
        session = run.around(body)
        slot_names(session, "culprit")
        expect(session.status == 0 or "exit!" == body, session)


@fault
def a_test_exits(run):
    for body in ("exit", "exit 0", "exit(3)", "abort", "abort 'with a word'", "raise SystemExit", "Process.exit(true)", "Thread.new { exit 0 }.join; sleep 1"):
        one_is_bad(run.around(body), "errored", "`exit` was called")


@fault
def many_tests_exit(run):
    bodies = {"first": "", "one": "exit 0", "two": "exit 0", "three": "", "four": "exit 1"}
    session = run({run.file("a"): run.tests(bodies)})
    wanted = {"first": "passed", "one": "errored", "two": "errored", "three": "passed", "four": "errored"}
    expect(outcomes(session) == wanted and session.clean() and session.status == 1, session)


@fault
def a_set_up_or_a_tear_down_exits(run):
    if run.rspec:
        hooks = ("before { |it| exit 0 if it.description == 'culprit' }", "after { |it| exit 0 if it.description == 'culprit' }",
                 "around { |it| it.run; exit 0 if it.description == 'culprit' }", "let!(:x) { |it| exit 0 if it.description == 'culprit' }")
    else:
        hooks = tuple("def %s\nsuper\nexit 0 if name =~ /culprit/\nend" % name for name in ("setup", "teardown", "before_setup", "after_teardown"))
    for hook in hooks:
        one_is_bad(run.around("", inside=hook), "errored", "`exit` was called")


@of_rspec
def hooks_of_a_group_exit(run):
    session = run.around("", inside="before(:context) { exit 0 }")
    expect(outcomes(session)["first"] == "errored" and not session.green(), session)
    session = run.around("", inside="after(:context) { exit 0 }")
    expect(not session.green() and outcomes(session)["second"] == "passed", session)


@fault
def a_process_ends_with_another_status(run):
    for place, code, green in (
        ("before", "at_exit { exit 0 }", True), ("before", "at_exit { exit 3 }", False), ("before", "at_exit { raise 'late' }", False),
        ("before", "at_exit { abort }", False), ("before", "at_exit { exit!(0) }", False),
    ):
        session = run.around("", **{place: code})
        expect(session.green() == green, session, code)
        failing = "raise 'fails'" if run.rspec else "flunk"
        session = run.around(failing, **{place: code})
        expect(not session.green() and (session.bye is None or session.bye["status"] == session.status), session, code)
        expect("exit!" in code or outcomes(session)["culprit"] == "failed", session, code)


@fault
def a_test_registers_what_ends_with_another_status(run):
    all_pass(run.around("at_exit { exit 0 }"), 4)
    session = run.around("at_exit { exit 0 }; " + ("raise 'fails'" if run.rspec else "flunk"))
    one = outcomes(session)["culprit"]
    # Minitest has the last word about its status.
    expect(one == "failed" and not session.green() and session.bye["status"] == session.status == (0 if run.rspec else 1), session)


@fault
def a_process_dies(run):
    for body, status in (("Process.kill(:SEGV, $$); sleep 5", -signal.SIGABRT), ("Process.kill(:KILL, $$); sleep 5", -signal.SIGKILL),
                         ("Process.kill(:TERM, $$); sleep 5", -signal.SIGTERM)):
        session = run.around(body)
        if status == -signal.SIGTERM and session.bye:
            told(session, "SIGTERM")
            expect(session.slot == (0, 1), session)
        else:
            slot_names(session, "culprit")
            expect(session.status == status, session, body)
        expect("second" not in outcomes(session), session)


@fault
def a_test_is_interrupted(run):
    session = run.around("Process.kill(:INT, $$); sleep 0.2")
    expect(not session.green(), session)
    told(session, "before its time")


@fault
def a_test_becomes_a_daemon(run):
    session = run.around("Process.daemon(true, true); File.write('daemon', 'x')", look=["after"])
    slot_names(session, "culprit")


@fault
def a_test_replaces_the_process(run):
    slot_names(run.around("exec 'true'"), "culprit")


# Threads and forks -------------------------------------------------------------------------------------------------------------------------


@fault
def a_thread_outlives_its_test(run):
    all_pass(run.around("Thread.new { sleep }; Thread.new { sleep 0.01; raise 'late' }.report_on_exception = false; sleep 0.02"), 4)


@fault
def a_thread_raises_in_the_main_thread(run):
    session = run({run.file("a"): run.tests({"first": "", "culprit": "Thread.new { Thread.main.raise('from afar') }; sleep 0.5", "after": ""})})
    one_is_bad(session, "failed" if run.rspec else "errored", "from afar", others=("first", "after"))


@fault
def a_fork_comes_back_into_the_runner(run):
    mark = "File.open('marks', 'a') { |file| file.write(%r) }"
    session = run({
        run.file("a"): run.tests({"first": "", "culprit": "pid = fork\nProcess.wait(pid) if pid", "after": mark % "a"}), run.file("b"): run.tests({"second": mark % "b"}),
    }, look=["marks"])
    all_pass(session, 4)
    expect(session.left["marks"] == "ab", session, "the fork ran the rest, too")
    said = session.stdout.decode()
    expect(len(re.findall(r"^\d+ (?:examples|runs)", said, re.M)) == 1, session, "two summaries")


@fault
def a_fork_fails_in_the_child_only(run):
    session = run({run.file("a"): run.tests({
        "fails": "pid = fork\nraise 'in the child' unless pid\nProcess.wait(pid)\nraise 'not heard' if $?.exitstatus != 1",
        "exits": "pid = fork\nexit 0 unless pid\nProcess.wait(pid)", "aborts": "pid = fork\nabort unless pid\nProcess.wait(pid)\nraise if $?.exitstatus != 1",
        "ends": "pid = fork { nil }\nProcess.wait(pid)", "kills": "pid = fork\nProcess.kill(:KILL, $$) unless pid\nProcess.wait(pid)",
    })})
    all_pass(session, 5)


@fault
def a_fork_comes_back_from_elsewhere(run):
    code = "pid = fork; Process.wait(pid) if pid\n"
    mark = {"second": "File.open('marks', 'a') { |file| file.write('x') }"}
    files = [{run.file("a"): code + run.tests({"first": ""}), run.file("b"): run.tests(mark)}]
    if run.rspec:
        files.append({"spec/spec_helper.rb": "RSpec.configure { |config| config.before(:suite) { pid = fork; Process.wait(pid) if pid } }",
                      run.file("a"): run.tests({"first": ""}), run.file("b"): run.tests(mark)})
        files.append({"spec/spec_helper.rb": "RSpec.configure { |config| config.after(:suite) { pid = fork; Process.wait(pid) if pid } }",
                      run.file("a"): run.tests({"first": ""}), run.file("b"): run.tests(mark)})
        files.append({"spec/spec_helper.rb": code, run.file("a"): run.tests({"first": ""}), run.file("b"): run.tests(mark)})
        files.append({run.file("a"): run.tests({"first": ""}, inside="before(:context) { pid = fork; Process.wait(pid) if pid }"), run.file("b"): run.tests(mark)})
        files.append({run.file("a"): run.tests({"first": ""}, inside="after(:context) { pid = fork; Process.wait(pid) if pid }"), run.file("b"): run.tests(mark)})
    else:
        files.append({run.file("a"): run.tests({"first": ""}, "Minitest.after_run { pid = fork; Process.wait(pid) if pid }"), run.file("b"): run.tests(mark)})
        files.append({run.file("a"): run.tests({"first": ""}, inside="def setup\npid = fork\nProcess.wait(pid) if pid\nend"), run.file("b"): run.tests(mark)})
    for project in files:
        session = run(project, look=["marks"])
        all_pass(session, 2)
        expect(session.left["marks"] == "x", session, "the fork ran the rest, too")


@fault
def a_fork_outlives_the_run(run):
    all_pass(run.around("fork { sleep 30 }"), 4)


# What is raised ----------------------------------------------------------------------------------------------------------------------------


@fault
def a_test_throws_or_overflows(run):
    outcome = "failed" if run.rspec else "errored"
    one_is_bad(run.around("throw :nothing"), outcome, "uncaught throw :nothing")
    one_is_bad(run.around("f = ->(n) { f.call(n + 1) + 1 }; f.call(0)"), outcome, "stack level too deep")
    one_is_bad(run.around("raise Exception, 'no standard error'"), outcome, "no standard error")
    one_is_bad(run.around("raise NotImplementedError"), outcome, "NotImplementedError")
    one_is_bad(run.around("raise Class.new(StandardError) { def message; raise 'no message'; end }"), outcome)


@fault
def memory_runs_out(run):
    session = run.around("raise NoMemoryError, 'all of it'")
    expect(not session.green() and session.status == 1, session)
    told(session, "all of it")


@fault
def a_helper_cannot_be_loaded(run):
    good = {run.file("a"): run.tests({"first": ""})}
    exited = "exit" if run.rspec else "status"
    for text, word in (("raise 'in the helper'", "in the helper"), ("require 'nothing_of_the_kind'", "nothing_of_the_kind"), ("def broken(", "helper.rb"),
                       ("exit 0", exited), ("exit 3", exited), ("abort 'no'", "no"), ("throw :up", ":up")):
        session = run(dict(good, **{run.helper: text}))
        told(session, word)
        expect(not session.finished, session)
    session = run(dict(good, **{run.helper: "exit!(0)"}))
    expect(not session.green() and session.bye is None, session)


@of_rspec
def hooks_of_the_suite_fail(run):
    good = {run.file("a"): run.tests({"first": ""})}
    told(run(dict(good, **{run.helper: "RSpec.configure { |config| config.before(:suite) { raise 'in the hook' } }"})), "before(:suite)", "in the hook")
    told(run(dict(good, **{run.helper: "RSpec.configure { |config| config.before(:suite) { exit 0 } }"})), "status 0")
    told(run(dict(good, **{run.helper: "RSpec.configure { |config| config.after(:suite) { raise 'in the hook' } }"})), "after(:suite)", "in the hook")
    session = run(dict(good, **{run.helper: "RSpec.configure { |config| config.after(:suite) { exit 4 } }"}))
    expect(not session.green() and session.bye["status"] == session.status == 4, session)
    session = run(dict(good, **{run.helper: "RSpec.configure { |config| config.after(:suite) { exit!(0) } }"}))
    expect(not session.green() and session.slot == (NONE, CLOSING), session)
    # A hook that comes with a file, as that of a helper does which each file requires by itself: the session goes on, and nothing more of it runs.
    hook = "RSpec.configure { |config| config.before(:suite) { raise 'in the hook' } }\n"
    session = run(dict(good, **{run.file("b"): hook + run.tests({"second": ""}), run.file("c"): run.tests({"third": ""})}))
    told(session, "before(:suite)", "in the hook")
    expect(session.bye["count"] == 3 and session.status == 1, session)
    expect(outcomes(session) == {"first": "passed", run.file("b"): "errored", run.file("c"): "errored"}, session)
    for name in "bc":
        result = session.result(run.file(name))
        expect("before(:suite)" in result["message"] and "in the hook" in result["message"] and result["file"] == run.file("b"), session)


@of_minitest
def what_comes_after_the_run_fails(run):
    session = run.around("", before="Minitest.after_run { raise 'after all' }")
    told(session, "after all")
    session = run.around("", before="Minitest.after_run { exit 0 }")
    expect(session.status == 0 and session.bye["status"] == 0, session)
    session = run.around("flunk", before="Minitest.after_run { exit 0 }")
    expect(not session.green() and outcomes(session)["culprit"] == "failed", session)
    session = run.around("", before="Minitest.after_run { exit 5 }")
    expect(not session.green() and session.bye["status"] == session.status == 5, session)
    session = run.around("", before="Minitest.after_run { exit!(0) }")
    expect(not session.green(), session)


@of_rspec
def hooks_of_a_group_fail(run):
    session = run.around("", inside="before(:context) { raise 'before all' }")
    expect(session.clean() and session.status == 1, session)
    expect(outcomes(session) == {"first": "failed", "culprit": "failed", "after": "failed", "second": "passed"}, session)
    expect(all("before all" in result["message"] for _, _, result in session.finished[:3]), session)
    session = run.around("", inside="after(:context) { raise 'after all' }")
    expect(not session.green() and outcomes(session)["second"] == "passed", session)
    told(session, "after(:context)", "after all", "spec/a_spec.rb")


@of_minitest
def a_class_fails_outside_of_its_tests(run):
    for body, word in (("def self.run(*)\nraise 'in run'\nend", "in run"), ("def self.run(*)\nend", "did not run"), ("def run\nnil\nend", "must"),
                       ("def self.runnable_methods\nraise 'in methods'\nend", "in methods"), ("def initialize(name)\nraise 'in new'\nend", "in new"),
                       ("def self.run_one_method(*)\nend", "did not run"), ("def self.test_order\n:unknown\nend", "unknown")):
        session = run.around("", inside=body)
        said = "".join(result["message"] + result["details"] for _, _, result in session.finished) + (session.bye or {"errors": ""})["errors"]
        expect(not session.green() and word.lower() in said.lower(), session, "%r is not told of %r" % (word, body))


# Files -------------------------------------------------------------------------------------------------------------------------------------


@fault
def a_file_defines_nothing(run):
    session = run({run.file("a"): "# nothing\n", run.file("b"): run.tests({"second": ""})})
    all_pass(session, 1)
    session = run({run.file("a"): "# nothing\n"})
    expect(session.clean() and not session.green() and session.declared == {0: []}, session)
    session = run({})
    expect(not session.green() and session.units == [], session)


@fault
def a_file_ends_the_process_while_it_is_loaded(run):
    good = {run.file("b"): run.tests({"second": ""})}
    for text, word in (("exit 0", "status 0"), ("exit 2", "status 2"), ("abort", "status 1"), ("raise 'loading'", "loading"), ("throw :up", ":up"),
                       ("raise Exception, 'no standard error'", "no standard error"), ("f = ->(n) { f.call(n) + 1 }; f.call(0)", "stack level too deep")):
        session = run(dict(good, **{run.file("a"): run.tests({"first": ""}) + text}))
        one_is_bad(session, "errored", word, others=("second",), name=run.file("a"))
    session = run(dict(good, **{run.file("a"): "exit!(0)"}))
    slot_names(session, run.file("a"))


@fault
def a_unit_is_gone(run):
    for name in ("spec/none_spec.rb", "../outside.rb", run.helper):
        session = run({run.file("a"): run.tests({"first": ""})}, choose=lambda units, name=name: [Unit(name), Unit(units[0])])
        expect(session.clean() and not session.green() and outcomes(session) == {name: "errored", "first": "passed"}, session)


@fault
def one_name_is_there_twice(run):
    twice = "".join("RSpec.describe('twice') { it('is') {} }\n" for _ in "ab") if run.rspec else "".join("describe('twice') { it('is') { pass } }\n" for _ in "ab")
    session = run({run.file("a"): twice, run.file("b"): twice})
    all_pass(session, 4)
    ids = [name for unit in sorted(session.declared) for name in session.declared[unit]]
    expect(len(set(ids[:2])) == 1 and ids[:2] != ids[2:], session)


@fault
def tests_have_no_name(run):
    """What has an address in its name has another in each process."""
    if run.rspec:
        text = "RSpec.describe { it {}; describe { it {} } }\nRSpec.describe('') { it('') {} }\n"
    else:
        text = "6.times { |n| Class.new(Minitest::Test) { define_method(\"test_#{n}\") { pass }; define_method(:test_x) { pass } } }\n"
    lists = []
    for padding in ("", "PADDING = Array.new(1000) { Class.new }\n"):
        session = run({run.file("a"): padding.replace("\n", "; ") + text})
        expect(session.green(), session)
        lists.append(session.declared[0])
    expect(lists[0] == lists[1], session, lists)


# Chance and time ---------------------------------------------------------------------------------------------------------------------------


@fault
def a_test_seeds_chance(run):
    lists = []
    for body in ("", "srand(1); Kernel.srand(2); Random.srand(3)"):
        bodies = {"one": body, "two": "", "three": ""}
        files = {run.file(name): run.tests(bodies).replace("i_suck_and_my_tests_are_order_dependent!", "") for name in "abc"}
        files = {name: text.replace("OneTwoThree", "OneTwoThree" + name[5].upper()) for name, text in files.items()}
        session = run(files, ["--order", "random", "--seed", "5"] if run.rspec else ["--seed", "5"])
        all_pass(session, 9)
        lists.append(session.declared)
    expect(lists[0] == lists[1] and session.hello["seed"] == 5, session, lists)


@fault
def time_stands_still_or_travels(run):
    for code in ("Timecop.freeze(Time.at(0))", "Timecop.travel(Time.at(0))", "Timecop.scale(1_000_000)",
                 "[Process, UNIXSocket].zip([:clock_gettime, :new]) { |owner, name| owner.define_singleton_method(name) { |*| 1e9 } }"):
        session = run.around(code, before="require 'timecop'")
        all_pass(session, 4)
        session = run({run.helper: "require 'timecop'\n%s\n" % code, run.file("a"): run.tests({"first": "sleep 0.02"})})
        all_pass(session, 1)
        expect(session.finished[0][2]["micros"] >= 15_000, session)


@fault
def clock_process_and_socket_are_stubbed(run):
    names = ("Process, :clock_gettime", "Process, :pid", "UNIXSocket, :new", "File, :open", "IO, :for_fd", "Process, :exit!", "Dir, :pwd", "File, :expand_path",
             "Time, :now", "Random, :new", "Kernel, :require")
    if run.rspec:
        stubs = ["allow(%s).to receive(%s).and_return(-1)" % tuple(name.split(", ")) for name in names]
        stubs.append("allow_any_instance_of(UNIXSocket).to receive(:write).and_raise('stubbed')")
        stubs.append("allow_any_instance_of(File).to receive(:pwrite).and_raise('stubbed')")
        helper = ""
    else:
        stubs = ["%s.stubs(%s).returns(-1)" % tuple(name.split(", ")) for name in names]
        stubs.append("UNIXSocket.any_instance.stubs(:write).raises('stubbed')")
        stubs.append("File.any_instance.stubs(:pwrite).raises('stubbed')")
        helper = "require 'minitest/autorun'\nrequire 'mocha/minitest'\n"
    bodies = {"stub%d" % n: stub for n, stub in enumerate(stubs)}
    session = run({run.helper: helper, run.file("a"): run.tests(bodies), run.file("b"): run.tests({"second": ""})})
    all_pass(session, len(stubs) + 1)


# Libraries ---------------------------------------------------------------------------------------------------------------------------------


@fault
def a_gemfile_pins_what_ruby_ships(run):
    name = "rspec" if run.rspec else "minitest"
    bundle = {
        "Gemfile": "gem 'json', path: 'vendor/json'\ngem '%s'%s\n" % (name, "" if run.rspec else ", '5.15.0'"),
        "vendor/json/json.gemspec": "Gem::Specification.new { |s| s.name, s.version, s.summary, s.authors, s.files = 'json', '99.0', 'x', ['x'], ['lib/json.rb'] }\n",
        "vendor/json/lib/json.rb": "module JSON; VERSION = '99.0'; end\n",
        run.file("a"): run.tests({
            "json": "require 'json'; raise JSON::VERSION if JSON::VERSION != '99.0'", "nested": "raise ENV.to_h.inspect unless system('ruby -e 0')",
            "version": "" if run.rspec else "assert_equal '5.15.0', Minitest::VERSION",
            "environment": "raise ENV.to_h.inspect if ENV.any? { |key, value| (key + value).include?('splitci_') || key.start_with?('SPLITCI_DRIVER', 'SPLITCI_SAVED') }",
        }),
    }
    all_pass(run(bundle, wrapper=["bundle", "exec"]), 4)


@fault
def coverage_has_a_minimum(run):
    files = {
        run.helper: "require 'simplecov'\nSimpleCov.start { minimum_coverage 100; minimum_coverage_by_file 100; maximum_coverage_drop 0; enable_coverage :branch }\n",
        "lib/code.rb": "def code(one)\n  return 1 if one\n  2\nend\n",
        run.file("a"): "require_relative '../lib/code'\n" + run.tests({"first": "code(true)"}), run.file("b"): run.tests({"second": ""}),
    }
    for shard in (1, 2):
        session = run(files, choose=lambda units, shard=shard: [Unit(units[shard - 1])], shard=shard, shards=2, look=["coverage/.resultset.json"])
        all_pass(session, 1)
        expect(session.notices == ["coverage threshold not checked: a shard sees only a part"], session)
        expect("shard %d" % shard in session.left["coverage/.resultset.json"], session)
    session = run(files, shards=1)
    expect(not session.green() and session.bye["status"] == session.status == 2 and not session.notices, session)


@of_rspec
def only_failures_are_run(run):
    files = {
        run.helper: "RSpec.configure { |config| config.example_status_persistence_file_path = 'status.txt' }\n",
        run.file("a"): run.tests({"first": "", "culprit": "raise 'fails'"}), run.file("b"): run.tests({"second": ""}),
    }
    session = run(files, look=["status.txt"])
    one_is_bad(session, "failed", others=("first", "second"))
    status = session.left["status.txt"]
    expect(re.findall(r"a_spec.rb\[1:2\]\s+\| failed", status) and re.findall(r"b_spec.rb\[1:1\]\s+\| passed", status), session, status)
    session = run(dict(files, **{"status.txt": status}), ["--only-failures"], look=["status.txt"])
    one_is_bad(session, "failed", others=())
    expect("b_spec.rb[1:1]" in session.left["status.txt"], session)
    # A shard that ran a part must not make the others' unknown.
    session = run(dict(files, **{"status.txt": status}), choose=lambda units: [Unit(units[1])], look=["status.txt"])
    expect(re.findall(r"a_spec.rb\[1:2\]\s+\| failed", session.left["status.txt"]), session, session.left)


@of_rspec
def rspec_is_told_to_do_something_else(run):
    good = {run.file("a"): run.tests({"first": "", "second": ""})}
    told(run(good, ["--bisect"]), "--bisect")
    told(run(good, ["--dry-run"]), "--dry-run")
    for arguments in (["--version"], ["--help"], ["--init"], ["--only-failures"], ["--nothing-of-the-kind"], ["none_spec.rb"]):
        session = run(good, arguments)
        expect(not session.green(), session, arguments)
    failing = run.tests({"first": "raise 'fails'", "second": ""})
    for session in (run({run.file("a"): failing}, ["--fail-fast"]), run({run.file("a"): "RSpec.configure { |config| config.fail_fast = 1 }\n" + failing})):
        expect(session.clean() and outcomes(session) == {"first": "failed", "second": "passed"} and len(session.notices) == 1, session)


@of_minitest
def minitest_is_told_to_do_something_else(run):
    good = {run.file("a"): run.tests({"first": "", "second": ""})}
    for arguments in (["--help"], ["--version"], ["--nothing-of-the-kind"], ["test/none_test.rb"]):
        session = run(good, arguments)
        expect(not session.green(), session, arguments)


@fault
def a_runner_never_starts(run):
    session = run({run.file("a"): run.tests({"first": ""}), run.helper: "at_exit { exit!(0) }" if run.rspec else "exit!(0)"})
    expect(not session.green(), session)
    if not run.rspec:
        session = Peer(["ruby", "-e", "require 'minitest'"], "/", driver=MINITEST).run()
        expect(not session.green() and session.status == 0, session)
        session = Peer(["ruby", "-rminitest/autorun", "-e", "0"], "/", driver=MINITEST).run()
        told(session, "require it in the script")


# Inside of a test --------------------------------------------------------------------------------------------------------------------------


@fault
def a_test_starts_another_run(run):
    inner = "exit 1 if ENV.keys.any? { |key| key.start_with?('SPLITCI_DRIVER', 'SPLITCI_SAVED', 'SPLITCI_RUBY') }\n" + run.tests({"inner": "raise 'inner'"})
    command = "rspec inner/inner.rb" if run.rspec else "ruby -Itest -rminitest/autorun inner/inner.rb"
    session = run({
        "inner/inner.rb": inner,
        run.file("a"): run.tests({
            "first": "raise ENV['RUBYOPT'].inspect if ENV['RUBYOPT']", "nested": "said = `%s`; raise said unless $?.exitstatus == 1 && said =~ /1 (example|runs).*1 (failure|error)/m" % command,
            "after": "",
        }),
    })
    all_pass(session, 3)
    session = run({run.file("a"): run.tests({"first": "raise ENV['RUBYOPT'].inspect if ENV['RUBYOPT'] != '-W0 -rset'"})}, env={"RUBYOPT": "-W0 -rset"})
    all_pass(session, 1)


@of_rspec
def a_test_runs_rspec_in_its_own_process(run):
    session = run({
        "inner/inner.rb": "RSpec.describe('inner') { it('fails') { raise 'inner' } }",
        run.file("a"): run.tests({
            "first": "", "sandboxed": """
                require 'rspec/core/sandbox'
                out = StringIO.new
                RSpec::Core::Sandbox.sandboxed do |config|
                  config.output_stream = out
                  group = RSpec.describe('inner') { it('fails') { raise 'inner' } }
                  expect(group.run(RSpec::Core::NullReporter)).to eq(false)
                  expect(RSpec::Core::Runner.run(['inner/inner.rb'], out, out)).to eq(1)
                  expect(out.string).to include('2 examples, 2 failures')
                end
            """,
            "described": "RSpec.describe('made while it runs') { it('never runs') { raise 'never' } }", "after": "",
        }), run.file("b"): run.tests({"second": ""}),
    })
    all_pass(session, 5)


@fault
def a_fork_runs_tests_of_its_own(run):
    if run.rspec:
        body = "pid = fork { RSpec.reset; exit!(RSpec::Core::Runner.run(['inner/inner.rb'], StringIO.new, StringIO.new)) }; Process.wait(pid); raise $?.inspect if $?.exitstatus != 1"
        inner = "RSpec.describe('inner') { it('fails') { raise 'inner' } }"
    else:
        body = "pid = fork { load 'inner/inner.rb'; exit!(Minitest.run(%w[-n test_inner]) ? 0 : 1) }; Process.wait(pid); raise $?.inspect if $?.exitstatus != 1"
        inner = "class InnerTest < Minitest::Test\n  def test_inner\n    flunk\n  end\nend\n"
    session = run({run.file("a"): run.tests({"first": "", "culprit": body, "after": ""}), run.file("b"): run.tests({"second": ""}), "inner/inner.rb": inner})
    all_pass(session, 4)


@of_minitest
def a_test_runs_minitest_in_its_own_process(run):
    session = run({
        run.file("a"): run.tests({
            "first": "", "nested": """
                inner = Class.new(Minitest::Test) { def test_inner; flunk; end }
                reporter = Minitest::CompositeReporter.new(Minitest::StatisticsReporter.new(StringIO.new))
                reporter.start
                inner.run(reporter, {})
                assert_equal 1, reporter.reporters.first.count
                refute reporter.passed?
                Minitest.__run(Minitest::CompositeReporter.new, { filter: 'test_of_nobody' })
            """, "after": "",
        }), run.file("b"): run.tests({"second": ""}),
    }, choose=lambda units: [Unit(name) for name in units + units])
    all_pass(session, 8)
    expect(session.declared[0] == session.declared[2] and session.declared[1] == session.declared[3], session)


@fault
def directory_and_environment_change(run):
    session = run({
        run.file("a"): run.tests({"first": "require 'tmpdir'; Dir.chdir(Dir.mktmpdir)", "removes": "Dir.rmdir(Dir.pwd)", "clears": "ENV.clear"}),
        run.file("b"): run.tests({"second": "", "culprit": "raise 'where'"}),
    })
    expect(session.clean() and outcomes(session)["second"] == "passed" and len(session.finished) == 5, session)
    expect(session.result("culprit")["file"] == run.file("b"), session)
    session = run({
        run.helper: "require 'fileutils'\nFileUtils.mkdir_p('inner')\nDir.chdir('inner')\n" if not run.rspec else "",
        run.file("a"): run.tests({"first": ""}), "inner/" + run.file("a"): run.tests({"inner": "raise Dir.pwd unless Dir.pwd.end_with?('inner')" if not run.rspec else ""}),
    })
    expect(session.green() and outcomes(session) == ({"first": "passed"} if run.rspec else {"inner": "passed"}), session)


@fault
def all_descriptors_are_closed(run):
    session = run.around("(3..255).each { |n| IO.for_fd(n).close rescue nil }")
    slot_names(session, "culprit")
    expect(b"splitci" in session.stderr and session.status != 0, session)


@fault
def output_is_closed_or_replaced(run):
    # RSpec cannot tell its own result where there is no output: it ends badly, and so do we.
    session = run.around("$stdout = StringIO.new; $stderr = StringIO.new; puts 'x'; warn 'y'")
    all_pass(session, 4)
    session = run.around("$stderr.close; STDERR.close rescue nil")
    expect(outcomes(session).get("second") == "passed" or not session.green(), session)


@fault
def texts_are_of_any_encoding(run):
    outcome = "failed" if run.rspec else "errored"
    for message in ('"\\xff\\xfe broken"', '"wide".encode("UTF-16LE")', '"wide".encode("UTF-16")', '"\\u00e4 \\u20ac"', '"caf\\xe9".dup.force_encoding("ISO-8859-1")',
                    '"\\x00 zero"', '"x" * 5_000_000', '("line\\n" * 1000)', '"".b', '"\\e[31mred"'):
        session = run.around("puts %s; raise %s" % (message, message), env=NO_PLUGINS)
        if "UTF-16" in message and not run.rspec:
            # Minitest's own summary breaks.
            told(session, "Encoding::CompatibilityError")
            expect(outcomes(session) == {"first": "passed", "culprit": "errored", "after": "passed", "second": "passed"}, session)
            continue
        one_is_bad(session, outcome)
        expect(len(session.result("culprit")["details"]) < 3 << 20, session)
    if run.rspec:
        for text in ('"\\xff\\xfe broken"', '"\\u00e4 :: \\u20ac"', '"a::b::c"', '""', '"two\\nlines"'):
            session = run({run.file("a"): "RSpec.describe('group') { it(%s) {}; it { } }" % text})
            expect(session.green() and len(session.finished) == 2, session, text)
            # RSpec itself takes not every text for a group.
            session = run({run.file("a"): "RSpec.describe(%s) { it(%s) {}; it { } }" % (text, text), run.file("b"): run.tests({"second": ""})})
            expect(session.clean() and outcomes(session)["second"] == "passed", session, text)


@fault
def output_is_plenty(run):
    session = run.around("2000.times { puts 'x' * 1000; warn 'y' * 1000 }")
    all_pass(session, 4)


@fault
def names_are_of_any_encoding(run):
    # Of such a directory RSpec itself can make nothing in the locale C.
    for language in ("C.UTF-8",) if run.rspec else ("C", "C.UTF-8"):
        session = run({
            "p\u00e4th/" + run.file("\u00fc"): run.tests({"first": "", "culprit": "raise 'f\u00e4ils'"}), "p\u00e4th/" + run.file("b"): run.tests({"second": ""}),
            "p\u00e4th/" + run.file("\u00f6"): "raise 'l\u00e4dt nicht'", "p\u00e4th/" + run.helper: "",
        }, wrapper=["env", "-C", "p\u00e4th"], env=dict(NO_PLUGINS, LC_ALL=language))
        expect(outcomes(session) == {"first": "passed", "culprit": "failed" if run.rspec else "errored", "second": "passed", run.file("\u00f6"): "errored"}, session)
        expect(session.result("culprit")["file"] == run.file("\u00fc"), session)
        # Minitest's own summary breaks in the locale C.
        expect(session.clean() or language == "C" and session.status == 1, session)


@fault
def ruby_is_strict(run):
    for options in ("-w", "--enable-frozen-string-literal", "-W:deprecated"):
        session = run.around("", env={"RUBYOPT": options})
        all_pass(session, 4)
        said = [line for line in session.stderr.decode().splitlines() if re.match(r"\S*splitci_\w+.rb:\d+: warning", line)]
        expect(not said, session, said)


@of_minitest
def a_script_loads_what_it_wants(run):
    files = {run.file("a"): run.tests({"first": ""}), run.file("b"): run.tests({"second": ""}), "all.rb": "require 'minitest/autorun'\nrequire_relative 'test/a_test'\n"}
    for argv, units in ((["ruby", "all.rb"], ["test/a_test.rb"]), (["ruby", "-rset", "all.rb", "test/b_test.rb"], ["test/a_test.rb", "test/b_test.rb"]),
                        (["ruby", "-e", "require 'minitest/autorun'; load 'test/b_test.rb'"], ["test/b_test.rb"])):
        run.command = lambda arguments, argv=argv: argv
        session = run(files)
        all_pass(session, len(units))
        expect(session.units == units, session)
    run.command = lambda arguments: ["ruby", "test/a_test.rb", "test/b_test.rb"]
    session = run(dict(files, **{run.file("a"): "require 'minitest/autorun'\n" + files[run.file("a")]}))
    all_pass(session, 2)


@of_rspec
def a_script_loads_what_it_wants(run):
    files = {run.file("a"): run.tests({"first": ""}), run.file("b"): run.tests({"second": ""}), "all.rb": "require 'rspec/autorun'\nrequire_relative 'spec/a_spec'\n"}
    run.command = lambda arguments: ["ruby", "all.rb"]
    session = run(files)
    all_pass(session, 1)
    expect(session.units == ["spec/a_spec.rb"], session)


@of_minitest
def tests_come_late(run):
    """A plain run would have them, or not: it depends. Never without a word."""
    for body in ("SecondTest.define_method(:test_late) { flunk }", "SecondTest.include(Module.new { def test_late; flunk; end })"):
        session = run({run.file("a"): run.tests({"second": ""}), run.file("b"): run.tests({"culprit": body})})
        told(session, "SecondTest#test_late")


@of_rspec
def rspec_is_reset_by_a_test(run):
    for body in ("RSpec.world.wants_to_quit = true", "RSpec.world.example_groups.clear", "RSpec.reset", "RSpec.clear_examples", "RSpec.configuration.reset"):
        session = run.around(body)
        if "quit" in body:
            told(session, "before its time")
            expect(outcomes(session) == {"first": "passed", "culprit": "passed", "after": "errored"}, session)
        else:
            expect(outcomes(session).get("second") == "passed", session, body)


@of_rspec
def a_group_runs_nothing(run):
    session = run.around("", inside="def self.run(*); true; end")
    expect(session.clean() and outcomes(session) == {"first": "errored", "culprit": "errored", "after": "errored", "second": "passed"}, session)


@of_rspec
def groups_are_made_by_a_helper(run):
    """Their numbers, and with them a random order, are those of the file alone."""
    files = {run.file(name): "6.times { |n| make(\"%s #{n}\") }\n" % name for name in "abc"}
    files[run.helper] = "def make(name)\n  RSpec.describe(name) { 3.times { |n| it(\"passes #{n}\") {} } }\nend\n"
    seen = []
    for order in ((0, 1, 2), (2, 1), (2, 2)):
        session = run(files, ["--order", "rand:3"], choose=lambda units, order=order: [Unit(units[n]) for n in order])
        all_pass(session, 18 * len(order))
        seen += [(session.given[n].name, ids) for n, ids in session.declared.items()]
    expect(len({(name, tuple(ids)) for name, ids in seen}) == 3, session, seen)


@of_minitest
def minitest_is_reset_by_a_test(run):
    for body in ("Minitest::Runnable.reset", "Minitest::Runnable.runnables.clear", "Minitest.seed = 99", "Minitest::Runnable.runnables.delete(self.class)"):
        session = run.around(body)
        expect(not session.green() or len(session.finished) == 4, session, body)


@of_minitest
def tests_are_run_in_parallel_elsewhere(run):
    head = "require 'active_support'\nrequire 'active_support/test_case'\nclass ActiveSupport::TestCase\n  parallelize(workers: 2%s)\nend\n"
    for more in ("", ", with: :threads"):
        session = run({
            run.helper: "require 'minitest/autorun'\n" + head % more,
            run.file("a"): "class RailsTest < ActiveSupport::TestCase\n  8.times { |n| test(\"number #{n}\") { File.write('pids', \"#{$$} \", mode: 'a') } }\nend\n",
            run.file("b"): "class ParallelTest < Minitest::Test\n  parallelize_me!\n  8.times { |n| define_method(\"test_#{n}\") { File.write('pids', \"#{$$} \", mode: 'a') } }\nend\n",
        }, look=["pids"])
        all_pass(session, 16)
        expect(set(session.left["pids"].split()) == {str(session.hello["pid"])}, session)


@of_minitest
def a_class_is_opened_again_in_any_order(run):
    files = {
        run.file("a"): "class OpenTest < Minitest::Test\n  6.times { |n| define_method(\"test_a#{n}\") { pass } }\nend\n",
        run.file("b"): "class OpenTest < Minitest::Test\n  6.times { |n| define_method(\"test_b#{n}\") { pass } }\nend\n",
        run.file("c"): "require_relative 'a_test'\nclass OpenTest\n  6.times { |n| define_method(\"test_c#{n}\") { pass } }\nend\n",
    }
    seen = []
    for order in (range(3), (2, 1, 0), (1, 2, 0), (2,)):
        session = run(files, choose=lambda units, order=order: [Unit(units[n]) for n in order])
        all_pass(session, 6 * len(order))
        seen.append({session.given[n].name: session.declared[n] for n in session.declared})
    for one in seen:
        expect(all(seen[0][name] == ids for name, ids in one.items()), session, seen)


# What is told ------------------------------------------------------------------------------------------------------------------------------


@fault
def results_say_where_and_why(run):
    if run.rspec:
        head, name, bad = "require_relative '../lib/deep'\nRSpec.describe('why') do\n", "  it('%s') do\n", "failed"
    else:
        head, name, bad = "require_relative '../lib/deep'\nclass WhyTest < Minitest::Test\n", "  def test_%s\n", "errored"
    bodies = (
        ("equal", "expect(1).to eq(2)" if run.rspec else "assert_equal 2, 1", "failed", run.file("a"), "expected: 2  got: 1" if run.rspec else "Expected: 2  Actual: 1"),
        # RSpec looks for the line of the spec.
        ("deep", "deep", bad, run.file("a") if run.rspec else "lib/deep.rb", "deep"),
        ("library", "Integer('x', 99)", bad, run.file("a"), "invalid radix 99"),
        ("skipped", "skip 'no reason'", "skipped", run.file("a"), "no reason"),
        ("passes", "print 'out'", "passed", "", ""),
    )
    text = head + "".join(name % test + "    %s\n  end\n" % body for test, body, _, _, _ in bodies) + "end\n"
    session = run({
        run.file("a"): text, "lib/deep.rb": "def deep\n  raise ArgumentError, 'deep'\nend\n",
        run.file("b"): "x = 1\n\ny = = 2\n", run.file("c"): "\nrequire 'nothing_of_the_kind'\n", run.file("d"): "require_relative '../lib/deep'\ndeep\n",
    })
    for n, (test, _, outcome, file, message) in enumerate(bodies):
        result = session.result("why::" + test if run.rspec else "test_" + test)
        line = {"": 0, "lib/deep.rb": 2}.get(file, 4 + 3 * n - (run.rspec and outcome == "skipped"))
        said = (result["outcome"], result["file"], result["line"])
        expect(said == (outcome, file, line) and message in result["message"], session, "%s: %r %r" % (test, said, result["message"]))
        expect(outcome in ("passed", "skipped") or file in result["details"] and result["micros"] > 0, session, result["details"])
        expect("splitci_" not in result["details"], session, result["details"])
    for name, line, message in (("b", 3, "syntax error"), ("c", 2, "nothing_of_the_kind"), ("d", 2, "deep")):
        result = session.result(run.file(name))
        said = (result["outcome"], result["file"], result["line"])
        expect(said == ("errored", run.file(name), line) and message in result["message"], session, result)


# The end -----------------------------------------------------------------------------------------------------------------------------------


def one(job):
    function, driver = job
    try:
        function(Run(driver))
        return job, None
    except Exception as error:
        trace = "" if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
        return job, trace + str(error)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    jobs = [(function, driver) for function, drivers in FAULTS for driver in drivers if options.only in function.__name__]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for (function, driver), error in pool.map(one, jobs):
            failed += error is not None
            name = "rspec" if driver is RSPEC else "minitest"
            print("%s, %s: %s" % (name, function.__name__.replace("_", " "), "ok" if error is None else "WRONG\n" + error), flush=True)
    print("%d of %d faults are answered" % (len(jobs) - failed, len(jobs)))
    sys.exit(1 if failed or not jobs else 0)


if __name__ == "__main__":
    main()
