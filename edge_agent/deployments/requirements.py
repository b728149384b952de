"""What the cloudlet has, and what a device demands that asks it directly, without a root that would choose.
Read by `wire.py`, asked by `deploy.py`; calls nothing.

As at a root, what the cloudlet does not say of itself does not meet a demand, and no price is no price. Whom
roots trust is theirs to know: a device that asks directly and demands a level gets none here.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from edge_agent.errors import InvalidRequest
from edge_agent.fields import as_object, integer, number, text

_TRUST = ("unsigned", "signed", "invited", "listed")
_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_MOST_JURISDICTIONS = 64


@dataclass(frozen=True)
class Hardware:
    """What the cloudlet has: `cores`, `memory_bytes`, and the model of its `gpu`; None where not known."""

    cores: int | None = None
    memory_bytes: int | None = None
    gpu: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The `Hardware` object."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Offer:
    """What the cloudlet has: its hardware, whose law holds, and its price per hour."""

    hardware: Hardware = field(default_factory=Hardware)
    jurisdiction: str | None = None
    price: float | None = None


@dataclass(frozen=True)
class Requirements:
    """A device's demands; what was not given is met by anything."""

    gpu: bool = False
    cached: bool = False
    memory_bytes: int = 0
    cores: int = 0
    jurisdictions: tuple[str, ...] = ()
    trust: str = "unsigned"
    max_price: float | None = None

    @classmethod
    def from_json(cls, value: Any) -> Requirements:
        """Check a `Requirements` object."""
        data = as_object(value, "requirements")
        trust = text(data, "trust", 8) if "trust" in data else "unsigned"
        if trust not in _TRUST:
            raise InvalidRequest(f"trust: must be one of {', '.join(_TRUST)}")
        return cls(
            gpu=_flag(data, "gpu"),
            cached=_flag(data, "cached"),
            memory_bytes=integer(data, "memory_bytes", 0, 1 << 50) or 0,
            cores=integer(data, "cores", 1, 4096) or 0,
            jurisdictions=_jurisdictions(data.get("jurisdictions", [])),
            trust=trust,
            max_price=number(data, "max_price", 0, 1_000_000),
        )

    def unmet(self, offer: Offer, app: UUID, cached: Collection[UUID]) -> list[str]:
        """What the offer lacks, by name; `cached` are the apps whose images are here."""
        hardware, law = offer.hardware, offer.jurisdiction or "nowhere"
        met = {
            "gpu": not self.gpu or hardware.gpu is not None,
            "cached": not self.cached or app in cached,
            "memory_bytes": (hardware.memory_bytes or 0) >= self.memory_bytes,
            "cores": (hardware.cores or 0) >= self.cores,
            "jurisdictions": not self.jurisdictions or bool({law, law[:2]} & set(self.jurisdictions)),
            "trust": self.trust == "unsigned",
            "max_price": self.max_price is None or (offer.price or 0.0) <= self.max_price,
        }
        return [name for name, good in met.items() if not good]


def _flag(data: dict[str, Any], name: str) -> bool:
    value = data.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: must be true or false")
    return value


def _jurisdictions(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST_JURISDICTIONS:
        raise InvalidRequest(f"jurisdictions: must be a list of at most {_MOST_JURISDICTIONS}")
    if not all(isinstance(item, str) and _JURISDICTION.fullmatch(item) for item in value):
        raise InvalidRequest("jurisdictions: must hold ISO 3166 codes such as DE or US-PA")
    return tuple(value)
