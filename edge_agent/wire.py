"""What the agent says and understands on the wire: frozen types of `openapi.yaml`, checked by hand.

`from_json` takes a decoded JSON value and raises `InvalidRequest` naming the field; unknown fields are
ignored. `to_json` gives a value for `json.dumps` that holds the contract. This is what devices and the API
need; what goes between the agent and its roots is in `root_wire.py`. Called by `api.py`, `tunnel_api.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from edge_agent.deployments.requirements import Requirements
from edge_agent.errors import InvalidRequest
from edge_agent.fields import as_object, format_key, integer, number, parse_digest, parse_uuid, text

MAX_BODY_BYTES = 64 * 1024
MAX_VALUES_BYTES = 4096
_MAX_VALUES_DEPTH = 8
STATES = ("Deploying", "Ready", "Failed")
_RESOURCE_LIMITS = {
    "cpu_ratio": 1.0,
    "mem_ratio": 1.0,
    "gpu_ratio": 100.0,
    "net_rx_rate": 1e15,
    "net_tx_rate": 1e15,
}


@dataclass(frozen=True)
class Location:
    """Degrees (WGS 84), with the radius in metres within which it is true."""

    latitude: float
    longitude: float
    accuracy_m: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> Location:
        """Check a `Location` object."""
        data = as_object(value, "location")
        latitude, longitude = number(data, "latitude", -90, 90), number(data, "longitude", -180, 180)
        if latitude is None or longitude is None:
            raise InvalidRequest("location: needs latitude and longitude")
        return cls(latitude, longitude, number(data, "accuracy_m", 0, 40_100_000))

    def to_json(self) -> dict[str, Any]:
        """The `Location` object."""
        return present(latitude=self.latitude, longitude=self.longitude, accuracy_m=self.accuracy_m)


@dataclass(frozen=True)
class DeviceContext:
    """What a device tells about itself. The agent checks all of it, and goes by the `requirements` and by the
    `values`: what the call sets of the recipe's, as canonical JSON, empty for nothing.
    """

    location: Location | None = None
    addresses: tuple[str, ...] = ()
    requirements: Requirements = field(default_factory=Requirements)
    values: str = ""
    bundle: str = ""

    @classmethod
    def from_json(cls, value: Any) -> DeviceContext:
        """Check a `DeviceContext` object."""
        data = as_object(value, "body")
        location = Location.from_json(data["location"]) if "location" in data else None
        if "hardware" in data:
            _check_hardware(as_object(data["hardware"], "hardware"))
        network = as_object(data.get("network", {}), "network")
        text(network, "link_type", 32)
        if not isinstance(network.get("metered", False), bool):
            raise InvalidRequest("metered: must be true or false")
        demanded = Requirements.from_json(data.get("requirements", {}))
        addresses = _check_addresses(network.get("addresses", []))
        values = canonical_values(data.get("values", {}))
        bundle = parse_digest(data["bundle"], "bundle") if "bundle" in data else ""
        return cls(location, addresses, demanded, values, bundle)


def canonical_values(value: Any) -> str:
    """A `CallValues` object as the shortest JSON, names in order; empty for none."""
    data = as_object(value, "values")
    if _depth(data) > _MAX_VALUES_DEPTH:
        raise InvalidRequest(f"values: objects must be at most {_MAX_VALUES_DEPTH} deep")
    try:
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except ValueError as error:
        raise InvalidRequest("values: holds what JSON does not have") from error
    if size > MAX_VALUES_BYTES:
        raise InvalidRequest(f"values: must have at most {MAX_VALUES_BYTES} bytes as JSON")
    return text if data else ""


def _depth(value: Any) -> int:
    """How deep it is nested, counted only as far as it matters."""
    level, depth = [value], 0
    while level and depth <= _MAX_VALUES_DEPTH + 1:
        level = [inner for item in level for inner in _inner(item)]
        depth += 1
    return depth - 1


def _inner(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []


def _check_addresses(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > 16:
        raise InvalidRequest("addresses: must be a list of at most 16 addresses")
    try:
        return tuple(str(ip_address(text({"addresses": item}, "addresses", 45) or "")) for item in value)
    except InvalidRequest:
        raise
    except ValueError as error:
        raise InvalidRequest("addresses: must hold IP addresses") from error


def _check_hardware(data: Mapping[str, Any]) -> None:
    integer(data, "cores", 1, 4096)
    integer(data, "memory_bytes", 0, 1 << 50)
    text(data, "gpu", 128)
    number(data, "battery_percent", 0, 100)


@dataclass(frozen=True)
class ServicePort:
    """A port that a device can reach: `TCP` or `UDP`, 1 to 65535."""

    protocol: str
    port: int


@dataclass(frozen=True)
class Service:
    """One name that a device can use, the tunnel address behind it and its ports."""

    name: str
    address: str
    ports: tuple[ServicePort, ...]

    def to_json(self) -> dict[str, Any]:
        """The `Service` object."""
        ports = [{"protocol": port.protocol, "port": port.port} for port in self.ports]
        return {"name": self.name, "address": self.address, "ports": ports}


@dataclass(frozen=True)
class TunnelIPv6:
    """What a device adds to its tunnel where it has IPv6; `endpoint` if the gateway is reached over IPv6."""

    endpoint: str | None = None
    allowed_ips: tuple[str, ...] = ()
    address: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The `ipv6` object, with what there is."""
        lists = {"allowedIPs": self.allowed_ips, "address": self.address, "dns": self.dns}
        return present(endpoint=self.endpoint, **{name: list(held) for name, held in lists.items() if held})


@dataclass(frozen=True)
class TunnelConfig:
    """How a device sets its tunnel up; `public_key` is the gateway's, 32 bytes."""

    public_key: bytes
    allowed_ips: tuple[str, ...]
    endpoint: str
    address: tuple[str, ...]
    dns: tuple[str, ...]
    ipv6: TunnelIPv6 | None = None

    def to_json(self) -> dict[str, Any]:
        """The `TunnelConfig` object."""
        return present(
            publicKey=format_key(self.public_key),
            allowedIPs=list(self.allowed_ips),
            endpoint=self.endpoint,
            address=list(self.address),
            dns=list(self.dns),
            ipv6=self.ipv6.to_json() if self.ipv6 else None,
        )


@dataclass(frozen=True)
class Deployment:
    """A deployment as devices and roots see it; `state` is one of `STATES`, `created` RFC 3339."""

    app: UUID
    key: bytes
    state: str
    tunnel: TunnelConfig
    name: str
    created: str
    cloudlet: UUID
    status_url: str
    services: tuple[Service, ...]
    cloudlet_name: str | None = None
    reason: str | None = None
    draining: bool = False

    def to_json(self) -> dict[str, Any]:
        """The `Deployment` object."""
        cloudlet = present(UUID=str(self.cloudlet), Name=self.cloudlet_name)
        return present(
            UUID=str(self.app),
            ApplicationKey=format_key(self.key),
            Status=self.state,
            Reason=self.reason,
            DeploymentName=self.name,
            Created=self.created,
            Cloudlet=cloudlet,
            StatusURL=self.status_url,
            Draining=self.draining or None,
            Services=[service.to_json() for service in self.services],
            TunnelConfig=self.tunnel.to_json(),
        )


@dataclass(frozen=True)
class Resources:
    """How busy the cloudlet is; a value that could not be measured is absent."""

    values: Mapping[str, float]

    @classmethod
    def of(cls, measured: Mapping[str, float]) -> Resources:
        """Keep what the contract knows, within its limits."""
        kept = {
            name: min(max(measured[name], 0.0), limit)
            for name, limit in _RESOURCE_LIMITS.items()
            if name in measured and measured[name] == measured[name]
        }
        return cls(kept)

    def to_json(self) -> dict[str, Any]:
        """The `Resources` object."""
        return dict(self.values)


@dataclass(frozen=True)
class Problem:
    """An RFC 9457 problem; `kind` is the last part of its `urn:sinfonia:problem:` type."""

    kind: str
    title: str
    status: int
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """The `Problem` object."""
        kind = f"urn:sinfonia:problem:{self.kind}"
        return present(type=kind, title=self.title, status=self.status, detail=self.detail or None)


def parse_app(value: str) -> UUID:
    """The app's UUID of a path."""
    return parse_uuid(value, "app_uuid")


def present(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
