"""Who calls this cloudlet: a root or a device that shows it by a signature, or anybody. Called by `api.py`;
asks `root_trust.py` and `nearby/trust.py`.

A signature is good for one call: the body, method, path and query that it names, at this cloudlet, for a
minute of the root's clock (a device's: of this cloudlet's), and once.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote
from uuid import UUID

from edge_agent.errors import InvalidRequest, Unauthorized, Unavailable
from edge_agent.fields import integer, parse_client_ip, parse_location_header, text
from edge_agent.nearby.trust import DeviceTrust
from edge_agent.serving.signatures import PublicKey, Signed

SLACK_SECONDS = 60
"""A `Date` has whole seconds and grows old on its way; the root's clock may be set meanwhile."""
MAX_LIFE_SECONDS = 600
_REMEMBERED = 20_000
"""Signatures that were used and have not expired: 300 calls a second for a minute."""


@dataclass(frozen=True)
class Call:
    """One call as it came: `target` is `/<app>/<key>` with its query."""

    method: str
    target: str
    body: bytes


@dataclass(frozen=True)
class Caller:
    """A root that signed a call, and what it says of its device: address, and degrees. Or a device itself:
    `root` is empty then, `device` the name of its key, `nonce` that of its call.
    """

    root: str
    client_ip: str | None = None
    location: tuple[float, float] | None = None
    device: str = ""
    nonce: str = ""


class Trust(Protocol):
    """Whose keys count: a root's, or (with an empty `url`) devices'."""

    @property
    def url(self) -> str:
        """The root's."""

    def key(self, kid: Any) -> PublicKey | None:
        """The key of this name, if it is one of theirs."""

    def now(self) -> float:
        """Seconds since 1970, by the clock that their signatures are held to."""


class Callers:
    """Verifies signatures. `only_roots` refuses calls without one, as `devices` does where not everybody
    nearby is welcome; `clock` is monotonic.
    """

    def __init__(
        self,
        uuid: UUID,
        roots: Sequence[Trust],
        clock: Callable[[], float],
        *,
        only_roots: bool = False,
        devices: DeviceTrust | None = None,
    ) -> None:
        self._uuid = str(uuid)
        self._signers = [*roots, *([devices] if devices else [])]
        self._clock = clock
        self._refusal = _refusal(devices, only_roots=only_roots)
        self._used: OrderedDict[bytes, float] = OrderedDict()
        self._guard = threading.Lock()

    def identify(self, signature: str | None, call: Call) -> Caller | None:
        """Who signed the call, None for an unsigned one; raises `Unauthorized`."""
        if signature is None:
            if self._refusal:
                raise Unauthorized(self._refusal)
            return None
        signed = Signed.parse(signature, call.body)
        signer = self._signer(signed)
        try:
            life = self._check(signed, call, signer.now())
            caller = _root(signer.url, signed) if signer.url else _device(signed)
        except InvalidRequest as error:
            raise Unauthorized(f"The signature's {error}.") from error
        self._use(signed.signature, life)
        return caller

    def _signer(self, signed: Signed) -> Trust:
        kid = signed.claims.get("kid")
        for signer in self._signers:
            key = signer.key(kid)
            if key is not None:
                signed.verify(key)
                return signer
        raise Unauthorized("The signature's key is of no root or device that this cloudlet knows.")

    def _check(self, signed: Signed, call: Call, now: float) -> float:
        """What the signature was made for; returns how many seconds it still holds."""
        claims = signed.claims
        path, mark, query = (text(claims, "htu", 1024) or "").partition("?")
        if claims.get("aud") != self._uuid:
            raise Unauthorized("The signature is for another cloudlet.")
        if claims.get("htm") != call.method or unquote(path) + mark + query != call.target:
            raise Unauthorized("The signature is for another call.")
        until, since = integer(claims, "exp", 0, 1 << 53), integer(claims, "iat", 0, 1 << 53)
        if until is None or until + SLACK_SECONDS < now:
            raise Unauthorized("The signature has expired.")
        if until > now + MAX_LIFE_SECONDS + SLACK_SECONDS or (since or 0) > now + SLACK_SECONDS:
            raise Unauthorized("The signature is of a later time; the clocks differ.")
        return until + SLACK_SECONDS - now

    def _use(self, signature: bytes, life: float) -> None:
        name, now = hashlib.sha256(signature).digest(), self._clock()
        with self._guard:
            while self._used and next(iter(self._used.values())) < now:
                self._used.popitem(last=False)
            if name in self._used and self._used[name] >= now:
                raise Unauthorized("The signature was used before.")
            if len(self._used) >= _REMEMBERED:
                raise Unavailable("Too many signed calls at once.")
            self._used[name] = now + life


def _refusal(devices: DeviceTrust | None, *, only_roots: bool) -> str:
    """Why a call without a signature is refused; empty: it is not."""
    if only_roots:
        return "This cloudlet takes calls of its roots only; the call has no signature."
    if devices is None or devices.mode == "open":
        return ""
    how = "are paired with it" if devices.mode == "pairing" else "its operator lists"
    return f"This cloudlet takes calls of devices that {how}; the call has no signature."


def _root(url: str, signed: Signed) -> Caller:
    address = parse_client_ip(text(signed.claims, "ip", 64))
    return Caller(url, address, parse_location_header(text(signed.claims, "loc", 64)))


def _device(signed: Signed) -> Caller:
    nonce = text(signed.claims, "jti", 64)
    if not nonce:
        raise InvalidRequest("jti: is missing")
    return Caller("", device=str(signed.claims["kid"]), nonce=nonce)
