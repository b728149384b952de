"""The device's keys: one X25519 pair per app, kept so that the same device gets the same backend again.

Called by `deploy.py`, and by `identity.py` for how a secret is kept: one file, readable by its owner alone,
with 32 bytes as padded base64. It comes into being in one step, so that two programs that start at once end
with the same secret.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from device_sdk.errors import DeviceError
from device_sdk.fields import WireError, key


@dataclass(frozen=True)
class KeyPair:
    """An X25519 pair, 32 bytes each. The private half is never shown and never leaves the device."""

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def from_private(cls, private: bytes) -> KeyPair:
        """The pair to 32 private bytes."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return cls(private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())

    @property
    def path_segment(self) -> str:
        """The public key as a deploy call's path carries it: URL-safe base64 without padding."""
        return base64.urlsafe_b64encode(self.public).decode("ascii").rstrip("=")


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where this device keeps its state: `$XDG_STATE_HOME/sinfonia`, by default under `~/.local/state`."""
    base = environ.get("XDG_STATE_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME", "/")) / ".local" / "state"
    return folder / "sinfonia"


def application_key(app_uuid: UUID, state: Path) -> KeyPair:
    """The app's key pair on this device, made at the first call.

    Raises `DeviceError` where the file is damaged, can be read by others, or can't be written.
    """
    return KeyPair.from_private(kept_secret(state / "keys" / str(app_uuid), "app's key", "key and backend"))


def kept_secret(path: Path, what: str, new: str) -> bytes:
    """The 32 secret bytes at `path`, made at the first call; `what` it is, and what a `new` one would bring,
    are for people. Raises `DeviceError` where it is damaged, can be read by others, or can't be written.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return _load(path, what, new)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_once(path, base64.b64encode(secrets.token_bytes(32)) + b"\n")
        return _load(path, what, new)
    except OSError as error:
        raise DeviceError(f"The {what} can't be kept at {path}: {error.strerror}.") from error


def _load(path: Path, what: str, new: str) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(128)
    if mode & 0o077:
        raise DeviceError(
            f"The {what} can be read by others; run: chmod 600 {path} (or remove it for a new one)."
        )
    try:
        return key(content.decode("ascii").strip(), "key")
    except (WireError, UnicodeDecodeError) as error:
        raise DeviceError(f"The {what} is damaged; remove {path} to get a new {new}.") from error


def create_once(path: Path, content: bytes) -> None:
    """Write a new file (0600) aside and link it to its name; one that exists by now stays."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)
