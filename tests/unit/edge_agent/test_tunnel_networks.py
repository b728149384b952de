"""Which network the tunnels get: never one that is in use here, and the same over restarts."""

from __future__ import annotations

import json
import subprocess
import uuid
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployments.addresses import default_network
from edge_agent.errors import SettingsError
from edge_agent.tunnels.networks import choose_network, networks_here
from edge_agent.tunnels.programs import Programs

AGENT = uuid.UUID("5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11")
HOME = {IPv4Network("192.168.1.0/24"): "192.168.1.5/24 of eth0"}


def test_a_network_that_is_in_use_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"192\.168\.1\.5/24 of eth0"):
        choose_network(tmp_path, AGENT, IPv4Network("192.168.0.0/16"), HOME)
    free = IPv4Network("10.9.0.0/16")
    assert choose_network(tmp_path, AGENT, free, HOME) == free


def test_the_default_moves_and_stays_where_it_moved(tmp_path: Path) -> None:
    first = default_network(AGENT)
    assert choose_network(tmp_path, AGENT, None, HOME) == first
    second = choose_network(tmp_path, AGENT, None, {first: "the VPN"})
    assert second != first
    assert second.subnet_of(IPv4Network("100.64.0.0/10"))
    assert choose_network(tmp_path, AGENT, None, HOME) == second
    with pytest.raises(SettingsError, match="all of"):
        choose_network(tmp_path, AGENT, None, {IPv4Network("100.64.0.0/10"): "the provider's"})


def test_a_damaged_note_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "tunnel-network").write_text("\x00nonsense")
    assert choose_network(tmp_path, AGENT, None, HOME) == default_network(AGENT)


def test_what_this_machine_has_and_leads_to() -> None:
    links = [
        {"ifname": "eth0", "addr_info": [{"local": "192.168.1.5", "prefixlen": 24}]},
        {"ifname": "sf-0", "addr_info": [{"local": "100.71.0.1", "prefixlen": 16}]},
    ]
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "100.90.0.0/16", "dev": "vpn0"},
        {"dst": "100.71.0.0/16", "dev": "sf-0"},
        {"type": "blackhole", "dst": "10.1.0.0/16"},
    ]

    def run(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        said = links if arguments[3] == "address" else routes
        return subprocess.CompletedProcess(arguments, 0, json.dumps(said).encode(), b"")

    assert {str(network): words for network, words in networks_here(Programs(run), "sf-0").items()} == {
        "192.168.1.0/24": "192.168.1.5/24 of eth0",
        "100.90.0.0/16": "the route to 100.90.0.0/16 by vpn0",
        "10.1.0.0/16": "the route to 10.1.0.0/16 by no interface",
    }

    def odd(arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(arguments, 0, b"[7]", b"")

    assert networks_here(Programs(odd), "sf-0") == {}
