"""One HTTP GET over a connection that is given: for an app's own test of a target. Called by `trial.py`."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

from device_sdk.errors import RequestError, TunnelError

MOST_BYTES = 16_000_000
_CHUNK_BYTES = 65536

Connect = Callable[[tuple[str, int], float], socket.socket]


def fetch(url: str, connect: Connect, seconds: float, clock: Callable[[], float]) -> bytes:
    """What a GET of `url` answers within so many seconds. Raises `RequestError` for a URL that is none,
    `OSError` where nothing answers in time, `TunnelError` for a status that is no success or too much.
    """
    host, port, path = _parts(url)
    until = clock() + seconds
    stream = connect((host, port), seconds)
    connection = http.client.HTTPConnection(host, port)
    connection.sock = stream
    with closing(connection), closing(stream):
        try:
            connection.request("GET", path)
            with connection.getresponse() as response:
                content = b""
                while part := response.read1(_CHUNK_BYTES):
                    content += part
                    if len(content) > MOST_BYTES:
                        raise TunnelError(f"{url} answers with more than {MOST_BYTES} bytes.")
                    stream.settimeout(_left(until, clock))
        except http.client.InvalidURL as error:
            raise RequestError(f"url: {error}.") from error
        except http.client.HTTPException as error:
            raise TunnelError(f"{url} answers with what is no HTTP: {type(error).__name__}.") from error
    if not 200 <= response.status < 300:
        raise TunnelError(f"{url} answers with status {response.status}.")
    return content


def _parts(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port = "", 0
    if not host or parts.scheme != "http":
        raise RequestError("url: must be http://NAME[:PORT]/…, a name that the backend offers.")
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _left(until: float, clock: Callable[[], float]) -> float:
    left = until - clock()
    if left <= 0:
        raise TimeoutError("the answer takes too long")
    return left
