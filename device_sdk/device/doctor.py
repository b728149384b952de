"""What this device needs for backends at all, and for those of a root: the checks, in the order in which one
depends on another. Called by `cli/doctor.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

from device_sdk.calls.call import Parts
from device_sdk.calls.st1 import check_url
from device_sdk.device import reach, stored, tunnel_checks
from device_sdk.device.findings import Check
from device_sdk.device.multicast import multicast_dns


def checks(
    state: Path, root_url: str | None = None, app: UUID | None = None, system: Path = Path("/")
) -> list[Check]:
    """What to look at: this device; with a root also that; with an app also the whole way to its backend.

    `state` is the folder of this device's keys, `system` where the system's files are. Raises `RequestError`
    for a wrong URL.
    """
    device = [
        Check("programs", tunnel_checks.programs),
        Check("tun", partial(tunnel_checks.tun, system)),
        Check("namespaces", partial(tunnel_checks.namespaces, system)),
        Check("seccomp", partial(tunnel_checks.notifications, system)),
        Check("wireguard", tunnel_checks.wireguard),
        Check("keys", partial(stored.keys, state)),
        Check("nearby", multicast_dns),
    ]
    if root_url is None:
        return device
    url = check_url(root_url)
    there = [
        Check("name", partial(reach.name, url)),
        Check("root", partial(reach.root, url)),
        Check("clock", partial(reach.clocks, url)),
    ]
    if app is None:
        return device + there
    parts = replace(Parts(state), keys=state / "exported" / "doctor")
    return [*device, *there, Check("backend", partial(reach.backend, url, app, parts))]
