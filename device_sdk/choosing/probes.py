"""Measuring the way through a tunnel: round trips and short transfers against the gateway's probes (contract,
tag `tunnel`). Called by `trial.py`; calls nothing but connections that it is given.

Everything ends at `deadline`, whatever the other side does.
"""

from __future__ import annotations

import fcntl
import http.client
import socket
import statistics
import struct
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

Connect = Callable[[tuple[str, int], float], socket.socket]
Clock = Callable[[], float]

PATH = "/api/v1/probe"
TRANSFER_BYTES = 1_000_000
_ROUND_TRIPS = 6  # enough that the least of them met no queue, and the median tells of jitter;
_MOST_ROUND_TRIPS = 20  # where they are short, more cost nothing, and little lies between near and nearer
_SHORT_SECONDS = 0.15
_CONNECTS = 3
_FIRST_CONNECT_SECONDS = 0.3
_TRANSFER_SECONDS = 0.5  # in each direction
_LEAST_BYTES = 50_000  # less says more of round trips than of throughput
_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class RoundTrips:
    """In milliseconds: the least, and how far the median lies above it."""

    least_ms: float
    jitter_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> RoundTrips:
        """The figures of at least one round trip."""
        least = min(seconds)
        return cls(least * 1000, (statistics.median(seconds) - least) * 1000)


@dataclass(frozen=True)
class Prober:
    """Measures against one address behind a tunnel. Raises `OSError` where nothing answers in time.

    `taken` has the round trips so far, in seconds.
    """

    connect: Connect
    address: tuple[str, int]
    deadline: float
    clock: Clock
    taken: list[float] = field(default_factory=list)

    def probes(self) -> bool:
        """Take round trips of requests over one connection; returns whether the gateway has probes."""
        with self._http() as connection:
            began = self.clock()
            while len(self.taken) < _ROUND_TRIPS or self._worth_more(began):
                started = self.clock()
                self._limit(connection)
                connection.request("GET", PATH)
                with connection.getresponse() as response:
                    response.read(_CHUNK_BYTES)
                    if response.status != http.client.NO_CONTENT:
                        return False
                self.taken.append(self.clock() - started)
                if connection.sock is None:  # it does not keep connections: another would cost a round trip
                    break
        return True

    def _worth_more(self, began: float) -> bool:
        return len(self.taken) < _MOST_ROUND_TRIPS and self.clock() - began < _SHORT_SECONDS

    def connects(self) -> None:
        """Take round trips of TCP's own greeting. A refusal took one as well."""
        for _ in range(_CONNECTS):
            started = self.clock()
            with suppress(ConnectionRefusedError):
                self.connect(self.address, self._left()).close()
            self.taken.append(self.clock() - started)

    def throughput_mbps(self) -> float | None:
        """Megabits a second in the slower direction; None where the gateway lets us measure neither."""
        rates = (self._tried(self._download), self._tried(self._upload))
        return min((rate for rate in rates if rate is not None), default=None)

    def _tried(self, transfer: Callable[[float], float | None]) -> float | None:
        try:
            return transfer(min(self.deadline, self.clock() + _TRANSFER_SECONDS))
        except (OSError, http.client.HTTPException):
            return None

    def _download(self, until: float) -> float | None:
        with self._http() as connection:
            connection.request("GET", f"{PATH}/download?bytes={TRANSFER_BYTES}")
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    return None
                started, received = self.clock(), 0
                while (left := until - self.clock()) > 0 and received < TRANSFER_BYTES:
                    if connection.sock is not None:
                        connection.sock.settimeout(left)
                    try:
                        part = response.read1(_CHUNK_BYTES)
                    except TimeoutError:
                        break
                    if not part:
                        break
                    received += len(part)
                return _rate(received, self.clock() - started)

    def _upload(self, until: float) -> float | None:
        with self._http() as connection:
            connection.putrequest("POST", f"{PATH}/upload")
            connection.putheader("Content-Length", str(TRANSFER_BYTES))
            connection.endheaders()
            started, sent = self.clock(), 0
            stream, chunk = connection.sock, bytes(_CHUNK_BYTES)
            try:
                while sent < TRANSFER_BYTES:
                    stream.settimeout(max(0.001, until - self.clock()))
                    sent += stream.send(chunk[: TRANSFER_BYTES - sent])
                stream.settimeout(max(0.001, until - self.clock()))
                with connection.getresponse() as response:
                    if response.status != http.client.OK:
                        return None
            except TimeoutError:
                sent -= _unacknowledged(stream)
            return _rate(sent, self.clock() - started)

    @contextmanager
    def _http(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(*self.address)
        connection.sock = self._connected()
        with closing(connection):
            self._limit(connection)
            yield connection

    def _connected(self) -> socket.socket:
        """A connection, begun anew before the kernel would: it takes a second to miss its first packet."""
        patience = _FIRST_CONNECT_SECONDS
        while patience < self._left():
            try:
                return self.connect(self.address, patience)
            except TimeoutError:
                patience *= 2
        return self.connect(self.address, self._left())

    def _limit(self, connection: http.client.HTTPConnection) -> None:
        connection.sock.settimeout(self._left())

    def _left(self) -> float:
        left = self.deadline - self.clock()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left


def _rate(transferred: int, seconds: float) -> float | None:
    return transferred * 8 / 1e6 / max(seconds, 1e-4) if transferred >= _LEAST_BYTES else None


def _unacknowledged(stream: socket.socket) -> int:
    """How many bytes the other side has not confirmed: SIOCOUTQ of tcp(7), the terminals' number."""
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(stream.fileno(), termios.TIOCOUTQ, bytes(4)))
    return found[0]
