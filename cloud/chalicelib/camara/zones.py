"""Cloudlets as CAMARA sees them: an edge cloud zone each, whose agent is the application's endpoint.

Called by `views/camara.py`.
"""

import re
from ipaddress import IPv4Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from chalicelib.fleet.cloudlets import Cloudlet

_LONGEST_NAME = 55
_PORTS = {"http": 80, "https": 443}


def zone(cloudlet: Cloudlet, provider: str) -> dict[str, Any]:
    """`EdgeCloudZone` with what is required of it."""
    return {
        "edgeCloudZoneId": str(cloudlet.uuid),
        "edgeCloudZoneName": standard_name(cloudlet.name or "", f"zone-{str(cloudlet.uuid)[:8]}"),
        "edgeCloudProvider": standard_name(cloudlet.realm, provider),
    }


def endpoint(cloudlet: Cloudlet, provider: str) -> dict[str, Any]:
    """`ApplicationEndpoint`: where the cloudlet is asked to deploy the app.

    A device that deploys there gets a tunnel, and through it the app's own addresses; nothing of them is
    public, so the standard has no other place for them than this.
    """
    url = urlsplit(cloudlet.endpoint)
    found: dict[str, Any] = {"port": url.port or _PORTS[url.scheme]}
    host = url.hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        found["fqdn"] = host
    else:
        found["ipv4Addresses" if isinstance(address, IPv4Address) else "ipv6Addresses"] = [str(address)]
    located = zone(cloudlet, provider) | {"edgeCloudZoneStatus": "active"}
    if cloudlet.jurisdiction is not None:
        located["edgeCloudRegion"] = cloudlet.jurisdiction
    found["edgeCloudZone"] = located
    found["applicationEndpointDescription"] = f"Sinfonia deploy API at {cloudlet.endpoint}"
    return found


def standard_name(text: str, otherwise: str) -> str:
    """A name with the standard's few characters: letters, digits and inner hyphens, at most 55."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", text)[:_LONGEST_NAME].strip("-")
    return name or otherwise
