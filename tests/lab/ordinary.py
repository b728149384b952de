"""An ordinary user on a machine: the one as whom apps run that have no rights."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.machine import Machine

USER = ("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--")
STATE = "/run/state"


def prepare(machine: Machine) -> dict[str, str]:
    """Give the user a state folder, and the tun device as distributions have it; return its environment."""
    machine.run("mkdir", "-m", "777", STATE)
    machine.run("sh", "-c", "mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun")
    program = Path(sys.executable).resolve()
    closed = next((path for path in reversed(program.parents) if not path.stat().st_mode & 0o001), None)
    if closed is not None:  # Python itself lies in root's home: open the way to it, on that machine alone
        kept = closed / program.relative_to(closed).parts[0]
        steps = (
            f"mkdir /run/kept && mount --bind {closed} /run/kept && mount -t tmpfs -o mode=755 tmpfs {closed}"
            f" && mkdir {kept} && mount --bind /run/kept/{kept.name} {kept}"
        )
        machine.run("sh", "-c", steps)
    return {"XDG_STATE_HOME": STATE}
