"""One target while it is tried, through a way of its own beside the others: made by `side_by_side.py`, used
by `choose.py` and handed to an app's own test.
"""

from __future__ import annotations

import http.client
import math
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from device_sdk.choosing.fetching import fetch
from device_sdk.choosing.probes import Prober, RoundTrips
from device_sdk.choosing.result import Measured, Method
from device_sdk.errors import SinfoniaError, TunnelError
from device_sdk.fields import printable
from device_sdk.target import Target
from device_sdk.tunnels.tunnel import Tunnel

Test = Callable[["Trial"], float]
_HANDSHAKE_POLL_SECONDS = 0.005
_GREETING_SECONDS = 0.4  # and twice that the next time: the answer to a farther greeting must still count
_NAMES_PORT = 53
_TELLING_ROUND_TRIPS, _HOPELESS_RATIO = 3, 2.0


class Way(Protocol):
    """One gateway's way in a sandbox: `tunnels.wireguard.WireGuardWay`."""

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection to a literal address behind this gateway."""

    def handshake_seconds_ago(self) -> float | None:
        """How long ago the gateway last proved who it is; None if it never did."""

    def greet_again(self) -> None:
        """Begin the handshake anew."""


class Beside:
    """A way as a `Link`, for what only connects; `drop` takes it away."""

    def __init__(self, way: Way, drop: Callable[[], None]) -> None:
        self._way, self._drop = way, drop

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection to a literal address behind the gateway."""
        return self._way.connect(address, timeout)

    def spawn(
        self,
        command: Sequence[str],  # noqa: ARG002 - as the protocol has it
        environ: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> subprocess.Popen[bytes]:
        """Programs take the way that leads."""
        raise TunnelError("A program can only be started behind the chosen tunnel.")

    def handshake_seconds_ago(self) -> float | None:
        """As the way says."""
        return self._way.handshake_seconds_ago()

    def close(self) -> None:
        """Take the way away."""
        self._drop()


class Trial:
    """What an app's own test gets: connections through the tunnel of `target`, until `seconds_left` is 0."""

    def __init__(
        self,
        target: Target,
        way: Way,
        drop: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self.target = target
        self.way = way
        self._link = Beside(way, drop)
        self.tunnel = Tunnel(target, self._link, clock)
        self.deadline = clock()  # until it is to be tried
        self._method: Method = "none"
        self._taken: list[float] = []
        self._clock = clock

    @property
    def seconds_left(self) -> float:
        """Until the test is too late; never negative."""
        return max(0.0, self.deadline - self._clock())

    def connect(self, address: tuple[str, int], timeout: float | None = None) -> socket.socket:
        """A TCP connection to `(name or literal address, port)` behind this tunnel. Raises `OSError`."""
        return self.tunnel.connect(address, self._limited(timeout))

    def fetch(self, url: str, timeout: float | None = None) -> bytes:
        """What an HTTP GET of `url` (`http://NAME[:PORT]/…`, a name of the backend) answers.

        Raises `OSError`, or `TunnelError` for a status that is no success or more than 16 MB.
        """
        return fetch(url, self.tunnel.connect, self._limited(timeout), self._clock)

    def told(self) -> None:
        """Somebody else tells the root what was measured, or has done so."""
        self.tunnel = Tunnel(replace(self.target, measured=None), self._link, self._clock)

    def measure(self) -> Measured:
        """Its round trips; never raises."""
        try:
            self._take_round_trips()
        except (OSError, http.client.HTTPException, SinfoniaError) as error:
            return self.so_far(self._why(error))
        return self.so_far()

    def so_far(self, error: str | None = None) -> Measured:
        """What is known of its round trips by now; with `error` if that is nothing."""
        taken = list(self._taken)
        if not taken:
            return Measured(self.target, self._method, error=error)
        self.told()
        trips = RoundTrips.of(taken)
        method: Method = "probe" if self._method == "probe" else "connect"
        return Measured(self.target, method, trips.least_ms, trips.jitter_ms)

    def seems_slower_than(self, rtt_ms: float) -> bool:
        """Whether there is no hope any more that it has such a round trip."""
        taken = list(self._taken)
        return len(taken) >= _TELLING_ROUND_TRIPS and min(taken) * 1000 > _HOPELESS_RATIO * rtt_ms

    def measure_throughput(self, measured: Measured) -> Measured:
        """The same with its throughput, if the gateway lets us measure that."""
        address = self.target.status_address
        if address is None or measured.method != "probe":
            return measured
        prober = Prober(self.way.connect, (address.host, address.port), self.deadline, self._clock)
        return replace(measured, throughput_mbps=prober.throughput_mbps())

    def run(self, test: Test) -> Measured:
        """What the app's own test returns, as soon as the backend is ready; never raises."""
        try:
            self.tunnel.wait_ready(self.seconds_left)
            cost = float(test(self))
        except Exception as error:  # noqa: BLE001 - whatever is wrong in the app's code is its reason
            return Measured(self.target, "custom", error=self._why(error))
        if not math.isfinite(cost):
            return Measured(self.target, "custom", error="the test returned no finite number")
        return Measured(self.target, "custom", cost=cost)

    def answers(self, until: float) -> bool:
        """Whether the gateway has proved who it is by then."""
        pause, patience = threading.Event(), _GREETING_SECONDS
        greet_at = self._clock() + patience
        while self.way.handshake_seconds_ago() is None:
            now = self._clock()
            if now >= until:
                return False
            if now >= greet_at:
                self.way.greet_again()
                patience *= 2
                greet_at = now + patience
            pause.wait(_HANDSHAKE_POLL_SECONDS)
        return True

    def _take_round_trips(self) -> None:
        if not self.answers(self.deadline):
            raise TunnelError("its gateway never answered.")
        self._method = "handshake"
        address = self._address()
        if address is None:
            return
        prober = Prober(self.way.connect, address, self.deadline, self._clock, self._taken)
        if self.target.status_address is not None:
            self._method = "probe"
            if prober.probes():
                return
        prober.connects()
        self._method = "connect"

    def _address(self) -> tuple[str, int] | None:
        """Where to measure: the gateway's probes, or what published cloudlets have: a server of names."""
        status, plan = self.target.status_address, self.target.plan
        if status is not None:
            return status.host, status.port
        servers = (str(one) for one in plan.name_servers if plan.reaches(one))
        return next(((server, _NAMES_PORT) for server in servers), None)

    def _limited(self, timeout: float | None) -> float:
        left = self.seconds_left if timeout is None else min(timeout, self.seconds_left)
        if left <= 0:
            raise TimeoutError("the time for trying is over")
        return left

    @staticmethod
    def _why(error: Exception) -> str:
        return printable(str(error).rstrip(".") or type(error).__name__, 200)
