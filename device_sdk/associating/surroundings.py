"""Waiting in a way that notices when the device's own network changes: rtnetlink(7). For `association.py`.

The kernel also tells what changes nothing, such as a router that says again what it said before. So what
there is gets compared.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

# <linux/rtnetlink.h>: RTMGRP_LINK, and of both families RTMGRP_IPV…_IFADDR, RTMGRP_IPV…_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_READ_BYTES = 64 * 1024
_NETWORKS = Path("/proc/thread-self/net")
_MOST_BYTES = 1 << 20
_SIOCGIFFLAGS, _UP_AND_RUNNING = 0x8913, 0x1 | 0x40  # netdevice(7)
# The columns of proc(5)'s tables that say what there is; the others count and age.
_COLUMNS = {"route": (0, 1, 2, 3, 6, 7), "ipv6_route": (0, 1, 4, 5, 9), "if_inet6": (0, 1, 2)}
_NO_MATTER = ("fe8", "ff")  # link-local and multicast


def network_now() -> tuple[str, ...]:
    """The links that carry, addresses and routes of the network that this thread is in."""
    return tuple(_facts())


class Surroundings:
    """The network in which this process is. Where the system tells nothing of it, nothing is noticed."""

    def __init__(self, network: Callable[[], tuple[str, ...]] = network_now) -> None:
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._news: socket.socket | None = None
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        with contextlib.suppress(OSError):
            self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._news.bind((0, _GROUPS))
            self._poll.register(self._news, select.POLLIN)
        self._network = network
        self._known = network()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; returns at once when it was woken, and True if the network has changed."""
        changed = False
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor == self._bell:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
            else:
                self._drain()
                before, self._known = self._known, self._network()
                changed = self._known != before
        return changed

    def wake(self) -> None:
        """Let whoever waits go on."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Stop listening."""
        os.close(self._bell)
        if self._news is not None:
            self._news.close()

    def _drain(self) -> None:
        # What is told does not matter, only that something is; more than fits (ENOBUFS) is news as well.
        with contextlib.suppress(OSError):
            while self._news is not None and self._news.recv(_READ_BYTES):
                pass


def _facts() -> Iterator[str]:
    yield from sorted(_links())
    yield _text("fib_trie")  # the addresses of IPv4, which has no table of them
    for table, columns in _COLUMNS.items():
        rows = (line.split() for line in _text(table).splitlines())
        fit = [row for row in rows if len(row) > columns[-1]]
        if table != "route":
            fit = [row for row in fit if not row[0].startswith(_NO_MATTER)]
        yield "\n".join(sorted(" ".join(row[number] for number in columns) for row in fit))


def _links() -> Iterator[str]:
    """Each link's name, and whether it is up and carries."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("16sH14s", name.encode(), 0, b""))
                yield f"{name} {struct.unpack_from('H', answer, 16)[0] & _UP_AND_RUNNING}"


def _text(table: str) -> str:
    try:
        with (_NETWORKS / table).open(encoding="ascii", errors="replace") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return ""
