"""HTTP sessions whose read time-out is for the whole answer: made by `__main__.py`, used by `roots.py`,
`recipes.py` and `resources.py`.

The time-outs of `requests` are for each read: a server that sends a byte now and then would hold its caller
for hours, in the head of its answer or in the body.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

Clock = Callable[[], float]

_PART_BYTES = 65536


def make_session(clock: Clock, *, public_only: bool = False) -> requests.Session:
    """A session; `clock` is monotonic. `public_only`: without proxies, and to public addresses alone."""
    session = requests.Session()
    session.trust_env = not public_only
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(clock, public_only=public_only))
    return session


def read_body(answer: requests.Response, most_bytes: int) -> bytes:
    """The body of a streamed answer, cut after `most_bytes` and one; raises `requests.RequestException`."""
    body = b""
    for part in answer.iter_content(_PART_BYTES):
        body += part
        if len(body) > most_bytes:
            break
    return body[: most_bytes + 1]


class _Adapter(HTTPAdapter):
    def __init__(self, clock: Clock, *, public_only: bool) -> None:
        super().__init__()
        response = partial(_TimedResponse, clock=clock)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _timed(HTTPConnectionPool, response, public_only=public_only),
            "https": _timed(HTTPSConnectionPool, response, public_only=public_only),
        }


class _PublicPeers:
    """A connection that says nothing to an address that is not public, whatever name led there."""

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        peer = str(made.getpeername()[0]).partition("%")[0]
        if not ip_address(peer).is_global:
            made.close()
            raise requests.ConnectionError(f"{peer} is not a public address")
        return made


def _timed(pool: type[HTTPConnectionPool], response: Any, *, public_only: bool) -> type[HTTPConnectionPool]:
    """The same pool, whose connections read their answers with `response`."""
    bases = (_PublicPeers, pool.ConnectionCls) if public_only else (pool.ConnectionCls,)
    connection = type("TimedConnection", bases, {"response_class": response})
    return type("TimedPool", (pool,), {"ConnectionCls": connection})


class _TimedResponse(http.client.HTTPResponse):
    """An answer that has to be there, to its last byte, within the socket's time-out of now."""

    def __init__(self, sock: socket.socket, *arguments: Any, clock: Clock, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        seconds = sock.gettimeout()
        if seconds is not None:
            self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, clock, clock() + seconds))


class _TimedReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, clock: Clock, end: float) -> None:
        self._raw = raw
        self._sock = sock
        self._clock = clock
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()
