"""Who this cloudlet is, kept in a state folder: called by `__main__.py`, calls only the file system.

`identity.json` (mode 0600) holds an Ed25519 key, from whose public half the cloudlet's UUID follows, so that
only the key's owner can speak for the UUID; the gateway's WireGuard key; and the last incarnation. A
lock on the folder keeps a second agent out for as long as the first one lives.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.errors import SettingsError
from edge_agent.roots.root_wire import MAX_INCARNATION

_FILE = "identity.json"


class Identity:
    """The cloudlet's UUID, its keys and its incarnation counter."""

    def __init__(self, folder: Path, now_ms: Callable[[], int]) -> None:
        """Open the folder, or make it; raises `SettingsError` if it is in use, damaged or not writable."""
        self._path = folder / _FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _hold(folder)
            self._data = _read(self._path) if self._path.exists() else _new()
            self._signing = Ed25519PrivateKey.from_private_bytes(_raw(self._data, "identity_key"))
            self._wireguard = X25519PrivateKey.from_private_bytes(_raw(self._data, "wireguard_key"))
            self.uuid = uuid_of(self.public_key)
            self.incarnation = min(max(_counter(self._data) + 1, now_ms()), MAX_INCARNATION)
            self._save()
        except OSError as error:
            raise SettingsError(f"--state {folder}: {error.strerror or error}") from error

    @property
    def public_key(self) -> bytes:
        """The public half of the key that the UUID follows from, 32 bytes."""
        return self._signing.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Sign for this cloudlet (Ed25519, 64 bytes); the key itself never leaves here."""
        return self._signing.sign(data)

    @property
    def wireguard_private_key(self) -> bytes:
        """The gateway's private key, 32 bytes; never log it."""
        return self._wireguard.private_bytes_raw()

    @property
    def wireguard_public_key(self) -> bytes:
        """The gateway's public key, 32 bytes."""
        return self._wireguard.public_key().public_bytes_raw()

    def close(self) -> None:
        """Let another agent use the folder."""
        os.close(self._lock)

    def _save(self) -> None:
        self._data["incarnation"] = self.incarnation
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._data, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def public_key_in(folder: Path) -> bytes:
    """The public key of the identity in a folder, which an agent may be using; `SettingsError`, OSError."""
    private = Ed25519PrivateKey.from_private_bytes(_raw(_read(folder / _FILE), "identity_key"))
    return private.public_key().public_bytes_raw()


def uuid_of(public_key: bytes) -> UUID:
    """The UUID of an Ed25519 public key: the first bits of its SHA-256, as version 8 (RFC 9562, 5.8)."""
    raw = bytearray(hashlib.sha256(public_key).digest()[:16])
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return UUID(bytes=bytes(raw))


def _hold(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise SettingsError(f"--state {folder}: another agent is using it") from error
    return descriptor


def _new() -> dict[str, Any]:
    signing, tunnel = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    return {
        "identity_key": base64.b64encode(signing.private_bytes_raw()).decode(),
        "wireguard_key": base64.b64encode(tunnel.private_bytes_raw()).decode(),
        "incarnation": 0,
    }


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        data = json.loads(path.read_text())
        if isinstance(data, dict):
            return data
    raise _damaged("is not a JSON object", path)


def _raw(data: dict[str, Any], name: str) -> bytes:
    with contextlib.suppress(TypeError, ValueError):
        key = base64.b64decode(data.get(name, ""), validate=True)
        if len(key) == 32:
            return key
    raise _damaged(f"{name} is not a key of 32 bytes")


def _counter(data: dict[str, Any]) -> int:
    value = data.get("incarnation")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INCARNATION:
        return value
    raise _damaged("incarnation is not a number")


def _damaged(what: str, path: Path | str = _FILE) -> SettingsError:
    return SettingsError(
        f"{path}: {what}. Restore it from a copy, or remove it to become a new cloudlet "
        "(deployments of the old one have to be removed by hand)."
    )
