"""The networks that this device is in, which no tunnel may take over. Asked by `asking.py`, for the judge in
`routes.py`.

Read from the kernel (proc(5), netdevice(7)): what is on the same link, the gateways, and the name servers.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from device_sdk.tunnels.routes import Route

_NETWORKS = Path("/proc/thread-self/net")
_RESOLV_CONF = Path("/etc/resolv.conf")
_MOST_LINES = 1000
_UP, _GATEWAY = 0x1, 0x2  # <linux/route.h>: RTF_UP, RTF_GATEWAY
_SIOCGIFHWADDR = 0x8927  # <linux/sockios.h>
_NO_LINK_LAYER = 0xFFFE  # <linux/if_arp.h>: ARPHRD_NONE, other tunnels of this device
_LOOPBACK = 772  # ARPHRD_LOOPBACK

LinkType = Callable[[str], int]
"""An interface's type, as <linux/if_arp.h> numbers them."""


def own_networks(
    networks: Path = _NETWORKS, resolv_conf: Path = _RESOLV_CONF, link_type: LinkType | None = None
) -> tuple[Route, ...]:
    """What is on this device's links, its gateways and its name servers, the widest first.

    What can't be read is left out.
    """
    kind = link_type or _link_type
    found = [*_routes4(networks / "route", kind), *_routes6(networks / "ipv6_route", kind)]
    found += _name_servers(resolv_conf)
    return tuple(sorted(dict.fromkeys(found), key=lambda network: network.prefixlen))


def _routes4(path: Path, link_type: LinkType) -> Iterator[Route]:
    for fields in _lines(path)[1:]:
        with contextlib.suppress(ValueError, IndexError):
            network, gateway, mask = (_address4(fields[number]) for number in (1, 2, 7))
            flags = int(fields[3], 16)
            if not flags & _UP or link_type(fields[0]) in (_NO_LINK_LAYER, _LOOPBACK):
                continue
            yield ip_network(gateway) if flags & _GATEWAY else ip_network(f"{network}/{mask}")


def _routes6(path: Path, link_type: LinkType) -> Iterator[Route]:
    for fields in _lines(path):
        with contextlib.suppress(ValueError, IndexError):
            network, gateway = (IPv6Address(bytes.fromhex(fields[number])) for number in (0, 4))
            flags, prefix = int(fields[8], 16), int(fields[1], 16)
            if not flags & _UP or link_type(fields[9]) in (_NO_LINK_LAYER, _LOOPBACK):
                continue
            yield ip_network(gateway) if flags & _GATEWAY else ip_network(f"{network}/{prefix}")


def _name_servers(path: Path) -> Iterator[Route]:
    for fields in _lines(path):
        with contextlib.suppress(ValueError, IndexError):
            if fields[0] == "nameserver":
                yield ip_network(ip_address(fields[1].partition("%")[0]))


def _lines(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return [line.split() for _, line in zip(range(_MOST_LINES), file, strict=False)]
    except OSError:
        return []


def _address4(text: str) -> IPv4Address:
    return IPv4Address(int(text, 16).to_bytes(4, "little"))


def _link_type(name: str) -> int:
    """The type of an interface in the network that this thread is in; 0 if there is none of this name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            request = struct.pack("16sH14s", name.encode()[:15], 0, b"")
            answer = fcntl.ioctl(asked, _SIOCGIFHWADDR, request)
        except OSError:
            return 0
    return int(struct.unpack_from("H", answer, 16)[0])
