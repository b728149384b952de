"""The three parts in one process, over real HTTP: device to root to agent, and device to gateway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from device_sdk import (
    DeploymentError,
    NotFoundError,
    RequestError,
    Target,
    Tunnel,
    deploy_backend,
    find_cloudlets,
)
from device_sdk.calls.deploy import Parts, find_deployments
from device_sdk.calls.st1 import Server
from device_sdk.nearby.discovery import Nearby
from tests.fakes.device_sdk_link import FakeLink
from tests.fakes.edge_agent_parts import AGENT
from tests.flow.servers import APP, UNKNOWN, World, world


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    registration = {
        "incarnation": 1,
        "name": "pittsburgh-1",
        "location": {"latitude": 40.4, "longitude": -79.9},
    }
    with world(tmp_path_factory.mktemp("recipes"), registration) as made:
        yield made


def deploy(running: World, state: Path) -> Target:
    return deploy_backend(running.root, APP, jit="off", location=(40.0, -80.0), parts=Parts(state))[0]


@contextlib.contextmanager
def tunnel_to(running: World, target: Target) -> Iterator[Tunnel]:
    """A way to the agent's real tunnel API, in which the device has its tunnel address."""
    with running.gateway(str(target.plan.addresses[0])) as url:
        assert target.status_address is not None
        place = ("127.0.0.1", urlsplit(url).port or 0)
        yield Tunnel(target, FakeLink({(target.status_address.host, target.status_address.port): place}))


def test_a_device_gets_a_backend_and_gives_it_back(running: World, tmp_path: Path) -> None:
    target = deploy(running, tmp_path)
    assert target.cloudlet is not None
    assert (target.cloudlet.uuid, target.place) == (AGENT, "pittsburgh-1")
    assert list(target.services) == ["helloworld"]
    with tunnel_to(running, target) as tunnel:
        assert tunnel.wait_ready(10).status == "Ready"
        assert find_deployments(running.root, APP, jit="off", parts=Parts(tmp_path))[0].same_backend(target)
        tunnel.release()
        with pytest.raises(DeploymentError, match="no longer"):
            tunnel.wait_ready(5)
    with pytest.raises(NotFoundError):
        find_deployments(running.root, APP, jit="off", parts=Parts(tmp_path))


def test_the_answer_does_not_wait_for_the_backend(running: World, tmp_path: Path) -> None:
    running.parts.runtime.gate.clear()
    try:
        target = deploy(running, tmp_path)
        assert target.status == "Deploying"
    finally:
        running.parts.runtime.gate.set()
    with tunnel_to(running, target) as tunnel:
        tunnel.wait_ready(10)
        tunnel.release()


def test_a_cloudlet_nearby_is_asked_as_a_root_is(running: World, tmp_path: Path) -> None:
    health = Server(running.agent).health(5)
    assert health.uuid == AGENT
    parts = Parts(tmp_path, discover=lambda: [Nearby(running.agent, health)])
    targets = deploy_backend(running.root, APP, results=3, parts=parts)
    # The root offers the same cloudlet; it is one backend.
    assert [(target.jit, target.place) for target in targets] == [(True, "pittsburgh-1")]


def test_finding_deploys_nothing(running: World, tmp_path: Path) -> None:
    before = running.parts.deployments.count()
    found = find_cloudlets(running.root, APP, jit="off", location=(40.0, -80.0), parts=Parts(tmp_path))
    assert [(candidate.uuid, candidate.name) for candidate in found] == [(AGENT, "pittsburgh-1")]
    assert 40 < (found[0].distance_km or 0) < 50
    assert running.parts.deployments.count() == before


def test_an_unknown_app_is_the_callers_to_mend(running: World, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="There is no recipe for this app"):
        deploy_backend(running.root, UNKNOWN, jit="off", parts=Parts(tmp_path))
