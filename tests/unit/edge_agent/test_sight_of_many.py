"""A thousand ready deployments: they are read once, and then looked at without a word to the API server."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from edge_agent.deployments.records import Record
from edge_agent.on_kubernetes import namespaces
from edge_agent.on_kubernetes.sight import Sight
from tests.fakes.edge_agent_parts import AGENT, NETWORK, Clock
from tests.lab.machine import poll
from tests.unit.edge_agent.test_kubernetes_objects import ENDPOINTS, SERVICES, pod, record

COUNT = 1000


class Cluster:
    """An API that has these objects by kind, tells changes by watches, and counts what it is asked."""

    def __init__(self, records: list[Record]) -> None:
        self.objects: dict[str, list[Any]] = {
            "namespaces": [namespaces.namespace(one, AGENT) for one in records]
        }
        for kind, ((item,)) in (("services", SERVICES), ("endpoints", ENDPOINTS), ("pods", [pod()])):
            self.objects[kind] = [_placed(item, one.home) for one in records]
        self.asked: Counter[str] = Counter()
        self.words: dict[str, list[Any]] = {kind: [] for kind in self.objects}
        self.ended = threading.Event()

    def listing(self, path: str, **_: str) -> tuple[list[Any], str]:
        self.asked[path] += 1
        return self.objects[path.rsplit("/", 1)[-1]], "1"

    def watch(self, path: str, *_: Any, **__: str) -> Iterator[Any]:
        words = self.words[path.rsplit("/", 1)[-1]]
        while not self.ended.wait(0.02):
            while words:
                yield words.pop()

    def call(self, _: str, path: str, **__: str) -> Any:
        raise AssertionError(f"{path} is asked for by itself")

    items = text = call


def _placed(item: Any, home: str) -> Any:
    placed = copy.deepcopy(item)
    placed["metadata"] |= {"namespace": home, "resourceVersion": "1"}
    return placed


@pytest.fixture
def many() -> list[Record]:
    one = record()
    blocks = (IPv4Network((int(NETWORK.network_address) + 8 * number, 29)) for number in range(1, COUNT + 1))
    return [replace(one, name=f"hello-{number}", block=block) for number, block in enumerate(blocks)]


@pytest.fixture
def cluster(many: list[Record]) -> Iterator[Cluster]:
    cluster = Cluster(many)
    yield cluster
    cluster.ended.set()


def test_they_are_read_once_and_then_known(many: list[Record], cluster: Cluster) -> None:
    sight = Sight(AGENT, cluster, Clock())  # type: ignore[arg-type]
    first = sight.observe(many)
    assert {seen.state for seen in first.values()} == {"Ready"}
    assert len(first) == COUNT
    asked = cluster.asked.copy()
    for _ in range(3):
        again = sight.observe(many)
        assert all(again[name] is first[name] for name in first), "judged anew, though nothing changed"
    assert cluster.asked == asked
    assert set(asked.values()) == {1}
    sight.close()


def test_only_the_one_that_changed_is_judged_anew(many: list[Record], cluster: Cluster) -> None:
    sight = Sight(AGENT, cluster, Clock())  # type: ignore[arg-type]
    first = sight.observe(many)
    lost = _placed(pod("False"), many[7].home)
    cluster.words["pods"].append({"type": "MODIFIED", "object": lost})
    assert poll(lambda: sight.observe(many)[many[7].name].state == "Deploying")
    again = sight.observe(many)
    assert {name for name in first if again[name] is not first[name]} == {many[7].name}
    sight.close()
