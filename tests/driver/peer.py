"""Plays the worker towards a driver: starts the real command as a `Launch` says, hears the driver, and gives it units one at a time.

Strict where the worker is strict: order of messages, counts, ascending ordinals. Used by the contract, by the faults and for measuring.
"""
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

NONE = 0xFFFFFFFF
CLOSING = 0xFFFFFFFD
OUTCOMES = ["passed", "failed", "errored", "skipped", "expected_failure", "unexpected_pass"]
FRAMEWORKS = os.path.join(os.path.dirname(__file__), "..", "..", "coordinator", "src", "framework")


class Driver:
    """How a framework's driver gets in: files, and what is put before variables, as `Launch` says. `{run}` is the session's directory."""

    def __init__(self, files, prepend, env=None):
        self.files, self.prepend, self.env = files, prepend, env or {}


PYTEST = Driver(
    {"splitci_wire.py": "python/splitci_wire.py", "splitci_pytest_driver.py": "pytest/driver.py"},
    [("PYTHONPATH", "{run}", ":"), ("PYTEST_PLUGINS", "splitci_pytest_driver", ",")],
    {"SPLITCI_PYTHON_SHARED": "1"},
)
UNITTEST = Driver(
    {
        "splitci_wire.py": "python/splitci_wire.py", "sitecustomize.py": "unittest/sitecustomize.py", "splitci_heard.py": "unittest/splitci_heard.py",
        "splitci_unittest_driver.py": "unittest/splitci_unittest_driver.py", "splitci_django_driver.py": "unittest/splitci_django_driver.py",
    },
    [("PYTHONPATH", "{run}", ":")],
    {"SPLITCI_PYTHON_SHARED": "1"},
)
RUBY = {"DISABLE_SPRING": "1", "PARALLEL_WORKERS": "1"}
RSPEC = Driver(
    {"splitci_wire.rb": "ruby/splitci_wire.rb", "splitci_rspec.rb": "rspec/splitci_rspec.rb"},
    [("RUBYOPT", "-r{run}/splitci_rspec.rb", " ")],
    RUBY,
)
MINITEST = Driver(
    {"splitci_wire.rb": "ruby/splitci_wire.rb", "splitci_minitest.rb": "minitest/splitci_minitest.rb"},
    [("RUBYOPT", "-r{run}/splitci_minitest.rb", " ")],
    RUBY,
)


class Violation(Exception):
    """The driver broke the protocol."""


class Reader:
    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.place)
        self.place += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def bytes(self):
        n = self.take("I")
        if self.place + n > len(self.data):
            raise Violation("a byte string beyond its message")
        self.place += n
        return self.data[self.place - n:self.place]

    def text(self):
        return self.bytes().decode("utf-8", "replace")

    def done(self):
        if self.place != len(self.data):
            raise Violation("%d bytes too many in a message" % (len(self.data) - self.place))


class Unit:
    """What to run: a name and which of its tests."""

    def __init__(self, name, mode=0, ids=(), first=0, end=NONE):
        self.name, self.mode, self.ids, self.first, self.end = name, mode, list(ids), first, end

    def encode(self, number):
        def field(text):
            data = text.encode()
            return struct.pack("<I", len(data)) + data

        return b"".join([struct.pack("<I", number), field(self.name), struct.pack("<BI", self.mode, len(self.ids))] +
                        [field(text) for text in self.ids] + [struct.pack("<II", self.first, self.end)])


class Session:
    """What a driver said, and how its process ended."""

    def __init__(self):
        self.hello = self.units = self.bye = self.status = None
        self.declared, self.selected, self.finished, self.ended = {}, {}, [], []
        self.notices, self.given = [], []
        self.violation, self.stdout, self.stderr = None, b"", b""
        self.slot = None
        self.wall = self.cpu = 0.0

    def outcomes(self):
        """(id, outcome) of all finished tests, in order."""
        return [(self.declared[unit][ordinal], result["outcome"]) for unit, ordinal, result in self.finished]

    def result(self, part):
        """The one finished test whose id has this part."""
        found = [result for unit, ordinal, result in self.finished if part in self.declared[unit][ordinal]]
        if len(found) != 1:
            raise AssertionError("%d tests have %r in their id: %r\n%s" % (len(found), part, self.outcomes(), self.transcript()))
        return found[0]

    def clean(self):
        """Whether the session counts as closed in order: what the coordinator asks before it can say green."""
        bad = any(result["outcome"] in ("failed", "errored") for _, _, result in self.finished)
        return (
            self.violation is None and self.bye is not None and self.bye["count"] == len(self.finished) and not self.bye["errors"]
            and self.bye["status"] == self.status and (self.status == 0 or bad) and len(self.ended) == len(self.given)
        )

    def green(self):
        """What must never be true of a run that did not prove everything."""
        fine = all(result["outcome"] in ("passed", "skipped", "expected_failure", "unexpected_pass") for _, _, result in self.finished)
        return self.clean() and self.status == 0 and fine and bool(self.finished)

    def transcript(self):
        return "units %r\nbye %r status %r slot %r violation %r\n%s\n%s" % (
            self.units, self.bye, self.status, self.slot, self.violation, self.stdout.decode("utf-8", "replace")[-4000:],
            self.stderr.decode("utf-8", "replace")[-4000:],
        )


def launch_environment(driver, directory, environ, extra, shard, shards, seed):
    """As a framework's `launch` and the worker make it together; `tests/driver_contract.rs` holds the first to it."""
    env = dict(environ)
    env.update({
        "SPLITCI_DRIVER_SOCKET": os.path.join(directory, "driver.sock"), "SPLITCI_DRIVER_SLOT": os.path.join(directory, "slot"),
        "SPLITCI_DRIVER_SEED": str(seed), "SPLITCI_SHARD": str(shard), "SPLITCI_SHARDS": str(shards),
    })
    env.update(driver.env)
    env.update(extra)
    added = []
    for name, value, separator in driver.prepend:
        value = value.replace("{run}", directory)
        if name in env:
            env["SPLITCI_SAVED_" + name] = env[name]
            env[name] = value + separator + env[name]
        else:
            added.append(name)
            env[name] = value
    env["SPLITCI_DRIVER_ADDED"] = ",".join(added)
    return env


class Peer:
    """One session: `choose(units)` says what to run once the list is there."""

    def __init__(self, argv, cwd, choose=None, env=None, shard=1, shards=2, seed=7, timeout=60, on_finished=None, driver=PYTEST):
        self.argv, self.cwd, self.timeout = argv, cwd, timeout
        self.choose = choose or (lambda units: [Unit(name) for name in units])
        self.extra, self.shard, self.shards, self.seed = env or {}, shard, shards, seed
        self.on_finished, self.driver = on_finished, driver
        self.session = Session()
        self.waiting, self.current, self.heard = None, None, 0

    def run(self):
        directory = tempfile.mkdtemp(prefix="splitci-peer-")
        try:
            return self._run(directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _run(self, directory):
        for name, source in self.driver.files.items():
            shutil.copy(os.path.join(FRAMEWORKS, source), os.path.join(directory, name))
        slot = os.path.join(directory, "slot")
        with open(slot, "wb") as file:
            file.write(struct.pack("<IIQ", NONE, NONE, 0))
        base = {name: value for name, value in os.environ.items() if not name.startswith(("SPLITCI_", "PYTEST", "PYTHON", "RUBY", "BUNDLE"))}
        env = launch_environment(self.driver, directory, base, self.extra, self.shard, self.shards, self.seed)
        with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            listener.bind(env["SPLITCI_DRIVER_SOCKET"])
            listener.listen(8)
            started = time.monotonic()
            process = subprocess.Popen(self.argv, cwd=self.cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
            try:
                self._converse(listener, process, started + self.timeout)
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                self.session.wall = time.monotonic() - started
                out.seek(0), err.seek(0)
                self.session.stdout, self.session.stderr = out.read(), err.read()
                with open(slot, "rb") as file:
                    unit, ordinal, _ = struct.unpack("<IIQ", file.read(16))
                self.session.slot = (unit, ordinal)
        return self.session

    def _converse(self, listener, process, deadline):
        """Until the process ends: a driver that falls silent is waited for, one that breaks the protocol is not heard again."""
        connection, pending = None, b""
        while True:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise AssertionError("%r did not end in time\n%s" % (self.argv, self.session.transcript()))
            ready = select.select([listener] + ([connection] if connection else []), [], [], 0.02 if connection is None else 0.2)[0]
            if listener in ready:
                newcomer, _ = listener.accept()
                if connection is None and self.session.hello is None:
                    connection = newcomer
                else:
                    newcomer.close()
            elif connection in ready and ready:
                try:
                    data = connection.recv(1 << 20)
                except ConnectionResetError:
                    # It ended with something of ours unread.
                    data = b""
                if not data:
                    connection = None
                    continue
                pending = self._hear(pending + data, connection)
            elif process.poll() is not None:
                break
        self.session.status = process.wait()

    def _hear(self, data, connection):
        place = 0
        while len(data) - place >= 4:
            length, = struct.unpack_from("<I", data, place)
            if length > 32 << 20:
                raise Violation("a message of %d bytes" % length)
            if len(data) - place < 4 + length:
                break
            message = data[place + 4:place + 4 + length]
            place += 4 + length
            if self.session.violation is None:
                try:
                    self._message(message[0], Reader(message[1:]), connection)
                except Violation as error:
                    self.session.violation = str(error)
        return data[place:]

    def _need(self, condition, text):
        if not condition:
            raise Violation(text)

    def _message(self, kind, reader, connection):
        session = self.session
        self._need(session.bye is None, "a message after bye")
        if kind == 1:
            self._need(session.hello is None, "a second hello")
            major, minor, pid, seed = reader.take("HHIQ")
            session.hello = {"version": (major, minor), "pid": pid, "seed": seed, "framework": reader.text(), "release": reader.text()}
        elif kind == 2:
            self._need(session.hello is not None and session.units is None, "units out of order")
            session.units = [reader.text() for _ in range(reader.take("I"))]
            session.given = list(self.choose(session.units))
            self.waiting = list(enumerate(session.given))
            self._hand_over(connection)
        elif kind == 3:
            unit = reader.take("I")
            self._need(unit == self.current and unit not in session.declared, "declared unit %d" % unit)
            session.declared[unit] = [reader.text() for _ in range(reader.take("I"))]
            n = reader.take("I")
            session.selected[unit] = None if n == NONE else [reader.take("I") for _ in range(n)]
            chosen = session.selected[unit] or []
            self._need(chosen == sorted(set(chosen)) and all(o < len(session.declared[unit]) for o in chosen), "selected %r" % chosen)
        elif kind == 5:
            unit, ordinal, outcome, micros = reader.take("IIBQ")
            result = {"outcome": OUTCOMES[outcome], "micros": micros, "file": reader.text(), "line": reader.take("I")}
            result.update(message=reader.text(), output=reader.text(), details=reader.text())
            self._need(unit == self.current and unit in session.declared, "finished of unit %d" % unit)
            chosen = session.selected[unit]
            self._need(ordinal < len(session.declared[unit]) and (chosen is None or ordinal in set(chosen)), "finished %d" % ordinal)
            last = [o for u, o, _ in session.finished[-1:] if u == unit]
            self._need(not last or last[0] < ordinal, "finished %d not ascending" % ordinal)
            session.finished.append((unit, ordinal, result))
            self.heard += 1
            if self.on_finished:
                self.on_finished(session.declared[unit][ordinal], result)
        elif kind == 6:
            unit, n = reader.take("II")
            self._need(unit == self.current and n == self.heard, "unit end %d, %d" % (unit, n))
            session.ended.append(unit)
            self.current = None
            self._hand_over(connection)
        elif kind == 7:
            self._need(session.hello is not None, "bye before hello")
            count, status = reader.take("Qi")
            session.bye = {"count": count, "status": status, "errors": reader.text()}
        elif kind == 8:
            session.notices.append(reader.text())
        else:
            return
        reader.done()

    def _hand_over(self, connection):
        message = struct.pack("<IB", 1, 0x82)
        if self.waiting:
            number, unit = self.waiting.pop(0)
            self.current, self.heard = number, 0
            payload = struct.pack("<I", 1) + unit.encode(number)
            message = struct.pack("<IB", len(payload) + 1, 0x81) + payload
        try:
            connection.sendall(message)
        except BrokenPipeError:
            # It is on its way out; what it said before is still to be read.
            pass
