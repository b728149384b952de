"""Cloudlets nearby over IPv6: on a link that has nothing else, and where the way over IPv4 is dead."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.edge_agent_host import PROJECT, AgentHost
from tests.lab import podman
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import CLOUDLET, needs

NOWHERE = "http://192.0.2.1"
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
    """A link with a cloudlet, its neighbour, and a device that knows nobody."""

    def __init__(self, cloudlet: Machine, neighbour: Machine, device: Machine, folder: Path) -> None:
        self.agent = AgentHost(cloudlet, "[::]", folder)
        self.neighbour = neighbour
        self.device = device
        self._environment = {"XDG_STATE_HOME": str(folder / "device"), "PYTHONPATH": str(PROJECT)}

    def sinfonia(self, *words: str) -> Any:
        command = (sys.executable, "-m", "device_sdk.cli", *words, "--jit", "only")
        return self.device.run(*command, check=False, timeout=90, env=self._environment)

    def run(self) -> Any:
        """The page of the backend, by a program behind the tunnel."""
        command = (sys.executable, "-m", "device_sdk.cli", "run", NOWHERE, "helloworld", "--jit", "only")
        return self.device.run(*command, *FETCH, check=False, timeout=90, env=self._environment)

    def found(self) -> dict[str, str]:
        """The names of the cloudlets nearby, and where they were reached."""
        done = self.sinfonia("find", NOWHERE, "helloworld", "--json", "--timeout", "3")
        told = json.loads(done.stdout) if done.returncode == 0 else []
        return {one["Name"]: one["Endpoint"] for one in told}


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="nearby-"))
    kept = podman.cgroups()
    with (
        Network("home", "192.168.77.0/24") as link,
        Machine("cloudlet") as cloudlet,
        Machine("neighbour") as neighbour,
        Machine("device") as device,
    ):
        for number, machine in enumerate((cloudlet, neighbour, device), 5):
            link.attach(machine, f"192.168.77.{number}")
            machine.run("ip", "-4", "address", "flush", "dev", "eth0")
        for machine in (cloudlet, neighbour, device):
            assert poll(lambda machine=machine: link_local(machine), 20), "no IPv6 here"  # type: ignore[misc]
        yield Home(cloudlet, neighbour, device, folder)
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


def link_local(machine: Machine) -> bool:
    """Whether nobody else turned out to have the machine's address."""
    shown = machine.run("ip", "-6", "-o", "address", "show", "dev", "eth0", "-tentative").stdout
    return "fe80" in shown


@pytest.mark.timeout(300)
@needs(*CLOUDLET, "module:zeroconf")
def test_a_backend_is_found_and_reached_over_ipv6(home: Home, tmp_path: Path) -> None:
    """First on a link without IPv4; then with it, though nothing comes through but the announcement."""
    cloudlet = home.agent.machine
    home.neighbour.popen(
        [sys.executable, "-c", NEIGHBOUR], log=tmp_path / "n.log", env={"PYTHONPATH": str(PROJECT)}
    )
    program = home.agent.start("--announce-interface", "eth0", "--announce")
    assert poll(lambda: set(home.found()) == {"cloudlet", "other"}, 30), home.agent.log.read_text()
    assert all(place.startswith("http://[fe80::") and "%25eth0]" in place for place in home.found().values())
    done = home.run()
    assert "Hello from cloudlet" in done.stdout, done.stderr
    assert "[fe80::" in cloudlet.run("wg", "show", "all", "endpoints").stdout
    assert program.stop() == 0

    for number, machine in enumerate((cloudlet, home.neighbour, home.device), 5):
        machine.run("ip", "address", "add", f"192.168.77.{number}/24", "dev", "eth0")
    for rule in ("-p tcp --dport 7070", "-p udp --dport 51820"):
        cloudlet.run("iptables", "-I", "INPUT", "-i", "eth0", *rule.split(), "-j", "DROP")
    home.agent.start(*IPV4_TOO, "--announce-interface", "eth0", "--announce")
    assert poll(lambda: "cloudlet" in home.found(), 30), home.agent.log.read_text()
    done = home.run()
    assert "Hello from cloudlet" in done.stdout, done.stderr
    told = json.loads(home.sinfonia("deploy", NOWHERE, "helloworld", "--json").stdout)
    assert told[0]["TunnelConfig"]["endpoint"] == "192.168.77.5:51820", "what a phone would get"
    assert "[fe80::" in cloudlet.run("wg", "show", "all", "endpoints").stdout
