"""GeoClue as far as a device asks it: on a real bus, with one place, for one client at a time.

It forgets a client whose connection is another, as the real one does.
"""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Any, Self

from device_sdk.device.bus import Bus, Variant, message, read

CLIENT, PLACE = "/org/freedesktop/GeoClue2/Client/1", "/org/freedesktop/GeoClue2/Location/1"
_SENDER, _MEMBER, _DESTINATION, _REPLY_TO = 7, 3, 6, 5


class GeoClue:
    """Answers until it is closed. `knows_after` questions for the place it has one, if `knows` at all."""

    def __init__(self, bus: str, knows: bool = True, knows_after: int = 2) -> None:
        self.knows, self.knows_after = knows, knows_after
        self.asked: dict[str, Any] = {}
        self._owner = ""
        self._bus = Bus(bus, 120.0)
        self._bus._serial += 1
        name = [("s", "org.freedesktop.GeoClue2"), ("u", 4)]
        fields = [(1, "o", "/org/freedesktop/DBus"), (2, "s", "org.freedesktop.DBus")]
        fields += [(3, "s", "RequestName"), (6, "s", "org.freedesktop.DBus")]
        self._bus._socket.sendall(message(1, self._bus._serial, fields, name))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                kind, fields, body, serial = self._receive()
                if kind == 1:
                    self._answer(serial, fields[_SENDER], fields[_MEMBER], body)
            except OSError:  # the bus has ended
                return

    def _receive(self) -> tuple[int, dict[int, Any], bytes, int]:
        head = self._bus._exactly(16)
        self._bus._unread = head + self._bus._unread
        return (*self._bus._receive(), struct.unpack("<I", head[8:12])[0])

    def _answer(self, serial: int, sender: str, member: str, body: bytes) -> None:
        fields = [(_REPLY_TO, "u", serial), (_DESTINATION, "s", sender)]
        if member == "GetClient":
            self._owner = sender
            self._send(2, fields, [("o", CLIENT)])
        elif sender != self._owner:
            self._send(3, [*fields, (4, "s", "org.x.Unknown")], [("s", "there is no such client")])
        elif member == "Get":
            self._send(2, fields, [("v", self._property(_texts(body, 2)[1]))])
        else:
            if member == "Set":
                _, name = _texts(body, 2)
                self.asked[name] = read(body, _end(body, 2), "v")[0]
            self._send(2, fields, [])

    def _property(self, name: str) -> Variant:
        if name == "Location":
            self.knows_after -= 1
            return Variant("o", PLACE if self.knows and self.knows_after < 0 else "/")
        return Variant("d", {"Latitude": 40.4433, "Longitude": -79.9436, "Accuracy": 25.0}[name])

    def _send(self, kind: int, fields: list[Any], arguments: list[Any]) -> None:
        self._bus._serial += 1
        self._bus._socket.sendall(message(kind, self._bus._serial, fields, arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bus._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._bus._socket.close()


def _texts(body: bytes, count: int) -> list[str]:
    found, at = [], 0
    for _ in range(count):
        text, at = read(body, at, "s")
        found.append(text)
    return found


def _end(body: bytes, count: int) -> int:
    at = 0
    for _ in range(count):
        _, at = read(body, at, "s")
    return at
