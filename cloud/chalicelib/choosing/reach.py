"""What is known of the way from one network of clients to cloudlets: measured round trips and throughput.

Made by `measurements.py`, carried by `ClientInfo`, used by `estimate.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

# A few ms are spent before the internet begins (Bozkurt et al., "Why Is the Internet so Slow?!", PAM 2017).
ACCESS_MS = 3.0
LINK_MBPS = 1000.0  # capacities are not reported: a gigabit


@dataclass(frozen=True, slots=True)
class Measured:
    """What devices of one network measured to one cloudlet: medians."""

    rtt_ms: float
    throughput_mbps: float | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """The measured cloudlets, and what the measurements say of the clients' own access to the rest.

    Without `access_ms` a measured cloudlet would lose against any unmeasured one, whose way is guessed from
    its distance alone: on a mobile network the first 30 ms are the same for all.
    """

    measured: Mapping[UUID, Measured] = field(default_factory=dict)
    access_ms: float = ACCESS_MS
    link_mbps: float = LINK_MBPS
