"""The Kubernetes runtime on a real cluster: what fences guests in, what is refused, what a restart finds."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any

import pytest

from edge_agent.deployments.records import Record
from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.cluster import KubernetesRuntime, connect
from edge_agent.recipes.limits import Limits
from tests.fakes.edge_agent_backends import HELLOWORLD, Catalogue, backend, deployment, service
from tests.fakes.edge_agent_parts import Parts
from tests.lab import cluster, images
from tests.lab.machine import poll
from tests.lab.needs import needs

live = needs("kubernetes", "podman", "busybox-static")


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load and os.environ.get("SINFONIA_TEST_KUBECONFIG"):
        subprocess.run([*shlex.split(load), str(images.helloworld_archive())], check=True, timeout=120)


def runtime_of(agent: uuid.UUID) -> KubernetesRuntime:
    return connect(
        agent,
        cluster.agent_kubeconfig(),
        ["192.0.2.7"],
        300,
        clock=time.monotonic,
        sleep=threading.Event().wait,
        now=lambda: datetime.fromtimestamp(time.time(), UTC),
    )


@pytest.fixture
def agent() -> Iterator[uuid.UUID]:
    agent = uuid.uuid4()
    yield agent
    runtime = runtime_of(agent)
    for record in runtime.records():
        runtime._api.call("DELETE", f"/api/v1/namespaces/{record.home}")


def parts_of(agent: uuid.UUID, catalogue: Catalogue | None = None) -> Parts:
    """The agent's inner parts over the real cluster, with threads and a clock that runs."""
    parts = Parts(catalogue=catalogue, runtime=runtime_of(agent), threads=2, clock=time.monotonic)
    parts.upkeep.restore()
    return parts


def watched(parts: Parts, key: bytes, *states: str, timeout: float = 60.0) -> Any:
    """The deployment once it is in one of the states."""
    seen: list[Any] = []

    def there() -> bool:
        parts.upkeep.tick()
        seen.append(parts.deployments.find(HELLOWORLD, key))
        return seen[-1].state in states

    assert poll(there, timeout, 0.1), seen[-1]
    return seen[-1]


def get(record: Record, path: str) -> Any:
    root = "/api/v1" if "/" not in path else f"/apis/{path.rsplit('/', 1)[0]}"
    found = cluster.admin().call("GET", f"{root}/namespaces/{record.home}/{path.rsplit('/', 1)[-1]}")
    return found["items"]


@live
def test_guests_are_fenced_in(agent: uuid.UUID) -> None:
    parts = parts_of(agent)
    parts.deployments.deploy(HELLOWORLD, os.urandom(32), 0)
    (record,) = parts.runtime.records()
    watched(parts, record.key, "Ready")
    runtime = runtime_of(agent)
    namespace = runtime._api.call("GET", f"/api/v1/namespaces/{record.home}")["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert namespace["labels"]["sinfonia/agent"] == str(agent)
    (policy,) = get(record, "networking.k8s.io/v1/networkpolicies")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert len(policy["spec"]["egress"]) == 3
    (quota,) = get(record, "resourcequotas")
    assert quota["status"]["used"]["pods"] == "1"
    (account,) = get(record, "serviceaccounts")
    assert account["automountServiceAccountToken"] is False
    (pod,) = get(record, "pods")
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not [
        volume for volume in pod["spec"].get("volumes", []) if "secret" in volume or "projected" in volume
    ]
    assert pod["spec"]["containers"][0]["resources"]["limits"], "defaults for a chart that gives none"
    (lease,) = get(record, "coordination.k8s.io/v1/leases")
    assert lease["spec"]["holderIdentity"] == str(agent)
    before = lease["spec"]["renewTime"]
    runtime.touch(record)
    assert get(record, "coordination.k8s.io/v1/leases")[0]["spec"]["renewTime"] > before


@live
def test_a_guest_that_wants_too_much_is_told_so(agent: uuid.UUID) -> None:
    greedy = backend(service(), deployment(resources={"limits": {"cpu": "2", "memory": "1Gi"}}))
    little = Limits(cpu_millis=500, memory_bytes=1 << 30, pods=2, storage_bytes=1 << 30)
    parts = parts_of(agent, Catalogue({HELLOWORLD: replace(greedy, limits=little)}))
    key = os.urandom(32)
    parts.deployments.deploy(HELLOWORLD, key, 0)
    assert "exceeded quota" in watched(parts, key, "Failed").reason


@live
def test_what_kubernetes_itself_refuses_is_told(agent: uuid.UUID) -> None:
    wrong = deployment()
    wrong["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    parts = parts_of(agent, Catalogue({HELLOWORLD: backend(service(), wrong)}))
    key = os.urandom(32)
    parts.deployments.deploy(HELLOWORLD, key, 0)
    assert "selector" in watched(parts, key, "Failed").reason


@live
def test_a_new_run_takes_over_and_follows_pods_that_move(agent: uuid.UUID) -> None:
    first = parts_of(agent)
    key = os.urandom(32)
    answer = first.deployments.deploy(HELLOWORLD, key, 0)
    watched(first, key, "Ready")
    later = parts_of(agent)
    assert later.deployments.find(HELLOWORLD, key).state == "Ready"
    assert later.deployments.deploy(HELLOWORLD, key, 0).tunnel == answer.tunnel
    assert later.gateway.forwards == first.gateway.forwards
    (record,) = later.runtime.records()
    (before,) = later.gateway.forwards.values()
    runtime = runtime_of(agent)
    runtime._api.call("DELETE", f"/api/v1/namespaces/{record.home}/pods", {"gracePeriodSeconds": 1})

    def moved() -> bool:
        later.upkeep.tick()
        targets: list[tuple[IPv4Address, int]] = list(later.gateway.forwards.values())
        return targets != [] and targets != [before]

    assert poll(moved, 60, 0.2)


@live
def test_a_run_that_was_killed_in_the_middle_is_finished(agent: uuid.UUID) -> None:
    runtime = runtime_of(agent)
    killed = Parts(runtime=runtime)  # nobody works off its background steps
    key = os.urandom(32)
    killed.deployments.deploy(HELLOWORLD, key, 0)
    later = parts_of(agent)
    assert watched(later, key, "Ready").name == killed.deployments.find(HELLOWORLD, key).name


@live
def test_a_namespace_that_somebody_deletes_is_noticed(agent: uuid.UUID) -> None:
    parts = parts_of(agent)
    key = os.urandom(32)
    first = parts.deployments.deploy(HELLOWORLD, key, 0)
    watched(parts, key, "Ready")
    (record,) = parts.runtime.records()
    runtime_of(agent)._api.call("DELETE", f"/api/v1/namespaces/{record.home}")
    assert watched(parts, key, "Failed").reason == "It was removed from the runtime."
    with pytest.raises(Unavailable, match="being removed"):  # its name is free only when all of it is gone
        parts_of(agent).deployments.deploy(HELLOWORLD, key, 0)
    again = parts.deployments.deploy(HELLOWORLD, key, 0)
    assert (again.state, again.tunnel, again.name) == ("Deploying", first.tunnel, first.name)
    assert "still being removed" in str(again.reason)
    parts.deployments.release(record.device)  # or it would begin after the test
