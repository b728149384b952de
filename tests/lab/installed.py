"""The agent as its chart installs it: a pod of a real cluster. The lab's pods are reached from here by their
addresses.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shlex
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from edge_agent.on_kubernetes.api import Refused
from tests.lab import cluster, images
from tests.lab.agent_image import AGENT_IMAGE, agent_archive
from tests.lab.machine import poll
from tests.lab.policies import Enforcer
from tests.lab.world import BIN, HELLOWORLD

WAIT = 120.0
_LABEL = "sinfonia-lab/installed"


class Installed:
    """An installed chart, whose agent has helloworld to offer."""

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
    def address(self) -> str:
        """The pod's."""
        return str(self.pod()["status"]["podIP"])

    @property
    def label(self) -> str:
        """Selects its deployments."""
        return f"sinfonia/agent={self.uuid}"

    def ready(self) -> bool:
        """Whether the pod is."""
        conditions = (self.pod().get("status") or {}).get("conditions") or []
        return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)

    def log(self) -> str:
        """What the agent logged, or why there is nothing."""
        name = (self.pod().get("metadata") or {}).get("name")
        if not name:
            return "there is no pod"
        try:
            return self.api.text(f"/api/v1/namespaces/{self.namespace}/pods/{name}/log", container="agent")
        except Exception as error:  # noqa: BLE001 - it is told beside the assertion that failed
            return f"{error}: {json.dumps(self.pod().get('status'))}"

    def url(self, port: int) -> str:
        """Where the pod serves."""
        return f"http://{self.address}:{port}"

    def enforced(self) -> Enforcer:
        """Enforce the policies of the chart and of the guests, within a `with`."""
        return Enforcer(self.api, {_LABEL: self.namespace}, {"sinfonia/agent": self.uuid})

    def check(self) -> list[dict[str, str]]:
        """What `sinfonia-agent check` finds inside the pod."""
        inside = ["sinfonia-agent", "check", "--json", "--config", "/etc/sinfonia/agent/agent.yaml"]
        command = [str(BIN / "kubectl"), "--kubeconfig", os.environ["SINFONIA_TEST_KUBECONFIG"]]
        command += [
            "-n",
            self.namespace,
            "exec",
            self.pod()["metadata"]["name"],
            "-c",
            "agent",
            "--",
            *inside,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        found: list[dict[str, str]] = json.loads(done.stdout)["findings"]
        worst = {"bad": 2, "warning": 1}
        assert done.returncode == max(worst.get(one["level"], 0) for one in found), done.stderr
        return found

    def helm(self, *arguments: str) -> None:
        """Let helm do something in the chart's namespace."""
        command = [
            cluster.helm(),
            "--kubeconfig",
            os.environ["SINFONIA_TEST_KUBECONFIG"],
            "-n",
            self.namespace,
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def installed(folder: Path, values: Mapping[str, Any]) -> Iterator[Installed]:
    """Install the chart with these values and those of the lab, and remove all that came of it at the end;
    `folder` is for files.
    """
    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load:
        for archive in (images.helloworld_archive(), agent_archive()):
            subprocess.run([*shlex.split(load), str(archive)], check=True, timeout=180, capture_output=True)
    made = Installed(f"sinfonia-pod-{uuid.uuid4().hex[:8]}")
    repository, tag = AGENT_IMAGE.split(":")
    own = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "recipes": {"configMap": "recipes"},
    }
    file = folder / "values.json"
    file.write_text(json.dumps({**own, **values}))
    try:
        labels = {_LABEL: made.namespace}
        made.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": made.namespace, "labels": labels}})
        made.api.call("POST", f"/api/v1/namespaces/{made.namespace}/configmaps", _recipes())
        made.helm("install", "cloudlet", str(cluster.CHART), "--values", str(file))
        assert poll(made.ready, WAIT, 0.5), made.log()
        made.uuid = requests.get(made.url(7070) + "/api/v1/health", timeout=10).json()["uuid"]
        yield made
    finally:
        _clean(made)


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


def _clean(made: Installed) -> None:
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
