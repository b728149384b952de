"""The networks that the device is in, and that no target may take over."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from device_sdk.calls.deploy import HELLOWORLD, Parts, deploy_backend
from device_sdk.errors import RootError
from device_sdk.fields import WireError
from device_sdk.tunnels.routes import plan_tunnel
from device_sdk.tunnels.surroundings import own_networks
from device_sdk.wire import TunnelConfig
from tests.fakes.device_sdk_server import tunnel_config
from tests.fakes.device_sdk_servers import FakeServer, always, at

ROUTE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	100	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
tun0	00000064	00000000	0001	0	0	0	0000C0FF	0	0	0
eth1	0002A8C0	00000000	0000	0	0	100	00FFFFFF	0	0	0
eth0	nonsense
"""
ROUTE6 = """\
fd000000000000010000000000000000 40 00000000000000000000000000000000 00 \
00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 \
00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
"""
RESOLV_CONF = "# by hand\nnameserver 192.168.1.1\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\nsearch home\n"
OWN = ("192.168.1.0/24", "192.168.1.1/32", "9.9.9.9/32", "fd00:0:0:1::/64", "fe80::1/128")


def link_type(name: str) -> int:
    return {"tun0": 0xFFFE, "lo": 772}.get(name, 1)


def test_links_gateways_and_name_servers_are_the_devices_own(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTE)
    (tmp_path / "ipv6_route").write_text(ROUTE6)
    (tmp_path / "resolv.conf").write_text(RESOLV_CONF)
    found = own_networks(tmp_path, tmp_path / "resolv.conf", link_type)
    assert found == tuple(ip_network(text) for text in OWN)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    assert own_networks(tmp_path, tmp_path / "resolv.conf") == ()
    (tmp_path / "route").write_bytes(b"\xff\x00" * 100)
    assert own_networks(tmp_path, tmp_path / "resolv.conf") == ()


def test_this_machine_can_be_asked() -> None:
    assert all(not network.is_loopback or network.prefixlen in (32, 128) for network in own_networks())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"allowedIPs": ["192.168.1.0/24"]}, "192.168.1.0/24, where this device is"),
        ({"allowedIPs": ["192.168.0.0/16"]}, "192.168.0.0/16 would take over 192.168.1"),
        ({"allowedIPs": ["192.168.1.128/25"]}, "192.168.1.128/25 would take over"),
        ({"allowedIPs": ["192.168.1.1/32"]}, "192.168.1.0/24, where"),
        ({"allowedIPs": ["9.9.9.9/32"]}, "9.9.9.9/32"),
        ({"allowedIPs": ["100.71.0.1/32", "fd00:0:0:1::/64"]}, "fd00:0:0:1::/64"),
        ({"address": ["192.168.1.7/32"]}, "192.168.1.7/32"),
    ],
)
def test_a_target_that_takes_over_where_the_device_is_is_refused(changes: dict[str, Any], word: str) -> None:
    config = TunnelConfig.from_json(tunnel_config(**changes))
    plan_tunnel(config)
    with pytest.raises(WireError, match=r"allowedIPs|address") as refused:
        plan_tunnel(config, [ip_network(text) for text in OWN])
    assert word in str(refused.value)


def test_a_default_route_is_no_network_that_the_device_is_in() -> None:
    plan_tunnel(TunnelConfig.from_json(tunnel_config()), [ip_network("0.0.0.0/0"), ip_network("::/0")])


def test_a_call_judges_by_the_devices_networks_and_takes_the_next_target(tmp_path: Path) -> None:
    hostile, honest = at("hostile", 1), at("honest", 2)
    hostile["TunnelConfig"]["allowedIPs"] = ["192.168.1.0/24"]
    hostile.pop("StatusURL"), hostile.pop("Services")

    def deploy(*answers: dict[str, Any]) -> list[str]:
        root = always(FakeServer(*answers))
        parts = Parts(tmp_path, root, discover=list, networks=lambda: [ip_network(text) for text in OWN])
        found = deploy_backend("http://root.example", HELLOWORLD, jit="off", results=2, parts=parts)
        return [target.place for target in found]

    assert deploy(hostile, honest) == ["honest"]
    with pytest.raises(RootError, match=r"can't be used: allowedIPs: 192\.168\.1\.0/24 would take over"):
        deploy(hostile)
