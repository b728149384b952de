"""Lease tokens: what a cloudlet shows so that a keepalive needs no read.

Called by `registry.py`, `keepalives.py` and the views. A token names the row, the incarnation and the
agreed pace, and is signed with the root's secret (HMAC-SHA256, RFC 2104). It ends after a day, so that every
cloudlet registers again at least once a day; whether the lease itself still runs is the row's business.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chalicelib.errors import Gone, Unauthorized
from chalicelib.fleet.cloudlets import RowKey

TOKEN_SECONDS = 24 * 3600
_LONGEST_TOKEN = 1024
_INVALID = "The lease token is not valid for this cloudlet."


def lease_seconds(interval_seconds: float) -> float:
    """Three keepalives may get lost, and the next may be five seconds late."""
    return 3 * interval_seconds + 5


@dataclass(frozen=True, slots=True)
class LeaseClaim:
    """What a token says.

    `cached_room`: how many cached apps the row has room for. `left`: the row that the cloudlet moved away
    from with its last keepalive, and that goes with the next one.
    """

    uuid: UUID
    key: RowKey
    incarnation: int
    interval_seconds: float
    cached_room: int
    left: RowKey | None = None


class LeaseSigner:
    """Makes tokens with the first of the secrets, and reads those of all."""

    def __init__(self, secrets: Sequence[bytes], clock: Callable[[], float]) -> None:
        self._secrets = secrets
        self._clock = clock

    def issue(self, claim: LeaseClaim) -> str:
        """A token that begins now."""
        key = claim.key
        values = [str(claim.uuid), key.cell, key.place, claim.incarnation, claim.interval_seconds]
        left = [] if claim.left is None else [claim.left.cell, claim.left.place]
        text = json.dumps([*values, claim.cached_room, int(self._clock()), *left], separators=(",", ":"))
        body = _encode(text.encode())
        return f"{body}.{_sign(self._secrets[0], body)}"

    def read(self, token: str | None, uuid: UUID) -> LeaseClaim:
        """The claim of a token that this root issued to this cloudlet.

        Raises `Unauthorized` for anything else, and `Gone` for one that is more than a day old.
        """
        claim = self.holder(token)
        if claim.uuid != uuid:
            raise Unauthorized(_INVALID)
        return claim

    def holder(self, token: str | None) -> LeaseClaim:
        """The claim of a token that this root issued to any cloudlet. Raises the same."""
        if not token or len(token) > _LONGEST_TOKEN or not token.isascii():
            raise Unauthorized(_INVALID)
        body, _, signature = token.partition(".")
        if not any(hmac.compare_digest(signature, _sign(secret, body)) for secret in self._secrets):
            raise Unauthorized(_INVALID)
        try:
            values = json.loads(_decode(body))
            text, cell, place, incarnation, interval_seconds, room, issued_at, *left = values
        except ValueError as error:  # of a root of an earlier version
            raise Unauthorized(_INVALID) from error
        if self._clock() > issued_at + TOKEN_SECONDS:
            raise Gone("The lease token is a day old; register again.")
        return LeaseClaim(
            UUID(text),
            RowKey(cell, place),
            incarnation,
            interval_seconds,
            room,
            RowKey(*left) if left else None,
        )


def _sign(secret: bytes, body: str) -> str:
    return _encode(hmac.digest(secret, body.encode(), hashlib.sha256))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
