"""The wire to the backend, which `infra/images/mirror/mirror.c` describes, and its clock."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from device_sdk.examples.mirror.camera import Picture

_FRAME = struct.Struct("!4sIHH")
_ANSWER = struct.Struct("!IHHQQQ")
_PINGS_KEPT = 16


class BackendError(OSError):
    """The backend answers something else than it was asked for."""


@dataclass(frozen=True)
class Answer:
    """A picture come back, and when what happened, in seconds of this device's clock.

    `arrived`, `begun`, `done` are the backend's, moved to this clock; they may be wrong by `uncertain`.
    """

    picture: Picture
    sent: float
    arrived: float
    begun: float
    done: float
    received: float
    uncertain: float


class Backend:
    """A connection to the backend. `clock` is in seconds."""

    def __init__(self, connection: socket.socket, clock: Callable[[], float]) -> None:
        self._socket, self._clock = connection, clock
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._pings: deque[tuple[float, float]] = deque(maxlen=_PINGS_KEPT)

    def compare_clocks(self, times: int = 1) -> None:
        """Ask for the backend's time. The answer of the least round trip is used (RFC 5905, clock filter)."""
        for _ in range(times):
            sent = self._clock()
            _, arrived, _, done = self._ask(Picture(0, 0, b""))
            received = self._clock()
            offset = ((arrived - sent) + (done - received)) / 2
            self._pings.append(((received - sent) - (done - arrived), offset))

    def outline(self, picture: Picture) -> Answer:
        """Send a frame and wait for its outline. Raises `OSError`."""
        if not self._pings:
            self.compare_clocks(5)
        sent = self._clock()
        grey, arrived, begun, done = self._ask(picture)
        received = self._clock()
        round_trip, offset = min(self._pings)
        arrived, begun, done = arrived - offset, begun - offset, done - offset
        back = Picture(picture.width, picture.height, grey)
        return Answer(back, sent, arrived, begun, done, received, round_trip / 2)

    def close(self) -> None:
        """End it. May be repeated."""
        self._socket.close()

    def _ask(self, picture: Picture) -> tuple[bytes, float, float, float]:
        self._number = (self._number + 1) % 2**32
        head = _FRAME.pack(b"SFM1", self._number, picture.width, picture.height)
        self._socket.sendall(head + picture.grey)
        number, width, height, *times = _ANSWER.unpack(self._receive(_ANSWER.size))
        if (number, width, height) != (self._number, picture.width, picture.height):
            raise BackendError("The backend answers another frame than the one it got.")
        arrived, begun, done = (each / 1e6 for each in times)
        return self._receive(len(picture.grey)), arrived, begun, done

    def _receive(self, size: int) -> bytes:
        into = bytearray(size)
        view, have = memoryview(into), 0
        while have < size:
            got = self._socket.recv_into(view[have:])
            if not got:
                raise BackendError("The backend has ended the connection.")
            have += got
        return bytes(into)
