"""Who this device is to the cloudlets that it is paired with: an Ed25519 key of this user's.

Called by `pairing.py` and `paired.py`; kept as `keys.py` keeps secrets, in `<state>/identity`. Roots and
cloudlets that it is not paired with never see it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from device_sdk.keys import kept_secret
from device_sdk.nearby.pairing_wire import encoded


@dataclass(frozen=True)
class Identity:
    """An Ed25519 pair, 32 bytes each."""

    private: bytes = field(repr=False)
    public: bytes

    def sign(self, data: bytes) -> bytes:
        """A signature, 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.private).sign(data)


def device_identity(state: Path) -> Identity:
    """The identity of this device, made at the first call. Raises `DeviceError`, as `keys.py` does."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = kept_secret(state / "identity", "device's identity", "one, and pair again")
    return Identity(private, Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())


def thumbprint(public_key: bytes) -> str:
    """The name of an Ed25519 public key (RFC 7638)."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": encoded(public_key)}
    return encoded(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())


def uuid_of(public_key: bytes) -> UUID:
    """The UUID that the owner of a key has, and nobody else, as the contract's registration says."""
    raw = bytearray(hashlib.sha256(public_key).digest()[:16])
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return UUID(bytes=bytes(raw))
