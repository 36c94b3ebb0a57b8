"""A framework that does what its script says: it speaks the driver protocol well and badly.

FAKE_SCRIPT is Python, run with the functions below in scope. `serve()` is the well-behaved part of it; the rest are single messages, so that a
test can leave one out, send one twice or lie in one. Standard library only, as a driver has to be.
"""

import mmap
import os
import signal
import socket
import struct
import sys
import time

NONE = 0xFFFFFFFF
PASSED, FAILED, ERRORED, SKIPPED = range(4)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def texts(values):
    return struct.pack("<I", len(values)) + b"".join(map(text, values))


class Driver:
    def __init__(self):
        self.socket = None
        self.sent = 0
        self.in_unit = 0
        self.changes = 0
        self.slot_map = None
        self.buffer = bytearray()

    def dial(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.environ["SPLITCI_DRIVER_SOCKET"])
        return connection

    def raw(self, data):
        if self.socket is None:
            self.socket = self.dial()
        self.socket.sendall(data)

    def send(self, kind, payload):
        self.buffer += struct.pack("<IB", len(payload) + 1, kind) + payload
        if kind != 5 or len(self.buffer) > 32768:
            self.flush()

    def flush(self):
        data, self.buffer = bytes(self.buffer), bytearray()
        if data:
            self.raw(data)

    def slot(self, unit, ordinal):
        if self.slot_map is None:
            with open(os.environ["SPLITCI_DRIVER_SLOT"], "r+b") as file:
                self.slot_map = mmap.mmap(file.fileno(), 16)
        self.changes += 1
        self.slot_map[:] = struct.pack("<IIQ", unit, ordinal, self.changes)

    def read(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


driver = Driver()


def hello(major=1, pid=None, seed=7):
    driver.send(1, struct.pack("<HHIQ", major, 0, pid or os.getpid(), seed) + text("fake") + text("0.1"))


def units(*names):
    driver.send(2, texts(names))


def declared(unit, ids, selected=None):
    ordinals = struct.pack("<I", NONE) if selected is None else struct.pack("<I", len(selected)) + b"".join(struct.pack("<I", o) for o in selected)
    driver.send(3, struct.pack("<I", unit) + texts(ids) + ordinals)


def started(unit, ordinal):
    driver.send(4, struct.pack("<II", unit, ordinal))


def finished(unit, ordinal, outcome=PASSED, output=b"", details=b"", message="", file="", line=0, micros=1000):
    driver.sent += 1
    driver.in_unit += 1
    head = struct.pack("<IIBQ", unit, ordinal, outcome, micros) + text(file) + struct.pack("<I", line)
    driver.send(5, head + text(message) + text(output) + text(details))


def unit_end(unit, count=None):
    driver.send(6, struct.pack("<II", unit, driver.in_unit if count is None else count))
    driver.in_unit = 0


def bye(status=0, errors="", count=None):
    driver.slot(NONE, NONE - 2)
    driver.send(7, struct.pack("<Qi", driver.sent if count is None else count, status) + text(errors))


def notice(words):
    driver.send(8, text(words))


def orders():
    """Yields each unit that is to run as (unit, name, from, until), until stop."""
    while True:
        (length,) = struct.unpack("<I", driver.read(4))
        body = driver.read(length)
        if body[0] == 0x82:
            return
        at = 5
        for _ in range(struct.unpack_from("<I", body, 1)[0]):
            unit, size = struct.unpack_from("<II", body, at)
            name = body[at + 8 : at + 8 + size].decode()
            at += 8 + size
            ids = struct.unpack_from("<I", body, at + 1)[0]
            at += 5
            for _ in range(ids):
                at += 4 + struct.unpack_from("<I", body, at)[0]
            low, high = struct.unpack_from("<II", body, at)
            at += 8
            yield unit, name, low, high


def serve(tests=2, during=None, slot=True):
    """Runs what comes: `tests` tests a unit; `during(unit, ordinal)` is the body of a test and may return arguments of `finished`."""
    for unit, name, low, high in orders():
        if slot:
            driver.slot(unit, NONE)
        declared(unit, ["%s::%d" % (name, n) for n in range(tests)])
        for ordinal in range(low, min(tests, high)):
            if slot:
                driver.slot(unit, ordinal)
            else:
                started(unit, ordinal)
            more = during(unit, ordinal) if during else None
            finished(unit, ordinal, **(more or {}))
        unit_end(unit)
        if slot:
            driver.slot(NONE, NONE)


def hang():
    while True:
        time.sleep(1000)


def deaf():
    """TERM does nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def begin(*names):
    hello()
    units(*(names or ("a", "b")))


exec(os.environ["FAKE_SCRIPT"])
