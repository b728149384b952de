"""What is said in pairing with a cloudlet nearby, as the contract has it. Part of `wire.py`."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from device_sdk.fields import KEY_BYTES, WireError, mapping, required, text

MESSAGE_BYTES = 33
MAX_NAME = 64
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class PairingOffer:
    """A cloudlet's answer to a device's first word. `message` has 33 bytes, `key` (Ed25519) 32."""

    session: str
    message: bytes
    key: bytes

    @classmethod
    def from_json(cls, value: Any) -> PairingOffer:
        """Raise `WireError` unless `value` is an offer."""
        data = mapping(value, "offer")
        session = required(data, "session", "", text)
        if not _SESSION.fullmatch(session):
            raise WireError("session", "must be a short name")
        return cls(
            session,
            required(data, "message", "", lambda v, p: decoded(v, p, MESSAGE_BYTES)),
            required(data, "key", "", lambda v, p: decoded(v, p, KEY_BYTES)),
        )


@dataclass(frozen=True)
class PairingProof:
    """A device's second word: its key, its name, and that its person knows the code."""

    key: bytes
    name: str
    confirmation: bytes

    def to_json(self) -> dict[str, str]:
        """The contract's `PairingProof`."""
        return {"key": encoded(self.key), "name": self.name, "confirmation": encoded(self.confirmation)}


@dataclass(frozen=True)
class PairingDone:
    """A cloudlet's last word: that it knows the code too, 32 bytes."""

    confirmation: bytes

    @classmethod
    def from_json(cls, value: Any) -> PairingDone:
        """Raise `WireError` unless `value` is a confirmation."""
        return cls(required(mapping(value, "answer"), "confirmation", "", lambda v, p: decoded(v, p, 32)))


def encoded(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def decoded(value: Any, field: str, count: int) -> bytes:
    """`count` bytes of URL-safe base64 without padding; raises `WireError`."""
    try:
        data = base64.b64decode(text(value, field) + "=" * (-len(value) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(field, "must be base64url") from error
    if len(data) != count or encoded(data) != value:
        raise WireError(field, f"must be {count} bytes as base64url")
    return data
