"""The gateway port: one suite for the fake and for WireGuard with nftables between real hosts.

A cloudlet with a gateway, two devices with tunnels to it, and a pod on a network behind it that knows no
way to the tunnels.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import Any

import pytest

from edge_agent.deployments.leases import Activity
from edge_agent.deployments.routes import Gateway
from edge_agent.errors import Unavailable
from edge_agent.tunnels.gateway import WireGuardGateway
from tests.fakes.edge_agent_gateway import FakeGateway
from tests.lab.machine import poll
from tests.lab.needs import needs, param
from tests.lab.tunnels import PARTS, PLAN, POD, Device, RealPlace


class FakePlace:
    """The fake's own idea of what a device reaches."""

    def __init__(self) -> None:
        self.gateway = FakeGateway()
        self.one, self.two = Device(1), Device(2)

    def renew(self) -> None:
        """Begin a test without peers."""
        self.gateway.sync([])

    def reaches(self, device: Device, address: IPv4Address, port: int = 80, protocol: str = "TCP") -> bool:
        known = device.device in self.gateway.allowed.get(device.key, set())
        if known:
            seen = self.gateway.seen.get(device.key, Activity(0, 0))
            self.gateway.seen[device.key] = Activity(1, seen.received_bytes + 9, seen.sent_bytes + 9)
        return known and (device.device, address, protocol, port) in self.gateway.forwards


Place = FakePlace | RealPlace


@pytest.fixture(scope="module")
def built_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPlace]:
    folder = tmp_path_factory.mktemp("gateway")
    with ExitStack() as stack:
        yield RealPlace(stack, folder)


@pytest.fixture
def real_place(built_place: RealPlace) -> RealPlace:
    built_place.renew()
    return built_place


@pytest.fixture(scope="module")
def fake_place() -> FakePlace:
    return FakePlace()


@pytest.fixture(params=["fake_place", param("real_place", *PARTS, id="wireguard")])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    found.renew()
    return found


def test_a_peer_reaches_its_own_service_and_nothing_before(place: Place) -> None:
    place.gateway.sync([place.one])
    assert not place.reaches(place.one, place.one.service)
    place.gateway.sync([place.one.leading()])
    assert place.reaches(place.one, place.one.service)
    assert not place.reaches(place.one, place.one.service, 8080)
    assert not place.reaches(place.one, place.one.service + 1)


def test_ports_lead_where_they_are_told(place: Place) -> None:
    place.gateway.sync([place.one.leading(80, to=9090).leading(53, "UDP", 8053).leading(443, to=8080)])
    assert place.reaches(place.one, place.one.service, 80)
    assert place.reaches(place.one, place.one.service, 443)
    assert place.reaches(place.one, place.one.service, 53, "UDP")
    assert not place.reaches(place.one, place.one.service, 53, "TCP")
    assert not place.reaches(place.one, place.one.service, 80, "UDP")


def test_a_peer_does_not_reach_anothers_service(place: Place) -> None:
    place.gateway.sync([place.one.leading(), place.two.leading(81)])
    assert place.reaches(place.two, place.two.service, 81)
    assert not place.reaches(place.one, place.two.service, 81)
    assert not place.reaches(place.two, place.one.service, 80)


def test_each_sync_is_the_whole_truth(place: Place) -> None:
    place.gateway.sync([place.one.leading()])
    place.gateway.sync([place.two.leading()])
    assert not place.reaches(place.one, place.one.service)
    assert place.reaches(place.two, place.two.service)
    place.gateway.sync([])
    assert not place.reaches(place.two, place.two.service)
    assert place.gateway.activity() == {}


def test_one_key_may_have_two_addresses(place: Place) -> None:
    second = Device(3, place.one.secret)
    place.gateway.sync([place.one.leading(), second.leading()])
    assert place.reaches(place.one, place.one.service)
    assert list(place.gateway.activity()) == [place.one.key]


def test_signs_of_life_are_those_of_the_device(place: Place) -> None:
    place.gateway.sync([place.one.leading(), place.two.leading()])
    before = place.gateway.activity()
    assert set(before) == {place.one.key, place.two.key}
    place.reaches(place.one, place.one.service)
    after = place.gateway.activity()
    assert after[place.one.key].sent_bytes > before[place.one.key].sent_bytes
    assert after[place.one.key].received_bytes > before[place.one.key].received_bytes
    assert after[place.one.key].handshake_at > 0
    assert after[place.two.key] == before[place.two.key]


def test_syncing_the_same_again_disturbs_nothing(place: Place) -> None:
    place.gateway.sync([place.one.leading()])
    assert place.reaches(place.one, place.one.service)
    before = place.gateway.activity()[place.one.key]
    place.gateway.sync([place.one.leading(), place.two.leading()])
    assert place.gateway.activity()[place.one.key].handshake_at == before.handshake_at
    assert place.reaches(place.one, place.one.service)


# What only real packets can show.

real = needs(*PARTS)


@real
def test_what_is_refused_is_refused_at_once(real_place: RealPlace) -> None:
    real_place.gateway.sync([real_place.one])
    real_place.curl(real_place.one, f"http://{real_place.one.service}/")  # with the handshake
    refused = real_place.curl(real_place.one, f"http://{real_place.one.service}/")
    assert "Couldn't connect" in refused.stderr, "it would say that it timed out"


@real
def test_the_gateway_serves_status_and_names_alone(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one])
    assert place.curl(place.one, f"http://{PLAN.gateway}/").stdout == "a pod's page"
    assert place.devices[1].run("ping", "-c", "1", "-W", "2", str(PLAN.gateway), check=False).returncode == 0
    for address in (PLAN.gateway, "10.89.0.1", "198.51.100.7"):
        if address != "198.51.100.7":  # that one is on the device's own network
            assert "Couldn't connect" in place.curl(place.one, f"http://{address}:7070/").stderr
    place.devices[1].run(
        "ip", "route", "add", "198.51.100.7/32", "dev", "wg0", "src", str(place.one.device), "table", "7"
    )
    place.devices[1].run("ip", "rule", "add", "from", str(place.one.device), "table", "7")
    through = place.curl(place.one, "http://198.51.100.7:7070/", "--interface", str(place.one.device))
    assert "Couldn't connect" in through.stderr
    assert place.curl(place.one, "http://198.51.100.7:7070/").stdout == "a pod's page", (
        "outside of the tunnel it is open"
    )


@real
def test_a_device_cannot_use_up_the_gateways_connections(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one, place.two])
    script = (
        "import socket, sys\nkept = []\n"
        "try:\n for _ in range(40): kept.append(socket.create_connection((sys.argv[1], 80), 3))\n"
        "except OSError: pass\nprint(len(kept), flush=True)\nsys.stdin.readline()"
    )
    command = place.devices[1].command("python3", "-c", script, str(PLAN.gateway))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert 1 <= int(client.stdout.readline()) <= 16
        place.gateway.sync([place.one, place.two])
        assert place.curl(place.two, f"http://{PLAN.gateway}/").stdout == "a pod's page"
        client.communicate("\n", timeout=10)


@real
def test_pods_are_not_reached_by_their_own_address(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading()])
    assert place.reaches(place.one, place.one.service)
    assert not place.reaches(place.one, POD, 9090)
    assert not place.reaches(place.one, POD, 8080)
    assert not place.reaches(place.one, IPv4Address("203.0.113.9"))


@real
def test_devices_do_not_reach_each_other(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading(), place.two.leading()])
    assert place.reaches(place.two, place.two.service)  # its session stands
    place.devices[2].popen(["busybox", "httpd", "-f", "-p", "5000", "-h", str(place.folder)])
    assert poll(
        lambda: place.devices[2].run("curl", "-sS", "http://127.0.0.1:5000/", check=False).returncode == 0
    )
    assert not place.reaches(place.one, place.two.device, 5000)
    ping = place.devices[1].run("ping", "-c", "1", "-W", "1", str(place.two.device), check=False)
    assert ping.returncode != 0


@real
def test_a_false_source_gets_nowhere(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading(), place.two.leading()])
    machine = place.devices[1]
    machine.run("ip", "address", "add", f"{place.two.device}/32", "dev", "wg0")
    try:
        spoofed = place.curl(place.one, f"http://{place.two.service}/", "--interface", str(place.two.device))
        assert spoofed.returncode != 0
    finally:
        machine.run("ip", "address", "del", f"{place.two.device}/32", "dev", "wg0")


@real
def test_the_lan_does_not_get_into_the_tunnel_network(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading()])
    lan = place.devices[2]
    lan.run("ip", "route", "replace", f"{PLAN.gateway}/32", "via", "198.51.100.7", "dev", "eth0")
    try:
        answer = lan.run("curl", "-sS", "-m", "1", f"http://{PLAN.gateway}/", check=False)
        assert answer.returncode != 0
    finally:
        lan.run("ip", "route", "del", f"{PLAN.gateway}/32", "via", "198.51.100.7", "dev", "eth0")


@real
def test_pods_see_the_gateway_not_the_device(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading()])
    assert place.reaches(place.one, place.one.service)
    log = place.folder / "pod.log"
    assert poll(lambda: "10.89.0.1" in log.read_text())
    assert str(place.one.device) not in log.read_text()


@real
def test_a_connection_lasts_over_a_new_run_and_ends_with_its_peer(real_place: RealPlace) -> None:
    """The agent crashes and comes back: up, then sync, on the interface that is there."""
    place = real_place
    place.gateway.sync([place.one.leading()])
    script = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 80), 3); print('open', flush=True); "
        "sys.stdin.readline(); s.settimeout(3); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(15))"
    )
    command = place.devices[1].command("python3", "-c", script, str(place.one.service))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "open\n"
        later = place.made()
        before = place.gateway.activity()[place.one.key].handshake_at
        later.up()
        later.sync([place.one.leading()])
        out, _ = client.communicate("\n", timeout=10)
    assert "HTTP/1.1 200" in out or "HTTP/1.0 200" in out
    assert later.activity()[place.one.key].handshake_at == before


@real
def test_down_leaves_nothing_and_up_begins_anew(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading()])
    place.gateway.down()
    assert poll(lambda: "sf-" not in place.cloudlet.run("ip", "link").stdout)
    assert "sinfonia" not in place.cloudlet.run("nft", "list", "tables").stdout
    assert poll(lambda: not [line for line in place.cloudlet.processes() if "wireguard-go" in line])
    with pytest.raises(Unavailable):
        place.gateway.activity()
    with pytest.raises(Unavailable):
        place.gateway.sync([place.one.leading()])
    assert "sinfonia" not in place.cloudlet.run("nft", "list", "tables").stdout, (
        "a late sync brings nothing back"
    )
    place.gateway.down()
    place.gateway.up()
    place.renew()
    place.gateway.sync([place.one.leading()])
    # A first packet that gets lost is sent again by WireGuard after 5 s.
    assert poll(lambda: place.reaches(place.one, place.one.service), 20)


@real
def test_a_wireguard_that_dies_is_made_again(real_place: RealPlace) -> None:
    place = real_place
    place.gateway.sync([place.one.leading()])
    place.cloudlet.run("pkill", "-KILL", "-x", "wireguard-go")
    with pytest.raises(Unavailable):
        place.gateway.activity()
    place.gateway.sync([place.one.leading()])
    assert place.reaches(place.one, place.one.service)


@real
def test_packets_are_forwarded_and_the_mtu_is_wireguards(real_place: RealPlace) -> None:
    cloudlet = real_place.cloudlet
    assert cloudlet.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "1"
    (link,) = json.loads(cloudlet.run("ip", "-j", "link", "show", "sf-0123abcd").stdout)
    assert link["mtu"] == 1420


def test_tools_that_are_missing_or_fail_are_named() -> None:
    def absent(arguments: list[str], **_: Any) -> Any:
        raise FileNotFoundError(arguments[0])

    def hanging(arguments: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(arguments, options["timeout"])

    def failing(arguments: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(arguments, 1, b"", b"Operation not permitted\n")

    runs: list[tuple[Callable[..., Any], str]] = [
        (absent, "not installed"),
        (hanging, "did not end"),
        (failing, "not permitted"),
    ]
    for run, words in runs:
        gateway: Gateway = WireGuardGateway("sf-0", os.urandom(32), 51820, PLAN, lambda: 0.0, run)
        with pytest.raises(Unavailable, match=words):
            gateway.sync([])
        with pytest.raises(Unavailable, match=words):
            gateway.activity()
