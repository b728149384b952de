"""The cloudlets that this device is paired with: a file for each in `<state>/paired`, with the key that its
answers are held to. Asked by `deploy.py`; written by `pairing.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

from device_sdk.errors import DeviceError
from device_sdk.fields import KEY_BYTES, WireError, label, mapping, parse_json, required
from device_sdk.keys import create_once
from device_sdk.nearby.discovery import Nearby
from device_sdk.nearby.identity import device_identity, uuid_of
from device_sdk.nearby.pairing_wire import decoded, encoded
from device_sdk.nearby.seals import Seal

JitTrust = Literal["open", "paired"]

_MAX_CLOUDLETS = 1000
_MAX_BYTES = 4096
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class PairedCloudlet:
    """A cloudlet whose key (Ed25519, 32 bytes) this device knows; its UUID follows from that."""

    key: bytes
    name: str

    @property
    def uuid(self) -> UUID:
        """The cloudlet's."""
        return uuid_of(self.key)

    def to_json(self) -> dict[str, str]:
        """What people and files see."""
        return {"UUID": str(self.uuid), "Name": self.name, "Key": encoded(self.key)}


def keep(state: Path, cloudlet: PairedCloudlet) -> None:
    """Know a cloudlet from now on. Raises `DeviceError` where it can't be kept."""
    path = state / "paired" / str(cloudlet.uuid)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        create_once(path, json.dumps(cloudlet.to_json()).encode())
    except OSError as error:
        raise DeviceError(f"The cloudlet's key can't be kept at {path}: {error.strerror}.") from error


def forget(state: Path, which: str) -> list[PairedCloudlet]:
    """Know the cloudlets of this name or UUID no more; returns them."""
    found = [one for one in paired_cloudlets(state).values() if which in (one.name, str(one.uuid))]
    for cloudlet in found:
        (state / "paired" / str(cloudlet.uuid)).unlink(missing_ok=True)
    return found


def paired_cloudlets(state: Path) -> Mapping[UUID, PairedCloudlet]:
    """All of them. Raises `DeviceError` for a damaged file: else a known cloudlet would be a stranger."""
    try:
        paths = sorted(path for path in (state / "paired").iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return {}
    return {UUID(path.name): _read(path) for path in paths[:_MAX_CLOUDLETS]}


def _read(path: Path) -> PairedCloudlet:
    try:
        with path.open("rb") as file:
            data = mapping(parse_json(file.read(_MAX_BYTES)), "cloudlet")
        key = required(data, "Key", "", lambda v, p: decoded(v, p, KEY_BYTES))
        found = PairedCloudlet(key, required(data, "Name", "", label))
    except (OSError, WireError) as error:
        raise DeviceError(f"A paired cloudlet's key is damaged; remove {path} and pair again.") from error
    if str(found.uuid) != path.name:
        raise DeviceError(f"A paired cloudlet's key is another's; remove {path} and pair again.")
    return found


def seal_for(state: Path, cloudlet: PairedCloudlet) -> Seal:
    """What signs calls to it, and knows its answers."""
    return Seal(device_identity(state), cloudlet.uuid, cloudlet.key, cloudlet.name or str(cloudlet.uuid))


def askable(
    found: Iterable[Nearby], paired: Mapping[UUID, PairedCloudlet], trust: JitTrust
) -> tuple[list[Nearby], list[Nearby]]:
    """Those nearby that may be asked, paired ones first, and those that may not: strangers where only paired
    ones are trusted, and those that take no strangers.
    """
    known, strangers, others = [], [], []
    for one in found:
        if one.health.uuid in paired:
            known.append(one)
        elif trust == "open" and one.health.nearby in (None, "open"):
            strangers.append(one)
        else:
            others.append(one)
    return known + strangers, others
