"""What the machine says of its network: the output of `ip` read, and which name servers Podman takes from it.
Called by `isolation.py`.
"""

from __future__ import annotations

import contextlib
import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

from edge_agent.errors import Unavailable

_RESOLVED = IPv4Address("127.0.0.53")
"""Where systemd-resolved answers on its own machine."""


def networks(listing: bytes) -> list[IPv4Network]:
    """The networks that this machine is on, from `ip -j address`; raises `Unavailable`."""
    try:
        links = [one for link in json.loads(listing) for one in link["addr_info"]]
        return [IPv4Network(f"{one['local']}/{one['prefixlen']}", strict=False) for one in links]
    except (LookupError, TypeError, ValueError) as error:
        raise Unavailable("ip: its listing of addresses can't be read") from error


def ports(listing: bytes) -> list[tuple[str, str, bool]]:
    """The ports of bridges, each with its bridge and whether that gives back to it what came from it; from
    `ip -j -d link`. Raises `Unavailable`.
    """
    try:
        links = [link for link in json.loads(listing) if link]
        return [
            (
                str(link["ifname"]),
                str(link["master"]),
                bool(link["linkinfo"]["info_slave_data"].get("hairpin")),
            )
            for link in links
        ]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable("ip: its listing of links can't be read") from error


def given_resolvers(
    path: Path = Path("/etc/resolv.conf"), resolved: Path = Path("/run/systemd/resolve/resolv.conf")
) -> list[IPv4Address]:
    """The name servers that Podman writes into guests' resolv.conf: this machine's, but for its own; and
    those of systemd-resolved, where it is the only one.
    """
    found = _name_servers(path)
    if found == [_RESOLVED]:
        found = _name_servers(resolved)
    return [address for address in found if isinstance(address, IPv4Address) and not address.is_loopback]


def _name_servers(path: Path) -> list[IPv4Address | IPv6Address]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == "nameserver":
            with contextlib.suppress(ValueError):
                found.append(ip_address(words[1]))
    return found
