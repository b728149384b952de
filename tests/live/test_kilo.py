"""Kilo as the gateway, on a real cluster with a stand-in for Kilo's own agent: Peers, packets, policies."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.lab import cluster, device, node
from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.device import Device
from tests.lab.installed import installed
from tests.lab.kilo import PEERS, Kilo
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs
from tests.lab.policies import Enforcer
from tests.lab.world import BIN, HELLOWORLD

live = needs("kubernetes", "node", *device.PARTS, "nft", "podman", "helm", "kubectl")
pytestmark = pytest.mark.timeout(400)
TUNNELS, PODS_TUNNELS = "100.98.0.0/16", "100.99.0.0/16"  # of the agent beside the cluster, of the one inside
BOTH = "100.98.0.0/15"
INTERNET = "198.18.77.0/24"  # of the range for tests of devices (RFC 2544)
NEIGHBOUR = "198.18.77.3"  # a machine beside the node
NODE = "198.18.77.2"  # as devices see it
CHART = f"gateway.kind=kilo,gateway.kilo.network={TUNNELS},config.max-age=86400"


class Place:
    """A cluster with Kilo and policies, the agent beside it, and devices that reach only the node."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        load_image()
        self._stack, self.folder = stack, folder
        self.api = cluster.admin()
        self._network = stack.enter_context(Network("internet", INTERNET))
        node.attach(stack, self._network, NODE, "sinfoniakilo")
        neighbour = stack.enter_context(Machine("neighbour"))
        self._network.attach(neighbour, NEIGHBOUR)
        neighbour.run("ip", "route", "add", "default", "via", NODE)
        neighbour.popen(["busybox", "httpd", "-f", "-p", "80", "-h", "/"])
        self.host = host = _source(node.address())
        self.kilo = stack.enter_context(Kilo(self.api, NODE, BOTH, self.host))
        self.foreign_key = os.urandom(32)
        self.foreign = self.api.call("POST", PEERS, _peer("somebody", self.foreign_key, "100.96.0.1/32"))
        status, names = _free(host, socket.SOCK_STREAM), _free(host, socket.SOCK_DGRAM)
        service = self._service(host, status, names)
        _lead_back(stack)
        options = ("--gateway", "kilo", "--kilo-service", service, "--tunnel-network", TUNNELS)
        options += ("--kilo-status", f"{host}:{status}", "--kilo-names", f"{host}:{names}")
        options += ("--max-age", "86400", "--kubeconfig", cluster.agent_kubeconfig("--set", CHART))
        self.cloudlet = stack.enter_context(Cloudlet(folder, *options, host=host))
        self.cloudlet.start()
        self._devices = 0
        self.leaver, self.first, self.second = (self.device() for _ in range(3))
        leavers = self.deployed(self.leaver)
        self.leavers_peer = self.peers()[_text(self.leaver.key)]
        self.leaver.machine.run("curl", "-sS", "--fail", "-m", "30", "-X", "DELETE", leavers["StatusURL"])
        self.firsts, self.seconds = self.deployed(self.first), self.deployed(self.second)

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
        return Device(self._stack, self.folder, self._network, f"198.18.77.{10 + self._devices}")

    def deployed(self, device: Device) -> Any:
        """The device's target, of a backend that is ready, with the tunnel up."""
        return connected(device, lambda: self.cloudlet.deploy(device.key, 5))

    def enforced(self) -> Enforcer:
        """Enforce this agent's policies, within a `with`."""
        return Enforcer(self.api, {"sinfonia/agent": self.cloudlet.uuid})

    @contextmanager
    def kept_from_nodes(self) -> Iterator[None]:
        """With the rules of the agent's guide on the node: for this cluster's pods, and the agent beside."""
        guide = (cluster.PROJECT / "edge_agent" / "README.md").read_text()
        (table,) = re.findall(r"^  table inet sinfonia_devices \{$.*?^  \}$", guide, re.DOTALL | re.MULTILINE)
        (one,) = self.api.items("/api/v1/nodes")
        pods = f"{{ {one['spec']['podCIDR']}, {self.host} }}"
        node.run(
            "nft", "-f", "-", text=table.replace("100.71.0.0/16", TUNNELS).replace("10.244.0.0/16", pods)
        )
        try:
            yield
        finally:
            node.run("nft", "delete", "table", "inet", "sinfonia_devices")

    def peers(self) -> dict[str, Any]:
        """The agent's Peers by key."""
        label = f"sinfonia/agent={self.cloudlet.uuid}"
        return {one["spec"]["publicKey"]: one for one in self.api.items(PEERS, labelSelector=label)}


def connected(device: Device, deploy: Callable[[], tuple[int, Any]]) -> Any:
    """The device's target of such a call, once it is ready, with the tunnel up."""
    answers: list[Any] = []

    def ready() -> bool:
        status, answer = deploy()
        answers.append(answer)
        return status == 200 and answer[0]["Status"] == "Ready"

    assert poll(ready, 120, 0.1), answers[-1]
    target = answers[-1][0]
    device.connect(target["TunnelConfig"])
    page = f"http://{target['Services'][0]['address']}/"
    assert poll(lambda: "Hello" in device.get(page), 60, 0.1), "kube-proxy learns of pods a moment later"
    return target


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
    for network in (TUNNELS, INTERNET):
        route = [network, "via", node.address()]
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
    device, tunnel = place.first, place.firsts["TunnelConfig"]
    assert (tunnel["publicKey"], tunnel["endpoint"]) == (place.kilo.key, place.kilo.endpoint)
    with place.enforced():
        assert "Hello" in device.get("http://helloworld/")
        assert json.loads(device.get(place.firsts["StatusURL"]))["Status"] == "Ready"
    assert place.kilo.handshakes()[_text(device.key)] > 0


@live
def test_it_is_the_policy_that_keeps_devices_apart(place: Place) -> None:
    address = place.firsts["Services"][0]["address"]
    page = f"http://{address}/"
    place.second.lead(f"{address}/32")
    with place.enforced():
        assert "Hello" in place.first.get(page)
        assert "Hello" not in place.second.get(page)
        assert "Hello" in place.second.get("http://helloworld/"), "its own"
    assert "Hello" in place.second.get(page), "Kilo itself leads everybody everywhere"


@live
def test_the_sdk_takes_its_target(place: Place) -> None:
    machine, state = place.device().machine, str(place.folder / "sdk")
    machine.run("ip", "route", "add", "default", "via", NODE)
    done = machine.run(
        *(str(BIN / "sinfonia"), "run", place.cloudlet.url, "helloworld", "--jit=off", "--"),
        *("curl", "-sS", "--fail", "--max-time", "10", "http://helloworld/"),
        timeout=120,
        env={"XDG_STATE_HOME": state},
    )
    assert "Hello" in done.stdout


@live
def test_the_guides_rules_keep_devices_from_nodes_and_each_other(place: Place) -> None:
    device, other = place.first, place.second
    other.lead(*place.firsts["TunnelConfig"]["address"])
    other.machine.popen(["busybox", "httpd", "-f", "-p", "80", "-h", "/"])
    there = place.seconds["TunnelConfig"]["address"][0].partition("/")[0]
    service = place.api.call("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"]
    elsewhere = [
        (node.address(), 6443),
        (node.address(), 10250),
        (service, 443),
        (NEIGHBOUR, 80),
        (there, 80),
    ]
    device.lead(*{f"{address}/32" for address, _ in elsewhere})
    told = device.failures(elsewhere)
    assert told == dict.fromkeys(elsewhere, ""), "Kilo itself leads everybody everywhere"
    with place.kept_from_nodes():
        assert all(device.failures(elsewhere, 2).values())
        assert "Hello" in device.get("http://helloworld/")
        assert json.loads(device.get(place.firsts["StatusURL"]))["Status"] == "Ready"


@live
def test_release_removes_the_peer(place: Place) -> None:
    """What left when the others came: that takes its namespace some seconds."""
    key = _text(place.leaver.key)
    assert place.leavers_peer["spec"]["publicKey"] == key
    assert poll(lambda: key not in place.peers(), 90, 0.1)
    assert poll(lambda: key not in place.kilo.peers(), 30, 0.1)
    assert _text(place.foreign_key) in place.kilo.peers()


@live
def test_a_dead_agent_ends_no_session_and_the_next_one_keeps_all(place: Place) -> None:
    device = place.device()  # whose session is young: after two minutes there is a new one anyway
    target = place.deployed(device)
    page = f"http://{target['Services'][0]['address']}/"
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
    taken = place.api.call("POST", PEERS, _peer("taken", key, "100.96.0.2/32"))
    status, problem = place.cloudlet.deploy(key)
    assert (status, "taken" in problem["detail"]) == (503, True), problem
    for one in (place.foreign, taken):
        assert place.api.call("GET", f"{PEERS}/{one['metadata']['name']}") == one


@live
def test_the_chart_installs_an_agent_behind_kilo(place: Place, tmp_path: Path) -> None:
    values = {
        "config": {"max-age": 86400, "root": ["http://127.0.0.1:9"]},
        "gateway": {"kind": "kilo", "kilo": {"network": PODS_TUNNELS}},
        "state": {"kind": "emptyDir"},
    }
    device = place.device()
    with installed(tmp_path, values) as agent, _without_peers(place, agent.label), agent.enforced():
        path = f"/api/v1/deploy/{HELLOWORLD}/{base64.urlsafe_b64encode(device.key).decode()}?wait=5"

        def deploy() -> tuple[int, Any]:
            answer = requests.post(agent.url(7070) + path, timeout=40)
            return answer.status_code, answer.json()

        target = connected(device, deploy)
        assert "Hello" in device.get("http://helloworld/"), agent.log()
        assert json.loads(device.get(target["StatusURL"]))["Status"] == "Ready"
        device.lead(f"{agent.address}/32")
        api, metrics = (agent.address, 7070), (agent.address, 9707)
        failures = device.failures([api, metrics])
        assert not failures[api], "it is for whom the operator lets in: everybody"
        assert failures[metrics], "these are the cluster's"
        found = {one["subject"]: one["level"] for one in agent.check() if one["part"] == "Kilo"}
        assert found.pop("signs of life") == "warning", "none come, it ends by age"
        assert found.pop("masquerading") == "unknown", "that is the nodes' affair"
        assert found == dict.fromkeys(("Peers", "entrance", "addresses"), "good")


@contextmanager
def _without_peers(place: Place, label: str) -> Iterator[None]:
    """Remove an agent's Peers at the end: like its deployments, they outlive it."""
    try:
        yield
    finally:
        for one in place.api.items(PEERS, labelSelector=label):
            place.api.call("DELETE", f"{PEERS}/{one['metadata']['name']}")
