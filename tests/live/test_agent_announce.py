"""The agent is found by Zeroconf on its own network, and no longer when it has ended."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.serving.signatures import PublicKey
from tests.fakes.edge_agent_host import PROJECT, AgentHost
from tests.lab import podman
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs

LOOK = """
import json, sys, threading
from zeroconf import ServiceBrowser, Zeroconf
zeroconf, seen = Zeroconf(interfaces=["192.168.77.200"]), {}
class Listener:
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, 2000)
        if info:
            properties = {key.decode(): value.decode() for key, value in info.properties.items()}
            seen[name] = [info.parsed_addresses(), info.port, properties]
    update_service = add_service
    def remove_service(self, zc, kind, name):
        seen.pop(name, None)
        print("gone", name, flush=True)
ServiceBrowser(zeroconf, "_sinfonia._tcp.local.", Listener())
threading.Event().wait(float(sys.argv[1]))
print(json.dumps(seen))
zeroconf.close()
"""


IMPOSTOR = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID
from edge_agent.nearby.advertise import Advertiser
class Handler(BaseHTTPRequestHandler):
    def answer(self):
        said = {"status": "ok", "uuid": sys.argv[1], "name": "cloudlet"}
        body = json.dumps(said if "health" in self.path else [said]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *words):
        pass
server = HTTPServer(("192.168.77.5", 7070), Handler)
Advertiser("cloudlet", UUID(sys.argv[1]), lambda: ["192.168.77.5"], 7070, {"trust": "open"}).open()
server.serve_forever()
"""

ADVERTISE = """
import sys, threading, uuid
from pathlib import Path
from edge_agent.machine import own_addresses
from edge_agent.nearby.advertise import Advertiser
import logging
logging.basicConfig(level=logging.INFO)
name, port = sys.argv[1], int(sys.argv[2])
made = Advertiser(name, uuid.uuid4(), lambda: own_addresses(["eth0"]), port, {})
made.keep(threading.Event(), lambda: not Path(sys.argv[3]).exists())
"""


@pytest.fixture
def machines() -> Iterator[tuple[AgentHost, Machine]]:
    folder = Path(tempfile.mkdtemp(prefix="announce-"))
    kept = podman.cgroups()
    with (
        Network("home", "192.168.77.0/24") as home,
        Machine("cloudlet") as cloudlet,
        Machine("device") as device,
    ):
        home.attach(cloudlet, "192.168.77.5")
        home.attach(device, "192.168.77.200")
        yield AgentHost(cloudlet, "192.168.77.5", folder), device
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


def seen_from(device: Machine, seconds: float = 0.7) -> dict[str, Any]:
    out = device.run(sys.executable, "-c", LOOK, str(seconds)).stdout
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def key_of(agent: AgentHost) -> str:
    """The name of the cloudlet's key, as its operator sees the key."""
    said = agent.machine.run(
        sys.executable, "-m", "edge_agent", "pair", "--key", "--state", str(agent.folder / "state")
    )
    return PublicKey.from_text(said.stdout.strip(), "key").thumbprint


@needs(
    *(
        "root",
        "tun",
        "podman",
        "runc",
        "netavark",
        "catatonit",
        "iptables",
        "wg",
        "wireguard-go",
        "nft",
        "ip",
    ),
    *("curl", "helm", "busybox-static", "module:zeroconf"),
)
def test_it_is_found_and_says_goodbye(machines: tuple[AgentHost, Machine], tmp_path: Path) -> None:
    agent, device = machines
    program = agent.start("--announce")
    told = {"path": "/", "uuid": agent.health()["uuid"], "v": "1", "trust": "open", "key": key_of(agent)}
    expected = {"cloudlet._sinfonia._tcp.local.": [["192.168.77.5"], 7070, told]}
    assert poll(lambda: seen_from(device) == expected, 15), seen_from(device)
    log = tmp_path / "browser.log"
    watcher = device.popen([sys.executable, "-c", LOOK, "15"], log=log)
    poll(lambda: False, 1.5)
    assert program.stop() == 0
    assert poll(lambda: "gone cloudlet" in log.read_text(), 5), (
        "goodbye came before the record's time was over"
    )
    watcher.kill()
    assert seen_from(device, 1.5) == {}


@needs(
    *(
        "root",
        "tun",
        "podman",
        "runc",
        "netavark",
        "catatonit",
        "iptables",
        "wg",
        "wireguard-go",
        "nft",
        "ip",
    ),
    *("curl", "helm", "busybox-static", "module:zeroconf", "module:spake2"),
)
def test_a_device_is_paired_and_knows_an_impostor_by_its_answer(
    machines: tuple[AgentHost, Machine], tmp_path: Path
) -> None:
    """In a house without any way out: no root, no default route."""
    agent, device = machines
    agent.start("--announce-interface", "eth0", "--nearby", "pairing", "--announce")
    state = ["--state", str(agent.folder / "state"), "--json"]
    environment = {"XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}

    def sinfonia(*words: str) -> Any:
        command = (sys.executable, "-m", "device_sdk.cli", *words)
        return device.run(*command, check=False, env=environment, timeout=60)

    def found() -> bool:
        return "cloudlet" in str(seen_from(device))

    assert poll(found, 20), agent.log.read_text()
    deploy = ("deploy", "http://192.168.77.99", "helloworld", "--jit", "only", "--json")
    assert sinfonia(*deploy).returncode != 0, "strangers are not served"
    said = agent.machine.run(sys.executable, "-m", "edge_agent", "pair", *state, env=environment)
    paired = sinfonia("pair", "cloudlet", json.loads(said.stdout)["code"], "--name", "phone", "--json")
    assert paired.returncode == 0, paired.stderr
    assert json.loads(paired.stdout)[0]["UUID"] == agent.health()["uuid"]
    listed = agent.machine.run(sys.executable, "-m", "edge_agent", "pair", "--list", *state, env=environment)
    assert [one["name"] for one in json.loads(listed.stdout)] == ["phone"]
    deployed = sinfonia(*deploy)
    assert deployed.returncode == 0, deployed.stderr
    assert agent.program is not None
    agent.program.kill()
    impostor = agent.machine.popen(
        [sys.executable, "-c", IMPOSTOR, str(json.loads(paired.stdout)[0]["UUID"])],
        log=tmp_path / "impostor.log",
    )
    assert poll(lambda: "open" in str(seen_from(device)), 20), (tmp_path / "impostor.log").read_text()
    fooled = sinfonia(*deploy)
    assert fooled.returncode == 115, fooled.stderr
    assert "not the cloudlet" in fooled.stderr
    impostor.kill()


@pytest.mark.timeout(300)
@needs("root", "ip", "catatonit", "module:zeroconf")
def test_cloudlets_of_one_name_get_names_of_their_own_and_follow_their_addresses(tmp_path: Path) -> None:
    """Two on one host, one on another; then an interface goes, and comes back with another address."""
    environment = {"PYTHONPATH": str(PROJECT)}
    with (
        Network("home", "192.168.77.0/24") as home,
        Machine("one") as one,
        Machine("other") as other,
        Machine("device") as device,
    ):
        home.attach(one, "192.168.77.5")
        home.attach(device, "192.168.77.200")

        def seen() -> dict[int, Any]:
            return {port: (name, addresses) for name, (addresses, port, _) in seen_from(device).items()}

        def advertise(machine: Machine, port: str) -> Any:
            command = [sys.executable, "-c", ADVERTISE, "cloudlet", port, str(tmp_path / f"{port}.draining")]
            return machine.popen(command, log=tmp_path / f"{port}.log", env=environment)

        def names() -> set[str]:
            return {name for name, _ in seen().values()}

        first = advertise(one, "7070")
        assert poll(lambda: set(seen()) == {7070}, 20), seen()
        first.send_signal(signal.SIGSTOP)  # too busy to say that it has the name
        advertise(one, "7071")
        assert poll(lambda: "announced" in (tmp_path / "7071.log").read_text(), 20)
        first.go_on()
        assert poll(lambda: len(names()) == 2, 30), seen()
        advertise(other, "7072")  # it has no network yet
        home.attach(other, "192.168.77.6")
        assert poll(lambda: set(seen()) == {7070, 7071, 7072}, 20), seen()
        assert poll(lambda: len(names()) == 3, 30), seen()
        home.detach(other)
        home.attach(other, "192.168.77.7")
        assert poll(lambda: seen().get(7072, ("", []))[1] == ["192.168.77.7"], 30), seen()
        draining = tmp_path / "7071.draining"
        draining.touch()
        assert poll(lambda: set(seen()) == {7070, 7072}, 20), "it takes nobody new, and says so"
        draining.unlink()
        assert poll(lambda: 7071 in seen(), 20), seen()
