"""What `sinfonia-agent check` says of Kilo."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from edge_agent.checking import kilo
from edge_agent.deployments.leases import Activity
from edge_agent.deployments.site import Entrance
from edge_agent.errors import Unavailable

NETWORK = IPv4Network("100.71.0.0/16")
OURS = "5f1c9a1e-7f35-4a39-9d52-3f1f8f0e6a11"
KNOWN = {"resources": [{"name": "peers"}]}


class Server:
    """An API server: objects by path, lists by path."""

    def __init__(self, answers: dict[str, Any] | None = None, lists: dict[str, Any] | None = None) -> None:
        self.answers = answers or {}
        self.lists = lists or {}

    def call(self, _: str, path: str, *__: Any, **___: Any) -> Any:
        if path not in self.answers:
            raise Unavailable("404")
        return self.answers[path]

    def items(self, path: str, **_: str) -> Any:
        return self.lists.get(path, [])


def peer(name: str, *blocks: str, agent: str | None = None) -> dict[str, Any]:
    labels = {"sinfonia/agent": agent} if agent else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"allowedIPs": list(blocks)}}


def test_kilo_and_whose_addresses_are_taken() -> None:
    (found,) = kilo.peers(Server(), OURS, NETWORK)
    assert (found.level, "install Kilo" in found.advice) == ("bad", True)
    (found,) = kilo.peers(Server({kilo.GROUP: {"resources": []}}), OURS, NETWORK)
    assert found.level == "bad"
    there = [
        peer("mine", "100.71.0.9/32", agent=OURS),
        peer("laptop", "10.5.0.1/32", "0.0.0.0/0", "?", "::/0"),
    ]
    (found,) = kilo.peers(Server({kilo.GROUP: KNOWN}, {kilo.PEERS: there}), OURS, NETWORK)
    assert found.level == "good"
    there += [peer("other", "100.71.3.1/32", agent="another"), peer("wide", "100.64.0.0/10")]
    (found,) = kilo.peers(Server({kilo.GROUP: KNOWN}, {kilo.PEERS: there}), OURS, NETWORK)
    assert (found.level, "other, wide have addresses" in found.text) == ("warning", True)


def test_where_devices_enter() -> None:
    (found,) = kilo.entrance(lambda: Entrance(b"", "192.0.2.7:51820", IPv4Address("10.96.0.80")))
    assert (found.level, "192.0.2.7:51820" in found.text) == ("good", True)

    def nowhere() -> Entrance:
        raise Unavailable("There is no node with Kilo's key")

    (found,) = kilo.entrance(nowhere)
    assert (found.level, found.text) == ("bad", "There is no node with Kilo's key")


def pod(address: str, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    return {"spec": spec, "status": {"phase": phase, "podIP": address}}


def test_pods_have_other_addresses() -> None:
    nodes = [
        {"metadata": {"name": "one"}, "spec": {"podCIDRs": ["fd00::/64", "10.1.0.0/24"]}},
        {"metadata": {}},
    ]
    running = [
        pod("10.1.0.7"),
        pod("192.0.2.7", hostNetwork=True),
        pod("fd00::7"),
        pod("10.9.0.1", "Pending"),
    ]
    server = Server({"/api/v1/pods": {"items": running}}, {"/api/v1/nodes": nodes})
    (found,) = kilo.pods(server, NETWORK)
    assert found.level == "good"
    running.append(pod("10.9.0.7"))
    (found,) = kilo.pods(server, NETWORK)
    assert (found.level, "10.9.0.7" in found.text) == ("warning", True)
    nodes.append({"metadata": {"name": "two"}, "spec": {"podCIDR": "100.71.128.0/24"}})
    (found,) = kilo.pods(server, NETWORK)
    assert (found.level, "100.71.128.0/24" in found.text) == ("bad", True)


def test_what_tells_who_is_there() -> None:
    (found,) = kilo.signs_of_life(None)
    assert (found.level, "--max-age" in found.text) == ("warning", True)
    (found,) = kilo.signs_of_life(lambda: {b"": Activity(0, 0)})
    assert (found.level, found.text) == ("good", "known of 1 peers")

    def away() -> Any:
        raise Unavailable("Prometheus does not say")

    (found,) = kilo.signs_of_life(away)
    assert (found.level, "exporter" in found.advice) == ("warning", True)


@pytest.mark.parametrize(
    ("said", "level"),
    [
        (None, "unknown"),
        ("{", "unknown"),
        ("", "warning"),
        ("[]", "warning"),
        ("clusterCIDR: 10.1.0.0/16", "warning"),
        ("clusterCIDR: 100.64.0.0/10", "good"),
        ("clusterCIDR: fd00::/64,100.64.0.0/10", "good"),
        ("clusterCIDR: 100.64.0.0/10\ndetectLocalMode: InterfaceNamePrefix", "warning"),
        ("clusterCIDR: 100.64.0.0/10\niptables: {masqueradeAll: true}", "warning"),
        ("clusterCIDR: 100.64.0.0/10\niptables: x", "good"),
    ],
)
def test_what_can_be_told_of_masquerading(said: str | None, level: str) -> None:
    server = Server({} if said is None else {kilo._PROXY: {"data": {"config.conf": said}}})
    (found,) = kilo.masquerading(server, NETWORK)
    assert found.level == level
    assert level == "good" or "iptables -t mangle" in found.advice
