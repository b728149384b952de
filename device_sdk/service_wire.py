"""The smaller words of the contract: health, problems, and what was measured. Part of `wire.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from device_sdk.fields import WireError, integer, label, mapping, optional, required, text, uuid, without_none


@dataclass(frozen=True)
class Measurement:
    """What this device measured to a cloudlet: the round trip in milliseconds, and megabits a second in the
    slower direction where that was tried.
    """

    cloudlet: UUID
    rtt_ms: float
    throughput_mbps: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's `Measurement`."""
        speed = None if self.throughput_mbps is None else round(self.throughput_mbps, 3)
        told = {"cloudlet": str(self.cloudlet), "rtt_ms": round(self.rtt_ms, 3)}
        return told | without_none({"throughput_mbps": speed})


@dataclass(frozen=True)
class Health:
    """A server that can do its work; a cloudlet also says who it is, and whom it serves directly (`nearby`:
    open, pairing or keys).
    """

    uuid: UUID | None = None
    name: str | None = None
    nearby: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> Health:
        """Raise `WireError` unless `value` says that its sender is well."""
        data = mapping(value, "health")
        if data.get("status") != "ok":
            raise WireError("status", "must be ok")
        return cls(
            optional(data, "uuid", "", uuid),
            optional(data, "name", "", label),
            optional(data, "nearby", "", label),
        )


@dataclass(frozen=True)
class Problem:
    """An RFC 9457 problem. `type` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    detail: str | None = None

    @classmethod
    def from_json(cls, value: Any) -> Problem:
        """Raise `WireError` unless `value` is a problem document."""
        data = mapping(value, "problem")
        return cls(
            type=required(data, "type", "", text),
            title=required(data, "title", "", label),
            status=required(data, "status", "", lambda v, p: integer(v, p, 400, 599)),
            detail=optional(data, "detail", "", label),
        )
