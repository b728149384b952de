"""Which network this device is in, as far as what it measures there goes: called by `choose.py`.

The router by which the device leaves tells networks apart that use the same addresses. It is kept on this
device alone, as a hash.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from pathlib import Path

_PROC_NET = Path("/proc/thread-self/net")
_HASH_CHARACTERS = 16


def network_here(proc_net: Path = _PROC_NET) -> str:
    """A name for the network of the default route, always the same there; `none` without one."""
    try:
        rows = [line.split() for line in (proc_net / "route").read_text().splitlines()[1:]]
        neighbours = [line.split() for line in (proc_net / "arp").read_text().splitlines()[1:]]
    except OSError:
        return "none"
    ways = [row for row in rows if len(row) > 7 and row[1] == row[7] == "00000000" and row[2] != row[1]]
    if not ways:
        return "none"
    way = min(ways, key=lambda row: int(row[6]))
    router = str(ipaddress.IPv4Address(socket.ntohl(int(way[2], 16))))
    known = [row[3] for row in neighbours if len(row) > 5 and (row[0], row[5]) == (router, way[0])]
    return hashlib.sha256(f"{router} {[*known, way[0]][0]}".encode()).hexdigest()[:_HASH_CHARACTERS]
