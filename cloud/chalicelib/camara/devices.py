"""Which device a CAMARA request is about.

Called by `views/camara.py`. The standard knows four identifiers; a root knows addresses only, since telephone
numbers and network access identifiers are an operator's secret. Bodies are strict: an unknown field is an
error (CAMARA API design guide, as of Commonalities 0.6).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from uuid import UUID

from chalicelib.camara.problems import CamaraProblem
from chalicelib.errors import InvalidRequest
from chalicelib.fields import Address, Fields

_PHONE = r"\+[1-9][0-9]{4,14}"


@dataclass(frozen=True, slots=True)
class Device:
    """`address` is the identifier in use, of the `given` ones (by their names in the standard)."""

    address: Address
    given: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The one identifier that was used, as `DeviceResponse`."""
        if isinstance(self.address, IPv4Address):
            return {"ipv4Address": {"publicAddress": str(self.address)}}
        return {"ipv6Address": str(self.address)}


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """What Application Endpoint Discovery is asked: for which app, by which of its two names, and device."""

    app_uuid: UUID
    name: str
    device: Device

    @classmethod
    def from_json(cls, value: object) -> "EndpointRequest":
        """From the body of POST retrieve-optimal-app-endpoints."""
        fields = strict(value, "body", ("device", "appId", "applicationEndpointsId"))
        names = [name for name in ("appId", "applicationEndpointsId") if fields.has(name)]
        if not names:
            raise InvalidRequest("body: needs appId or applicationEndpointsId")
        uuids = [fields.uuid(name) for name in names]
        return cls(uuids[0], names[0], device_of(fields))


def zone_device(value: object) -> Device:
    """From the body of POST retrieve-closest-edge-cloud-zone."""
    return device_of(strict(value, "body", ("device",)))


def device_of(fields: Fields) -> Device:
    """The device of a body.

    Raises `CamaraProblem` 422 MISSING_IDENTIFIER where there is none, and UNSUPPORTED_IDENTIFIER where it
    is known by no address.
    """
    if not fields.has("device"):
        raise CamaraProblem(422, "MISSING_IDENTIFIER", "The device can't be identified: give its address.")
    device = strict(
        fields.get("device"),
        "device",
        ("phoneNumber", "networkAccessIdentifier", "ipv4Address", "ipv6Address"),
    )
    found: dict[str, Address | None] = {}
    if device.has("ipv4Address"):
        found["ipv4Address"] = _ipv4(device.get("ipv4Address"))
    if device.has("ipv6Address"):
        found["ipv6Address"] = _ipv6(device.text("ipv6Address", 45), "device.ipv6Address")
    if device.has("phoneNumber"):
        device.text("phoneNumber", 16, pattern=_PHONE)
        found["phoneNumber"] = None
    if device.has("networkAccessIdentifier"):
        device.text("networkAccessIdentifier", 255, 1)
        found["networkAccessIdentifier"] = None
    return _identified(found)


def header_device(headers: Mapping[str, str], peer: Address) -> Device:
    """The device of version 1 of Simple Edge Discovery, whose identifiers are headers.

    Without any of them it is the caller itself, as the standard says.
    """
    found: dict[str, Address | None] = {}
    if "ipv4-address" in headers:
        found["ipv4Address"] = _address(headers["ipv4-address"], IPv4Address, "IPv4-Address")
    if "ipv6-address" in headers:
        found["ipv6Address"] = _ipv6(headers["ipv6-address"], "IPv6-Address")
    if "public-port" in headers:
        _port(headers["public-port"])
    said = Fields(dict(headers), "headers")
    if "phone-number" in headers:
        said.text("phone-number", 16, pattern=r"\+?[1-9][0-9]{4,14}")
        found["phoneNumber"] = None
    if "network-access-identifier" in headers:
        said.text("network-access-identifier", 255, 1)
        found["networkAccessIdentifier"] = None
    if not any(found.values()):  # only names that the root doesn't know: the standard says to go by the peer
        return Device(peer, tuple(found))
    return _identified(found)


def strict(value: object, where: str, known: Iterable[str]) -> Fields:
    """The fields of an object that has no other ones."""
    fields = Fields(value, where)
    unknown = set(value) - set(known) if isinstance(value, dict) else set()
    if unknown:
        raise InvalidRequest(f"{where}: knows no {', '.join(sorted(map(repr, unknown)))[:100]}")
    return fields


def _identified(found: Mapping[str, Address | None]) -> Device:
    if not found:
        raise InvalidRequest("device: must have at least one identifier")
    for address in found.values():
        if address is not None:
            return Device(address, tuple(found))
    raise CamaraProblem(422, "UNSUPPORTED_IDENTIFIER", "Devices are known by their addresses here.")


def _ipv4(value: object) -> Address:
    names = ("publicAddress", "privateAddress", "publicPort")
    fields = strict(value, "device.ipv4Address", names)
    if fields.has("publicPort"):
        fields.integer("publicPort", 0, 65535)
    if fields.has("privateAddress"):
        _address(fields.text("privateAddress", 15), IPv4Address, "device.ipv4Address.privateAddress")
    if not fields.has("publicAddress") or not (fields.has("privateAddress") or fields.has("publicPort")):
        raise InvalidRequest("device.ipv4Address: needs publicAddress, and privateAddress or publicPort")
    return _address(fields.text("publicAddress", 15), IPv4Address, "device.ipv4Address.publicAddress")


def _ipv6(text: str, where: str) -> Address:
    return _address(text, IPv6Address, where)


def _address(text: str, kind: type[Address], where: str) -> Address:
    try:
        address = ip_address(text.strip())
    except ValueError as error:
        raise InvalidRequest(f"{where}: must be an address") from error
    if not isinstance(address, kind):
        raise InvalidRequest(f"{where}: must be an address of the other family")
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address  # without its zone


def _port(text: str) -> None:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise InvalidRequest("Public-port: must be a port")
