"""HTTP from the agent to one root: every word of `roots.py`, `mailbox.py`, `commands.py` goes out here.

An answer is not trusted: it is checked, bounded in size and time, and redirects are not followed. Its `Date`
teaches `root_trust.py` the root's time. Calls the network by a session of `sessions.py`, of which each thread
needs its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import requests

from edge_agent.errors import AgentError, InvalidRequest, Unauthorized
from edge_agent.fields import parse_json, parse_value
from edge_agent.roots.root_trust import RootTrust, read_date
from edge_agent.roots.root_wire import standing_incarnation
from edge_agent.serving.signatures import HEADER, PublicKey, Signed, sign
from edge_agent.sessions import read_body
from edge_agent.wire import MAX_BODY_BYTES

TIMEOUT = (3.0, 10.0)
"""Seconds to connect, and for the whole answer."""


class RootError(AgentError):
    """A root did not do what was asked; `status` is its answer's, 0 without one."""

    def __init__(
        self, text: str, status: int = 0, retry_after: float | None = None, standing: int | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.standing = standing


@dataclass(frozen=True)
class Signer:
    """The cloudlet's own signature; `sign` makes one of 64 bytes."""

    key: PublicKey
    sign: Callable[[bytes], bytes]


class RootCalls:
    """Calls to one root about the cloudlet `uuid`. For one thread at a time."""

    def __init__(
        self, url: str, uuid: UUID, session: requests.Session, trust: RootTrust, signer: Signer
    ) -> None:
        self._url = url.rstrip("/")
        self.name = urlsplit(url).netloc
        self.uuid = uuid
        self.trust = trust
        self._session = session
        self._signer = signer

    @property
    def path(self) -> str:
        """Where this cloudlet stands at a root."""
        return f"/api/v1/cloudlets/{self.uuid}"

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        signed: bool = False,
        timeout: tuple[float, float] | None = None,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> Any:
        """Say it, and return the answer's JSON, None for 204; raises `RootError`."""
        data = b"" if body is None else _encoded(body)
        headers = {"Content-Type": "application/json"} if data else {}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {HEADER: self._signature(data)} if signed else {}
        try:
            with self._session.request(
                method,
                self._url + path,
                data=data or None,
                headers=headers,
                timeout=timeout or TIMEOUT,
                allow_redirects=False,
                stream=True,
            ) as answer:
                self.trust.learn_time(answer.headers.get("Date"))
                return _checked(answer, read_body(answer, most_bytes), most_bytes)
        except (requests.RequestException, OSError) as error:
            raise RootError(f"can't be reached: {type(error).__name__}") from error
        except ValueError as error:
            raise RootError(f"its answer makes no sense: {error}") from error

    def proves(self, proof: str, keys: Sequence[PublicKey], said: Any) -> bool:
        """Whether the owner of one of these keys signed what was said to this root by this cloudlet."""
        try:
            signed = Signed.parse(proof, _encoded(said))
            (key,) = [key for key in keys if key.thumbprint == signed.claims.get("kid")]
            signed.verify(key)
        except (Unauthorized, ValueError):
            return False
        return (signed.claims.get("aud"), signed.claims.get("iss")) == (str(self.uuid), self._url)

    def _signature(self, body: bytes) -> str:
        """For this root alone. The time is for its log: fences against replays are in the body."""
        claims = {"jwk": self._signer.key.to_jwk(), "aud": self._url, "iat": int(self.trust.now())}
        return sign(claims, body, self._signer.sign)


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def _checked(answer: requests.Response, body: bytes, most_bytes: int) -> Any:
    status = answer.status_code
    if status == 204:
        return None
    if status in (200, 202):
        if len(body) > most_bytes:
            raise RootError("its answer is too large")
        return parse_value(body, "answer")
    try:
        problem = parse_json(body, "problem")
    except InvalidRequest:
        problem = {}
    detail = str(problem.get("detail", ""))[:200]
    standing = standing_incarnation(problem) if status == 409 else None
    after = _seconds(answer.headers.get("Retry-After"), answer.headers.get("Date"))
    raise RootError(f"{status} {detail}".strip(), status, after, standing)


def _seconds(after: str | None, date: str | None) -> float | None:
    """`Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which counts from the answer's own `Date`, so
    that no clock here matters.
    """
    if after is None or after.isdigit():
        return float(after) if after and after.isascii() and len(after) < 7 else None
    until, since = read_date(after), read_date(date)
    return max(0.0, until - since) if until is not None and since is not None else None
