"""Which apps are told as cached, and what is fetched ahead."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from edge_agent.errors import RecipeUnusable, Unavailable
from edge_agent.on_kubernetes.image_stock import KubernetesStock, _is_pulling
from edge_agent.on_kubernetes.placement import Placement
from edge_agent.provisioning.prefetch import Prefetch
from edge_agent.recipes.image_names import listed, spellings
from tests.fakes.edge_agent_backends import HELLOWORLD, Catalogue, backend, deployment, service
from tests.fakes.edge_agent_parts import AGENT, Clock, Parts
from tests.fakes.edge_agent_stock import FakeStock

OTHER = uuid.UUID(int=7)
IMAGE = "localhost/sinfonia-helloworld:1"
ROOT = "https://root.example"


def of_image(image: str) -> Any:
    return backend(service(), deployment(image=image))


class World:
    """A prefetch of `wanted` apps in front of a catalogue and a stock."""

    def __init__(self, *wanted: uuid.UUID, registry: tuple[str, ...] = ("r.example/other:2",)) -> None:
        self.clock = Clock()
        self.catalogue = Catalogue({HELLOWORLD: backend(), OTHER: of_image("r.example/other:2")})
        self.parts = Parts(catalogue=self.catalogue)
        self.stock = FakeStock(registry)
        self.prefetch = Prefetch(
            self.catalogue, self.stock, self.parts.lives, lambda: wanted, [ROOT], self.clock
        )

    def later(self, seconds: float = 601.0) -> tuple[uuid.UUID, ...]:
        self.clock.seconds += seconds
        self.prefetch.tick()
        return self.prefetch.cached()


def test_nothing_is_told_before_it_is_here() -> None:
    world = World(OTHER, registry=())
    assert world.prefetch.cached() == ()
    assert world.later() == ()
    assert world.stock.pulled == ["r.example/other:2"]


def test_what_is_wanted_is_fetched_once_and_told() -> None:
    world = World(OTHER)
    assert world.later() == (OTHER,)
    assert world.later() == world.later(1) == (OTHER,)
    assert world.stock.pulled == ["r.example/other:2"]


def test_an_image_that_somebody_removed_is_not_told_and_fetched_again() -> None:
    world = World(OTHER)
    world.later()
    world.stock.names.clear()
    assert world.later(1) == ()
    assert world.later() == (OTHER,)


def test_what_cannot_be_fetched_is_tried_again_later_and_holds_nothing_up() -> None:
    world = World(OTHER, HELLOWORLD, registry=(IMAGE,))
    assert world.later() == (HELLOWORLD,)
    assert sorted(world.stock.pulled) == [IMAGE, "r.example/other:2"]
    world.later(60)
    assert len(world.stock.pulled) == 2
    world.later()
    assert len(world.stock.pulled) == 3


def test_what_runs_is_told_and_stays_told_only_while_its_image_is_here() -> None:
    world = World()
    world.parts.deployments.deploy(HELLOWORLD, b"k" * 32, 0)
    world.parts.settle()
    assert world.later() == (HELLOWORLD,), "it runs, whatever the listing says"
    world.stock.names.add(IMAGE)
    world.later()
    (live,) = world.parts.lives.all()
    world.parts.lifecycle.remove_later(live, "test")
    world.parts.settle()
    assert world.parts.lives.all() == []
    assert world.later() == (HELLOWORLD,)
    world.stock.names.clear()
    assert world.later() == ()


def test_a_restart_tells_what_is_still_here() -> None:
    world = World(HELLOWORLD)
    world.stock.names.add(IMAGE)
    assert world.later() == (HELLOWORLD,)
    assert world.stock.pulled == []


def test_a_runtime_that_is_away_changes_nothing() -> None:
    world = World(OTHER)
    world.later()
    world.stock.away = True
    world.stock.names.clear()
    assert world.later() == (OTHER,)


def test_a_recipe_that_only_a_root_has_is_asked_for_there() -> None:
    world = World(OTHER, uuid.UUID(int=9))
    world.catalogue.apps[OTHER] = RecipeUnusable("it is no chart")
    world.later()
    assert world.catalogue.roots[-4:] == ["", ROOT, "", ROOT]
    world.catalogue.apps[OTHER] = Unavailable("the repository is away")
    assert world.later() == ()


def test_no_more_are_told_than_roots_take() -> None:
    apps = [uuid.UUID(int=number) for number in range(100, 130)]
    world = World(*apps)
    world.catalogue.apps = dict.fromkeys(apps, backend())
    world.stock.names.add(IMAGE)
    assert world.later() == tuple(apps[:16])


@pytest.mark.parametrize(
    ("image", "names"),
    [
        ("busybox", ["docker.io/library/busybox:latest", "localhost/busybox:latest"]),
        ("cmu/app:1", ["docker.io/cmu/app:1", "localhost/cmu/app:1"]),
        ("r.example/a/b:1", ["r.example/a/b:1"]),
        ("localhost:5000/a", ["localhost:5000/a:latest"]),
        ("r.example/a:1@sha256:0f", ["r.example/a@sha256:0f"]),
    ],
)
def test_names_of_images(image: str, names: list[str]) -> None:
    assert spellings(image) == names
    assert listed([image], names[-1:]) == {image}
    assert listed([image], ["r.example/other:1"]) == frozenset()


class Cluster:
    """A cluster of two nodes, one of them kept for guests; `pods` are those that were made."""

    def __init__(self) -> None:
        ready = [{"type": "Ready", "status": "True"}]
        images = [{"names": [IMAGE]}]
        kept = {"labels": {"guests": "yes"}, "name": "kept"}
        taints = [{"key": "guests", "effect": "NoSchedule"}]
        self.nodes = [
            {"metadata": kept, "spec": {"taints": taints}, "status": {"conditions": ready, "images": images}},
            {"metadata": {"name": "other"}, "status": {"conditions": ready}},
        ]
        self.pods: list[Any] = []

    def items(self, path: str, **_: str) -> list[Any]:
        return self.nodes if path.endswith("/nodes") else []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if (method, path[-5:]) == ("POST", "/pods"):
            self.pods.append(body)
        return {}


def stock_of(cluster: Any, placement: Placement) -> KubernetesStock:
    return KubernetesStock(AGENT, cluster, clock=Clock(), sleep=lambda _: None, placement=placement)


def test_images_have_to_be_on_the_nodes_of_guests_alone() -> None:
    cluster, guests = Cluster(), Placement({"guests": "yes"})
    assert stock_of(cluster, guests).present([IMAGE]) == {IMAGE}
    assert stock_of(cluster, Placement()).present([IMAGE]) == frozenset()


def test_images_are_pulled_on_nodes_that_are_kept_for_guests() -> None:
    cluster = Cluster()
    stock_of(cluster, Placement({"guests": "yes"})).pull("r.example/other:2")
    (pod,) = cluster.pods
    assert pod["spec"]["nodeName"] == "kept"
    assert pod["spec"]["tolerations"] == [{"key": "guests", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("reason", "pulling"),
    [("ContainerCreating", True), ("RunContainerError", False), ("CreateContainerError", False)],
)
def test_a_container_that_cannot_start_has_its_image(reason: str, pulling: bool) -> None:
    status = {"containerStatuses": [{"state": {"waiting": {"reason": reason}}}]}
    assert _is_pulling({"status": status}, "x") is pulling
    assert _is_pulling({}, "x")
