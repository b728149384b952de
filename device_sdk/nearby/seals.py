"""Signed calls to a cloudlet that this device is paired with, and what its answers are held to.

Made by `paired.py` for one cloudlet, used by `st1.py` through `caller.py`. Both signatures are detached JWS
(RFC 7515, appendix F; RFC 8037), as the contract's tag `nearby` says.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from device_sdk.errors import TrustError
from device_sdk.fields import WireError, mapping, parse_json
from device_sdk.nearby.identity import Identity, thumbprint
from device_sdk.nearby.pairing_wire import decoded, encoded

HEADER = "X-Sinfonia-Signature"
LIFE_SECONDS = 60
CLOCK_SECONDS = 30
"""How far the clocks may be apart before the device goes by the cloudlet's."""
_SIGNED = ("/api/v1/deploy/", "/api/v1/bundles/")
_DETACHED = re.compile(r"([A-Za-z0-9_-]{1,2048})\.\.([A-Za-z0-9_-]{86})")


@dataclass
class Seal:
    """What ties this device to one cloudlet: `key` is the cloudlet's, `name` is for people; `now` is seconds
    since 1970.
    """

    identity: Identity
    cloudlet: UUID
    key: bytes
    name: str
    now: Callable[[], float] = time.time
    _ahead: float = field(default=0.0, init=False)

    def call(self, method: str, path: str, query: str, body: bytes) -> SealedCall | None:
        """A call of the cloudlet, signed; None for one that nobody asks who makes it."""
        if not path.startswith(_SIGNED):
            return None
        target = path.removeprefix("/api/v1/deploy") + (f"?{query}" if query else "")
        made, nonce = int(self.now() + self._ahead), secrets.token_urlsafe(16)
        claims = {
            "alg": "EdDSA",
            "kid": thumbprint(self.identity.public),
            "aud": str(self.cloudlet),
            "htm": method,
            "htu": target,
            "iat": made,
            "exp": made + LIFE_SECONDS,
            "jti": nonce,
        }
        return SealedCall(self, nonce, _signed(claims, body, self.identity.sign))

    def late(self, date: str | None) -> bool:
        """Whether the cloudlet's clock is another than was thought; the next call goes by it."""
        try:
            ahead = parsedate_to_datetime(date or "").timestamp() - self.now()
        except ValueError:
            return False
        before, self._ahead = self._ahead, ahead
        return abs(ahead - before) > CLOCK_SECONDS


@dataclass(frozen=True)
class SealedCall:
    """One signed call: `signature` is its header's value."""

    seal: Seal
    nonce: str
    signature: str

    @property
    def headers(self) -> dict[str, str]:
        """To be sent with the call."""
        return {HEADER: self.signature}

    def is_late(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether the answer says no more than that the clocks differ: once more goes by the cloudlet's."""
        return status == 401 and self.seal.late(headers.get("Date"))

    def check(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise `TrustError` unless the answer to this call is the paired cloudlet's."""
        name, signature = self.seal.name, headers.get(HEADER)
        if signature is None and status == 401:
            raise TrustError(
                f"{name} no longer knows this device, or is not the one it was paired with; pair again."
            )
        expected = {
            "kid": thumbprint(self.seal.key),
            "aud": thumbprint(self.seal.identity.public),
            "jti": self.nonce,
            "status": status,
        }
        claims = _verified(signature or "", body, self.seal.key)
        if claims is None or any(claims.get(field) != value for field, value in expected.items()):
            raise TrustError(f"What answers as {name} is not the cloudlet that this device was paired with.")


def _signed(claims: Mapping[str, Any], body: bytes, signer: Callable[[bytes], bytes]) -> str:
    protected = encoded(json.dumps(claims, separators=(",", ":")).encode())
    return f"{protected}..{encoded(signer(f'{protected}.{encoded(body)}'.encode()))}"


def _verified(header: str, body: bytes, key: bytes) -> Mapping[str, Any] | None:
    """What the header claims, if the key's owner signed it over this body."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = _DETACHED.fullmatch(header)
    if found is None:
        return None
    try:
        text = found[1].encode() + b"." + encoded(body).encode()
        Ed25519PublicKey.from_public_bytes(key).verify(decoded(found[2], "signature", 64), text)
        claims = mapping(parse_json(_plain(found[1])), "header")
    except (InvalidSignature, WireError, ValueError):
        return None
    return claims if claims.get("alg") == "EdDSA" and not {"crit", "b64"} & set(claims) else None


def _plain(protected: str) -> bytes:
    return decoded(protected, "header", len(protected) * 3 // 4)
