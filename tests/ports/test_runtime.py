"""The runtime port of `deployments/runtime.py`, all of it: one suite for the fake, Podman and Kubernetes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from edge_agent.deployments.records import Observed, Order, Record, deployment_name
from edge_agent.deployments.runtime import Runtime
from edge_agent.errors import Conflict, DeployFailed
from edge_agent.on_podman.disk import Disk
from edge_agent.on_podman.isolation import Isolation
from edge_agent.on_podman.podman import PodmanRuntime
from edge_agent.on_podman.podman_program import Podman
from edge_agent.on_podman.watch import Watch
from edge_agent.recipes.limits import STANDARD
from edge_agent.recipes.manifests import Backend
from edge_agent.workers import Workers
from tests.fakes.edge_agent_backends import HELLOWORLD, backend, deployment, service
from tests.fakes.edge_agent_runtime import FakeRuntime, Store
from tests.lab import cluster, images, podman
from tests.lab.machine import Machine, poll
from tests.lab.needs import param

PODMAN = ("root", "podman", "runc", "netavark", "catatonit", "busybox-static", "nft", "ip")
CREATED = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@dataclass
class Place:
    """Somewhere to run backends: `make` gives an agent's runtime there, `fetch` a page from a pod."""

    make: Callable[[uuid.UUID], Runtime]
    fetch: Callable[[IPv4Address, int], str] | None = None
    slow: bool = False


@pytest.fixture(scope="module")
def podman_place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="runtime-"))
    kept = podman.cgroups()
    with Machine("runtime") as machine:
        environment = podman.environment(folder)
        stores = {"root": str(folder / "root"), "runroot": "/run/containers"}
        images.load_helloworld(machine, stores, environment)
        options = [word for name, value in stores.items() for word in (f"--{name}", value)]
        options += ["--network-config-dir", str(folder / "networks")]

        def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
            options["env"] = {**os.environ, **options.get("env", {}), **environment}
            return subprocess.run(machine.command(*arguments), **options)

        def connects(address: IPv4Address, port: int) -> bool:
            probe = machine.run("bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}", check=False, timeout=5)
            return probe.returncode == 0

        def fetches(address: IPv4Address, port: int, path: str) -> bool:
            url = f"http://{address}:{port}{path}"
            return machine.run("curl", "-fsS", "-m", "1", url, check=False).returncode == 0

        def fetch(address: IPv4Address, port: int) -> str:
            return machine.run("curl", "-sS", "-m", "5", f"http://{address}:{port}/").stdout

        def make(agent: uuid.UUID) -> Runtime:
            clocks: dict[str, Any] = {"clock": time.monotonic, "sleep": time.sleep}  # noqa: TID251 - the adapter's argument
            program = Podman(agent, options, run=run, **clocks)
            disk = Disk(program, Workers(1).submit, time.monotonic)
            watch = Watch(program, connects, fetches)
            return PodmanRuntime(agent, program, Isolation(agent, run), folder / str(agent), disk, watch)

        yield Place(make, fetch)
    podman.sweep_cgroups(kept)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def kubernetes_place() -> Iterator[Place]:
    from edge_agent.on_kubernetes.cluster import connect

    load = os.environ.get("SINFONIA_TEST_LOAD_IMAGE")
    if load:
        subprocess.run([*shlex.split(load), str(images.helloworld_archive())], check=True, timeout=120)
    made: list[Any] = []

    def make(agent: uuid.UUID) -> Runtime:
        made.append(
            connect(
                agent,
                cluster.agent_kubeconfig(),
                ["192.0.2.7"],
                300,
                clock=time.monotonic,
                sleep=time.sleep,  # noqa: TID251 - the adapter's argument
                now=lambda: CREATED,
            )
        )
        return made[-1]

    def fetch(address: IPv4Address, port: int) -> str:
        return subprocess.run(
            ["curl", "-sS", "-m", "5", f"http://{address}:{port}/"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    yield Place(make, fetch, slow=True)
    for runtime in made:  # not waited for: a namespace takes its time
        for record in runtime.records():
            runtime._api.call("DELETE", f"/api/v1/namespaces/{record.home}")


@pytest.fixture(scope="module")
def fake_place() -> Place:
    store = Store()
    return Place(lambda agent: FakeRuntime(agent, store))


QUICK = ["fake_place", param("podman_place", *PODMAN, id="podman")]


@pytest.fixture(
    params=[
        *QUICK,
        param("kubernetes_place", "kubernetes", "podman", "busybox-static", id="kubernetes"),
    ]
)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def agent() -> uuid.UUID:
    return uuid.uuid4()


@pytest.fixture
def runtime(place: Place, agent: uuid.UUID) -> Iterator[Runtime]:
    runtime = place.make(agent)
    yield runtime
    for record in [] if place.slow else runtime.records():
        runtime.delete(record)


def planned(chosen: Backend, key: int = 1) -> Record:
    """A record for `chosen`; every call of a test has a key of its own, and every run others."""
    secret = uuid.uuid4().bytes + key.to_bytes(16)
    name = deployment_name(chosen.chart, HELLOWORLD, secret)
    block = IPv4Network((int(IPv4Address("100.71.0.0")) + 8 * key, 29))
    facts = (chosen.chart, chosen.version, CREATED, chosen.ports, chosen.workloads)
    return Record(name, HELLOWORLD, secret, block, *facts)


def started(runtime: Runtime, chosen: Backend, key: int = 1) -> Record:
    record = planned(chosen, key)
    runtime.create(record)
    runtime.apply(record, chosen.placed(record.home), STANDARD)
    return record


def settled(runtime: Runtime, record: Record, timeout: float = 60.0) -> Observed:
    """What is observed once it is no longer deploying."""
    seen: list[Observed] = []

    def done() -> bool:
        seen.append(runtime.observe([record])[record.name])
        return seen[-1].state != "Deploying"

    assert poll(done, timeout, 0.1), seen[-1]
    return seen[-1]


def test_a_record_is_read_back_as_it_was_written(runtime: Runtime) -> None:
    record = planned(backend())
    runtime.create(record)
    assert runtime.records() == [record]


def test_values_are_read_back_to_the_letter(runtime: Runtime) -> None:
    record = replace(planned(backend()), order=Order(values='{"a":"x, y=z \\"q\\" ü","b":[1,true,null]}'))
    runtime.create(record)
    assert runtime.records() == [record]


def test_a_record_can_be_made_once(runtime: Runtime) -> None:
    record = planned(backend())
    runtime.create(record)
    with pytest.raises(Conflict):
        runtime.create(record)
    with pytest.raises(Conflict):
        runtime.create(replace(record, block=IPv4Network("100.71.9.0/29")))
    assert runtime.records() == [record]


def test_a_record_alone_is_deploying(runtime: Runtime) -> None:
    record = planned(backend())
    runtime.create(record)
    seen = runtime.observe([record])[record.name]
    assert (seen.state, dict(seen.endpoints or {})) == ("Deploying", {})


def test_an_unknown_deployment_is_not_observed(runtime: Runtime) -> None:
    assert runtime.observe([planned(backend())]) == {}
    assert runtime.observe([]) == {}


def test_an_applied_backend_becomes_ready_and_answers(runtime: Runtime, place: Place) -> None:
    record = started(runtime, backend())
    seen = settled(runtime, record)
    assert seen.state == "Ready", seen
    assert seen.endpoints is not None
    address, port = seen.endpoints["helloworld", "TCP", 80]
    assert port == 8080
    if place.fetch:
        assert "Hello from" in place.fetch(address, port)


def test_applying_again_changes_nothing(runtime: Runtime) -> None:
    record = started(runtime, backend())
    before = settled(runtime, record)
    runtime.apply(record, backend().placed(record.home), STANDARD)
    assert settled(runtime, record) == before


def test_another_run_of_the_agent_finds_everything(runtime: Runtime, place: Place, agent: uuid.UUID) -> None:
    record = started(runtime, backend())
    before = settled(runtime, record)
    later = place.make(agent)
    assert later.records() == [record]
    assert settled(later, record) == before


def test_settings_reach_the_pod(runtime: Runtime, place: Place) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    settings["data"] = {"word": "Bonjour"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"word": "Q2lhbw=="}}
    env = [{"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "word"}}}]
    hidden = [{"name": "GREETING", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}}]
    ports = [{"name": "http", "port": 81, "targetPort": 8080}]
    chosen = backend(
        settings,
        secret,
        service("open"),
        deployment("open", env=env),
        service("hidden", ports=ports),
        deployment("hidden", env=hidden),
    )
    record = started(runtime, chosen)
    seen = settled(runtime, record)
    assert seen.state == "Ready", seen
    assert seen.endpoints is not None
    assert set(seen.endpoints) == {("open", "TCP", 80), ("hidden", "TCP", 81)}
    if place.fetch:
        assert "Bonjour from" in place.fetch(*seen.endpoints["open", "TCP", 80])
        assert "Ciao from" in place.fetch(*seen.endpoints["hidden", "TCP", 81])


def test_two_deployments_have_pods_of_their_own(runtime: Runtime) -> None:
    first, second = started(runtime, backend(), 1), started(runtime, backend(), 2)
    settled(runtime, first)
    settled(runtime, second)
    observed = runtime.observe([first, second])
    assert {seen.state for seen in observed.values()} == {"Ready"}


def test_an_image_that_is_not_there_fails(runtime: Runtime) -> None:
    chosen = backend(service(), deployment(image="localhost/no-such-image:1", imagePullPolicy="Never"))
    record = planned(chosen)
    runtime.create(record)
    try:
        runtime.apply(record, chosen.placed(record.home), STANDARD)
    except DeployFailed as error:
        assert "image" in str(error)  # noqa: PT017 - a runtime may find out now or later
    else:
        seen = settled(runtime, record)
        assert seen.state == "Failed"
        assert "image" in seen.reason.lower()


@pytest.mark.parametrize("place", QUICK, indirect=True)  # Kubernetes waits between restarts: a minute in all
def test_a_backend_that_ends_again_and_again_fails(runtime: Runtime) -> None:
    record = started(runtime, backend(service(), deployment(command=["/bin/busybox", "false"])))
    seen = settled(runtime, record)
    assert seen.state == "Failed"
    assert "again and again" in seen.reason


def test_deleting_leaves_the_others_and_can_be_repeated(runtime: Runtime) -> None:
    record, other = started(runtime, backend(), 1), started(runtime, backend(), 2)
    settled(runtime, record)
    runtime.delete(record)
    assert runtime.records() == [other]
    assert list(runtime.observe([record, other])) == [other.name]
    assert settled(runtime, other).state == "Ready"
    runtime.delete(record)
    runtime.create(record)
    assert {one.name for one in runtime.records()} == {record.name, other.name}


def test_a_half_made_backend_is_finished_by_applying(runtime: Runtime) -> None:
    chosen = backend(service("a"), deployment("a"), service("b"), deployment("b"))
    record = planned(chosen)
    runtime.create(record)
    part = [one for one in chosen.placed(record.home) if one["metadata"]["name"] == "a"]
    runtime.apply(record, part, STANDARD)
    assert runtime.observe([record])[record.name].state == "Deploying"
    runtime.apply(record, chosen.placed(record.home), STANDARD)
    assert settled(runtime, record).state == "Ready"


def test_agents_do_not_see_each_other(runtime: Runtime, place: Place) -> None:
    record = started(runtime, backend())
    before = settled(runtime, record)
    stranger = place.make(uuid.uuid4())
    assert stranger.records() == []
    stranger.sweep([])
    stranger.delete(record)
    assert settled(runtime, record) == before


def test_resting_takes_the_pods_down_and_keeps_the_record(
    runtime: Runtime, place: Place, agent: uuid.UUID
) -> None:
    record = started(runtime, backend())
    settled(runtime, record)
    runtime.rest(record)
    runtime.rest(record)
    assert runtime.observe([record])[record.name].state == "Resting"
    assert runtime.records() == [record]
    later = place.make(agent)
    assert later.records() == [record]
    assert later.observe([record])[record.name].state == "Resting"
    later.apply(record, backend().placed(record.home), STANDARD)
    seen = settled(later, record)
    assert seen.state == "Ready", seen
    if place.fetch and seen.endpoints:
        assert "Hello from" in place.fetch(*seen.endpoints["helloworld", "TCP", 80])


def test_what_rests_can_be_deleted(runtime: Runtime) -> None:
    record = started(runtime, backend())
    runtime.rest(record)
    runtime.delete(record)
    runtime.rest(record)
    assert (runtime.records(), runtime.observe([record])) == ([], {})
    runtime.create(record)
    assert runtime.observe([record])[record.name].state == "Deploying"


def test_telling_is_harmless(runtime: Runtime) -> None:
    record = planned(backend())
    runtime.tell(record, "Resting", "nobody is there to hear it")
    runtime.create(record)
    runtime.tell(record, "Deploying", "it was asked for")
    assert runtime.records() == [record]


def test_touching_is_harmless(runtime: Runtime) -> None:
    record = planned(backend())
    runtime.create(record)
    runtime.touch(record)
    assert runtime.records() == [record]


@pytest.fixture(
    params=[
        "fake_place",
        param("kubernetes_place", "kubernetes", "podman", "busybox-static", id="kubernetes"),
    ]
)
def addressing(request: pytest.FixtureRequest, agent: uuid.UUID) -> Any:
    """A runtime that gives services addresses of their own."""
    return request.getfixturevalue(request.param).make(agent)


def test_services_get_addresses_of_their_own(addressing: Any) -> None:
    chosen = backend(service(), service("other", app="helloworld"), deployment())
    young = [replace(planned(chosen, key), addresses={}) for key in (1, 2)]
    for record in young:
        addressing.create(record)
    assert all(record.unaddressed for record in addressing.records())
    records = [addressing.address(record, chosen.placed(record.home)) for record in young]
    assert {record.name: record for record in addressing.records()} == {one.name: one for one in records}
    told = [(one.name, one.address) for record in records for one in record.services]
    assert [name for name, _ in told] == ["helloworld", "other"] * 2
    assert len({address for _, address in told}) == 4
    first = records[0]
    addressing.apply(first, chosen.placed(first.home), STANDARD)
    assert settled(addressing, first).state == "Ready"
    assert first in addressing.records()
