"""A real agent on a real cluster is offered only while backends could be started there, and says what the
nodes have.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.on_kubernetes.api import Api, Refused
from edge_agent.on_kubernetes.capacity import Capacity
from edge_agent.on_kubernetes.placement import Placement
from tests.lab import cluster
from tests.lab.api_proxy import ApiProxy
from tests.lab.cloudlet import Cloudlet, load_image
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.lab.web import serving

LEASE = {"lease_token": "token-1", "interval_seconds": 1, "lease_seconds": 600}
PARTS = ("root", "kubernetes", "podman", "busybox-static", "setpriv", "wg", "nft", "ip", "helm")


class Root:
    """Takes whatever it is told; `words` are the methods and bodies."""

    def __init__(self) -> None:
        self.words: list[tuple[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.words.append((environ["REQUEST_METHOD"], json.loads(body or b"null")))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(LEASE).encode()]

    @property
    def draining(self) -> bool:
        """As told last."""
        told = [body["draining"] for _, body in list(self.words) if body and "draining" in body]
        return bool(told and told[-1])


@pytest.fixture
def root() -> Iterator[tuple[Root, str]]:
    root = Root()
    with serving(root) as url:
        yield root, url


@pytest.mark.timeout(400)
@needs(*PARTS)
def test_a_cloudlet_is_offered_only_while_it_can_begin_something(
    root: tuple[Root, str], tmp_path: Path
) -> None:
    load_image()
    told, url = root
    nobody = {"path": "/api/v1/nodes", "status": 200, "body": b'{"items": []}'}
    with ApiProxy(cluster.agent_kubeconfig()) as proxy:
        options = ("--root", url, "--kubeconfig", proxy.kubeconfig(tmp_path))
        with Cloudlet(tmp_path, *options) as cloudlet:
            with proxy.fault(**nobody):
                cloudlet.start()
                assert poll(lambda: "None of 0 nodes" in cloudlet.log.read_text(), 30, 0.1)
                status, problem = cloudlet.deploy(bytes(32))
                assert (status, "None of 0 nodes" in problem["detail"]) == (503, True)
                assert told.words == [], "no root hears of it"
            assert poll(lambda: bool(told.words), 60, 0.1), cloudlet.log.read_text()
            method, registered = told.words[0]
            assert method == "PUT"
            assert not registered.get("draining")
            assert registered["hardware"]["cores"] >= 1
            assert registered["hardware"]["memory_bytes"] > 1 << 20
            assert {"cpu_ratio", "mem_ratio"} <= registered["resources"].keys()
            key = b"k" * 32
            _, (begun,) = cloudlet.deploy(key, wait=20)
            with proxy.fault(**nobody):
                assert poll(lambda: told.draining, 120, 0.2), cloudlet.log.read_text()
                assert cloudlet.deploy(b"n" * 32)[0] == 503
                status, (kept,) = cloudlet.deploy(key)
                assert (status, kept["DeploymentName"]) == (200, begun["DeploymentName"])
            assert poll(lambda: not told.draining, 60, 0.1), cloudlet.log.read_text()
            assert [record.name for record in cloudlet.records()] == [begun["DeploymentName"]]
            assert {method for method, _ in told.words} == {"PUT", "POST"}, "no goodbye meanwhile"
            assert "Traceback" not in cloudlet.log.read_text()


@needs("kubernetes")
def test_what_pods_ask_for_is_how_busy_a_cluster_without_a_metrics_server_is() -> None:
    """With the agent's own rights; a pod asks for an eighth of the node."""
    api, operator = cluster.as_user(cluster.agent_kubeconfig()), cluster.admin()
    name = f"sinfonia-lab-{uuid.uuid4().hex[:8]}"
    operator.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        seen = Capacity(api, api, Placement(), time.monotonic)
        assert seen.check() == ""
        cores = seen.hardware().cores or 0
        assert cores >= 1
        asked = {"requests": {"cpu": f"{125 * cores}m", "memory": "16Mi"}}
        container = {"name": "only", "image": "localhost/pause:1", "resources": asked}
        pod = {"metadata": {"name": "asks"}, "spec": {"containers": [container]}}
        assert poll(lambda: made(operator, f"/api/v1/namespaces/{name}/pods", pod), 30, 0.2)

        def told() -> dict[str, float]:
            fresh = Capacity(api, api, Placement(), time.monotonic)
            fresh.check()
            return fresh.measure().to_json()

        assert poll(lambda: told()["cpu_ratio"] >= 0.1, 60, 0.2), told()
        assert 0 < told()["mem_ratio"] <= 1
        nobody = Capacity(api, api, Placement({"example.org/guests": "none"}), time.monotonic)
        assert "takes guests" in nobody.check()
    finally:
        operator.call("DELETE", f"/api/v1/namespaces/{name}")


def made(operator: Api, path: str, pod: Any) -> bool:
    """A new namespace takes a moment to get the account that pods need."""
    try:
        operator.call("POST", path, pod)
    except Refused:
        return False
    return True
