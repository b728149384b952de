"""The links on which this device has neighbours: where `discovery.py` looks for cloudlets, and where
`device/multicast.py` tries whether that works. Their names and numbers, also for `st1.py`.

Read from the kernel (netdevice(7), proc(5)). Loopback and point-to-point links, tunnels among them, have no
neighbours; links without a carrier have none now.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

MAX_LINKS = 16
_SIOCGIFFLAGS, _SIOCGIFADDR = 0x8913, 0x8915  # <linux/sockios.h>
# <linux/if.h>
_UP, _BROADCAST, _LOOPBACK, _POINT_TO_POINT, _RUNNING, _MULTICAST = 0x1, 0x2, 0x8, 0x10, 0x40, 0x1000
_SUITED = _UP | _BROADCAST | _RUNNING | _MULTICAST
_ADDRESSES6 = Path("/proc/thread-self/net/if_inet6")
_LINK_SCOPE = 0x20  # <net/ipv6.h>: IPV6_ADDR_LINKLOCAL
_NOT_THERE = 0x48  # <linux/if_addr.h>: IFA_F_TENTATIVE, IFA_F_DADFAILED

Ask = Callable[[str, int], bytes | None]
"""What the kernel says of an interface, from the first byte of the answer on; None where it says nothing."""


@dataclass(frozen=True)
class Link:
    """An interface, with its first IPv4 address and its link-local IPv6 one, as `fe80::1%eth0`."""

    name: str
    address4: str | None
    address6: str | None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that it has."""
        return tuple(one for one in (self.address4, self.address6) if one is not None)


def own_links(
    names: Callable[[], list[tuple[int, str]]] = socket.if_nameindex,
    ask: Ask | None = None,
    addresses6: Path = _ADDRESSES6,
) -> tuple[Link, ...]:
    """At most 16 links with addresses."""
    asked, local = ask or _ask, _link_local(addresses6)
    found = (
        Link(name, _address4(asked(name, _SIOCGIFADDR)), local.get(name))
        for _, name in names()
        if _is_suited(asked(name, _SIOCGIFFLAGS))
    )
    return tuple(link for link in found if link.addresses)[:MAX_LINKS]


def number_of(link: str) -> int:
    """The kernel's number of a link, given by name or number. Raises `OSError` where there is none."""
    try:
        return socket.if_nametoindex(link)
    except OSError:
        if link.isascii() and link.isdecimal() and 0 < int(link) < 1 << 31:
            return int(link)
        raise


def name_of(number: str) -> str:
    """The name of the link with a number; the number where there is none."""
    try:
        return socket.if_indextoname(int(number))
    except (OSError, OverflowError, ValueError):
        return number


def _is_suited(answer: bytes | None) -> bool:
    flags = int(struct.unpack_from("H", answer)[0]) if answer else 0
    return flags & _SUITED == _SUITED and not flags & (_LOOPBACK | _POINT_TO_POINT)


def _address4(answer: bytes | None) -> str | None:
    return str(IPv4Address(answer[4:8])) if answer else None


def _link_local(path: Path) -> Mapping[str, str]:
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # no IPv6 here
        return found
    for line in lines:
        address, _, _, scope, flags, name = line.split()
        if int(scope, 16) == _LINK_SCOPE and not int(flags, 16) & _NOT_THERE:
            found.setdefault(name, f"{IPv6Address(bytes.fromhex(address))}%{name}")
    return found


def _ask(name: str, what: int) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            return fcntl.ioctl(asked, what, struct.pack("16s24x", name.encode()[:15]))[16:]
        except OSError:  # it is gone, or has no such address
            return None
