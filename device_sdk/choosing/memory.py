"""What this device measured before: a small file for each app in `<state>/measured`, for the next time. Used
by `choose.py`.

It is advice: what is damaged, too old, or lost to another program that writes at once is as if it had never
been measured. Only the owner can read it, for it tells where the device has been.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from device_sdk.choosing.result import Measured
from device_sdk.fields import (
    WireError,
    items,
    mapping,
    number,
    optional,
    parse_json,
    required,
    text,
    uuid,
    without_none,
)

REMEMBERED_SECONDS = 7 * 86400.0
_MOST_ENTRIES = 256
_MOST_BYTES = 256 * 1024


@dataclass(frozen=True)
class Remembered:
    """One cloudlet from one network, `at` so many seconds since 1970."""

    cloudlet: UUID
    network: str
    rtt_ms: float
    at: float
    throughput_mbps: float | None = None

    @classmethod
    def from_json(cls, value: Any, path: str) -> Remembered:
        """Raise `WireError` unless `value` is what `to_json` wrote."""
        data = mapping(value, path)
        return cls(
            required(data, "cloudlet", path, uuid),
            required(data, "network", path, text),
            required(data, "rtt_ms", path, lambda v, p: number(v, p, 0)),
            required(data, "at", path, lambda v, p: number(v, p, 0)),
            optional(data, "throughput_mbps", path, lambda v, p: number(v, p, 0)),
        )

    def to_json(self) -> dict[str, Any]:
        """For the file."""
        return without_none({**vars(self), "cloudlet": str(self.cloudlet)})


class Memory:
    """Of one app, in the folder `state`; `network` is where the device is now."""

    def __init__(self, state: Path, app_uuid: UUID, network: str, wall_clock: Callable[[], float]) -> None:
        self._path = state / "measured" / f"{app_uuid}.json"
        self._network = network
        self._wall_clock = wall_clock

    def recall(self) -> Mapping[UUID, Remembered]:
        """What was measured from this network and is not too old, by cloudlet."""
        return {one.cloudlet: one for one in self._read() if one.network == self._network}

    def keep(self, measured: Iterable[Measured]) -> None:
        """Know the round trips for the next time. What can't be written is not kept."""
        new = {
            (one.target.cloudlet.uuid, self._network): Remembered(
                one.target.cloudlet.uuid, self._network, one.rtt_ms, self._wall_clock(), one.throughput_mbps
            )
            for one in measured
            if one.target.cloudlet is not None and one.rtt_ms is not None
        }
        if not new:
            return
        entries = {(one.cloudlet, one.network): one for one in self._read()} | new
        latest = sorted(entries.values(), key=lambda one: one.at, reverse=True)[:_MOST_ENTRIES]
        with contextlib.suppress(OSError):
            self._write(json.dumps([one.to_json() for one in latest]).encode())

    def _read(self) -> list[Remembered]:
        try:
            with self._path.open("rb") as file:
                found = items(parse_json(file.read(_MOST_BYTES)), "", Remembered.from_json, _MOST_ENTRIES)
        except (OSError, WireError):
            return []
        now = self._wall_clock()
        return [one for one in found if 0 <= now - one.at <= REMEMBERED_SECONDS]

    def _write(self, content: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            aside.replace(self._path)
        finally:
            aside.unlink(missing_ok=True)
