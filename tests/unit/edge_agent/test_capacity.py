"""What a cluster has for guests, how busy it is, and whether it takes any: from objects as API servers send
them, and from nonsense.
"""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.deployments.requirements import Hardware
from edge_agent.errors import AgentError, Unavailable
from edge_agent.on_kubernetes.api import Refused
from edge_agent.on_kubernetes.capacity import Capacity
from edge_agent.on_kubernetes.nodes import Amount, asked, read_node, takes_guests, used
from edge_agent.on_kubernetes.placement import Placement
from tests.fakes.edge_agent_parts import Clock

GUESTS = Placement({"example.org/guests": "yes"})
TAINT = {"key": "example.org/guests", "value": "yes", "effect": "NoSchedule"}


def node(
    name: str = "a",
    cpu: str = "4",
    memory: str = "8Gi",
    *,
    ready: str = "True",
    labels: Any = None,
    **more: Any,
) -> dict[str, Any]:
    extra = more.pop("allocatable", {})
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": more,
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110", **extra},
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
        },
    }


def wants(cpu: str = "0", memory: str = "0", **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu, "memory": memory, **more.pop("also", {})}}, **more}


def pod(*containers: Any, on: str = "a", **spec: Any) -> dict[str, Any]:
    return {"spec": {"nodeName": on, "containers": list(containers), **spec}}


@pytest.mark.parametrize(
    ("one", "placement", "takes"),
    [
        (node(), Placement(), True),
        (node(ready="Unknown"), Placement(), False),
        (node(unschedulable=True), Placement(), False),
        (node(taints=[TAINT]), Placement(), False),
        (node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]), Placement(), True),
        (node(), GUESTS, False),
        (node(labels={"example.org/guests": "no"}), GUESTS, False),
        (node(labels={"example.org/guests": "yes"}, taints=[TAINT]), GUESTS, True),
        (node(labels={"example.org/guests": "yes"}, taints=[{**TAINT, "key": "other"}]), GUESTS, False),
        ({}, Placement(), False),
        ({"status": {"conditions": "x"}, "spec": [], "metadata": None}, Placement(), False),
    ],
)
def test_nodes_that_take_guests(one: Any, placement: Placement, takes: Any) -> None:
    assert takes_guests(one, placement) is takes
    assert (read_node(one, placement) is not None) is takes


@pytest.mark.parametrize(
    ("spec", "amount"),
    [
        (pod(wants("500m", "1Gi"), wants("1")), Amount(1500, 1 << 30, pods=1)),
        (pod(wants("1"), initContainers=[wants("3"), wants("2")]), Amount(3000, pods=1)),
        (pod(wants("2"), initContainers=[wants("1", restartPolicy="Always")]), Amount(3000, pods=1)),
        (
            pod(wants("1"), initContainers=[wants("1", restartPolicy="Always"), wants("2")]),
            Amount(3000, pods=1),
        ),
        (
            pod(wants("1"), initContainers=[wants("2"), wants("1", restartPolicy="Always")]),
            Amount(2000, pods=1),
        ),
        (pod(wants("1"), overhead={"cpu": "250m", "memory": "1Ki"}), Amount(1250, 1024, pods=1)),
        (pod(wants(also={"nvidia.com/gpu": "2"})), Amount(gpus=2, pods=1)),
        (pod({}), Amount(pods=1)),
        (pod({"resources": {"requests": {"cpu": "lots", "memory": []}}}), Amount(pods=1)),
    ],
)
def test_what_a_pod_asks_for(spec: Any, amount: Amount) -> None:
    assert asked([spec]) == {"a": amount}


def test_what_nodes_use() -> None:
    said = [{"metadata": {"name": "a"}, "usage": {"cpu": "1500340498n", "memory": "3Ki"}}, {}, {"usage": 3}]
    assert used(said) == {"a": Amount(1501, 3072)}


class Server:
    """Lists by path, or what is raised; `asked` are the paths."""

    def __init__(self, **lists: Any) -> None:
        self.lists: dict[str, Any] = {"nodes": [node()], "pods": [], "usage": Refused(404, "no"), **lists}
        self.asked: list[str] = []

    def items(self, path: str, **_: str) -> list[Any]:
        name = "usage" if path.startswith("/apis/metrics") else path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if isinstance(self.lists[name], AgentError):
            raise self.lists[name]
        found: list[Any] = self.lists[name]
        return found


def capacity(server: Server, placement: Placement | None = None, clock: Any = None) -> Capacity:
    client: Any = server
    return Capacity(client, client, placement or Placement(), clock or Clock())


def test_the_node_with_the_most_room_is_told() -> None:
    full, free = pod(wants("3900m", "1Gi"), on="large"), pod(wants("1", "1Gi"), on="small")
    server = Server(nodes=[node("large"), node("small", "2", "4Gi"), node("off", "64", ready="False")])
    server.lists["pods"] = [full, free]
    seen = capacity(server)
    assert seen.measure().to_json() == {}
    assert seen.check() == ""
    assert seen.measure().to_json() == {"cpu_ratio": 0.5, "mem_ratio": 0.25}
    assert seen.hardware() == Hardware(4, 8 << 30)


def test_a_metrics_server_knows_better_than_requests() -> None:
    server = Server(pods=[pod(wants("1", "1Gi"))])
    server.lists["usage"] = [{"metadata": {"name": "a"}, "usage": {"cpu": "3", "memory": "2Gi"}}]
    seen = capacity(server)
    seen.check()
    assert seen.measure().to_json() == {"cpu_ratio": 0.75, "mem_ratio": 0.25}


def test_gpus_are_told_by_model_and_by_how_many_are_taken() -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4"}
    strong = node("b", "2", "4Gi", labels=labels, allocatable={"nvidia.com/gpu": "4"})
    server = Server(
        nodes=[node("a", "1", "1Gi"), strong], pods=[pod(wants(also={"nvidia.com/gpu": 1}), on="b")]
    )
    seen = capacity(server)
    seen.check()
    assert seen.hardware() == Hardware(2, 4 << 30, "NVIDIA-L4")
    assert seen.measure().to_json()["gpu_ratio"] == 25.0
    server.lists["nodes"] = [node("a", "64", "512Gi"), node("b", allocatable={"amd.com/gpu": "1"})]
    seen.check()
    assert seen.hardware() == Hardware(4, 8 << 30, "AMD GPU")


def test_no_node_for_guests_is_a_reason() -> None:
    server = Server(nodes=[node(ready="False"), node()])
    assert "None of 2 nodes" in capacity(server, GUESTS).check()
    assert capacity(server).check() == ""
    assert "None of 0 nodes" in capacity(Server(nodes=[])).check()


def test_nodes_that_come_back_were_there_all_the_time() -> None:
    server = Server()
    seen = capacity(server)
    seen.check()
    server.lists["nodes"] = [node(ready="Unknown")]
    assert seen.check()
    assert (seen.measure().to_json(), seen.hardware()) == ({}, Hardware(4, 8 << 30))


@pytest.mark.parametrize("error", [Refused(403, "forbidden"), Unavailable("away")])
def test_nodes_that_can_not_be_read(error: AgentError) -> None:
    seen = capacity(Server(nodes=error))
    with pytest.raises(Unavailable):
        seen.check()
    assert seen.measure().to_json() == {}
    assert seen.hardware() == Hardware()


def test_what_is_not_known_is_left_out_and_old_word_is_none() -> None:
    clock, server = Clock(), Server(pods=Refused(403, "forbidden"))
    seen = capacity(server, clock=clock)
    assert seen.check() == "", "guests are welcome all the same"
    assert seen.measure().to_json() == {}
    server.lists["pods"] = []
    clock.seconds += 60
    seen.check()
    assert seen.measure().to_json() == {"cpu_ratio": 0.0, "mem_ratio": 0.0}
    server.lists["pods"] = Unavailable("away")
    for _ in range(4):
        clock.seconds += 60
        seen.check()
    assert seen.measure().to_json() == {}


def test_all_pods_are_listed_once_a_minute() -> None:
    clock, server = Clock(), Server()
    seen = capacity(server, clock=clock)
    for _ in range(9):
        seen.check()
        clock.seconds += 15
    assert (server.asked.count("nodes"), server.asked.count("pods")) == (9, 3)


def test_a_metrics_server_that_fails_takes_nothing_away() -> None:
    server = Server(usage=Unavailable("503"), pods=[pod(wants("1"))])
    seen = capacity(server)
    seen.check()
    assert seen.measure().to_json()["cpu_ratio"] == 0.25
