"""The gateway against devices that try, and against what goes wrong around it, with real packets."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import pytest

from edge_agent.errors import Unavailable
from edge_agent.tunnels.firewall import Pace
from edge_agent.tunnels.gateway import WHOLE_SECONDS
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.lab.tunnels import PARTS, PLAN, POD, Device, RealPlace

real = needs(*PARTS, "module:dnslib")
SINK = """
import socket, sys
families = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
ears = []
for family, address in families:
    for port in (53, 4000):
        ear = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        ear.bind((address, port))
        ears.append(ear)
import select
print("ready", flush=True)
while True:
    for ear in select.select(ears, [], [])[0]:
        data, sender = ear.recvfrom(200)
        print(data.decode(), sender[0], flush=True)
"""
CRAFT = """
import ipaddress, json, socket, struct, sys

def total(data):
    data += b"\\0" * (len(data) % 2)
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF

def packet(source, target, port, text):
    source, target = ipaddress.ip_address(source), ipaddress.ip_address(target)
    length = 8 + len(text)
    pseudo = source.packed + target.packed + struct.pack("!HH", length, 17)
    bare = struct.pack("!HHHH", 5353, port, length, 0) + text
    udp = bare[:6] + struct.pack("!H", total(pseudo + bare) or 0xFFFF) + text
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, length, 17, 64) + source.packed + target.packed + udp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 7, 0, 64, 17, 0) + source.packed + target.packed
    return head[:10] + struct.pack("!H", total(head)) + head[12:] + udp

out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
for label, source, target, port in json.loads(sys.argv[1]):
    kind = 0x86DD if ":" in target else 0x0800
    for _ in range(2):
        out.sendto(packet(source, target, port, label.encode()), ("wg0", kind))
"""
HOLD = """
import socket, sys
kept = []
try:
    for _ in range(int(sys.argv[3])):
        kept.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 1))
except OSError:
    pass
print(len(kept), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPlace]:
    with ExitStack() as stack:
        yield RealPlace(stack, tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def place(built: RealPlace) -> RealPlace:
    built.renew()
    return built


@dataclass(frozen=True)
class Row:
    """A deployment on record, with no device that would do anything."""

    key: bytes
    device: IPv4Address
    forwards: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def made(cls, number: int) -> Row:
        device = PLAN.network[8 * number + 1]
        forwards = {(device + 1, "TCP", 80): (IPv4Address("10.89.0.9"), 8080)}
        return cls(number.to_bytes(4) * 8, device, forwards)


def attempts(place: RealPlace, device: Device, *tries: tuple[str, object, object, int]) -> None:
    """Let the device put packets with these sources into its tunnel."""
    texts = [(label, str(source), str(target), port) for label, source, target, port in tries]
    place.devices[device.number].run("python3", "-c", CRAFT, json.dumps(texts))


@real
def test_no_other_devices_address_can_be_used(place: RealPlace) -> None:
    """Who asks is known by its tunnel address alone, so a source that is not the device's own must get
    nowhere: not to the gateway, not to a pod, not to the other device, in IPv4 or IPv6.
    """
    one, two = place.one, place.two
    place.gateway.sync([one.leading(53, "UDP", 4000), two.leading(53, "UDP", 4000)])
    assert poll(lambda: place.curl(one, f"http://{PLAN.gateway}/").stdout == "a pod's page")
    assert poll(lambda: place.curl(two, f"http://{PLAN.gateway}/").stdout == "a pod's page")
    logs = {}
    for machine in (place.cloudlet, place.pod, place.devices[2]):
        logs[machine.name] = place.folder / f"{machine.name}-heard"
        machine.popen(["python3", "-c", SINK], log=logs[machine.name])
        assert poll(lambda name=machine.name: "ready" in logs[name].read_text())  # type: ignore[misc]
    own = [("own4", one.device, PLAN.gateway, 53), ("own6", one.device6, PLAN.gateway6, 53)]
    own.append(("own-service", one.device, one.service, 53))
    sources = [two.device, two.device6, PLAN.gateway, PLAN.gateway6, POD, "127.0.0.1", "::1", "0.0.0.0"]
    sources += ["198.51.100.7", "198.51.100.102", "fe80::1", "fd00::1", "255.255.255.255", "224.0.0.1"]
    targets4 = [PLAN.gateway, two.device, two.service, one.service, POD, "10.89.0.1", "198.51.100.102"]
    targets6 = [PLAN.gateway6, two.device6, "ff02::1", "::1"]
    false = [
        (f"false {source} {target}", source, target, port)
        for source in sources
        for target in (targets6 if ":" in str(source) else targets4)
        for port in (53, 4000)
    ]
    elsewhere = [
        (f"elsewhere {target} {port}", one.device6 if ":" in str(target) else one.device, target, port)
        for target in (two.device, two.service, two.device6, POD, "10.89.0.1", "198.51.100.102", "127.0.0.1")
        for port in (53, 4000)
    ]
    attempts(place, one, *false, *elsewhere)
    attempts(place, one, *own)  # last: once these are there, the others would be too
    assert poll(lambda: "own6" in logs["cloudlet"].read_text() and "own-service" in logs["pod"].read_text())
    heard = "".join(log.read_text() for log in logs.values())
    assert "false" not in heard
    assert "elsewhere" not in heard
    assert f"own4 {one.device}" in heard
    assert f"own6 {one.device6}" in heard


@real
def test_rules_stop_a_sender_that_is_no_peer_even_if_wireguard_lets_it_in(place: RealPlace) -> None:
    place.gateway.sync([place.one, place.two])
    assert poll(lambda: place.curl(place.one, f"http://{PLAN.gateway}/").stdout == "a pod's page")
    opened = ("peer", place.public_of(place.one), "allowed-ips", "0.0.0.0/0,::/0")
    place.cloudlet.run("wg", "set", "sf-0123abcd", *opened)
    machine = place.devices[1]
    machine.run("ip", "address", "add", "100.71.9.9/32", "dev", "wg0")
    try:
        asked = (f"http://{PLAN.gateway}/", "--interface", "100.71.9.9")
        assert place.curl(place.one, *asked).returncode != 0
        place.gateway.activity()  # and what was opened by hand is closed again
        allowed = place.cloudlet.run("wg", "show", "sf-0123abcd", "allowed-ips").stdout
        assert "/0" not in allowed
        assert f"{place.one.device}/32" in allowed
    finally:
        machine.run("ip", "address", "del", "100.71.9.9/32", "dev", "wg0")


@real
def test_over_ipv6_the_gateway_answers_and_nothing_else_does(place: RealPlace) -> None:
    place.gateway.sync([place.one.leading(), place.two])
    assert poll(lambda: place.curl(place.one, f"http://[{PLAN.gateway6}]/").stdout == "a pod's page")
    machine = place.devices[1]
    assert machine.run("ping", "-c", "1", "-W", "5", str(PLAN.gateway6), check=False).returncode == 0
    assert machine.run("ping", "-c", "1", "-W", "1", str(place.two.device6), check=False).returncode != 0
    refused = place.curl(place.one, f"http://[{PLAN.gateway6}]:7070/")
    assert "Couldn't connect" in refused.stderr
    assert place.cloudlet.run("cat", "/proc/sys/net/ipv6/conf/all/forwarding").stdout.strip() == "0"


@real
def test_a_device_that_floods_is_held_to_its_pace(place: RealPlace) -> None:
    gateway = place.made(pace=Pace(packets=50, new_connections=20, connections=10))
    gateway.up()
    try:
        gateway.sync([place.one.leading(), place.two.leading()])
        for device in (place.one, place.two):
            assert poll(lambda device=device: place.reaches(device, device.service))  # type: ignore[misc]
        flood = ("ping", "-q", "-c", "1000", "-i", "0.001", "-W", "1", str(PLAN.gateway))
        said = place.devices[1].run(*flood, check=False, timeout=60).stdout
        received = int(said.split("packets transmitted, ")[1].split()[0])
        assert received < 600, said
        assert place.reaches(place.two, place.two.service), "another device's pace is its own"
    finally:
        place.gateway.sync([])
        place.gateway.activity()
        place.now += WHOLE_SECONDS
        place.gateway.activity()


@real
def test_a_device_has_so_many_connections_and_no_more(place: RealPlace) -> None:
    gateway = place.made(pace=Pace(packets=20_000, new_connections=1000, connections=10))
    gateway.up()
    gateway.sync([place.one.leading(80, to=9090), place.two.leading()])
    assert poll(lambda: place.reaches(place.one, place.one.service))
    command = place.devices[1].command("python3", "-c", HOLD, str(place.one.service), "80", "40")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert 1 <= int(client.stdout.readline()) <= 10
        assert place.reaches(place.two, place.two.service)
        client.communicate("\n", timeout=10)
    place.now += WHOLE_SECONDS
    place.gateway.activity()


@real
def test_a_session_lives_through_a_thousand_comings_and_goings(place: RealPlace) -> None:
    """With 1,000 on record, one more costs what it costs with none; a device that pings loses nothing."""
    one = place.one.leading()
    many = [Row.made(number) for number in range(10, 1010)]
    place.gateway.sync([one, *many])
    assert poll(lambda: place.reaches(one, one.service))
    before = place.gateway.activity()[one.key].handshake_at
    ping = place.devices[1].popen(
        ["ping", "-q", "-i", "0.05", "-W", "2", str(PLAN.gateway)], log=place.folder / "ping"
    )
    times = []
    for number in range(2000, 2100):
        many.append(Row.made(number))
        started = time.monotonic()
        place.gateway.sync([one, *many])
        times.append(time.monotonic() - started)
    for step in range(0, 1000, 40):  # and 900 others go and come, 40 at a time
        rest = many[:step] + many[step + 40 :]
        place.gateway.sync([one, *rest])
        place.gateway.sync([one, *many])
    times.sort()
    ping.send_signal(2)
    ping.wait()
    said = (place.folder / "ping").read_text()
    assert " 0% packet loss" in said, said
    assert place.gateway.activity()[one.key].handshake_at == before
    assert len(place.gateway.activity()) == len(many) + 1
    assert times[0] < 0.2  # the least busy moment; the benchmark holds it to 50 ms


@real
def test_rules_that_another_program_threw_away_are_set_again(place: RealPlace) -> None:
    place.gateway.sync([place.one.leading(), place.two])
    assert poll(lambda: place.reaches(place.one, place.one.service))
    place.cloudlet.run("nft", "flush", "ruleset")
    place.gateway.activity()
    assert place.reaches(place.one, place.one.service)
    assert "Couldn't connect" in place.curl(place.one, f"http://{PLAN.gateway}:7070/").stderr


@real
def test_sessions_come_back_by_themselves_when_wireguard_was_killed(place: RealPlace) -> None:
    """The gateway calls the devices where it last heard of them: a device alone would try its old session
    for ten seconds and more.
    """
    place.gateway.sync([place.one.leading()])
    assert poll(lambda: place.reaches(place.one, place.one.service))
    place.gateway.activity()
    place.cloudlet.run("pkill", "-KILL", "-x", "wireguard-go")
    with pytest.raises(Unavailable):
        place.gateway.activity()
    place.gateway.sync([place.one.leading()])
    assert poll(lambda: place.gateway.activity()[place.one.key].handshake_at > 0, 9)
    assert place.reaches(place.one, place.one.service)
    keepalives = place.cloudlet.run("wg", "show", "sf-0123abcd", "persistent-keepalive").stdout
    assert keepalives.split()[1] == "off"


@real
def test_large_answers_come_through_a_link_of_1400_bytes(place: RealPlace) -> None:
    place.gateway.sync([place.one.leading()])
    (place.folder / "large").write_bytes(bytes(range(256)) * 8192)
    for machine in (place.cloudlet, place.devices[1]):
        machine.run("ip", "link", "set", "eth0", "mtu", "1400")
    try:
        url = f"http://{place.one.service}/large"
        command = ("curl", "-sS", "-m", "30", "-o", "/dev/null", "-w", "%{size_download}", url)
        assert poll(lambda: place.devices[1].run(*command, check=False).stdout == str(256 * 8192))
    finally:
        for machine in (place.cloudlet, place.devices[1]):
            machine.run("ip", "link", "set", "eth0", "mtu", "1500")
