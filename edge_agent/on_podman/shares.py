"""How much of a deployment's limits each container gets: a pure function, called by `podman.py`.

Podman bounds containers, not deployments, so the containers' bounds must add up to no more than the
deployment's. One that names its own limits gets them; the others share what is left, each at most what a
container in Kubernetes gets that says nothing (`on_kubernetes/guards.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import DeployFailed
from edge_agent.on_podman.pods import PodPlan
from edge_agent.recipes.limits import Limits, amount, millis

_CPU_MILLIS = 1000
_MEMORY_BYTES = 512 << 20
_LEAST_CPU_MILLIS = 10
_LEAST_MEMORY_BYTES = 8 << 20
"""Less, and the container's own start is killed for want of memory."""


@dataclass(frozen=True)
class Share:
    """What a container may use."""

    cpu_millis: int
    memory_bytes: int


def shares(plans: Sequence[PodPlan], limits: Limits) -> Mapping[str, Share]:
    """The share of each container, by Podman's name for it; init containers, which run alone, get the most
    that one of their deployment may have. Raises `DeployFailed` where too little is left for one.
    """
    if len(plans) > limits.pods:
        raise DeployFailed(f"It would have {len(plans)} pods; {limits.pods} are allowed.")
    own = {name: _own(container) for plan in plans for name, container in plan.containers.items()}
    cpus = _fill({name: cpu for name, (cpu, _) in own.items()}, limits.cpu_millis, _CPU_MILLIS)
    memory = _fill({name: memory for name, (_, memory) in own.items()}, limits.memory_bytes, _MEMORY_BYTES)
    if cpus and min(cpus.values()) < _LEAST_CPU_MILLIS:
        raise DeployFailed(f"Its limit of {limits.cpu_millis}m CPU leaves too little for each container.")
    if memory and min(memory.values()) < _LEAST_MEMORY_BYTES:
        raise DeployFailed(
            f"Its limit of {limits.memory_bytes >> 20} MiB leaves too little for each container."
        )
    found = {name: Share(cpus[name], memory[name]) for name in own}
    for plan in plans:
        for name, container in plan.inits.items():
            cpu, bytes_ = _own(container)
            found[name] = Share(
                min(cpu or _CPU_MILLIS, limits.cpu_millis), min(bytes_ or _MEMORY_BYTES, limits.memory_bytes)
            )
    return found


def _own(container: Mapping[str, Any]) -> tuple[int | None, int | None]:
    limits = (container.get("resources") or {}).get("limits") or {}
    return millis(limits["cpu"]) if "cpu" in limits else None, amount(
        limits["memory"]
    ) if "memory" in limits else None


def _fill(own: Mapping[str, int | None], total: int, most: int) -> dict[str, int]:
    silent = sum(value is None for value in own.values())
    left = total - sum(value or 0 for value in own.values())
    if left < 0:
        raise DeployFailed("Its containers ask for more than the deployment may use.")
    each = min(most, left // silent) if silent else 0
    return {name: each if value is None else value for name, value in own.items()}
