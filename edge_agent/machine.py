"""The machine that the agent runs on: what has to be installed, and its addresses. Asked by `__main__.py` and
`agent.py`; calls `ip`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path

from edge_agent.capabilities import may_set_up_tunnels
from edge_agent.errors import SettingsError
from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)

_TOOL_SECONDS = 10.0


def check_machine(settings: Settings) -> None:
    """Raise `SettingsError` for what has to be installed or granted before anything can work."""
    programs = ["ip", "wg", "nft", *(["podman"] if settings.runtime == "podman" else [])]
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SettingsError(f"not on the PATH: {', '.join(missing)}")
    if not may_set_up_tunnels():
        raise SettingsError(
            "the agent sets up network interfaces: run it as root, or with CAP_NET_ADMIN as its image does"
        )
    if settings.runtime == "podman" and os.geteuid() != 0:
        raise SettingsError(
            "--runtime podman: backends are reached by Podman's networks, which take root rights"
        )


def own_address() -> str | None:
    """The address that this machine sends from by default; sends nothing. (192.0.2.0/24 is for
    documentation.)
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return None


def has_ipv6() -> bool:
    """Whether interfaces here may have IPv6 addresses."""
    try:
        return all(
            Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").read_text().strip() == "0"
            for which in ("all", "default")
        )
    except OSError:  # a kernel without it
        return False


def own_addresses(interfaces: Collection[str] = ()) -> list[str]:
    """The addresses of this machine, or of some `interfaces` alone, IPv4 and IPv6, loopback and link-local
    ones left out: the gateway sends to pods from one of them.
    """
    command = ["ip", "-j", "address"]
    try:
        said = subprocess.run(command, capture_output=True, timeout=_TOOL_SECONDS, check=True).stdout
        links = [one for one in json.loads(said) if not interfaces or one["ifname"] in interfaces]
        found = [ip_address(one["local"]) for link in links for one in link["addr_info"]]
    except (OSError, subprocess.SubprocessError, LookupError, TypeError, ValueError):
        _LOG.warning("this machine's addresses can't be listed")
        return []
    return [str(address) for address in found if not (address.is_loopback or address.is_link_local)]


def own_installation(state: Path) -> str:
    """What tells this installation from a copy of it elsewhere: the machine's name, its boot, and the folder
    of its state. The same after a restart.
    """
    boot = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    return f"{socket.gethostname()}:{state.resolve()} ({boot})"
