"""DynamoDB's reading operations with little CPU: a signed request over a connection that is kept open.

Called by `dynamo.py`, because a deploy decision makes several queries. It takes a fifth of the time that
botocore takes for the same call, and needs no import of it: the standard library speaks HTTP, `signing.py`
signs. Answers are the low-level JSON of DynamoDB's API, with binary values as base64 text.
"""

import base64
import json
import os
import random
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from chalicelib.errors import Unavailable
from chalicelib.tables.signing import Credentials, CredentialSource, Signer

CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
ATTEMPTS = 3
_FIRST_PAUSE_SECONDS = 0.05  # doubled each time, and up to so much again by chance
_IDLE_SECONDS = 30.0  # a connection that was idle for longer may be gone without a word
_MOST_IDLE = 64  # as many as a local root has threads, and more
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_TRY_AGAIN = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}

Answer = Mapping[str, Any]
Item = Mapping[str, Mapping[str, Any]]


_Idle = deque[tuple[HTTPConnection, float]]  # and since when


class _Refused(Exception):
    """DynamoDB said no. `again`: it may say yes in a moment."""

    def __init__(self, code: str, again: bool) -> None:
        super().__init__(code)
        self.again = again


class DynamoReader:
    """Reads of one region's tables. Safe to share between threads."""

    def __init__(
        self,
        *,
        region: str,
        url: str | None,
        credentials: Callable[[], Credentials],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        pause: Callable[[float], object],
        chance: random.Random,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """`url`: where DynamoDB is, if not at AWS. `clock`: seconds since 1970. `pause` is given seconds."""
        parts = urlsplit(url or _address(region))
        self._host, self._port, self._tls = parts.hostname or "", parts.port, parts.scheme == "https"
        self._signer = Signer(region, "dynamodb", parts.netloc, clock)
        self._credentials = credentials
        self._monotonic = monotonic
        self._pause = pause
        self._chance = chance
        self._read_seconds = read_seconds
        self._context: ssl.SSLContext | None = None
        self._idle: _Idle = deque()
        weakref.finalize(self, _close, self._idle)

    def call(self, operation: str, request: Mapping[str, Any]) -> Answer:
        """The answer to an operation like "Query". Raises `Unavailable`."""
        body = json.dumps(request, separators=(",", ":")).encode()
        pause_seconds = _FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(operation, body)
            except (OSError, HTTPException) as error:
                # Silence is tried once more only: the first may have gone to a dead connection.
                if attempt == ATTEMPTS or (isinstance(error, TimeoutError) and attempt > 1):
                    raise Unavailable("The table can't be reached.") from error
                _close(self._idle)  # if one is gone, all are
            except _Refused as error:
                if not error.again or attempt == ATTEMPTS:
                    raise Unavailable(f"The table refuses: {error}.") from error
                self._pause(pause_seconds * (1 + self._chance.random()))
                pause_seconds *= 2
        raise AssertionError("unreachable")

    def _attempt(self, operation: str, body: bytes) -> Answer:
        headers = self._signer.headers(self._credentials(), f"DynamoDB_20120810.{operation}", body)
        connection = self._connection()
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            raw = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        elif len(self._idle) < _MOST_IDLE:
            self._idle.append((connection, self._monotonic()))
        try:
            answer: dict[str, Any] = json.loads(raw)
        except ValueError as error:
            raise _Refused(f"status {response.status}", again=response.status >= 500) from error
        if not isinstance(answer, dict):
            raise _Refused(f"status {response.status}", again=False)
        if response.status != 200:
            code = str(answer.get("__type", response.status)).rpartition("#")[2]
            raise _Refused(code, again=response.status >= 500 or code in _TRY_AGAIN)
        return answer

    def _connection(self) -> HTTPConnection:
        """One that is open already, or a new one."""
        while self._idle:
            try:
                connection, since = self._idle.pop()
            except IndexError:  # another thread took the last
                break
            if self._monotonic() - since < _IDLE_SECONDS:
                return connection
            connection.close()
        if self._tls:
            self._context = self._context or ssl.create_default_context()
            connection = HTTPSConnection(
                self._host, self._port, timeout=CONNECT_SECONDS, context=self._context
            )
        else:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(self._read_seconds)
        return connection


def _close(idle: _Idle) -> None:
    while idle:
        try:
            idle.pop()[0].close()
        except IndexError:  # another thread took the last
            break


def _address(region: str) -> str:
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"https://dynamodb.{region}.amazonaws.com{suffix}"


@lru_cache(8)
def reader_of(region: str, url: str | None) -> DynamoReader:
    """The reader that all tables of a region share, and with it the connections."""
    return DynamoReader(
        region=region,
        url=url,
        credentials=CredentialSource(os.environ),
        clock=time.time,
        monotonic=time.monotonic,
        pause=threading.Event().wait,
        chance=random.Random(),  # noqa: S311 - spreads retries, guards nothing
    )


def with_bytes(item: Item) -> Item:
    """An item whose binary values are bytes, as PynamoDB gives them."""
    return {
        name: {"B": base64.b64decode(value["B"])} if "B" in value else value for name, value in item.items()
    }
