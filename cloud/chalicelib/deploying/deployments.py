"""What a cloudlet says about a deployment, checked, and as the root passes it on.

Called by `agents.py` with the JSON that an agent answered. Agents are strangers: only fields of the
contract are passed on, and only with values that fit it. Complaints are `InvalidRequest`, which
`agents.py` turns into the agent's failure.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address, ip_interface
from typing import Any
from uuid import UUID

from chalicelib.errors import InvalidRequest
from chalicelib.fields import Fields, parse_network, parse_url
from chalicelib.keys import json_form, parse_application_key

_STATUS = {"Deploying": "Deploying", "Ready": "Ready", "Failed": "Failed", "Deployed": "Ready"}
_LONGEST_REASON = 1024
# When a device had better ask again: moving costs a cold start, but from one that may be away one moves soon.
_AGAIN_SECONDS, _AGAIN_STALE_SECONDS = 600, 60
_KEY_PATTERN = r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: checked JSON fields, and what the root itself looks at.

    `status` is Deploying, Ready or Failed; the published agents' "Deployed" is Ready, and what else an
    agent may say is Deploying.
    """

    app_uuid: UUID
    application_key: bytes
    status: str
    fields: dict[str, Any]

    @classmethod
    def from_json(cls, value: object) -> "Deployment":
        """From one element of a deploy answer."""
        fields = Fields(value, "deployment")
        status = _STATUS.get(fields.text("Status", 64), "Deploying")
        key = parse_application_key(fields.text("ApplicationKey", 64))
        app_uuid = fields.uuid("UUID")
        checked: dict[str, Any] = {"UUID": str(app_uuid), "ApplicationKey": json_form(key), "Status": status}
        if fields.has("Reason"):
            checked["Reason"] = fields.text("Reason", 65536)[:_LONGEST_REASON]
        for name, longest in (("DeploymentName", 253), ("Created", 64), ("StatusURL", 256)):
            if fields.has(name):
                checked[name] = fields.text(name, longest)
        if "Created" in checked:
            _check_time(checked["Created"])
        if fields.has("StatusURL"):
            parse_url(checked["StatusURL"], "StatusURL")
        if fields.has("Services"):
            checked["Services"] = list(fields.each("Services", 16, _service))
        checked["TunnelConfig"] = _tunnel(Fields(fields.get("TunnelConfig"), "TunnelConfig"))
        return cls(app_uuid, key, status, checked)

    @property
    def name(self) -> str | None:
        """What the cloudlet calls it."""
        name = self.fields.get("DeploymentName")
        return str(name) if name is not None else None

    def at(self, cloudlet_uuid: UUID, name: str | None, *, stale: bool = False) -> "Deployment":
        """The same, with the cloudlet that the root knows it to be on; `stale`: if its lease has ended."""
        cloudlet: dict[str, Any] = {"UUID": str(cloudlet_uuid)} | ({} if name is None else {"Name": name})
        if stale:
            cloudlet["Stale"] = True
        again = _AGAIN_STALE_SECONDS if stale else _AGAIN_SECONDS
        return replace(self, fields=self.fields | {"Cloudlet": cloudlet, "RediscoverAfter": again})

    def to_json(self) -> dict[str, Any]:
        """As `Deployment` of the contract."""
        return self.fields


def _check_time(text: str) -> None:
    try:
        aware = datetime.fromisoformat(text).tzinfo is not None and "T" in text.upper()
    except ValueError:
        aware = False
    if not aware:
        raise InvalidRequest("Created: must be a time like 2026-11-24T12:00:00Z")


def _tunnel(fields: Fields) -> dict[str, Any]:
    addresses = fields.each("address", 16, _interface)
    if not addresses:
        raise InvalidRequest("TunnelConfig.address: must not be empty")
    for name in ("allowedIPs", "dns"):
        if not fields.has(name):
            raise InvalidRequest(f"TunnelConfig.{name}: is missing")
    ipv6 = {"ipv6": _ipv6(Fields(fields.get("ipv6"), "TunnelConfig.ipv6"))} if fields.has("ipv6") else {}
    return {
        "publicKey": fields.text("publicKey", 44, pattern=_KEY_PATTERN),
        "allowedIPs": [str(network) for network in fields.each("allowedIPs", 64, parse_network)],
        "endpoint": _endpoint(fields.text("endpoint", 64)),
        "address": list(addresses),
        "dns": list(fields.each("dns", 16, _dns_name)),
        **ipv6,
    }


def _ipv6(fields: Fields) -> dict[str, Any]:
    """The same tunnel in IPv6, with what there is of it."""
    told: dict[str, Any] = {}
    if fields.has("endpoint"):
        told["endpoint"] = _endpoint(fields.text("endpoint", 64))
    if fields.has("allowedIPs"):
        told["allowedIPs"] = [str(network) for network in fields.each("allowedIPs", 64, parse_network)]
    if fields.has("address"):
        told["address"] = list(fields.each("address", 16, _interface))
    if fields.has("dns"):
        told["dns"] = list(fields.each("dns", 16, _dns_name))
    return told


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise InvalidRequest("TunnelConfig.endpoint: must be a literal address and port") from error
    if not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise InvalidRequest("TunnelConfig.endpoint: must end in a port")
    return text


def _interface(value: object, where: str) -> str:
    text = Fields({where: value}, "deployment").text(where, 45)
    try:
        ip_interface(text)
    except ValueError as error:
        raise InvalidRequest(f"{where}: must be an address, with or without a mask") from error
    return text


def _dns_name(value: object, where: str) -> str:
    return Fields({where: value}, "deployment").text(where, 253, 1, r"[0-9A-Za-z.:_-]+")


def _service(value: object, where: str) -> dict[str, Any]:
    fields = Fields(value, where)
    return {
        "name": fields.text("name", 63, 1),
        "address": _interface(fields.get("address"), "address"),
        "ports": list(fields.each("ports", 64, _port)),
    }


def _port(value: object, where: str) -> dict[str, Any]:
    fields = Fields(value, where)
    return {
        "protocol": fields.text("protocol", 3, pattern="TCP|UDP"),
        "port": fields.integer("port", 1, 65535),
    }
