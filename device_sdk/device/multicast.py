"""Whether cloudlets nearby can be found: multicast DNS on this device's networks. Called by `doctor.py`."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from device_sdk.background import Pending
from device_sdk.device.findings import Finding
from device_sdk.nearby.links import number_of, own_links

_GROUP, _GROUP6, _PORT = "224.0.0.251", "ff02::fb", 5353  # RFC 6762
_SECONDS = 1.0
_MOST = 8
# A question for PTR in IN (RFC 1035): what a device that looks for cloudlets asks.
_QUESTION = b"\x09_sinfonia\x04_tcp\x05local\x00\x00\x0c\x00\x01"


def _own_addresses() -> tuple[str, ...]:
    return tuple(address for link in own_links() for address in link.addresses)


def multicast_dns(
    hears: Callable[[str], bool] | None = None, addresses: Callable[[], tuple[str, ...]] = _own_addresses
) -> Finding:
    """Whether a question goes out on each network, over IPv4 and IPv6, and comes back: a device hears its
    own.
    """
    if find_spec("zeroconf") is None:
        advice = "pip install 'sinfonia-serverless[jit]'"
        return Finding("warning", "cloudlets nearby are not looked for: Zeroconf is not installed", advice)
    own = addresses()[:_MOST]
    if not own:
        return Finding("warning", "there is no network to look for cloudlets in", "connect this device")
    asked = {one: Pending(partial(hears or hears_itself, one), "multicast") for one in own}
    deaf = [address for address, answer in asked.items() if not answer.result(10 * _SECONDS)]
    if deaf:
        groups = [group for group in (_GROUP, _GROUP6) if any((":" in one) == (":" in group) for one in deaf)]
        advice = f"let UDP port {_PORT} to and from {' and '.join(groups)} through this device's firewall"
        return Finding("warning", f"multicast is held back at {', '.join(deaf)}", advice)
    return Finding("ok", f"at {', '.join(own)}; a network's own equipment may still hold it back")


def hears_itself(address: str, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether a question that is sent from `address` comes back to this device."""
    question = secrets.token_bytes(2) + struct.pack("!5H", 0, 1, 0, 0, 0) + _QUESTION
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with (
            socket.socket(family, socket.SOCK_DGRAM) as hearing,
            socket.socket(family, socket.SOCK_DGRAM) as asking,
        ):
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            group = (_join6 if ":" in address else _join)(hearing, asking, address)
            asking.sendto(question, group)
            return _hears(hearing, question, clock() + _SECONDS, clock)
    except OSError:
        return False


def _join(hearing: socket.socket, asking: socket.socket, address: str) -> tuple[str, int]:
    """Have the sockets hear and ask the group at the address; bound to the group, nothing else is heard."""
    interface = socket.inet_aton(address)
    hearing.bind((_GROUP, _PORT))
    hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_GROUP) + interface)
    asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    return _GROUP, _PORT


def _join6(hearing: socket.socket, asking: socket.socket, address: str) -> tuple[str, int, int, int]:
    """The same over IPv6, on the address's link."""
    number = number_of(address.partition("%")[2])
    group = (_GROUP6, _PORT, 0, number)
    hearing.bind(group)
    membership = socket.inet_pton(socket.AF_INET6, _GROUP6) + struct.pack("@I", number)
    hearing.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
    asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, number)
    asking.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    return group


def _hears(hearing: socket.socket, question: bytes, deadline: float, clock: Callable[[], float]) -> bool:
    while (left := deadline - clock()) > 0:
        hearing.settimeout(left)
        if hearing.recv(2048) == question:
            return True
    return False
