"""The way from the tunnels to the backends: keeps the gateway in line with the table of deployments.

Called by `lifecycle.py` and `upkeep.py`; calls the gateway through the protocol below.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.live import Live
from edge_agent.deployments.lives import Lives
from edge_agent.errors import Unavailable

_LOG = logging.getLogger(__name__)

CLOSING_TRIES = 10
"""What ends waits so often for a gateway that can't be set, more and more slowly: for some seven minutes. No
other guest can begin meanwhile; after that, what it uses counts more.
"""


class Peer(Protocol):
    """What the gateway needs of a deployment: its device's key and address, and where its ports lead."""

    @property
    def key(self) -> bytes:
        """The device's public key."""

    @property
    def device(self) -> IPv4Address:
        """The device's tunnel address."""

    @property
    def forwards(self) -> Mapping[tuple[IPv4Address, str, int], tuple[IPv4Address, int]]:
        """(tunnel address, protocol, port) to (pod address, port)."""


class Gateway(Protocol):
    """The WireGuard end of the tunnels."""

    def sync(self, peers: Sequence[Peer]) -> None:
        """Make these the peers and forwards, and no others; raises `Unavailable`."""

    def activity(self) -> Mapping[bytes, Activity]:
        """Signs of life by device key; one that is missing can't be told of. Raises `Unavailable`."""


@dataclass(frozen=True)
class _Way:
    """A deployment's peer and forwards at one moment."""

    key: bytes
    device: IPv4Address
    forwards: Mapping[tuple[IPv4Address, str, int], tuple[IPv4Address, int]]


class Routes:
    """What the gateway leads where. `dirty`: it does not know everything yet. Safe between threads."""

    def __init__(self, gateway: Gateway, lives: Lives) -> None:
        self.dirty = True
        self._gateway = gateway
        self._lives = lives
        self._syncing = threading.RLock()
        self._led: frozenset[str] | None = None  # None: whatever an earlier run left

    def sync(self) -> None:
        """Give the gateway its peers and forwards; raises `Unavailable`, and is due again then."""
        with self._syncing:
            self.dirty = False
            lives = self._lives.peers()
            ways = [_Way(live.key, live.device, live.forwards) for live in lives]
            led = frozenset(live.record.name for live, way in zip(lives, ways, strict=True) if way.forwards)
            if self._led is not None:
                self._led |= led
            try:
                self._gateway.sync(ways)
            except BaseException:
                self.dirty = True
                raise
            self._led = led

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only this thread may set the gateway meanwhile; others wait."""
        with self._syncing:
            yield

    def sync_or_retry(self) -> None:
        """The same; a failure is logged and left to the next tick."""
        try:
            self.sync()
        except Unavailable as error:
            _LOG.warning("the gateway can't be set", extra={"reason": str(error)})

    def close(self, live: Live) -> None:
        """Lead there no more, before its pods go: their addresses may soon be somebody else's.

        Raises `Unavailable` where the gateway can't be set and may still lead there: the pods have to stay
        until it can, or until that was tried often.
        """
        if not self.dirty:
            return
        try:
            self.sync()
        except Unavailable as error:
            if self._may_lead_to(live) and live.tries < CLOSING_TRIES:
                raise
            told = {"deployment": live.record.name, "reason": str(error)}
            _LOG.warning("removed though the gateway can't be set", extra=told)

    def _may_lead_to(self, live: Live) -> bool:
        """Whether the gateway was ever told to lead there, and not yet to forget it."""
        led = self._led
        return live.taken_over if led is None else live.record.name in led

    def activity(self) -> Mapping[bytes, Activity]:
        """Signs of life by device key; raises `Unavailable`."""
        return self._gateway.activity()
