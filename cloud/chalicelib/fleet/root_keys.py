"""The keys that a root signs its calls to cloudlets with, and the set of them that it publishes.

Called by `views/cloudlets.py` for the set, by `deploying/` to sign. The keys derive from the lease secrets,
so that nothing more has to be kept: the first one signs, the public halves of all are published, so that
cloudlets which pinned the old key follow when the operator puts a new secret in front.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from chalicelib.fields import Address
from chalicelib.fleet.geo import Location
from chalicelib.fleet.signatures import encode, sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIFE_SECONDS = 60
_PURPOSE = b"sinfonia root signing key"
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a cloudlet, on behalf of a device.

    `target` is what stands behind `/api/v1/deploy`: `/<app UUID>/<application key>?<query>`.
    """

    cloudlet: UUID
    method: str
    target: str
    client_ip: Address
    location: Location | None = None
    body: bytes = b""


def new_id() -> str:
    """A call's id: 22 characters that nobody guesses."""
    return secrets.token_urlsafe(_ID_BYTES)


class RootKeys:
    """The keys of one root. `clock`: seconds since 1970. Safe between threads."""

    def __init__(self, lease_secrets: Sequence[bytes], clock: Callable[[], float]) -> None:
        self._seeds = [hmac.digest(secret, _PURPOSE, hashlib.sha256) for secret in lease_secrets]
        self._clock = clock

    @cached_property
    def _keys(self) -> "list[Ed25519PrivateKey]":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return [Ed25519PrivateKey.from_private_bytes(seed) for seed in self._seeds]

    @cached_property
    def key_set(self) -> dict[str, Any]:
        """`KeySet` of the contract; the first key signs."""
        return {"keys": [_jwk(key.public_key().public_bytes_raw()) for key in self._keys]}

    def sign(self, call: Call, call_id: str) -> str:
        """The signature of a call; good for a minute by this root's clock, and once."""
        now = int(self._clock())
        claims: dict[str, Any] = {
            "kid": self.key_set["keys"][0]["kid"],
            "aud": str(call.cloudlet),
            "iat": now,
            "exp": now + LIFE_SECONDS,
            "jti": call_id,
            "htm": call.method,
            "htu": call.target,
            "ip": str(call.client_ip),
        }
        if call.location is not None:
            claims["loc"] = f"{call.location.latitude},{call.location.longitude}"
        return sign(claims, call.body, self._keys[0].sign)

    def prove(self, cloudlet: UUID, url: str, body: bytes) -> str:
        """That this root has the key it signs with, for a cloudlet that calls it `url`: over what it said."""
        claims = {"kid": self.key_set["keys"][0]["kid"], "aud": str(cloudlet), "iss": url}
        return sign(claims, body, self._keys[0].sign)


def _jwk(public_key: bytes) -> dict[str, str]:
    """A key as RFC 8037 writes it, named by its thumbprint (RFC 7638)."""
    x = encode(public_key)
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    kid = encode(hashlib.sha256(canonical.encode()).digest())
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA"}
