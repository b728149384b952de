"""Calls on the system's D-Bus, as far as `geoclue.py` needs them: texts, numbers and variants of them.

Only the standard library is used. One connection is one caller: GeoClue forgets a client whose connection
ends, so that programs which call once (busctl) can't use it. Source: the D-Bus Specification, 0.42.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

SYSTEM_BUS = "/run/dbus/system_bus_socket"
_MOST_BYTES = 64 * 1024
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _REPLY_TO, _DESTINATION, _SIGNATURE = 1, 2, 3, 5, 6, 8
_PLAIN = {"y": (1, "B"), "b": (4, "I"), "i": (4, "i"), "u": (4, "I"), "d": (8, "d")}
_TEXTS = {"s": 4, "o": 4, "g": 1}


class BusError(OSError):
    """There is no bus, or what was called does not answer, or refuses."""


class Variant:
    """A `value` of the D-Bus type `kind`."""

    def __init__(self, kind: str, value: Any) -> None:
        self.kind, self.value = kind, value


class Bus:
    """A connection; everything on it ends `seconds` after it was made. Raises `BusError`."""

    def __init__(
        self, path: str = SYSTEM_BUS, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._deadline = clock, clock() + seconds
        self._serial, self._unread = 0, b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(path)
            self._introduce()
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            self._socket.close()
            raise

    @property
    def seconds_left(self) -> float:
        """Until nothing is answered any more."""
        return self._deadline - self._clock()

    def call(self, name: str, path: str, interface: str, member: str, *arguments: Any) -> Any:
        """The first value of the answer, None for none. Arguments are texts and `Variant`s."""
        self._serial += 1
        fields = ((_PATH, "o", path), (_INTERFACE, "s", interface), (_MEMBER, "s", member))
        self._socket.sendall(
            message(_CALL, self._serial, [*fields, (_DESTINATION, "s", name)], list(map(_typed, arguments)))
        )
        while True:
            kind, fields_of, body = self._receive()
            if fields_of.get(_REPLY_TO) != self._serial:
                continue  # a signal, or an answer to another
            signature = fields_of.get(_SIGNATURE, "")
            value = read(body, 0, signature[:1])[0] if signature[:1] in (*_PLAIN, *_TEXTS, "v") else None
            if kind == _RETURN:
                return value
            if kind == _ERROR:
                raise BusError(str(value or "refused"))

    def _introduce(self) -> None:
        """Say which user we are; the kernel tells the bus whether that is so."""
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        if not self._line().startswith(b"OK "):
            raise BusError("the bus does not know this user")
        self._socket.sendall(b"BEGIN\r\n")

    def _receive(self) -> tuple[int, dict[int, Any], bytes]:
        """The next message's kind, fields and body."""
        head = self._exactly(16)
        if head[:1] != b"l":
            raise BusError("the other byte order")
        kind, size, _, fields = struct.unpack("<xBxxIII", head)
        if size > _MOST_BYTES or fields > _MOST_BYTES:
            raise BusError("too much data")
        raw = self._exactly(fields + -fields % 8)
        body = self._exactly(size)
        found, at = {}, 0
        try:
            while at < fields:
                at += -at % 8
                value, end = read(raw, at + 1, "v")
                found[raw[at]], at = value, end
        except (struct.error, LookupError, UnicodeDecodeError) as error:
            raise BusError("nonsense") from error
        return kind, found, body

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n") and len(line) < 512:
            line += self._exactly(1)
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            left = self.seconds_left
            if left <= 0:
                raise BusError("no answer in time")
            self._socket.settimeout(left)
            chunk = self._socket.recv(8192)
            if not chunk:
                raise BusError("the bus hung up")
            self._unread += chunk
        found, self._unread = self._unread[:count], self._unread[count:]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def message(
    kind: int, serial: int, fields: list[tuple[int, str, Any]], arguments: list[tuple[str, Any]]
) -> bytes:
    """A message as it goes over the wire, little-endian."""
    body = b""
    for name, value in arguments:
        body = written(body, name, value)
    if arguments:
        fields = [*fields, (_SIGNATURE, "g", "".join(name for name, _ in arguments))]
    head = b""
    for number, name, value in fields:
        head = written(head + b"\0" * (-len(head) % 8) + bytes([number]), "v", Variant(name, value))
    start = b"l" + struct.pack("<BBBIII", kind, 0, 1, len(body), serial, len(head))
    return start + head + b"\0" * (-len(head) % 8) + body


def written(data: bytes, kind: str, value: Any) -> bytes:
    """`data` with a value behind it, aligned."""
    if kind == "v":
        return written(written(data, "g", value.kind), value.kind, value.value)
    if kind in _PLAIN:
        size, code = _PLAIN[kind]
        return data + b"\0" * (-len(data) % size) + struct.pack(f"<{code}", value)
    size = _TEXTS[kind]
    text: bytes = value.encode()
    count = struct.pack("<I" if size > 1 else "<B", len(text))
    return data + b"\0" * (-len(data) % size) + count + text + b"\0"


def read(data: bytes, at: int, kind: str) -> tuple[Any, int]:
    """The value of a type at a place, and where it ends. A variant is what it holds. Raises `struct.error`,
    `LookupError` or `UnicodeDecodeError`.
    """
    if kind == "v":
        inner, at = read(data, at, "g")
        if inner == "v":
            raise LookupError(inner)  # legal, and of no use but to exhaust the stack
        return read(data, at, inner)
    if kind in _PLAIN:
        size, code = _PLAIN[kind]
        at += -at % size
        return struct.unpack_from(f"<{code}", data, at)[0], at + size
    size = _TEXTS[kind]
    at += -at % size
    (count,) = struct.unpack_from("<I" if size > 1 else "<B", data, at)
    text = data[at + size : at + size + count]
    return text.decode(), at + size + count + 1


def _typed(value: Any) -> tuple[str, Any]:
    return ("v" if isinstance(value, Variant) else "s"), value
