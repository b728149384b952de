"""What nodes have for guests, and what pods ask of them: pure, called by `capacity.py` and `image_stock.py`.

Everything here comes from the API server, and may be of any form: what makes no sense counts as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.on_kubernetes.placement import Placement
from edge_agent.recipes.limits import amount, millis

Object = Mapping[str, Any]

_GPUS = {"nvidia.com/gpu": "NVIDIA GPU", "amd.com/gpu": "AMD GPU"}
"""Resources that the vendors' device plug-ins name, and how they are called where no label tells more."""
_MODELS = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "beta.amd.com/gpu.product-name")
"""Labels by NVIDIA's GPU feature discovery and AMD's node labeller."""
_MOST_CHARACTERS = 64
_GUEST = (100, 128 << 20)
"""Thousandths of a core and bytes: a small guest, in which room is counted."""


@dataclass(frozen=True)
class Amount:
    """Thousandths of a core, bytes, GPUs and pods."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    pods: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(*(one + two for one, two in zip(_fields(self), _fields(other), strict=True)))

    def __sub__(self, other: Amount) -> Amount:
        return Amount(*(one - two for one, two in zip(_fields(self), _fields(other), strict=True)))

    def most(self, other: Amount) -> Amount:
        """The larger, field by field."""
        return Amount(*map(max, _fields(self), _fields(other)))

    @property
    def guests(self) -> int:
        """How many small guests fit in."""
        return max(0, min(self.cpu_millis // _GUEST[0], self.memory_bytes // _GUEST[1], self.pods))


@dataclass(frozen=True)
class Node:
    """A node that takes guests: what pods may have of it in all, and the model of its GPU."""

    name: str
    has: Amount
    gpu: str | None = None


def read_node(node: Object, placement: Placement) -> Node | None:
    """The node, None for one that takes no guests now."""
    if not takes_guests(node, placement):
        return None
    has = _amounts(_part(_part(node, "status"), "allocatable"))
    return Node(str(_part(node, "metadata").get("name")), has, _gpu(node) if has.gpus else None)


def takes_guests(node: Object, placement: Placement) -> bool:
    """Whether the scheduler would put a guest there: a node that is ready, has the labels that guests' nodes
    must have, and no taint that guests don't tolerate.
    """
    labels, spec, status = (
        _part(_part(node, "metadata"), "labels"),
        _part(node, "spec"),
        _part(node, "status"),
    )
    ready = any(
        (one.get("type"), one.get("status")) == ("Ready", "True") for one in _each(status, "conditions")
    )
    kept_away = any(
        taint.get("effect") in ("NoSchedule", "NoExecute") and taint.get("key") not in placement.nodes
        for taint in _each(spec, "taints")
    )
    return (
        ready
        and not kept_away
        and not spec.get("unschedulable")
        and placement.nodes.items() <= labels.items()
    )


def asked(pods: Iterable[Object]) -> dict[str, Amount]:
    """What pods ask for, by the name of their node."""
    sums: dict[str, Amount] = {}
    for pod in pods:
        spec = _part(pod, "spec")
        name = str(spec.get("nodeName") or "")
        sums[name] = sums.get(name, Amount()) + _of_pod(spec)
    return sums


def used(metrics: Iterable[Object]) -> dict[str, Amount]:
    """What nodes use, by name, from `NodeMetrics` objects."""
    return {
        str(_part(one, "metadata").get("name")): _amounts(_part(one, "usage"))
        for one in metrics
        if _part(one, "usage")
    }


def _of_pod(spec: Object) -> Amount:
    """As the scheduler counts: all containers at once, or the init container that needs most before them;
    those that run beside (`restartPolicy: Always`) count from where they start.
    """
    beside, before = Amount(), Amount()
    for container in _each(spec, "initContainers"):
        wanted = _requests(container)
        if container.get("restartPolicy") == "Always":
            beside += wanted
            before = before.most(beside)
        else:
            before = before.most(beside + wanted)
    running = sum(map(_requests, _each(spec, "containers")), beside)
    return running.most(before) + _amounts(_part(spec, "overhead")) + Amount(pods=1)


def _requests(container: Object) -> Amount:
    return _amounts(_part(_part(container, "resources"), "requests"))


def _amounts(resources: Object) -> Amount:
    gpus = sum(amount(resources.get(name)) or 0 for name in _GPUS)
    cpu, memory = millis(resources.get("cpu")), amount(resources.get("memory"))
    return Amount(cpu or 0, memory or 0, gpus, amount(resources.get("pods")) or 0)


def _gpu(node: Object) -> str:
    labels = _part(_part(node, "metadata"), "labels")
    said = next((str(labels[name]) for name in _MODELS if labels.get(name)), "")
    if said and said.isprintable():
        return said[:_MOST_CHARACTERS]
    allocatable = _part(_part(node, "status"), "allocatable")
    return next(model for name, model in _GPUS.items() if amount(allocatable.get(name)))


def _fields(value: Amount) -> tuple[int, int, int, int]:
    return value.cpu_millis, value.memory_bytes, value.gpus, value.pods


def _part(data: Object, name: str) -> Object:
    found = data.get(name)
    return found if isinstance(found, dict) else {}


def _each(data: Object, name: str) -> list[Object]:
    found = data.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
