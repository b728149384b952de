"""What is said in pairing, as the contract (`openapi.yaml`) has it. Used by `pairing_api.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_agent.errors import InvalidRequest
from edge_agent.fields import as_object, text
from edge_agent.nearby.exchange import MESSAGE_BYTES
from edge_agent.serving.signatures import PublicKey, decoded, encoded

MAX_NAME = 64
PROOF_BYTES = 32


@dataclass(frozen=True)
class PairingStart:
    """A device's first word."""

    message: bytes

    @classmethod
    def from_json(cls, value: Any) -> PairingStart:
        """Raise `InvalidRequest` for anything else."""
        return cls(_bytes(as_object(value, "body"), "message", MESSAGE_BYTES))


@dataclass(frozen=True)
class PairingOffer:
    """The answer to it."""

    session: str
    message: bytes
    key: PublicKey

    def to_json(self) -> dict[str, str]:
        """The contract's `PairingOffer`."""
        return {"session": self.session, "message": encoded(self.message), "key": self.key.text}


@dataclass(frozen=True)
class PairingProof:
    """A device's second word: its key, what it calls itself, and that its person knows the code."""

    key: PublicKey
    name: str
    confirmation: bytes

    @classmethod
    def from_json(cls, value: Any) -> PairingProof:
        """Raise `InvalidRequest` for anything else."""
        data = as_object(value, "body")
        key = PublicKey.from_text(data.get("key"), "key")
        name = text(data, "name", MAX_NAME) or ""
        if not name.isprintable():
            raise InvalidRequest("name: must have printable characters only")
        return cls(key, name, _bytes(data, "confirmation", PROOF_BYTES))


def _bytes(data: dict[str, Any], field: str, count: int) -> bytes:
    value = decoded(data.get(field), field)
    if len(value) != count:
        raise InvalidRequest(f"{field}: must be {count} bytes as base64url")
    return value
