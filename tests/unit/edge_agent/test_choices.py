"""What follows from the settings, as far as nothing has to run for it."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from edge_agent.arguments import make_parser
from edge_agent.choices import announced, make_capacity, make_check, make_gateway
from edge_agent.deployments.addresses import Plan
from edge_agent.errors import Unavailable
from edge_agent.identity import Identity
from edge_agent.on_kubernetes.kilo import KiloGateway
from edge_agent.settings import Settings
from tests.unit.edge_agent.test_kilo import settings as kilo_settings
from tests.unit.edge_agent.test_settings import settings as settings_of


def test_podman_is_ready_where_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--runtime", "podman", "--recipes", "r", "--root", "http://root.example"]
    settings = Settings.from_arguments(make_parser().parse_args(words), lambda: "198.51.100.9")
    identity = Identity(tmp_path / "state", lambda: 7)
    identity.close()
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    capacity = make_capacity(settings)
    assert capacity is None
    check = make_check(settings, identity, capacity)
    with pytest.raises(Unavailable, match="not installed"):
        check()
    program.write_text("#!/bin/sh\necho 'Error: the storage is damaged' >&2; exit 125\n")
    program.chmod(0o700)
    with pytest.raises(Unavailable, match="the storage is damaged"):
        check()
    program.write_text("#!/bin/sh\n")
    assert check() == ""


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: u, user: {}}]
"""


def test_kilo_has_the_network_that_the_operator_gives(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(KUBECONFIG)
    settings = kilo_settings("--max-age", "3600", "--kubeconfig", str(file))
    identity = Identity(tmp_path / "state", lambda: 7)
    identity.close()
    gateway, plan, entrance = make_gateway(settings, identity, lambda: None)
    assert isinstance(gateway, KiloGateway)
    assert plan == Plan(IPv4Network("100.71.0.0/16"))
    with pytest.raises(Unavailable, match="not looked at"):
        entrance()
    with pytest.raises(Unavailable, match="can't be reached"):
        gateway.sync([])


LINKS = [
    ("eth0", "192.0.2.7"),
    ("eth0", "192.0.2.8"),
    ("eth0", "2001:db8::7"),
    ("eth0", "fe80::7%eth0"),
    ("wlan0", "198.51.100.9"),
    ("wlan0", "fe80::9%wlan0"),
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--listen 192.0.2.7 --announce", "192.0.2.7"),
        ("--listen 0.0.0.0 --announce", "198.51.100.9"),
        ("--listen 0.0.0.0 --listen [::] --announce", "198.51.100.9 fe80::9%wlan0"),
        ("--listen 192.0.2.7 --listen 2001:db8::7 --announce", "192.0.2.7 2001:db8::7"),
        ("--listen 0.0.0.0 --announce-interface eth0", "192.0.2.7 192.0.2.8"),
        ("--listen 192.0.2.7 --announce-interface eth0", "192.0.2.7"),
        ("--listen 192.0.2.7 --announce-interface wlan0", ""),
        ("--listen [::] --announce-interface eth0", "2001:db8::7 fe80::7%eth0"),
        ("--listen [fe80::9%wlan0] --announce-interface wlan0", "fe80::9%wlan0"),
        ("--listen 0.0.0.0 --listen [::] --announce-address fe80::7%eth0", "fe80::7%eth0"),
        ("--listen 0.0.0.0 --announce-address 203.0.113.1", ""),
    ],
)
def test_what_is_announced_is_there_and_served(options: str, expected: str) -> None:
    found = announced(settings_of(*options.split()), lambda: LINKS)
    assert " ".join(found) == expected
