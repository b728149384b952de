"""Ways to several targets in one sandbox, of which one is the app's in the end: used by `choose.py`; the ways
are `tunnels.wireguard`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from device_sdk.background import Pending
from device_sdk.choosing.trial import Trial, Way
from device_sdk.errors import SinfoniaError, TunnelError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.tunnels.routes import TunnelPlan
from device_sdk.tunnels.tunnel import Link, Tunnel

RELEASE_SECONDS = 5.0


class Ways(Link, Protocol):
    """A sandbox with one way that leads and others beside it: `tunnels.wireguard.WireGuardLink`."""

    @property
    def leading(self) -> Any:
        """The way that leads."""

    def stand_by(self, plan: TunnelPlan, key: KeyPair) -> Any:
        """Another way beside it."""

    def lead(self, way: Any) -> Any:
        """Make it the one that leads."""

    def drop(self, way: Any) -> None:
        """Take a way away that does not lead."""


OpenWays = Callable[[TunnelPlan, KeyPair], Ways]


class SideBySide:
    """Ways to targets, made when they are asked for: in `link`, or in a sandbox made with the first."""

    def __init__(self, open_ways: OpenWays, link: Ways | None, clock: Callable[[], float]) -> None:
        self._open_ways = open_ways
        self._borrowed = link is not None
        self._link = link
        self._clock = clock
        self._trials: dict[int, Trial] = {}

    def trial(self, target: Target) -> Trial:
        """The way to `target`. Raises `TunnelError`, `DeviceError`."""
        if id(target) not in self._trials:
            self._trials[id(target)] = self._made(target)
        return self._trials[id(target)]

    def take(self, trial: Trial) -> Tunnel:
        """The tunnel of a trial: what the app takes from now on, or what stands by in a borrowed sandbox."""
        if self._borrowed:
            return trial.tunnel
        link = self._the_link()
        link.lead(trial.way)
        return Tunnel(trial.tunnel.target, link, self._clock)

    def release(self, target: Target) -> Pending[None]:
        """Give the target back through its own way, in the background, and take the way away."""
        return Pending(lambda: self._release(target), "sinfonia-release")

    def close(self) -> None:
        """Take down what was made here."""
        if not self._borrowed and self._link is not None:
            self._link.close()
        for trial in self._trials.values() if self._borrowed else ():
            trial.tunnel.close()

    def _release(self, target: Target) -> None:
        with contextlib.suppress(SinfoniaError, OSError):  # its lease ends; that is enough
            trial = self._trials.get(id(target)) or self._made(target)
            with trial.tunnel:
                trial.tunnel.release(RELEASE_SECONDS)

    def _made(self, target: Target) -> Trial:
        way = self._way(target)
        return Trial(target, way, lambda: self._the_link().drop(way), self._clock)

    def _way(self, target: Target) -> Way:
        way: Way
        if self._link is None:
            self._link = self._open_ways(target.plan, target.key)
            way = self._link.leading
        else:
            way = self._link.stand_by(target.plan, target.key)
        return way

    def _the_link(self) -> Ways:
        if self._link is None:
            raise TunnelError("There is no tunnel.")
        return self._link
