"""What the device says and hears, as the contract (`openapi.yaml`) has it.

Every type reads itself with `from_json` (raising `WireError`, which names the field; fields it does not
know are ignored) and writes itself with `to_json`. What the values may ask of this device is for
`routes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from device_sdk.context import DeviceContext, Hardware, Location, Network
from device_sdk.fields import (
    WireError,
    boolean,
    integer,
    items,
    key,
    label,
    mapping,
    number,
    optional,
    required,
    text,
    uuid,
    without_none,
)
from device_sdk.service_wire import Health, Measurement, Problem
from device_sdk.tunnels.tunnel_wire import TunnelConfig, TunnelIPv6, encode_key

__all__ = [
    "Candidate",
    "CloudletName",
    "Deployment",
    "DeviceContext",
    "Hardware",
    "Health",
    "Location",
    "Measurement",
    "Network",
    "Problem",
    "Service",
    "ServicePort",
    "TunnelConfig",
    "TunnelIPv6",
    "WireError",
]

MAX_RESULTS = 3


@dataclass(frozen=True)
class ServicePort:
    """One port of a service; `protocol` is TCP or UDP."""

    protocol: str
    port: int

    @classmethod
    def from_json(cls, value: Any, path: str) -> ServicePort:
        """Raise `WireError` unless `value` is a port."""
        data = mapping(value, path)
        protocol = required(data, "protocol", path, text)
        if protocol not in ("TCP", "UDP"):
            raise WireError(f"{path}.protocol", "must be TCP or UDP")
        return cls(protocol, required(data, "port", path, lambda v, p: integer(v, p, 1, 65535)))


@dataclass(frozen=True)
class Service:
    """One name that the device can use, the tunnel address behind it, and the ports there."""

    name: str
    address: str
    ports: tuple[ServicePort, ...]

    @classmethod
    def from_json(cls, value: Any, path: str = "Services") -> Service:
        """Raise `WireError` unless `value` is a service."""
        data = mapping(value, path)
        return cls(
            name=required(data, "name", path, text),
            address=required(data, "address", path, text),
            ports=required(data, "ports", path, lambda v, p: items(v, p, ServicePort.from_json, 64)),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `Service`."""
        return {
            "name": self.name,
            "address": self.address,
            "ports": [vars(port).copy() for port in self.ports],
        }


@dataclass(frozen=True)
class CloudletName:
    """Which cloudlet it is: its UUID and, where known, a name for people. `stale`: its lease has ended."""

    uuid: UUID
    name: str | None = None
    stale: bool | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "Cloudlet") -> CloudletName:
        """Raise `WireError` unless `value` names a cloudlet."""
        data = mapping(value, path)
        return cls(
            required(data, "UUID", path, uuid),
            optional(data, "Name", path, label),
            optional(data, "Stale", path, boolean),
        )

    def to_json(self) -> dict[str, Any]:
        """The `Cloudlet` of the contract's `Deployment`."""
        return without_none({"UUID": str(self.uuid), "Name": self.name, "Stale": self.stale})


@dataclass(frozen=True)
class Deployment:
    """One backend for one device, as a root, a cloudlet or a gateway describes it.

    `status` is Deploying, Ready or Failed; published cloudlets have their own words. `created` is RFC 3339.
    `draining`: the cloudlet will be away. `rediscover_after_seconds`: when to ask the root again.
    """

    app_uuid: UUID
    application_key: bytes
    status: str
    tunnel: TunnelConfig
    reason: str | None = None
    name: str | None = None
    created: str | None = None
    cloudlet: CloudletName | None = None
    status_url: str | None = None
    services: tuple[Service, ...] = ()
    draining: bool | None = None
    rediscover_after_seconds: int | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "") -> Deployment:
        """Raise `WireError` unless `value` is a deployment."""
        data = mapping(value, path or "deployment")
        services = optional(data, "Services", path, lambda v, p: items(v, p, Service.from_json, 64))
        return cls(
            app_uuid=required(data, "UUID", path, uuid),
            application_key=required(data, "ApplicationKey", path, key),
            status=required(data, "Status", path, text),
            tunnel=required(data, "TunnelConfig", path, TunnelConfig.from_json),
            reason=optional(data, "Reason", path, label),
            name=optional(data, "DeploymentName", path, label),
            created=optional(data, "Created", path, label),
            cloudlet=optional(data, "Cloudlet", path, CloudletName.from_json),
            status_url=optional(data, "StatusURL", path, text),
            services=services or (),
            draining=optional(data, "Draining", path, boolean),
            rediscover_after_seconds=optional(data, "RediscoverAfter", path, _again),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `Deployment`."""
        return without_none(
            {
                "UUID": str(self.app_uuid),
                "ApplicationKey": encode_key(self.application_key),
                "Status": self.status,
                "Reason": self.reason,
                "DeploymentName": self.name,
                "Created": self.created,
                "Cloudlet": self.cloudlet.to_json() if self.cloudlet else None,
                "StatusURL": self.status_url,
                "Services": [service.to_json() for service in self.services] or None,
                "TunnelConfig": self.tunnel.to_json(),
                "Draining": self.draining,
                "RediscoverAfter": self.rediscover_after_seconds,
            }
        )


@dataclass(frozen=True)
class Candidate:
    """A cloudlet that a deploy would ask. `location` is (latitude, longitude); `stale`: its lease ended.

    `endpoint` is None where the root can't call it, and has it fetch what it is to do.
    """

    uuid: UUID
    endpoint: str | None = None
    name: str | None = None
    location: tuple[float, float] | None = None
    distance_km: float | None = None
    local_network: bool | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    stale: bool | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "") -> Candidate:
        """Raise `WireError` unless `value` is a candidate."""
        data = mapping(value, path or "candidate")
        return cls(
            uuid=required(data, "UUID", path, uuid),
            endpoint=optional(data, "Endpoint", path, text),
            name=optional(data, "Name", path, label),
            location=optional(data, "Location", path, _place),
            distance_km=optional(data, "DistanceKm", path, lambda v, p: number(v, p, 0)),
            local_network=optional(data, "LocalNetwork", path, boolean),
            resources=optional(data, "Resources", path, _resources) or {},
            stale=optional(data, "Stale", path, boolean),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `Candidate`."""
        return without_none(
            {
                "UUID": str(self.uuid),
                "Name": self.name,
                "Endpoint": self.endpoint,
                "Location": list(self.location) if self.location else None,
                "DistanceKm": self.distance_km,
                "LocalNetwork": self.local_network,
                "Resources": dict(self.resources) or None,
                "Stale": self.stale,
            }
        )


def _again(value: Any, path: str) -> int:
    return integer(value, path, 1, 86400)


def _place(value: Any, path: str) -> tuple[float, float]:
    numbers = items(value, path, number, 2)
    if len(numbers) != 2:
        raise WireError(path, "must be [latitude, longitude]")
    return number(numbers[0], path, -90, 90), number(numbers[1], path, -180, 180)


def _resources(value: Any, path: str) -> dict[str, float]:
    known = ("cpu_ratio", "mem_ratio", "gpu_ratio", "net_rx_rate", "net_tx_rate")
    data = mapping(value, path)
    return {name: number(data[name], f"{path}.{name}", 0) for name in known if name in data}
