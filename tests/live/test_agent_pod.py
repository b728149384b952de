"""The agent as its chart installs it: a pod without root rights in a real cluster, that serves a device."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.capabilities import NET_ADMIN, read_sets
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.lab import node
from tests.lab.agent_image import USER
from tests.lab.installed import WAIT, Installed, installed
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs

NEEDS = ("kubernetes", "root", "tun", "helm", "ip", "wg", "wireguard-go", "nft", "podman", "busybox-static")


@pytest.fixture(scope="module")
def cloudlet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = Path(tempfile.mkdtemp(prefix="sinfonia-pod-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        with installed(tmp_path_factory.mktemp("pod"), _values(folder)) as made:
            yield made
            made.helm("uninstall", "cloudlet")
            left = [
                one["metadata"]["name"]
                for one in made.api.items("/api/v1/namespaces", labelSelector=made.label)
            ]
            assert left, "what devices use outlives the chart: nobody loses a backend by an upgrade"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _values(folder: Path) -> dict[str, Any]:
    """The state's folder belongs to the agent's user, and the TUN device is as ordinary nodes have it."""
    state, tun = folder / "state", folder / "tun"
    state.mkdir(mode=0o700)
    os.chown(state, USER, USER)
    subprocess.run(["mknod", "-m", "666", str(tun), "c", "10", "200"], check=True)
    return {
        "config": {"name": "pod", "root": ["http://127.0.0.1:9"]},
        "gateway": {"endpoint": "192.0.2.7", "expose": "none", "forwarding": "init", "tun": str(tun)},
        "state": {"kind": "hostPath", "hostPath": str(state)},
    }


class Device:
    """A machine with WireGuard. Its packets reach the pod through a relay of ours: pods have no way to it."""

    HOST, ADDRESS = "198.51.100.1", "198.51.100.9"

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.private = X25519PrivateKey.generate()
        self.network = stack.enter_context(Network("internet", "198.51.100.0/24"))
        self.machine = stack.enter_context(Machine("device"))
        self.network.attach(self.machine, self.ADDRESS)
        self.network.attach_host(self.HOST, "sinfoniapod")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.HOST, 0))
        self.gateway = ""
        threading.Thread(target=self._relay, daemon=True).start()
        stack.callback(self._socket.close)

    @property
    def key(self) -> str:
        return base64.urlsafe_b64encode(self.private.public_key().public_bytes_raw()).decode()

    def _relay(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self._socket.recvfrom(65536)
                if source[0] == self.ADDRESS:
                    self._device = source
                    self._socket.sendto(data, (self.gateway, 51820))
                else:
                    self._socket.sendto(data, self._device)

    def connect(self, tunnel: dict[str, Any], gateway: str) -> None:
        """Bring the tunnel up; `gateway` is the pod's address."""
        self.gateway = gateway
        run = self.machine.run
        run("wireguard-go", "wg0")
        peer = ["peer", tunnel["publicKey"], "endpoint", f"{self.HOST}:{self._socket.getsockname()[1]}"]
        allowed = ",".join(one for one in tunnel["allowedIPs"] if ":" not in one)
        key = base64.b64encode(self.private.private_bytes_raw()).decode()
        run(
            "sh",
            "-c",
            f"echo {key} | wg set wg0 private-key /dev/stdin {' '.join(peer)} allowed-ips {allowed}",
        )
        run("ip", "address", "add", next(one for one in tunnel["address"] if ":" not in one), "dev", "wg0")
        run("ip", "link", "set", "wg0", "mtu", "1420", "up")
        for network in allowed.split(","):
            run("ip", "route", "add", network, "dev", "wg0")

    def page(self, address: str) -> str:
        """What a web server behind the tunnel says, empty where there is none."""
        return self.machine.run("curl", "-sS", "-m", "3", f"http://{address}/", check=False).stdout


@contextlib.contextmanager
def enforced(cloudlet: Installed) -> Iterator[None]:
    """With all policies, where the node is here; elsewhere it is the cluster's own affair."""
    if node.missing():
        yield
        return
    with cloudlet.enforced():
        with pytest.raises(requests.ConnectionError):
            requests.get(cloudlet.url(9707) + "/metrics", timeout=10)
        yield


@needs(*NEEDS)
@pytest.mark.timeout(400)
def test_a_pod_without_root_serves_a_device_and_so_does_the_next_one(cloudlet: Installed) -> None:
    with contextlib.ExitStack() as stack:
        device = Device(stack)
        stack.enter_context(enforced(cloudlet))
        path = f"/api/v1/deploy/{HELLOWORLD}/{device.key}"
        answer = requests.post(cloudlet.url(7070) + path, timeout=30)
        assert answer.status_code == 200, answer.text
        (made,) = answer.json()
        device.connect(made["TunnelConfig"], cloudlet.address)
        (service,) = made["Services"]
        assert poll(lambda: "Hello" in device.page(service["address"]), WAIT, 0.5), cloudlet.log()

        old = cloudlet.pod()["metadata"]["name"]
        cloudlet.api.call("DELETE", f"/api/v1/namespaces/{cloudlet.namespace}/pods/{old}")
        assert poll(lambda: cloudlet.pod().get("metadata", {}).get("name", old) != old, WAIT, 0.5)
        assert poll(cloudlet.ready, WAIT, 0.5), cloudlet.log()
        device.gateway = cloudlet.address
        assert poll(lambda: "Hello" in device.page(service["address"]), WAIT, 0.5), cloudlet.log()
        (found,) = requests.get(cloudlet.url(7070) + path, timeout=10).json()
        assert found["Created"] == made["Created"], "the same deployment, of the same cloudlet"


@needs(*NEEDS)
@pytest.mark.timeout(400)
def test_its_metrics_and_probes_are_served(cloudlet: Installed) -> None:
    shown = requests.get(cloudlet.url(9707) + "/metrics", timeout=10)
    assert "sinfonia_agent_deployments" in shown.text
    assert 'operation="observe"' in shown.text or 'operation="records"' in shown.text
    assert requests.get(cloudlet.url(9707) + "/healthz", timeout=10).status_code == 200


@needs(*NEEDS)
@pytest.mark.timeout(400)
def test_no_process_of_it_has_more_than_it_needs(cloudlet: Installed) -> None:
    node = [one for one in Path("/proc").glob("[0-9]*") if _belongs(one)]
    assert node, "the agent was not found among the processes"
    for process in node:
        sets = read_sets((process / "status").read_text())
        assert sets["CapEff"] & ~(1 << 10 | 1 << NET_ADMIN) == 0
        if b"sinfonia-agent" in (process / "cmdline").read_bytes():
            assert not sets["CapEff"] & 1 << NET_ADMIN, "the agent itself does not hold NET_ADMIN"


def _belongs(process: Path) -> bool:
    try:
        status = (process / "status").read_text()
    except OSError:
        return False
    return f"Uid:\t{USER}\t" in status


@needs(*NEEDS, "kubectl")
@pytest.mark.timeout(400)
def test_check_in_the_pod_finds_all_but_the_root(cloudlet: Installed) -> None:
    found = cloudlet.check()
    bad = [one for one in found if one["level"] == "bad"]
    assert [one["part"] for one in bad] == ["roots"], bad
    parts = {(one["part"], one["subject"]): one for one in found}
    assert parts["machine", "rights"]["text"].startswith(f"user {USER}")
    assert parts["machine", "UDP port 51820"]["text"] == "in use: an agent runs with this --state"
    assert parts["cluster", "rights"]["level"] == "good"
    assert ("cluster", "too many rights") not in parts
    assert parts["recipes", "recipes"]["text"].startswith("1 of 1")
