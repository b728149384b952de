"""One tunnel with one key to one gateway at a time: who opens one claims it here. Called by `wireguard.py`.

Two would take the gateway's attention from each other with every packet. The claim is one of the kernel's
abstract names (unix(7)): it belongs to the device's network, and goes with the process.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from device_sdk.errors import InUseError, TunnelError
from device_sdk.fields import printable
from device_sdk.keys import KeyPair
from device_sdk.tunnels.routes import TunnelPlan

_PROC = Path("/proc")
_MOST_PROCESSES = 1 << 15


def claim(plan: TunnelPlan, key: KeyPair, proc: Path = _PROC) -> socket.socket:
    """Be the only one until the socket is closed. Raises `InUseError`, which says who is."""
    name = hashlib.sha256(b"sinfonia tunnel" + key.public + plan.public_key).hexdigest()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(f"\0{name}")
    except OSError as error:
        made.close()
        if error.errno != errno.EADDRINUSE:
            raise TunnelError(f"The tunnel can't be claimed: {error.strerror}.") from error
        raise InUseError(
            f"{_holder(name, proc)} has this app's tunnel to that cloudlet open, and there can be only one: "
            "end it first, or start what needs the backend behind that tunnel."
        ) from error
    return made


def _holder(name: str, proc: Path) -> str:
    """Who holds the claim, as far as this user can see."""
    inode = _inode(name, proc)
    for process in _processes(proc) if inode else ():
        if any(_points_to(entry, f"socket:[{inode}]") for entry in _open_files(process)):
            if int(process.name) == os.getpid():
                return "This program itself"
            return f"The program {_command(process)} (process {process.name})"
    return "Another user's program on this device"


def _inode(name: str, proc: Path) -> str | None:
    try:
        with (proc / "thread-self" / "net" / "unix").open(encoding="ascii", errors="replace") as table:
            return next((row[6] for row in map(str.split, table) if row[-1] == f"@{name}"), None)
    except (OSError, IndexError):
        return None


def _processes(proc: Path) -> Iterator[Path]:
    numbers = (entry for entry in proc.iterdir() if entry.name.isdecimal())
    yield from (entry for _, entry in zip(range(_MOST_PROCESSES), numbers, strict=False))


def _open_files(process: Path) -> list[Path]:
    try:
        return list((process / "fd").iterdir())
    except OSError:  # another user's, or it has ended
        return []


def _points_to(entry: Path, what: str) -> bool:
    try:
        return os.readlink(entry) == what  # noqa: PTH115 - what it points to is no path
    except OSError:
        return False


def _command(process: Path) -> str:
    try:
        return printable((process / "comm").read_text(errors="replace").strip(), 64)
    except OSError:
        return "that was just there"
