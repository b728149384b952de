"""Ways to several targets in one sandbox, of which one is the app's in the end: used by `choose.py`; the ways
are `tunnels.wireguard`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from device_sdk.background import Pending
from device_sdk.choosing.surplus import RELEASE_SECONDS
from device_sdk.choosing.trial import Trial, Way
from device_sdk.errors import InUseError, SinfoniaError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.tunnels.tunnel import Link, Tunnel


class Room(Protocol):
    """Where ways are made and taken away: an open sandbox."""

    def stand_by(self, plan: TunnelPlan, key: KeyPair) -> Any:
        """Another way beside those that there are."""

    def drop(self, way: Any) -> None:
        """Take a way away that does not lead."""


class Ways(Link, Room, Protocol):
    """A sandbox with one way that leads and others beside it: `tunnels.wireguard.WireGuardLink`."""

    @property
    def leading(self) -> Any:
        """The way that leads."""

    def lead(self, way: Any) -> Any:
        """Make it the one that leads."""


OpenWays = Callable[[TunnelPlan, KeyPair], Ways]


class SideBySide:
    """Ways to targets, made when they are asked for: in `room`, or in a sandbox made with the first."""

    def __init__(self, open_ways: OpenWays, room: Room | None, clock: Callable[[], float]) -> None:
        self._open_ways = open_ways
        self._room = room
        self._own: Ways | None = None
        self._clock = clock
        self._trials: dict[int, Trial] = {}

    def trial(self, target: Target) -> Trial:
        """The way to `target`. Raises `TunnelError`, `DeviceError`."""
        if id(target) not in self._trials:
            self._trials[id(target)] = self._made(target)
        return self._trials[id(target)]

    def take(self, trial: Trial) -> Tunnel:
        """The tunnel of a trial: what the app takes from now on, or what stands by in a borrowed sandbox."""
        if self._own is None:
            return trial.tunnel
        self._own.lead(trial.way)
        return Tunnel(trial.tunnel.target, self._own, self._clock)

    def release(self, target: Target) -> Pending[bool]:
        """Give the target back through its own way, in the background, and take the way away.

        False if another program on this device has a tunnel to it: then it stays.
        """
        return Pending(lambda: self._release(target), "sinfonia-release")

    def close(self) -> None:
        """Take down what was made here."""
        if self._own is not None:
            self._own.close()
            return
        for trial in self._trials.values():
            trial.tunnel.close()

    def _release(self, target: Target) -> bool:
        with contextlib.suppress(SinfoniaError, OSError):  # its lease ends; that is enough
            try:
                trial = self._trials.get(id(target)) or self._made(target)
            except InUseError:
                return False
            with trial.tunnel:
                trial.tunnel.release(RELEASE_SECONDS)
        return True

    def _made(self, target: Target) -> Trial:
        way = self._way(target)
        return Trial(target, way, lambda: self._drop(way), self._clock)

    def _way(self, target: Target) -> Way:
        way: Way
        if self._room is None:
            self._room = self._own = self._open_ways(target.plan, target.key)
            way = self._own.leading
        else:
            way = self._room.stand_by(target.plan, target.key)
        return way

    def _drop(self, way: Way) -> None:
        if self._room is not None:
            self._room.drop(way)
