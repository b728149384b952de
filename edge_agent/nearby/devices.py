"""The devices that this cloudlet knows: a file for each in the state folder, so that pairing and forgetting
count at once, also while the agent runs. Called by `trust.py`, `pairing.py` and the `pair` command.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import InvalidRequest, SettingsError, Unavailable
from edge_agent.fields import parse_json
from edge_agent.serving.signatures import PublicKey

MAX_DEVICES = 1000
_MAX_BYTES = 1024
_KID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Device:
    """A device that was paired: its key, what it called itself, and when (RFC 3339)."""

    key: PublicKey
    name: str
    paired: str

    def to_json(self) -> dict[str, str]:
        """What people and files see."""
        return {"key": self.key.text, "name": self.name, "paired": self.paired}


class Devices:
    """The paired devices in `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, kid: Any) -> PublicKey | None:
        """The key of this name (its thumbprint) if its device is paired."""
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            return None
        found = _read(self._folder / kid)
        return found.key if found and found.key.thumbprint == kid else None

    def all(self) -> list[Device]:
        """All of them, by name; damaged files are left out."""
        try:
            paths = [path for path in self._folder.iterdir() if _KID.fullmatch(path.name)]
        except OSError:
            return []
        return sorted(filter(None, map(_read, paths)), key=lambda device: (device.name, device.key.text))

    def add(self, device: Device) -> None:
        """Keep it, in one step; raises `Unavailable` where that can't be done."""
        if len(self.all()) >= MAX_DEVICES:
            raise Unavailable(f"{MAX_DEVICES} devices are paired already; forget some.", 3600)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._folder / device.key.thumbprint, json.dumps(device.to_json()))
        except OSError as error:
            raise Unavailable("The device can't be kept.") from error

    def forget(self, which: str) -> Sequence[Device]:
        """Forget those with this name or key; raises `SettingsError` where there is none."""
        found = [one for one in self.all() if which in (one.name, one.key.text, one.key.thumbprint)]
        if not found:
            raise SettingsError(f"--forget {which}: no paired device has this name or key; see pair --list")
        for device in found:
            (self._folder / device.key.thumbprint).unlink(missing_ok=True)
        return found


def write_whole(path: Path, text: str) -> None:
    """Write a file (0600) that readers see as it was, or as it is, never in between."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a small file; None where there is none."""
    try:
        with path.open("rb") as file:
            return parse_json(file.read(_MAX_BYTES), path.name)
    except (OSError, InvalidRequest):
        return None


def _read(path: Path) -> Device | None:
    data = read_object(path) or {}
    try:
        key = PublicKey.from_text(data.get("key"), path.name)
    except InvalidRequest:
        return None
    return Device(key, str(data.get("name", "")), str(data.get("paired", "")))
