from dataclasses import replace
from typing import Any

import pytest

from device_sdk.errors import RequestError, RootError, TunnelError
from device_sdk.keys import KeyPair
from device_sdk.target import Target
from device_sdk.tunnels.inside import _hosts_by_dns
from device_sdk.tunnels.passage import configuration
from device_sdk.tunnels.routes import plan_tunnel
from device_sdk.tunnels.tunnel import Tunnel
from device_sdk.tunnels.wireguard import Handshakes, resolv_conf
from device_sdk.wire import Deployment, TunnelConfig
from tests.fakes.device_sdk_link import FakeLink
from tests.fakes.device_sdk_server import ScriptedServer, answer, deployment, tunnel_config
from tests.lab.machine import poll

PAIR = KeyPair(b"\x01" * 32, b"\x02" * 32)


def plan(**changes: Any):
    return plan_tunnel(TunnelConfig.from_json(tunnel_config(**changes)))


def test_the_configuration_is_wgs() -> None:
    assert configuration(plan(), PAIR) == (
        "[Interface]\n"
        "PrivateKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
        "[Peer]\n"
        "PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
        "Endpoint = 192.0.2.7:51820\n"
        "AllowedIPs = 100.71.0.1/32, 100.71.0.16/29\n"
        "PersistentKeepalive = 25\n"
    )
    assert "Endpoint = [2001:db8::1]:51820\n" in configuration(plan(endpoint="[2001:db8::1]:51820"), PAIR)


def test_names_are_asked_of_the_gateway() -> None:
    assert resolv_conf(plan()) == (
        "nameserver 100.71.0.1\nsearch helloworld-0123456789.sinfonia.internal\n"
        "options ndots:5 timeout:1 attempts:5\n"
    )
    assert resolv_conf(plan(dns=[])) == "options ndots:5 timeout:1 attempts:5\n"


def test_other_sources_of_host_names_are_left_out() -> None:
    before = (
        "passwd: files systemd\n hosts:\tmymachines resolve [!UNAVAIL=return] files dns\nnetworks: files\n"
    )
    assert _hosts_by_dns(before) == "passwd: files systemd\nhosts: files dns\nnetworks: files\n"


@pytest.mark.parametrize("hours", [-7, 0, 7])
def test_how_long_ago_a_handshake_was_does_not_go_by_the_wall_clock(hours: int) -> None:
    now = 1000.0
    handshakes = Handshakes(lambda: now)
    assert handshakes.seconds_ago(0.0) is None
    at = 1.8e9
    assert handshakes.seconds_ago(at) == 0.0
    now += 90
    assert handshakes.seconds_ago(at) == 90.0
    at += 120 + hours * 3600  # somebody has set the clock, and WireGuard goes by it
    now += 30
    assert handshakes.seconds_ago(at) == 0.0
    now += 15
    assert handshakes.seconds_ago(at) == 15.0


def target(**changes: Any) -> Target:
    made = Deployment.from_json(deployment(**changes))
    return Target.of(made, made.app_uuid, KeyPair(b"\x01" * 32, made.application_key))


def test_names_lead_to_services() -> None:
    tunnel = Tunnel(target(), FakeLink({}))
    assert tunnel.resolve("helloworld") == "100.71.0.18"
    assert tunnel.resolve("helloworld.helloworld-0123456789.sinfonia.internal") == "100.71.0.18"
    assert tunnel.resolve("100.71.0.1") == "100.71.0.1"
    for name in ("", "other", "helloworld.example.org", "helloworld."):
        with pytest.raises(RequestError, match="it offers helloworld"):
            tunnel.resolve(name)


def test_a_published_cloudlet_tells_no_readiness_and_takes_nothing_back() -> None:
    tunnel = Tunnel(target(StatusURL=None, Services=None), FakeLink({}))
    assert tunnel.wait_ready(0.1).status == "Deploying"
    with pytest.raises(TunnelError, match="can't be told"):
        tunnel.release()
    with pytest.raises(RequestError, match="offers no names"):
        tunnel.resolve("helloworld")


def test_a_gateway_that_never_proved_itself_is_told_from_one_that_is_silent() -> None:
    with pytest.raises(TunnelError, match=r"192\.0\.2\.7:51820 never answered; does a firewall"):
        Tunnel(target(), FakeLink({}, handshake=None)).wait_ready(0.3)
    with pytest.raises(TunnelError, match="Nothing answered through the tunnel"):
        Tunnel(target(), FakeLink({}, handshake=2.0)).wait_ready(0.3)


STATUS = ("100.71.0.1", 80)


def test_the_round_trip_is_the_least_of_a_few() -> None:
    times = iter([0.0, 0.5, 1.0, 1.02, 2.0, 2.1])
    with ScriptedServer(answer(200, b"")) as server:
        link = FakeLink({STATUS: ("127.0.0.1", int(server.url.rpartition(":")[2]))})
        assert Tunnel(target(), link, lambda: next(times)).round_trip() == pytest.approx(0.02)
    with pytest.raises(TunnelError, match="can't be measured"):
        Tunnel(target(), FakeLink({})).round_trip()
    with pytest.raises(TunnelError, match="nothing to measure"):
        Tunnel(target(StatusURL=None), FakeLink({})).round_trip()


@pytest.mark.parametrize("trouble", [None, RootError("away")])
def test_it_is_told_once_when_the_backend_is_ready_and_no_failure_matters(trouble: Exception | None) -> None:
    told: list[float] = []

    def tell(seconds: float) -> None:
        told.append(seconds)
        if trouble is not None:
            raise trouble

    with ScriptedServer(answer(200, deployment(Status="Ready"))) as server:
        link = FakeLink({STATUS: ("127.0.0.1", int(server.url.rpartition(":")[2]))})
        tunnel = Tunnel(replace(target(), measured=tell), link)
        for _ in range(2):
            assert tunnel.wait_ready(5).status == "Ready"
        assert poll(lambda: told)
    assert len(told) == 1
    assert 0 < told[0] < 5


def test_a_backend_that_is_not_ready_tells_nothing() -> None:
    told: list[float] = []
    with pytest.raises(TunnelError):
        Tunnel(replace(target(), measured=told.append), FakeLink({})).wait_ready(0.05)
    assert told == []
