"""The world outside of choosing, replaceable: made by `choose.py` unless it is given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from device_sdk.choosing.side_by_side import OpenWays, Ways
from device_sdk.choosing.whereabouts import network_here
from device_sdk.keys import KeyPair
from device_sdk.tunnels.routes import TunnelPlan


def _open_ways(plan: TunnelPlan, key: KeyPair) -> Ways:
    from device_sdk.tunnels.wireguard import WireGuardLink

    return WireGuardLink(plan, key)


@dataclass(frozen=True)
class Means:
    """`state` is the folder that holds what was measured before; `wall_clock` tells its age. `tells_root`:
    the root hears at once what was not chosen; an association says so when nothing else is under way.
    """

    state: Path
    open_ways: OpenWays = _open_ways
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    chance: random.Random = field(default_factory=random.SystemRandom)
    network: Callable[[], str] = network_here
    tells_root: bool = True
