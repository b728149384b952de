"""What a deployment may use in all: the recipe's own limits, at most the operator's. Pure; made by
`recipe.py` and `recipes.py`, enforced before anything is made (`demand.py`) and again by the runtimes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)")
_SMALL = {"m": 10**3, "u": 10**6, "n": 10**9}
_MOST_BYTES = 1 << 60
_MOST_CORES = 100_000
_MOST_PODS = 1000


@dataclass(frozen=True)
class Limits:
    """The sums over all pods of a deployment.

    `cpu_millis` are thousandths of a core; `storage_bytes` is the room for what containers write: their own
    layers, logs and emptyDir volumes.
    """

    cpu_millis: int
    memory_bytes: int
    pods: int
    storage_bytes: int

    def narrowed(self, asked: Mapping[str, int]) -> Limits:
        """The smaller of these and of what a recipe gives, field by field; what it doesn't give stays."""
        return Limits(**{name: min(most, asked.get(name, most)) for name, most in asdict(self).items()})


STANDARD = Limits(cpu_millis=8000, memory_bytes=16 << 30, pods=20, storage_bytes=16 << 30)
"""Where neither recipe nor operator says otherwise."""


def read_limits(value: Any) -> dict[str, int]:
    """A recipe's `limits`, such as `{cpu: 500m, memory: 1Gi, pods: 2, storage: 1Gi}`, as fields of `Limits`.

    Raises `ValueError` naming what is wrong. Numbers are Kubernetes quantities; unknown names are ignored,
    as everywhere in a recipe.
    """
    if not isinstance(value, dict):
        raise ValueError("limits: must be an object")  # noqa: TRY004 - one kind for all that is wrong
    found: dict[str, int] = {}
    if "cpu" in value:
        found["cpu_millis"] = _within(millis(value["cpu"]), "limits.cpu", _MOST_CORES * 1000)
    for name in ("memory", "storage"):
        if name in value:
            found[f"{name}_bytes"] = _within(amount(value[name]), f"limits.{name}", _MOST_BYTES)
    if "pods" in value:
        pods = value["pods"]
        found["pods"] = _within(pods if type(pods) is int else None, "limits.pods", _MOST_PODS)
    return found


def millis(value: Any) -> int | None:
    """A quantity in thousandths, rounded up; None for what is none."""
    found = _decimal(value)
    return None if found is None else math.ceil(found * 1000)


def amount(value: Any) -> int | None:
    """A quantity as a whole number, rounded up; None for what is none."""
    found = _decimal(value)
    return None if found is None else math.ceil(found)


def _decimal(value: Any) -> Decimal | None:
    """A Kubernetes quantity, without the exponents that nobody writes: 2, 0.5, "500m", "1Gi"."""
    text = str(value) if type(value) in (int, float, str) else ""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    number, suffix = Decimal(found[1]), found[2]
    if suffix in _SMALL:
        return number / _SMALL[suffix]
    base = 1024 if suffix.endswith("i") else 1000
    power = " KMGTPE".index(suffix[0].upper()) if suffix else 0
    return number * Decimal(base) ** power


def _within(value: int | None, field: str, most: int) -> int:
    if value is None or not 0 < value <= most:
        raise ValueError(f"{field}: must be a quantity above 0 such as 500m, 2 or 1Gi")
    return value
