"""How deployments are seen: what is asked for, how long trouble may pass, and mirrors that are kept up."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.deployments.records import Record
from edge_agent.errors import Unavailable
from edge_agent.on_kubernetes import namespaces
from edge_agent.on_kubernetes.api import Refused
from edge_agent.on_kubernetes.mirror import Mirror
from edge_agent.on_kubernetes.pod_status import PATIENCE_SECONDS
from edge_agent.on_kubernetes.sight import Sight
from tests.fakes.edge_agent_parts import AGENT, Clock
from tests.lab.machine import poll
from tests.unit.edge_agent.test_kubernetes_objects import ENDPOINTS, SERVICES, ended, pod, record, waiting


class Server:
    """Objects by path; `log` is what containers said; `calls` what was asked."""

    def __init__(self, seen: Record) -> None:
        self.path = f"/api/v1/namespaces/{seen.home}"
        self.namespace: Any = {"kind": "Namespace", **namespaces.namespace(seen, AGENT)}
        self.lists: dict[str, list[Any]] = {}
        self.log = ""
        self.calls: list[str] = []

    def call(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", self.path)
        if self.namespace is None:
            raise Refused(404, "not found")
        return self.namespace

    def items(self, path: str, **_: str) -> list[Any]:
        self.calls.append(path)
        return self.lists.get(path.rsplit("/", 1)[-1], [])

    def text(self, _: str, *, previous: str, **__: str) -> str:
        if previous != "true":
            raise Refused(400, "no")
        return self.log


@pytest.fixture
def seen() -> Record:
    return record()


@pytest.fixture
def server(seen: Record) -> Server:
    server = Server(seen)
    server.lists = {"services": SERVICES, "endpoints": [], "pods": [pod("False")]}
    return server


def sight(server: Server, clock: Clock) -> Sight:
    return Sight(AGENT, server, clock)  # type: ignore[arg-type]


def test_ready(seen: Record, server: Server) -> None:
    server.lists |= {"endpoints": ENDPOINTS, "pods": [pod()]}
    assert sight(server, Clock()).observe([seen])[seen.name].state == "Ready"


def test_gone_ending_strangers_and_resting(seen: Record, server: Server) -> None:
    eye = sight(server, Clock())
    metadata = server.namespace["metadata"]
    metadata["annotations"]["sinfonia/resting"] = "true"
    assert eye.observe([seen])[seen.name].state == "Resting"
    metadata["deletionTimestamp"] = "x"
    assert eye.observe([seen]) == {}
    server.namespace = {"metadata": {**metadata, "deletionTimestamp": None, "labels": {}}}
    assert eye.observe([seen]) == {}
    server.namespace = None
    assert eye.observe([seen]) == {}


def test_what_may_pass_has_time_to(seen: Record, server: Server) -> None:
    clock = Clock()
    eye = sight(server, clock)
    late = waiting("CreateContainerConfigError", "failed to sync configmap cache: timed out")
    server.lists["pods"] = [pod("False", containerStatuses=[late])]
    assert eye.observe([seen])[seen.name].state == "Deploying"
    clock.seconds += PATIENCE_SECONDS - 1
    assert "configmap cache" in eye.observe([seen])[seen.name].reason
    server.lists["pods"] = [pod("False")]
    assert eye.observe([seen])[seen.name].state == "Deploying"
    server.lists["pods"] = [pod("False", containerStatuses=[late])]
    clock.seconds += 2
    assert eye.observe([seen])[seen.name].state == "Deploying", "it passed meanwhile"
    clock.seconds += PATIENCE_SECONDS
    assert eye.observe([seen])[seen.name].state == "Failed"


def test_a_crash_brings_its_last_lines(seen: Record, server: Server) -> None:
    server.lists["pods"] = [pod("False", containerStatuses=[ended(3)])]
    server.log = "starting\n\x1b[31mno database\x07\n" + "x" * 5000
    reason = sight(server, Clock()).observe([seen])[seen.name].reason
    assert "again and again" in reason
    assert "xxx" in reason
    assert reason.isprintable()
    assert len(reason) < 1200
    server.log = "one\n\ntwo\n"
    assert sight(server, Clock()).observe([seen])[seen.name].reason.endswith("It said last: one / two")


def test_last_lines_are_waited_for_a_little(seen: Record, server: Server) -> None:
    clock = Clock()
    eye = sight(server, clock)
    server.lists["pods"] = [pod("False", containerStatuses=[ended(3)])]
    server.log = "unable to retrieve container logs for containerd://1"
    assert eye.observe([seen])[seen.name].state == "Deploying"
    server.log = "no database"
    assert eye.observe([seen])[seen.name].reason.endswith("It said last: no database")
    server.log = "unable to retrieve container logs for containerd://2"
    clock.seconds += 11
    assert eye.observe([seen])[seen.name].reason.endswith("(Error).")
    server.log = ""
    assert sight(server, Clock()).observe([seen])[seen.name].state == "Failed", "it said nothing"


def test_events_tell_what_it_waits_for(seen: Record, server: Server) -> None:
    clock = Clock()
    eye = sight(server, clock)
    warning = {"type": "Warning", "reason": "Unhealthy", "message": "Readiness probe failed: 500"}
    server.lists["events"] = [warning]
    assert "probe" not in eye.observe([seen])[seen.name].reason
    clock.seconds += 6
    assert "(Unhealthy: Readiness probe failed: 500)" in eye.observe([seen])[seen.name].reason
    asked = len([call for call in server.calls if call.endswith("/events")])
    clock.seconds += 1
    eye.observe([seen])
    assert len([call for call in server.calls if call.endswith("/events")]) == asked


def test_a_stateful_set_that_may_not_make_pods(seen: Record, server: Server) -> None:
    clock = Clock()
    eye = sight(server, clock)
    server.lists["pods"] = []
    denied = {"type": "Warning", "reason": "FailedCreate", "message": "forbidden: exceeded quota: sinfonia"}
    server.lists["events"] = [denied]
    assert eye.observe([seen])[seen.name].state == "Deploying"
    clock.seconds += 6
    observed = eye.observe([seen])[seen.name]
    assert (observed.state, "exceeded quota" in observed.reason) == ("Failed", True)


class Feed:
    """An API that lists `items`, and whose watches say what a test puts into `words`."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.listed = 0
        self.words: queue.Queue[Any] = queue.Queue()

    def listing(self, *_: str, **__: str) -> tuple[list[Any], str]:
        self.listed += 1
        return self.items, "1"

    def watch(self, *_: Any, **__: str) -> Iterator[Any]:
        while True:
            word = self.words.get(timeout=10)
            if isinstance(word, Exception):
                raise word
            if word is None:
                return
            yield word


def thing(name: str, version: str = "2") -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": version}}


@pytest.fixture
def feed() -> Iterator[Feed]:
    feed = Feed()
    yield feed
    for _ in range(3):
        feed.words.put(None)


@pytest.fixture
def mirror(feed: Feed) -> Iterator[Mirror]:
    changed: list[str] = []
    mirror = Mirror(feed, "/api/v1/pods", "", lambda item: item, changed.append, Clock())  # type: ignore[arg-type]
    yield mirror
    mirror.close()


def names(mirror: Mirror) -> list[str]:
    return [one["metadata"]["name"] for one in mirror.of("n")]


def test_a_mirror_follows(feed: Feed, mirror: Mirror) -> None:
    feed.items = [thing("a")]
    mirror.check()
    assert names(mirror) == ["a"]
    feed.words.put({"type": "ADDED", "object": thing("b")})
    assert poll(lambda: names(mirror) == ["a", "b"], 5, 0.01)
    feed.words.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})
    feed.words.put({"type": "DELETED", "object": thing("a")})
    assert poll(lambda: names(mirror) == ["b"], 5, 0.01)
    feed.words.put(None)  # its time is over: it goes on from there
    feed.words.put({"type": "DELETED", "object": thing("b")})
    assert poll(lambda: names(mirror) == [], 5, 0.01)
    assert feed.listed == 1


def test_a_mirror_that_is_too_far_behind_is_copied_anew(feed: Feed, mirror: Mirror) -> None:
    mirror.check()
    feed.items = [thing("new")]
    feed.words.put({"type": "ERROR", "object": {"code": 410}})
    assert poll(lambda: names(mirror) == ["new"], 5, 0.01)
    mirror.check()


@pytest.mark.parametrize("word", [Unavailable("gone"), {"no": "type"}, {"type": "ADDED", "object": 7}, []])
def test_a_mirror_that_is_not_kept_up_shows_nothing(feed: Feed, mirror: Mirror, word: Any) -> None:
    mirror.check()
    feed.words.put(word)

    def refuses() -> bool:
        try:
            mirror.check()
        except Unavailable:
            return True
        return False

    assert poll(refuses, 5, 0.01)
    assert poll(lambda: not refuses(), 5, 0.05), "it is copied anew after a while"
