"""Invoking Lambda functions: apps' own matchers.

Called by `choosing/upcall.py`. It lives here because this is the room that may know botocore, which is
imported when the first function is invoked.
"""

from contextlib import closing
from functools import lru_cache
from typing import Any

from chalicelib.choosing.matcher_names import Function
from chalicelib.errors import Unavailable

_CONNECT_SECONDS = 0.5
_REGIONS = 8
_AWAY = "The matcher's function can't be invoked."


class LambdaCaller:
    """Synchronous invocations, tried once, of `seconds` at most. `url`: where Lambda is, if not at AWS."""

    def __init__(self, seconds: float, url: str | None = None) -> None:
        self._seconds = seconds
        self._url = url
        self._client = lru_cache(_REGIONS)(self._connect)

    def prepare(self, region: str) -> None:
        """Make the client for a region; that takes half a second the first time."""
        self._client(region)

    def invoke(self, function: Function, payload: bytes, *, most_bytes: int) -> bytes:
        """The function's answer. Raises `Unavailable`."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client(function.region).invoke(FunctionName=function.arn, Payload=payload)
            with closing(answer["Payload"]) as stream:
                body: bytes = stream.read(most_bytes + 1)
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(_AWAY) from error
        if "FunctionError" in answer or len(body) > most_bytes:
            raise Unavailable(_AWAY)
        return body

    def _connect(self, region: str) -> Any:
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=self._seconds,
            retries={"total_max_attempts": 1},
            max_pool_connections=_REGIONS,
        )
        try:
            return botocore.session.get_session().create_client(
                "lambda", region_name=region, endpoint_url=self._url, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise Unavailable(_AWAY) from error
