"""The gateway's own words: rules for nftables, what is set when, and addresses in both families."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from edge_agent.deployments.addresses import Plan, default_network6
from edge_agent.errors import Unavailable
from edge_agent.fields import format_key
from edge_agent.tunnels import firewall
from edge_agent.tunnels.firewall import Pace
from edge_agent.tunnels.gateway import WHOLE_SECONDS, WireGuardGateway

NETWORK = IPv4Network("100.71.0.0/16")
PLAN = Plan(NETWORK)
TWIN = Plan(NETWORK, IPv6Network("fd5f:1c9a:1e7f:354a::/64"))
POD = IPv4Address("10.89.0.10")


@dataclass
class Row:
    number: int
    forwards: dict[Any, Any] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        return bytes([self.number]) * 32

    @property
    def device(self) -> IPv4Address:
        return NETWORK[8 * self.number + 1]

    def leading(self, to: int = 5353) -> Row:
        return Row(self.number, {(self.device + 1, "UDP", 53): (POD, to)})


def rules(plan: Plan, *peers: Row) -> str:
    return firewall.ruleset("sinfonia_x", "sf-x", plan, firewall.elements(plan, peers), Pace(), 1420)


def test_rules_replace_the_whole_table_and_name_each_way_twice() -> None:
    text = rules(PLAN, Row(1).leading())
    assert text.startswith("add table inet sinfonia_x\ndelete table inet sinfonia_x\n")
    assert "100.71.0.9 . 100.71.0.10 . udp . 53 : 10.89.0.10 . 5353" in text
    assert "elements = { 100.71.0.9 . 10.89.0.10 . udp . 5353 }" in text
    assert "elements" not in rules(PLAN)


def test_without_ipv6_nothing_of_it_gets_in() -> None:
    assert "meta nfproto ipv6 drop" in rules(PLAN)
    assert "ip6" not in rules(PLAN)
    assert "ip6 saddr != @peers6 drop" in rules(TWIN)
    assert "fd5f:1c9a:1e7f:354a::9" in rules(TWIN, Row(1))


def test_changes_are_what_differs_and_what_goes_goes_first() -> None:
    def between(before: list[Row], after: list[Row]) -> str:
        return firewall.changes("t", firewall.elements(PLAN, before), firewall.elements(PLAN, after))

    assert between([Row(1).leading()], [Row(1).leading()]) == ""
    moved = between([Row(1).leading(53), Row(2)], [Row(1).leading(54), Row(2)]).splitlines()
    assert [line.split(" {")[0] for line in moved] == [
        "delete element inet t forwards",
        "delete element inet t allowed",
        "add element inet t forwards",
        "add element inet t allowed",
    ]
    assert between([Row(1)], [Row(1), Row(2)]) == "add element inet t peers { 100.71.0.17 }\n"


def test_ipv6_addresses_follow_from_ipv4_ones_and_back() -> None:
    network = default_network6(uuid.UUID("5f1c9a1e-7f35-8a39-9d52-3f1f8f0e6a11"))
    assert str(network) == "fd5f:1c9a:1e7f:358a::/64"
    assert network.subnet_of(IPv6Network("fd00::/8"))
    assert TWIN.gateway6 == IPv6Address("fd5f:1c9a:1e7f:354a::1")
    assert TWIN.twin(IPv4Address("100.71.1.9")) == IPv6Address("fd5f:1c9a:1e7f:354a::109")
    assert TWIN.twin_block(IPv4Network("100.71.1.8/29")) == IPv6Network("fd5f:1c9a:1e7f:354a::108/125")
    assert TWIN.named("fd5f:1c9a:1e7f:354a::109") == TWIN.named("100.71.1.9") == IPv4Address("100.71.1.9")
    for stranger in ("fd5f:1c9a:1e7f:354a::1:0", "fd00::9", "::1"):
        assert TWIN.named(stranger) == IPv4Address(0)
    assert PLAN.named("fd5f:1c9a:1e7f:354a::109") == IPv4Address(0)
    assert (PLAN.twin(POD), PLAN.gateway6, PLAN.twin_block(NETWORK)) == (None, None, None)


class Tools:
    """`wg`, `nft` and `ip` that only write down what they are told; `broken` ones fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: set[str] = set()
        self.dump: list[str] = []

    def __call__(self, arguments: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        self.calls.append(" ".join(arguments[:2]))
        if " ".join(arguments[:2]) in self.broken:
            return subprocess.CompletedProcess(arguments, 1, b"", b"no")
        out = "\n".join(["interface", *self.dump]) if arguments[:2] == ["wg", "show"] else ""
        return subprocess.CompletedProcess(arguments, 0, out.encode(), b"")

    def taken(self) -> list[str]:
        calls, self.calls = self.calls, []
        return calls


class Clocked:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def shown(row: Row, allowed: str = "") -> str:
    allowed = allowed or f"{row.device}/32"
    return f"{format_key(row.key)}\t(none)\t192.0.2.1:7\t{allowed}\t0\t0\t0\toff"


def made() -> tuple[WireGuardGateway, Tools, Clocked]:
    tools, clock = Tools(), Clocked()
    gateway = WireGuardGateway("sf-0", b"g" * 32, 51820, PLAN, clock, tools)
    gateway.sync([Row(1)])
    assert tools.taken()[-2:] == ["nft -f", "wg syncconf"]
    return gateway, tools, clock


def test_the_second_sync_sets_what_differs_alone() -> None:
    gateway, tools, _ = made()
    gateway.sync([Row(1), Row(2)])
    assert tools.taken() == ["nft -f", "wg set"]
    gateway.sync([Row(1), Row(2)])
    assert tools.taken() == []
    gateway.sync([Row(number) for number in range(1, 100)])
    assert tools.taken()[-1] == "wg syncconf"


def test_a_change_that_fails_is_made_as_a_whole() -> None:
    gateway, tools, _ = made()
    tools.broken = {"wg set"}
    gateway.sync([Row(1), Row(2)])
    assert tools.taken() == ["nft -f", "wg set", "wg show", "nft -f", "wg syncconf"]
    tools.broken = {"nft -f"}
    with pytest.raises(Unavailable):
        gateway.sync([Row(1)])
    tools.broken = set()
    tools.taken()
    gateway.sync([Row(1)])
    assert tools.taken()[-1] == "wg syncconf", "what failed before is not taken as set"


def test_what_others_changed_is_set_right() -> None:
    gateway, tools, clock = made()
    tools.dump = [shown(Row(1))]
    gateway.activity()
    assert tools.taken() == ["wg show", "nft list"]
    tools.dump = [shown(Row(1), "0.0.0.0/0")]
    gateway.activity()
    assert "wg syncconf" in tools.taken()
    tools.dump = [shown(Row(1))]
    tools.broken = {"nft list"}
    gateway.activity()
    assert "nft -f" in tools.taken()
    tools.broken = set()
    clock.seconds += WHOLE_SECONDS
    gateway.activity()
    assert "wg syncconf" in tools.taken()
    gateway.activity()
    assert "wg syncconf" not in tools.taken()
