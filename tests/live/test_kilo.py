"""Kilo as the gateway, on a real cluster with a stand-in for Kilo's own agent: Peers, packets, policies."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.lab import cluster, device, node
from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.device import Device
from tests.lab.kilo import PEERS, Kilo
from tests.lab.machine import Network, poll
from tests.lab.needs import needs
from tests.lab.policies import Enforcer

live = needs("kubernetes", "node", *device.PARTS, "nft", "podman", "helm", "busybox-static")
pytestmark = pytest.mark.timeout(400)
TUNNELS = "100.99.0.0/16"
NODE = "198.51.100.2"  # as devices see it (TEST-NET-2, RFC 5737)


class Place:
    """A cluster with Kilo and policies, the agent beside it, and devices that reach only the node."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        load_image()
        self._stack, self._folder = stack, folder
        self.api = cluster.admin()
        self._network = stack.enter_context(Network("internet", "198.51.100.0/24"))
        self._network.attach_host(NODE, "sinfoniakilo", node.namespace())
        self.kilo = stack.enter_context(Kilo(self.api, NODE, TUNNELS))
        self.foreign_key = os.urandom(32)
        self.foreign = self.api.call("POST", PEERS, _peer("somebody", self.foreign_key, "100.98.0.1/32"))
        host = _source(node.address())
        status, names = _free(host, socket.SOCK_STREAM), _free(host, socket.SOCK_DGRAM)
        service = self._service(host, status, names)
        _lead_back(stack)
        options = ("--gateway", "kilo", "--kilo-service", service, "--tunnel-network", TUNNELS)
        options += ("--kilo-status", f"{host}:{status}", "--kilo-names", f"{host}:{names}")
        self.cloudlet = stack.enter_context(Cloudlet(folder, *options, "--max-age", "86400"))
        self.cloudlet.start()
        self._devices = 0

    def _service(self, host: str, status: int, names: int) -> str:
        """A Service for the agent, which runs outside the cluster."""
        namespace = f"sinfonia-kilo-{uuid.uuid4().hex[:8]}"
        self.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        self._stack.callback(self.api.call, "DELETE", f"/api/v1/namespaces/{namespace}")
        wanted = (("status", "TCP", 80, status), ("udp", "UDP", 53, names), ("tcp", "TCP", 53, names))
        ends = [{"name": name, "protocol": protocol, "port": to} for name, protocol, _, to in wanted]
        ports = [{"name": name, "protocol": protocol, "port": port} for name, protocol, port, _ in wanted]
        path, metadata = f"/api/v1/namespaces/{namespace}", {"metadata": {"name": "agent"}}
        subsets = [{"addresses": [{"ip": host}], "ports": ends}]
        self.api.call("POST", f"{path}/endpoints", {**metadata, "subsets": subsets})
        self.api.call("POST", f"{path}/services", {**metadata, "spec": {"ports": ports}})
        return f"{namespace}/agent"

    def device(self) -> Device:
        """One more device."""
        self._devices += 1
        return Device(self._stack, self._folder, self._network, f"198.51.100.{10 + self._devices}")

    def deployed(self, device: Device) -> Any:
        """The device's target, of a backend that is ready, with the tunnel up."""
        answers: list[Any] = []

        def ready() -> bool:
            status, answer = self.cloudlet.deploy(device.key, 5)
            answers.append(answer)
            return status == 200 and answer[0]["Status"] == "Ready"

        assert poll(ready, 120, 0.1), answers[-1]
        target = answers[-1][0]
        device.connect(target["TunnelConfig"])
        return target

    def enforced(self) -> Enforcer:
        """Enforce this agent's policies, within a `with`."""
        return Enforcer(self.api, {"sinfonia/agent": self.cloudlet.uuid})

    def peers(self) -> dict[str, Any]:
        """The agent's Peers by key."""
        label = f"sinfonia/agent={self.cloudlet.uuid}"
        return {one["spec"]["publicKey"]: one for one in self.api.items(PEERS, labelSelector=label)}


def _peer(name: str, key: bytes, *allowed: str) -> dict[str, Any]:
    return {
        "apiVersion": "kilo.squat.ai/v1alpha1",
        "kind": "Peer",
        "metadata": {"name": name},
        "spec": {"publicKey": base64.b64encode(key).decode(), "allowedIPs": list(allowed)},
    }


def _source(address: str) -> str:
    """The address of this machine that the node sees."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0])


def _free(host: str, kind: socket.SocketKind) -> int:
    with closing(socket.socket(socket.AF_INET, kind)) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _lead_back(stack: ExitStack) -> None:
    """This machine answers devices by way of the node, as a pod would."""
    route = [TUNNELS, "via", node.address()]
    stack.callback(subprocess.run, ["ip", "route", "del", *route], check=True, timeout=10)
    subprocess.run(["ip", "route", "replace", *route], check=True, timeout=10)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack, tmp_path_factory.mktemp("kilo"))


@live
def test_a_device_gets_its_page_its_names_and_its_status_through_kilo(place: Place) -> None:
    device = place.device()
    with place.enforced():
        target = place.deployed(device)
        tunnel = target["TunnelConfig"]
        assert (tunnel["publicKey"], tunnel["endpoint"]) == (place.kilo.key, place.kilo.endpoint)
        assert "Hello" in device.get("http://helloworld/")
        assert json.loads(device.get(target["StatusURL"]))["Status"] == "Ready"
        assert place.kilo.handshakes()[_text(device.key)] > 0


@live
def test_it_is_the_policy_that_keeps_devices_apart(place: Place) -> None:
    first, second = place.device(), place.device()
    address = place.deployed(first)["Services"][0]["address"]
    page = f"http://{address}/"
    place.deployed(second)
    second.lead(address)
    with place.enforced():
        assert "Hello" in first.get(page)
        assert second.get(page) == ""
        assert "Hello" in second.get("http://helloworld/"), "its own"
    assert "Hello" in second.get(page), "Kilo itself leads everybody everywhere"


@live
def test_release_removes_the_peer(place: Place) -> None:
    device = place.device()
    target = place.deployed(device)
    assert "Hello" in device.get("http://helloworld/")
    assert place.peers()[_text(device.key)]["spec"]["allowedIPs"] == target["TunnelConfig"]["address"]
    device.machine.run("curl", "-sS", "--fail", "-m", "30", "-X", "DELETE", target["StatusURL"])
    assert poll(lambda: _text(device.key) not in place.peers(), 60, 0.1)
    assert poll(lambda: _text(device.key) not in place.kilo.peers(), 30, 0.1)
    assert _text(place.foreign_key) in place.kilo.peers()


@live
def test_a_dead_agent_ends_no_session_and_the_next_one_keeps_all(place: Place) -> None:
    device = place.device()
    target = place.deployed(device)
    page = f"http://{target['Services'][0]['address']}/"
    assert "Hello" in device.get(page)
    peers, begun = place.peers(), place.kilo.handshakes()[_text(device.key)]
    place.cloudlet.kill()
    assert "Hello" in device.get(page), "the agent is not on the way"
    place.cloudlet.start()
    assert place.peers() == peers, "not one was written again"
    assert "Hello" in device.get("http://helloworld/")
    status, (again,) = place.cloudlet.deploy(device.key)
    assert (status, again["TunnelConfig"]) == (200, target["TunnelConfig"])
    assert place.kilo.handshakes()[_text(device.key)] == begun, "the same session"


@live
def test_peers_of_others_are_left_alone(place: Place) -> None:
    """Also one with the key of a device that asks: it gets no tunnel, and is told so."""
    key = os.urandom(32)
    taken = place.api.call("POST", PEERS, _peer("taken", key, "100.98.0.2/32"))
    status, problem = place.cloudlet.deploy(key)
    assert (status, "taken" in problem["detail"]) == (503, True), problem
    for one in (place.foreign, taken):
        assert place.api.call("GET", f"{PEERS}/{one['metadata']['name']}") == one
