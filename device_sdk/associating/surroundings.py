"""Waiting in a way that notices when the device's own network changes: rtnetlink(7). For `association.py`."""

from __future__ import annotations

import contextlib
import os
import select
import socket

# <linux/rtnetlink.h>: RTMGRP_LINK, and of both families RTMGRP_IPV…_IFADDR, RTMGRP_IPV…_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_READ_BYTES = 64 * 1024


class Surroundings:
    """The network in which this process is. Where the system tells nothing of it, nothing is noticed."""

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._news: socket.socket | None = None
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        with contextlib.suppress(OSError):
            self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._news.bind((0, _GROUPS))
            self._poll.register(self._news, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; returns at once when it was woken, and True if the network has changed."""
        changed = False
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor == self._bell:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._bell)
            else:
                changed = True
                self._drain()
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
