"""What may be told about this device: nothing, unless its user or its app allows it by name.

Made by the app, or from the user's file by `settings.py`; obeyed by `gathering.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from device_sdk.errors import RequestError

GROUPS = {
    "location": ("location",),
    "network": ("addresses", "link_type", "metered"),
    "hardware": ("cores", "memory", "gpu", "battery"),
}
FACTS = tuple(fact for group in GROUPS.values() for fact in group)
PRECISION_KM = 1.0
"""How finely a place is told: enough to find a near cloudlet, not enough to find a house."""
_COARSEST_KM = 1000.0


@dataclass(frozen=True)
class Allowed:
    """The `facts` that may be told, of `FACTS`, and how finely a location: on a grid of `precision_km`, 0 for
    none.
    """

    facts: frozenset[str] = frozenset()
    precision_km: float = PRECISION_KM

    @classmethod
    def of(cls, names: Iterable[str], precision_km: float = PRECISION_KM) -> Allowed:
        """From names of facts, of groups of them, or `all`. Raises `RequestError` for others."""
        facts: set[str] = set()
        for name in names:
            if name not in (*FACTS, *GROUPS, "all"):
                known = ", ".join((*GROUPS, *FACTS[1:], "all"))
                raise RequestError(f"There is nothing {name!r} to tell about a device; there is {known}.")
            facts |= set(FACTS if name == "all" else GROUPS.get(name, (name,)))
        if not 0 <= precision_km <= _COARSEST_KM:
            raise RequestError(f"A location's precision must be from 0 to {_COARSEST_KM:g} km.")
        return cls(frozenset(facts), precision_km)
