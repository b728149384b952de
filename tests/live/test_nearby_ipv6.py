"""Cloudlets nearby over IPv6: on links that have nothing else, and where the way over IPv4 is dead."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.edge_agent_host import PROJECT, AgentHost
from tests.lab import podman
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import CLOUDLET, needs

NEARBY = ("http://192.0.2.1", "helloworld", "--jit", "only")
"""The root is nowhere."""
IPV4_TOO = ("--listen", "0.0.0.0:7070", "--wireguard-endpoint", "192.168.77.5")
FETCH = ("--", "curl", "-sS", "--fail", "--max-time", "10", "http://helloworld/")
NEIGHBOUR = """
import socket, sys, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from edge_agent.machine import addresses_of_links
from edge_agent.nearby.advertise import Advertiser
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"status": "ok", "uuid": "%s", "name": "other"}' % str(uuid.UUID(int=7)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
links = [address for name, address in addresses_of_links() if name == "eth0"]
server = Server(("::", 7071), Handler)
Advertiser("other", uuid.UUID(int=7), lambda: links, 7071, {}).open()
server.serve_forever()
"""


class Home:
    """A link with a cloudlet, one with another, and a device on both that knows nobody."""

    def __init__(self, cloudlet: Machine, neighbour: Machine, device: Machine, folder: Path) -> None:
        self.agent = AgentHost(cloudlet, "[::]", folder)
        self.neighbour = neighbour
        self.device = device
        self._environment = {"XDG_STATE_HOME": str(folder / "device"), "PYTHONPATH": str(PROJECT)}

    def sinfonia(self, *words: str) -> Any:
        command = (sys.executable, "-m", "device_sdk.cli", *words)
        return self.device.run(*command, check=False, timeout=90, env=self._environment)

    def at_last(self, *words: str) -> str:
        """What a command prints in the end: on a busy machine nobody may be found within half a second."""
        tries: list[Any] = []

        def works() -> bool:
            tries[:] = [self.sinfonia(*words)]
            return bool(tries[0].returncode == 0)

        assert poll(works, 60), tries[0].stderr
        return str(tries[0].stdout)

    def found(self) -> dict[str, str]:
        """The names of the cloudlets nearby, and where they were reached."""
        done = self.sinfonia("find", *NEARBY, "--json", "--timeout", "3")
        told = json.loads(done.stdout) if done.returncode == 0 else []
        return {one["Name"]: one["Endpoint"] for one in told}


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="nearby-"))
    kept = podman.cgroups()
    with (
        Network("home", "192.168.77.0/24") as home,
        Network("office", "192.168.78.0/24") as office,
        Machine("cloudlet") as cloudlet,
        Machine("neighbour") as neighbour,
        Machine("device") as device,
    ):
        home.attach(cloudlet, "192.168.77.5")
        home.attach(device, "192.168.77.200")
        office.attach(neighbour, "192.168.78.5")
        office.attach(device, "192.168.78.200", "eth1")
        for machine, link in ((cloudlet, "eth0"), (neighbour, "eth0"), (device, "eth0"), (device, "eth1")):
            machine.run("ip", "-4", "address", "flush", "dev", link)
            assert poll(partial(has_link_local, machine, link), 20), "no IPv6 here"
        yield Home(cloudlet, neighbour, device, folder)
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


def has_link_local(machine: Machine, link: str) -> bool:
    """Whether nobody else turned out to have the machine's address."""
    return "fe80" in machine.run("ip", "-6", "-o", "address", "show", "dev", link, "-tentative").stdout


@pytest.mark.timeout(300)
@needs(*CLOUDLET, "module:zeroconf")
def test_a_backend_is_found_and_reached_over_ipv6(home: Home, tmp_path: Path) -> None:
    """First on a link without IPv4; then with it, though nothing comes through but the announcement."""
    cloudlet = home.agent.machine
    home.neighbour.popen(
        [sys.executable, "-c", NEIGHBOUR], log=tmp_path / "n.log", env={"PYTHONPATH": str(PROJECT)}
    )
    program = home.agent.start("--announce-interface", "eth0", "--announce")
    seen: dict[str, str] = {}
    assert poll(lambda: (seen.update(home.found()), len(seen) == 2)[1], 30), home.agent.log.read_text()  # type: ignore[func-returns-value]
    assert all(place.startswith("http://[fe80::") for place in seen.values()), seen
    assert "%25eth0]:7070" in seen["cloudlet"]
    assert "%25eth1]:7071" in seen["other"]
    assert "Hello from cloudlet" in home.at_last("run", *NEARBY, *FETCH)
    assert "[fe80::" in cloudlet.run("wg", "show", "all", "endpoints").stdout
    assert program.stop() == 0

    cloudlet.run("ip", "address", "add", "192.168.77.5/24", "dev", "eth0")
    home.device.run("ip", "address", "add", "192.168.77.200/24", "dev", "eth0")
    for rule in ("-p tcp --dport 7070", "-p udp --dport 51820"):
        cloudlet.run("iptables", "-I", "INPUT", "-i", "eth0", *rule.split(), "-j", "DROP")
    home.agent.start(*IPV4_TOO, "--announce-interface", "eth0", "--announce")
    assert poll(lambda: "cloudlet" in home.found(), 30), home.agent.log.read_text()
    assert "Hello from cloudlet" in home.at_last("run", *NEARBY, *FETCH)
    told = json.loads(home.at_last("deploy", *NEARBY, "--json"))
    assert told[0]["TunnelConfig"]["endpoint"] == "192.168.77.5:51820", "what a phone would get"
    assert "[fe80::" in cloudlet.run("wg", "show", "all", "endpoints").stdout
