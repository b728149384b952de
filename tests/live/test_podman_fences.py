"""What guests on a real Podman can't reach, what can't reach them, and whose packets they can't send."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from edge_agent.on_podman.host_network import given_resolvers
from tests.fakes.edge_agent_backends import backend, deployment, service
from tests.fakes.edge_agent_podman import (
    INTERNET,
    NEEDS,
    GuestSite,
    got,
    guest_site,
    named,
    settled,
    started,
    within,
)
from tests.lab.machine import poll
from tests.lab.needs import needs

SEND = """
import socket, sys
source, target, port, text = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.bind((source, 0))
    sender.settimeout(3)
    sender.sendto(text.encode(), (target, int(port)))
    try:
        print(sender.recv(100).decode())
    except OSError:
        print("nothing")
"""
ECHO = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
    receiver.bind((sys.argv[1], int(sys.argv[2])))
    while True:
        text, sender = receiver.recvfrom(100)
        print(text.decode(), flush=True)
        receiver.sendto(text, sender)
"""


@pytest.fixture(scope="module")
def site() -> Iterator[GuestSite]:
    with guest_site() as site:
        yield site


def sent(site: GuestSite, source: str, target: str, port: int, text: str) -> str:
    """What comes back for a datagram from the guest's network."""
    command = (sys.executable, "-c", SEND, source, target, str(port), text)
    return str(within(site.host, "guest-web", *command).stdout).strip()


def bridge_of(site: GuestSite) -> tuple[str, str]:
    """The one bridge on the host: its IPv4 and its link-local IPv6 address."""
    listing = site.host.machine.run("ip", "-o", "address", "show", "type", "bridge").stdout.split()
    addresses = [word.partition("/")[0] for word in listing if "/" in word]
    return (
        next(address for address in addresses if address.startswith("10.")),
        next(address for address in addresses if address.startswith("fe80")),
    )


@needs(*NEEDS)
def test_the_host_is_closed_to_guests_and_guests_to_the_network(site: GuestSite) -> None:
    host, machine, agent = site.host, site.host.machine, uuid.uuid4()
    machine.run(*"ip link add".split(), f"sf-{agent.hex[:8]}", *"type veth peer name device".split())
    tunnel = f"sf-{agent.hex[:8]}"
    machine.run("ip", "address", "add", "100.71.0.1/16", "dev", tunnel)  # plays the gateway
    machine.run("ip", "link", "set", tunnel, "up")
    runtime = host.runtime(agent)
    record = started(runtime, backend())
    try:
        assert settled(runtime, record).state == "Ready"
        own, local = bridge_of(site)
        page = f"http://[{local}%25podman1]:8000/"
        assert poll(lambda: machine.run("curl", "-gsS", "-m", "3", page, check=False).stdout == "a page", 20)
        links = ("ip", "-6", "address", "show", "dev", "eth0")
        assert poll(lambda: "tentative" not in within(host, "guest-web", *links).stdout, 20)
        for closed in ("100.71.0.1:8000", f"{own}:8000", "203.0.113.7:8000", f"[{local}%25eth0]:8000"):
            assert got(host, "guest-web", closed, "-g") == "", closed
        assert within(host, "guest-web", "ping", "-c", "1", "-W", "1", own).returncode != 0
        assert got(host, "guest-web", f"{INTERNET}:8000") == "a page"
        (pod, port) = dict(runtime.observe([record])["guest"].endpoints or {})["helloworld", "TCP", 80]
        assert "Hello" in machine.run("curl", "-sS", "-m", "3", f"http://{pod}:{port}/").stdout
        for network in (f"{pod}/32", "198.18.0.0/24"):
            site.neighbour.run("ip", "route", "replace", network, "via", "203.0.113.7")
        for target in (f"{pod}:{port}", f"{named(host, 'guest-web', 'helloworld')}:80"):
            assert site.neighbour.run("curl", "-sS", "-m", "3", f"http://{target}/", check=False).stdout == ""
    finally:
        runtime.delete(record)
        machine.run("ip", "link", "del", tunnel)
    assert host.left() == []


@needs(*NEEDS)
def test_nobody_sends_in_another_name_and_services_of_udp_lead_on(site: GuestSite, tmp_path: Path) -> None:
    host, log = site.host, tmp_path / "heard"
    ports = [{"name": "echo", "port": 7, "targetPort": 7000, "protocol": "UDP"}]
    served = deployment("b", command=["/bin/busybox", "sleep", "600"], ports=[])
    with ExitStack() as ending:
        runtime = ending.enter_context(host.own_runtime())
        manifests = service("a"), deployment("a"), service("b", ports=ports), served
        record = started(runtime, backend(*manifests))
        assert settled(runtime, record).state == "Ready"
        outside = site.neighbour.popen([sys.executable, "-c", ECHO, INTERNET, "9000"], log=log)
        ending.callback(outside.kill)
        pid = host.podman("container", "inspect", "guest-1-web", "--format", "{{.State.Pid}}").strip()
        inside = host.machine.popen(
            ["nsenter", "--target", pid, "--net", sys.executable, "-c", ECHO, "0.0.0.0", "7000"]
        )
        ending.callback(inside.kill)
        pod, _ = dict(runtime.observe([record])["guest"].endpoints or {})["a", "TCP", 80]
        assert poll(lambda: sent(site, str(pod), INTERNET, 9000, "as itself") == "as itself", 20)
        there = named(host, "guest-web", "b")
        assert poll(lambda: sent(site, str(pod), there, 7, "hello") == "hello", 20)
        for address in (str(pod + 256), "203.0.113.99"):
            within(host, "guest-web", "ip", "address", "add", f"{address}/32", "dev", "eth0")
            assert sent(site, address, INTERNET, 9000, f"as {address}") == "nothing"
        assert set(log.read_text().splitlines()) == {"as itself"}


@needs(*NEEDS)
def test_guests_know_the_name_servers_that_their_fence_lets_through(site: GuestSite) -> None:
    host, machine = site.host, site.host.machine
    there = Path(f"/proc/{machine.pid}/root/run/systemd/resolve/resolv.conf")
    there.parent.mkdir(parents=True)
    there.write_text("nameserver 203.0.113.8\n")
    file = site.folder / "resolv.conf"
    file.write_text("nameserver 127.0.0.53\noptions edns0\n")  # as systemd-resolved writes it
    machine.run("mount", "--bind", str(file), "/etc/resolv.conf")
    try:
        with host.own_runtime() as runtime:
            record = started(runtime, backend())
            assert settled(runtime, record).state == "Ready"
            known = host.inside("guest-web", "/bin/busybox cat /etc/resolv.conf").split()
    finally:
        machine.run("umount", "/etc/resolv.conf")
    assert [word for word in known if word != "nameserver"] == ["203.0.113.8"]
    assert given_resolvers(file, there) == [IPv4Address("203.0.113.8")]
