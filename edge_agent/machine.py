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
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from edge_agent.capabilities import may_set_up_tunnels
from edge_agent.errors import SettingsError
from edge_agent.settings import Settings

_LOG = logging.getLogger(__name__)

_TOOL_SECONDS = 10.0
_PASSING = ("tentative", "dadfailed", "deprecated", "temporary")
"""What `ip` calls addresses of IPv6 that are not there yet, or not for long (RFC 4862, RFC 8981)."""


def check_machine(settings: Settings) -> None:
    """Raise `SettingsError` for what has to be installed or granted before anything can work."""
    tunnels = settings.gateway.kilo is None
    programs = [
        "ip",
        *(["wg", "nft"] if tunnels else []),
        *(["podman"] if settings.runtime == "podman" else []),
    ]
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise SettingsError(f"not on the PATH: {', '.join(missing)}")
    if tunnels and not may_set_up_tunnels():
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
    return _sender(socket.AF_INET, "192.0.2.1")


def own_address6() -> str | None:
    """The same of IPv6 (2001:db8::/32 is for documentation); where there is no way out, any that neighbours
    can reach.
    """
    found = _sender(socket.AF_INET6, "2001:db8::1")
    return found or next((one for _, one in addresses_of_links() if ":" in one), None)


def _sender(family: socket.AddressFamily, other: str) -> str | None:
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))
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
    found = [address for name, address, _ in _listed() if not interfaces or name in interfaces]
    return [str(address) for address in found if not (address.is_loopback or address.is_link_local)]


def addresses_of_links() -> list[tuple[str, str]]:
    """The interfaces' names, each with an address that others may be told: those of IPv6 that stay, and that
    nobody else has; link-local ones as `fe80::1%eth0`.
    """
    found = []
    for name, address, told in _listed():
        if address.is_loopback or any(told.get(mark) for mark in _PASSING):
            continue
        if address.version == 6 and address.is_link_local:
            found.append((name, f"{address}%{name}"))
        elif not address.is_link_local:
            found.append((name, str(address)))
    return found


def _listed() -> list[tuple[str, IPv4Address | IPv6Address, dict[str, Any]]]:
    """Interface, address, and what else `ip` tells of it."""
    command = ["ip", "-j", "address"]
    try:
        said = subprocess.run(command, capture_output=True, timeout=_TOOL_SECONDS, check=True).stdout
        return [
            (link["ifname"], ip_address(one["local"]), one)
            for link in json.loads(said)
            for one in link["addr_info"]
        ]
    except (OSError, subprocess.SubprocessError, LookupError, TypeError, ValueError):
        _LOG.warning("this machine's addresses can't be listed")
        return []


def own_installation(state: Path) -> str:
    """What tells this installation from a copy of it elsewhere: the machine's name, its boot, and the folder
    of its state. The same after a restart.
    """
    boot = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    return f"{socket.gethostname()}:{state.resolve()} ({boot})"
