"""splitci's line from a Python test framework to the worker. What is said on it stands in `worker/src/protocol/driver.rs`.

Two rules hold here and in the drivers that use it:
- Whatever test code may replace (clock, os, socket, struct) is bound to instances before test code exists; module globals are not safe
  (freezegun and pyfakefs rewrite them), patched modules are not either (gevent).
- Only the standard library is needed, and little of it: what is loaded here is loaded before the application could do anything about it.
"""
import faulthandler
import mmap
import os
import sys
from _socket import AF_UNIX, SOCK_STREAM, socket as raw_socket
from struct import Struct, calcsize, pack, unpack_from
from time import perf_counter

MAJOR, MINOR = 1, 0
HELLO, UNITS, DECLARED, FINISHED, UNIT_END, BYE, NOTICE, RUN, STOP = 0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x81, 0x82
PASSED, FAILED, ERRORED, SKIPPED, EXPECTED_FAILURE, UNEXPECTED_PASS = range(6)
NONE, CLOSING = 0xFFFFFFFF, 0xFFFFFFFD
MSG_NOSIGNAL = 0x4000
# A real-time signal that nothing is known to use; `framework/python/mod.rs` names the same.
DUMP_SIGNAL = 50
FLUSH_BYTES, FLUSH_SECONDS = 32 * 1024, 0.05
# Of one text, half its head and half its tail; the worker cuts to the configured limit.
TEXT_LIMIT = 2 * 1024 * 1024
PREFIX = "SPLITCI_DRIVER_"
SAVED = "SPLITCI_SAVED_"
OPTIONS = "SPLITCI_PYTHON_"
LOST_STATUS = 70
# Where the worker put this file, and whatever else is the session's own.
RUN_DIRECTORY = os.path.dirname(os.path.abspath(__file__))


class Address:
    """What the worker put into the environment; `None` stands for "no worker, or not for this process"."""

    def __init__(self, environ):
        self.socket = environ[PREFIX + "SOCKET"]
        self.slot = environ[PREFIX + "SLOT"]
        self.seed = int(environ.get(PREFIX + "SEED") or 0)
        self.whole = environ.get(OPTIONS + "WHOLE") == "1"
        self.shared = environ.get(OPTIONS + "SHARED") == "1"
        self.shard = environ.get("SPLITCI_SHARD") or "1"
        self.shards = int(environ.get("SPLITCI_SHARDS") or 1)


def find_address(environ):
    """Reads the address. A process started by this one before its session inherits it, and must stay a plain one."""
    if PREFIX + "SOCKET" not in environ:
        return None
    owner = environ.setdefault(PREFIX + "PID", str(os.getpid()))
    if owner != str(os.getpid()):
        restore(environ)
        return None
    return Address(environ)


def restore(environ):
    """Gives the environment back as the user made it."""
    added = environ.get(PREFIX + "ADDED", "")
    for name in filter(None, added.split(",")):
        environ.pop(name, None)
    for name in [name for name in environ if name.startswith(SAVED)]:
        environ[name[len(SAVED):]] = environ.pop(name)
    for name in [name for name in environ if name.startswith((PREFIX, OPTIONS))]:
        del environ[name]


def leave_path():
    """Takes our private directory off the module path: the driver is loaded, nothing else shall be."""
    sys.path[:] = [entry for entry in sys.path if entry != RUN_DIRECTORY]
    sys.path_importer_cache.pop(RUN_DIRECTORY, None)


def dump_stacks_on_signal():
    """Stacks of all threads go to the standard error of the start, whatever capturing does to descriptor 2 later."""
    try:
        faulthandler.register(DUMP_SIGNAL, file=os.dup(2), all_threads=True, chain=False)
    except (AttributeError, OSError, ValueError, RuntimeError):
        pass


# Text ------------------------------------------------------------------------------------------------------------------------------------


def encode(text):
    """Text as bytes, whatever it holds: file names and output may carry lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def field(text):
    """A byte string of the wire."""
    data = encode(text)
    return pack("<I", len(data)) + data


def cut(text):
    """Head and tail of a text that is too long."""
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return text[:half] + "\n[... %d characters ...]\n" % (len(text) - 2 * half) + text[-half:]


def one_line(text):
    """The first line that says something."""
    for line in text.splitlines():
        if line.strip():
            return line.strip()[:2000]
    return ""


# Wire ------------------------------------------------------------------------------------------------------------------------------------


class Lost(Exception):
    """The connection to the worker is gone, or is not ours any more."""


class Wire:
    """Socket and slot. Everything that is called while tests run is bound here, before there is any test code."""

    clock, fstat, pack, unpack = perf_counter, os.fstat, pack, unpack_from

    def __init__(self, address):
        self.socket = raw_socket(AF_UNIX, SOCK_STREAM)
        self.socket.settimeout(None)
        self.socket.connect(address.socket)
        self.fd = self.socket.fileno()
        self.send_all, self.receive = self.socket.sendall, self.socket.recv
        self.identity = self._identity()
        self.incoming = bytearray()
        self.buffer = bytearray()
        self.flushed = self.clock()
        self.sent = 0
        self.changes = 0
        self.patience = FLUSH_SECONDS
        self.slot = self._map(address.slot)
        self.store = Struct("<IIQ").pack_into
        self.pack_passed = Struct("<IBIIBQIIIII").pack
        self.pack_finished = Struct("<IBIIBQ").pack

    @staticmethod
    def _map(path):
        fd = os.open(path, os.O_RDWR)
        try:
            if os.fstat(fd).st_size < 16:
                os.ftruncate(fd, 16)
            return mmap.mmap(fd, 16)
        finally:
            os.close(fd)

    def _identity(self):
        found = self.fstat(self.fd)
        return found.st_dev, found.st_ino

    def check(self):
        """Test code may close every descriptor, and the number may be something else by now."""
        try:
            same = self._identity() == self.identity
        except OSError:
            same = False
        if not same:
            raise Lost("the descriptor of splitci's connection was closed by a test")

    def at(self, unit, ordinal):
        """Says what runs now."""
        self.changes += 1
        self.store(self.slot, 0, unit, ordinal, self.changes)

    def push(self, kind, payload):
        self.buffer += self.pack("<IB", len(payload) + 1, kind)
        self.buffer += payload

    def flush(self):
        """Sends what is buffered. A sending that did not succeed leaves half a message behind: nothing may follow it."""
        self.check()
        data, self.buffer, identity = self.buffer, bytearray(), self.identity
        self.identity = None
        try:
            self.send_all(data, MSG_NOSIGNAL)
        except OSError as error:
            raise Lost("splitci's worker does not listen: %s" % error)
        self.identity = identity
        self.flushed = self.clock()

    def passed(self, unit, ordinal, seconds, now):
        """The common case: one fixed message, buffered."""
        micros = int(seconds * 1e6)
        self.buffer += self.pack_passed(38, FINISHED, unit, ordinal, PASSED, micros if micros > 0 else 0, 0, 0, 0, 0, 0)
        self.sent += 1
        if now - self.flushed >= self.patience or len(self.buffer) >= FLUSH_BYTES:
            self.flush()

    def finished(self, unit, ordinal, seconds, result):
        micros = max(0, int(seconds * 1e6))
        tail = b"".join((
            field(result.file), self.pack("<I", min(max(result.line, 0), NONE)), field(result.message), field(cut(result.output)),
            field(cut(result.details)),
        ))
        self.buffer += self.pack_finished(18 + len(tail), FINISHED, unit, ordinal, result.outcome, micros)
        self.buffer += tail
        self.sent += 1
        if result.outcome in (FAILED, ERRORED) or len(self.buffer) >= FLUSH_BYTES or self.clock() - self.flushed >= self.patience:
            self.flush()

    def next(self):
        """The next message of the worker: its kind and payload. Waits."""
        while True:
            if len(self.incoming) >= 4:
                length = self.unpack("<I", self.incoming)[0]
                if len(self.incoming) >= 4 + length:
                    message = bytes(self.incoming[4:4 + length])
                    del self.incoming[:4 + length]
                    return message[0], message[1:]
            self.check()
            try:
                data = self.receive(65536)
            except OSError as error:
                raise Lost("splitci's worker does not speak: %s" % error)
            if not data:
                raise Lost("splitci's worker closed the connection")
            self.incoming += data


class Reader:
    """Fields of a message."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def number(self, form="<I"):
        value = unpack_from(form, self.data, self.place)[0]
        self.place += calcsize(form)
        return value

    def bytes(self):
        length = self.number()
        start, self.place = self.place, self.place + length
        return self.data[start:self.place]


class Order:
    """One unit to run."""

    def __init__(self, reader):
        self.unit = reader.number()
        self.name = reader.bytes()
        mode = reader.number("<B")
        self.mode, self.careful = mode & 0x7F, bool(mode & 0x80)
        self.ids = {reader.bytes() for _ in range(reader.number())}
        self.first = reader.number()
        self.end = reader.number()

    def wants(self, test_id):
        return self.mode == 0 or (test_id in self.ids) == (self.mode == 1)


# Results ---------------------------------------------------------------------------------------------------------------------------------


class Result:
    """How a test that did not plainly pass ended."""

    def __init__(self, outcome, message="", file="", line=0, output="", details=""):
        self.outcome, self.message, self.file, self.line, self.output, self.details = outcome, message, file, line, output, details


# Session ---------------------------------------------------------------------------------------------------------------------------------


class Session:
    """What all Python drivers do alike: hello, units, the loop, bye. A framework's driver says how tests are listed, loaded and run."""

    getpid, leave, clock = os.getpid, os._exit, perf_counter

    def __init__(self, address, framework, release):
        self.address, self.framework, self.release = address, framework, release
        self.seed, self.whole = address.seed, address.whole
        self.wire = self.pid = None
        self.errors, self.notices = [], []

    def speak(self):
        """Connects and says hello, once, with the environment given back before anything else of the user's runs."""
        restore(os.environ)
        self.pid = self.getpid()
        try:
            wire = Wire(self.address)
            wire.push(HELLO, pack("<HHIQ", MAJOR, MINOR, self.pid, self.seed) + field(self.framework) + field(self.release))
            for text in self.notices:
                wire.push(NOTICE, field(text))
            wire.flush()
        except (OSError, Lost) as error:
            raise Lost("the worker hears one session for each start, and not this one: %s" % error)
        self.wire = wire

    def notice(self, text):
        if self.wire is None:
            self.notices.append(text)
        else:
            self.wire.push(NOTICE, field(text))

    def stay_alone(self, status=0):
        """A fork that came back into the runner ends here: it must neither speak nor run the tests a second time."""
        if self.getpid() != self.pid:
            self.leave(status)

    def list_units(self, names):
        self.wire.at(NONE, NONE)
        self.wire.push(UNITS, pack("<I", len(names)) + b"".join(pack("<I", len(name)) + name for name in names))
        self.wire.flush()

    def serve(self):
        """Runs what the worker gives, until it says stop."""
        while True:
            kind, payload = self.wire.next()
            if kind == STOP:
                return
            if kind == RUN:
                reader = Reader(payload)
                for _ in range(reader.number()):
                    self.run_unit(Order(reader))

    def declare(self, order, ids, chosen):
        parts = [pack("<II", order.unit, len(ids))]
        for name in ids:
            parts.append(pack("<I", len(name)))
            parts.append(name)
        if len(chosen) == len(ids):
            parts.append(pack("<I", NONE))
        else:
            parts.append(pack("<I%dI" % len(chosen), len(chosen), *chosen))
        self.wire.push(DECLARED, b"".join(parts))
        # At once: a test that takes the process with it shall have a name.
        self.wire.flush()
        self.wire.patience = 0 if order.careful else FLUSH_SECONDS
        self.sent_before = self.wire.sent

    def end_unit(self, unit):
        self.wire.push(UNIT_END, pack("<II", unit, self.wire.sent - self.sent_before))
        # The slot goes first: whoever reads unit end must not find its last test still running.
        self.wire.at(NONE, NONE)
        self.wire.flush()

    def bye(self, status):
        wire, self.wire = self.wire, None
        if wire is None or self.getpid() != self.pid:
            return
        try:
            wire.push(BYE, pack("<Qi", wire.sent, status) + field(cut("\n\n".join(self.errors))))
            wire.flush()
        except Lost as error:
            sys.stderr.write("splitci: %s\n" % error)
        # Left open without an owner to be warned about: the end of the connection is the end of the process.
        wire.socket.detach()
