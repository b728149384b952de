"""What an examination of this device found. Made by the checks in `doctor.py`, shown by the commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from device_sdk.fields import without_none

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What is so, and what to do about it. A `warning` is for what works without, or not as well."""

    state: State
    detail: str
    advice: str | None = None


@dataclass(frozen=True)
class Check:
    """One thing to look at; `look` takes seconds at most, unless it says so, and raises nothing."""

    name: str
    look: Callable[[], Finding]

    def to_json(self, finding: Finding) -> dict[str, str]:
        """What programs see."""
        said = {
            "Check": self.name,
            "State": finding.state,
            "Detail": finding.detail,
            "Advice": finding.advice,
        }
        return without_none(said)
