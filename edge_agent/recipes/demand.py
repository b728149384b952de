"""What checked manifests ask for in all, held against the deployment's limits, before anything is made.
Pure; called by `manifests.py`.

A container counts with the larger of what it requests and is limited to; one that says nothing gets the
runtime's default and counts as nothing here. Init containers run before the others, so the largest counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edge_agent.errors import RecipeUnusable
from edge_agent.recipes.guests import mapping, objects, only
from edge_agent.recipes.limits import Limits, amount, millis

_RESOURCES = {"cpu", "memory", "ephemeral-storage"}
_GPU = re.compile(r"[a-z0-9.-]{1,63}/[a-z0-9.-]{1,63}")
_MOST_GPUS = 8
_TOLD = {"cpu_millis": "CPU", "memory_bytes": "memory", "pods": "pods", "storage_bytes": "storage"}


def check_demand(workloads: Iterable[tuple[str, int, Mapping[str, Any]]], limits: Limits) -> None:
    """Raise `RecipeUnusable` where the pods ask for more than the limits; a workload is its name for people,
    how many pods it has, and their spec.
    """
    total = dict.fromkeys(_TOLD, 0)
    for where, replicas, spec in workloads:
        asked = {"pods": 1, **_of_pod(spec, where)}
        for name, value in asked.items():
            total[name] += replicas * value
    for name, value in total.items():
        most = getattr(limits, name)
        if value > most:
            wanted, allowed = _text(name, value), _text(name, most)
            raise RecipeUnusable(f"The chart asks for {wanted} of {_TOLD[name]}; {allowed} are allowed.")


def _of_pod(spec: Mapping[str, Any], where: str) -> dict[str, int]:
    running = [_of_container(one, where) for one in objects(spec, "containers", where)]
    before = [_of_container(one, where) for one in objects(spec, "initContainers", where)]
    names = ("cpu_millis", "memory_bytes", "storage_bytes")
    asked = {
        name: max(sum(one[name] for one in running), max((one[name] for one in before), default=0))
        for name in names
    }
    for volume in objects(spec, "volumes", where):
        size = mapping(volume, "emptyDir", where).get("sizeLimit")
        if size is not None:
            asked["storage_bytes"] += _read(amount, size, f"{where}: an emptyDir's sizeLimit")
    return asked


def _of_container(container: Mapping[str, Any], where: str) -> dict[str, int]:
    resources = mapping(container, "resources", where)
    only(resources, {"limits", "requests"}, f"{where}: resources")
    asked = [mapping(resources, name, where) for name in ("limits", "requests")]
    for side in asked:
        for name, value in side.items():
            if name not in _RESOURCES:
                _check_gpu(name, value, where)

    def most(name: str, read: Callable[[Any], int | None]) -> int:
        return max((_read(read, side[name], f"{where}: {name}") for side in asked if name in side), default=0)

    return {
        "cpu_millis": most("cpu", millis),
        "memory_bytes": most("memory", amount),
        "storage_bytes": most("ephemeral-storage", amount),
    }


def _check_gpu(name: Any, value: Any, where: str) -> None:
    if not (isinstance(name, str) and _GPU.fullmatch(name) and "gpu" in name):
        raise RecipeUnusable(f"{where} asks for {name}, which guests may not have.")
    if (amount(value) or 0) > _MOST_GPUS:
        raise RecipeUnusable(f"{where} asks for {value} of {name}; {_MOST_GPUS} are allowed.")


def _read(read: Callable[[Any], int | None], value: Any, where: str) -> int:
    found = read(value)
    if found is None:
        raise RecipeUnusable(f"{where} is {str(value)[:40]!r}, which is no quantity such as 500m or 64Mi.")
    return found


def _text(name: str, value: int) -> str:
    if name == "cpu_millis":
        return f"{value}m"
    if name == "pods":
        return str(value)
    for shift, unit in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if value >= 1 << shift:
            return f"{value / (1 << shift):.4g}{unit}"
    return f"{value} bytes"
