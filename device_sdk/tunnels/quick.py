"""A tunnel as a file of wg-quick(8), which WireGuard's official apps take too. Called by `cli/export.py`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from device_sdk.keys import KeyPair
from device_sdk.tunnels.control import KEEPALIVE_SECONDS
from device_sdk.tunnels.families import without_ipv6
from device_sdk.tunnels.routes import TunnelPlan

MTU = 1280
"""What IPv6 guarantees, and what the apps take by themselves: some mobile networks carry less than 1500."""
_EVERYTHING = ("0.0.0.0/0", "::/0")


def wg_quick(
    plan: TunnelPlan,
    key: KeyPair,
    about: Sequence[str] = (),
    *,
    all_traffic: bool = False,
    names: bool = True,
    android_apps: Sequence[str] = (),
) -> str:
    """The file's text, with the private key in it; `about` are lines for people.

    `names`: whether the gateway resolves names. It knows the backend's and refuses others, and systems ask it
    for all; but on Android `android_apps`, names of packages, can have the tunnel to themselves.
    Only what is behind the tunnel goes into it, unless `all_traffic` shall. It has IPv4 inside alone: that
    is where backends are, and wg-quick gives up on a system without IPv6.
    """
    plan = without_ipv6(plan)
    address, port = plan.endpoint
    own = (f"{one}/{one.max_prefixlen}" for one in plan.addresses)
    servers = [str(server) for server in plan.name_servers if names and plan.reaches(server)]
    lines = [
        *(f"# {line}" for line in about),
        "[Interface]",
        f"PrivateKey = {b64encode(key.private).decode('ascii')}",
        f"Address = {', '.join(own)}",
        *([f"DNS = {', '.join((*servers, *plan.search_domains))}"] if servers else []),
        f"MTU = {MTU}",
        *([f"IncludedApplications = {', '.join(android_apps)}"] if android_apps else []),
        "",
        "[Peer]",
        f"PublicKey = {b64encode(plan.public_key).decode('ascii')}",
        f"AllowedIPs = {', '.join(_EVERYTHING if all_traffic else map(str, plan.routes))}",
        f"Endpoint = [{address}]:{port}" if address.version == 6 else f"Endpoint = {address}:{port}",
        f"PersistentKeepalive = {KEEPALIVE_SECONDS}",
        "",
    ]
    return "\n".join(lines)
