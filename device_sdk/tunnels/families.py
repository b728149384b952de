"""Which address families this device's own network has, and so what of a tunnel's plan it can use. Called by
`passage.py` and `quick.py`.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

from device_sdk.tunnels.routes import Address, TunnelPlan, without_link

_SWITCH = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")


def fitting(plan: TunnelPlan, switch: Path = _SWITCH) -> TunnelPlan:
    """The plan without IPv6 inside where this system has none, and to the gateway's first endpoint that there
    is a way to. Sends nothing.
    """
    if not _enabled(switch):
        plan = without_ipv6(plan)
    return replace(plan, endpoint=next(filter(_has_way, plan.ways), plan.endpoint))


def without_ipv6(plan: TunnelPlan) -> TunnelPlan:
    """The plan with IPv4 alone inside, where backends are; the same plan if it has none."""
    addresses = tuple(address for address in plan.addresses if address.version == 4)
    routes = tuple(route for route in plan.routes if route.version == 4)
    return replace(plan, addresses=addresses, routes=routes) if addresses and routes else plan


def _enabled(switch: Path) -> bool:
    try:
        return switch.read_text().strip() == "0"
    except OSError:
        return False


def _has_way(endpoint: tuple[Address, int]) -> bool:
    address, port = endpoint
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    link = int(getattr(address, "scope_id", None) or 0)
    place = (str(without_link(address)), port, *((0, link) if link else ()))
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)  # of UDP: the routing table is asked, and nobody else
    except OSError:
        return False
    return True
