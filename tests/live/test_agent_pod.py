"""The agent as its chart installs it: a pod without root rights in a real cluster, that serves a device."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.capabilities import NET_ADMIN, read_sets
from edge_agent.on_kubernetes.api import Refused
from tests.fakes.edge_agent_backends import HELLOWORLD
from tests.lab import cluster, images, node
from tests.lab.agent_image import AGENT_IMAGE, USER, agent_archive
from tests.lab.machine import Machine, Network, poll
from tests.lab.needs import needs
from tests.lab.policies import Enforcer

NEEDS = ("kubernetes", "root", "tun", "helm", "ip", "wg", "wireguard-go", "nft", "podman", "busybox-static")
WAIT = 120.0
LABEL = "sinfonia-lab/pod"
KUBECTL = Path(sys.executable).parent / "kubectl"


class Cloudlet:
    """An installed chart. The lab's pods are reached from here by their addresses."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.uuid = ""
        self.api = cluster.admin()

    def pod(self) -> dict[str, Any]:
        """The agent's pod, empty while there is none."""
        found = self.api.items(
            f"/api/v1/namespaces/{self.namespace}/pods", labelSelector="app.kubernetes.io/name=sinfonia-agent"
        )
        living = [one for one in found if not one["metadata"].get("deletionTimestamp")]
        return living[0] if living else {}

    @property
    def label(self) -> str:
        """Selects its deployments."""
        return f"sinfonia/agent={self.uuid}"

    def ready(self) -> bool:
        conditions = (self.pod().get("status") or {}).get("conditions") or []
        return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)

    def log(self) -> str:
        name = (self.pod().get("metadata") or {}).get("name")
        if not name:
            return "there is no pod"
        try:
            return self.api.text(f"/api/v1/namespaces/{self.namespace}/pods/{name}/log", container="agent")
        except Exception as error:  # noqa: BLE001 - it is told beside the assertion that failed
            return f"{error}: {json.dumps(self.pod().get('status'))}"

    def url(self, port: int) -> str:
        return f"http://{self.pod()['status']['podIP']}:{port}"


@pytest.fixture(scope="module")
def cloudlet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloudlet]:
    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load:
        for archive in (images.helloworld_archive(), agent_archive()):
            subprocess.run([*shlex.split(load), str(archive)], check=True, timeout=180, capture_output=True)
    made = Cloudlet(f"sinfonia-pod-{uuid.uuid4().hex[:8]}")
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=made.namespace, dir="/var/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        stack.callback(_clean, made)
        labels = {LABEL: made.namespace}
        made.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": made.namespace, "labels": labels}})
        made.api.call("POST", f"/api/v1/namespaces/{made.namespace}/configmaps", _recipes())
        file = tmp_path_factory.mktemp("pod") / "values.json"
        file.write_text(json.dumps(_values(folder)))
        _helm("install", "cloudlet", str(cluster.CHART), "--values", str(file), namespace=made.namespace)
        assert poll(made.ready, WAIT, 0.5), made.log()
        made.uuid = requests.get(made.url(7070) + "/api/v1/health", timeout=10).json()["uuid"]
        yield made
        _helm("uninstall", "cloudlet", namespace=made.namespace)
        left = [
            one["metadata"]["name"] for one in made.api.items("/api/v1/namespaces", labelSelector=made.label)
        ]
        assert left, "what devices use outlives the chart: nobody loses a backend by an upgrade"


def _values(folder: Path) -> dict[str, Any]:
    """The state's folder belongs to the agent's user, and the TUN device is as ordinary nodes have it."""
    state, tun = folder / "state", folder / "tun"
    state.mkdir(mode=0o700)
    os.chown(state, USER, USER)
    subprocess.run(["mknod", "-m", "666", str(tun), "c", "10", "200"], check=True)
    repository, tag = AGENT_IMAGE.split(":")
    return {
        "config": {"name": "pod", "root": ["http://127.0.0.1:9"]},
        "gateway": {"endpoint": "192.0.2.7", "expose": "none", "forwarding": "init", "tun": str(tun)},
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "recipes": {"configMap": "recipes"},
        "state": {"kind": "hostPath", "hostPath": str(state)},
    }


def _recipes() -> dict[str, Any]:
    """helloworld's recipe, and its chart as an archive beside it."""
    recipe = (cluster.PROJECT / "infra" / "recipes" / f"{HELLOWORLD}.yaml").read_text()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(cluster.PROJECT / "infra" / "charts" / "helloworld", "helloworld")
    return {
        "metadata": {"name": "recipes"},
        "data": {f"{HELLOWORLD}.yaml": recipe},
        "binaryData": {"helloworld-0.1.0.tgz": base64.b64encode(packed.getvalue()).decode()},
    }


def _helm(*arguments: str, namespace: str) -> None:
    command = [cluster.helm(), "--kubeconfig", os.environ["SINFONIA_TEST_KUBECONFIG"], "-n", namespace]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr


def _clean(made: Cloudlet) -> None:
    """Everything of this cloudlet, also where the chart was not uninstalled."""
    doomed = [f"/api/v1/namespaces/{made.namespace}"]
    if made.uuid:
        records = made.api.items("/api/v1/namespaces", labelSelector=made.label)
        doomed += [f"/api/v1/namespaces/{one['metadata']['name']}" for one in records]
    roles = "/apis/rbac.authorization.k8s.io/v1"
    doomed += [
        f"{roles}/{kind}/{made.namespace}-cloudlet" for kind in ("clusterrolebindings", "clusterroles")
    ]
    for path in doomed:
        with contextlib.suppress(Refused):
            made.api.call("DELETE", path)


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
def enforced(cloudlet: Cloudlet) -> Iterator[None]:
    """With the policies of the chart and of the guests, where the node is here; elsewhere it is the cluster's
    own affair.
    """
    if node.missing():
        yield
        return
    with Enforcer(cloudlet.api, {LABEL: cloudlet.namespace}, {"sinfonia/agent": cloudlet.uuid}):
        with pytest.raises(requests.ConnectionError):
            requests.get(cloudlet.url(9707) + "/metrics", timeout=10)
        yield


@needs(*NEEDS)
@pytest.mark.timeout(400)
def test_a_pod_without_root_serves_a_device_and_so_does_the_next_one(cloudlet: Cloudlet) -> None:
    with contextlib.ExitStack() as stack:
        device = Device(stack)
        stack.enter_context(enforced(cloudlet))
        path = f"/api/v1/deploy/{HELLOWORLD}/{device.key}"
        answer = requests.post(cloudlet.url(7070) + path, timeout=30)
        assert answer.status_code == 200, answer.text
        (made,) = answer.json()
        device.connect(made["TunnelConfig"], cloudlet.pod()["status"]["podIP"])
        (service,) = made["Services"]
        assert poll(lambda: "Hello" in device.page(service["address"]), WAIT, 0.5), cloudlet.log()

        old = cloudlet.pod()["metadata"]["name"]
        cloudlet.api.call("DELETE", f"/api/v1/namespaces/{cloudlet.namespace}/pods/{old}")
        assert poll(lambda: cloudlet.pod().get("metadata", {}).get("name", old) != old, WAIT, 0.5)
        assert poll(cloudlet.ready, WAIT, 0.5), cloudlet.log()
        device.gateway = cloudlet.pod()["status"]["podIP"]
        assert poll(lambda: "Hello" in device.page(service["address"]), WAIT, 0.5), cloudlet.log()
        (found,) = requests.get(cloudlet.url(7070) + path, timeout=10).json()
        assert found["Created"] == made["Created"], "the same deployment, of the same cloudlet"


@needs(*NEEDS)
@pytest.mark.timeout(400)
def test_its_metrics_and_probes_are_served(cloudlet: Cloudlet) -> None:
    shown = requests.get(cloudlet.url(9707) + "/metrics", timeout=10)
    assert "sinfonia_agent_deployments" in shown.text
    assert 'operation="observe"' in shown.text or 'operation="records"' in shown.text
    assert requests.get(cloudlet.url(9707) + "/healthz", timeout=10).status_code == 200


@needs(*NEEDS)
@pytest.mark.timeout(400)
def test_no_process_of_it_has_more_than_it_needs(cloudlet: Cloudlet) -> None:
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


@needs(*NEEDS)
@pytest.mark.timeout(400)
@pytest.mark.skipif(not KUBECTL.exists(), reason="this machine lacks kubectl beside its helm")
def test_check_in_the_pod_finds_all_but_the_root(cloudlet: Cloudlet) -> None:
    name = cloudlet.pod()["metadata"]["name"]
    command = [str(KUBECTL), "--kubeconfig", os.environ["SINFONIA_TEST_KUBECONFIG"], "-n", cloudlet.namespace]
    command += ["exec", name, "-c", "agent", "--", "sinfonia-agent", "check", "--json"]
    done = subprocess.run(
        [*command, "--config", "/etc/sinfonia/agent/agent.yaml"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    found = json.loads(done.stdout)["findings"]
    bad = [one for one in found if one["level"] == "bad"]
    assert [one["part"] for one in bad] == ["roots"], bad
    assert done.returncode == 2
    parts = {(one["part"], one["subject"]): one for one in found}
    assert parts["machine", "rights"]["text"].startswith(f"user {USER}")
    assert parts["machine", "UDP port 51820"]["text"] == "in use: an agent runs with this --state"
    assert parts["cluster", "rights"]["level"] == "good"
    assert ("cluster", "too many rights") not in parts
    assert parts["recipes", "recipes"]["text"].startswith("1 of 1")
