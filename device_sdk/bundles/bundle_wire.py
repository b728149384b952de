"""What a cloudlet answers to who hands over a bundle. Part of `wire.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from device_sdk.fields import WireError, integer, items, label, mapping, optional, required

BundleState = Literal["receiving", "loading", "ready", "failed"]

_STATES = ("receiving", "loading", "ready", "failed")
_MAX_PARTS = 16 * 258 + 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class BundleProgress:
    """How far a bundle is, and `missing`: the digests of parts to send, with the bytes that are there."""

    state: BundleState
    missing: Mapping[str, int]
    reason: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> BundleProgress:
        """Raise `WireError` unless `value` is a `BundleProgress`."""
        data = mapping(value, "progress")
        state = data.get("state")
        if state not in _STATES:
            raise WireError("state", f"must be one of {', '.join(_STATES)}")
        missing = required(data, "missing", "", lambda v, p: items(v, p, _missing, _MAX_PARTS))
        return cls(cast(BundleState, state), dict(missing), optional(data, "reason", "", label))


def read_offset(value: Any) -> int:
    """The number in a `BundlePart`."""
    return required(mapping(value, "part"), "offset", "", lambda v, p: integer(v, p, 0, 1 << 50))


def _missing(value: Any, field: str) -> tuple[str, int]:
    data = mapping(value, field)
    digest = data.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise WireError(f"{field}.digest", "must be a SHA-256 digest")
    return digest, required(data, "offset", field, lambda v, p: integer(v, p, 0, 1 << 50))
