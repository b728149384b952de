"""A cloudlet as the root keeps it, and where in the table it is kept.

Everything in ST-1 passes these around; `table.py` stores them. Matchers see them too, so the
attributes have the published Sinfonia's names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Network
from chalicelib.fleet.geo import PARTITION_RESOLUTION, Location, ancestor, cell_at, centre, distance_km

REALM_END = ":"  # partitions of a tenant's own cloudlets are "<tenant>:<cell>", of shared ones "<cell>"
NOWHERE = "nowhere"  # partitions of cloudlets without a location begin with this
NOWHERE_PARTITIONS = 4  # so that their keepalives are not all in one: 1,000 write units a second each
MAX_ROW_BYTES = 1024  # one write unit
STALE_SECONDS = 3600  # for so long after its lease a row is kept, to be offered last and marked
MOST_CACHED = 16
MOVE_KM = 2.0  # a cloudlet this far from where its row is filed gets a new row: on the way it costs one write
# An upper bound of everything in a row but texts, networks, realm and cached apps; the port's tests hold it.
_FIXED_BYTES = 310
_UUID_BYTES = 16


@dataclass(frozen=True, slots=True, order=True)
class RowKey:
    """`cell`: the partition, an H3 cell at resolution 2. `place`: "<H3 cell at resolution 9>#<uuid>"."""

    cell: str
    place: str

    @property
    def realm(self) -> str:
        """The tenant whose own cloudlet it is of; "" where it is shared."""
        return self.cell.rpartition(REALM_END)[0]


class Trust(IntEnum):
    """How a cloudlet was admitted; a higher level includes the lower ones."""

    UNSIGNED = 0
    SIGNED = 1
    INVITED = 2
    LISTED = 3


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a cloudlet has, as far as it says: whole CPU cores, bytes of memory, the GPU's model."""

    cores: int | None = None
    memory_bytes: int | None = None
    gpu: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `Hardware` of the contract."""
        said = {"cores": self.cores, "memory_bytes": self.memory_bytes, "gpu": self.gpu}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Cloudlet:
    """One row. Times are seconds since 1970 by the root's clock; `resources` are `wire.RESOURCES`.

    `expires_at` is the end of the lease; the row itself stays for `STALE_SECONDS` more. `price` is in units
    of the root's currency per hour, `jurisdiction` an ISO 3166 code ("DE", "US-PA"). `cached` are apps whose
    images are there already. A cloudlet that is not `callable` gets its commands when it asks for them.
    """

    key: RowKey
    uuid: UUID
    endpoint: str
    incarnation: int
    sequence: int
    last_keepalive: int
    expires_at: int
    name: str | None = None
    location: Location | None = None
    local_networks: tuple[Network, ...] = ()
    accepted_clients: tuple[Network, ...] = ()
    rejected_clients: tuple[Network, ...] = ()
    resources: Mapping[str, float] = field(default_factory=dict)
    published: bool = False
    trust: Trust = Trust.UNSIGNED
    price: float | None = None
    jurisdiction: str | None = None
    hardware: Hardware = Hardware()
    cached: tuple[UUID, ...] = ()
    draining: bool = False
    callable: bool = True

    @property
    def realm(self) -> str:
        """The tenant whose own cloudlet it is; "" where it is shared."""
        return self.key.realm

    @property
    def locations(self) -> list[Location]:
        """As the published matchers expect it."""
        return [] if self.location is None else [self.location]

    @property
    def last_update(self) -> datetime:
        """When it was heard of last, as the published matchers expect it."""
        return datetime.fromtimestamp(self.last_keepalive, UTC)

    def distance_from(self, location: Location) -> float | None:
        """In km, as the published matchers expect it; None where its place is unknown."""
        return None if self.location is None else distance_km(self.location, location)

    @property
    def age(self) -> tuple[int, int]:
        """Of two rows with one UUID, the one with the greater of this is the newer."""
        return self.incarnation, self.sequence

    def to_json(self) -> dict[str, Any]:
        """As `Cloudlet` of the contract."""
        optional: dict[str, Any] = {
            "name": self.name,
            "endpoint": self.endpoint or None,
            "locations": [[self.location.latitude, self.location.longitude]] if self.location else None,
            "tenant": self.realm or None,
            "price": self.price,
            "jurisdiction": self.jurisdiction,
        }
        return {
            "uuid": str(self.uuid),
            **{name: value for name, value in optional.items() if value is not None},
            "resources": dict(self.resources),
            "local_networks": [str(network) for network in self.local_networks],
            "accepted_clients": [str(network) for network in self.accepted_clients],
            "rejected_clients": [str(network) for network in self.rejected_clients],
            "last_keepalive": _rfc3339(self.last_keepalive),
            "expires_at": _rfc3339(self.expires_at),
            "trust": self.trust.name.lower(),
            "hardware": self.hardware.to_json(),
            "cached": [str(app) for app in self.cached],
            "draining": self.draining,
            "callable": self.callable,
        }


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease that was renewed. `commands_wait`: since the last time commands have come for the cloudlet."""

    commands_wait: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a partition, in the order of places. `more`: the limit was hit before the range ended."""

    rows: list[Cloudlet]
    more: bool


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def row_key(uuid: UUID, location: Location | None, realm: str = "") -> RowKey:
    """Where a cloudlet is kept: by its place, else by its UUID, among the shared ones or a tenant's own."""
    before = realm + REALM_END if realm else ""
    if location is None:
        return RowKey(f"{before}{NOWHERE}{uuid.int % NOWHERE_PARTITIONS}", f"#{uuid}")
    cell = cell_at(location)
    return RowKey(before + ancestor(cell, PARTITION_RESOLUTION), f"{cell}#{uuid}")


def has_left(key: RowKey, location: Location) -> bool:
    """Whether a cloudlet is too far from where its row is filed, so that it needs another one."""
    cell = key.place.partition("#")[0]
    return not cell or distance_km(centre(cell), location) > MOVE_KM


def pack_networks(networks: tuple[Network, ...]) -> bytes:
    """Networks in few bytes: a prefix length (plus 64 for IPv6), then as many bytes as the prefix needs."""
    return b"".join(
        bytes([network.prefixlen + (64 if network.version == 6 else 0)])
        + network.network_address.packed[: (network.prefixlen + 7) // 8]
        for network in networks
    )


def unpack_networks(packed: bytes) -> tuple[Network, ...]:
    """The networks that `pack_networks` packed."""
    networks: list[Network] = []
    at = 0
    while at < len(packed):
        version, bits = (4, packed[at]) if packed[at] < 64 else (6, packed[at] - 64)
        length = (bits + 7) // 8
        address = packed[at + 1 : at + 1 + length].ljust(4 if version == 4 else 16, b"\0")
        networks.append(IPv4Network((address, bits)) if version == 4 else IPv6Network((address, bits)))
        at += 1 + length
    return tuple(networks)


def check_size(cloudlet: Cloudlet) -> None:
    """Refuse what would not fit one write unit, so that every keepalive costs one."""
    size = _bytes_of_its_own(cloudlet)
    if size > MAX_ROW_BYTES - _FIXED_BYTES:
        raise InvalidRequest(
            f"body: name, endpoint, GPU, networks and tenant take {size} bytes; "
            f"{MAX_ROW_BYTES - _FIXED_BYTES} are allowed together"
        )


def cached_room(cloudlet: Cloudlet) -> int:
    """How many cached apps the row has room for."""
    left = MAX_ROW_BYTES - _FIXED_BYTES - _bytes_of_its_own(cloudlet)
    return min(MOST_CACHED, left // _UUID_BYTES)


def _bytes_of_its_own(cloudlet: Cloudlet) -> int:
    """What in a row depends on what a registration says, cached apps left out."""
    texts = (cloudlet.name or "", cloudlet.endpoint, cloudlet.hardware.gpu or "", cloudlet.realm)
    networks = (cloudlet.local_networks, cloudlet.accepted_clients, cloudlet.rejected_clients)
    return sum(len(text.encode()) for text in texts) + sum(len(pack_networks(each)) for each in networks)
