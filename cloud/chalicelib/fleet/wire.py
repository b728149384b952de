"""What a root hears from cloudlets, and the lease that it answers with.

Frozen dataclasses with `from_json`; the shapes are those of `openapi.yaml`. Called by `views/cloudlets.py`.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields, Network, parse_network, parse_url, parse_uuid
from chalicelib.fleet.cloudlets import MOST_CACHED, Hardware
from chalicelib.fleet.geo import Location
from chalicelib.wire import LARGEST_INTEGER, parse_location, parse_place, parse_resources

TENANT = "[a-z][a-z0-9-]{1,30}"
_JURISDICTION = "[A-Z]{2}(-[A-Z0-9]{1,3})?"
_HIGHEST_PRICE = 1e6


@dataclass(frozen=True, slots=True)
class Registration:
    """A cloudlet's registration, or the part of a published keepalive that amounts to one.

    `endpoint` is empty where the cloudlet is not `callable` and names none, `tenant` where it is shared.
    """

    endpoint: str
    incarnation: int
    name: str | None = None
    interval_seconds: float | None = None
    location: Location | None = None
    local_networks: tuple[Network, ...] = ()
    accepted_clients: tuple[Network, ...] = ()
    rejected_clients: tuple[Network, ...] = ()
    resources: dict[str, float] = field(default_factory=dict)
    tenant: str = ""
    invitation: str | None = None
    price: float | None = None
    jurisdiction: str | None = None
    hardware: Hardware = field(default_factory=Hardware)
    cached: tuple[UUID, ...] = ()
    draining: bool = False
    callable: bool = True

    @classmethod
    def from_json(cls, value: object) -> "Registration":
        """From the body of PUT /cloudlets/{uuid}."""
        fields = Fields(value, "body")
        callable_ = fields.boolean("callable") if fields.has("callable") else True
        needs_endpoint = callable_ or fields.has("endpoint")
        return cls(
            endpoint=_parse_endpoint(fields) if needs_endpoint else "",
            incarnation=fields.integer("incarnation", 0, LARGEST_INTEGER),
            name=fields.label("name", 128, 1) if fields.has("name") else None,
            interval_seconds=fields.number("interval_seconds", 1, 3600)
            if fields.has("interval_seconds")
            else None,
            location=parse_location(fields.get("location"), "location") if fields.has("location") else None,
            resources=parse_resources(fields.get("resources"), "resources")
            if fields.has("resources")
            else {},
            callable=callable_,
            draining=fields.boolean("draining") if fields.has("draining") else False,
            cached=_parse_cached(fields),
            **_networks(fields),
            **_belonging(fields),
            **_offer(fields),
        )


def _belonging(fields: Fields) -> dict[str, Any]:
    """Whose the cloudlet is to be, and what lets it in."""
    return {
        "tenant": fields.text("tenant", 31, 2, TENANT) if fields.has("tenant") else "",
        "invitation": fields.text("invitation", 128, 1, "[!-~]+") if fields.has("invitation") else None,
    }


def _offer(fields: Fields) -> dict[str, Any]:
    """What the cloudlet has, and on which terms."""
    return {
        "price": round(fields.number("price", 0, _HIGHEST_PRICE), 6) if fields.has("price") else None,
        "jurisdiction": fields.text("jurisdiction", 6, 2, _JURISDICTION)
        if fields.has("jurisdiction")
        else None,
        "hardware": _parse_hardware(Fields(fields.get("hardware"), "hardware"))
        if fields.has("hardware")
        else Hardware(),
    }


def _parse_hardware(fields: Fields) -> Hardware:
    return Hardware(
        cores=fields.integer("cores", 1, 4096) if fields.has("cores") else None,
        memory_bytes=fields.integer("memory_bytes", 0, 2**50) if fields.has("memory_bytes") else None,
        gpu=fields.label("gpu", 64, 1) if fields.has("gpu") else None,
    )


def _parse_cached(fields: Fields) -> tuple[UUID, ...]:
    return tuple(dict.fromkeys(fields.each("cached", MOST_CACHED, parse_uuid)))


@dataclass(frozen=True, slots=True)
class PublishedKeepalive:
    """The published Sinfonia's keepalive; of several locations the first counts."""

    uuid: UUID
    registration: Registration

    @classmethod
    def from_json(cls, value: object) -> "PublishedKeepalive":
        """From the body of POST /cloudlets/. It knows no incarnation, so that is 0."""
        fields = Fields(value, "body")
        locations = fields.each("locations", 4, parse_place)
        registration = Registration(
            endpoint=_parse_endpoint(fields),
            incarnation=0,
            name=fields.label("name", 128) or None if fields.has("name") else None,
            location=locations[0] if locations else None,
            resources=parse_resources(fields.get("resources"), "resources"),
            **_networks(fields),
        )
        return cls(fields.uuid("uuid"), registration)


def _networks(fields: Fields) -> dict[str, Any]:
    """What both forms of registration have."""
    return {
        name: fields.each(name, 16, parse_network)
        for name in ("local_networks", "accepted_clients", "rejected_clients")
    }


def _parse_endpoint(fields: Fields) -> str:
    text = fields.text("endpoint", 256)
    if parse_url(text, "endpoint").query:
        raise InvalidRequest("endpoint: must have no query")
    return text


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Still here, and this is how busy I am; None: as before."""

    sequence: int
    resources: dict[str, float] | None = None
    location: Location | None = None
    draining: bool | None = None
    cached: tuple[UUID, ...] | None = None

    @classmethod
    def from_json(cls, value: object) -> "Keepalive":
        """From the body of POST /cloudlets/{uuid}/keepalive."""
        fields = Fields(value, "body")
        return cls(
            sequence=fields.integer("sequence", 1, LARGEST_INTEGER),
            resources=parse_resources(fields.get("resources"), "resources")
            if fields.has("resources")
            else None,
            location=parse_location(fields.get("location"), "location") if fields.has("location") else None,
            draining=fields.boolean("draining") if fields.has("draining") else None,
            cached=_parse_cached(fields) if fields.has("cached") else None,
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer to a registration or a keepalive.

    `root_keys` is a `KeySet` of the contract, `commands` are `Command`s.
    """

    interval_seconds: float
    lease_seconds: float
    lease_token: str | None = None
    root_keys: dict[str, Any] | None = None
    commands: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `Lease` of the contract."""
        optional: dict[str, Any] = {}
        if self.lease_token is not None:
            optional["lease_token"] = self.lease_token
        if self.root_keys is not None:
            optional["root_keys"] = self.root_keys
        if self.commands:
            optional["commands"] = list(self.commands)
        return {"interval_seconds": self.interval_seconds, "lease_seconds": self.lease_seconds, **optional}
