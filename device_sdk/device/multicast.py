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
from device_sdk.device import network
from device_sdk.device.findings import Finding

_GROUP, _PORT = "224.0.0.251", 5353  # RFC 6762
_SECONDS = 1.0
_MOST = 8
# A question for PTR in IN (RFC 1035): what a device that looks for cloudlets asks.
_QUESTION = b"\x09_sinfonia\x04_tcp\x05local\x00\x00\x0c\x00\x01"


def multicast_dns(
    hears: Callable[[str], bool] | None = None,
    addresses: Callable[[], tuple[str, ...]] = network.multicast_addresses,
) -> Finding:
    """Whether a question goes out on each network and comes back: a device hears its own."""
    if find_spec("zeroconf") is None:
        advice = "pip install 'sinfonia-serverless[jit]'"
        return Finding("warning", "cloudlets nearby are not looked for: Zeroconf is not installed", advice)
    own = addresses()[:_MOST]
    if not own:
        return Finding("warning", "there is no network to look for cloudlets in", "connect this device")
    asked = {one: Pending(partial(hears or hears_itself, one), "multicast") for one in own}
    deaf = [address for address, answer in asked.items() if not answer.result(10 * _SECONDS)]
    if deaf:
        advice = f"let UDP port {_PORT} to and from {_GROUP} through this device's firewall"
        return Finding("warning", f"multicast is held back at {', '.join(deaf)}", advice)
    return Finding("ok", f"at {', '.join(own)}; a network's own equipment may still hold it back")


def hears_itself(address: str, clock: Callable[[], float] = time.monotonic) -> bool:
    """Whether a question that is sent from `address` comes back to this device."""
    question = secrets.token_bytes(2) + struct.pack("!5H", 0, 1, 0, 0, 0) + _QUESTION
    interface = socket.inet_aton(address)
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hearing,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
        ):
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hearing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            hearing.bind((_GROUP, _PORT))  # the group's alone: nothing else is heard
            membership = socket.inet_aton(_GROUP) + interface
            hearing.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            asking.sendto(question, (_GROUP, _PORT))
            return _hears(hearing, question, clock() + _SECONDS, clock)
    except OSError:
        return False


def _hears(hearing: socket.socket, question: bytes, deadline: float, clock: Callable[[], float]) -> bool:
    while (left := deadline - clock()) > 0:
        hearing.settimeout(left)
        if hearing.recv(2048) == question:
            return True
    return False
