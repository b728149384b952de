from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from device_sdk.tunnels.families import fitting
from device_sdk.tunnels.routes import Reached, check_services, plan_tunnel, status_address
from device_sdk.wire import Service, TunnelConfig, WireError
from tests.fakes.device_sdk_server import tunnel_config

LOOPBACK = Path("/proc/net/if_inet6")
HAS_IPV6 = LOOPBACK.exists() and f"{1:032x}" in LOOPBACK.read_text()


def plan(**changes: Any):
    return plan_tunnel(TunnelConfig.from_json(tunnel_config(**changes)))


def test_what_a_backend_needs_is_admitted() -> None:
    made = plan()
    assert made.endpoint == (ip_address("192.0.2.7"), 51820)
    assert made.addresses == (ip_address("100.71.0.17"),)
    assert made.routes == (ip_network("100.71.0.1/32"), ip_network("100.71.0.16/29"))
    assert made.name_servers == (ip_address("100.71.0.1"),)
    assert made.search_domains == ("helloworld-0123456789.sinfonia.internal",)


@pytest.mark.parametrize(
    "changes",
    [
        {"allowedIPs": ["10.0.0.0/8"]},
        {"allowedIPs": ["100.71.0.17/28"]},
        {"allowedIPs": ["100.71.0.1"]},
        {"allowedIPs": ["fd00:1::/64"], "address": ["fd00:1::2/64"]},
        {"address": ["100.71.0.17"]},
        {"address": ["100.71.0.17/28"]},
        {"endpoint": "[2001:db8::1]:51820"},
        {"dns": []},
        {"dns": ["10.43.0.10", "ns.svc.cluster.local", "svc.cluster.local."]},
    ],
)
def test_what_published_cloudlets_say_is_admitted(changes: dict[str, Any]) -> None:
    plan(**changes)


IPV6 = {
    "endpoint": "[2001:db8::7]:51820",
    "allowedIPs": ["fd00:1::1/128", "fd00:1::10/125"],
    "address": ["fd00:1::11/128"],
    "dns": ["fd00:1::1"],
}


def test_the_same_tunnel_in_ipv6_is_added() -> None:
    bare, made = plan(), plan(ipv6=IPV6)
    assert made.endpoint == bare.endpoint
    assert made.endpoint6 == (ip_address("2001:db8::7"), 51820)
    assert made.addresses == (*bare.addresses, ip_address("fd00:1::11"))
    assert made.routes == (*bare.routes, ip_network("fd00:1::1/128"), ip_network("fd00:1::10/125"))
    assert made.name_servers == bare.name_servers, "the same server answers for both"
    assert plan(ipv6={}) == plan(ipv6=None) == bare


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "[2001:db8::7]"}, "ipv6.endpoint"),
        ({"endpoint": "192.0.2.8:51820"}, "ipv6"),
        ({"endpoint": "[fd00:1::12]:51820"}, "ipv6.allowedIPs"),
        ({"allowedIPs": ["2000::/3"]}, "ipv6.allowedIPs"),
        ({"allowedIPs": ["fe80::/64"]}, "ipv6.allowedIPs"),
        ({"allowedIPs": ["100.72.0.0/29"]}, "ipv6"),
        ({"address": ["::1"]}, "ipv6.address"),
        ({"address": ["100.71.0.19"]}, "ipv6"),
        ({"address": "fd00:1::11"}, "TunnelConfig.ipv6.address"),
        ({"allowedIPs": ["fd00:1::10/125"] * 65}, "TunnelConfig.ipv6.allowedIPs"),
    ],
)
def test_ipv6_is_judged_too(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(WireError) as raised:
        plan(ipv6={**IPV6, **changes})
    assert raised.value.field == field


def test_a_device_uses_the_families_that_it_has(tmp_path: Path) -> None:
    here, nowhere = (ip_address("127.0.0.1"), 7), (ip_address("255.255.255.255"), 7)  # EACCES
    switch, made = tmp_path / "disable_ipv6", replace(plan(ipv6=IPV6), endpoint=here)
    for text in (None, "1\n"):
        if text:
            switch.write_text(text)
        assert {address.version for address in fitting(made, switch).addresses} == {4}
        assert {route.version for route in fitting(made, switch).routes} == {4}
    six = plan(allowedIPs=["fd00:1::/64"], address=["fd00:1::2"])
    assert fitting(six, switch).addresses == six.addresses, "or nothing would be left"
    switch.write_text("0\n")
    assert fitting(made, switch) == made
    assert fitting(replace(made, endpoint=nowhere, endpoint6=here), switch).endpoint == here
    assert fitting(replace(made, endpoint=nowhere, endpoint6=nowhere), switch).endpoint == nowhere


NEAR = Reached(IPv6Address("fe80::7%1"), frozenset(map(ip_address, ("192.0.2.7", "fe80::7"))))


def test_a_gateway_at_the_machine_that_was_reached_nearby_is_reached_the_same_way() -> None:
    config = TunnelConfig.from_json(tunnel_config())
    made = plan_tunnel(config, (), NEAR)
    near = (IPv6Address("fe80::7%1"), 51820)
    assert made.ways == (near, made.endpoint)
    assert made.endpoint == plan().endpoint, "a phone that gets the tunnel is at no link of ours"
    elsewhere = Reached(NEAR.address, frozenset({ip_address("fe80::7")}))
    assert plan_tunnel(config, (), elsewhere).ways == (made.endpoint, near)
    both = plan_tunnel(TunnelConfig.from_json(tunnel_config(ipv6=IPV6)), (), elsewhere)
    assert both.ways == (both.endpoint, both.endpoint6, near)
    alone = TunnelConfig.from_json(tunnel_config(endpoint="[fe80::7]:7"))
    assert plan_tunnel(alone, (), elsewhere).ways[0] == (near[0], 7)


@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_the_way_nearby_is_taken_where_there_is_one() -> None:
    loopback, nowhere = (ip_address("::1"), 7), (IPv6Address("fe80::7%77777"), 7)
    made = replace(plan(), nearby=loopback, is_near=True)
    assert fitting(made).endpoint == loopback
    assert fitting(replace(made, nearby=nowhere)).endpoint == made.endpoint
    assert fitting(replace(made, nearby=(IPv6Address("fe80::7"), 7))).endpoint == made.endpoint


def test_a_block_must_not_hold_the_address_where_the_cloudlet_was_reached() -> None:
    reached = Reached(IPv6Address("fd00:1::12"), frozenset())
    with pytest.raises(WireError, match="own endpoint"):
        plan_tunnel(TunnelConfig.from_json(tunnel_config(ipv6=IPV6)), (), reached)


BLOCKS = (
    # The device's other traffic.
    *("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "96.0.0.0/7", "2000::/3", "fc00::/7", "fd00::/8"),
    # Its own services, and places that are no hosts.
    *("127.0.0.1/32", "127.0.0.0/8", "::1/128", "::ffff:127.0.0.1/128", "169.254.169.254/32", "fe80::/64"),
    *("224.0.0.251/32", "ff02::/16", "240.0.0.0/8", "255.255.255.255/32", "0.0.0.0/8"),
    # The tunnel within itself; what is no block.
    *("192.0.2.0/24", "100.71.0.0/33", "100.71.0.1/32\nPostUp = id", "backend", ""),
)
ENDPOINTS = (
    *("cloudlet.example.org:51820", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:051820", ":1"),
    *("", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "2001:db8::1:1", "[192.0.2.7]:1", "192.0.2.7:1\n"),
    *("192.0.2.7:+1", "192.0.2.7:\u0661", "[fe80::1%eth0]:1"),
)
ADDRESSES = (
    *("", "127.0.0.2", "0.0.0.0", "224.0.0.1", "169.254.1.1", "::1", "fe80::1%lo", "100.71.0.17/33"),
    *("100.71.0.17/", "100.71.0.17/-1", "100.71.0.17/x", "100.71.0.17/\u0663"),
)
NAMES = (
    *("under_score.example", "two words", "a\nnameserver 192.0.2.1", "", ".", "-a.example", "a..b"),
    *("a" * 64, ".".join(["a" * 63] * 5), "127.0.0.53", "\u00e9.example"),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("allowedIPs", [block]) for block in BLOCKS),
        *(("endpoint", text) for text in ENDPOINTS),
        *(("address", [text]) for text in ADDRESSES),
        *(("dns", [text]) for text in NAMES),
        ("allowedIPs", []),
        ("allowedIPs", ["100.71.0.1/32"] * 65),
        ("address", []),
        ("dns", ["100.71.0.1"] * 17),
        ("publicKey", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw"),
    ],
)
def test_what_asks_for_more_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(WireError, match=field):
        plan(**{field: value})


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://100.71.0.1/api/v1/deployment", ("100.71.0.1", 80, "/api/v1/deployment")),
        ("http://100.71.0.1:8080", ("100.71.0.1", 8080, "/")),
        ("http://100.71.0.1/s?a=1", ("100.71.0.1", 80, "/s?a=1")),
    ],
)
def test_a_status_url_behind_the_tunnel_is_asked(url: str, place: tuple[str, int, str]) -> None:
    asked = status_address(url, plan())
    assert (asked.host, asked.port, asked.path) == place


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1/",
        "http://127.0.0.1/",
        "https://100.71.0.1/",
        "http://gateway/",
        "http://user@100.71.0.1/",
        "http://100.71.0.1:99999/",
        "http://100.71.0.1/a b",
        "http://100.71.0.1/\r\nHost: x",
        "ftp://100.71.0.1/",
        "/api",
        "http://[",
    ],
)
def test_a_status_url_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(WireError, match="StatusURL"):
        status_address(url, plan())


@pytest.mark.parametrize(
    ("name", "address"),
    [("a b", "100.71.0.18"), ("", "100.71.0.18"), ("web", "192.0.2.1"), ("web", "127.0.0.1"), ("web", "x")],
)
def test_a_service_elsewhere_is_refused(name: str, address: str) -> None:
    with pytest.raises(WireError, match=r"Services\[0\]"):
        check_services([Service(name, address, ())], plan())
