"""A gateway in memory: which peers it has, and where their ports lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.routes import Peer
from edge_agent.errors import Unavailable


class FakeGateway:
    """The gateway port; `away` makes it fail, `seen` is what devices did."""

    def __init__(self) -> None:
        self.away = False
        self.syncs = 0
        self.allowed: dict[bytes, set[IPv4Address]] = {}
        self.forwards: dict[tuple[IPv4Address, IPv4Address, str, int], tuple[IPv4Address, int]] = {}
        self.seen: dict[bytes, Activity] = {}

    def sync(self, peers: Sequence[Peer]) -> None:
        self._check()
        self.syncs += 1
        self.allowed = {}
        self.forwards = {}
        for peer in peers:
            self.allowed.setdefault(peer.key, set()).add(peer.device)
            for (address, protocol, port), target in peer.forwards.items():
                self.forwards[peer.device, address, protocol, port] = target

    def activity(self) -> Mapping[bytes, Activity]:
        self._check()
        return {key: self.seen.get(key, Activity(0, 0)) for key in self.allowed}

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the gateway is away")
