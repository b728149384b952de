"""A deployment as the running agent sees it: a record of the runtime with what only this run knows, namely
how far it is, why, and where its ports lead now. Kept in the table of `lives.py`; calls nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address

from edge_agent.deployments.records import Port, Record, State
from edge_agent.errors import DeployFailed


class Phase(Enum):
    """How far a deployment is."""

    WAITING = "the last one of its name is still being removed"
    STARTING = "its manifests are being applied"
    WATCHED = "it is watched until it is ready"
    READY = "it answers"
    RESTING = "nobody uses it: its pods are down, or being taken down, until it is wanted again"
    FAILED = "it is being removed, or is gone, and its failure is told"
    REMOVING = "it is being removed"


@dataclass(eq=False)
class Live:
    """One deployment. `work` is held by whoever starts or removes it; times are of the table's clock.

    `taken_over`: an earlier run or another process made the record. `barred`: its addresses are not its own,
    so it is no peer and only there to be removed. `unapplied`: why its manifests have to be sent again.
    `rested`: the runtime has it so. `born`: when its record was made. `after`: whose end it waits for.
    """

    record: Record
    phase: Phase
    since: float
    reason: str = ""
    endpoints: Mapping[Port, tuple[IPv4Address, int]] = field(default_factory=dict)
    taken_over: bool = False
    barred: bool = False
    unapplied: str = ""
    rested: bool = False
    born: float = float("-inf")
    gone: bool = False
    after: Live | None = None
    removal_queued: bool = False
    tried_at: float = float("-inf")
    tries: int = 0
    looked_at: float = float("-inf")
    touched_at: float = float("-inf")
    work: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> bytes:
        """The device's public key."""
        return self.record.key

    @property
    def device(self) -> IPv4Address:
        """The device's tunnel address."""
        return self.record.device

    @property
    def forwards(self) -> Mapping[tuple[IPv4Address, str, int], tuple[IPv4Address, int]]:
        """Where the ports of its services lead now; nothing once it rests or ends."""
        if self.phase in (Phase.RESTING, Phase.FAILED, Phase.REMOVING):
            return {}
        addresses = {service.name: IPv4Address(service.address) for service in self.record.services}
        return {
            (addresses[name], protocol, port): target
            for (name, protocol, port), target in self.endpoints.items()
            if name in addresses
        }

    @property
    def state(self) -> State:
        """The state as it goes over the wire."""
        return {Phase.READY: "Ready", Phase.FAILED: "Failed"}.get(self.phase, "Deploying")  # type: ignore[return-value]

    @property
    def pending(self) -> bool:
        """Whether waiting for it makes sense."""
        return self.phase in (Phase.WAITING, Phase.STARTING, Phase.WATCHED)

    @property
    def usable(self) -> bool:
        """Whether it has not ended."""
        return self.phase not in (Phase.FAILED, Phase.REMOVING)

    def raise_if_failed(self) -> None:
        """Raise `DeployFailed` with the reason."""
        if self.phase is Phase.FAILED:
            raise DeployFailed(self.reason or "The backend did not start.")
        if self.phase is Phase.REMOVING:
            raise DeployFailed("The deployment was removed meanwhile.")
