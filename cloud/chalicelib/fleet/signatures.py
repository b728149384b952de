"""Detached signatures, both ways: cloudlets sign their registrations, a root signs its calls to cloudlets.

Called by `views/cloudlets.py` to verify and by `root_keys.py` to sign. A signature travels in the header
`X-Sinfonia-Signature` as `<protected>..<signature>`: RFC 7515 (compact form, appendix F), Ed25519 (RFC
8037), the raw body as payload. `cryptography` is loaded where it is needed, not at a cold start.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from chalicelib.errors import Forbidden, InvalidRequest, Unauthorized
from chalicelib.fields import Fields, parse_json

HEADER = "X-Sinfonia-Signature"
_LONGEST = 2048
_DETACHED = re.compile(r"([A-Za-z0-9_-]+)\.\.([A-Za-z0-9_-]{86})")
_KEY_BYTES = 32
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def verify_registration(header: str, body: bytes, uuid: UUID, authority: str) -> str:
    """That the owner of the UUID's key signed this body, for this root; what they call it.

    `authority`: the root's host and port. Times are not looked at: the clocks of agents are hours off, and
    incarnations fence replays. Raises `Unauthorized`, or `Forbidden` for the UUID of another key.
    """
    found = _DETACHED.fullmatch(header) if len(header) <= _LONGEST else None
    if found is None:
        raise Unauthorized(f"{HEADER}: must be <protected header>..<signature>, a detached JWS with EdDSA.")
    try:
        claims = Fields(parse_json(decode(found[1])), "protected header")
        key, audience, signature = _public_key(claims), claims.text("aud", 512), decode(found[2])
    except InvalidRequest as error:
        raise Unauthorized(f"{HEADER}: {error}") from error
    if uuid_of(key) != uuid:
        raise Forbidden(f"The key that signed this is not the one of {uuid}.")
    if not _same_host(audience, authority):
        raise Unauthorized(f"{HEADER}: was made for {audience[:100]!r}, this root is {authority!r}.")
    if not _verifies(key, signature, signing_input(found[1], body)):
        raise Unauthorized(f"{HEADER}: is not the signature of this body.")
    return audience


def _public_key(claims: Fields) -> bytes:
    if claims.get("alg") != "EdDSA" or claims.has("crit") or claims.has("b64"):
        raise InvalidRequest("alg must be EdDSA, without extensions")
    jwk = Fields(claims.get("jwk"), "jwk")
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise InvalidRequest("jwk must be an Ed25519 key (RFC 8037)")
    key = decode(jwk.text("x", 43, 43))
    if len(key) != _KEY_BYTES:
        raise InvalidRequest("jwk.x must be 32 bytes")
    return key


def _verifies(key: bytes, signature: bytes, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _same_host(audience: str, authority: str) -> bool:
    try:
        parts = urlsplit(audience)
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.netloc:
        return False
    said, here = (text.lower().removesuffix(default) for text in (parts.netloc, authority))
    return said == here


def uuid_of(public_key: bytes) -> UUID:
    """The UUID of an Ed25519 public key: the first bits of its SHA-256, as version 8 (RFC 9562, 5.8)."""
    raw = bytearray(hashlib.sha256(public_key).digest()[:16])
    raw[6] = 0x80 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return UUID(bytes=bytes(raw))


def sign(claims: Mapping[str, Any], body: bytes, signer: Callable[[bytes], bytes]) -> str:
    """The header's value for a body; `signer` makes an Ed25519 signature."""
    protected = encode(json.dumps({"alg": "EdDSA", **claims}, separators=(",", ":")).encode())
    return f"{protected}..{encode(signer(signing_input(protected, body)))}"


def signing_input(protected: str, body: bytes) -> bytes:
    """What is signed (RFC 7515, section 5.1)."""
    return f"{protected}.{encode(body)}".encode()


def encode(raw: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Back from `encode`, and only from what it makes. Raises `InvalidRequest`."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest("is not base64url") from error
    if encode(raw) != text:
        raise InvalidRequest("is not base64url")
    return raw
