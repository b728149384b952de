"""A real API server that is slow, refuses, talks nonsense or is gone; guests that don't start, and why."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployments.records import Observed, Record
from edge_agent.errors import Unavailable
from edge_agent.identity import Identity
from edge_agent.on_kubernetes.api import Refused
from edge_agent.on_kubernetes.cluster import KubernetesRuntime, connect
from edge_agent.recipes.limits import STANDARD, Limits
from edge_agent.recipes.manifests import Backend
from tests.fakes.edge_agent_backends import HELLOWORLD, backend, deployment, service
from tests.fakes.edge_agent_parts import Parts
from tests.lab import cluster, images
from tests.lab.api_proxy import ApiProxy
from tests.lab.engines import free_port
from tests.lab.machine import poll
from tests.lab.needs import needs
from tests.lab.world import BIN, RECIPES
from tests.ports.test_runtime import planned

live = needs("kubernetes", "podman", "busybox-static")


class Clock:
    """The real clock, which a test may put forward."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture(scope="module", autouse=True)
def image() -> None:
    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load and os.environ.get("SINFONIA_TEST_KUBECONFIG"):
        subprocess.run([*shlex.split(load), str(images.helloworld_archive())], check=True, timeout=120)


@pytest.fixture
def proxy() -> Iterator[ApiProxy]:
    with ApiProxy(cluster.agent_kubeconfig()) as proxy:
        yield proxy


Make = Callable[..., KubernetesRuntime]


@pytest.fixture
def make(proxy: ApiProxy, tmp_path: Path) -> Iterator[Make]:
    """Runtimes behind the proxy; what they made is deleted at the end."""
    made: list[KubernetesRuntime] = []

    def make(agent: uuid.UUID, clock: Callable[[], float] = time.monotonic, holder: str = "") -> Any:
        made.append(
            connect(
                agent,
                proxy.kubeconfig(tmp_path),
                ["192.0.2.7"],
                300,
                clock=clock,
                sleep=threading.Event().wait,
                now=lambda: datetime.fromtimestamp(time.time(), UTC),
                holder=holder,
            )
        )
        return made[-1]

    yield make
    for runtime in made:
        for record in runtime.records():
            runtime._api.call("DELETE", f"/api/v1/namespaces/{record.home}")
        if runtime.lock is not None:
            with contextlib.suppress(Refused):
                runtime._api.call("DELETE", f"{runtime.lock._leases}/{runtime.lock._name}")
        runtime.close()


def begun(runtime: KubernetesRuntime, chosen: Backend, limits: Limits = STANDARD) -> Record:
    record = planned(chosen)
    runtime.create(record)
    runtime.apply(record, chosen.placed(record.home), limits)
    return record


def reason_of(runtime: KubernetesRuntime, record: Record, state: str, words: str, seconds: float = 90) -> str:
    """What is said of it, once it is in this state for a reason with these words."""
    seen: list[Observed] = []

    def told() -> bool:
        seen.append(runtime.observe([record])[record.name])
        return seen[-1].state == state and words in seen[-1].reason

    assert poll(told, seconds, 0.2), seen[-1]
    return seen[-1].reason


@live
def test_a_deploy_gets_through_whatever_the_server_does(proxy: ApiProxy, make: Make) -> None:
    clock = Clock()
    parts = Parts(runtime=make(uuid.uuid4()), threads=2, clock=clock)
    faults: list[dict[str, Any]] = [
        {"path": "resourcequotas/", "method": "PATCH", "status": 500},
        {"path": "networkpolicies/", "method": "PATCH", "cut": True},
        {"path": "limitranges/", "method": "PATCH", "status": 403, "body": b"<html>blocked</html>"},
        {"path": "leases/", "method": "PATCH", "status": 429, "headers": {"Retry-After": "1"}, "count": 2},
        {"path": "services/", "method": "PATCH", "status": 409},
        {"path": "services/", "method": "PATCH", "status": 200, "body": b"\x00 garbage"},
        {"path": "deployments/", "method": "PATCH", "status": 503},
        {"path": "/endpoints", "method": "GET", "status": 410},
        {"path": "/pods", "method": "GET", "status": 403},
        {"path": "/pods", "method": "GET", "status": 200, "body": b"[]"},
        {"path": "/services", "method": "GET", "delay": 2.0},
    ]
    key = os.urandom(32)
    with ExitStack() as stack:
        made = [stack.enter_context(proxy.fault(**{"count": 1, **fault})) for fault in faults]
        parts.deployments.deploy(HELLOWORLD, key, 0)

        def ready() -> bool:
            parts.upkeep.tick()
            clock.ahead += 0.5  # what failed is tried again after five seconds
            found = parts.deployments.find(HELLOWORLD, key)
            assert found.state != "Failed", found
            return found.state == "Ready"

        assert poll(ready, 60, 0.1), (parts.deployments.find(HELLOWORLD, key), made)
        assert all(fault.hits for fault in made), made


@live
def test_five_minutes_without_the_server_destroy_nothing(proxy: ApiProxy, make: Make) -> None:
    clock = Clock()
    runtime = make(uuid.uuid4())
    parts = Parts(runtime=runtime, threads=2, clock=clock, idle_seconds=3600)
    keys = [os.urandom(32) for _ in range(4)]  # enough for mirrors
    for key in keys:
        parts.deployments.deploy(HELLOWORLD, key, 0)

    def states() -> set[str]:
        parts.upkeep.tick()
        return {parts.deployments.find(HELLOWORLD, key).state for key in keys}

    assert poll(lambda: states() == {"Ready"}, 60, 0.1)
    before = {record.name: record for record in parts.runtime.records()}
    forwards = dict(parts.gateway.forwards)
    seen = len(proxy.calls)
    with proxy.fault(cut=True):
        for _ in range(30):
            clock.ahead += 10
            assert states() == {"Ready"}
            with pytest.raises(Unavailable):
                parts.deployments.deploy(HELLOWORLD, os.urandom(32), 0)
    assert not [call for call in proxy.calls[seen:] if call.startswith("DELETE")]
    assert poll(lambda: not failing(runtime, list(before.values())), 60, 0.5)
    assert states() == {"Ready"}
    assert set(before) <= {record.name for record in parts.runtime.records()}
    assert parts.gateway.forwards == forwards


def failing(runtime: KubernetesRuntime, records: list[Record]) -> bool:
    try:
        return {seen.state for seen in runtime.observe(records).values()} != {"Ready"}
    except Unavailable:
        return True


@live
def test_a_namespace_that_does_not_end_is_reported_and_its_name_not_used_again(make: Make) -> None:
    runtime = make(uuid.uuid4())
    parts = Parts(runtime=runtime, threads=2, clock=time.monotonic)
    key = os.urandom(32)
    parts.deployments.deploy(HELLOWORLD, key, 0)
    (record,) = runtime.records()
    path = f"/api/v1/namespaces/{record.home}"
    held = {"metadata": {"name": "held", "finalizers": ["example.org/never"]}}
    runtime._api.call("POST", f"{path}/configmaps", held)
    try:
        runtime._api.call("DELETE", path)
        assert runtime.records() == []

        def why() -> str:
            with pytest.raises(Unavailable) as refused:
                runtime.delete(record)
            return str(refused.value)

        assert poll(lambda: "finalizers remaining" in why(), 60, 0.5), why()
        later = Parts(runtime=runtime, threads=2, clock=time.monotonic)
        later.upkeep.restore()
        with pytest.raises(Unavailable, match="being removed"):
            later.deployments.deploy(HELLOWORLD, key, 0)
        later.deployments.deploy(HELLOWORLD, os.urandom(32), 0)  # others go on
    finally:
        free = {"metadata": {"finalizers": None}}
        runtime._api.call("PATCH", f"{path}/configmaps/held", free, "application/merge-patch+json")

    def gone() -> bool:
        try:
            runtime.delete(record)
        except Unavailable:
            return False
        return True

    assert poll(gone, 60, 0.2)
    later.deployments.deploy(HELLOWORLD, key, 0)


@live
def test_why_guests_do_not_start(make: Make) -> None:
    clock = Clock()
    runtime = make(uuid.uuid4(), clock)
    huge = {"requests": {"cpu": "7"}, "limits": {"cpu": "7"}}
    greedy = {"limits": {"cpu": "2"}}
    little = Limits(cpu_millis=500, memory_bytes=1 << 30, pods=2, storage_bytes=1 << 30)
    once = deployment(command=["/bin/busybox", "sh", "-c", "echo first; echo no licence >&2; exit 3"])
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "once", "labels": {"app": "helloworld"}}}
    pod["spec"] = {**once["spec"]["template"]["spec"], "restartPolicy": "Never"}
    probe = {"httpGet": {"path": "/", "port": 9}, "periodSeconds": 1}
    records = {
        "huge": begun(runtime, backend(service(), deployment(resources=huge))),
        "greedy": begun(runtime, backend(service(), deployment(resources=greedy)), little),
        "away": begun(runtime, backend(service(), deployment(image="127.0.0.1:9/nowhere/none:1"))),
        "once": begun(runtime, backend(service(), pod)),
        "deaf": begun(runtime, backend(service(), deployment(readinessProbe=probe))),
    }
    assert "exceeded quota" in reason_of(runtime, records["greedy"], "Failed", "")
    told = reason_of(runtime, records["once"], "Failed", "ended with status 3")
    assert "It said last:" in told
    assert "first" in told  # two streams: either may come first
    assert "no licence" in told
    reason_of(runtime, records["huge"], "Deploying", "Insufficient cpu")
    reason_of(runtime, records["away"], "Deploying", "Pull")
    clock.ahead += 60  # patience ends
    assert "127.0.0.1:9/nowhere/none:1" in reason_of(runtime, records["away"], "Failed", "")
    reason_of(runtime, records["deaf"], "Deploying", "Readiness probe failed")
    runtime.tell(records["deaf"], "Failed", "It did not become ready in time.")
    path = f"/api/v1/namespaces/{records['deaf'].home}"
    assert (
        "did not become ready" in runtime._api.call("GET", path)["metadata"]["annotations"]["sinfonia/state"]
    )
    told_of = [event["message"] for event in runtime._api.items(f"{path}/events")]
    assert "It did not become ready in time." in told_of


@live
def test_mirrors_follow_what_happens(proxy: ApiProxy, make: Make) -> None:
    agent = uuid.uuid4()
    runtime, other = make(agent), make(agent)
    records = [planned(backend(), key) for key in range(1, 6)]
    for record in records:
        other.create(record)
    assert {seen.state for seen in runtime.observe(records).values()} == {"Deploying"}
    calls = len(proxy.calls)
    assert len(runtime.observe(records[:4])) == 4
    assert not [call for call in proxy.calls[calls:] if "/api/v1/" in call], "lists are not asked for again"
    other.rest(records[0])
    assert poll(lambda: runtime.observe(records)[records[0].name].state == "Resting", 30, 0.1)
    other.delete(records[1])
    assert poll(lambda: records[1].name not in runtime.observe(records), 30, 0.1)
    newest = planned(backend(), 7)
    other.create(newest)
    assert newest.name in runtime.observe([*records, newest]), "what a mirror lacks is asked for"
    proxy.cut_all()
    other.rest(newest)
    assert poll(lambda: not failing_to_see(runtime, [*records, newest], newest), 60, 0.2)


def failing_to_see(runtime: KubernetesRuntime, records: list[Record], resting: Record) -> bool:
    try:
        return runtime.observe(records)[resting.name].state != "Resting"
    except Unavailable:
        return True


@live
def test_one_agent_of_an_identity_at_a_time(make: Make) -> None:
    agent = uuid.uuid4()
    first, copy, stranger = make(agent, holder="a"), make(agent, holder="b"), make(uuid.uuid4(), holder="c")
    for runtime in (first, stranger):
        assert runtime.lock is not None
        runtime.lock.claim()
    record = planned(backend())
    first.create(record)
    assert copy.lock is not None
    with pytest.raises(Unavailable, match="runs on this cluster: a"):
        copy.lock.claim()
    for change in (copy.create, copy.delete, copy.rest):
        with pytest.raises(Unavailable, match="Another agent"):
            change(record)
    assert first.records() == [record]
    assert first.lock is not None
    first.lock.release()
    copy.lock.claim()
    copy.delete(record)
    with pytest.raises(Unavailable):
        first.create(record)


@needs("kubernetes", "root", "wg", "nft", "ip", "helm")
def test_a_copied_state_starts_no_second_agent(make: Make, tmp_path: Path) -> None:
    identity = Identity(tmp_path / "state", lambda: 1)
    first = make(identity.uuid, holder="the-first:/var/lib/sinfonia")
    identity.close()
    assert first.lock is not None
    first.lock.claim()
    threading.Thread(target=first.lock.keep, daemon=True).start()
    listen = f"127.0.0.1:{free_port()}"
    words = ["run", "--runtime", "kubernetes", "--kubeconfig", cluster.agent_kubeconfig()]
    words += ["--recipes", str(RECIPES), "--state", str(tmp_path / "state"), "--root", "http://127.0.0.1:9"]
    words += ["--listen", listen, "--wireguard-endpoint", listen]
    log = tmp_path / "log"
    with log.open("wb") as sink:
        copy = subprocess.Popen([str(BIN / "sinfonia-agent"), *words], stdout=sink, stderr=sink)
    try:
        said = "runs on this cluster: the-first:/var/lib/sinfonia"
        assert poll(lambda: copy.poll() is not None or said in log.read_text(), 60, 0.1), log.read_text()
        assert copy.poll() is None, log.read_text()
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert f"sf-{identity.uuid.hex[:8]}" not in links, "nothing was touched"
    finally:
        copy.terminate()
        assert copy.wait(60) == 0, log.read_text()
    first.lock.check()
    first.lock.release()
