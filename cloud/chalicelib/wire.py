"""What a root hears from devices, and the values that both devices and cloudlets send.

Frozen dataclasses with `from_json`; the shapes are those of `openapi.yaml`. Called by the views and by
`incoming.py`; what cloudlets alone send is in `fleet/wire.py`.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from chalicelib.call_values import check_values
from chalicelib.choosing.requirements import Requirements
from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields, check_number, parse_decimal, parse_uuid
from chalicelib.fleet.geo import Location

MAX_RESULTS = 3
_MOST_AVOIDED = 16
LARGEST_INTEGER = 2**53 - 1  # what every JSON reader keeps exactly (RFC 8259, section 6)

# How busy a cloudlet is: name -> (largest value, digits kept). CPU, memory 0-1, GPU 0-100, rates bytes/s.
RESOURCES: dict[str, tuple[float, int]] = {
    "cpu_ratio": (1.0, 4),
    "mem_ratio": (1.0, 4),
    "gpu_ratio": (100.0, 2),
    "net_rx_rate": (1e15, 0),
    "net_tx_rate": (1e15, 0),
}


def parse_location(value: object, where: str) -> Location:
    """A `Location` object; five digits (a metre) are kept."""
    fields = Fields(value, where)
    return Location(
        latitude=round(fields.number("latitude", -90, 90), 5),
        longitude=round(fields.number("longitude", -180, 180), 5),
        accuracy_m=fields.number("accuracy_m", 0, 4.01e7) if fields.has("accuracy_m") else None,
    )


def parse_place(value: object, where: str) -> Location:
    """A `[latitude, longitude]` pair."""
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidRequest(f"{where}: must be [latitude, longitude]")
    return parse_location({"latitude": value[0], "longitude": value[1]}, where)


def parse_header_location(text: str) -> Location:
    """`X-Location: latitude,longitude`."""
    try:
        latitude, longitude = map(parse_decimal, text.split(","))
        return parse_location({"latitude": latitude, "longitude": longitude}, "X-Location")
    except ValueError as error:
        raise InvalidRequest(
            "X-Location: must be latitude,longitude in degrees, like 40.4433,-79.9436"
        ) from error


def parse_resources(value: object, where: str) -> dict[str, float]:
    """The known resources; unknown names are dropped."""
    fields = Fields(value, where)
    return {
        name: round(fields.number(name, 0, most), digits)
        for name, (most, digits) in RESOURCES.items()
        if fields.has(name)
    }


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """What the app lets the SDK tell about its device, and what it demands; everything is optional.

    What is not kept here is checked and not used.
    """

    location: Location | None = None
    requirements: Requirements = field(default_factory=Requirements)
    values: dict[str, Any] = field(default_factory=dict)
    avoid: frozenset[UUID] = frozenset()
    cloudlet: UUID | None = None

    @classmethod
    def from_json(cls, value: object) -> "DeviceContext":
        """From a deploy call's body."""
        fields = Fields(value, "body")
        if fields.has("network"):
            _check_network(Fields(fields.get("network"), "network"))
        if fields.has("hardware"):
            _check_hardware(Fields(fields.get("hardware"), "hardware"))
        return cls(
            parse_location(fields.get("location"), "location") if fields.has("location") else None,
            Requirements.from_json(fields.get("requirements"))
            if fields.has("requirements")
            else Requirements(),
            check_values(fields.get("values"), "values") if fields.has("values") else {},
            frozenset(fields.each("avoid", _MOST_AVOIDED, parse_uuid)),
            fields.uuid("cloudlet") if fields.has("cloudlet") else None,
        )


def _check_network(fields: Fields) -> None:
    fields.each("addresses", 16, _check_address)
    if fields.has("link_type"):
        fields.text("link_type", 32)
    if fields.has("metered"):
        fields.boolean("metered")


def _check_address(value: Any, where: str) -> None:
    text = Fields({where: value}, "body").text(where, 45)
    try:
        ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f"{where}: must be an IP address") from error


def _check_hardware(fields: Fields) -> None:
    if fields.has("cores"):
        fields.integer("cores", 1, 4096)
    if fields.has("memory_bytes"):
        fields.integer("memory_bytes", 0, 2**50)
    if fields.has("gpu"):
        fields.text("gpu", 128)
    if fields.has("battery_percent"):
        fields.number("battery_percent", 0, 100)


def parse_results(text: str | None) -> int:
    """The `results` parameter: at least 1, more than 3 counts as 3, absent is 1."""
    if text is None:
        return 1
    if not text.isascii() or not text.isdecimal() or not text.strip("0"):
        raise InvalidRequest("results: must be an integer of at least 1")
    return MAX_RESULTS if len(text.lstrip("0")) > 1 else min(int(text), MAX_RESULTS)


def parse_wait(text: str | None, otherwise: float, most: float = 25.0) -> float:
    """The `wait` parameter in seconds."""
    if text is None:
        return otherwise
    try:
        return check_number(parse_decimal(text), "wait", 0, most)
    except ValueError as error:
        raise InvalidRequest(f"wait: must be a number from 0 to {most:g}") from error
