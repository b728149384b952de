"""The cluster of `SINFONIA_TEST_KUBECONFIG`, as its operator and as the agent sees it.

What the agent does there in tests it does with the account that its Helm chart makes, so that a right that is
missing in the chart fails the tests. What tests look at, they look at as the operator.
"""

from __future__ import annotations

import atexit
import base64
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import yaml

from edge_agent.on_kubernetes.api import Api, Refused, open_api
from tests.lab.machine import poll

PROJECT = Path(__file__).resolve().parents[2]
CHART = PROJECT / "infra" / "charts" / "sinfonia-agent"
_PLACES = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def admin() -> Api:
    """The API with every right."""
    return as_user(os.environ["SINFONIA_TEST_KUBECONFIG"])


def as_user(kubeconfig: str) -> Api:
    """The API with the rights of a kubeconfig's user."""
    return open_api(kubeconfig, clock=time.monotonic, sleep=threading.Event().wait)


def helm() -> str:
    """The helm program that the set-up brought."""
    found = shutil.which("helm", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    assert found, "helm is needed"
    return found


def render(
    namespace: str, *options: str, release: str = "cloudlet", program: str | None = None
) -> list[dict[str, Any]]:
    """The agent's chart, as objects; `program` is another helm than the usual one."""
    command = [program or helm(), "template", release, str(CHART), "--namespace", namespace]
    command += ["--set", "gateway.endpoint=192.0.2.7", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@functools.cache
def agent_kubeconfig(*options: str) -> str:
    """A kubeconfig with the token of an account as the chart makes it, with these options of helm; all of it
    ends with the process.
    """
    name = f"sinfonia-lab-{uuid.uuid4().hex[:8]}"
    api = admin()
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    made: list[str] = [f"/api/v1/namespaces/{name}"]
    atexit.register(_remove, api, made)
    for thing in render(name, *options):
        place = _PLACES.get(thing["kind"])
        if place:
            path = place.format(namespace=name)
            api.call("POST", path, thing)
            made.append(f"{path}/{thing['metadata']['name']}")
    return _write(name, token(api, name, "cloudlet"))


def token(api: Api, namespace: str, account: str) -> str:
    """A token of a service account, by a Secret that the cluster fills in: old clusters know no other way."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    note = {"kubernetes.io/service-account.name": account}
    body = {
        "metadata": {"name": f"{account}-lab", "annotations": note},
        "type": "kubernetes.io/service-account-token",
    }
    api.call("POST", path, body)
    found: dict[str, str] = {}

    def there() -> bool:
        found.update(api.call("GET", f"{path}/{account}-lab").get("data") or {})
        return "token" in found

    assert poll(there, 30, 0.1), "the cluster made no token"
    return base64.b64decode(found["token"]).decode()


def _write(namespace: str, secret: str) -> str:
    """The operator's kubeconfig with another user."""
    config = yaml.safe_load(Path(os.environ["SINFONIA_TEST_KUBECONFIG"]).read_text())
    current = next(one for one in config["contexts"] if one["name"] == config["current-context"])
    current["context"] |= {"user": "agent", "namespace": namespace}
    config["users"] = [{"name": "agent", "user": {"token": secret}}]
    config["contexts"] = [current]
    folder = tempfile.mkdtemp(prefix="sinfonia-lab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder, "kubeconfig")
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    return str(file)


def _remove(api: Api, paths: list[str]) -> None:
    for path in reversed(paths):
        try:
            api.call("DELETE", path)
        except Refused:
            continue
