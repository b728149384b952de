"""Which network the tunnels get, so that it is nobody else's here. Called by `agent.py`; calls `ip` and the
state folder.

A network that overlaps a route or an address of this machine would take it over, or never be reached. One
that the operator chose is refused then; the default moves on to the next free /16 of 100.64.0.0/10, and is
remembered: devices keep their addresses over restarts.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from uuid import UUID

from edge_agent.deployments.addresses import default_network, next_network
from edge_agent.errors import SettingsError, Unavailable
from edge_agent.tunnels.programs import Programs

_FILE = "tunnel-network"
_CHOICES = 64


def networks_here(programs: Programs, interface: str) -> dict[IPv4Network, str]:
    """The networks that this machine has or leads to, and in a few words how; the gateway's own `interface`
    and default routes left out. Empty where `ip` can't tell.
    """
    found: dict[IPv4Network, str] = {}
    with contextlib.suppress(Unavailable, ValueError, LookupError, TypeError, AttributeError):
        for link in json.loads(programs.call(["ip", "-j", "-4", "address"])):
            for one in link["addr_info"] if link["ifname"] != interface else []:
                network = IPv4Network((one["local"], one["prefixlen"]), strict=False)
                found[network] = f"{one['local']}/{one['prefixlen']} of {link['ifname']}"
        for route in json.loads(programs.call(["ip", "-j", "-4", "route", "show", "table", "all"])):
            if route.get("dev") != interface and route["dst"] != "default":
                network = IPv4Network(route["dst"])
                found.setdefault(network, f"the route to {network} by {route.get('dev', 'no interface')}")
    return found


def choose_network(
    state: Path, cloudlet: UUID, asked: IPv4Network | None, here: Mapping[IPv4Network, str]
) -> IPv4Network:
    """The operator's network, else the one that was chosen before, else a free one.

    Raises `SettingsError` for a clash, naming it, and where there is none left.
    """
    if asked is not None:
        clash = _clash(asked, here)
        if clash:
            raise SettingsError(
                f"--tunnel-network {asked} overlaps {clash}; choose another one, or leave it out"
            )
        return asked
    kept = _kept(state)
    if kept is not None and not _clash(kept, here):
        return kept
    network = default_network(cloudlet)
    for _ in range(_CHOICES):
        if not _clash(network, here):
            _keep(state, network)
            return network
        network = next_network(network)
    raise SettingsError("--tunnel-network CIDR is needed: all of 100.64.0.0/10 is in use on this machine")


def _clash(network: IPv4Network, here: Mapping[IPv4Network, str]) -> str | None:
    return next((words for other, words in here.items() if other.overlaps(network)), None)


def _kept(state: Path) -> IPv4Network | None:
    with contextlib.suppress(OSError, ValueError):
        return IPv4Network((state / _FILE).read_text().strip())
    return None


def _keep(state: Path, network: IPv4Network) -> None:
    try:
        (state / _FILE).write_text(f"{network}\n")
    except OSError as error:
        raise SettingsError(f"--state {state}: {error.strerror or error}") from error
