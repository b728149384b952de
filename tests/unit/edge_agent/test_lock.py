"""One agent of an identity at a time, over a lease that a small server in memory keeps."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pytest

from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes.api import Refused
from edge_agent.on_kubernetes.lock import LEASE_SECONDS, Lock
from tests.fakes.edge_agent_parts import AGENT, CREATED


class Server:
    """Lease objects with versions, as the API server keeps them. `away`: it doesn't answer."""

    def __init__(self) -> None:
        self.leases: dict[str, Any] = {}
        self.version = 0
        self.away = False
        self.calls = 0
        self.between: Any = None

    def call(self, method: str, path: str, body: Any = None, *_: Any, **__: Any) -> Any:
        self.calls += 1
        if self.away:
            raise Unavailable("no answer")
        if method == "GET":
            return self._get(path)
        if self.between is not None:
            between, self.between = self.between, None
            between()
        name = body["metadata"]["name"]
        there = self.leases.get(name)
        if method == "POST" and there is not None:
            raise Refused(409, "exists")
        if (
            method == "PUT"
            and body["metadata"].get("resourceVersion") != there["metadata"]["resourceVersion"]
        ):
            raise Refused(409, "modified")
        self.version += 1
        self.leases[name] = copy.deepcopy(body)
        self.leases[name]["metadata"]["resourceVersion"] = str(self.version)
        return self.leases[name]

    def _get(self, path: str) -> Any:
        found = self.leases.get(path.rsplit("/", 1)[-1])
        if found is None:
            raise Refused(404, "not found")
        return copy.deepcopy(found)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def lock(server: Server, holder: str, clock: Clock, agent: Any = AGENT) -> Lock:
    return Lock(server, "default", agent, holder, clock=clock, now=lambda: CREATED)  # type: ignore[arg-type]


def test_who_claims_first_has_it_until_it_is_released() -> None:
    server, clock = Server(), Clock()
    first, second = lock(server, "a", clock), lock(server, "b", clock)
    with pytest.raises(Unavailable, match="not renewed"):
        first.check()
    first.claim()
    first.check()
    with pytest.raises(Unavailable, match=r"Another agent with this identity .* runs on this cluster: a"):
        second.claim()
    with pytest.raises(Unavailable, match="Another agent"):
        second.check()
    first.release()
    with pytest.raises(Unavailable):
        first.check()
    second.claim()
    second.check()


def test_the_same_installation_goes_on_at_once() -> None:
    server, clock = Server(), Clock()
    lock(server, "a", clock).claim()
    again = lock(server, "a", clock)
    again.claim()
    again.check()


def test_another_identity_is_in_nobodys_way() -> None:
    server, clock = Server(), Clock()
    lock(server, "a", clock).claim()
    lock(server, "b", clock, uuid.uuid4()).claim()


def test_a_lease_that_is_not_renewed_can_be_taken_over() -> None:
    server, clock = Server(), Clock()
    dead, heir = lock(server, "a", clock), lock(server, "b", clock)
    dead.claim()
    for _ in range(4):
        with pytest.raises(Unavailable):
            heir.claim()
        clock.time += 10
    clock.time += LEASE_SECONDS
    heir.claim()
    heir.check()
    with pytest.raises(Unavailable, match="not renewed"):
        dead.check()
    with pytest.raises(Unavailable, match="runs on this cluster: b"):
        dead.claim()


def test_renewing_keeps_others_out() -> None:
    server, clock = Server(), Clock()
    first, second = lock(server, "a", clock), lock(server, "b", clock)
    for _ in range(20):
        first.claim()
        with pytest.raises(Unavailable):
            second.claim()
        clock.time += 11
    spec = next(iter(server.leases.values()))["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("a", 0)


def test_renewing_waits_until_it_is_due() -> None:
    server, clock = Server(), Clock()
    first = lock(server, "a", clock)
    first.claim()
    calls = server.calls
    first.claim()
    assert server.calls == calls


def test_a_server_that_is_away_for_long_stops_it_and_its_return_heals() -> None:
    server, clock = Server(), Clock()
    first = lock(server, "a", clock)
    first.claim()
    server.away = True
    clock.time += 12
    with pytest.raises(Unavailable):
        first.claim()
    first.check()
    clock.time += 300
    with pytest.raises(Unavailable, match="not renewed"):
        first.check()
    server.away = False
    first.claim()
    first.check()


def test_of_two_at_once_one_has_it() -> None:
    server, clock = Server(), Clock()
    first, second = lock(server, "a", clock), lock(server, "b", clock)
    server.between = second.claim
    with pytest.raises(Unavailable, match="changed just now"):
        first.claim()
    second.check()
    with pytest.raises(Unavailable):
        first.check()


def test_what_is_no_lease_is_not_taken() -> None:
    server, clock = Server(), Clock()
    server.leases[f"sinfonia-agent-{AGENT}"] = {"metadata": "x"}
    with pytest.raises(Unavailable, match="no Lease"):
        lock(server, "a", clock).claim()
