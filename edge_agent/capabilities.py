"""Running without root: what the agent keeps of CAP_NET_ADMIN, and what it leaves to the programs that need
it.

In the image the programs that set up tunnels carry NET_ADMIN as a file capability, so that neither the agent
nor `helm`, which renders strangers' charts, has it. `ip` gives it back at once, though, unless the process
that started it has it inheritable (iproute2, lib/utils.c, `drop_cap`). So Python carries it as well, makes it
inheritable, which by itself grants nothing, and drops it. Called by `__main__.py` before any thread is made,
and by `machine.py`.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

NET_ADMIN = 12
"""linux/capability.h"""
_VERSION_3 = 0x20080522
_STATUS = Path("/proc/self/status")


def hand_down() -> None:
    """Make NET_ADMIN inheritable and give it up; nothing for root, or for who has it not."""
    sets = read_sets(_STATUS.read_text())
    bit = 1 << NET_ADMIN
    if os.geteuid() == 0 or not sets["CapPrm"] & bit or sets["CapAmb"] & bit:
        return
    kept, handed = sets["CapPrm"] & ~bit, sets["CapInh"] | bit
    halves = [value >> shift & 0xFFFFFFFF for shift in (0, 32) for value in (kept, kept, handed)]
    header, data = struct.pack("<Ii", _VERSION_3, 0), struct.pack("<6I", *halves)
    if ctypes.CDLL(None, use_errno=True).capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def may_set_up_tunnels() -> bool:
    """Whether programs that the agent starts may get NET_ADMIN: root's do, others by ambience or files."""
    sets = read_sets(_STATUS.read_text())
    bit = 1 << NET_ADMIN
    return bool((sets["CapEff"] | sets["CapAmb"] | sets["CapInh"]) & sets["CapBnd"] & bit)


def read_sets(status: str) -> dict[str, int]:
    """The capability sets of a `/proc/PID/status`: CapInh, CapPrm, CapEff, CapBnd, CapAmb."""
    lines = (line.split(":", 1) for line in status.splitlines() if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in lines}
