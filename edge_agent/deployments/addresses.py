"""The tunnel network's plan: which /29 a deployment gets, and its IPv6 twin. Used by
`lifecycle.py`, `live.py`, `site.py` and `tunnels/`; calls nothing.

A cloudlet owns one network, by default a /16 in 100.64.0.0/10 (RFC 6598: shared address space, which home and
cloud networks do not use). Its first block belongs to the gateway; every other aligned /29 is one
deployment's. Where there is IPv6, a /64 of the cloudlet's own mirrors it: the same number within the network,
so that an IPv6 address follows from the IPv4 one and no record needs both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from uuid import UUID

from edge_agent.errors import SettingsError, Unavailable

SHARED = IPv4Network("100.64.0.0/10")


def default_network(cloudlet: UUID) -> IPv4Network:
    """A /16 that follows from the cloudlet's UUID, so that two cloudlets seldom share one."""
    sixteenth = (cloudlet.int >> 16) % 64
    return IPv4Network((int(SHARED.network_address) + (sixteenth << 16), 16))


def next_network(network: IPv4Network) -> IPv4Network:
    """The next /16 of the shared address space, round and round."""
    offset = int(network.network_address) - int(SHARED.network_address) + (1 << 16)
    return IPv4Network((int(SHARED.network_address) + offset % SHARED.num_addresses, 16))


def default_network6(cloudlet: UUID) -> IPv6Network:
    """A /64 for private use (RFC 4193, 3.1): `fd`, then 40 bits of global ID and 16 of subnet ID, both the
    UUID's first bits, which are random.
    """
    return IPv6Network((0xFD << 120 | cloudlet.int >> 72 << 64, 64))


@dataclass(frozen=True)
class Plan:
    """The blocks of one tunnel network. `network6`: its IPv6 twin, a /64; None where there is no IPv6."""

    network: IPv4Network
    network6: IPv6Network | None = None

    def __post_init__(self) -> None:
        if self.network.prefixlen > 28:
            raise SettingsError(f"--tunnel-network {self.network}: needs at least a /28")

    @property
    def gateway(self) -> IPv4Address:
        """The gateway's own address, the first of the network."""
        return self.network[1]

    @property
    def gateway6(self) -> IPv6Address | None:
        """The gateway's own IPv6 address."""
        return self.twin(self.gateway)

    def twin(self, address: IPv4Address) -> IPv6Address | None:
        """The IPv6 address of whoever has this IPv4 address in the tunnels."""
        if self.network6 is None:
            return None
        return self.network6[int(address) - int(self.network.network_address)]

    def twin_block(self, block: IPv4Network) -> IPv6Network | None:
        """The IPv6 block of whoever has this IPv4 block: a /125 for a /29."""
        first = self.twin(block.network_address)
        return None if first is None else IPv6Network((first, 96 + block.prefixlen))

    def named(self, source: str) -> IPv4Address:
        """The IPv4 tunnel address of a sender, whose `source` may be its IPv6 twin; 0.0.0.0 for neither."""
        address = ip_address(source)
        if isinstance(address, IPv4Address):
            return address
        if self.network6 is not None and address in self.network6:
            offset = int(address) - int(self.network6.network_address)
            if offset < self.network.num_addresses:
                return self.network[offset]
        return IPv4Address(0)

    def holds(self, block: IPv4Network) -> bool:
        """Whether the block can be a deployment's: in the network, and not the gateway's."""
        return block.subnet_of(self.network) and self.gateway not in block

    def choose(self, seed: int, used: Collection[IPv4Network]) -> IPv4Network:
        """A free block. The same `seed` gets the same block while it is free; else the next free one.

        Raises `Unavailable` when none is left.
        """
        count = (1 << (29 - self.network.prefixlen)) - 1
        for step in range(count):
            block = self._block(1 + (seed + step) % count)
            if block not in used:
                return block
        raise Unavailable(f"All {count} tunnel addresses of this cloudlet are in use.", 30)

    def _block(self, index: int) -> IPv4Network:
        return IPv4Network((int(self.network.network_address) + 8 * index, 29))
