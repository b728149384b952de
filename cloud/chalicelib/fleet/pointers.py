"""Signposts from a local network to the cloudlets on it, wherever their rows are.

Called by `registry.py` for those to write, by `neighbourhood.py` for those to read. A signpost is a tiny
item of the table. Its partition is the beginning of the network's address (2 bytes of IPv4, 4 of IPv6), so
that one query finds every network that an address is in. In a partition the narrow networks (a site's) come
after the wide ones, each in the order of addresses: read backward from an address, those around it come
first.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

from chalicelib.fields import Address, Network
from chalicelib.fleet.cloudlets import REALM_END, Cloudlet, RowKey

MOST_POINTERS = 16  # of one cloudlet: each is a write unit a day
PARTITION = "net"
_PARTITION_BITS = {4: 16, 6: 32}
_NARROW_BITS = {4: 24, 6: 48}
_WIDEST_BITS = {4: 12, 6: 28}  # wider is nobody's own network: it would need more signposts than allowed
_WIDE, _NARROW = "0", "1"


@dataclass(frozen=True, slots=True)
class Pointer:
    """One signpost: its place within the partition, and the row that it leads to."""

    place: str
    row: RowKey


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where the signposts of an address are: `narrow` and `wide` are closed intervals of places."""

    partition: str
    narrow: tuple[str, str]
    wide: tuple[str, str]


def is_distinct(place: Address | Network) -> bool:
    """Whether an address or network is the same one everywhere: not private, shared or link-local."""
    return bool(place.is_global) and not place.is_multicast


def pointer_keys(cloudlet: Cloudlet, *, private: bool) -> list[RowKey]:
    """The keys of a cloudlet's signposts, `MOST_POINTERS` at most; `private`: of private networks too."""
    keys: list[RowKey] = []
    for network in cloudlet.local_networks:
        if not (private or is_distinct(network)) or network.prefixlen < _WIDEST_BITS[network.version]:
            continue
        bits = _PARTITION_BITS[network.version]
        parts = [network] if network.prefixlen >= bits else network.subnets(new_prefix=bits)
        level = _NARROW if network.prefixlen >= _NARROW_BITS[network.version] else _WIDE
        for part in parts:
            start = part.network_address
            place = f"{level}{start.packed.hex()}/{part.prefixlen}#{cloudlet.uuid}"
            keys.append(RowKey(_partition(start, cloudlet.realm), place))
    return keys[:MOST_POINTERS]


def lookup(address: Address, realm: str) -> Lookup:
    """Where to look for the networks that an address is in."""
    text = address.packed.hex()
    narrow = text[: _NARROW_BITS[address.version] // 4].ljust(len(text), "0")
    # "~" comes after every place.
    return Lookup(
        _partition(address, realm), (f"{_NARROW}{narrow}", f"{_NARROW}{text}~"), (_WIDE, f"{_WIDE}{text}~")
    )


def leads(pointer: Pointer, address: Address) -> bool:
    """Whether the signpost's network has the address."""
    start, _, bits = pointer.place.partition("#")[0].partition("/")
    packed = bytes.fromhex(start[1:])
    first = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    return address in ip_network((first, int(bits)))


def _partition(address: Address, realm: str) -> str:
    start = address.packed[: _PARTITION_BITS[address.version] // 8].hex()
    return f"{realm}{REALM_END if realm else ''}{PARTITION}{address.version}{start}"
