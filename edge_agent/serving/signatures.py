"""Detached signatures between roots, devices nearby and this cloudlet: RFC 7515 (appendix F) with Ed25519
(RFC 8037).

`<protected header>..<signature>` travels in the header `X-Sinfonia-Signature`; the payload is the raw body.
Called by `roots.py` and `mailbox.py` (own words), `root_trust.py` (roots' words); calls nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.errors import InvalidRequest, Unauthorized
from edge_agent.fields import as_object, parse_json

HEADER = "X-Sinfonia-Signature"
MAX_CHARACTERS = 2048
_DETACHED = re.compile(r"([A-Za-z0-9_-]+)\.\.([A-Za-z0-9_-]{86})")
MAX_KEYS = 8
"""In a root's key set: one that signs, and some that a rotation leaves behind."""


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key, 32 bytes, as roots and cloudlets publish theirs."""

    raw: bytes

    @classmethod
    def from_jwk(cls, value: Any) -> PublicKey:
        """Check a JWK (RFC 8037, 2)."""
        data = as_object(value, "jwk")
        raw = decoded(data.get("x"), "jwk")
        if (data.get("kty"), data.get("crv")) != ("OKP", "Ed25519") or len(raw) != 32:
            raise InvalidRequest("jwk: must be an Ed25519 public key")
        return cls(raw)

    def to_jwk(self) -> dict[str, str]:
        """The JWK, without its private half."""
        return {"crv": "Ed25519", "kty": "OKP", "x": encoded(self.raw)}

    @classmethod
    def from_text(cls, value: Any, field: str) -> PublicKey:
        """The key as people hand it on: the `x` of its JWK, 43 characters."""
        raw = decoded(value, field)
        if len(raw) != 32:
            raise InvalidRequest(f"{field}: must be an Ed25519 public key, 43 characters of base64url")
        return cls(raw)

    @property
    def text(self) -> str:
        """The key as people hand it on."""
        return encoded(self.raw)

    @property
    def thumbprint(self) -> str:
        """The key's name (RFC 7638): SHA-256 of its JWK with sorted members and no blanks."""
        text = json.dumps(self.to_jwk(), sort_keys=True, separators=(",", ":"))
        return encoded(hashlib.sha256(text.encode()).digest())


@dataclass(frozen=True)
class Signed:
    """A signature that has the right form, and is not verified yet: what it claims, and over which bytes."""

    claims: Mapping[str, Any]
    text: bytes
    signature: bytes

    @classmethod
    def parse(cls, header: str, body: bytes) -> Signed:
        """Take the header apart; raises `Unauthorized` for what is no detached Ed25519 signature."""
        found = _DETACHED.fullmatch(header) if len(header) <= MAX_CHARACTERS else None
        if found is None:
            raise Unauthorized("The signature must be a detached JWS of at most 2048 characters.")
        try:
            claims = parse_json(decoded(found[1], "header"), "header")
            signature = decoded(found[2], "signature")
        except InvalidRequest as error:
            raise Unauthorized("The signature's protected header is not readable.") from error
        if claims.get("alg") != "EdDSA" or "crit" in claims or "b64" in claims:
            raise Unauthorized("The signature must be EdDSA, without extensions.")
        return cls(claims, found[1].encode() + b"." + encoded(body).encode(), signature)

    def verify(self, key: PublicKey) -> None:
        """Raise `Unauthorized` unless the key's owner signed this."""
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(self.signature, self.text)
        except (InvalidSignature, ValueError) as error:
            raise Unauthorized("The signature is wrong.") from error


def read_keys(value: Any) -> tuple[PublicKey, ...]:
    """The Ed25519 keys of a JWK Set (RFC 7517, 5), others left out; raises `InvalidRequest`."""
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise InvalidRequest(f"root_keys: must be a key set of at most {MAX_KEYS} keys")
    keys = []
    for item in listed:
        with contextlib.suppress(InvalidRequest):
            keys.append(PublicKey.from_jwk(item))
    if not keys:
        raise InvalidRequest("root_keys: has no Ed25519 key")
    return tuple(keys)


def sign(claims: Mapping[str, Any], body: bytes, signer: Callable[[bytes], bytes]) -> str:
    """The header's value for a body; `signer` makes an Ed25519 signature."""
    protected = encoded(json.dumps({"alg": "EdDSA", **claims}, separators=(",", ":")).encode())
    return f"{protected}..{encoded(signer(f'{protected}.{encoded(body)}'.encode()))}"


def encoded(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: Any, field: str) -> bytes:
    """The bytes of URL-safe base64 without padding, in the one way to write it; raises `InvalidRequest`."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidRequest(f"{field}: is not base64url") from error
    if encoded(data) != text:
        raise InvalidRequest(f"{field}: is not base64url")
    return data
