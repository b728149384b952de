"""One backend with a way to it: what an association has of each cloudlet that it is at, goes to or leaves.

Made by `search.py` and `associate.py`; calls `readiness.py` through the way.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from device_sdk.choosing.trial import Trial
from device_sdk.errors import SinfoniaError, TunnelError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.tunnels.readiness import Gateway
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.wire import Deployment

_ROUND_TRIPS = 3
_ROUND_TRIP_SECONDS = 1.0
_DEAD_SECONDS = 200.0  # WireGuard: REJECT_AFTER_TIME is 180 s, and keepalives have it shake hands before
GIVE_BACK_SECONDS = 2.0


class Way(Protocol):
    """The way through one gateway: `tunnels.wireguard.WireGuardWay`."""

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection to a literal address behind it."""

    def handshake_seconds_ago(self) -> float | None:
        """How long ago the gateway last proved who it is."""

    def greet_again(self) -> None:
        """Begin the handshake anew."""

    def received_bytes(self) -> int:
        """How much came from there."""


class Ways(Protocol):
    """The app's own network, with one way that leads: `tunnels.wireguard.WireGuardLink`."""

    @property
    def leading(self) -> Way:
        """The way that the app takes."""

    def stand_by(self, plan: TunnelPlan, key: KeyPair) -> Way:
        """Another way beside it."""

    def renew(self, plan: TunnelPlan, key: KeyPair) -> Way:
        """Another way in the place of the one that leads."""

    def lead(self, way: Any) -> Way:
        """Make it the app's way; returns the one that led."""

    def drop(self, way: Any) -> None:
        """Take a way away that does not lead."""

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """A TCP connection behind the way that leads."""

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """A program behind the way that leads."""

    def handshake_seconds_ago(self) -> float | None:
        """How long ago the leading gateway last proved who it is."""

    def close(self) -> None:
        """Take everything down."""


@dataclass(frozen=True)
class Look:
    """An answer of the gateway, and the round trip to it in seconds, where it could be measured."""

    deployment: Deployment
    seconds: float | None


@dataclass(frozen=True, eq=False)
class Place:
    """A target and the way to it. `clock` in seconds."""

    target: Target
    way: Way
    clock: Callable[[], float]

    @property
    def name(self) -> str:
        """The cloudlet's, for people."""
        return self.target.place

    @property
    def uuid(self) -> UUID | None:
        """The cloudlet's."""
        return self.target.cloudlet.uuid if self.target.cloudlet else None

    def answers(self, timeout: float) -> bool:
        """Whether its gateway proves who it is within so many seconds."""
        trial = Trial(self.target, self.way, lambda: None, self.clock)
        return trial.answers(self.clock() + timeout)

    def wait_ready(self, timeout: float) -> None:
        """Wait until the backend can serve. Raises `DeploymentError` or `TunnelError`."""
        gateway = self._gateway(self.way.connect)
        if gateway is not None:
            gateway.wait_ready(timeout, lambda _text: None)

    def look(self, timeout: float) -> Look:
        """How the backend is now. Raises `DeploymentError` where there is none, `TunnelError` where nothing
        answers within `timeout`.
        """
        took: list[float] = []

        def connect(address: tuple[str, int], seconds: float) -> socket.socket:
            started = self.clock()
            made = self.way.connect(address, seconds)
            took.append(self.clock() - started)
            return made

        gateway = self._gateway(connect)
        if gateway is not None:
            return Look(gateway.look(timeout), took[-1] if took else None)
        ago = self.way.handshake_seconds_ago()
        if ago is None or ago > _DEAD_SECONDS:
            raise TunnelError("The cloudlet's gateway has not answered for minutes.")
        return Look(self.target.deployment, None)

    def round_trip(self) -> float:
        """The least of some round trips in seconds. Raises `TunnelError`."""
        address = self.target.status_address
        if address is None:
            raise TunnelError("This cloudlet has nothing to measure against.")
        times = []
        for _ in range(_ROUND_TRIPS):
            started = self.clock()
            try:
                with self.way.connect((address.host, address.port), _ROUND_TRIP_SECONDS):
                    times.append(self.clock() - started)
            except OSError as error:
                raise TunnelError(f"The round trip can't be measured: {error}.") from error
        return min(times)

    def give_back(self) -> None:
        """Let the cloudlet know that the backend is not needed; where it can't be told, its lease ends."""
        gateway = self._gateway(self.way.connect)
        if gateway is not None:
            with contextlib.suppress(SinfoniaError):
                gateway.release(GIVE_BACK_SECONDS)

    def _gateway(self, connect: Callable[[tuple[str, int], float], socket.socket]) -> Gateway | None:
        address = self.target.status_address
        return Gateway(address, connect, self.clock) if address else None
