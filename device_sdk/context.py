"""What a device tells about itself when it asks for a backend: the contract's `DeviceContext`.

Made by the app's developer, written into the deploy call by `st1.py`; part of `wire.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from device_sdk.fields import (
    WireError,
    boolean,
    integer,
    items,
    mapping,
    number,
    optional,
    text,
    uuid,
    without_none,
)

_MOST_VALUES_BYTES = 4096
TRUST_LEVELS = ("unsigned", "signed", "invited", "listed")  # a later one includes the earlier


@dataclass(frozen=True)
class Location:
    """Where the device is, in degrees (WGS 84); `accuracy_m` is a radius in metres."""

    latitude: float
    longitude: float
    accuracy_m: float | None = None

    def __post_init__(self) -> None:
        number(self.latitude, "latitude", -90, 90)
        number(self.longitude, "longitude", -180, 180)
        if self.accuracy_m is not None:
            number(self.accuracy_m, "accuracy_m", 0, 40_100_000)

    @classmethod
    def from_json(cls, value: Any, path: str = "location") -> Location:
        """Raise `WireError` unless `value` is a location."""
        data = mapping(value, path)
        try:
            return cls(data.get("latitude"), data.get("longitude"), data.get("accuracy_m"))  # type: ignore[arg-type]
        except WireError as error:
            raise WireError(f"{path}.{error.field}", str(error).partition(": ")[2]) from error

    def to_json(self) -> dict[str, Any]:
        """The contract's `Location`."""
        return without_none(vars(self))


@dataclass(frozen=True)
class Network:
    """How the device is connected: its `addresses`, `link_type` (ethernet, wifi, 5g, …), metered or not."""

    addresses: tuple[str, ...] = ()
    link_type: str | None = None
    metered: bool | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "network") -> Network:
        """Raise `WireError` unless `value` describes a network."""
        data = mapping(value, path)
        addresses = optional(data, "addresses", path, lambda v, p: items(v, p, _address, 16))
        return cls(
            addresses=addresses or (),
            link_type=optional(data, "link_type", path, _short(32)),
            metered=optional(data, "metered", path, boolean),
        )

    def to_json(self) -> dict[str, Any]:
        """The `network` of the contract's `DeviceContext`."""
        return without_none({**vars(self), "addresses": list(self.addresses) or None})


@dataclass(frozen=True)
class Hardware:
    """What the device is: `cores`, `memory_bytes`, `gpu` (a name), `battery_percent`."""

    cores: int | None = None
    memory_bytes: int | None = None
    gpu: str | None = None
    battery_percent: float | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "hardware") -> Hardware:
        """Raise `WireError` unless `value` describes hardware."""
        data = mapping(value, path)
        return cls(
            cores=optional(data, "cores", path, lambda v, p: integer(v, p, 1, 4096)),
            memory_bytes=optional(data, "memory_bytes", path, lambda v, p: integer(v, p, 0, 2**50)),
            gpu=optional(data, "gpu", path, _short(128)),
            battery_percent=optional(data, "battery_percent", path, lambda v, p: number(v, p, 0, 100)),
        )

    def to_json(self) -> dict[str, Any]:
        """The `hardware` of the contract's `DeviceContext`."""
        return without_none(vars(self))


@dataclass(frozen=True)
class Requirements:
    """What a cloudlet must have to be chosen; whatever is None is not asked for.

    `jurisdictions`: ISO 3166 codes, one is enough and a country ("US") covers its parts ("US-PA"). `trust`:
    one of `TRUST_LEVELS` or better. `max_price`: units of the root's currency per hour. `cached`: the app's
    images are there already.
    """

    gpu: bool | None = None
    memory_bytes: int | None = None
    cores: int | None = None
    jurisdictions: tuple[str, ...] = ()
    trust: str | None = None
    max_price: float | None = None
    cached: bool | None = None

    @classmethod
    def from_json(cls, value: Any, path: str = "requirements") -> Requirements:
        """Raise `WireError` unless `value` are requirements."""
        data = mapping(value, path)
        jurisdictions = optional(data, "jurisdictions", path, lambda v, p: items(v, p, _jurisdiction, 64))
        return cls(
            gpu=optional(data, "gpu", path, boolean),
            memory_bytes=optional(data, "memory_bytes", path, lambda v, p: integer(v, p, 0, 2**50)),
            cores=optional(data, "cores", path, lambda v, p: integer(v, p, 1, 4096)),
            jurisdictions=jurisdictions or (),
            trust=optional(data, "trust", path, _trust),
            max_price=optional(data, "max_price", path, lambda v, p: number(v, p, 0, 1_000_000)),
            cached=optional(data, "cached", path, boolean),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `Requirements`."""
        return without_none({**vars(self), "jurisdictions": list(self.jurisdictions) or None})


@dataclass(frozen=True)
class DeviceContext:
    """What the app lets the SDK tell about its device, and what it demands. Everything is optional.

    Cloudlets to `avoid` are not asked; where a `cloudlet` is named, no other is.
    `values` are set over those of the app's recipe, which lists the ones that can be: texts, numbers and
    truth values, in objects where names have dots. `bundle` names one that the cloudlet was handed; the SDK
    sets it.
    """

    location: Location | None = None
    network: Network | None = None
    hardware: Hardware | None = None
    requirements: Requirements | None = None
    values: Mapping[str, Any] | None = None
    avoid: tuple[UUID, ...] = ()
    cloudlet: UUID | None = None
    bundle: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> DeviceContext:
        """Raise `WireError` unless `value` is a device's context."""
        data = mapping(value, "context")
        return cls(
            location=optional(data, "location", "", Location.from_json),
            network=optional(data, "network", "", Network.from_json),
            hardware=optional(data, "hardware", "", Hardware.from_json),
            requirements=optional(data, "requirements", "", Requirements.from_json),
            values=optional(data, "values", "", _values),
            avoid=optional(data, "avoid", "", lambda v, p: items(v, p, uuid, 16)) or (),
            cloudlet=optional(data, "cloudlet", "", uuid),
            bundle=optional(data, "bundle", "", _digest),
        )

    def to_json(self) -> dict[str, Any]:
        """The contract's `DeviceContext`."""
        said = {name: part for name, part in vars(self).items() if part not in (None, ())}
        plain = {name: said.pop(name) for name in ("values", "avoid", "cloudlet", "bundle") if name in said}
        if "avoid" in plain:
            plain["avoid"] = [str(uuid) for uuid in plain["avoid"]]
        if "cloudlet" in plain:
            plain["cloudlet"] = str(plain["cloudlet"])
        return {name: part.to_json() for name, part in said.items()} | plain


def _values(value: Any, path: str) -> Mapping[str, Any]:
    data = mapping(value, path)
    try:
        size = len(json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(path, "must hold what JSON has") from error
    if size > _MOST_VALUES_BYTES:
        raise WireError(path, f"must have at most {_MOST_VALUES_BYTES} bytes as JSON")
    return data


def _digest(value: Any, path: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text(value, path)):
        raise WireError(path, "must be a SHA-256 digest")
    return str(value)


def _address(value: Any, path: str) -> str:
    try:
        return str(ip_address(text(value, path)))
    except ValueError as error:
        raise WireError(path, "must be an IP address") from error


def _jurisdiction(value: Any, path: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", text(value, path)):
        raise WireError(path, "must be an ISO 3166 code like DE or US-PA")
    return str(value)


def _trust(value: Any, path: str) -> str:
    if text(value, path) not in TRUST_LEVELS:
        raise WireError(path, f"must be one of {', '.join(TRUST_LEVELS)}")
    return str(value)


def _short(maximum: int) -> Any:
    def parse(value: Any, path: str) -> str:
        if len(text(value, path)) > maximum:
            raise WireError(path, f"must have at most {maximum} characters")
        return str(value)

    return parse
