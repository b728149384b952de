"""Sockets for a WireGuard that lives in an app's own network: made out here, handed in there.

What WireGuard encrypts has to leave through the device's network, while its plain side is in the app's. The
kernel's WireGuard has that built in (it sends from where its interface was born); one in user space has its
sockets where it runs. So a seccomp filter asks us whenever it binds an Internet socket (seccomp_unotify(2)),
and we put a bound one of ours in its place. Nothing is copied on the way, packets take the same path as
without it, and no rights are needed. Used by `sandbox.py`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

# <linux/seccomp.h>: SECCOMP_IOCTL_NOTIF_RECV, _SEND, _ADDFD, and the layouts of their structures
_RECEIVE, _SEND, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
_NOTIFICATION = struct.Struct("QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction pointer, six arguments
_RESPONSE = struct.Struct("QqiI")  # id, value, error, flags
_ADDITION = struct.Struct("QIIII")  # id, flags, our descriptor, its descriptor, the descriptor's flags
_IN_ITS_PLACE = 1
_BUFFER_BYTES = 7 << 20  # as wireguard-go has it; the kernel cuts it to what it allows
_IPV6_ADDRESS_BYTES = 28  # sizeof(struct sockaddr_in6)


class Births:
    """Answers a filter's questions from a thread of its own, until the process in there ends."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        threading.Thread(target=self._serve, name="sinfonia-births", daemon=True).start()

    def _serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        try:
            # Any other event says that nobody is left to ask.
            while not any(event & ~select.POLLIN for _, event in waiting.poll()):
                question = bytearray(_NOTIFICATION.size)
                with suppress(FileNotFoundError):  # it was killed meanwhile
                    fcntl.ioctl(self._listener, _RECEIVE, question)
                    self._answer(*_NOTIFICATION.unpack(question))
        finally:
            os.close(self._listener)

    def _answer(self, identity: int, pid: int, *rest: int) -> None:
        """Put a socket of ours in the place of descriptor `rest[4]`, whose address has `rest[6]` bytes."""
        theirs, length = rest[4], rest[6]
        try:
            with _bound(socket.AF_INET6 if length == _IPV6_ADDRESS_BYTES else socket.AF_INET) as made:
                made.setblocking(not _flags(pid, theirs) & os.O_NONBLOCK)
                addition = _ADDITION.pack(identity, _IN_ITS_PLACE, made.fileno(), theirs, os.O_CLOEXEC)
                fcntl.ioctl(self._listener, _ADD_DESCRIPTOR, addition)
        except FileNotFoundError:
            raise
        except OSError as error:
            self._say(identity, -(error.errno or errno.EIO))
        else:
            self._say(identity, 0)

    def _say(self, identity: int, error: int) -> None:
        fcntl.ioctl(self._listener, _SEND, bytearray(_RESPONSE.pack(identity, 0, error, 0)))


def _bound(family: socket.AddressFamily) -> socket.socket:
    """A UDP socket on a free port, with the options that wireguard-go gives its own, but for one.

    With IP_PKTINFO it learns to which address packets come, and sends from that one for ever: it would notice
    changes of the network that it is in, which is the app's. Without, each packet takes the way there is.
    """
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        if family is socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(("::", 0))
        else:
            made.bind(("", 0))
    except BaseException:
        made.close()
        raise
    return made


def _flags(pid: int, descriptor: int) -> int:
    """The flags of another process's open file."""
    for line in Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "flags":
            return int(value, 8)
    return 0
